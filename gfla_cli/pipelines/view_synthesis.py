"""View synthesis: an object from other sides than its image shows.

`ViewSynthesizer`: cut the object out, crop it, estimate its view, generate it from other views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Image
from gfla_cli.conditioning.view_code import (
    AZIMUTHS,
    ELEVATIONS,
    Between,
    ViewAngles,
    azimuth_difference,
    nearest_view,
    view_angles,
    view_code,
)
from gfla_cli.errors import DetectionError, MediaError, UsageError
from gfla_cli.geometry.crop import Crop, box_around, middle_of
from gfla_cli.geometry.volume import RayVolume, agreement, fused
from gfla_cli.inference.session import Array, Execution, ViewSession, open_session
from gfla_cli.io.cutout import Cutout, cut_out, read_cutout
from gfla_cli.io.image import (
    ImageSource,
    from_planes,
    image_name,
    load_image,
    to_planes,
)
from gfla_cli.pipelines.frame_layers import Layers
from gfla_cli.pipelines.framing import Size
from gfla_cli.pipelines.mixing import mixed
from gfla_cli.synth.renderer.camera import view_rotation

_LARGEST_SIDE = 2048  # pixels of an image
_LARGEST_VIEW = 1024  # pixels of a view that is as large as in its source
_SHARE = 0.755  # of the crop that the longer side of an object fills in the training images (median of 1 600)
_SEEN = 128  # cover, 0..255, from which on a pixel belongs to the object
_SMALLEST_IMAGE, _SMALLEST_OBJECT, _COARSE = 64, 32, 120  # pixels of the longer side
_NARROWEST = 10  # longer side / shorter side of an image
_FILLED = 0.9  # share of the image; a larger "object" is the background
_LEAST_AREA = 0.001  # share of the image; a smaller object is not usable
_UNSURE = 0.5  # probability of the estimated azimuth below which the user is told
_BACK = 40.0  # degrees: an object turned by 180 is as hard to draw as one turned by this much
_SEARCHED, _SEARCH_STEP = 10, 5  # degrees by which the known azimuth of an image may be wrong
_PER_DEGREE = 0.005  # of agreement: what a degree of difference has to gain
# Agreement of the volumes of a symmetric object and of its mirror image; the latter for fronts and backs
_ALIKE, _ALIKE_IN_FRONT = 0.55, 0.9


def _check_size(image: Image, name: str) -> None:
    """Raises MediaError for an image too small or too narrow to show an object."""
    height, width = image.shape[:2]
    if max(height, width) < _SMALLEST_IMAGE:
        raise MediaError(
            f"{name}: {width}x{height} is too small to show an object", hint="at least 64 px, better 256 and more"
        )
    if max(height, width) > _NARROWEST * min(height, width):
        raise MediaError(f"{name}: {width}x{height} is too narrow to show an object", hint="leave room around it")


@dataclass(frozen=True, slots=True)
class FramedObject:
    """An object on white, and the part of its image that is cropped as in the training images."""

    on_white: Image  # (N, M, 3) the whole image
    crop: Crop

    @property
    def side(self) -> float:
        """The side of the frame in pixels of the image."""
        return self.crop.box[2] - self.crop.box[0]

    def image(self) -> Image:
        """The frame as the network sees it."""
        return self.crop.image(self.on_white, beyond=255)

    def image_of_side(self, side: int) -> Image:
        """The frame, (side, side, 3)."""
        return Crop(self.crop.box, (side, side)).image(self.on_white, beyond=255)


def frame_object(cutout: Cutout, size: tuple[int, int], name: str, notes: list[str]) -> FramedObject:
    """The object in a frame as in the training images, which the network sees at `size` (height, width).

    Adds to `notes` what the user should know. Raises DetectionError when there is no object, or when it touches all
    borders.
    """
    left, top, right, bottom = _object_box(cutout, name)
    height, width = cutout.cover.shape[:2]
    touched = {"left": left <= 1, "top": top <= 1, "right": right >= width - 1, "bottom": bottom >= height - 1}
    sides = [side for side, there in touched.items() if there]
    if len(sides) == 4:
        raise DetectionError(
            f"{name}: the object touches all four borders of the image", hint="leave some room around it"
        )
    if sides:
        notes.append(f"the object is cut off at the {' and the '.join(sides)}; so is the result")
    if cutout.guessed:
        notes.append("the background is busy, so the cut-out is a guess; a PNG with transparency does better")
    longer = max(right - left, bottom - top)
    if longer < _SMALLEST_OBJECT:
        raise DetectionError(f"{name}: the object is only {longer} px large", hint="crop the image around it")
    if longer < _COARSE:
        notes.append(f"the object is only {longer} px large; expect a coarse result")
    side = longer / _SHARE
    return FramedObject(cutout.on_white, Crop(box_around(middle_of((left, top, right, bottom)), side, side), size))


def _object_box(cutout: Cutout, name: str) -> tuple[int, int, int, int]:
    """The bounding box of the object, exclusive at right and bottom."""
    seen = cutout.cover >= _SEEN
    share = seen.mean()
    if share < _LEAST_AREA:
        raise DetectionError(
            f"{name}: no object found, nothing stands out from the background",
            hint="a plain background of another colour helps, or a PNG with transparency",
        )
    if share > _FILLED:
        raise DetectionError(f"{name}: no object found, all of the image looks alike", hint="leave room around it")
    columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@dataclass(frozen=True, slots=True)
class SourceView:
    """The view of the source image."""

    angles: ViewAngles
    estimated: bool  # by the model, at least one of both angles
    chance: float = 1.0  # probability of the estimated azimuth


@dataclass(frozen=True, slots=True)
class ViewResult:
    """New views of an object, what they were made from, and what the user should know about them."""

    images: list[Image]  # (N, N, 3) RGB each, in the order of the azimuths
    views: list[ViewAngles]  # of the images; the nearest trained views with between="nearest"
    source_image: Image  # (H, W, 3) the source as the network saw it
    source_view: SourceView
    notes: list[str] = field(default_factory=list)


class _Side(NamedTuple):
    """One image of an object, as a view model has read it."""

    encoded: Any
    view: ViewAngles
    mirrored: bool  # the source image, mirrored


class EncodedObject:
    """An object that a view model has read, ready to be seen from any side.

    The mirrored image of a symmetric object at azimuth a is an image of the same object at -a. The volumes that the
    model finds in both become one, and every view comes from the image that is nearer to it.
    """

    def __init__(
        self,
        session: ViewSession,
        image: Array,
        view: ViewAngles,
        between: Between = "nearest",
        *,
        azimuth: float | None = None,
        symmetric: bool | None = None,
    ) -> None:
        """`image` (1, 3, H, W) in [-1, 1], seen from `view`.

        `azimuth`: a more exact one than that of `view`, which may be rounded. `symmetric`: None uses the symmetry if
        the volumes agree. Models without a volume do not use it; UsageError if it is asked for.
        """
        self._session, self._between = session, between
        self._sides = [_Side(session.encode(image), view, mirrored=False)]
        own = session.volume(self._sides[0].encoded) if symmetric is not False else None
        if symmetric and own is None:
            raise UsageError("--symmetric: this model cannot use the mirrored image", hint="view-chairs can")
        if own is not None:
            mirrored = session.encode(np.ascontiguousarray(image[..., ::-1]))
            other = session.volume(mirrored)
            assert other is not None
            rounded = 0.0 if azimuth is None else (azimuth - view.azimuth + 180) % 360 - 180
            self._add_mirrored(mirrored, own, other, rounded, symmetric)

    def _add_mirrored(
        self, mirrored: Any, own: RayVolume, other: RayVolume, rounded: float, symmetric: bool | None
    ) -> None:
        """Looks for the plane of symmetry near the known azimuth, which differs by `rounded` from the network's."""
        first = self._sides[0]
        azimuth, elevation = first.view
        found = []
        for off in range(-_SEARCHED, _SEARCHED + 1, _SEARCH_STEP):
            view = ViewAngles((-azimuth - 2 * (rounded + off)) % 360, elevation)
            turn = view_rotation(*view) @ view_rotation(*first.view).T
            alike = agreement(own, other, turn)
            found.append((alike - _PER_DEGREE * abs(off), alike, view, turn))
        _, alike, view, turn = max(found, key=lambda one: one[0])
        new = azimuth_difference(view.azimuth, azimuth) > 2 * _SEARCHED  # else the mirrored image shows nothing new
        if symmetric is None and alike < (_ALIKE if new else _ALIKE_IN_FRONT):
            return
        session = self._session
        self._sides[0] = first._replace(encoded=session.with_volume(first.encoded, fused(own, other, turn)))
        if new:
            self._sides.append(_Side(session.with_volume(mirrored, fused(other, own, turn.T)), view, mirrored=True))

    def image(self, view: ViewAngles) -> Image:
        """(H, W, 3) of the network's size."""
        return from_planes(self.planes(view))

    def planes(self, view: ViewAngles) -> Array:
        """The same as (1, 3, H, W), nominally in [-1, 1]."""
        _, (planes, _) = self._seen(view)
        return planes

    def image_at_size_of(self, large: Image, view: ViewAngles) -> Image:
        """(N, N, 3) the view, whose pixels come along the flow from `large`: the frame of the source, (N, N, 3)."""
        side, (_, (parts,)) = self._seen(view)
        layers = Layers.unpacked(parts)
        shown = np.ascontiguousarray(large[:, ::-1]) if side.mirrored else large
        place = Crop.whole(large.shape, layers.matte.shape)
        return mixed(layers, shown, place, place, (slice(0, large.shape[0]), slice(0, large.shape[1]))).image

    def _seen(self, view: ViewAngles) -> tuple[_Side, tuple[Array, Array]]:
        """The image that says most about a view (if both say as much, the source), and what `ViewSession.view` gives.

        The mean of both images would show two outlines.
        """
        side = min(self._sides, key=lambda side: _remoteness(azimuth_difference(side.view.azimuth, view.azimuth)))
        seen_from = view_code(side.view, "blend" if side.mirrored else self._between)
        return side, self._session.view(side.encoded, seen_from, view_code(view, self._between))


def _remoteness(turn: float) -> float:
    """How little an image says about a view that is turned by so many degrees. A back has the outline of its front."""
    return min(turn, 180 - turn + _BACK)


class ViewSynthesizer:
    """A loaded model that shows objects from other sides. Keep it for many images.

    Threads may share it: the network runs for one at a time. A forked child goes on with one thread on the CPU, and not
    at all on a GPU.
    """

    def __init__(self, model: str | Path = "view-chairs", **execution: Unpack[Execution]) -> None:
        """`execution`: see `open_session`. Raises BundleError."""
        self.session = open_session(model, "view", **execution)

    def render(
        self,
        image: ImageSource,
        azimuths_deg: Sequence[float],
        source_azimuth: float | None = None,
        source_elevation: float | None = None,
        elevation: float | None = None,
        between: Between = "nearest",
        size: Size | None = None,
        symmetric: bool | None = None,
    ) -> ViewResult:
        """The object of `image` from each of the azimuths.

        `image` is a file or an (H, W, 3) uint8 RGB array. All angles are in degrees. Azimuth 0 is the object's front,
        90 its left side (on the right of the image). Elevations are 0 to 20. Missing angles of the source are
        estimated. The new views have the source's elevation unless `elevation` is given. `between`, for azimuths
        between the 18 trained ones: take the nearest, or blend the codes of both neighbours. `size`: side of the views
        in pixels; "source" is as large as the source shows the object, up to 1024; None is that of the network's frame.
        `symmetric`: whether the left half of the object mirrors its right half; then the mirrored image is used, too.
        None decides by the image.
        Raises GflaError children for wrong input.
        """
        # Wrong angles are reported before any work.
        for azimuth in (*azimuths_deg, *([source_azimuth] if source_azimuth is not None else [])):
            view_angles(azimuth, 0)
        for height in (source_elevation, elevation):
            view_angles(0, height or 0)
        notes: list[str] = []
        framed = self.frame(image, notes)
        source_image = framed.image()
        source = self.source_view(source_image, source_azimuth, source_elevation, notes)
        asked = [view_angles(a, source.angles.elevation if elevation is None else elevation) for a in azimuths_deg]
        shown = asked
        if between == "nearest":
            shown = [nearest_view(angles) for angles in asked]
            _say_nearest([source.angles, *asked], [nearest_view(source.angles), *shown], notes)
        seen_from = nearest_view(source.angles) if between == "nearest" else source.angles
        read = EncodedObject(
            self.session,
            to_planes(source_image),
            seen_from,
            between,
            azimuth=source.angles.azimuth,
            symmetric=symmetric,
        )
        if size is None:
            images = [read.image(view) for view in shown]
        else:
            large = framed.image_of_side(min(round(framed.side), _LARGEST_VIEW) if size == "source" else size)
            images = [read.image_at_size_of(large, view) for view in shown]
        return ViewResult(images, shown, source_image, source, notes)

    def frame(self, image: ImageSource, notes: list[str]) -> FramedObject:
        """The object of an image, cropped as in the training images."""
        size, name = self.session.config.image_size, image_name(image)
        if not isinstance(image, str | PathLike):
            image = load_image(image)
            _check_size(image, name)
            return frame_object(cut_out(image), size, name, notes)
        cutout = read_cutout(Path(image), _LARGEST_SIDE)
        _check_size(cutout.on_white, name)
        return frame_object(cutout, size, name, notes)

    def source_view(
        self, source_image: Image, azimuth: float | None, elevation: float | None, notes: list[str]
    ) -> SourceView:
        """The view of a cropped image (H, W, 3); angles that are None are estimated by the model."""
        if azimuth is not None and elevation is not None:
            return SourceView(view_angles(azimuth, elevation), estimated=False)
        if not self.session.estimates_views:
            raise UsageError(
                f"{self.session.name} cannot estimate the view of the source image",
                hint="give --source-azimuth and --source-elevation",
            )
        scores = self.session.view_scores(to_planes(source_image))[0]
        azimuths, elevations = _softmax(scores[: len(AZIMUTHS)]), _softmax(scores[len(AZIMUTHS) :])
        best = int(azimuths.argmax())
        if elevation is None:
            elevation = float(ELEVATIONS[int(elevations.argmax())])
        chance = 1.0
        if azimuth is None:
            azimuth, chance = float(AZIMUTHS[best]), float(azimuths[best])
        source = SourceView(view_angles(azimuth, elevation), estimated=True, chance=chance)
        unsure = f" ({chance:.0%} sure; --source-azimuth corrects it)" if chance < _UNSURE else ""
        notes.append(f"the image seems to be taken from {source.angles}{unsure}")
        return source


def _softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
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
