"""Tracks one person or one face through a video with MediaPipe, and smooths landmarks over time.

The filter is the one-euro filter, which smooths resting points and follows moving ones: a first-order low-pass filter
whose cutoff frequency rises with the speed of the point. Casiez, Roussel, Vogel: "1 € Filter: A Simple Speed-based
Low-pass Filter for Noisy Input in Interactive Systems", CHI 2012.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Float32Array, Float64Array, Image
from gfla_cli.geometry.crop import Box, box_of
from gfla_cli.io.background import Closeable, ProcessLock
from gfla_cli.io.image import check_image
from gfla_cli.person.body import torso_length
from gfla_cli.person.detect import PersonDetector, landmarks_in, to_openpose, torso_of
from gfla_cli.person.detect_face import Face, FaceDetector, face_of, faces_apart, meshes_in
from gfla_cli.person.face import face_size
from gfla_cli.person.mediapipe import Network, Window, around, body_network, face_mesh_network, reset_tracking, whole
from gfla_cli.person.pose import JOINTS, MISSING, Pose, WhichPerson, choose_person, extent

_BODY_CUT_SIDE = 768  # pixels of the window; the network inside sees 256 of a cut-out of its own
_MARGIN = 0.4  # of the person's longer side, around it: the window stays while the person moves
_BODY_ROOM = 0.04  # of the window's side: least distance between the person and the window's border
_APART = 0.6  # torsos between two frames; more is another person
_GROWTH = 1.35  # of the torso between two frames; more is a cut, and the network only follows slowly
_LEAST_VISIBILITY = 0.5  # of the shoulders of a tracked person
_FACE_CUT_SIDE = 512  # pixels of the window; the network inside sees 192
_FACE_WINDOW = 3.0  # width of the window in which a face is tracked, in face sizes
_FACE_ROOM = 0.25  # face sizes: least distance between the face and the window's border
_SHOULDERS = [11, 12]
_NEAR = 1.0  # face sizes or torsos between the people of two shots; a nearer one is the same person


_Detector = TypeVar("_Detector", bound=Closeable)


class _Tracker(Closeable, Generic[_Detector]):
    """What both trackers have: a detector, and a network that tracks in a window."""

    def __init__(
        self, detector: _Detector, network: Network, which: WhichPerson, where: str, notes: list[str] | None
    ) -> None:
        self._detector, self._network = detector, network
        self._which, self._where, self._notes = which, where, notes
        self._lock = ProcessLock()
        self._window: Window | None = None  # None: detect in the next frame
        self._new_shot = False

    def restart(self) -> None:
        """Call it before the first frame after a cut: people or faces are detected anew."""
        self._window, self._new_shot = None, True

    def _watch(self, frame: Image, box: Box, margin: float) -> None:
        """A window around the person's box. It must not move, because the network remembers where the person was."""
        reset_tracking(self._network)
        self._window = around(box, margin)
        if self._window.longest > 0.8 * max(frame.shape[:2]):
            self._window = whole(frame)

    def close(self) -> None:
        """Frees the networks."""
        with self._lock:
            self._detector.close()
            self._network.close()
            self._window = None


class BodyTracker(_Tracker[PersonDetector]):
    """Tracks one person through a video. The first frame with people decides which one.

    Several times faster and steadier than detection, because each frame tells where to look in the next. A context
    manager. Threads may share it: they take turns.
    """

    def __init__(
        self, which: WhichPerson = "largest", *, where: str = "the video", notes: list[str] | None = None
    ) -> None:
        """`which` and `notes`: see `choose_person`. `where`: the video's name in messages."""
        super().__init__(PersonDetector(), body_network(tracking=True), which, where, notes)
        self._last: Float32Array | None = None  # (33, 5) landmarks

    def track(self, frame: Image) -> Pose | None:
        """The person in the next frame, (H, W, 3) uint8 RGB; None while no person is visible.

        Raises DetectionError and UsageError as `choose_person` does.
        """
        with self._lock:
            return self._next(frame)

    def _next(self, frame: Image) -> Pose | None:
        landmarks = self._tracked(frame) if self._window is not None else None
        if landmarks is None:
            self._window = None
            landmarks = self._found(frame)
            if landmarks is None:
                return None
            self._watch(frame, box_of(landmarks), _MARGIN)
            # This only shows the frame to the network: the detector's joints are better, because it looked twice.
            self._tracked(frame)
        self._last = landmarks
        if not self._has_room(landmarks, frame):
            self._window = None
        return to_openpose(landmarks, (frame.shape[0], frame.shape[1]))

    def _found(self, frame: Image) -> Float32Array | None:
        people = self._detector.detect(frame)
        if not people:
            return None
        if self._last is None:
            return choose_person(people, self._which, where=self._where, notes=self._notes).landmarks
        before = torso_of(self._last)[0][1:].mean(axis=0)
        apart = [np.linalg.norm(torso_of(person.landmarks)[0][1:].mean(axis=0) - before) for person in people]
        new_shot, self._new_shot = self._new_shot, False
        if new_shot and self._which == "largest" and min(apart) > _NEAR * torso_of(self._last)[1]:
            return choose_person(people, self._which, where=self._where).landmarks
        return people[int(np.argmin(apart))].landmarks

    def _tracked(self, frame: Image) -> Float32Array | None:
        """(33, 5) landmarks in pixels of the frame; None when the person is lost, or it is another one."""
        assert self._window is not None
        landmarks = landmarks_in(self._network, frame, self._window, _BODY_CUT_SIDE)
        if landmarks is None:
            return None
        landmarks[:, :2] -= 0.5  # MediaPipe counts from the image's edge, this package from the first pixel's centre
        if not np.isfinite(landmarks).all() or landmarks[_SHOULDERS, 3].mean() < _LEAST_VISIBILITY:
            return None
        if self._last is not None:
            (now, length_now), (before, length) = torso_of(landmarks), torso_of(self._last)
            moved = float(np.linalg.norm(now[1:].mean(axis=0) - before[1:].mean(axis=0))) / length  # torso lengths
            grown = max(length_now, length) / max(min(length_now, length), 1e-6)
            if moved > _APART or grown > _GROWTH:
                return None
        return landmarks

    def _has_room(self, landmarks: Float32Array, frame: Image) -> bool:
        """Whether the person is still well inside the window, and not small in it."""
        assert self._window is not None
        window = self._window
        box = box_of(landmarks)
        if extent(box) < 0.3 * window.longest:
            return False
        return window == whole(frame) or window.holds(box, _BODY_ROOM * window.longest)


class FaceTracker(_Tracker[FaceDetector]):
    """Tracks one face through a video. The first frame with faces decides which one.

    Faster and steadier than detection, because each frame tells where to look in the next. A context manager.
    Threads may share it: they take turns.
    """

    def __init__(
        self, which: WhichPerson = "largest", *, where: str = "the video", notes: list[str] | None = None
    ) -> None:
        """`which` and `notes`: see `choose_person`. `where`: the video's name in messages."""
        super().__init__(FaceDetector(), face_mesh_network(tracking=True, most=1), which, where, notes)
        self._last: Face | None = None

    def track(self, frame: Image) -> Face | None:
        """The face in the next frame, (H, W, 3) uint8 RGB; None while it is not visible.

        Raises DetectionError and UsageError as `choose_person` does.
        """
        check_image(frame)
        with self._lock:
            return self._next(frame)

    def _next(self, frame: Image) -> Face | None:
        face = self._tracked(frame) if self._window is not None else None
        if face is None:
            found = self._found(frame)
            if found is None:
                self._window = None
                return None
            self._watch(frame, found.box, (_FACE_WINDOW - 1) / 2)
            face = self._tracked(frame) or found
        self._last = face
        if not self._has_room(face, frame):
            self._window = None
        return face

    def _found(self, frame: Image) -> Face | None:
        faces = self._detector.detect(frame)
        if not faces:
            return None
        if self._last is None:
            self._last = choose_person(faces, self._which, where=self._where, notes=self._notes)
            return self._last
        x, y = self._last.points[:, :2].mean(axis=0)
        nearest = min(faces, key=lambda face: float(np.hypot(*(face.points[:, :2].mean(axis=0) - (x, y)))))
        new_shot, self._new_shot = self._new_shot, False
        if new_shot and self._which == "largest" and faces_apart(nearest.points, self._last.points) > _NEAR:
            return choose_person(faces, self._which, where=self._where)
        return nearest

    def _tracked(self, frame: Image) -> Face | None:
        assert self._window is not None
        meshes = meshes_in(self._network, frame, self._window, _FACE_CUT_SIDE)
        if not meshes:
            return None
        face = face_of(meshes[0])
        if self._last is None or faces_apart(face.points, self._last.points) < 1:
            return face
        return None  # another face, which came into the window

    def _has_room(self, face: Face, frame: Image) -> bool:
        """Whether the face is still well inside the window, and neither too small nor too large for it."""
        assert self._window is not None
        size = face_size(face.points)
        if size <= self._window.longest / (2 * _FACE_WINDOW):
            return False
        return self._window == whole(frame) or self._window.holds(face.box, _FACE_ROOM * size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Smoothing:
    """How much to smooth. The unit of length is the size of the face or body, so no setting depends on the image.

    The defaults reduce MediaPipe's trembling of a still face to a third. At 30 frames per second a slow motion (0.2
    sizes per second) lags 0.6 frames behind, a quick one (1 size per second) 0.2 frames.
    """

    still_hz: float = 1.5  # cutoff for a point at rest; lower = calmer
    per_speed: float = 20.0  # Hz added per speed of one size per second; higher = less lag
    speed_hz: float = 4.0  # cutoff for the speed itself


class OneEuro:
    """Filters (N, n) points, one call per frame. Each point has its own speed, shared by its coordinates."""

    def __init__(self, fps: Fraction | float, smoothing: Smoothing | None = None) -> None:
        self.smoothing = smoothing or Smoothing()
        self.fps = float(fps)
        self._points: Float64Array | None = None
        self._velocity: Float64Array | None = None

    def reset(self) -> None:
        """Restarts the filter, for instance after a cut or when a face is found again."""
        self._points = self._velocity = None

    def __call__(self, points: NDArray[np.floating], size: float, missing: int = 0) -> Float32Array:
        """The smoothed points. `size`: of the face or body, in the points' unit. `missing`: frames left out before.

        The first frame, and any frame with a new number of points, is returned unchanged.
        """
        new = np.asarray(points, np.float64)
        old, velocity = self._points, self._velocity
        if old is None or velocity is None or old.shape != new.shape:
            self._points, self._velocity = new, np.zeros_like(new)
            return new.astype(np.float32)
        interval = (1 + missing) / self.fps
        velocity = velocity + _share(self.smoothing.speed_hz, interval) * ((new - old) / interval - velocity)
        speed = np.linalg.norm(velocity, axis=1, keepdims=True) / max(size, 1e-6)  # (N, 1) sizes per second
        smoothed = old + _share(self.smoothing.still_hz + self.smoothing.per_speed * speed, interval) * (new - old)
        self._points, self._velocity = smoothed, velocity
        return smoothed.astype(np.float32)


def _share(cutoff_hz: Float64Array | float, interval: float) -> Float64Array:
    """The share of the new value in the result, 0..1."""
    step = 2 * math.pi * np.asarray(cutoff_hz) * interval
    return np.asarray(step / (1 + step))


_BRIDGED = 3  # frames for which a joint that is lost stays where it was
_DEPTHS = Smoothing(still_hz=1.5, per_speed=2.0, speed_hz=1.0)  # depths tremble far more than x and y


class BodyFilter:
    """Smooths each joint of a body over time and bridges short gaps. `smooth=False` only bridges gaps."""

    def __init__(self, fps: Fraction | float, *, smooth: bool = True) -> None:
        self._smooth = smooth
        self._filters = [OneEuro(fps) for _ in JOINTS]
        self._depths = OneEuro(fps, _DEPTHS)
        self._last = np.tile(np.array(MISSING, np.float32), (len(JOINTS), 1))
        self._gap = np.zeros(len(JOINTS), np.intp)  # frames since a joint was seen

    def __call__(self, pose: Pose, missing: int = 0) -> Pose:
        """The smoothed pose. `missing`: frames without a person before this one."""
        size = torso_length(pose) or 1.0
        points = pose.points.copy()
        self._gap += missing
        for joint, there in enumerate(pose.present):
            if there:
                if self._gap[joint] > _BRIDGED:
                    self._filters[joint].reset()
                if self._smooth:
                    gap = int(self._gap[joint])
                    points[joint, :2] = self._filters[joint](points[joint : joint + 1, :2], size, gap)[0]
                self._gap[joint] = 0
                self._last[joint] = points[joint]
            elif self._gap[joint] < _BRIDGED and self._last[joint, 2] > 0:
                points[joint] = self._last[joint]
                self._gap[joint] += 1
            else:
                self._gap[joint] += 1
        depths = pose.depths
        if depths is not None and self._smooth:
            depths = self._depths(depths[:, None], size, missing)[:, 0]
        return Pose(points, pose.size, depths)
