"""What a result is set into: the scaled photograph, its background, and the shadow of its subject."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from gfla_cli.arrays import Float32Array, Image
from gfla_cli.config import ModelConfig
from gfla_cli.errors import UsageError
from gfla_cli.geometry.crop import Crop, box_around, shifted
from gfla_cli.geometry.paste import Paster, smoothstep
from gfla_cli.inference.session import Session
from gfla_cli.person.pose import Pose
from gfla_cli.pipelines.frame_layers import SourceFrame
from gfla_cli.pipelines.framing import LARGEST_FRAME, Background, Size
from gfla_cli.pipelines.inpainting import without_subject
from gfla_cli.pipelines.shadows import Shadow
from gfla_cli.pipelines.skirts import Hem, hem_of

_MASK_SIDE = 256  # pixels of the mask of a frame that cuts a body; it is enlarged
_SOFT, _LONG = 0.04, 0.2  # share of the frame's side over which it fades: at its sides, and where it cuts a body


@dataclass(frozen=True, slots=True)
class Canvas:
    """What a result is set into: the whole photograph, or a frame of it."""

    source: Image  # (H, W, 3) the photograph, at the size in which it is used
    scale: Crop  # the whole photograph as it was given, at that size
    source_crop: Crop  # of `source`: what the network saw
    place: Crop  # of the canvas: where the network's frame lies
    original: Image  # (N, M, 3) what the source shows in the place of the canvas
    background: Image  # (N, M, 3) the canvas before anything is set into it
    source_cover: Float32Array | None = None  # (H, W) where `source` shows its subject; None: the frame hides all
    shown: Float32Array | None = None  # (N, 1) in [0, 1]: how much of the subject each row may show; None: all of it
    paster: Paster | None = None  # softens the border of a frame that hides its background; None: it fills the canvas
    transparent: bool = False  # whether the result has an alpha channel
    replaced: bool = False  # whether the background is not that of the source
    shadow: Shadow | None = None  # of the subject on the background; None: none that moves
    hem: Hem | None = None  # of the skirt that the subject wears; None: none is found, or nothing is cut out
    frames: dict[Crop, SourceFrame] = field(default_factory=dict)  # see `frame_of`

    def frame_of(self, crop: Crop) -> SourceFrame | None:
        """What a `crop` of the source shows, kept for the next frame of a clip. None: the source has no cover."""
        if self.source_cover is None:
            return None
        if crop not in self.frames:
            self.frames[crop] = SourceFrame.of(self.source, self.source_cover, crop)
        return self.frames[crop]

    def behind(
        self, cover: Float32Array, region: tuple[slice, slice], ankles: Float32Array | None, *, exchange: bool
    ) -> Image:
        """A copy of the background, on which the shadow lies at the feet. `ankles` (2, 2) x, y, if they are known.

        `cover` (N, M) in [0, 1]: where a region of the result shows the subject. `exchange`: see `Shadow.moved`.
        """
        if self.shadow is None or ankles is None:
            return self.background.copy()
        return self.shadow.moved(self.background, cover, region, ankles, exchange=exchange)

    @classmethod
    def of(
        cls,
        photograph: Image,
        source_crop: Crop,
        target_crop: Crop,
        size: Size,
        *,
        whole: bool,
        cover: Callable[[Image, Crop], Float32Array | None],
        fill: Callable[[Image, Float32Array], Image] = without_subject,
        background: Background = "keep",
        cut_below: bool = False,
        pose: Pose | None = None,
    ) -> Canvas:
        """The canvas for a photograph (H, W, 3) of which the network sees `source_crop`.

        `size`: longer side of the frame in pixels, or "source". `whole`: the canvas is the photograph, not the frame.
        `cut_below`: the frame ends within the subject, which fades there into what the source shows.
        `cover` finds the subject in the scaled photograph; its second argument is the crop that scales it. `fill`
        removes a covered subject. A `target_crop` other than `source_crop` belongs to another image: then there is no
        background to keep. `pose`: of a person in the photograph, who may have a shadow and wear a skirt.
        """
        wanted = background_name(background)
        transparent = wanted == "transparent"
        left, top, right, bottom = source_crop.box
        side = max(right - left, bottom - top)
        factor = min(1.0, LARGEST_FRAME / side) if size == "source" else size / side
        shape = max(1, round(photograph.shape[0] * factor)), max(1, round(photograph.shape[1] * factor))
        scale = Crop.whole(photograph.shape, shape)
        source = photograph if shape == photograph.shape[:2] else scale.image(photograph)
        seen = Crop(scale.bounds(source_crop.box), source_crop.size)
        body = pose and pose.cropped(scale)
        if target_crop != source_crop:
            found = cover(source, scale) if wanted != "keep" else None
            return cls._of_frame_elsewhere(source, scale, seen, target_crop, background, found, body)
        found = cover(source, scale)
        hem = _hem(found, body)
        around = fill(source, found) if wanted == "keep" and found is not None else source
        place, original, shadow = seen, source, None
        if body is not None and wanted == "keep" and found is not None:
            shadow = Shadow.of(source, found, around, body)
        if not whole:
            frame = _frame_alone(seen, size)
            x, y, _, _ = frame.box
            around, original = frame.image(around), frame.image(source)
            place, shadow = Crop(shifted(seen.box, -x, -y), seen.size), shadow and shadow.within(x, y)
        if wanted != "keep":
            around = _given_background(background, around.shape[:2])
        shown = _rows_above_cut(place, len(around)) if cut_below and whole else None
        if found is None:
            mask = None if shown is None else _cut_mask(place, around.shape[1])
            paster = Paster(around, place, mask) if whole else None
            return cls(source, scale, seen, place, original, around, None, shown, paster, transparent)
        if shown is not None and wanted == "keep":
            around = (original + shown[..., None] * (around.astype(np.float32) - original) + 0.5).astype(np.uint8)
        replaced = wanted != "keep"
        return cls(source, scale, seen, place, original, around, found, shown, None, transparent, replaced, shadow, hem)

    @classmethod
    def _of_frame_elsewhere(
        cls,
        source: Image,
        scale: Crop,
        seen: Crop,
        target_crop: Crop,
        background: Background,
        found: Float32Array | None,
        body: Pose | None,
    ) -> Canvas:
        """The canvas of a frame that belongs to another image: as long as what the network sees, shaped as its crop."""
        left, top, right, bottom = target_crop.box
        aspect = (bottom - top) / (right - left)
        left, top, right, bottom = seen.box
        long = max(right - left, bottom - top)
        extent = max(1, round(long * min(1, aspect))), max(1, round(long * min(1, 1 / aspect)))
        wanted = background_name(background)
        behind = _given_background("white" if wanted == "keep" else background, extent)
        return cls(
            source,
            scale,
            seen,
            place=Crop.whole(extent, seen.size),
            original=Crop(seen.box, extent).image(source),
            background=behind,
            source_cover=found,
            transparent=wanted == "transparent",
            replaced=True,
            hem=_hem(found, body),
        )


def _hem(cover: Float32Array | None, body: Pose | None) -> Hem | None:
    """See `Canvas.hem`: of a body in the scaled photograph, whose cover may not be known."""
    return None if cover is None or body is None else hem_of(cover, body)


def _frame_alone(seen: Crop, size: Size) -> Crop:
    """The part of a scaled photograph that is the canvas of a frame alone. `seen`: what the network sees of it."""
    left, top, right, bottom = seen.box
    x, y, span = left, top, (max(1, round(bottom - top)), max(1, round(right - left)))
    if size == "source":  # whole pixels of the photograph
        x, y = math.floor(left), math.floor(top)
        span = max(1, math.ceil(bottom) - y), max(1, math.ceil(right) - x)
    return Crop((x, y, x + span[1], y + span[0]), span)


def _rows_above_cut(place: Crop, height: int) -> Float32Array:
    """(height, 1) falls to 0 at the lower end of a frame, over a long way: a body that ends in a line looks wrong."""
    _, top, _, bottom = place.box
    share = (bottom - 0.5 - np.arange(height)[:, None]) / (_LONG * (bottom - top))
    return smoothstep(share.clip(0, 1)).astype(np.float32)


def _cut_mask(place: Crop, width: int) -> Float32Array:
    """(h, w) opacity of a frame whose lower end cuts a body, in an image that is `width` pixels wide."""
    left, top, right, _ = place.box
    at = (np.arange(_MASK_SIDE, dtype=np.float32) + 0.5) / _MASK_SIDE
    down, across = np.minimum(1, (1 - at) / _LONG), np.ones_like(at)
    for inside, weights, way in ((top > 0, down, at), (left > 0, across, at), (right < width, across, 1 - at)):
        if inside:
            np.minimum(weights, way / _SOFT, out=weights)
    return np.outer(smoothstep(down.clip(0, 1)), smoothstep(across.clip(0, 1))).astype(np.float32)


def check_background(background: Background, session: Session) -> None:
    """Raises UsageError for another background, if the model does not separate people from their own."""
    if background_name(background) != "keep" and not separates_people(session.config):
        raise UsageError(
            f"{session.name} does not separate people from their background", hint="leave --background out"
        )


def separates_people(config: ModelConfig) -> bool:
    """Whether a model says where its image shows the person. Models of clips blend pixels, too, but do not say that."""
    return config.task == "pose" and config.pixel_blend


def background_name(background: Background) -> str | None:
    """The name of a background; None for an image."""
    return background if isinstance(background, str) else None


def _given_background(background: Background, size: tuple[int, int]) -> Image:
    """(N, M, 3) white, or an image that fills the canvas and is cut where it is too long."""
    if isinstance(background, str):
        return np.full((*size, 3), 255, np.uint8)
    height, width = background.shape[:2]
    factor = max(size[0] / height, size[1] / width)
    box = box_around((width / 2, height / 2), size[1] / factor, size[0] / factor)
    return Crop(box, size).image(background)
