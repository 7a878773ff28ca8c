"""Animation: the person of one image moves as the person of a driving video. Faces and bodies, frame by frame.

`Animator` holds a loaded model. `Animation` is one video in the making: driver -> landmarks -> `Subject.condition`
-> `Subject.render`. The module imports no torch, so commands can check their input first.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Protocol, Unpack

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Float32Array, Image, Points
from gfla_cli.conditioning.face_map import background_edges, face_structure
from gfla_cli.conditioning.heatmap import body_structure, heatmaps, joint_maps
from gfla_cli.errors import DetectionError, MediaError
from gfla_cli.geometry.crop import Box, Crop
from gfla_cli.inference.session import Execution, Session, open_session, start_clip
from gfla_cli.io.background import Closeable, ProcessLock, overlapped
from gfla_cli.io.image import (
    ImageSource,
    check_image_file,
    image_name,
    is_animated,
    load_image,
    reduced,
    to_planes,
)
from gfla_cli.io.video import Sound, Trim, probe, read_frames
from gfla_cli.person.body import (
    body_box,
    body_crop,
    fit_into_image,
    frame_height,
    has_feet,
    image_limits,
    torso_length,
)
from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.detect_face import FaceDetector, no_face
from gfla_cli.person.face import cropped_face, face_crop, face_size
from gfla_cli.person.pose import Pose, choose_person
from gfla_cli.person.retarget import BodyMotion, FaceMotion, best_reference
from gfla_cli.person.track import BodyFilter, OneEuro
from gfla_cli.person.track_files import Kind, Track
from gfla_cli.pipelines.compositing import Canvas, check_background, composed, separates_people
from gfla_cli.pipelines.driver import DrivenFrame, Driver, OnMissing, Shot, Stopwatch, not_found, open_driver, shots
from gfla_cli.pipelines.frame_layers import Layers
from gfla_cli.pipelines.framing import Background, Size
from gfla_cli.pipelines.head_refinement import HeadCrop, SourceHead
from gfla_cli.pipelines.inbetween import between, lies_between, most_between


@dataclass(frozen=True, kw_only=True, slots=True)
class AnimationSettings:
    """Choices about the person of the source image, and about the frames of the result."""

    person: str | int = "largest"  # which one, see `choose_person`
    crop: bool = True  # animate the part around the person; else the whole image, resized to the network's input
    absolute: bool = False  # use the driver's own shape and place
    refine_head: bool = True  # body models that support it: draw a small head again at a larger scale
    smooth: bool = True  # smooth the driver's landmarks over time
    paste_back: bool = True  # frames are the whole source image; else the network's frame of it alone
    size: Size = "source"  # longer side of the network's frame in the result, pixels; or as large as in the source
    background: Background = "keep"  # of bodies whose model separates them from it: "keep", "white", or an image
    every_frame: bool = False  # the network draws every frame of a face; else frames between two are mixed from them


MODELS: dict[Kind, str] = {"face": "face-people", "body": "pose-people"}  # the default of each task
_LARGEST_SIDE = 1920  # pixels of a source, and with it of a video
_WAITING, _DRAWN = 4, 2  # conditions that wait for the network, and frames that it has drawn
_SMALL_FACE = 60.0  # pixels across; results of smaller faces are blurred
_LISTED = 5  # times of cuts that a note names
_FEW_JOINTS = 8  # of 18; with fewer a body cannot be animated
_FEW_WITHOUT_FEET = 0.1  # share of a clip's frames; with more the driver counts as cut above the feet
_CUT_OFF = 0.15  # torso lengths; a body that leaves the image by less looks whole


class FrameCondition(NamedTuple):
    """What the network is to draw in one frame."""

    structure: NDArray[np.float32] | None  # (1, S, H, W) the pose map; None: not made yet, see `Subject.prepared`
    body: Pose | None = None  # in pixels of the network's frame
    face: Points | None = None  # (68 or 70, 2) of a frame that may be mixed from its neighbours, in the same pixels
    head: HeadCrop | None = None  # to be refined
    place: Crop | None = None  # of the canvas: where the frame lies, unless it stays where it is


class DrawnFrame(NamedTuple):
    """What the network has drawn."""

    layers: Layers
    head: tuple[HeadCrop, Layers] | None = None
    place: Crop | None = None  # see FrameCondition
    face: Points | None = None  # see FrameCondition


class _Between(NamedTuple):
    """A frame of a face that is mixed from the frames before and after it."""

    before: DrawnFrame
    face: Points
    after: DrawnFrame
    way_there: float  # from the frame before to the one after

    def mixed(self) -> DrawnFrame:
        before, after = self.before, self.after
        assert before.face is not None
        assert after.face is not None
        layers = between((before.layers, after.layers), (before.face, self.face, after.face), self.way_there)
        return DrawnFrame(layers, face=self.face)


class Subject(Protocol):
    """The person of the source image. `start` comes first, then `condition`, `draw` and `compose` for each frame."""

    kind: Kind
    crop: Crop  # the part of the image that the network sees
    source_image: Image  # (H, W, 3) that part, as the network sees it
    cut_below: bool  # the driver's image cuts the body, and the crop ends there, above the source's feet
    canvas: Canvas  # what the frames are set into

    def start(self, driving: Sequence[Points], size: tuple[int, int], fps: Fraction, clip: Sequence[Shot] = ()) -> None:
        """Fits the driver to the source.

        `driving`: landmarks of its first seconds, in images of `size` (height, width). `clip`: all of them, if known.
        """

    def restart(self, driving: Sequence[Points]) -> None:
        """Fits the driver to the source anew after a cut: landmarks of the first frames of the new shot."""

    def condition(self, points: Points, missing: int) -> FrameCondition:
        """The network's condition for the driver's next landmarks. `missing`: frames without a person before it."""

    def prepared(self, condition: FrameCondition) -> FrameCondition:
        """The same with its structure, for a frame that the network draws."""

    def draw(self, condition: FrameCondition) -> DrawnFrame:
        """The network's part of the next frame."""

    def compose(self, drawn: DrawnFrame) -> Image:
        """The frame, (N, M, 3)."""


class FaceSubject:
    """A face that is moved by the landmarks of another face."""

    kind: Kind = "face"
    cut_below = False

    def __init__(
        self, session: Session, image: Image, where: str, settings: AnimationSettings, notes: list[str]
    ) -> None:
        """Raises DetectionError when the image has no face."""
        check_background(settings.background, session)
        with FaceDetector() as detector:
            faces = detector.detect(image)
        if not faces:
            raise no_face(where)
        self.points = choose_person(faces, settings.person, where=where, notes=notes).points
        if face_size(self.points) < _SMALL_FACE:
            notes.append(f"{where}: the face is {face_size(self.points):.0f} px wide; expect a blurred result")
        self._session, self._image, self._settings, self._notes = session, image, settings, notes

    def start(self, driving: Sequence[Points], size: tuple[int, int], fps: Fraction, clip: Sequence[Shot] = ()) -> None:
        """See Subject. The crop holds the face in all frames of `driving`."""
        self._fps = fps
        self._may_mix = not self._settings.every_frame and most_between(fps) > 0 and self._session.config.has_flow
        self.restart(driving)
        if self._settings.crop:
            moving = np.stack([self.points[:, :2], *(self._motion(points) for points in driving)])
            height, width = self._image.shape[:2]
            self.crop = face_crop(moving, self._session.config.image_size, inside=(height, width))
        else:
            self.crop = Crop.whole(self._image.shape, self._session.config.image_size)
        self.source_image = self.crop.image(self._image)
        points = cropped_face(self.points[:, :2], self.crop)
        self._edges = background_edges(self.source_image, points)
        self._clip = start_clip(self._session, to_planes(self.source_image), self._maps(points))
        self.canvas = canvas_of(self._image, self.crop, self._settings, lambda image, scale: None, self._notes)

    def restart(self, driving: Sequence[Points]) -> None:
        """See Subject."""
        reference = driving[best_reference(self.points, driving)]
        self._motion = FaceMotion(self.points, reference, absolute=self._settings.absolute)
        self._filter = OneEuro(self._fps) if self._settings.smooth else None

    def _maps(self, points: Points) -> NDArray[np.float32]:
        return face_structure(points, self.crop.size, self._edges, self._session.config.structure_channels)[None]

    def condition(self, points: Points, missing: int) -> FrameCondition:
        """See Subject."""
        smooth = points if self._filter is None else self._filter(points, face_size(points), missing)
        face = cropped_face(self._motion(smooth), self.crop)
        return FrameCondition(None, face=face) if self._may_mix else FrameCondition(self._maps(face))

    def prepared(self, condition: FrameCondition) -> FrameCondition:
        """See Subject."""
        if condition.structure is not None or condition.face is None:
            return condition
        return condition._replace(structure=self._maps(condition.face))

    def draw(self, condition: FrameCondition) -> DrawnFrame:
        """See Subject."""
        structure = self.prepared(condition).structure
        assert structure is not None
        return DrawnFrame(Layers.unpacked(self._clip.next_layers(structure)[0]), face=condition.face)

    def compose(self, drawn: DrawnFrame) -> Image:
        """See Subject."""
        return composed(self.canvas, drawn.layers)


class BodySubject:
    """A person who is moved by the joints of another: by a sequence model, or frame by frame by a pose model."""

    kind: Kind = "body"

    def __init__(
        self, session: Session, image: Image, where: str, settings: AnimationSettings, notes: list[str]
    ) -> None:
        """Raises DetectionError when the image shows no person, or too little of one."""
        with PersonDetector() as detector:
            people = [one.pose for one in detector.detect(image)]
        self.pose = choose_person(people, settings.person, where=where, notes=notes)
        self._others = [pose for pose in people if pose is not self.pose]
        joints = int(self.pose.present.sum())
        if joints < _FEW_JOINTS:
            what = f"{where}: only {joints} of 18 joints of the person are visible"
            raise DetectionError(what, hint="use an image with the whole body, or --task face")
        check_background(settings.background, session)
        self._session, self._image, self._settings = session, image, settings
        self._where, self._notes = where, notes
        # A sequence model continues its last frame, so its frame has to stay where it is.
        self._follows = settings.crop and settings.paste_back and session.config.task == "pose"

    def start(self, driving: Sequence[Points], size: tuple[int, int], fps: Fraction, clip: Sequence[Shot] = ()) -> None:
        """See Subject. The frame holds the body in all of these frames: it follows the body, or is large enough."""
        self._driver_size, self._fps = size, fps
        poses = self._planned(clip or [Shot(driving, driving)])
        self.restart(driving)
        config, settings = self._session.config, self._settings
        self.crop = self._planned_crop(poses)
        self.source_image = self.crop.image(self._image)
        self.canvas = canvas_of(self._image, self.crop, settings, self._cover, self._notes, cut_below=self.cut_below)
        points = self.pose.cropped(self.crop).within_frame().deep_points
        self._clip = start_clip(self._session, to_planes(self.source_image), self._drawn(points))
        self._head = None
        if settings.refine_head and config.refines_heads:
            self._head = SourceHead.of(self._image, self.pose, config.image_size)
        if self._head is not None:  # the same size in all frames, from whatever side the body is seen
            self._torso = float(np.median([torso_length(pose) for pose in poses]))
            self._head_clip = start_clip(self._session, to_planes(self._head.image), self._drawn(self._head.points))

    def _planned(self, clip: Sequence[Shot]) -> list[Pose]:
        """The poses of all frames, moved so that they stay inside of the image as far as that is possible."""
        self._fitted: NDArray[np.float64] | None = None
        poses = []
        for shot in clip:
            self.restart(shot.first)
            poses += [self._posed(points, 0) for points in shot.points]
        whole = [pose for pose in poses if has_feet(pose)]
        without_feet = len(poses) - len(whole)
        self.cut_below = self._settings.crop and has_feet(self.pose) and without_feet > _FEW_WITHOUT_FEET * len(poses)
        if self.cut_below:
            self._notes.append(f"{self._where}: the driver shows no feet; below its lower border the source stays")
        elif self._settings.crop and not self._settings.absolute and whole:
            self._fitted = fit_into_image(whole, self.pose)
            if self._fitted is not None:
                poses = [pose.transformed(self._fitted, pose.size) for pose in poses]
        self._count_outside(poses)
        return poses

    def _count_outside(self, poses: Sequence[Pose]) -> None:
        """Notes how many poses do not fit into the image."""
        first, last = image_limits(self.pose)
        boxes = np.array([body_box(pose) for pose in poses])
        beyond = np.maximum(first - boxes[:, :2], boxes[:, 2:] - last).max(axis=1)
        outside = int((beyond > _CUT_OFF * torso_length(self.pose)).sum())
        if outside and self._settings.crop and not self.cut_below:
            self._notes.append(
                f"{self._where}: in {outside} of {len(poses)} frames the person does not fit into the image, "
                "which cuts it off; an image with more room around the person shows all"
            )

    def _planned_crop(self, poses: Sequence[Pose]) -> Crop:
        """The part of the image that the network sees, for a frame that holds all poses."""
        config = self._session.config
        if not self._settings.crop:
            return Crop.whole(self._image.shape, config.image_size)
        fitting = [pose for pose in poses if self.cut_below or has_feet(pose)] or list(poses)
        if not self._follows or self.cut_below:
            return body_crop([self.pose, *fitting], config.image_size, config.frame_aspect)
        heights = [frame_height(self._visible(body_box(pose)), config.frame_aspect) for pose in fitting]
        return body_crop([self.pose], config.image_size, config.frame_aspect, least_height=max(heights))

    def _visible(self, box: Box) -> Box:
        """The part of a box inside of the image."""
        left, top, right, bottom = box
        height, width = self._image.shape[:2]
        left, top = min(max(left, 0.0), width - 1.0), min(max(top, 0.0), height - 1.0)
        return left, top, max(min(right, float(width)), left + 1), max(min(bottom, float(height)), top + 1)

    def _cover(self, image: Image, scale: Crop) -> Float32Array | None:
        if not separates_people(self._session.config):
            return None
        others = [pose.cropped(scale) for pose in self._others]
        with PersonDetector() as detector:
            return detector.cover(image, self.pose.cropped(scale), others)

    def restart(self, driving: Sequence[Points]) -> None:
        """See Subject."""
        poses = [Pose.of(points, self._driver_size) for points in driving]
        self._motion = BodyMotion(self.pose, poses, absolute=self._settings.absolute)
        self._filter = BodyFilter(self._fps, smooth=self._settings.smooth)
        self._shift = np.zeros(2)  # of the frame, in pixels of the image

    def _posed(self, points: Points, missing: int) -> Pose:
        """The driver's next pose in the source's image."""
        pose = self._motion(self._filter(Pose.of(points, self._driver_size), missing))
        return pose if self._fitted is None else pose.transformed(self._fitted, pose.size)

    def _frame(self, pose: Pose) -> Crop:
        """The part of the image that shows a pose. It only moves when the body would leave it."""
        if not self._follows or self.cut_below:
            return self.crop
        whole = body_box(pose)
        frame = np.reshape(self.crop.box, (2, 2)) + self._shift
        box = np.reshape(whole, (2, 2))
        if (np.ptp(box, axis=0) > np.ptp(frame, axis=0)).any():
            box = np.reshape(self._visible(whole), (2, 2))
        move = np.maximum(0, box[1] - frame[1]) + np.minimum(0, box[0] - frame[0])
        if not has_feet(self.pose):  # the frame ends where the image does
            move[1] = 0
        self._shift = self._shift + move
        left, top, right, bottom = (frame + move).ravel().tolist()
        return Crop((left, top, right, bottom), self.crop.size)

    def _drawn(self, points: Points) -> NDArray[np.float32]:
        config = self._session.config
        draw = body_structure if config.task == "body" else joint_maps if config.has_depth else heatmaps
        return draw(points, self.crop.size, config.heatmap_sigma)[None]

    def condition(self, points: Points, missing: int) -> FrameCondition:
        """See Subject."""
        pose = self._posed(points, missing)
        frame = self._frame(pose)
        head = self._head.at(pose, frame, self._torso) if self._head else None
        place = None if frame is self.crop else Crop(self.canvas.scale.bounds(frame.box), frame.size)
        body = pose.cropped(frame)
        return FrameCondition(self._drawn(body.within_frame().deep_points), body, head=head, place=place)

    def prepared(self, condition: FrameCondition) -> FrameCondition:
        """See Subject. Bodies have it already."""
        return condition

    def draw(self, condition: FrameCondition) -> DrawnFrame:
        """See Subject."""
        assert condition.structure is not None
        layers, head = Layers.unpacked(self._clip.next_layers(condition.structure)[0]), condition.head
        assert condition.body is not None
        layers = layers.around(condition.body)
        if head is None:
            return DrawnFrame(layers, place=condition.place)
        refined = self._head_clip.next_layers(self._drawn(head.target_points))[0]
        return DrawnFrame(layers, (head, Layers.unpacked(refined)), condition.place)

    def compose(self, drawn: DrawnFrame) -> Image:
        """See Subject."""
        return composed(self.canvas, drawn.layers, drawn.head, place=drawn.place)


def canvas_of(
    image: Image,
    crop: Crop,
    settings: AnimationSettings,
    cover: Callable[[Image, Crop], Float32Array | None],
    notes: list[str],
    *,
    cut_below: bool = False,
) -> Canvas:
    """What the frames of a clip are set into. No side of it is longer than the largest side of a video."""
    size = settings.size
    whole = settings.crop and settings.paste_back
    if whole and size != "source":
        left, top, right, bottom = crop.box
        most = int(_LARGEST_SIDE * max(right - left, bottom - top) / max(image.shape[:2]))
        if size > most:
            notes.append(f"--size {size} became {most}: a video has at most {_LARGEST_SIDE} pixels a side")
            size = most
    background = settings.background
    return Canvas.of(image, crop, crop, size, whole=whole, cover=cover, background=background, cut_below=cut_below)


@dataclass(frozen=True, slots=True)
class AnimatedFrame:
    """One frame of the result."""

    number: int  # of the driver's frame
    image: Image  # (N, M, 3) the whole source image, or with `paste_back=False` the network's frame of it
    driving: Image | None  # (H, W, 3) the driver's frame, if it was asked for and there is one
    points: Points | None  # the driver's landmarks in its own pixels
    held: bool  # no person was found, and the previous frame is shown again


class Animator:
    """A loaded model that animates the person of an image. Keep it for many videos.

    Threads may share it: every animation has detectors of its own, and the network runs for one thread at a time. For
    forks see `PoseTransfer`.
    """

    def __init__(self, model: str | Path = MODELS["face"], **execution: Unpack[Execution]) -> None:
        """`model`: for faces, for bodies, or for poses, which animates bodies frame by frame. Raises BundleError.

        `execution`: see `open_session`.
        """
        self.session = open_session(model, "face", "body", "pose", **execution)
        self.kind: Kind = "face" if self.session.config.task == "face" else "body"

    def animate(
        self,
        source: ImageSource,
        driving: str | Path,
        *,
        settings: AnimationSettings | None = None,
        trim: Trim | None = None,
        fps: Fraction | float | str | None = None,
        driving_person: str | int = "largest",
        on_missing: OnMissing = "hold",
        images: bool = False,
        stopwatch: Stopwatch | None = None,
    ) -> Animation:
        """The person of `source` moving as the person of `driving`: an iterator that makes the frames one by one.

        `source` is an image file or (H, W, 3) uint8 RGB; of a video the first frame is taken. `driving` is a video, an
        image, a landmarks file or a folder with a keypoint file for every frame. `trim` (start and end in seconds) and
        `fps` choose its frames. `driving_person` is tracked, see `choose_person`. `on_missing`: "hold", "skip" or
        "fail" (raise DetectionError) for a frame without a person. `images`: also return the driver's frames. Raises
        GflaError children for wrong input.
        """
        notes: list[str] = []
        watch = stopwatch or Stopwatch()
        driver = open_driver(
            driving, self.kind, trim=trim, fps=fps, person=driving_person, images=images, stopwatch=watch
        )
        image = read_source(source, notes)
        kind = FaceSubject if self.kind == "face" else BodySubject
        subject: Subject = kind(self.session, image, image_name(source), settings or AnimationSettings(), notes)
        clip = driver.survey() if self.kind == "body" else []  # the frame of a body is planned for the whole clip
        subject.start(clip[0].first if clip else driver.preview(), driver.size, driver.fps, clip)
        return Animation(image, subject, driver, on_missing, str(driving), notes, watch)


class Animation(Iterator[AnimatedFrame], Closeable):
    """Iterates over the frames of a video, which are made one by one. A context manager that closes the driver."""

    def __init__(
        self,
        image: Image,
        subject: Subject,
        driver: Driver,
        on_missing: OnMissing,
        where: str,
        notes: list[str],
        stopwatch: Stopwatch,
    ) -> None:
        self.image = image  # (H, W, 3) the whole source
        self.source_image = subject.source_image  # (H, W, 3) what the network sees of it
        self.crop = subject.crop  # where that is
        self.still = subject.canvas.original  # (N, M, 3) what the source shows in the place of a frame
        self.cut_below = subject.cut_below  # whether the crop ends within the body
        self.fps, self.expected = driver.fps, driver.expected
        self.track = Track(driver.kind, driver.fps, driver.size)  # grows with the frames
        self.missing = 0  # frames without a person so far
        self.stopwatch = stopwatch
        self._subject, self._driver, self._on_missing, self._where = subject, driver, on_missing, where
        self._notes = notes
        self._first_missing = 0
        self._cuts: list[float] = []  # seconds
        self._lock = ProcessLock()
        self._frames = self._made()

    def __next__(self) -> AnimatedFrame:
        with self._lock:
            return next(self._frames)

    def close(self) -> None:
        """Ends the work, after the frame that another thread is making; there are no more frames afterwards."""
        with self._lock:
            self._frames.close()

    @property
    def damaged(self) -> bool:
        """Whether the driver's file was cut off or damaged; known after the last frame."""
        return self._driver.damaged

    @property
    def sound(self) -> Sound | None:
        """The driver's sound, which ends with the frames."""
        return self._driver.sound

    @property
    def notes(self) -> list[str]:
        """What the user should know; complete after the last frame."""
        notes = [*self._notes, *self._driver.notes]
        if self._cuts:
            times = ", ".join(f"{time:.2f} s" for time in self._cuts[:_LISTED])
            more = f" and {len(self._cuts) - _LISTED} more" if len(self._cuts) > _LISTED else ""
            notes.append(
                f"{self._where}: a cut or jump at {times}{more}; the motion was fitted to the image anew there"
            )
        if self.missing:
            became = "held" if self._on_missing == "hold" else "left out"
            first = float(self._first_missing / self.fps)
            total = len(self.track.frames)
            what = "face" if self._driver.kind == "face" else "person"
            notes.append(
                f"{self._where}: no {what} in {self.missing} of {total} frames ({became}; first at {first:.2f} s)"
            )
        return notes

    def _conditions(self) -> Generator[tuple[DrivenFrame, FrameCondition | None]]:
        """The driver's frames and the network's conditions; None where there is no person."""
        gap = 0
        with closing(self._driver.frames()) as frames:
            for driven, shot in shots(frames, self.fps):
                condition = None
                if driven.points is not None:
                    with self.stopwatch.measure("structure"):
                        if shot is not None:
                            self._subject.restart(shot)
                            self._cuts.append(float(driven.number / self.fps))
                        condition = self._subject.condition(driven.points, gap)
                    gap = 0
                else:
                    gap += 1
                yield driven, condition

    def _planned(self) -> Generator[tuple[DrivenFrame, FrameCondition | None]]:
        """The same, with the structure of each frame that the network draws.

        Frames without one lie between two that have one. They are mixed from them, see `inbetween`.
        """
        before: FrameCondition | None = None  # of the last frame that the network draws, if others may follow from it
        held: list[tuple[DrivenFrame, FrameCondition]] = []  # after it; all but the last lie between it and the last
        with closing(self._conditions()) as conditions:
            for driven, condition in conditions:
                if held and not _lie_between(before, [one for _, one in held], condition):
                    yield from self._with_last_prepared(held)
                    before, held = held[-1][1], []
                elif len(held) == most_between(self.fps):
                    yield from held
                    before, held = None, []
                if condition is not None and condition.face is not None and before is not None:
                    held.append((driven, condition))
                    continue
                yield driven, None if condition is None else self._prepared(condition)
                before = condition
            yield from self._with_last_prepared(held)

    def _with_last_prepared(
        self, held: Sequence[tuple[DrivenFrame, FrameCondition]]
    ) -> Generator[tuple[DrivenFrame, FrameCondition]]:
        yield from held[:-1]
        for driven, condition in held[-1:]:
            yield driven, self._prepared(condition)

    def _prepared(self, condition: FrameCondition) -> FrameCondition:
        with self.stopwatch.measure("structure"):
            return self._subject.prepared(condition)

    def _drawn(self) -> Generator[tuple[DrivenFrame, DrawnFrame | _Between | None]]:
        last: DrawnFrame | None = None
        waiting: list[tuple[DrivenFrame, Points]] = []  # frames between the last one and the next
        with closing(overlapped(self._planned(), _WAITING)) as ready:
            for driven, condition in ready:
                if condition is not None and condition.structure is None and condition.face is not None:
                    waiting.append((driven, condition.face))
                    continue
                drawn = None
                if condition is not None:
                    with self.stopwatch.measure("network"):
                        drawn = self._subject.draw(condition)
                for number, (between_both, face) in enumerate(waiting, 1):
                    assert last is not None
                    assert drawn is not None
                    yield between_both, _Between(last, face, drawn, number / (len(waiting) + 1))
                waiting = []
                yield driven, drawn
                last = drawn

    def _made(self) -> Generator[AnimatedFrame]:
        image = self.still
        # Reading, landmarks and conditions, and the network, run ahead in threads of their own.
        with closing(overlapped(self._drawn(), _DRAWN)) as frames:
            for driven, drawn in frames:
                self.track.frames.append(driven.points)
                if drawn is None:
                    self._count_missing(driven.number)
                    if self._on_missing == "skip":
                        continue
                else:
                    with self.stopwatch.measure("compose"):
                        image = self._subject.compose(drawn.mixed() if isinstance(drawn, _Between) else drawn)
                yield AnimatedFrame(driven.number, image, driven.image, driven.points, drawn is None)

    def _count_missing(self, number: int) -> None:
        if self._on_missing == "fail":
            error = not_found(f"{self._where}, frame {number} ({float(number / self.fps):.2f} s)", self._driver.kind)
            raise DetectionError(str(error), hint="--on-missing hold or skip goes on there")
        self._first_missing = self._first_missing if self.missing else number
        self.missing += 1


def _lie_between(before: FrameCondition | None, held: Sequence[FrameCondition], after: FrameCondition | None) -> bool:
    """Whether the faces of frames follow from those of the frames before and after them."""
    if before is None or before.face is None or after is None or after.face is None:
        return False
    ways = [number / (len(held) + 1) for number in range(1, len(held) + 1)]
    return all(
        one.face is not None and lies_between(before.face, one.face, after.face, way)
        for one, way in zip(held, ways, strict=True)
    )


def read_source(source: ImageSource, notes: list[str] | None = None) -> Image:
    """The image to animate, (H, W, 3), reduced to the largest size of a video. Raises MediaError.

    Of a video or animation it is the first frame; `notes` gets a line about that.
    """
    notes = [] if notes is None else notes
    if not isinstance(source, str | Path):
        return load_image(source, _LARGEST_SIDE)
    try:
        image = load_image(source, _LARGEST_SIDE)
        moves = is_animated(source)
    except MediaError as error:
        image, moves = _first_frame(source, error), True
    if moves:
        notes.append(f"{source}: a video; its first frame is animated")
    return image


def check_source(path: Path) -> None:
    """Raises MediaError unless the header of the file is that of an image or a video."""
    try:
        check_image_file(path)
    except MediaError as error:
        _first_frame(path, error)


def _first_frame(path: str | Path, as_image: MediaError) -> Image:
    """The first frame of a video. Raises `as_image`, the error of reading it as an image, when it is no video."""
    try:
        info = probe(path)
    except MediaError:
        raise as_image from None
    if info.still:
        raise as_image
    with read_frames(path) as frames:
        return reduced(next(frames), _LARGEST_SIDE)
