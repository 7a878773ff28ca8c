"""The person of a source image who is animated: a face or a body, moved by the landmarks of a driver.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

import numpy as np

from gfla_cli.arrays import Float32Array, Float64Array, Image, Points
from gfla_cli.conditioning.face_map import background_edges
from gfla_cli.conditioning.structure import structure_of
from gfla_cli.errors import DetectionError
from gfla_cli.geometry.crop import Box, Crop
from gfla_cli.inference.session import Session, start_clip
from gfla_cli.io.image import to_planes
from gfla_cli.person.body import (
    are_cut_off,
    body_crop,
    body_extent,
    fit_into_image,
    frame_height,
    has_feet,
    torso_length,
)
from gfla_cli.person.body_motion import BodyMotion
from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.detect_face import FaceDetector, no_face
from gfla_cli.person.face import cropped_face, face_crop, face_size
from gfla_cli.person.pose import Pose, WhichPerson, choose_person
from gfla_cli.person.retarget import FaceMotion, best_reference
from gfla_cli.person.track import BodyFilter, OneEuro
from gfla_cli.person.track_files import Kind
from gfla_cli.pipelines.canvas import Canvas, check_background, separates_people
from gfla_cli.pipelines.compositing import Poses, ankles_in, composed
from gfla_cli.pipelines.driver import Shot
from gfla_cli.pipelines.frame_layers import Layers
from gfla_cli.pipelines.framing import Background, Size
from gfla_cli.pipelines.inbetween import most_between
from gfla_cli.pipelines.refinement import HeadCrop, SourceHead


@dataclass(frozen=True, kw_only=True, slots=True)
class AnimationSettings:
    """Choices about the person of the source image, and about the frames of the result."""

    person: WhichPerson = "largest"  # which one, see `choose_person`
    crop: bool = True  # animate the part around the person; else the whole image, resized to the network's input
    absolute: bool = False  # use the driver's own shape and place
    refine_head: bool = True  # body models that support it: draw a small head again at a larger scale
    smooth: bool = True  # smooth the driver's landmarks over time
    paste_back: bool = True  # frames are the whole source image; else the network's frame of it alone
    size: Size = "source"  # longer side of the network's frame in the result, pixels; or as large as in the source
    background: Background = "keep"  # of bodies whose model separates them from it: "keep", "white", or an image
    every_frame: bool = False  # the network draws every frame of a face; else frames between two are mixed from them


LARGEST_SIDE = 1920  # pixels of a source, and with it of a video
_SMALL_FACE = 60.0  # pixels across; results of smaller faces are blurred
_FEW_JOINTS = 8  # of 18; with fewer a body cannot be animated
_FEW_WITHOUT_FEET = 0.1  # share of a clip's frames; with more the driver counts as cut above the feet


class FrameCondition(NamedTuple):
    """What one frame is to show: a body or a face."""

    body: Pose | None = None  # in pixels of the network's frame
    face: Points | None = None  # (68 or 70, 2) in the same pixels
    head: HeadCrop | None = None  # to be refined
    place: Crop | None = None  # of the canvas: where the frame lies, unless it stays where it is


class DrawnFrame(NamedTuple):
    """What the network has drawn."""

    layers: Layers
    close_ups: Sequence[tuple[HeadCrop, Layers]] = ()
    place: Crop | None = None  # see FrameCondition
    face: Points | None = None  # see FrameCondition
    poses: Poses | None = None  # of the source and of the frame, in pixels of theirs


class Subject(Protocol):
    """The person of the source image.

    `start` comes first, then `condition`, `structure`, `draw` and `compose` for each frame.
    """

    kind: Kind
    most_mixed: int  # frames between two drawn ones that may be mixed from them instead of being drawn
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
        """What the driver's next landmarks ask for. `missing`: frames without a person before it."""

    def structure(self, condition: FrameCondition) -> Any:
        """The pose map of a frame that the network draws, prepared for it: see `Clip.prepare`."""

    def draw(self, condition: FrameCondition, structure: Any) -> DrawnFrame:
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
        """See Subject. The crop holds the face in all frames of `clip`, or of `driving`."""
        self._fps = fps
        mixes = not self._settings.every_frame and self._session.config.has_flow
        self.most_mixed = most_between(fps) if mixes else 0
        self.restart(driving)
        if self._settings.crop:
            known = [points for shot in clip for points in shot.points] or driving
            moving = np.stack([self.points[:, :2], *(self._motion(points) for points in known)])
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
        reference = best_reference(self.points, driving)
        self._motion = FaceMotion(self.points, reference, absolute=self._settings.absolute)
        self._filter = OneEuro(self._fps) if self._settings.smooth else None

    def _maps(self, points: Points) -> Float32Array:
        return structure_of(self._session.config, points, self.crop.size, self._edges)[None]

    def condition(self, points: Points, missing: int) -> FrameCondition:
        """See Subject."""
        smooth = points if self._filter is None else self._filter(points, face_size(points), missing)
        return FrameCondition(face=cropped_face(self._motion(smooth), self.crop))

    def structure(self, condition: FrameCondition) -> Any:
        """See Subject."""
        assert condition.face is not None
        return self._clip.prepare(self._maps(condition.face))

    def draw(self, condition: FrameCondition, structure: Any) -> DrawnFrame:
        """See Subject."""
        return DrawnFrame(Layers.unpacked(self._clip.next(structure)[1][0]), face=condition.face)

    def compose(self, drawn: DrawnFrame) -> Image:
        """See Subject."""
        return composed(self.canvas, drawn.layers)


class BodySubject:
    """A person who is moved by the joints of another: by a sequence model, or frame by frame by a pose model."""

    kind: Kind = "body"
    most_mixed = 0

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
        self.canvas = canvas_of(
            self._image, self.crop, settings, self._cover, self._notes, cut_below=self.cut_below, pose=self.pose
        )
        self._framed = self.pose.cropped(self.crop).within_frame()
        self._clip = start_clip(self._session, to_planes(self.source_image), self._maps(self._framed.deep_points))
        self._ankles: Float32Array | None = None  # (2, 2) x, y in the canvas, as they were last seen
        self._head = None
        if settings.refine_head and config.refines_heads:
            self._head = SourceHead.of(self._image, self.pose, config.image_size)
        if self._head is not None:  # the same size in all frames, from whatever side the body is seen
            self._torso = float(np.median([torso_length(pose) for pose in poses]))
            self._head_clip = start_clip(self._session, to_planes(self._head.image), self._maps(self._head.points))

    def _planned(self, clip: Sequence[Shot]) -> list[Pose]:
        """The poses of all frames, moved so that they stay inside of the image as far as that is possible."""
        self._fitted: Float64Array | None = None
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
        outside = int(are_cut_off(poses, self.pose).sum())
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
        heights = [frame_height(self._visible(body_extent(pose)), config.frame_aspect) for pose in fitting]
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
        whole = body_extent(pose)
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

    def _maps(self, points: Points) -> Float32Array:
        return structure_of(self._session.config, points, self.crop.size)[None]

    def condition(self, points: Points, missing: int) -> FrameCondition:
        """See Subject."""
        pose = self._posed(points, missing)
        frame = self._frame(pose)
        head = self._head.at(pose, frame, self._torso) if self._head else None
        place = None if frame is self.crop else Crop(self.canvas.scale.bounds(frame.box), frame.size)
        return FrameCondition(pose.cropped(frame), head=head, place=place)

    def structure(self, condition: FrameCondition) -> Any:
        """See Subject."""
        assert condition.body is not None
        return self._clip.prepare(self._maps(condition.body.within_frame().deep_points))

    def draw(self, condition: FrameCondition, structure: Any) -> DrawnFrame:
        """See Subject."""
        assert condition.body is not None
        layers = Layers.unpacked(self._clip.next(structure)[1][0]).around(condition.body)
        if separates_people(self._session.config):
            layers = layers.without_pattern()
        poses = self._framed, condition.body.within_frame()
        head = condition.head
        if head is None:
            return DrawnFrame(layers, place=condition.place, poses=poses)
        refined = self._head_clip.next(self._maps(head.target_points))[1][0]
        return DrawnFrame(layers, [(head, Layers.unpacked(refined))], condition.place, poses=poses)

    def compose(self, drawn: DrawnFrame) -> Image:
        """See Subject."""
        canvas, layers, poses = self.canvas, drawn.layers, drawn.poses
        shown = ankles_in(drawn.place or canvas.place, layers, poses)
        self._ankles = self._ankles if shown is None else shown  # feet that leave the frame do not call a shadow back
        return composed(canvas, layers, drawn.close_ups, place=drawn.place, poses=poses, ankles=self._ankles)


def canvas_of(
    image: Image,
    crop: Crop,
    settings: AnimationSettings,
    cover: Callable[[Image, Crop], Float32Array | None],
    notes: list[str],
    *,
    cut_below: bool = False,
    pose: Pose | None = None,
) -> Canvas:
    """What the frames of a clip are set into. No side of it is longer than the largest side of a video."""
    size = settings.size
    whole = settings.crop and settings.paste_back
    if whole and size != "source":
        left, top, right, bottom = crop.box
        most = int(LARGEST_SIDE * max(right - left, bottom - top) / max(image.shape[:2]))
        if size > most:
            notes.append(f"--size {size} became {most}: a video has at most {LARGEST_SIDE} pixels a side")
            size = most
    background = settings.background
    return Canvas.of(
        image, crop, crop, size, whole=whole, cover=cover, background=background, cut_below=cut_below, pose=pose
    )
