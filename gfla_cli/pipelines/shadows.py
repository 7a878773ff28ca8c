"""Contact shadows: the soft shadow on the floor at a person's feet goes where the feet go.

Only what is surely such a shadow moves: darker than a calm floor, soft, grey, and not too large.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from gfla_cli.arrays import BoolArray, Float32Array, Image
from gfla_cli.geometry.crop import Crop, shifted
from gfla_cli.geometry.paste import ramp
from gfla_cli.person.body import torso_length
from gfla_cli.person.pose import Pose
from gfla_cli.pipelines.frame_layers import LIKELY, UNLIKELY, disc
from gfla_cli.pipelines.inpainting import smoothly_filled

ANKLES = [10, 13]  # joints
# Torso lengths:
_ASIDE, _ABOVE, _BELOW = 1.6, 0.5, 0.8  # from the ankles: the floor that is looked at
_FOOT, _CUT = 0.5, 0.04  # from an ankle to the end of its foot, at most; from there to a border that may cut it
_STAYS = 0.03, 0.1  # an ankle's way; up to the first, its shadow stays; from the second on, it goes with the foot
_FAR = 0.3, 0.6  # from both feet: up to the first, a shadow is near one; from the second on, it is far from both
_LIFTED = 0.65, 0.45  # from the lower foot up to the other; from the first on, that one has no shadow
# Pixels of the map of a floor:
_TORSO, _FOOT_SIDE = 56, 48  # of a torso, at most; of the side of the map of a foot
_EDGE, _FADE, _BLUR = 2, 3, 1.0  # beside a person, whose edge is soft; beside a shadow; sigma, as it has no grain
_BAND = 256  # rows that are changed at a time; it bounds the memory that large images take
_SPARSE, _FEWEST = 4, 64  # a floor is fitted to each fourth of its places, and to so many of them at least
_FITS = 6  # of a floor; each leaves out what is darker than the one before
# Shares of the floor's light:
_DARK = 0.015  # missing in a shadow, at least
_DEEP = 0.05, 0.7  # missing where the shadow is deep, at least and at most
_UNEVEN = 0.01  # standard deviation of a calm floor around its fit
_HARD, _MOST = 0.02, 0.95  # by which a shadow differs from its blur, at most, in that share of its places
_COLOURED = 0.25  # by which colours differ in a shadow, as a share of what is missing, at most
_LARGE, _STAINED = 0.4, 0.03  # shares of the floor that is seen: in the shadow, and dark apart from it, at most
_GREY = np.full(3, 1 / 3, np.float32)


@dataclass(frozen=True, slots=True)
class Shadow:
    """The shadow at a person's feet, in a map of the floor around them. Points are in pixels of the map."""

    floor: Crop  # of the image: the map
    dark: Float32Array  # (2, h, w, 3) in [0, 1) what the shadow of each foot takes of the light, also under the person
    filled: Float32Array  # (h, w, 3) in [0, 1) what is missing in the image without the person, which is filled there
    ankles: Float32Array  # (2, 2) x, y
    soles: Float32Array  # (2, 2) x, y, see `_soles`
    torso: float  # its length

    @classmethod
    def of(cls, image: Image, cover: Float32Array, background: Image, pose: Pose) -> Shadow | None:
        """The shadow of a person in an image (H, W, 3); None unless there surely is one.

        `cover` (H, W) in [0, 1]: where the image shows the person; `background` (H, W, 3): the same without the person.
        """
        torso = torso_length(pose)
        if torso <= 0 or not pose.present[ANKLES].all():
            return None
        feet = pose.points[ANKLES, :2]
        floor, soles = _floor_around(feet, torso), _soles(cover, feet, torso)
        ankles, inside = floor.points(feet), floor.image(np.ones(cover.shape, np.uint8), beyond=0) > 0
        hidden = cv2.dilate((floor.image(cover, beyond=0) > UNLIKELY).astype(np.uint8), disc(_EDGE)) > 0
        seen = floor.image(image, beyond="edge").astype(np.float32)
        lit = _without_shadow(seen, inside & ~hidden)
        if lit is None or soles[:, 1].max() > len(cover) - _CUT * torso:
            return None
        light = np.asarray(cv2.GaussianBlur(smoothly_filled(seen / lit, hidden), (0, 0), _BLUR), np.float32)
        there = _shadow_in(light, hidden, inside, ankles)
        if there is None:
            return None
        under = cv2.GaussianBlur(cv2.erode(light, disc(_FADE)), (0, 0), _FADE)  # a foot hides the darkest part
        person = cv2.GaussianBlur(hidden.astype(np.float32), (0, 0), _BLUR)
        light = cv2.blendLinear(under, light, person, 1 - person)
        share = cv2.GaussianBlur(cv2.dilate(there.astype(np.float32), disc(2 * _FADE)), (0, 0), _FADE)[..., None]
        filled = cv2.GaussianBlur(floor.image(background, beyond="edge") / lit, (0, 0), _BLUR)
        dark, filled = (np.asarray(share * (1 - part).clip(0, _DEEP[1]), np.float32) for part in (light, filled))
        soles, torso = floor.points(soles), torso * floor.scale
        return cls(floor, _of_feet(dark, soles, torso), filled, ankles, soles, torso)

    def within(self, x: float, y: float) -> Shadow:
        """The same in a part of the image that begins at (x, y)."""
        return replace(self, floor=Crop(shifted(self.floor.box, -x, -y), self.floor.size))

    def moved(
        self,
        background: Image,
        cover: Float32Array,
        region: tuple[slice, slice],
        ankles: Float32Array,
        *,
        exchange: bool = True,
    ) -> Image:
        """A copy of the image without the person (H, W, 3), whose shadow has gone to where the feet are now.

        `ankles` (2, 2) x, y of them; `cover` (N, M) in [0, 1]: where a region of the image shows the person now.
        `exchange`: feet that change sides leave their shadows to each other. In a clip, these would jump.
        """
        result, corner = background.copy(), np.array([part.start for part in region[::-1]], np.float32)
        hidden = (self.soles - self.ankles) / self.floor.scale  # from an ankle to its sole, where no foot is seen
        soles = self.floor.points(_soles(cover, ankles - corner, self.torso / self.floor.scale, hidden) + corner)
        orders = ([0, 1], [1, 0]) if exchange else ([0, 1],)
        order = min(orders, key=lambda old: float(np.square(soles - self.soles[old]).sum()))
        moves = ramp(np.linalg.norm(self.floor.points(ankles) - self.ankles[order], axis=1) / self.torso, *_STAYS)
        if not moves.any():
            return result
        steps = (soles - self.soles[order]) * moves[:, None]
        stands = 1 - moves * (1 - ramp((soles[:, 1].max() - soles[:, 1]) / self.torso, *_LIFTED))
        left, top, right, bottom = self._reach(steps, result.shape)
        x, y = np.meshgrid(np.arange(left, right, dtype=np.float32), np.arange(top, bottom, dtype=np.float32))
        dark = np.zeros((*x.shape, 3), np.float32)  # what is missing; beyond a map, nothing is
        for foot, step, stand in zip(order, steps, stands, strict=True):
            dark += stand * cv2.remap(self.dark[foot], x - step[0], y - step[1], cv2.INTER_LINEAR)
        factor = (1 - np.minimum(dark, _DEEP[1])) / (1 - cv2.remap(self.filled, x, y, cv2.INTER_LINEAR))
        floor = Crop(self.floor.bounds_back((left, top, right, bottom)), factor.shape[:2])
        rows, columns = floor.region(result.shape) or (slice(0, 0), slice(0, 0))
        for start in range(rows.start, rows.stop, _BAND):
            band = slice(start, min(start + _BAND, rows.stop)), columns
            result[band] = (result[band] * floor.uncropped(factor, band) + 0.5).clip(0, 255)
        return result

    def _reach(self, steps: Float32Array, shape: tuple[int, ...]) -> list[int]:
        """Left, top, right, bottom of what holds the old and the new shadow in an image of a shape (height, width)."""
        ends = np.reshape(self.floor.bounds((0.0, 0.0, float(shape[1]), float(shape[0]))), (2, 2))
        first = np.floor(np.maximum(steps.min(axis=0, initial=0), ends[0]))
        last = np.ceil(np.minimum(steps.max(axis=0, initial=0) + self.floor.size[::-1], ends[1]))
        return [int(end) for end in (*first, *np.maximum(last, first + 1))]


def _of_feet(dark: Float32Array, soles: Float32Array, torso: float) -> Float32Array:
    """(2, h, w, 3) the shadows of two feet (2, 2), from the map of both: each has what is near to it.

    What is far from both belongs to one of them, piece by piece: a long shadow is not torn.
    """
    y, x = (np.arange(side, dtype=np.float32) for side in dark.shape[:2])
    away = np.stack([np.square(x - at) + np.square(y[:, None] - down) + 1 for at, down in soles])
    far = ramp(np.sqrt(away.min(axis=0)) / torso, *_FAR)
    missing = dark @ _GREY
    _, pieces = cv2.connectedComponents(((far > 0) & (missing > _DARK)).astype(np.uint8))
    right, left = (np.bincount(pieces.ravel(), (part * far * missing).ravel()) for part in away)
    whole = cv2.GaussianBlur((right <= left)[pieces].astype(np.float32), (0, 0), _FADE)
    near = away[1] ** 2 / (away**2).sum(axis=0)
    first = (near + far * (whole - near)).astype(np.float32)[..., None]
    return np.stack([dark * first, dark * (1 - first)])


def _soles(cover: Float32Array, ankles: Float32Array, torso: float, hidden: Float32Array | float = 0.0) -> Float32Array:
    """(2, 2) x, y of the lower ends of the feet at two ankles in a cover (H, W).

    `hidden` (2, 2): from an ankle to it, where the cover shows no foot.
    """
    found = (ankles + hidden).astype(np.float32)
    for foot, (x, y) in enumerate(ankles.tolist()):
        part = Crop.square((x, y + _FOOT / 2 * torso), _FOOT * torso, (_FOOT_SIDE, _FOOT_SIDE))
        rows, columns = np.nonzero(part.image(cover, beyond=0) > LIKELY)
        places = part.points_back(np.column_stack([columns, rows]).astype(np.float32))
        away = np.linalg.norm(places[:, None] - ankles, axis=2)
        places = places[away[:, foot] < away[:, 1 - foot]]
        if len(places):
            found[foot] = places[:, 0].mean(), places[:, 1].max()
    return found


def _floor_around(feet: Float32Array, torso: float) -> Crop:
    """The floor around two ankles (2, 2), as small as a soft shadow allows."""
    (left, top), (right, bottom) = feet.min(axis=0).tolist(), feet.max(axis=0).tolist()
    box = left - _ASIDE * torso, top - _ABOVE * torso, right + _ASIDE * torso, bottom + _BELOW * torso
    scale = min(1.0, _TORSO / torso)
    return Crop(box, (max(1, round((box[3] - box[1]) * scale)), max(1, round((box[2] - box[0]) * scale))))


def _without_shadow(seen: Float32Array, known: BoolArray) -> Float32Array | None:
    """(h, w, 3) a smooth surface through the colours of a floor that are known and in full light; None if not calm."""
    x, y = np.meshgrid(*(np.linspace(-1, 1, side, dtype=np.float32) for side in known.shape[::-1]))
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    colours, places = seen[known][::_SPARSE], terms[known][::_SPARSE]
    grey, used = colours @ _GREY, np.ones(len(colours), np.bool_)
    for _ in range(_FITS):
        if used.sum() < _FEWEST:
            return None
        missing = 1 - grey / np.maximum(places @ _fit(places[used], grey[used]), 1)
        uneven = float(missing[used].std())
        used = missing < np.clip(2 * uneven, _DARK / 4, _DARK)
    return np.maximum(terms @ _fit(places[used], colours[used]), 1) if uneven <= _UNEVEN else None


def _fit(terms: Float32Array, values: Float32Array) -> Float32Array:
    """The factors (6, ...) by which terms (n, 6) give values (n, ...)."""
    return np.asarray(np.linalg.lstsq(terms.T @ terms, terms.T @ values, rcond=None)[0])


def _shadow_in(light: Float32Array, hidden: BoolArray, inside: BoolArray, ankles: Float32Array) -> BoolArray | None:
    """(h, w) where a shadow is, and the person whose ankles (2, 2) are there; None unless it surely is a shadow.

    `light` (h, w, 3): shares of the floor's. `hidden` (h, w): by the person; `inside`: of the image.
    """
    known, missing = inside & ~hidden, 1 - light @ _GREY
    dark = known & (missing > _DARK)
    _, pieces = cv2.connectedComponents((dark | hidden).astype(np.uint8))
    x, y = np.rint(ankles).astype(np.intp).T
    there = np.isin(pieces, pieces[y, x]) & (dark | hidden)
    shadow = dark & there
    # It may be cut by the lower border of the image, but not by another one.
    floor = np.maximum.accumulate(inside).astype(np.uint8)
    beyond = cv2.erode(floor, disc(1), borderType=cv2.BORDER_CONSTANT, borderValue=(0,)) == 0
    if not hidden[y, x].all() or not shadow.any() or shadow[beyond].any():
        return None
    if shadow.sum() > _LARGE * known.sum() or (dark & ~there).sum() > _STAINED * known.sum():
        return None
    edges = np.abs(missing - cv2.GaussianBlur(missing, (0, 0), 2 * _BLUR))
    deep, hard = (np.quantile(part[shadow], _MOST) for part in (missing, edges))
    colours = np.abs(light[shadow] - light[shadow].mean(axis=1, keepdims=True)).mean()
    soft = _DEEP[0] <= deep <= _DEEP[1] and hard <= _HARD and colours <= _COLOURED * missing[shadow].mean()
    return there if soft else None
