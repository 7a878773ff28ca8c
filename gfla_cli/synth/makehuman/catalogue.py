"""What the pack takes of MakeHuman's assets, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

OUTFITS: Mapping[str, str] = {
    # The connected parts of each mesh, the largest first: t = top, b = bottom, f = all in one. The last letter is for
    # all further parts: buttons, belts, laces.
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
SHOES = ("shoes01", "shoes03", "shoes05")
HAIR = ("afro01", "bob01", "bob02", "braid01", "long01", "ponytail01", "short01", "short02", "short03", "short04")
HAIR_WITH_TEXTURE = ("braid01", "ponytail01", "short01")  # the others are drawn as procedural strands
TRIMMED_HAIR = ("bob01", "bob02", "short03")  # MakeHuman's pictures thin out their fringe; strands would hide the eyes
BROWS = ("eyebrow001", "eyebrow002", "eyebrow003", "eyebrow005", "eyebrow012")
SKINS: Mapping[str, str] = {
    "skin_male2": "young_lightskinned_male_diffuse2",
    "skin_male3": "young_lightskinned_male_diffuse3",
    "skin_male_middleage": "middleage_lightskinned_male_diffuse",
    "skin_male_dark": "young_darkskinned_male_diffuse",
    "skin_female2": "young_lightskinned_female_diffuse2",
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
TARGET_FOLDERS = (  # of targets/; each has shapes that bodies and faces are mixed from
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
    """A texture: where it is, how large it becomes, and what has to be done to it."""

    source: str
    side: int  # pixels
    kind: Literal["opaque", "cut out", "hair"] = "opaque"


TEXTURES: Mapping[str, Texture] = {
    **{
        name: Texture(f"clothes/{name}/{name}_diffuse.png", 1024)
        for name in (
            "female_casualsuit01",
            "female_elegantsuit01",
            "male_casualsuit05",
            "male_elegantsuit01",
            "male_worksuit01",
        )
    },
    **{name: Texture(f"clothes/{name}/{name}_diffuse.png", 512) for name in SHOES},
    "tongue01": Texture("tongue/tongue01/tongue01_diffuse.png", 256),
    "eye_brown": Texture("eyes/materials/brown_eye.png", 512, "cut out"),
    "eyelashes01": Texture("eyelashes/eyelashes01/eyelashes01.png", 512, "cut out"),
    **{name: Texture(f"eyebrows/{name}/{name}.png", 512, "cut out") for name in BROWS},
    **{f"hair_{name}": Texture(f"hair/{name}/{name}_diffuse.png", 1024, "hair") for name in HAIR_WITH_TEXTURE},
}


def skin(name: str) -> str:
    """The picture of a skin, by its name in the pack."""
    return f"skins/textures/{SKINS[name]}.png"


def required_files() -> Iterator[str]:
    """Every single file that a pack is made of; the targets are found by folder."""
    yield from (BASE_MESH, SKELETON, WEIGHTS)
    fitted = [EYES, LASHES, TONGUE, HAT, *map(clothing, OUTFITS), *map(clothing, SHOES), *map(hair, HAIR)]
    for name in (*fitted, *map(brow, BROWS)):
        yield name
        yield name.replace(".mhclo", ".obj")
    yield from map(pose, STATIC_POSES)
    yield from (picture.source for picture in TEXTURES.values())
    yield from map(skin, SKINS)
