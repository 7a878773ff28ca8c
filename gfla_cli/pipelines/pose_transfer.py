"""Pose transfer: the person of one image in the pose of another.

Load, detect, align and crop (`PoseTransfer.prepare`); encode, generate and refine (`PoseTransfer.generate`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Literal, NamedTuple, Unpack

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Float32Array, Image
from gfla_cli.conditioning.structure import structure_of
from gfla_cli.errors import DetectionError
from gfla_cli.geometry.crop import Crop
from gfla_cli.inference.session import Execution, open_session
from gfla_cli.inference.visualize import Intermediates
from gfla_cli.io.background import ProcessLock
from gfla_cli.io.image import ImageSource, from_planes, image_name, load_image, to_planes
from gfla_cli.person.body import are_cut_off, body_crop, fitted_into_image, has_feet, with_legs_of
from gfla_cli.person.body_motion import aligned
from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.keypoint_files import is_pose_file, read_pose
from gfla_cli.person.pose import Pose, WhichPerson, choose_person
from gfla_cli.pipelines.canvas import Canvas, background_name, check_background, separates_people
from gfla_cli.pipelines.compositing import ankles_in, composed
from gfla_cli.pipelines.frame_layers import Layers, body_without_pattern
from gfla_cli.pipelines.framing import Background, Size
from gfla_cli.pipelines.inpainting import without_subject
from gfla_cli.pipelines.refinement import CloseUp, HeadCrop, SourceHead, half_crops

_FileState = tuple[str, int, int]  # name, time of the last change, size
Align = bool | Literal["placed"]  # "placed": the target pose lies in the source's image already

_LARGEST_SIDE = 4096  # pixels; the network's input is 256, more only costs memory
_CACHED = 4096  # images whose people are cached; a pose has 288 bytes
_ENLARGED = 1.05  # times; a note says when a source is enlarged more
_DETAILED = 1.4  # sides of the network's frame; a smaller result gains nothing from refined halves
_FEW_JOINTS = 8  # with fewer the result is poor
_FEWEST_JOINTS = 3  # with fewer nothing can be generated


@dataclass(frozen=True, slots=True)
class NetworkFrame:
    """What the network saw and made, at its own size."""

    source_image: Image  # (H, W, 3)
    drawn: Image  # (H, W, 3)
    target_pose: NDArray[np.float32]  # (18, 3) x, y, confidence in pixels of the frame; missing = -1, -1, 0
    inside: Intermediates | None  # flows, attention and solids, when they were asked for
    head: tuple[HeadCrop, Image] | None = None  # what was drawn again, (H, W, 3)

    @property
    def image(self) -> Image:
        """(H, W, 3) what was drawn, with the refined head. At this size refined halves add nothing."""
        return self.drawn if self.head is None else self.head[0].paste(self.drawn, self.head[1])


@dataclass(frozen=True, slots=True)
class TransferResult:
    """A generated image, what it was made from, and what the user should know about it."""

    image: Image  # (N, M, 3) RGB, or (N, M, 4) RGBA with a transparent background
    source_image: Image  # (N, M, 3) what the source shows there
    source_pose: NDArray[np.float32]  # (18, 3) x, y, confidence in pixels of `source_image`; missing = -1, -1, 0
    target_pose: NDArray[np.float32]  # (18, 3) in pixels of `image`
    frame: NetworkFrame
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PreparedTransfer:
    """One pair, ready for the network."""

    source_image: Image  # (H, W, 3) the source's crop
    source_points: NDArray[np.float32]  # (18, 4) x, y, confidence, depth (NaN = unknown) in pixels of the crop
    target_points: NDArray[np.float32]
    close_ups: Sequence[CloseUp] = ()  # to be refined, in the order in which they are set into the body
    pending: Future[Canvas] | None = None  # see `canvas`
    notes: list[str] = field(default_factory=list)

    @property
    def poses(self) -> tuple[Pose, Pose]:
        """Of the source and of the target, in pixels of their crops."""
        size = self.source_image.shape[:2]
        return Pose.of(self.source_points, size), Pose.of(self.target_points, size)

    @property
    def canvas(self) -> Canvas | None:
        """What the result is set into; None: the result is the network's frame. Waits until another thread has made it.

        Raises GflaError when MediaPipe fails.
        """
        return None if self.pending is None else self.pending.result()


class _CutOut:
    """The person of a source apart from the background, at the size that was asked for last.

    It is kept for the next pose of the same person.
    """

    def __init__(self) -> None:
        self._lock = ProcessLock()
        self._cover: tuple[Crop, Float32Array | None] | None = None
        self._filled: tuple[Float32Array, Image] | None = None

    def cover(self, scale: Crop, find: Callable[[], Float32Array | None]) -> Float32Array | None:
        """(H, W) in [0, 1] for the source at the size of `scale`. `find` is called unless that is cached."""
        with self._lock:
            if self._cover is None or self._cover[0] != scale:
                self._cover = scale, find()
            return self._cover[1]

    def background(self, image: Image, cover: Float32Array) -> Image:
        """The image without the person, see `fill` of `Canvas.of`."""
        with self._lock:
            if self._filled is None or self._filled[0] is not cover:
                self._filled = cover, without_subject(image, cover)
            return self._filled[1]


class _Generated(NamedTuple):
    """One frame from the network."""

    image: Image  # (H, W, 3)
    layers: Layers | None = None  # what it is mixed from; None where it is the result
    inside: Intermediates | None = None


class PoseTransfer:
    """A loaded model that generates people in other poses. Keep it for many images.

    Threads may share it: detection and network each run for one thread at a time. A forked child goes on with one
    thread on the CPU; on a GPU, or after the parent has searched an image for people, it raises GflaError.
    """

    def __init__(
        self,
        model: str | Path = "pose-people",
        *,
        detector: PersonDetector | None = None,
        **execution: Unpack[Execution],
    ) -> None:
        """`detector`: one that starts already. `execution`: see `open_session`."""
        self.session = open_session(model, "pose", **execution)
        self._detector = detector or PersonDetector()
        self._lock = ProcessLock()
        self._found: dict[_FileState, list[Pose]] = {}  # all people in a file
        self._cut_out: tuple[_FileState, Pose, _CutOut] | None = None  # of the source that was used last

    def transfer(
        self,
        source: ImageSource,
        target: ImageSource | Pose,
        crop: bool | None = None,
        align: Align = True,
        person: WhichPerson = "largest",
        target_person: WhichPerson = "largest",
        refine_head: bool = True,
        size: Size | None = "source",
        background: Background = "keep",
        *,
        refine_body: bool = True,
        inside: bool = False,
        near_head: bool | None = None,
    ) -> TransferResult:
        """The person of `source` in the pose of `target`.

        `source` is an image file or an (H, W, 3) uint8 RGB array. `target` is the same, a keypoint file, a Pose,
        or its (18, 3) points in pixels of the source. Images may be PIL images, tensors and bytes, see `load_image`.
        `crop`: by default the result is the whole source image with its person in the new pose. True gives the frame
        around the person alone; False stretches the whole image to the network's frame, as data sets want it.
        `align`: give the target pose the size, place and build of the source's body; "placed": it has them, in pixels
        of the source.
        `refine_head`: draw a small head again at a larger scale, if the model was trained for it; this takes twice
        the time. `refine_body`: the same for the upper and the lower half of the body, where the result is much larger
        than the network's frame; this takes twice the time again.
        `size`: longer side of the frame around the person in the result, in pixels; "source" is as large as the source
        shows it, at most 2048; None is the network's own frame as it was generated.
        `background`: "keep" that of the source, "white", "transparent" (the result is RGBA), or an image.
        `inside`: return flows and attention, too. `near_head`: the old name of `refine_head`, until the next release.
        Raises GflaError children for wrong input.
        """
        refine_head = refine_head if near_head is None else near_head
        prepared = self.prepare(
            source, target, crop, align, person, target_person, refine_head, size, background, refine_body
        )
        return self.generate([prepared], inside=inside)[0]

    def prepare(
        self,
        source: ImageSource,
        target: ImageSource | Pose,
        crop: bool | None = None,
        align: Align = True,
        person: WhichPerson = "largest",
        target_person: WhichPerson = "largest",
        refine_head: bool = True,
        size: Size | None = "source",
        background: Background = "keep",
        refine_body: bool = True,
    ) -> PreparedTransfer:
        """Everything before the network, with the arguments of `transfer`.

        With a `size`, another thread begins to make the canvas: a process should not fork between this and `generate`.
        """
        check_background(background, self.session)
        notes: list[str] = []
        image = load_image(source, _LARGEST_SIDE)
        people = self._people(source, image)
        source_pose = choose_person(people, person, where=image_name(source), notes=notes)
        others = [pose for pose in people if pose is not source_pose]
        if isinstance(target, np.ndarray) and target.shape in ((18, 3), (18, 4)):  # such as `result.target_pose`
            target = Pose.of(target.astype(np.float32), (image.shape[0], image.shape[1]))
        target_pose = self._find_target(target, target_person, notes)
        if align is True:
            target_pose = aligned(target_pose, source_pose)
            if size is not None and crop is None:
                target_pose = _fitted(target_pose, source_pose, notes)
        source_crop, target_crop = self._crops(
            image, source_pose, target_pose, crop=crop is not False, align=bool(align)
        )
        poses = source_pose.cropped(source_crop).within_frame(), target_pose.cropped(target_crop).within_frame()
        _check_joints(poses, notes)
        close_ups: list[CloseUp] = []
        if refine_body and self.session.config.refines_halves and _shows_detail(source_crop, size):
            close_ups += half_crops(image, source_crop, poses)
        if refine_head and self.session.config.refines_heads:
            source_head = SourceHead.of(image, source_pose, source_crop.size)
            if source_head and (head := source_head.at(target_pose, target_crop)):
                close_ups.append(head)
        pending = None
        if size is not None:
            if not align and crop is not False and self._draws_background(background):
                notes.append("with --no-align the background is drawn, too; --background white sets a clean one")
            cut_out = self._cut_out_of(source, source_pose)
            maker = ThreadPoolExecutor(1)
            pending = maker.submit(  # while the network generates
                Canvas.of,
                image,
                source_crop,
                target_crop,
                size,
                whole=crop is None and bool(align),
                cover=lambda scaled, scale: cut_out.cover(
                    scale, lambda: self._cover(scaled, scale, source_pose, others)
                ),
                fill=cut_out.background,
                background=background,
                pose=source_pose,
            )
            maker.shutdown(wait=False)
            notes += _said_about_size(source_crop, size)
        points = [pose.deep_points for pose in poses]
        return PreparedTransfer(source_crop.image(image), points[0], points[1], close_ups, pending, notes)

    def generate(self, prepared: Sequence[PreparedTransfer], *, inside: bool = False) -> list[TransferResult]:
        """The results of several prepared pairs in one pass of the network, and of further passes for their close-ups.

        A single image and its close-ups are generated together.
        """
        layered = any(one.pending is not None for one in prepared)
        close_ups = [part for one in prepared for part in one.close_ups]
        if len(prepared) == 1 and not inside:  # all at the same time; more images fill the processor anyway
            frames = self._frames([*prepared, *close_ups], layered=layered)
        else:
            frames = self._frames(prepared, layered=layered, inside=inside)
            for start in range(0, len(close_ups), len(prepared)):  # not more at a time, which bounds the memory
                frames += self._frames(close_ups[start : start + len(prepared)], layered=layered)
        refined = iter(frames[len(prepared) :])
        return [
            self._result(one, made, [(part, next(refined)) for part in one.close_ups])
            for one, made in zip(prepared, frames[: len(prepared)], strict=True)
        ]

    def _result(
        self, one: PreparedTransfer, made: _Generated, refined: Sequence[tuple[CloseUp, _Generated]]
    ) -> TransferResult:
        points = [one.source_points[:, :3], one.target_points[:, :3]]
        head = next(((part, drawn.image) for part, drawn in refined if isinstance(part, HeadCrop)), None)
        frame = NetworkFrame(one.source_image, made.image, points[1], made.inside, head)
        canvas = one.canvas
        if canvas is None:
            return TransferResult(frame.image, one.source_image, points[0], points[1], frame, one.notes)
        points = [_moved_back(canvas.place, place) for place in points]
        close_ups = [(part, _layers(drawn, part)) for part, drawn in refined]
        layers = _layers(made, one)
        ankles = ankles_in(canvas.place, layers, one.poses)
        image = composed(canvas, layers, close_ups, poses=one.poses, ankles=ankles, single=True)
        return TransferResult(image, canvas.original, points[0], points[1], frame, one.notes)

    def _frames(
        self, prepared: Sequence[PreparedTransfer | CloseUp], *, layered: bool, inside: bool = False
    ) -> list[_Generated]:
        """What the network generates. `layered`: with layers; `inside`: with intermediates, one pass for each."""
        if not prepared:
            return []
        if inside:
            found = [self.session.image_and_intermediates(*self._inputs([one])) for one in prepared]
            return [
                self._generated(one, image, parts, within)
                for one, ((image,), (parts,), within) in zip(prepared, found, strict=True)
            ]
        if not layered and not separates_people(self.session.config):
            return [_Generated(from_planes(planes[None])) for planes in self.session.image(*self._inputs(prepared))]
        images, layers = self.session.image_and_layers(*self._inputs(prepared))
        return [self._generated(*one) for one in zip(prepared, images, layers, strict=True)]

    def _generated(
        self,
        one: PreparedTransfer | CloseUp,
        image: Float32Array,
        planes: Float32Array,
        inside: Intermediates | None = None,
    ) -> _Generated:
        """From an image (3, H, W) and its layers (10, H, W)."""
        layers = Layers.unpacked(planes)
        if separates_people(self.session.config) and not isinstance(one, HeadCrop):
            image, layers = body_without_pattern(image, layers)
        return _Generated(from_planes(image[None]), layers, inside)

    def _cut_out_of(self, source: ImageSource, pose: Pose) -> _CutOut:
        """The cut-out of a person of the source; that of a file's last person is kept."""
        file = _file_state(source)
        with self._lock:
            if file is not None and self._cut_out is not None:
                kept_file, kept_pose, kept = self._cut_out
                if kept_file == file and kept_pose is pose:  # `_people` keeps the poses of a file
                    return kept
            cut_out = _CutOut()
            self._cut_out = None if file is None else (file, pose, cut_out)
            return cut_out

    def _cover(self, image: Image, scale: Crop, pose: Pose, others: Sequence[Pose]) -> Float32Array | None:
        """Where an image, to which `scale` maps the poses, shows a person; None when the model has no matte."""
        if not separates_people(self.session.config):
            return None
        return self._detector.cover(image, pose.cropped(scale), [other.cropped(scale) for other in others])

    def _draws_background(self, background: Background) -> bool:
        """Whether a frame that has no place in the source shows what the network draws behind the person."""
        return separates_people(self.session.config) and background_name(background) == "keep"

    def _inputs(self, prepared: Sequence[PreparedTransfer | CloseUp]) -> list[NDArray[np.float32]]:
        """The network's inputs: source images (B, 3, H, W), and pose maps (B, C, H, W) of the sources and targets."""
        config = self.session.config
        height, width = prepared[0].source_image.shape[:2]
        maps = np.zeros((2, len(prepared), config.structure_channels, height, width), np.float32)
        for k, one in enumerate(prepared):
            for side, points in enumerate((one.source_points, one.target_points)):
                structure_of(config, points, (height, width), out=maps[side, k])
        return [np.concatenate([to_planes(one.source_image) for one in prepared]), *maps]

    def _people(self, source: ImageSource, image: Image | None = None) -> list[Pose]:
        """All people of an image, which is read unless it is given. Those of files are cached: jobs use files often."""
        file = _file_state(source)
        with self._lock:
            people = None if file is None else self._found.get(file)
        if people is None:
            image = load_image(source, _LARGEST_SIDE) if image is None else image
            people = [person.pose for person in self._detector.detect(image)]
            if file is not None:
                with self._lock:
                    self._found[file] = people
                    while len(self._found) > _CACHED:
                        self._found.pop(next(iter(self._found)))
        return people

    def _find_target(self, target: ImageSource | Pose, which: WhichPerson, notes: list[str]) -> Pose:
        if isinstance(target, Pose):
            return target
        if isinstance(target, str | PathLike):
            target = Path(target) if not isinstance(target, str) else target
            if is_pose_file(target):
                return read_pose(target, person=which, notes=notes)
        return choose_person(self._people(target), which, where=image_name(target), notes=notes)

    def pose_of(self, target: ImageSource, which: WhichPerson = "largest", notes: list[str] | None = None) -> Pose:
        """A person's pose in an image or keypoint file, in its pixels. Raises GflaError children."""
        return self._find_target(target, which, [] if notes is None else notes)

    def _crops(self, image: Image, source: Pose, target: Pose, *, crop: bool, align: bool) -> tuple[Crop, Crop]:
        """The crops of the source and of the target pose. An aligned pose has the source's crop."""
        size, aspect = self.session.config.image_size, self.session.config.frame_aspect
        if not crop:
            whole = Crop.whole(image.shape, size)
            return whole, whole if align else Crop.whole(target.size, size)
        if align:
            both = body_crop([source, target], size, aspect)
            return both, both
        return body_crop([source], size, aspect), body_crop([target], size, aspect)


def _layers(made: _Generated, shown: PreparedTransfer | CloseUp) -> Layers:
    """What a frame is mixed from, with a matte that trusts the body in it."""
    assert made.layers is not None
    if isinstance(shown, HeadCrop):
        return made.layers
    return made.layers.around(shown.poses[1])


def _file_state(source: ImageSource) -> _FileState | None:
    """What distinguishes a file from a later one of the same name; None for an array, and if there is no file."""
    if not isinstance(source, str | PathLike):
        return None
    try:
        state = Path(source).stat()
    except (OSError, ValueError):
        return None
    return str(source), state.st_mtime_ns, state.st_size


def _moved_back(crop: Crop, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Joints (18, 3) of a crop in pixels of its image; missing ones stay -1, -1, 0."""
    return np.where(points[:, 2:] > 0, crop.points_back(points), points)


def _longer_side(crop: Crop) -> float:
    """In pixels of the image that is cropped."""
    left, top, right, bottom = crop.box
    return max(right - left, bottom - top)


def _shows_detail(source_crop: Crop, size: Size | None) -> bool:
    """Whether a result of that size shows more of the source than the network's frame does."""
    if size is None:
        return False
    shown = _longer_side(source_crop)
    return (shown if size == "source" else min(shown, size)) > _DETAILED * max(source_crop.size)


def _said_about_size(source_crop: Crop, size: Size) -> list[str]:
    """A note on results that are small, or larger than what the source shows."""
    shown, network = _longer_side(source_crop), max(source_crop.size)
    if size == "source":
        if shown >= network:
            return []
        return [
            f"the source shows the person in {shown:.0f} pixels, so the result is small; --size {network} enlarges it"
        ]
    if size > _ENLARGED * shown:
        return [f"--size {size} enlarges the source {size / shown:.1f} times; that adds no detail"]
    return []


def _fitted(pose: Pose, source: Pose, notes: list[str]) -> Pose:
    """A pose of the source's body with legs, and inside of the source's image. Notes what it lacks."""
    whole = with_legs_of(pose, source)
    if whole is not pose:
        notes.append("the pose shows no feet; the legs are those of the source")
    fitted = fitted_into_image(whole, source)
    if are_cut_off([fitted], source).any():
        what = "the source has too little room for this pose, so the person is cut off"
        notes.append(f"{what}; --crop shows all of it")
    return fitted


def _check_joints(poses: tuple[Pose, Pose], notes: list[str]) -> None:
    """Raises DetectionError for poses with too few joints. Notes poses that the model was not trained for."""
    cut = False
    for pose, role in zip(poses, ("source", "target"), strict=True):
        joints = int(pose.present.sum())
        if joints < _FEWEST_JOINTS:
            raise DetectionError(
                f"only {joints} joints of the {role} lie in the frame", hint="try --no-align or --no-crop"
            )
        if joints < _FEW_JOINTS:
            notes.append(f"only {joints} of 18 joints of the {role} are visible; expect a poor image")
        elif not has_feet(pose) and not cut:  # where the source is cut, the target is
            cut = True
            notes.append(f"the {role} shows no feet, so the result is cut there, too")
