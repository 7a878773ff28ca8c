"""Random dressed people: their outfits, skin, faces and hair, joined into one mesh.

Lengths are decimetres (dm).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gfla_cli.arrays import BoolArray, Float32Array, Float64Array
from gfla_cli.synth.pack import BROWS, SHOES, TEXTURED_OUTFITS, Pack
from gfla_cli.synth.people.body import BodyShape, sample_shape
from gfla_cli.synth.people.garments import (
    Field,
    Neck,
    Tailoring,
    bottom_field,
    covered_vertices,
    cut,
    remove_covered_faces,
    top_field,
    tuck_in,
)
from gfla_cli.synth.people.mesh import (
    Binding,
    Layer,
    Part,
    Piece,
    SurfacePoints,
    assemble,
    first_vertices,
    points_of_texture,
)
from gfla_cli.synth.renderer.procedural import FabricKind, choose, fabric, random_colour, strands
from gfla_cli.synth.renderer.rasterizer import ALPHA_TEST, CULL_BACK, MATT, Gloss, Material, Mesh, MipChain, mip_chain

_JEANS_VERTICES = 886  # identifies the jeans that most outfits share
_SKIRT_OF_SUIT = "bottom:female_elegantsuit01"
_UNISEX_TOP = "top:female_casualsuit01"
_SLEEVES = ((0.12, 0.75, 1.25, 2.3, 3.4, 4.35), (0.16, 0.1, 0.28, 0.1, 0.12, 0.24))  # dm along the arm, shares
_TROUSER_HEMS = ((-1.9, -3.0, -4.4, -6.0, -7.25), (0.14, 0.16, 0.07, 0.08, 0.55))  # dm, hot pants to full length
_SKIRT_WAIST = 1.83  # dm
_POLISHED = Gloss(0.12, power=20, shadow_bias=0.25)


@dataclass(slots=True, eq=False)
class _Tailor:
    """Makes random garments for one body. Keep the order of the draws: outfits depend on it."""

    rng: np.random.Generator
    pack: Pack
    body: BodyShape
    hidden: BoolArray  # (V,) base vertices whose skin is covered; every garment adds to it

    def outfit(self) -> list[Part]:
        """A random dress, an overall, or a bottom and a top; mostly with shoes. The innermost comes first."""
        clothes = self.clothes()
        return [*clothes, self.shoes()] if self.rng.random() < 0.93 else clothes

    def clothes(self) -> list[Part]:
        kind = self.rng.random()
        if self.is_female and kind < 0.2:
            return self.dress()
        if kind < 0.24:
            texture = self.pack.textures["male_worksuit01"] if self.rng.random() < 0.5 else None
            return [self.modelled("full", "full:male_worksuit01", texture)]
        bottom = self.bottom()
        top = self.top()
        if bottom.layer == "skirt":
            return [bottom, replace(top, piece=tuck_in(top.piece, bottom.piece))]
        return [replace(bottom, piece=remove_covered_faces(bottom.piece, top.piece)), top]

    @property
    def is_female(self) -> bool:
        return self.body.sex == "female"

    def dress(self) -> list[Part]:
        texture, tint = self.cloth(logo=False), self.tint()
        skirt = self.skirt(self.rng.uniform(-6.2, -1.9), texture)
        top = self.cut_top(1.2, texture, loose=0.0, tint=tint)
        return [replace(skirt, material=Material(texture, tint)), top]

    def bottom(self) -> Part:
        rng, kind = self.rng, self.rng.random()
        if self.is_female and kind < 0.22:
            return self.skirt(rng.uniform(-5.5, -1.8), self.cloth(logo=False))
        if kind < 0.5:
            waist = rng.uniform(1.3, 1.9)
            cloth = self.cloth("denim" if rng.random() < 0.3 else "solid" if rng.random() < 0.6 else None, logo=False)
            lengths, shares = _TROUSER_HEMS
            field = bottom_field(waist, rng.choice(lengths, p=shares))
            return self.cut_garment("bottom", "tights", field, Tailoring(rng.uniform(0.07, 0.14)), cloth)
        name = self.any_item("bottom:")
        texture = None
        if rng.random() >= 0.6:
            texture = self.cloth("denim" if rng.random() < 0.35 else "solid", logo=False)
        return self.modelled("skirt" if name == _SKIRT_OF_SUIT else "bottom", name, texture)

    def top(self) -> Part:
        if self.rng.random() < 0.5:
            hem = self.rng.uniform(0.1, 0.7)
            return self.cut_top(hem, self.cloth())
        return self.modelled("top", self.any_item("top:"))

    def shoes(self) -> Part:
        rng, name = self.rng, str(self.rng.choice(SHOES))
        item = self.pack.items[f"shoes:{name}"]
        self.hidden[item.hidden] = True
        tint = self.tint() if rng.random() < 0.5 else np.clip((random_colour(rng) / 110) ** 2, 0.2, 3)
        return Part("shoes", item.fit(self.body.vertices), Material(self.pack.textures[name], tint, _POLISHED))

    def any_item(self, prefix: str) -> str:
        """A random item of the pack whose name has this prefix, for the person's sex."""
        names = [name for name in self.pack.items if name.startswith(prefix)]
        unisex = [name for name in names if "female" not in name or name == _UNISEX_TOP]
        return str(self.rng.choice(names if self.is_female else unisex))

    def cut_top(
        self, hem: float, texture: MipChain, loose: float | None = None, tint: Float64Array | None = None
    ) -> Part:
        rng, (lengths, shares) = self.rng, _SLEEVES
        sleeve = rng.choice(lengths, p=shares)
        neck: Neck = ("crew", "v", "scoop")[rng.choice(3, p=[0.55, 0.25, 0.2])]
        field = top_field(sleeve, hem, neck, opening=rng.uniform(0.74 if neck == "crew" else 0.88, 1.02))
        if loose is None:
            loose = rng.choice([0, 0.08, 0.16], p=[0.45, 0.35, 0.2])
        return self.cut_garment("top", "tights", field, Tailoring(rng.uniform(0.07, 0.13), loose, 4), texture, tint)

    def skirt(self, hem: float, texture: MipChain) -> Part:
        tailoring = Tailoring(self.rng.uniform(0.06, 0.2), smoothing=2)
        return self.cut_garment("skirt", "skirt", bottom_field(_SKIRT_WAIST, hem), tailoring, texture)

    def cut_garment(
        self,
        layer: Layer,
        surface: str,
        field: Field,
        tailoring: Tailoring,
        texture: MipChain,
        tint: Float64Array | None = None,
    ) -> Part:
        """A garment cut out of a surface around the body, `tights` or `skirt`."""
        self.hidden[covered_vertices(field, self.pack.base)] = True
        piece = cut(self.pack.items[surface], field, self.body.vertices, self.pack.base, tailoring)
        return Part(layer, piece, Material(texture, self.tint() if tint is None else tint))

    def modelled(self, layer: Layer, name: str, texture: MipChain | None = None) -> Part:
        """A garment of the pack, mostly with a procedural fabric instead of its own texture."""
        item, outfit = self.pack.items[name], name.split(":")[1]
        if texture is None:
            is_jeans = layer == "bottom" and len(item.neutral.template) == _JEANS_VERTICES
            if outfit in TEXTURED_OUTFITS and self.rng.random() < 0.6:
                texture = self.pack.textures[outfit]
            elif is_jeans and self.rng.random() < 0.4:
                texture = self.pack.textures["female_casualsuit01"]
            else:
                texture = self.cloth(logo=layer == "top")
        self.hidden[item.hidden] = True
        return Part(layer, item.fit(self.body.vertices), Material(texture, self.tint()))

    def cloth(self, kind: FabricKind | None = None, logo: bool = True) -> MipChain:
        return mip_chain(fabric(self.rng, kind, 512 if logo else 256, logo))

    def tint(self) -> Float64Array:
        return np.clip(self.rng.uniform(0.75, 1.2) * (1 + self.rng.normal(0, 0.12, 3)), 0.4, 1.5)


_HAIRSTYLES = {  # shares; the empty name is a bald head
    "female": {
        "long01": 0.24, "bob01": 0.17, "bob02": 0.16, "ponytail01": 0.18, "braid01": 0.12, "afro01": 0.04,
        "short03": 0.09,
    },
    "male": {"short01": 0.36, "short02": 0.24, "short03": 0.16, "short04": 0.06, "afro01": 0.05, "": 0.13},
}  # fmt: skip
_HAIR_COLOURS = np.array(  # RGB and share: four from black to brown, two blonds, red, two greys
    [
        (22, 19, 18, 0.24), (40, 28, 22, 0.2), (66, 44, 30, 0.17), (105, 72, 44, 0.12), (160, 120, 75, 0.08),
        (205, 170, 115, 0.07), (120, 52, 28, 0.05), (150, 148, 145, 0.04), (70, 70, 72, 0.03),
    ]
)  # fmt: skip
_HAIR_BRIGHTNESS = 150  # mean of the hair textures, 0..255
_FAIR_IRIS = {"brown": 0.3, "dark": 0.3, "blue": 0.2, "green": 0.1, "grey": 0.1}
_DARK_IRIS = {"brown": 0.4, "dark": 0.58, "blue": 0.01, "green": 0.005, "grey": 0.005}
_DARKEST_SKIN = np.array([0.34, 0.24, 0.19])  # linear RGB, relative to the textures
_TEETH = 18  # in half a circle around the middle of a jaw
_JAW_MIDDLE = 0.95  # dm, z of that middle on the neutral body
_GUM, _TOOTH_TIP = 0.72, 0.12  # heights on the teeth's texture: above is gum, below is the translucent edge
_TEETH_SIDE = 128  # texels
_LOWERED_TEETH = (0.02, 0.08)  # dm; at rest the upper teeth end where the lips meet, so that no word shows them
_TONGUE_HEIGHT = (0.5, 0.75)  # times the mesh's; that one fills the mouth
_CAVITY = np.array([0.12, 0.05, 0.05])  # linear RGB, relative to the skin; little light gets in
_SKIN = Gloss(0.045, power=12, shadow_bias=0.22)
_EYE = Gloss(0.22, power=120, shadow_bias=0.6)
_IRISES = ((0.705, 0.703), (0.290, 0.292))  # middles of the right and the left iris in the texture of the eyes, uv
_IRIS_RADIUS = 0.112  # of both there
_AROUND = 12  # points on the edge of an iris, whose middle is that of the iris


@dataclass(frozen=True, slots=True, eq=False)
class SkinAndHair:
    """Skin and hair of a person."""

    skin: str  # name of the texture
    skin_tone: Float64Array  # (3,) linear RGB factor on it
    hair: str  # name of the style; empty = bald
    hair_tint: Float64Array  # (3,) linear RGB


@dataclass(frozen=True, slots=True, eq=False)
class Character:
    """A dressed person: a mesh of n vertices that are bound to the base mesh."""

    body: BodyShape
    binding: Binding
    mesh: Mesh
    rest: Float32Array  # (n,3) vertices at rest, with clothes, dm
    joints: Float64Array  # (B,3) at rest, dm
    expression_basis: Float32Array  # (U,3k) effect of each expression unit on this face, dm
    irises: SurfacePoints | None  # right and left; None for eyes with another texture
    wears_skirt: bool  # or a dress


def sample_character(rng: np.random.Generator, pack: Pack) -> Character:
    """A random adult with clothes and hair."""
    body = sample_shape(rng, pack.base.rest, pack.shapes, "female" if rng.random() < 0.55 else "male")
    look = _sample_look(rng, body)
    tailor = _Tailor(rng, pack, body, np.zeros(len(body.vertices), bool))
    outfit = tailor.outfit()
    face = [*_face(rng, pack, body, look), *_mouth(rng.spawn(1)[0], pack, body)]
    parts = [*_skin(pack, look, tailor.hidden), *face, *outfit, *_hair(rng, pack, body, look)]
    binding, mesh = assemble(parts)
    return Character(
        body=body,
        binding=binding,
        mesh=mesh,
        rest=binding.vertices_on(body.vertices),
        joints=pack.skeleton.joints(body.vertices),
        expression_basis=pack.shapes.expression_basis(body.ethnicity),
        irises=_irises(parts),
        wears_skirt=any(part.layer == "skirt" for part in outfit),
    )


def _irises(parts: list[Part]) -> SurfacePoints | None:
    """The middles of the right and the left iris, as points of the assembled mesh."""
    angles = np.arange(_AROUND) * (2 * np.pi / _AROUND)
    edge = _IRIS_RADIUS * np.stack([np.cos(angles), np.sin(angles)], 1)
    eyes, first = next(both for both in zip(parts, first_vertices(parts), strict=True) if both[0].layer == "eyes")
    points = points_of_texture(eyes.piece, np.array(_IRISES)[:, None] + edge)
    return None if points is None else replace(points, corners=points.corners + first)


def _sample_look(rng: np.random.Generator, body: BodyShape) -> SkinAndHair:
    skin, tone = _sample_skin(rng, body)
    hair = choose(rng, _HAIRSTYLES[body.sex])
    colour, share = _HAIR_COLOURS[:, :3] / _HAIR_BRIGHTNESS, _HAIR_COLOURS[:, 3].copy()
    if body.ethnicity[2] < 0.4:
        share[3:6] *= 0.15
        share[6:] *= 0.3
    share[7:] *= 1 + 8 * body.age
    tint = (colour[rng.choice(len(share), p=share / share.sum())] * rng.uniform(0.85, 1.2)) ** 2
    return SkinAndHair(skin, tone, hair, tint)


def _sample_skin(rng: np.random.Generator, body: BodyShape) -> tuple[str, Float64Array]:
    """The texture of the skin, and a linear RGB factor (3,) on it that follows the ethnicity."""
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


def _skin(pack: Pack, look: SkinAndHair, hidden: BoolArray) -> list[Part]:
    """Body, head, and the inside of the mouth, without the faces that clothes hide, by a mask (V,) of base vertices."""
    base, skin = pack.base, look.skin
    parts = []
    for piece, texture, shade in ((base.body, skin, 1), (base.head, f"{skin}_head", 1), (base.mouth, skin, _CAVITY)):
        bare = piece.with_faces(~np.all(hidden[piece.faces], 1))
        parts.append(Part("body", bare, Material(pack.textures[texture], look.skin_tone * shade, _SKIN, CULL_BACK)))
    return parts


def _face(rng: np.random.Generator, pack: Pack, body: BodyShape, look: SkinAndHair) -> list[Part]:
    """Eyes, brows and lashes."""

    def part(layer: Layer, name: str, texture: str, tint: Float64Array, gloss: Gloss, flags: int = 0) -> Part:
        piece = pack.items[f"{layer}:{name}"].fit(body.vertices)
        return Part(layer, piece, Material(pack.textures[texture], tint, gloss, flags))

    brow = str(rng.choice(BROWS))
    iris = choose(rng, _FAIR_IRIS if body.ethnicity[2] > 0.5 else _DARK_IRIS)
    brow_tint = np.clip(look.hair_tint * 1.6, 0.03, 0.8)
    return [
        part("eyes", "high-poly", f"eye_{iris}", np.array([1.1, 1.07, 1.03]), _EYE, ALPHA_TEST),
        part("brows", brow, brow, brow_tint, MATT, ALPHA_TEST),
        part("lashes", "eyelashes01", "eyelashes01", np.ones(3), MATT, ALPHA_TEST),
    ]


def _mouth(rng: np.random.Generator, pack: Pack, body: BodyShape) -> list[Part]:
    """Tongue and teeth. Seeds of published data sets count no draws of this `rng`: it is a generator of its own."""
    teeth, tongue = (pack.items[name].fit(body.vertices) for name in ("teeth", "tongue:tongue01"))
    upper = teeth.binding.bone[:, 0] != tongue.binding.bone[0, 0]  # the tongue moves with the lower jaw
    lowered = np.zeros((len(upper), 3), np.float32)
    lowered[upper, 1] = -rng.uniform(*_LOWERED_TEETH)
    teeth = replace(teeth.with_offset(teeth.binding.offset + lowered), uv=_teeth_uv(teeth, upper))
    height = tongue.template * np.array([0, 1, 0], np.float32)
    flatter = (rng.uniform(*_TONGUE_HEIGHT) - 1) * (height - height.min(0))
    tongue = tongue.with_offset((tongue.binding.offset + flatter).astype(np.float32))
    pink = np.array([0.42, 0.27, 0.26]) * rng.uniform(0.7, 1.2)
    return [
        Part("tongue", tongue, Material(pack.textures["tongue01"], pink, _SKIN)),
        Part("teeth", teeth, Material(_teeth_texture(rng), np.full(3, rng.uniform(0.6, 0.85)), _EYE)),
    ]


def _teeth_uv(teeth: Piece, upper: BoolArray) -> Float32Array:
    """(F,3,2): u runs along the jaw from the right to the left, v from the tips (0) to the gum (1)."""
    x, y, z = teeth.template.T
    u = 0.5 + np.arctan2(x, z - _JAW_MIDDLE) / np.pi
    v = np.empty_like(y)
    for row, up in ((upper, 1), (~upper, -1)):
        level = up * (y[row] - np.polyval(np.polyfit(z[row], y[row], 1), z[row]))  # jaws rise towards their ends
        v[row] = (level - level.min()) / np.ptp(level)
    return np.stack([u, v], -1).astype(np.float32)[teeth.faces]


def _teeth_texture(rng: np.random.Generator) -> MipChain:
    """Teeth with dark gaps below a gum. They darken towards the back, where little light gets."""
    u, v = (np.arange(_TEETH_SIDE) + 0.5) / _TEETH_SIDE, 1 - (np.arange(_TEETH_SIDE)[:, None] + 0.5) / _TEETH_SIDE
    tooth = np.array([232, 224, 206]) - rng.uniform(0, 1) * np.array([10, 22, 48])  # white to yellow
    to_gap = np.abs((u * _TEETH) % 1 - 0.5)  # 0 in the middle of a tooth, 0.5 in a gap
    shade = 1 - rng.uniform(0.15, 0.5) * np.clip((to_gap - 0.38) / 0.12, 0, 1)
    shade = shade * (1 - 0.15 * np.clip((_TOOTH_TIP - v) / _TOOTH_TIP, 0, 1))
    arch = _GUM - 0.1 * (2 * to_gap) ** 2  # the gum reaches down between two teeth
    gum = np.clip((v - arch) * 20, 0, 1)[..., None]
    colour = (1 - gum) * shade[..., None] * tooth + gum * np.array([176, 104, 100])
    colour = colour * (0.25 + 0.75 * np.clip(1.25 - 3.2 * np.abs(u - 0.5), 0, 1))[:, None]
    opaque = np.full((_TEETH_SIDE, _TEETH_SIDE, 1), 255)
    return mip_chain(np.concatenate([colour, opaque], -1).astype(np.uint8))


def _hair(rng: np.random.Generator, pack: Pack, body: BodyShape, look: SkinAndHair) -> list[Part]:
    """Hair unless the head is bald, and sometimes a hat on a bald or closely cropped head."""
    parts = []
    if look.hair:
        name = f"hair_{look.hair}"
        texture = pack.textures[name] if name in pack.textures else mip_chain(strands(rng))
        piece = pack.items[f"hair:{look.hair}"].fit(body.vertices)
        gloss = Gloss(0.03 + 0.25 * look.hair_tint.mean(), power=10, shadow_bias=0.45)  # fair hair shines more
        parts.append(Part("hair", piece, Material(texture, look.hair_tint, gloss, ALPHA_TEST)))
    if look.hair in ("", "short04") and rng.random() < 0.2:
        felt = Material(mip_chain(fabric(rng, "solid", logo=False)), np.ones(3))
        parts.append(Part("hat", pack.items["hat:fedora"].fit(body.vertices), felt))
    return parts
