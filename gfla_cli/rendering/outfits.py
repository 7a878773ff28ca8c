"""Random clothes: which garments go together, and in which fabrics."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gfla_cli.arrays import BoolArray, Float64Array
from gfla_cli.rendering.body import BodyShape
from gfla_cli.rendering.fabrics import FabricKind, fabric, random_colour
from gfla_cli.rendering.garments import Field, Neck, Tailoring, bottom_field, covered, cut, top_field, tucked_in, under
from gfla_cli.rendering.materials import Gloss, Material
from gfla_cli.rendering.pack import Pack
from gfla_cli.rendering.parts import Layer, Part
from gfla_cli.rendering.textures import MipChain, mip_chain

_PHOTOGRAPHED = (  # outfits with a texture of their own
    "female_casualsuit01",
    "female_elegantsuit01",
    "male_casualsuit05",
    "male_elegantsuit01",
    "male_worksuit01",
)
_JEANS_VERTICES = 886  # the jeans that most outfits share have this many
_SKIRT_OF_SUIT = "bottom:female_elegantsuit01"
_UNISEX_TOP = "top:female_casualsuit01"
_SLEEVES = ((0.12, 0.75, 1.25, 2.3, 3.4, 4.35), (0.16, 0.1, 0.28, 0.1, 0.12, 0.24))  # dm along the arm, shares
_TROUSER_HEMS = ((-1.9, -3.0, -4.4, -6.0, -7.25), (0.14, 0.16, 0.07, 0.08, 0.55))  # dm, hot pants to full length
_SKIRT_WAIST = 1.83  # dm
_POLISHED = Gloss(0.12, power=20, shadow_bias=0.25)


@dataclass(frozen=True, slots=True, eq=False)
class Outfit:
    """What somebody wears, inside first."""

    parts: tuple[Part, ...]
    hidden: BoolArray  # (V,) base vertices whose skin is covered


def sample_outfit(rng: np.random.Generator, pack: Pack, body: BodyShape) -> Outfit:
    """A dress, an overall, or a bottom and a top; and mostly shoes."""
    tailor = _Tailor(rng, pack, body, np.zeros(len(body.vertices), bool))
    parts = tailor.clothes()
    if rng.random() < 0.93:
        parts.append(tailor.shoes())
    return Outfit(tuple(parts), tailor.hidden)


@dataclass(slots=True, eq=False)
class _Tailor:
    """Makes garments for one body. The order of the draws is part of the recipe: one seed, one outfit."""

    rng: np.random.Generator
    pack: Pack
    body: BodyShape
    hidden: BoolArray  # grows with every garment

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
            return [bottom, replace(top, piece=tucked_in(top.piece, bottom.piece))]
        return [replace(bottom, piece=under(bottom.piece, top.piece)), top]

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
            return self.cut_trousers(waist, cloth)
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
        rng, name = self.rng, str(self.rng.choice(["shoes01", "shoes03", "shoes05"]))
        item = self.pack.items[f"shoes:{name}"]
        self.hidden[item.hidden] = True
        tint = self.tint() if rng.random() < 0.5 else np.clip((random_colour(rng) / 110) ** 2, 0.2, 3)
        return Part("shoes", item.fit(self.body.vertices), Material(self.pack.textures[name], tint, _POLISHED))

    def any_item(self, prefix: str) -> str:
        """The name of an item of the pack that suits the person."""
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
        return self.made("top", "tights", field, Tailoring(rng.uniform(0.07, 0.13), loose, 4), texture, tint)

    def cut_trousers(self, waist: float, texture: MipChain) -> Part:
        lengths, shares = _TROUSER_HEMS
        field = bottom_field(waist, self.rng.choice(lengths, p=shares))
        return self.made("bottom", "tights", field, Tailoring(self.rng.uniform(0.07, 0.14)), texture)

    def skirt(self, hem: float, texture: MipChain) -> Part:
        tailoring = Tailoring(self.rng.uniform(0.06, 0.2), smoothing=2)
        return self.made("skirt", "skirt", bottom_field(_SKIRT_WAIST, hem), tailoring, texture)

    def made(
        self,
        layer: Layer,
        surface: str,
        field: Field,
        tailoring: Tailoring,
        texture: MipChain,
        tint: Float64Array | None = None,
    ) -> Part:
        """A garment cut out of one of the surfaces around the body, `tights` or `skirt`."""
        self.hidden[covered(field, self.pack.base)] = True
        piece = cut(self.pack.items[surface], field, self.body.vertices, self.pack.base, tailoring)
        return Part(layer, piece, Material(texture, self.tint() if tint is None else tint))

    def modelled(self, layer: Layer, name: str, texture: MipChain | None = None) -> Part:
        """A garment of the pack, mostly in a fabric that it was not made for."""
        item, outfit = self.pack.items[name], name.split(":")[1]
        if texture is None:
            is_jeans = layer == "bottom" and len(item.neutral.template) == _JEANS_VERTICES
            if outfit in _PHOTOGRAPHED and self.rng.random() < 0.6:
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
