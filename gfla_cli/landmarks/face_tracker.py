"""Following one face through a video with MediaPipe."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.landmarks.face_detector import Face, FaceDetector, face_of, faces_apart
from gfla_cli.landmarks.face_mesh import meshes_in
from gfla_cli.landmarks.face_points import face_size
from gfla_cli.landmarks.pose import choose_person
from gfla_cli.landmarks.solutions import face_mesh_network, forget
from gfla_cli.landmarks.windows import Window, around, whole
from gfla_cli.media.closing import Closing
from gfla_cli.media.image import check_picture

_CUT_SIDE = 512  # pixels of the window; the network inside sees 192
_FOLLOWED = 3.0  # faces wide is the window in which a face is followed
_ROOM = 0.25  # faces that must be left between the face and the border of that window


class FaceTracker(Closing):
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
        check_picture(frame)
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
        meshes = meshes_in(self._network, frame, self._window, _CUT_SIDE)
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
        return self._window == whole(frame) or self._window.holds(face.box, _ROOM * size)
