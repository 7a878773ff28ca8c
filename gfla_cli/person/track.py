"""Following one person through a video with MediaPipe."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.geometry.crop import Box
from gfla_cli.io.background import Closeable
from gfla_cli.io.image import check_image
from gfla_cli.person.body import to_openpose, world_depths
from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.detect_face import Face, FaceDetector, face_of, faces_apart, meshes_in
from gfla_cli.person.face import face_size
from gfla_cli.person.mediapipe import ask, body_network, face_mesh_network, forget
from gfla_cli.person.pose import Pose, choose_person, extent
from gfla_cli.person.window import Window, around, whole

_BODY_CUT_SIDE = 768  # pixels of the window; the network inside sees 256 of a cut-out of its own
_MARGIN = 0.4  # of the person's longer side around it: the window stays while the person moves
_BODY_ROOM = 0.04  # of the window's side that must be left between the person and its border
_APART = 0.6  # torsos between two frames from which on it is somebody else
_LEAST_VISIBILITY = 0.5  # of the shoulders of somebody who is followed
_SHOULDERS, _HIPS = [11, 12], [23, 24]


class BodyTracker(Closeable):
    """Follows one person through a video: who it is is decided in the first frame that shows anybody.

    Several times faster than detection and steadier, because a frame's person tells where to look in the next. A
    context manager; not to be shared between threads.
    """

    def __init__(
        self, which: str | int = "largest", *, where: str = "the video", notes: list[str] | None = None
    ) -> None:
        """`which`: see `choose_person`; `notes` is told when there was a choice that the user did not make."""
        self._which, self._where, self._notes = which, where, notes
        self._detector = PersonDetector()
        self._network: Any = None
        self._window: Window | None = None  # None: the person is to be found
        self._last: NDArray[np.float32] | None = None  # (33, 5) landmarks

    def close(self) -> None:
        """Frees the networks."""
        self._detector.close()
        if self._network is not None:
            self._network.close()
        self._network = self._window = None

    def track(self, frame: NDArray[np.uint8]) -> Pose | None:
        """The person in the next frame, (H, W, 3) uint8 RGB; None while nobody can be seen.

        Raises DetectionError when there is nobody of the number that was asked for, UsageError for nonsense.
        """
        size = (frame.shape[0], frame.shape[1])
        landmarks = self._followed(frame) if self._window is not None else None
        if landmarks is None:
            self._window = None
            landmarks = self._found(frame)
            if landmarks is None:
                return None
            self._start(landmarks, size)
            self._followed(frame)  # locks on; this frame's joints are those of the detector, which looked twice
        self._last = landmarks
        if not self._has_room(landmarks, size):
            self._window = None
        return to_openpose(landmarks, size)

    def _found(self, frame: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        people = self._detector.detect(frame)
        if not people:
            return None
        if self._last is None:
            return choose_person(people, self._which, where=self._where, notes=self._notes).landmarks
        before, _ = _torso(self._last)
        return min(people, key=lambda person: float(np.linalg.norm(_torso(person.landmarks)[0] - before))).landmarks

    def _start(self, landmarks: NDArray[np.float32], size: tuple[int, int]) -> None:
        if self._network is None:
            self._network = body_network(tracking=True)
        forget(self._network)
        everything = Window(0, 0, size[1], size[0])
        window = around(_box(landmarks), _MARGIN)
        self._window = everything if window.longest > 0.8 * everything.longest else window

    def _followed(self, frame: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """(33, 5) landmarks in the frame's pixels; None when the person is lost, or is another one."""
        assert self._window is not None
        window = self._window
        pixels, factor = window.cut(frame, _BODY_CUT_SIDE)
        answer = ask(self._network, pixels)
        if answer.pose_landmarks is None:
            return None
        marks = [[mark.x, mark.y, mark.z, mark.visibility, 0] for mark in answer.pose_landmarks.landmark]
        landmarks = np.array(marks, np.float32)
        height, width = (side / factor for side in pixels.shape[:2])
        landmarks[:, :3] *= np.array([width, height, width], np.float32)
        landmarks[:, 4] = world_depths(landmarks[:, :2], answer.pose_world_landmarks.landmark)
        # MediaPipe measures from the picture's edge, everybody else from the centre of the first pixel.
        landmarks[:, :2] += np.array([window.left, window.top], np.float32) - np.float32(0.5)
        if not np.isfinite(landmarks).all() or landmarks[_SHOULDERS, 3].mean() < _LEAST_VISIBILITY:
            return None
        if self._last is not None and _moved(landmarks, self._last) > _APART:
            return None
        return landmarks

    def _has_room(self, landmarks: NDArray[np.float32], size: tuple[int, int]) -> bool:
        """Whether the person is still well inside of the window, and not small in it."""
        assert self._window is not None
        window = self._window
        box = _box(landmarks)
        if extent(box) < 0.3 * window.longest:
            return False
        return window == Window(0, 0, size[1], size[0]) or window.holds(box, _BODY_ROOM * window.longest)


def _box(landmarks: NDArray[np.float32]) -> Box:
    (left, top), (right, bottom) = landmarks[:, :2].min(axis=0).tolist(), landmarks[:, :2].max(axis=0).tolist()
    return (left, top, right, bottom)


def _torso(landmarks: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """The middle of the torso and its length, or breadth where it is seen end-on."""
    shoulders, hips = landmarks[_SHOULDERS, :2], landmarks[_HIPS, :2]
    length = float(np.linalg.norm(shoulders.mean(axis=0) - hips.mean(axis=0)))
    breadth = float(np.linalg.norm(shoulders[0] - shoulders[1]))
    return (shoulders.mean(axis=0) + hips.mean(axis=0)) / 2, max(length, breadth, 1e-3)


def _moved(now: NDArray[np.float32], before: NDArray[np.float32]) -> float:
    """How far the torso moved, in its own lengths."""
    (here, _), (there, length) = _torso(now), _torso(before)
    return float(np.linalg.norm(here - there)) / length


# Following one face through a video with MediaPipe.


_FACE_CUT_SIDE = 512  # pixels of the window; the network inside sees 192
_FOLLOWED = 3.0  # faces wide is the window in which a face is followed
_FACE_ROOM = 0.25  # faces that must be left between the face and the border of that window


class FaceTracker(Closeable):
    """Follows one face through a video: which one is decided in the first frame that shows any.

    Faster than detection and steadier, because a frame's face tells where to look in the next. A context manager; not
    to be shared between threads.
    """

    def __init__(
        self, which: str | int = "largest", *, where: str = "the video", notes: list[str] | None = None
    ) -> None:
        """`which`: see `choose_person`; `notes` is told when there was a choice that the user did not make."""
        self._which, self._where, self._notes = which, where, notes
        self._detector = FaceDetector()
        self._network: Any = None
        self._window: Window | None = None  # None: the face is to be found
        self._last: Face | None = None
        self._chosen = False

    def close(self) -> None:
        self._detector.close()
        if self._network is not None:
            self._network.close()
        self._network = self._window = None

    def track(self, frame: NDArray[np.uint8]) -> Face | None:
        """The face in the next frame, (H, W, 3) uint8 RGB; None while it cannot be seen.

        Raises DetectionError when there is no face of the number that was asked for, UsageError for nonsense.
        """
        check_image(frame)
        face = self._followed(frame) if self._window is not None else None
        if face is None:
            found = self._found(frame)
            if found is None:
                self._window = None
                return None
            self._start(frame, found)
            face = self._followed(frame) or found
        self._last = face
        if not self._has_room(face, frame):
            self._window = None
        return face

    def _found(self, frame: NDArray[np.uint8]) -> Face | None:
        faces = self._detector.detect(frame)
        if not faces:
            return None
        if not self._chosen:
            self._last = choose_person(faces, self._which, where=self._where, notes=self._notes)
            self._chosen = True
            return self._last
        assert self._last is not None
        x, y = self._last.points[:, :2].mean(axis=0)
        return min(faces, key=lambda face: float(np.hypot(*(face.points[:, :2].mean(axis=0) - (x, y)))))

    def _start(self, frame: NDArray[np.uint8], face: Face) -> None:
        """A window around the face that stays where it is, so that the network's own memory remains true."""
        if self._network is None:
            self._network = face_mesh_network(tracking=True, most=1)
        forget(self._network)
        self._window = around(face.box, (_FOLLOWED - 1) / 2)
        if self._window.longest > 0.8 * max(frame.shape[:2]):
            self._window = whole(frame)

    def _followed(self, frame: NDArray[np.uint8]) -> Face | None:
        assert self._window is not None
        meshes = meshes_in(self._network, frame, self._window, _FACE_CUT_SIDE)
        if not meshes:
            return None
        face = face_of(meshes[0])
        if self._last is None or faces_apart(face.points, self._last.points) < 1:
            return face
        return None  # somebody else, who has come into the window

    def _has_room(self, face: Face, frame: NDArray[np.uint8]) -> bool:
        """Whether the face is still well inside of its window, and neither too small nor too large for it."""
        assert self._window is not None
        size = face_size(face.points)
        if size <= self._window.longest / (2 * _FOLLOWED):
            return False
        return self._window == whole(frame) or self._window.holds(face.box, _FACE_ROOM * size)
