"""Flows that lead beside the subject of their source: corrected on an arm, and taken for a gap where all is background.

The flow of a body starts from capsules around its bones, which are a few pixels narrower or wider than the person.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Float32Array
from gfla_cli.geometry.paste import ramp
from gfla_cli.pipelines.frame_layers import (
    LIKELY,
    LIMB_RING,
    NOT_NEAR,
    Layers,
    SourceFrame,
    disc,
    nearest_known,
    outside_of,
    region_around,
    region_at,
    spread,
    squared,
)

# Pixels of the network's frame:
_STRAYED = 16  # by which a flow may miss the subject
_OUTLINE = 2  # width of an outline, where the source shows its own
_DEEP = 4  # from the edge of the source's subject: there a flow is right
_AROUND = 5  # the outline, where the flow is changed, too, as a soft edge reaches beyond it
_MARGIN = 24  # around such places
_BLUR = 2  # within which two images are compared
_OTHER = 0.06, 0.2  # difference of colours in [-1, 1]: below, they are mixed of two others; above, not
# Share of the subject in such a mixture: below the first, it is see-through, and above the second, not; the same for a
# gap; difference of colours that tells both apart: below, nothing is said; above, all.
_OPAQUE, _EMPTY, _CONTRAST = (0.7, 0.9), (0.3, 0.5), (0.1, 0.2)

Region = tuple[slice, slice]  # rows and columns
Mask = NDArray[np.uint8]  # (h, w) 0 or 1


def with_flow_into_subject(layers: Layers, source: SourceFrame) -> Layers:
    """Layers (H, W) whose flow does not lead a little beside the source's subject.

    Up to the outline the flow is stretched, so that all of a limb comes from all of a narrower one. Elsewhere it leads
    to the nearest place of the subject. What the network mixed with the background there becomes opaque.
    """
    everywhere = layers.subject_region(LIKELY)
    places = layers.looked_at(everywhere)
    to_subject, way = source.subject_near(places)
    beside = _beside(layers, everywhere, source.cover_at(places), way)
    there = region_around(beside, _MARGIN)
    if there is None:
        return layers
    beside, region = beside[there], region_at(there, everywhere[0].start, everywhere[1].start)
    subject = (layers.matte[region] > LIKELY).astype(np.uint8)
    outline = subject - cv2.erode(subject, disc(_OUTLINE))
    right = np.where(way[there] < -_DEEP, subject, outline * (1 - beside)).astype(np.uint8)
    stretch = _between(to_subject[there], outline * beside, right) * cv2.dilate(subject, disc(_AROUND))[..., None]
    width = layers.matte.shape[1]
    layers = layers._replace(offset=layers.offset.copy())
    layers.offset[region] += cv2.GaussianBlur(stretch, (0, 0), 1) / width
    for smooth in (True, False):  # a smooth flow may lead between two parts
        to_subject, _ = source.subject_near(layers.looked_at(region))
        to_subject *= beside[..., None]
        layers.offset[region] += (cv2.GaussianBlur(to_subject, (0, 0), 1) if smooth else to_subject) / width
    return _opaque(layers, source, beside, region)


def without_filled_gaps(layers: Layers, source: SourceFrame) -> Layers:
    """Layers (H, W) whose matte leaves out a gap between two parts of the source's subject, such as legs.

    A network may count a narrow gap as a part of the subject, although it draws the background.
    """
    everywhere = layers.subject_region(LIKELY)
    places = layers.looked_at(everywhere)
    to_subject, way = source.subject_near(places)
    gap = (way >= NOT_NEAR) & (source.cover_at(places) < LIKELY) & (layers.matte[everywhere] > LIKELY)
    there = region_around(gap, _MARGIN)
    if there is None:
        return layers
    gap, region = gap[there], region_at(there, everywhere[0].start, everywhere[1].start)
    x, y = (places[axis][there] + to_subject[there][..., axis] for axis in (0, 1))
    nearest = source.image_at((x, y))
    mixture = _mixture(layers.drawn[region], nearest, _background(layers, source, region))
    empty = gap * ramp(mixture.share, *_EMPTY[::-1]) * ramp(mixture.contrast, *_CONTRAST)
    matte = layers.matte.copy()
    matte[region] *= 1 - cv2.GaussianBlur(empty, (0, 0), 1)
    return layers._replace(matte=matte)


def _beside(layers: Layers, region: Region, seen: Float32Array, way: Float32Array) -> Mask:
    """1 in those places of a region where the flow leads a little beside the source's subject.

    `seen` (h, w) in [0, 1]: whether the source shows its subject there; `way` (h, w): see `SourceFrame.subject_near`.
    Narrow strips along the outline do not count, because networks draw limbs too thick. Nor do gaps between two parts
    of the source's subject: a network that is unsure about one makes it a part of the subject. What has not moved is
    the source's background, which the network took for a part of the subject.
    """
    subject = (layers.matte[region] > LIKELY).astype(np.uint8)
    astray = (1 - seen) * layers.moving(region)
    beside = np.where(astray > LIKELY, subject, 0).astype(np.uint8)
    _, strip = LIMB_RING
    thick = cv2.morphologyEx(beside, cv2.MORPH_OPEN, disc(strip))
    inner = cv2.erode(subject, disc(2 * strip)) * beside
    return np.asarray(beside * cv2.dilate(np.maximum(thick, inner), disc(_OUTLINE)) * (way < _STRAYED), np.uint8)


def _between(vectors: Float32Array, known: Mask, zero: Mask) -> Float32Array:
    """Vectors (h, w, 2) that fall evenly from those of known places to 0 in others."""
    if not known.any():
        return np.zeros_like(vectors)
    nearest, way = nearest_known(vectors, known)
    rest = np.minimum(cv2.distanceTransform(1 - zero, cv2.DIST_L2, 5), known.size)  # without such places: infinite
    return np.asarray(nearest * (rest / np.maximum(way + rest, 1))[..., None], np.float32)


def _opaque(layers: Layers, source: SourceFrame, there: Mask, region: Region) -> Layers:
    """Layers with the colours of the moved source in those places of a region where they are see-through."""
    moved = cv2.GaussianBlur(source.image_at(layers.looked_at(region)), (0, 0), _BLUR)
    mixture = _mixture(layers.mixed(source, region), moved, _background(layers, source, region))
    weight = there * ramp(mixture.other, *_OTHER[::-1]) * ramp(mixture.share, *_OPAQUE[::-1])
    weight = cv2.GaussianBlur(weight, (0, 0), 1)[..., None]
    layers = layers._replace(drawn=layers.drawn.copy(), residual=layers.residual.copy())
    layers.drawn[region] += weight * (moved - layers.drawn[region])
    layers.residual[region] *= 1 - weight
    return layers


class _Mixture(NamedTuple):
    """Colours as mixtures of a subject and its background. Differences are those of colours in [-1, 1]."""

    share: Float32Array  # (h, w) of the subject
    other: Float32Array  # (h, w) the difference between the colours and such a mixture
    contrast: Float32Array  # (h, w) the difference between subject and background


def _mixture(colours: Float32Array, subject: Float32Array, background: Float32Array) -> _Mixture:
    """Of what colours (h, w, 3) are mixed."""
    way, colours = subject - background, colours - background
    contrast = squared(way)
    share = np.asarray(np.einsum("ijk,ijk->ij", colours, way) / np.maximum(contrast, 0.01), np.float32)
    other = squared(colours - share[..., None] * way)
    return _Mixture(share, np.sqrt(other / 3), np.sqrt(contrast / 3))


def _background(layers: Layers, source: SourceFrame, region: Region) -> Float32Array:
    """(h, w, 3) the background of a region, continued behind the subject."""
    return spread(layers.mixed(source, region), outside_of(layers.matte[region]))
