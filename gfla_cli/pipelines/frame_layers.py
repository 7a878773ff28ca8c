"""What a generated frame is mixed from, and how it is made sharp and cut out before it is mixed.

Networks average over what they doubt. Here a frame gets one outline and the source's own pixels where the flow moves
them as they are.
"""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import LAYERS, BoolArray, Float32Array, Image
from gfla_cli.geometry.crop import Crop
from gfla_cli.geometry.paste import ramp
from gfla_cli.person.body import body_reach, distance_from_body, torso_length, with_cut_part
from gfla_cli.person.pose import Pose

# Weights of neighbouring pixels that remove waves of two and four pixels.
_NO_PATTERN = np.array([1, 2, 2, 2, 1], np.float32) / 8
_ENDS = tuple(accumulate(LAYERS.values()))[:-1]  # channels where the second to the last layer begin
_MOVED = 0.03  # widths of the frame from which on a wrong place counts; at rest the source is right as it is
SURE, LIKELY, UNLIKELY = 0.9, 0.5, 0.1  # values of the matte inside the subject, at its edge, and outside
_EDGE = 5  # pixels of the network's frame across which source and matte may disagree about the edge
_INSIDE, _GAP = 2, 16  # pixels from a subject's edge that are well inside; half the width of a gap in a subject
_SOFT_EDGE = 6  # pixels of the network's frame: how far from its edge a subject may be drawn as a mixture
_MARGIN, _GRID = 12, 32  # pixels of the network's frame around a subject, and steps in which they grow
_CLEAR = 0.4  # contrast in [-1, 1]; larger ones count the same
_TELLS = 0.3  # contrast nearby in [-1, 1]; where it is lower, a pale colour says little
_PALE = 0.6, 0.3  # shares of the contrast nearby: above, a colour is the subject's; below, the background's
_STRONG = 0.2, 0.5  # shares of the matte nearby: below, a colour is a mixture; above, the subject's own
_LIMB_EDGE = 3  # pixels of the network's frame across which a limb may be cut where another one moves otherwise
_SOFTENED = 0.3  # standard deviation of the blur that softens this edge, in widths of the edge
_ABOUT = 2  # pixels of blur within which two images are compared
# Where the moved source shows what was drawn, but sharp: fully up to the first value, not at all from the second on:
# difference of blurred colours in [-1, 1], and pixels of the source from one pixel to the next.
_ALIKE, _RIPPLED = (0.06, 0.2), (4, 6)
# Of places of the source that are shown twice:
_CELL = 4  # pixels of the network's frame
_APART = 5  # pixels of the network's frame from which on two places are not neighbours
_UNLIKE = 0.3  # difference of blurred colours in [-1, 1] that counts for 1/e
_LEAST = 0.01  # to divide by, of contrasts and mattes
# Weights of known colours: from the first on no coarser ones are needed; the second is divided by, and makes no colour
# visibly darker.
_ENOUGH, _KNOWN = 0.1, 1e-4
# Of what the network cut off from a subject that hardly moves:
_STILL = 6  # pixels of the network's frame by which a place of it moves at most
_MOSTLY = 0.85, 0.95  # shares of such places: below, nothing is added; above, all
_BESIDE = 6  # pixels of the network's frame from the drawn subject
_TAKEN = 2  # pixels of the network's frame around a place of the source that count as shown with it
# Of a false ring around a head, and around a limb, that a network may draw: its width, and half the width from which on
# it is none; in pixels of the network's frame.
_RING, LIMB_RING = (10, 5), (3, 3)
_SLENDER = 2  # pixels of the network's frame: half the least width that may be left of a limb without its ring
_UNCUT = 16  # pixels of the network's frame around what would come off: there the limb keeps its ring
_SMOOTH = 1.5  # pixels of the network's frame: noise of a flow that is no stretch
_AS_A_WHOLE = 0.35, 0.65  # share of a head that moves rigidly: below, the network's mixture stays; above, none of it
# Distances from a body in torso lengths, and powers of the matte there. Measured on 16 rendered pairs: a matte of 0.6
# is right in 9 of 10 places on a limb, and in none of 10 at 0.35 torsos from it.
_DOUBT = (0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6), (0.4, 0.7, 0.9, 1, 1.6, 4, 12)

NOT_NEAR = 1000.0  # pixels to the nearest place of a subject, from a gap between two parts of it
EVERYWHERE = slice(None), slice(None)  # rows and columns of a region that is the whole frame
Places = tuple[Float32Array, Float32Array]  # (H, W) x and y, in pixels of the source's frame


class Stretch(NamedTuple):
    """Factors of length within which a flow is rigid: it moves a part of the image as it is.

    Each limit is a pair: up to the first value the flow is fully rigid, from the second on not at all.
    """

    least: tuple[float, float]
    most: tuple[float, float]

    def holds(self, shortest: Float32Array, longest: Float32Array) -> Float32Array:
        """(H, W) in [0, 1], from the factors along the direction of least and of most stretch. A fold is below 0."""
        return np.minimum(ramp(shortest, *self.least[::-1]), ramp(longest, *self.most[::-1]))


BODY_STRETCH = Stretch((0.8, 0.6), (1.25, 1.6))
HEAD_STRETCH = Stretch((0.6, 0.4), (1.5, 2.2))  # heads turn, which is a stretch, but no clothes slide over them
_TORN = Stretch((0.3, 0.1), (2, 3))  # a larger stretch is no part of the source, but a jump between two


class SourceFrame(NamedTuple):
    """What the network saw of the source, and where that shows its subject, at the size of the network's frame."""

    image: Image  # (h, w, 3)
    cover: Float32Array  # (h, w) in [0, 1]
    nearest: Float32Array  # (h, w, 3) x, y of the nearest place well inside of the subject; the way there, < 0 inside

    @classmethod
    def of(cls, source: Image, cover: Float32Array, crop: Crop) -> SourceFrame:
        """The `crop` of a source (H, W, 3) and of its cover (H, W)."""
        # Bytes, as crops continue the background beyond an image for bytes alone.
        seen = crop.image((cover * 255).astype(np.uint8))
        return cls.shown(crop.image(source), np.asarray(seen / np.float32(255), np.float32))

    @classmethod
    def shown(cls, image: Image, cover: Float32Array) -> SourceFrame:
        """From both at the size of the network's frame."""
        return cls(image, cover, _nearest(cover))

    def image_at(self, places: Places) -> Float32Array:
        """(H, W, 3) in [-1, 1] what is at these places."""
        moved = cv2.remap(self.image, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(moved / np.float32(127.5) - 1, np.float32)

    def subject_near(self, places: Places) -> tuple[Float32Array, Float32Array]:
        """(H, W, 2) x, y from these places to the nearest ones well inside of the subject, and (H, W) how far it is.

        Within the subject the way is negative: how far its edge is.
        """
        x, y, way = cv2.split(cv2.remap(self.nearest, *places, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE))
        to_subject = np.dstack([x - places[0], y - places[1]])
        return np.where(way[..., None] > 0, to_subject, 0).astype(np.float32), np.asarray(way, np.float32)

    def cover_at(self, places: Places) -> Float32Array:
        """(H, W) in [0, 1]: whether the subject is at these places."""
        return np.asarray(cv2.remap(self.cover, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


class Layers(NamedTuple):
    """What one generated frame is mixed from: `drawn * (1 - share) + share * moved source + residual`.

    All maps cover the same frame. Those of a network have one size; the image that they are used for has another.
    """

    drawn: Float32Array  # (H, W, 3) in [-1, 1]
    share: Float32Array  # (H, W) in [0, 1], of the moved source
    residual: Float32Array  # (H, W, 3)
    offset: Float32Array  # (H, W, 2) x, y from each place to where the source shows the same, in widths of the frame
    matte: Float32Array  # (H, W) in [0, 1]: the person or object, not the background

    @classmethod
    def unpacked(cls, planes: Float32Array) -> Layers:
        """One frame (10, H, W) of what `networks.layers.layers_of` gives."""
        # Each map side by side in memory: cv2 would copy anything else in every call.
        parts = (np.ascontiguousarray(part.transpose(1, 2, 0)) for part in np.split(planes, _ENDS))
        drawn, share, residual, offset, matte = parts
        return cls(drawn, share[..., 0], residual, offset, matte[..., 0])

    def without_pattern(self) -> Layers:
        """The same without the pattern of four pixels that transposed convolutions leave in what was drawn."""
        return self._replace(drawn=_without_pattern(self.drawn))

    def with_even_outline(self) -> Layers:
        """The same without this pattern in the matte, which gives hair a scalloped outline."""
        return self._replace(matte=_without_pattern(self.matte))

    def copied(self) -> Layers:
        """The same in memory of its own."""
        return Layers(*(part.copy() for part in self))

    def around(self, body: Pose) -> Layers:
        """The same with a matte that trusts a body, whose pose is in pixels of the matte.

        Networks mistake the floor at the source's feet for the person, and doubt whether a limb is still where the
        source has it. So a doubtful matte counts less, the farther it is from the body. A body without joints to
        measure changes nothing.
        """
        if torso_length(body) <= 0:
            return self
        body = with_cut_part(body)
        power = np.interp(distance_from_body(body, self.matte.shape), *_DOUBT).astype(np.float32)
        return self._replace(matte=self.matte**power * body_reach(body, self.matte.shape))

    def with_definite_outline(self, source: SourceFrame) -> Layers:
        """The same with one outline, and the subject's own colours up to it.

        Where a network doubts an outline, it averages: it draws a fringe that is half subject, half background. Here
        those parts of the fringe that look like the background beside it become background. The rest takes colours from
        sure places around. So do places whose flow misses the source's subject: they would show its background.
        """
        there = self.subject_region(UNLIKELY)  # the rest of the frame is background, and stays as it is
        drawn, share, _, _, matte = (part[there] for part in self)
        seen = source.cover_at(self.looked_at(there))
        made = self.mixed(source, there)
        astray = (1 - seen) * self.moving(there)
        outside = outside_of(matte)
        if not outside.any():
            return self
        contrast = np.sqrt(squared(made - spread(made, outside)))
        contrast = cv2.GaussianBlur(np.minimum(contrast, _CLEAR), (0, 0), 1)
        nearby = _square(_SOFT_EDGE)
        deep = cv2.GaussianBlur(cv2.erode((matte > LIKELY).astype(np.float32), nearby), (0, 0), 1)
        # Compared with what is nearby: white shoes on a white floor are no fringe.
        most = cv2.dilate(contrast * matte, nearby)
        pale = ramp(contrast / np.maximum(most, _LEAST), *_PALE) * np.minimum(1, most / _TELLS)
        matte = matte * (1 - pale * (1 - deep) * (1 - share * seen))

        strength = cv2.GaussianBlur(matte, (0, 0), _SMOOTH)
        most = np.maximum(cv2.dilate(strength, nearby), _LEAST)
        own = np.maximum(ramp(strength / most, *_STRONG), deep) * (matte > LIKELY)
        own *= 1 - cv2.dilate(astray * own, _square(_EDGE // 2))
        foreign = np.maximum(1 - own, astray)[..., None]
        changed = self.copied()
        changed.matte[there] = matte
        if own.any():
            changed.drawn[there] += foreign * (spread(made, own) - drawn)
            changed.share[there] *= 1 - astray
            changed.residual[there] *= 1 - foreign
        return changed

    def with_outline_of_source(self, rigid: Float32Array, source: SourceFrame, *, as_a_whole: bool) -> Layers:
        """The same without what the network drew beyond the outline of parts that move rigidly.

        There the subject ends where the source's ends. Anything drawn beyond it would be a ring around a head, or a
        blurred second outline of a limb, because the network draws limbs too thick. `rigid` and `as_a_whole`: see
        `moves_rigidly`.
        """
        moved, shown, around = self._parts(rigid, source)
        seen = source.cover_at(self._replace(offset=around).looked_at())
        # Places of another limb beside this one are kept: they show the subject, or have another flow.
        apart = np.minimum(_length(self.offset - around), _length(self.offset))
        seen = np.maximum(seen, np.maximum(shown, apart * self.matte.shape[1] > _APART))
        subject = np.asarray(self.matte > LIKELY, np.uint8)
        beyond = np.where(seen < LIKELY, subject, 0).astype(np.uint8)
        # What is thick is no ring but a side of the subject that the source does not show.
        reach, thick = _RING if as_a_whole else LIMB_RING
        side = cv2.dilate(cv2.morphologyEx(beyond, cv2.MORPH_OPEN, disc(thick)), disc(reach))
        ring = cv2.dilate(moved.astype(np.uint8), disc(2 * reach)) * beyond * (1 - side)
        # Only the outer outline: gaps between an arm and the trunk are small, and would become ragged.
        ring[cv2.distanceTransform(_filled(subject), cv2.DIST_L2, 5) > 2 * reach] = 0
        cut = cv2.dilate(ring, disc(1)) * (1 - seen)
        # Where a limb or a neck would be cut through, and its hand would come off, the flow is wrong: nothing is cut.
        left = np.where(cut > LIKELY, 0, subject).astype(np.uint8)
        before, after = (cv2.morphologyEx(part, cv2.MORPH_OPEN, disc(_SLENDER)) for part in (subject, left))
        slender = before * (left - after) * (cv2.distanceTransform(subject, cv2.DIST_L2, 5) > _SLENDER)
        if as_a_whole:
            # The soft edge of the ring would be a wisp. So would slender pieces beyond it, which are no neck: that is
            # in the lower half.
            cut = np.maximum(cut, cv2.dilate(ring, disc(_SOFT_EDGE)) * (1 - subject) * (1 - shown))
            slender[: len(slender) // 2] = 0
        cut[cv2.dilate(slender, _square(_UNCUT)) > 0] = 0
        if as_a_whole:  # what is enclosed would be a hole in the hair
            left = np.where(cut > LIKELY, 0, subject).astype(np.uint8)
            cut[cv2.dilate(_filled(left) - left, disc(1)) > 0] = 0
        return self._replace(matte=self.matte * (1 - cut))

    def with_rest_of_source(self, rigid: Float32Array, source: SourceFrame) -> Layers:
        """The same with what the network cut off from a subject that hardly moves, such as hems, toes and fingers.

        They are what the source shows of its subject just beside the result's, unless it shows them elsewhere.
        `rigid`: see `moves_rigidly`.
        """
        subject = self.matte > LIKELY
        still = self.way() < _STILL
        # A ramp, so that it comes and goes slowly in a clip.
        sure = float(ramp(still[subject].mean(), *_MOSTLY)) if subject.any() else 0.0
        if not sure:
            return self
        x, y = (
            np.rint(at[subject]).astype(int).clip(0, side - 1)
            for at, side in zip(self.looked_at(), subject.T.shape, strict=True)
        )
        taken = np.zeros(subject.shape, np.uint8)
        taken[y, x] = 1
        _, _, around = self._parts(rigid, source)
        places = self._replace(offset=around).looked_at()
        taken = cv2.remap(cv2.dilate(taken, disc(_TAKEN)), *places, cv2.INTER_NEAREST)
        # Not in a gap between an arm and the trunk, which may have opened as the arm moved.
        drawn = subject.astype(np.uint8)
        near = cv2.dilate(drawn, disc(_BESIDE)) * (1 - _filled(drawn) + drawn)
        beside = np.where(source.cover_at(places) > LIKELY, near, 0).astype(np.uint8)
        rest = cv2.morphologyEx(beside * (1 - taken) * (1 - drawn), cv2.MORPH_OPEN, disc(1))
        # Places of the source's subject that lie between these are added, too.
        rest = (cv2.dilate(rest, disc(2 * _TAKEN)) * beside > 0) & (self.matte < SURE)
        return Layers(
            self.drawn,
            np.where(rest, 1, self.share).astype(np.float32),
            np.where(rest[..., None], 0, self.residual).astype(np.float32),
            np.where(rest[..., None], around, self.offset).astype(np.float32),
            np.where(rest, np.maximum(self.matte, sure), self.matte).astype(np.float32),
        )

    def moving(self, region: tuple[slice, slice] = EVERYWHERE) -> Float32Array:
        """(h, w) in [0, 1]: whether a place of a region shows another place of the source."""
        return np.asarray(np.minimum(1, _length(self.offset[region]) / _MOVED), np.float32)

    def way(self) -> Float32Array:
        """(H, W) pixels of the network's frame from each place to where the source shows the same."""
        return np.asarray(_length(self.offset) * self.matte.shape[1], np.float32)

    def unmoved(self) -> Float32Array:
        """(H, W) in [0, 1]: 1 where the source's own subject is shown at its place or near it, and a little around."""
        way = self.way()
        subject = self.matte > LIKELY
        kept = np.minimum(self.share, ramp(way, 1.5 * _STILL, _STILL)) * subject
        moved = cv2.dilate((subject & (way > _STILL)).astype(np.float32), disc(_TAKEN))
        return np.asarray(cv2.GaussianBlur(cv2.dilate(kept, disc(_BESIDE)) * (1 - moved), (0, 0), _SMOOTH), np.float32)

    def _parts(self, rigid: Float32Array, source: SourceFrame) -> tuple[NDArray[np.bool_], Float32Array, Float32Array]:
        """Parts of the subject that move rigidly, see `moves_rigidly`.

        (H, W) bool where they are, (H, W) in [0, 1] where places show the subject of the source, and the offsets
        (H, W, 2) of these parts, continued around them.
        """
        shown = source.cover_at(self.looked_at())
        moved = (rigid > LIKELY) & (shown > LIKELY)
        return moved, shown, spread(self.offset, moved)

    def without_torn_source(self, source: SourceFrame) -> Layers:
        """The same with the network's own image of the subject where the flow tears or folds the source.

        From one pixel of the network to the next such a flow crosses much of the source. Enlarged, that is a ripple.
        """
        region = self.subject_region(LIKELY)
        offset, matte = self.offset[region], self.matte[region]
        least, most = _stretched(*(np.gradient(offset * self.matte.shape[1], axis=axis) for axis in (1, 0)))
        torn = cv2.dilate(1 - _TORN.holds(least, most), disc(1))
        kept = 1 - (cv2.GaussianBlur(torn, (0, 0), 1) * (matte > LIKELY))
        return self.with_drawn(self.mixed(source, region), kept, region)

    def with_drawn(self, colours: Float32Array, kept: Float32Array, region: tuple[slice, slice]) -> Layers:
        """The same with drawn `colours` (h, w, 3) in a region. `kept` (h, w) in [0, 1]: what stays of its mixture."""
        kept, share = kept[..., None], self.share[region][..., None]
        changed = self.copied()
        changed.share[region] *= kept[..., 0]
        changed.residual[region] *= kept
        # Where all is kept, the drawn image stays as it was, even if it is hidden: enlarged, it shows at borders.
        changed.drawn[region] += (1 - kept) / np.maximum(1 - kept * share, _LEAST) * (colours - changed.drawn[region])
        return changed

    def towards(self, others: Layers, weight: Float32Array, *, offset: Float32Array, drawn: Float32Array) -> Layers:
        """The same mixed with other layers, whose weight is (H, W) in [0, 1].

        `offset` and `drawn`: the weights of their offsets and of their drawn images.
        """
        weights = drawn, weight, weight, offset, weight
        return Layers(
            *(
                np.asarray(cv2.blendLinear(part, other, 1 - one, one), np.float32)
                for part, other, one in zip(self, others, weights, strict=True)
            )
        )

    def replaced(self, others: Layers, there: BoolArray) -> Layers:
        """The same with other layers in some places (H, W)."""
        mask, changed = there.astype(np.uint8), self.copied()
        for part, other in zip(changed, others, strict=True):
            cv2.copyTo(other, mask, part)
        return changed

    def part(self, region: tuple[slice, slice]) -> Layers:
        """(h, w) these layers in a region, in the same memory."""
        return Layers(*(part[region] for part in self))

    def with_part(self, layers: Layers, region: tuple[slice, slice]) -> Layers:
        """The same with other layers (h, w) in a region."""
        changed = self.copied()
        for part, one in zip(changed, layers, strict=True):
            part[region] = one
        return changed

    def subject_region(self, least: float) -> tuple[slice, slice]:
        """Rows and columns around all places with a matte above `least`, with a margin for filters."""
        left, top, width, height = cv2.boundingRect((self.matte > least).astype(np.uint8))
        return _around(top, height), _around(left, width)

    def looked_at(self, region: tuple[slice, slice] = EVERYWHERE) -> Places:
        """(h, w) where the offsets of a region lead, in the source's frame at the size of these layers."""
        y, x = (np.arange(side, dtype=np.float32)[part] for side, part in zip(self.matte.shape, region, strict=True))
        offset = self.offset[region] * self.matte.shape[1]
        return x + offset[..., 0], y[:, None] + offset[..., 1]

    def within_frame(self, region: tuple[slice, slice]) -> BoolArray:
        """(h, w) where the offsets of a region lead into the source's frame. A body's may lead beyond a part's crop."""
        (x, y), (height, width) = self.looked_at(region), self.matte.shape
        return np.asarray((x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1))

    def mixed(self, source: SourceFrame, region: tuple[slice, slice] = EVERYWHERE) -> Float32Array:
        """(h, w, 3) in [-1, 1] what a region of the frame is mixed to, at the size of the network's frame."""
        drawn, share, residual = self.drawn[region], self.share[region][..., None], self.residual[region]
        return drawn + share * (source.image_at(self.looked_at(region)) - drawn) + residual

    def _moved_less_drawn(self, source: SourceFrame, places: Places, region: tuple[slice, slice]) -> Float32Array:
        """(h, w, 3) blurred difference between what the source shows at these places and what was drawn."""
        difference = source.image_at(places) - self.drawn[region]
        return np.asarray(cv2.GaussianBlur(difference, (0, 0), _ABOUT), np.float32)

    def moved_as_drawn(self, source: SourceFrame) -> Float32Array:
        """(H, W) in [0, 1]: where the moved source shows the same as the network drew, but without its blur."""
        region = self.subject_region(LIKELY)
        places, offset = self.looked_at(region), self.offset[region] * self.matte.shape[1]
        difference = np.sqrt(squared(self._moved_less_drawn(source, places, region)) / 3)
        _, most = _stretched(*(np.gradient(offset, axis=axis) for axis in (1, 0)))
        alike = cv2.erode(ramp(difference, *_ALIKE[::-1]) * ramp(most, *_RIPPLED[::-1]), _square(1))
        found = np.zeros_like(self.matte)
        found[region] = cv2.GaussianBlur(alike, (0, 0), 1) * source.cover_at(places)
        return found

    def shown_once(self, source: SourceFrame) -> Float32Array:
        """(H, W) in [0, 1]: 1 unless another place of the subject shows the same source place, and fits it better.

        The source's hand in front of a skirt may be taken for the hand, and again for the skirt behind it. It fits
        better where the network drew a hand.
        """
        height, width = self.matte.shape
        region = self.subject_region(LIKELY)
        x, y = places = self.looked_at(region)
        difference = np.abs(self._moved_less_drawn(source, places, region)) @ np.full(3, 1 / 3, np.float32)
        fits = np.exp(-np.square(difference / _UNLIKE)).astype(np.float32)
        columns, rows = -(-width // _CELL), -(-height // _CELL)
        cells = (y.clip(0, height - 1) // _CELL).astype(int) * columns + (x.clip(0, width - 1) // _CELL).astype(int)
        subject = self.matte[region] > LIKELY
        shown = cells[subject]
        count = np.bincount(shown, minlength=rows * columns).clip(1)
        apart = np.zeros(rows * columns)  # variance of the places that show a cell, in pixels
        for positions in np.nonzero(subject):
            mean, square = (np.bincount(shown, positions**power, len(count)) / count for power in (1, 2))
            apart += square - mean**2
        best = np.zeros(len(count), np.float32)
        np.maximum.at(best, shown, fits[subject])
        around = np.ones((3, 3), np.uint8)
        twice, best = (
            cv2.dilate(part.reshape(rows, columns), around).ravel()
            for part in ((apart > _APART**2).astype(np.uint8), best)
        )
        there = subject & (twice[cells] > 0)
        least = np.where(there, np.square((fits / best[cells].clip(_LEAST)).clip(0, 1)), 1).astype(np.float32)
        once = np.ones_like(self.matte)
        once[region] = cv2.GaussianBlur(cv2.erode(least, around), (0, 0), 1)
        return once

    def with_sharp_source(self, least_share: Float32Array) -> Layers:
        """The same with at least that share (H, W) in [0, 1] of the source's own pixels.

        The network learnt to be right on average. Where a flow may be off by a pixel or two, it mixes the drawn image
        into the source, and faces and letters become a blur. To the eye, sharp and a pixel off is better.
        """
        share = np.maximum(self.share, least_share)
        kept = (1 - share) / np.maximum(1 - self.share, _LEAST)  # of what was drawn
        return self._replace(share=share, residual=self.residual * np.asarray(kept, np.float32)[..., None])

    def moves_rigidly(self, stretch: Stretch, *, as_a_whole: bool = False) -> Float32Array:
        """(H, W) in [0, 1]: where the flow moves the subject as it is, without a stretch or a fold.

        `as_a_whole`: nowhere, unless most of the subject moves so.
        """
        region = self.subject_region(LIKELY)
        offset, matte = self.offset[region] * self.matte.shape[1], self.matte[region]
        # A head moves as one. The limbs of a body move against each other, so that flows jump at their edges.
        across, down = (_slope(offset, axis) if as_a_whole else _slope_within_parts(offset, axis) for axis in (1, 0))
        edge = _EDGE if as_a_whole else _LIMB_EDGE
        moved = cv2.erode(stretch.holds(*_stretched(across, down)), np.ones((edge, edge), np.uint8))
        moved = cv2.GaussianBlur(moved, (0, 0), edge * _SOFTENED)
        # Beside the subject the source may still show an arm that has moved away.
        moved *= ramp(matte, LIKELY, SURE)
        if as_a_whole and (subject := matte > LIKELY).any():
            moved *= ramp(moved[subject].mean(), *_AS_A_WHOLE)
        everywhere = np.zeros_like(self.matte)
        everywhere[region] = moved
        return everywhere


def _without_pattern(part: Float32Array) -> Float32Array:
    """(H, W) or (H, W, C) without waves of two and four pixels."""
    return np.asarray(cv2.sepFilter2D(part, -1, _NO_PATTERN, _NO_PATTERN, borderType=cv2.BORDER_REPLICATE), np.float32)


def body_without_pattern(image: Float32Array, layers: Layers) -> tuple[Float32Array, Layers]:
    """A generated body (3, H, W) and its layers, without the pattern of four pixels in what was drawn.

    For models that separate people (`canvas.separates_people`): others draw the whole image. Not for heads that are
    generated from near: their eyes are hardly larger than the pattern.
    """
    smooth = layers.without_pattern()
    change = (1 - layers.share[..., None]) * (smooth.drawn - layers.drawn)
    return image + change.transpose(2, 0, 1), smooth


def _nearest(cover: Float32Array) -> Float32Array:
    """See `SourceFrame`. No place is near where the source shows no subject, or in a gap between two parts of it."""
    inside = cv2.erode((cover > LIKELY).astype(np.uint8), disc(_INSIDE))
    y, x = np.indices(inside.shape, np.float32)
    places, way = nearest_known(np.dstack([x, y]), inside)
    # Closed by distances, because a large disc takes long.
    closed = cv2.distanceTransform((way <= _GAP).astype(np.uint8), cv2.DIST_L2, 5) > _GAP
    way[closed & (inside == 0)] += NOT_NEAR
    return np.dstack([places, way - cv2.distanceTransform(inside, cv2.DIST_L2, 5)]).astype(np.float32)


def nearest_known(vectors: Float32Array, known: NDArray[np.uint8]) -> tuple[Float32Array, Float32Array]:
    """(H, W, 2) vectors of the known places (H, W) that are nearest to each place, and (H, W) the way there.

    Without known places vectors are 0.
    """
    way, label = cv2.distanceTransformWithLabels(1 - known, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    nearest = np.zeros((label.max() + 1, 2), np.float32)
    nearest[label[known > 0]] = vectors[known > 0]
    return nearest[label], np.asarray(way, np.float32)


def outside_of(matte: Float32Array) -> BoolArray:
    """(H, W) where a matte surely shows the background, without what is near to the subject."""
    return np.asarray(cv2.dilate(matte, _square(2)) < UNLIKELY)


def _length(offset: Float32Array) -> Float32Array:
    """(H, W) of offsets (H, W, 2)."""
    return np.hypot(offset[..., 0], offset[..., 1])


def squared(vectors: Float32Array) -> Float32Array:
    """(H, W) squared lengths of vectors (H, W, C). Sums of NumPy along a short axis take three times as long."""
    return np.asarray(np.einsum("ijk,ijk->ij", vectors, vectors), np.float32)


def _stretched(across: Float32Array, down: Float32Array) -> tuple[Float32Array, Float32Array]:
    """(H, W) factors of least and of most stretch, from the slopes (H, W, 2) of offsets. A fold is below 0."""
    (xx, yx), (xy, yy) = (np.moveaxis(slope, -1, 0) for slope in (across, down))
    # Singular values of the map's 2 x 2 derivative; the first is negative where the map folds.
    even = np.hypot((xx + yy) / 2 + 1, (yx - xy) / 2)
    uneven = np.hypot((xx - yy) / 2, (yx + xy) / 2)
    return even - uneven, even + uneven


def _slope(offset: Float32Array, axis: int) -> Float32Array:
    """(H, W, 2) change of offsets (H, W, 2) from pixel to pixel."""
    return np.asarray(np.gradient(cv2.GaussianBlur(offset, (0, 0), _SMOOTH), axis=axis), np.float32)


def _slope_within_parts(offset: Float32Array, axis: int) -> Float32Array:
    """The same without jumps: of the changes before and after a pixel the smaller one."""
    smooth = np.dstack([cv2.medianBlur(np.ascontiguousarray(part), _EDGE) for part in np.moveaxis(offset, -1, 0)])
    change = np.diff(smooth, axis=axis)
    ends = (change.take([0], axis), change, change.take([-1], axis))
    before, after = (np.concatenate(pair, axis) for pair in (ends[:2], ends[1:]))
    larger = squared(before) > squared(after)
    return np.asarray(np.where(larger[..., None], after, before), np.float32)


def _filled(places: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) 1 inside of the outer outline of some places (H, W), else 0."""
    outlines, _ = cv2.findContours(places, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(places), outlines, -1, 1, cv2.FILLED), np.uint8)


def _around(start: int, length: int) -> slice:
    """Pixels and a margin around them, in whole steps of a grid, so that all frames of a clip are averaged alike."""
    first, last = max(0, start - _MARGIN) // _GRID, -(-(start + length + _MARGIN) // _GRID)
    return slice(first * _GRID, last * _GRID)


def region_around(places: NDArray[np.uint8] | BoolArray, margin: int = 0) -> tuple[slice, slice] | None:
    """Rows and columns that hold all places (H, W) that are not 0, and a margin around them. None: there are none."""
    left, top, width, height = cv2.boundingRect(places.astype(np.uint8, copy=False))
    if width == 0:
        return None
    rows = slice(max(0, top - margin), min(places.shape[0], top + height + margin))
    return rows, slice(max(0, left - margin), min(places.shape[1], left + width + margin))


def region_at(region: tuple[slice, slice], top: int, left: int) -> tuple[slice, slice]:
    """A region of a part of an image, in pixels of the image; the part begins at `top` and `left`."""
    rows, columns = region
    return slice(rows.start + top, rows.stop + top), slice(columns.start + left, columns.stop + left)


def whole_cells(region: tuple[slice, slice], cell: int) -> tuple[slice, slice]:
    """A region that holds the given one, in steps of `cell` pixels from the first pixel of the image."""
    rows, columns = (slice(part.start // cell * cell, -(-part.stop // cell) * cell) for part in region)
    return rows, columns


def mean_near(image: Float32Array, known: Float32Array, sigma: float) -> Float32Array:
    """(H, W, 3) means of what is known near each place; 0 far from it. `known` (H, W) in [0, 1]."""
    weight = cv2.GaussianBlur(known, (0, 0), sigma)[..., None]
    return np.asarray(cv2.GaussianBlur(image * known[..., None], (0, 0), sigma) / np.maximum(weight, 1e-3), np.float32)


def spread(image: Float32Array, known: NDArray[np.bool_] | Float32Array) -> Float32Array:
    """(H, W, C) in which unknown places have the mean colour of what is known around them, near or far.

    `known` (H, W): whether a place is, or how much in [0, 1].
    """
    weight = known.astype(np.float32, copy=False)
    return _from_coarser(image * weight[..., None], weight)


def _from_coarser(weighted: Float32Array, weight: Float32Array) -> Float32Array:
    """Colours (H, W, 3) from colours times their `weight` (H, W) in [0, 1]. Low weights take those of half the size."""
    colour = np.asarray(weighted / np.maximum(weight, _KNOWN)[..., None], np.float32)
    if min(weight.shape) <= 2 or weight.min() == 1:
        return colour
    coarser = _from_coarser(*(np.asarray(cv2.pyrDown(x), np.float32) for x in (weighted, weight)))
    around = cv2.resize(coarser, weight.shape[::-1], interpolation=cv2.INTER_LINEAR)
    sure = np.minimum(1, weight / _ENOUGH)[..., None]
    return np.asarray(around + sure * (colour - around), np.float32)


def _square(reach: int) -> NDArray[np.uint8]:
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)


def disc(reach: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2), np.uint8)
