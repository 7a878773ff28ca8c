"""The assets of MakeHuman that go into the pack, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from gfla_cli.synth.pack import BROWS, SHOES, TEXTURED_OUTFITS

OUTFITS: Mapping[str, str] = {
    # The connected parts of each mesh, the largest first: t = top, b = bottom, f = all in one. The last letter is for
    # all further parts, such as buttons and belts.
    "female_casualsuit01": "tb",
    "female_casualsuit02": "btb",
    "female_elegantsuit01": "tb",
    "female_sportsuit01": "tb",
    "male_casualsuit02": "tb",
    "male_casualsuit03": "tb",
    "male_casualsuit04": "bt",
    "male_casualsuit05": "tbt",
    "male_casualsuit06": "tb",
    "male_elegantsuit01": "tb",
    "male_worksuit01": "f",
}
HAIR = ("afro01", "bob01", "bob02", "braid01", "long01", "ponytail01", "short01", "short02", "short03", "short04")
HAIR_WITH_TEXTURE = ("braid01", "ponytail01", "short01")  # the others are drawn as procedural strands
TRIMMED_HAIR = ("bob01", "bob02", "short03")  # their own textures thin out the fringe; strands would hide the eyes
SKINS: Mapping[str, str] = {  # name in the pack -> image
    "skin_male2": "skins/textures/young_lightskinned_male_diffuse2.png",
    "skin_male3": "skins/textures/young_lightskinned_male_diffuse3.png",
    "skin_male_middleage": "skins/textures/middleage_lightskinned_male_diffuse.png",
    "skin_male_dark": "skins/textures/young_darkskinned_male_diffuse.png",
    "skin_female2": "skins/textures/young_lightskinned_female_diffuse2.png",
}
STATIC_POSES = (
    *("fight01", "fight02", "fight03", "fight04", "fly01", "fly02", "gym01", "run01", "sit01"),
    *("standing01", "standing02", "standing03", "standing04", "standing05", "standing06"),
)

BASE_MESH, SKELETON, WEIGHTS = "3dobjs/base.obj", "rigs/default.mhskel", "rigs/default_weights.mhw"
EYES, LASHES, TONGUE, HAT = (
    "eyes/high-poly/high-poly.mhclo",
    "eyelashes/eyelashes01/eyelashes01.mhclo",
    "tongue/tongue01/tongue01.mhclo",
    "clothes/fedora01/fedora.mhclo",
)
TARGET_FOLDERS = (  # of targets/; each must have targets
    *("macrodetails", "macrodetails/height", "macrodetails/proportions"),
    *("expression/units/african", "expression/units/asian", "expression/units/caucasian"),
    *("armslegs", "asym", "cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "hip"),
    *("mouth", "neck", "nose", "stomach", "torso"),
)


def clothing(name: str) -> str:
    """The file of a piece of clothing."""
    return f"clothes/{name}/{name}.mhclo"


def hair(name: str) -> str:
    """The file of a hairstyle."""
    return f"hair/{name}/{name}.mhclo"


def brow(name: str) -> str:
    """The file of a pair of eyebrows."""
    return f"eyebrows/{name}/{name}.mhclo"


def pose(name: str) -> str:
    """The file of a static pose."""
    return f"poses/{name}.bvh"


@dataclass(frozen=True, slots=True)
class Texture:
    """A texture of the pack: its source file, its size, and its kind."""

    source: str
    side: int  # pixels
    kind: Literal["opaque", "cut out", "hair"] = "opaque"


TEXTURES: Mapping[str, Texture] = {
    **{name: Texture(f"clothes/{name}/{name}_diffuse.png", 1024) for name in TEXTURED_OUTFITS},
    **{name: Texture(f"clothes/{name}/{name}_diffuse.png", 512) for name in SHOES},
    "tongue01": Texture("tongue/tongue01/tongue01_diffuse.png", 256),
    "eye_brown": Texture("eyes/materials/brown_eye.png", 512, "cut out"),
    "eyelashes01": Texture("eyelashes/eyelashes01/eyelashes01.png", 512, "cut out"),
    **{name: Texture(f"eyebrows/{name}/{name}.png", 512, "cut out") for name in BROWS},
    **{f"hair_{name}": Texture(f"hair/{name}/{name}_diffuse.png", 1024, "hair") for name in HAIR_WITH_TEXTURE},
}


def required_files() -> Iterator[str]:
    """All files that a pack is made of, except targets, which are found by folder."""
    yield from (BASE_MESH, SKELETON, WEIGHTS)
    fitted = [EYES, LASHES, TONGUE, HAT, *map(clothing, OUTFITS), *map(clothing, SHOES), *map(hair, HAIR)]
    for name in (*fitted, *map(brow, BROWS)):
        yield name
        yield name.replace(".mhclo", ".obj")
    yield from map(pose, STATIC_POSES)
    yield from (texture.source for texture in TEXTURES.values())
    yield from SKINS.values()
