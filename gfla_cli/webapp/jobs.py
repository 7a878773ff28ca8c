"""The jobs behind the page: one model of each kind, each with a queue, from which jobs of lost clients are dropped."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Float32Array, Image, Points
from gfla_cli.conditioning.face_map import sees_irises
from gfla_cli.errors import GflaError, UsageError
from gfla_cli.geometry.crop import Crop
from gfla_cli.geometry.paste import Paster
from gfla_cli.io.image import read_image, write_image
from gfla_cli.io.video import VideoWriter
from gfla_cli.person.body import body_crop, fitted_into_image, with_legs_of
from gfla_cli.person.body_motion import aligned
from gfla_cli.person.detect_face import no_face
from gfla_cli.person.face import EYES, POINTS, face_size
from gfla_cli.person.pose import Pose, WhichPerson
from gfla_cli.person.track import FaceTracker
from gfla_cli.pipelines.animation import Animator, read_source
from gfla_cli.pipelines.driver import Shot
from gfla_cli.pipelines.pose_transfer import PoseTransfer
from gfla_cli.pipelines.subjects import AnimationSettings, FaceSubject

_Model = TypeVar("_Model")
_Result = TypeVar("_Result")

_MOST_WAITING = 16  # jobs of one model
_LOOK_UP_S = 0.2  # how often a job looks whether its client is still there
_PREVIEW_SIDE = 640  # pixels of the longer side of a preview
_FACES_KEPT = 4
# In face sizes at the slider's end: how far a brow rises, and how far the lower lip and the chin sink.
_BROWS, _MOUTH = 0.07, 0.16
# In eye widths at the slider's end: how far an iris moves, sideways and down.
_GAZE_X, _GAZE_Y = 0.16, 0.12
_LIDS_FOLLOW = 0.25  # share of an eye's opening by which lids follow a gaze at the slider's end
_BROW_POINTS, _LOWER_LIP = list(range(17, 27)), [*range(55, 60), *range(65, 68)]
_JAW = dict(zip(range(4, 13), (0.2, 0.4, 0.6, 0.75, 0.8, 0.75, 0.6, 0.4, 0.2), strict=True))  # share of the lip's way


class BusyError(GflaError):
    """Too many jobs wait."""


class ClientGoneError(Exception):
    """The client of a job has closed its connection."""


class Worker(Generic[_Model]):
    """One model and its queue: one thread, which loads the model on first use."""

    def __init__(self, load: Callable[[], _Model]) -> None:
        self._load = load
        self._thread = ThreadPoolExecutor(1)
        self._model: _Model | None = None
        self._waiting = 0

    def _loaded(self) -> _Model:
        if self._model is None:
            self._model = self._load()
        return self._model

    async def run(
        self, work: Callable[[_Model, Event], _Result], client_gone: Callable[[], Awaitable[bool]]
    ) -> _Result:
        """The result of `work`, which gets the model and an event that is set when the client has gone.

        A job that still waits then is dropped. Raises BusyError, ClientGoneError, and whatever `work` raises.
        """
        if self._waiting >= _MOST_WAITING:
            raise BusyError(f"{self._waiting} jobs are waiting already", hint="try again in a moment")
        gone = Event()
        self._waiting += 1
        future = self._thread.submit(lambda: work(self._loaded(), gone))
        result = asyncio.wrap_future(future)
        try:
            while not (await asyncio.wait([result], timeout=_LOOK_UP_S))[0]:
                if await client_gone():
                    raise ClientGoneError
            return result.result()
        finally:
            gone.set()
            future.cancel()  # the job, if it has not begun
            result.cancel()  # so that an error of the job, if it has begun, is not reported as forgotten
            self._waiting -= 1

    def close(self) -> None:
        """Drops what waits. What runs is finished."""
        self._thread.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Made:
    """An image, and what the user should know about it."""

    image: Image  # (H, W, 3), or (H, W, 4) with transparency
    notes: list[str]


def find_pose(model: PoseTransfer, image: Path, which: WhichPerson, onto: Path | None, notes: list[str]) -> Pose:
    """The pose in an image or keypoint file; with `onto` as the body in that image would take it."""
    pose = model.pose_of(image, which, notes)
    if onto is None:
        return pose
    body = model.pose_of(onto)
    return fitted_into_image(with_legs_of(aligned(pose, body), body), body)


def preview_pose(model: PoseTransfer, source: Path, pose: Pose) -> Made:
    """`PoseTransfer.transfer` with a placed pose, fast: a smaller image, and no refined head."""
    image = source.with_name(".preview.bmp")  # no upload has this name
    if not image.exists():
        write_image(image, read_image(source, _PREVIEW_SIDE))
    source_pose = model.pose_of(image)
    whole = Crop.whole(model.pose_of(source).size, source_pose.size)
    cut = max(1, min(round(pose.size[0] * whole.scale), source_pose.size[0]))
    pose = replace(pose.cropped(whole), size=(cut, source_pose.size[1]))
    result = model.transfer(image, pose, align="placed", refine_head=False, size=None)
    config = model.session.config
    crop = body_crop([source_pose, pose], config.image_size, config.frame_aspect)
    return Made(Paster(read_image(image), crop)(result.image), result.notes)


@dataclass(frozen=True, slots=True)
class Expression:
    """Changes of a face. Zeros leave it as it is."""

    turn: float = 0.0  # degrees, -30..30; positive: to the right of the image
    nod: float = 0.0  # degrees, -20..20; positive: down
    tilt: float = 0.0  # degrees, -30..30; positive: clockwise
    eyes: float = 0.0  # -1 (closed)..1 (wide open)
    mouth: float = 0.0  # 0..1 (open)
    brows: float = 0.0  # -1..1 (raised)
    gaze_x: float = 0.0  # -1..1; positive: the eyes look to the right of the image
    gaze_y: float = 0.0  # -1..1; positive: down

    @classmethod
    def parse(cls, values: Any) -> Expression:
        """From a JSON object. Raises UsageError for unknown names and for values out of range."""
        if not isinstance(values, dict) or not set(values) <= set(LIMITS):
            raise UsageError("an expression is a JSON object", hint=f"known: {', '.join(LIMITS)}")
        for name, value in values.items():
            low, high = LIMITS[name]
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise UsageError(f"{name} is {value!r:.30}", hint=f"{name} goes from {low:g} to {high:g}")
        return cls(**values)


LIMITS = {
    "turn": (-30, 30),
    "nod": (-20, 20),
    "tilt": (-30, 30),
    "eyes": (-1, 1),
    "mouth": (0, 1),
    "brows": (-1, 1),
    "gaze_x": (-1, 1),
    "gaze_y": (-1, 1),
}


def with_expression(points: NDArray[np.floating], expression: Expression) -> Float32Array:
    """(68 or 70, 3) landmarks x, y, z in pixels, z away from the camera: features moved, then the head turned."""
    face = np.asarray(points, np.float64).copy()
    size = face_size(face)
    down = face[8] - face[27]  # from the bridge of the nose to the chin
    down /= max(float(np.linalg.norm(down)), 1e-9)
    for iris, eye in zip(face[POINTS:], EYES, strict=False):  # unknown irises stay unknown
        along = face[eye[3]] - face[eye[0]]
        width = float(np.linalg.norm(along))
        iris += expression.gaze_x * _GAZE_X * along + expression.gaze_y * _GAZE_Y * width * down
    for _, first, second, _, below_second, below_first in EYES:
        for upper, lower in ((first, below_first), (second, below_second)):
            part = 1 + expression.eyes * (1.0 if expression.eyes < 0 else 0.5)
            part *= 1 - _LIDS_FOLLOW * expression.gaze_y
            face[upper] = face[lower] + part * (face[upper] - face[lower])
    face[_BROW_POINTS] -= expression.brows * _BROWS * size * down
    face[_LOWER_LIP] += expression.mouth * _MOUTH * size * down
    for point, share in _JAW.items():
        face[point] += expression.mouth * _MOUTH * share * size * down
    turn, nod, tilt = np.radians([expression.turn, expression.nod, expression.tilt])
    about_y = [[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]]
    about_x = [[1, 0, 0], [0, np.cos(nod), -np.sin(nod)], [0, np.sin(nod), np.cos(nod)]]
    about_z = [[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]]
    middle = (face[0] + face[16]) / 2  # between the ears
    rotation = np.array(about_z) @ np.array(about_x) @ np.array(about_y)
    return np.asarray((face - middle) @ rotation.T + middle, np.float32)


@dataclass(slots=True)
class _Face:
    """A face that sliders or a camera move."""

    image: Image  # (H, W, 3) the whole image
    subject: FaceSubject
    notes: list[str]
    camera: FaceTracker | None = None  # follows the person before the camera

    def made(self, points: Points) -> Made:
        """The face as landmarks of its driver say."""
        condition = self.subject.condition(points, 0)
        drawn = self.subject.draw(condition, self.subject.structure(condition))
        return Made(self.subject.compose(drawn), self.notes)


class FaceModel:
    """A model that moves faces, and the faces that were moved last."""

    def __init__(self, animator: Animator) -> None:
        if animator.kind != "face":
            raise UsageError("the model is for bodies, not for faces", hint="--face-model face-people")
        self.animator = animator
        self._faces: OrderedDict[Path, _Face] = OrderedDict()  # the one used last comes last

    def express(self, source: Path, expression: Expression) -> Made:
        """The image with another expression of its largest face.

        Raises UsageError for a gaze when the model does not see irises.
        """
        if (expression.gaze_x or expression.gaze_y) and not sees_irises(self.animator.session.config):
            what = f"{self.animator.session.name} sees no irises, so its eyes cannot look elsewhere"
            raise UsageError(what, hint="leave gaze_x and gaze_y out, or --face-model face-people")
        face = self._face(source)
        moved = with_expression(face.subject.points, expression)
        ahead = [face.subject.points]  # all motion is relative to it
        size = (face.image.shape[0], face.image.shape[1])
        face.subject.start(ahead, size, Fraction(25), [Shot(ahead, [*ahead, moved])])
        return face.made(moved)

    def follow(self, source: Path, frame: Path, *, first: bool) -> Made:
        """The image whose face moves as the camera's frames do, one after the other, since the `first` one."""
        face, driving = self._face(source), read_image(frame)
        if first or face.camera is None:
            if face.camera is not None:
                face.camera.close()
            face.camera = FaceTracker(where="the camera")
            first = True
        found = face.camera.track(driving)
        if found is None:
            raise no_face("the camera")
        if first:
            face.subject.start([found.points], (driving.shape[0], driving.shape[1]), Fraction(10))
        return face.made(found.points)

    def _face(self, source: Path) -> _Face:
        if source not in self._faces:
            image, notes = read_source(source), list[str]()
            subject = FaceSubject(self.animator.session, image, str(source), AnimationSettings(smooth=False), notes)
            self._faces[source] = _Face(image, subject, notes)
            while len(self._faces) > _FACES_KEPT:
                _, oldest = self._faces.popitem(last=False)
                if oldest.camera is not None:
                    oldest.camera.close()
        self._faces.move_to_end(source)
        return self._faces[source]

    def animate(self, source: Path, driving: Path, output: Path, gone: Event) -> list[str]:
        """Writes the clip to `output` and returns its notes. Stops early when the client has gone."""
        with self.animator.animate(source, driving) as clip:
            with VideoWriter(output, clip.fps, sound=clip.sound) as video:
                for frame in clip:
                    if gone.is_set():
                        raise ClientGoneError
                    video.write(frame.image)
            return [*clip.notes, *video.notes]
