"""Random dressed people, as the flat arrays that the kernels take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gfla_cli.arrays import Float32Array, Float64Array
from gfla_cli.rendering.body import BodyShape, sample_shape
from gfla_cli.rendering.chance import choose
from gfla_cli.rendering.fabrics import fabric, strands
from gfla_cli.rendering.materials import MATT, Gloss, Material
from gfla_cli.rendering.outfits import Outfit, sample_outfit
from gfla_cli.rendering.pack import Pack
from gfla_cli.rendering.parts import Binding, Layer, Part, assemble
from gfla_cli.rendering.rasterizer import ALPHA_TEST, CULL_BACK, Mesh
from gfla_cli.rendering.textures import mip_chain, plain

_HAIRSTYLES = {  # shares; the empty name is a bald head
    "female": {
        "long01": 0.24,
        "bob01": 0.17,
        "bob02": 0.16,
        "ponytail01": 0.18,
        "braid01": 0.12,
        "afro01": 0.04,
        "short03": 0.09,
    },
    "male": {"short01": 0.36, "short02": 0.24, "short03": 0.16, "short04": 0.06, "afro01": 0.05, "": 0.13},
}
_HAIR_COLOURS = np.array(  # RGB and share: four from black to brown, two blonds, red, two greys
    [
        (22, 19, 18, 0.24),
        (40, 28, 22, 0.2),
        (66, 44, 30, 0.17),
        (105, 72, 44, 0.12),
        (160, 120, 75, 0.08),
        (205, 170, 115, 0.07),
        (120, 52, 28, 0.05),
        (150, 148, 145, 0.04),
        (70, 70, 72, 0.03),
    ]
)
_GREY_OF_HAIR = 150  # the hair textures are about this bright
_FAIR_IRIS = {"brown": 0.3, "dark": 0.3, "blue": 0.2, "green": 0.1, "grey": 0.1}
_DARK_IRIS = {"brown": 0.4, "dark": 0.58, "blue": 0.01, "green": 0.005, "grey": 0.005}
_BROWS = ("eyebrow001", "eyebrow002", "eyebrow003", "eyebrow005", "eyebrow012")
_DARKEST_SKIN = np.array([0.34, 0.24, 0.19])  # linear RGB, relative to the textures
_TOOTH = (228, 222, 208)
_SKIN = Gloss(0.045, power=12, shadow_bias=0.22)
_EYE = Gloss(0.22, power=120, shadow_bias=0.6)


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Skin and hair of a person."""

    skin: str  # name of the texture
    skin_tone: Float64Array  # (3,) linear RGB factor on it
    hair: str  # name of the style; empty = bald
    hair_tint: Float64Array  # (3,) linear RGB


@dataclass(frozen=True, slots=True, eq=False)
class Character:
    """A dressed person: n vertices bound to the base mesh, and what is drawn of them."""

    body: BodyShape
    look: Look
    binding: Binding
    mesh: Mesh
    rest: Float32Array  # (n,3) the vertices at rest, clothes included, dm
    joints: Float64Array  # (B,3) at rest, dm
    expression_basis: Float32Array  # (U,3k) what each expression unit does to this face


def sample_character(rng: np.random.Generator, pack: Pack) -> Character:
    """A random adult with clothes, hair and all."""
    body = sample_shape(rng, pack.base.rest, pack.shapes, "female" if rng.random() < 0.55 else "male")
    look = _sample_look(rng, body)
    outfit = sample_outfit(rng, pack, body)
    parts = [*_skin(pack, look, outfit), *_face(rng, pack, body, look), *outfit.parts, *_hair(rng, pack, body, look)]
    binding, mesh = assemble(parts)
    return Character(
        body=body,
        look=look,
        binding=binding,
        mesh=mesh,
        rest=binding.on(body.vertices),
        joints=pack.skeleton.joints(body.vertices),
        expression_basis=pack.shapes.expression_basis(body.ethnicity),
    )


def _sample_look(rng: np.random.Generator, body: BodyShape) -> Look:
    skin, tone = _sample_skin(rng, body)
    hair = choose(rng, _HAIRSTYLES[body.sex])
    colour, share = _HAIR_COLOURS[:, :3] / _GREY_OF_HAIR, _HAIR_COLOURS[:, 3].copy()
    if body.ethnicity[2] < 0.4:
        share[3:6] *= 0.15
        share[6:] *= 0.3
    share[7:] *= 1 + 8 * body.age
    tint = (colour[rng.choice(len(share), p=share / share.sum())] * rng.uniform(0.85, 1.2)) ** 2
    return Look(skin, tone, hair, tint)


def _sample_skin(rng: np.random.Generator, body: BodyShape) -> tuple[str, Float64Array]:
    """A photographed skin and a factor on it that follows the ethnicity."""
    african, asian, _ = body.ethnicity
    dark = african * rng.uniform(0.55, 1.0) + 0.12 * rng.random()
    tone = (1 - dark) + _DARKEST_SKIN * dark
    if asian > 0.5:
        tone = tone * [1, 0.97, 0.9]
    tone = tone * rng.uniform(0.92, 1.14) * (1 + rng.normal(0, 0.025, 3))
    if body.sex == "female":
        return "skin_female2", tone
    if african > 0.6:
        return "skin_male_dark", rng.uniform(0.95, 1.7) * (1 + rng.normal(0, 0.03, 3))
    if body.age > 0.22:
        return "skin_male_middleage", tone
    return str(rng.choice(["skin_male2", "skin_male3"])), tone


def _skin(pack: Pack, look: Look, outfit: Outfit) -> list[Part]:
    """Body and head, without what the clothes hide."""
    parts = []
    for piece, texture in ((pack.base.body, look.skin), (pack.base.head, f"{look.skin}_head")):
        bare = piece.kept(~np.all(outfit.hidden[piece.faces], 1))
        parts.append(Part("body", bare, Material(pack.textures[texture], look.skin_tone, _SKIN, CULL_BACK)))
    return parts


def _face(rng: np.random.Generator, pack: Pack, body: BodyShape, look: Look) -> list[Part]:
    """Eyes, brows, lashes, tongue and teeth."""

    def part(layer: Layer, name: str, texture: str, tint: Float64Array, gloss: Gloss, flags: int = 0) -> Part:
        piece = pack.items[f"{layer}:{name}"].fit(body.vertices)
        return Part(layer, piece, Material(pack.textures[texture], tint, gloss, flags))

    brow = str(rng.choice(_BROWS))
    iris = choose(rng, _FAIR_IRIS if body.ethnicity[2] > 0.5 else _DARK_IRIS)
    brow_tint = np.clip(look.hair_tint * 1.6, 0.03, 0.8)
    return [
        part("eyes", "high-poly", f"eye_{iris}", np.array([1.1, 1.07, 1.03]), _EYE, ALPHA_TEST),
        part("brows", brow, brow, brow_tint, MATT, ALPHA_TEST),
        part("lashes", "eyelashes01", "eyelashes01", np.ones(3), MATT, ALPHA_TEST),
        part("tongue", "tongue01", "tongue01", np.array([0.3, 0.24, 0.24]), _SKIN),
        Part("teeth", pack.items["teeth"].fit(body.vertices), Material(plain(*_TOOTH), np.full(3, 0.6), _EYE)),
    ]


def _hair(rng: np.random.Generator, pack: Pack, body: BodyShape, look: Look) -> list[Part]:
    """Hair, where there is some, and sometimes a hat, where it fits."""
    parts = []
    if look.hair:
        photograph = f"hair_{look.hair}"
        texture = pack.textures[photograph] if photograph in pack.textures else mip_chain(strands(rng))
        piece = pack.items[f"hair:{look.hair}"].fit(body.vertices)
        gloss = Gloss(0.03 + 0.25 * look.hair_tint.mean(), power=10, shadow_bias=0.45)  # fair hair shines more
        parts.append(Part("hair", piece, Material(texture, look.hair_tint, gloss, ALPHA_TEST)))
    if look.hair in ("", "short04") and rng.random() < 0.2:
        felt = Material(mip_chain(fabric(rng, "solid", logo=False)), np.ones(3))
        parts.append(Part("hat", pack.items["hat:fedora"].fit(body.vertices), felt))
    return parts
