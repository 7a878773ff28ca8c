"""Where the network looks at an object: in the middle, at the size that objects had in its training pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Image
from gfla_cli.conditioning.view_code import (
    AZIMUTHS,
    ELEVATIONS,
    Between,
    ViewAngles,
    nearest_view,
    view_angles,
    view_code,
)
from gfla_cli.errors import DetectionError, MediaError, UsageError
from gfla_cli.geometry.crop import Crop
from gfla_cli.inference.session import DeviceName, Precision, Runtime, open_session
from gfla_cli.io.cutout import Cutout, cut_out, read_cutout
from gfla_cli.io.image import ImageSource, from_planes, image_name, load_image, to_planes

_SHARE = 0.755  # of the frame that the longer side of an object fills in the rendered views (median of 1 600)
_SEEN = 128  # cover, 0..255, from which on a pixel counts as the object
_SMALLEST_PICTURE, _SMALLEST_OBJECT, _COARSE = 64, 32, 120  # pixels of the longer side
_NARROWEST = 10  # longer side / shorter side of a picture
_FILLED = 0.9  # share of the picture, of what is no object but all there is
_LEAST_AREA = 0.001  # share of the picture below which there is nothing to see

Box = tuple[int, int, int, int]


def check_size(image: Image, name: str) -> None:
    """Raises MediaError for a picture too small or too narrow to show an object."""
    height, width = image.shape[:2]
    if max(height, width) < _SMALLEST_PICTURE:
        raise MediaError(
            f"{name}: {width}x{height} is too small to show an object", hint="at least 64 px, better 256 and more"
        )
    if max(height, width) > _NARROWEST * min(height, width):
        raise MediaError(f"{name}: {width}x{height} is too narrow to show an object", hint="leave room around it")


def frame_object(cutout: Cutout, size: tuple[int, int], name: str, notes: list[str]) -> Image:
    """The object on white, (height, width, 3), framed as the network knows objects.

    Raises DetectionError when there is none, or when it goes on beyond all borders; adds to `notes` what the user
    should know.
    """
    left, top, right, bottom = _box(cutout, name)
    sides = _touched((left, top, right, bottom), cutout.cover.shape)
    if len(sides) == 4:
        raise DetectionError(
            f"{name}: the object touches all four borders of the picture", hint="leave some room around it"
        )
    if sides:
        notes.append(f"the object is cut off at the {' and the '.join(sides)}; so is the result")
    if cutout.guessed:
        notes.append("the background is busy, so the cut-out is a guess; a PNG with transparency does better")
    longer = max(right - left, bottom - top)
    if longer < _SMALLEST_OBJECT:
        raise DetectionError(f"{name}: the object is only {longer} px large", hint="crop the picture around it")
    if longer < _COARSE:
        notes.append(f"the object is only {longer} px large; expect a coarse picture")
    half = longer / _SHARE / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    return Crop((x - half, y - half, x + half, y + half), size).image(cutout.on_white, beyond=255)


def _box(cutout: Cutout, name: str) -> Box:
    """The bounding box of the object, exclusive at right and bottom."""
    seen = cutout.cover >= _SEEN
    share = seen.mean()
    if share < _LEAST_AREA:
        raise DetectionError(
            f"{name}: no object found, nothing stands out from the background",
            hint="a plain background of another colour helps, or a PNG with transparency",
        )
    if share > _FILLED:
        raise DetectionError(f"{name}: no object found, all of the picture looks alike", hint="leave room around it")
    columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _touched(box: Box, shape: tuple[int, ...]) -> list[str]:
    left, top, right, bottom = box
    touched = {"left": left <= 1, "top": top <= 1, "right": right >= shape[1] - 1, "bottom": bottom >= shape[0] - 1}
    return [side for side, there in touched.items() if there]


# View synthesis: cut the object out, find where it was seen from, render it from elsewhere.


_LARGEST_SIDE = 2048  # pixels; the network's frame is 256, more only costs memory
_UNSURE = 0.5  # chance of the estimated azimuth below which the user should know


@dataclass(frozen=True, slots=True)
class SourceView:
    """Where the source picture was taken from, and who says so."""

    angles: ViewAngles
    estimated: bool
    chance: float = 1.0  # of the estimated azimuth, as the model sees it


@dataclass(frozen=True, slots=True)
class ViewResult:
    """New views of an object, what they were made from, and what the user should know about them."""

    images: list[Image]  # (H, W, 3) RGB each, the network's frame, in the order asked for
    views: list[ViewAngles]  # what they show; differs from what was asked for where the nearest trained view was taken
    source_image: Image  # (H, W, 3) the source as the network saw it
    source_view: SourceView
    notes: list[str] = field(default_factory=list)


class ViewSynthesizer:
    """A loaded model that shows objects from other sides; keep it for many pictures."""

    def __init__(
        self,
        model: str | Path = "view-chairs",
        *,
        device: DeviceName = "auto",
        precision: Precision = "auto",
        runtime: Runtime = "auto",
        threads: int | None = None,
    ) -> None:
        self.session = open_session(model, "view", device=device, precision=precision, runtime=runtime, threads=threads)

    def render(
        self,
        picture: ImageSource,
        azimuths_deg: Sequence[float],
        source_azimuth: float | None = None,
        source_elevation: float | None = None,
        elevation: float | None = None,
        between: Between = "nearest",
    ) -> ViewResult:
        """The object of `picture` from each of the azimuths.

        `picture` is a file or an (H, W, 3) uint8 RGB array. Azimuth 0 is the object's front, 90 its left side (to the
        right of somebody who faces it); elevations are 0 to 20. What is not said of the source is estimated; the new
        views are taken from the source's elevation unless `elevation` is given. `between` says what happens to angles
        between the 18 trained ones: the nearest is taken, or the codes of both neighbours are blended. Raises
        GflaError children for whatever is wrong with the input.
        """
        # Before any work: angles that are none.
        for azimuth in (*azimuths_deg, *([source_azimuth] if source_azimuth is not None else [])):
            view_angles(azimuth, 0)
        for height in (source_elevation, elevation):
            view_angles(0, height or 0)
        notes: list[str] = []
        source_image = self.frame(picture, notes)
        source = self.source_view(source_image, source_azimuth, source_elevation, notes)
        asked = [view_angles(a, source.angles.elevation if elevation is None else elevation) for a in azimuths_deg]
        shown = asked
        if between == "nearest":
            shown = [nearest_view(angles) for angles in asked]
            _say_nearest([source.angles, *asked], [nearest_view(source.angles), *shown], notes)
        planes = to_planes(source_image)
        encoded, source_code = self.session.encode(planes), view_code(source.angles, between)
        images = [from_planes(self.session.view(encoded, source_code, view_code(view, between))) for view in shown]
        return ViewResult(images, shown, source_image, source, notes)

    def frame(self, picture: ImageSource, notes: list[str]) -> Image:
        """The object of a picture on white, (H, W, 3), as the network's training pictures show theirs."""
        size, name = self.session.config.image_size, image_name(picture)
        if isinstance(picture, np.ndarray):
            check_size(load_image(picture), name)
            return frame_object(cut_out(picture), size, name, notes)
        cutout = read_cutout(picture, _LARGEST_SIDE)
        check_size(cutout.on_white, name)
        return frame_object(cutout, size, name, notes)

    def source_view(
        self, source_image: Image, azimuth: float | None, elevation: float | None, notes: list[str]
    ) -> SourceView:
        """Where a framed picture (H, W, 3) was taken from: as far as it is not said, as the model sees it."""
        if azimuth is not None and elevation is not None:
            return SourceView(view_angles(azimuth, elevation), estimated=False)
        if not self.session.estimates_views:
            raise UsageError(
                f"{self.session.name} cannot tell where a picture was taken from",
                hint="say so with --source-azimuth and --source-elevation",
            )
        scores = self.session.view_scores(to_planes(source_image))[0]
        azimuths, elevations = _chances(scores[: len(AZIMUTHS)]), _chances(scores[len(AZIMUTHS) :])
        best = int(azimuths.argmax())
        if elevation is None:
            elevation = float(ELEVATIONS[int(elevations.argmax())])
        chance = 1.0
        if azimuth is None:
            azimuth, chance = float(AZIMUTHS[best]), float(azimuths[best])
        source = SourceView(view_angles(azimuth, elevation), estimated=True, chance=chance)
        unsure = f" ({chance:.0%} sure; --source-azimuth corrects it)" if chance < _UNSURE else ""
        notes.append(f"the picture seems to be taken from {source.angles}{unsure}")
        return source


def _chances(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """The softmax of some scores."""
    weights = np.exp(scores - scores.max())
    return np.asarray(weights / weights.sum(), np.float32)


def _say_nearest(asked: Sequence[ViewAngles], shown: Sequence[ViewAngles], notes: list[str]) -> None:
    """One note for all angles that were replaced by their neighbours."""
    pairs = list(zip(asked, shown, strict=True))
    azimuths = [f"{a.azimuth:g} became {s.azimuth:g}" for a, s in pairs if a.azimuth != s.azimuth]
    if azimuths:
        notes.append(f"the model knows every 20th degree: azimuth {', '.join(dict.fromkeys(azimuths))}")
    elevations = [f"{a.elevation:g} became {s.elevation:g}" for a, s in pairs if a.elevation != s.elevation]
    if elevations:
        notes.append(f"the model knows 0, 10 and 20 degrees: elevation {', '.join(dict.fromkeys(elevations))}")
