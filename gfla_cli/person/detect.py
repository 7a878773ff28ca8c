"""Finds people in an image with MediaPipe: several of them, small ones too, with joints in pixels.

MediaPipe finds one person per call, and only one who fills most of the image. So the detector looks at several windows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.geometry.crop import Box, Crop
from gfla_cli.io.background import Closing
from gfla_cli.io.image import check_picture
from gfla_cli.person.body import to_openpose, world_depths
from gfla_cli.person.mediapipe import ask, body_network, face_box_network
from gfla_cli.person.pose import Pose, extent
from gfla_cli.person.window import Window, around, around_body_of, boxes_in, squares, whole

_LARGEST_SIDE = 2560  # pixels of the copy that is searched; on it somebody of a fifth of the height is still sharp
_LOOK_SIDE = 1280  # pixels of the whole picture in one look
_CUT_SIDE = 512  # pixels of a cut-out; the network inside sees 256
_WIDE = 1.3  # width to height from which on squares side by side are looked at too
_HEADS = 9.5  # a standing body and some air, in heights of MediaPipe's face box (brow to chin)
_MARGIN = 0.15  # around a person for the second, closer look
_CLOSE = 0.55  # of the window: for a person this large the closer look is no better than the first
_MOST_PEOPLE = 8  # in one picture, before squares are looked at; groups are not what anybody transfers
_MOST_FACES = 8
_MOST_SQUARES = 12

_SHOULDERS, _HIPS = [11, 12], [23, 24]
_MIRRORED = [0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, *(mark + 1 if mark % 2 else mark - 1 for mark in range(11, 33))]
# Torso lengths. Of 500 rendered people alone none was above 0.15, of 359 in cluttered scenes 97 % were below 0.18;
# of 31 looks at nobody, or at a body misread, 27 were above.
_MOST_DISAGREEMENT = 0.18
_LEAST_VISIBILITY = 0.9  # of the shoulders; 99 in 100 people have 0.98 or more
_COVER_ROOM = 1.4  # side of the square that is searched for a person's pixels, in sides of the box of the joints
_COVER_EDGE = 0.3, 0.7  # MediaPipe's values between which the edge of a person lies
_SAME_TORSO = 0.4  # of a torso's length: closer torsos are one person seen twice


@dataclass(frozen=True, eq=False)
class Person:
    """One person found in a picture."""

    pose: Pose
    # (33, 5): x, y, z in pixels of the picture, visibility 0..1, depth as world landmarks tell it in pixels
    landmarks: NDArray[np.float32] = field(repr=False)

    @property
    def box(self) -> Box:
        """Left, top, right, bottom of the joints in the picture."""
        return self.pose.box


class PersonDetector(Closing):
    """Finds people. Build one and keep it: the first picture takes half a second longer than the others.

    A context manager; not to be shared between threads.
    """

    def __init__(self) -> None:
        self._pose_network: Any = None
        self._face_network: Any = None
        self._cover_network: Any = None

    def close(self) -> None:
        """Frees the networks; the next `detect` would load them again."""
        for network in (self._pose_network, self._face_network, self._cover_network):
            if network is not None:
                network.close()
        self._pose_network = self._face_network = self._cover_network = None

    def detect(self, image: NDArray[np.uint8]) -> list[Person]:
        """The people in (H, W, 3) uint8 RGB, largest first; an empty list when there are none."""
        check_picture(image)
        self._load()
        pixels, factor = whole(image).cut(image, _LARGEST_SIDE)
        found = self._search(pixels)
        scale = np.array([1 / factor, 1 / factor, 1 / factor, 1, 1 / factor], np.float32)
        # MediaPipe measures from the picture's edge, everybody else from the centre of the first pixel.
        shift = np.array([-0.5, -0.5, 0, 0, 0], np.float32)
        placed = [landmarks * scale + shift for landmarks in found]
        size = (image.shape[0], image.shape[1])
        people = [Person(to_openpose(landmarks, size), landmarks) for landmarks in placed]
        return sorted(people, key=lambda person: extent(person.box), reverse=True)

    def cover(self, image: NDArray[np.uint8], pose: Pose) -> NDArray[np.float32] | None:
        """Where an image (H, W, 3) shows a person, (H, W) in [0, 1]; None when MediaPipe does not see the person there.

        `pose`: the person's, in pixels of the image.
        """
        if self._cover_network is None:
            self._cover_network = body_network(tracking=False, segmentation=True)
        left, top, right, bottom = pose.box
        half = _COVER_ROOM / 2 * max(right - left, bottom - top, 1.0)
        x, y = (left + right) / 2, (top + bottom) / 2
        crop = Crop((x - half, y - half, x + half, y + half), (_CUT_SIDE, _CUT_SIDE))
        answer = ask(self._cover_network, crop.image(image))
        if answer.segmentation_mask is None:
            return None
        mask = np.asarray(answer.segmentation_mask, np.float32)
        region = crop.region(image.shape)
        cover = np.zeros(image.shape[:2], np.float32)
        if region is not None:
            cover[region] = crop.uncropped(mask, region, beyond=0)
        low, high = _COVER_EDGE
        return ((cover - low) / (high - low)).clip(0, 1)

    def _search(self, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """The landmarks of everybody: in the whole picture, below faces, in squares side by side."""
        found: list[NDArray[np.float32]] = []
        canvas = image.copy()

        def look(window: Window) -> bool:
            first = self._look(canvas, window)
            if first is None or any(_same_torso(first, known) for known in found):
                return False
            confirmed = self._confirmed(canvas, first, window)
            if confirmed is None or any(_same_torso(confirmed, known) for known in found):
                return False
            found.append(confirmed)
            _paint_over(canvas, confirmed)  # so that the next look finds somebody else
            return True

        faces = boxes_in(self._face_network, image, whole(image), _LOOK_SIDE, _MOST_FACES)
        while len(found) < _MOST_PEOPLE and look(whole(image)):
            pass
        for face in faces:
            for heads in (_HEADS, _HEADS / 2):  # half: sitting, or cut off by the picture
                if not any(_is_head_of(face, landmarks) for landmarks in found):
                    look(around_body_of(face, heads))
        height, width = image.shape[:2]
        if width > _WIDE * height:
            for window in squares(image, height)[:_MOST_SQUARES]:
                look(window)
        if not found:
            for window in squares(image, round(0.6 * min(height, width)))[:_MOST_SQUARES]:
                look(window)
        return found

    def _confirmed(
        self, image: NDArray[np.uint8], first: NDArray[np.float32], window: Window
    ) -> NDArray[np.float32] | None:
        """The better of the first look and a closer one; None when the two do not agree.

        MediaPipe sees people in curtains and tea cups, too, and is sure of them. But in the mirror image it sees
        them elsewhere, whereas somebody real stays where they are.
        """
        box = _box_inside(first, image.shape)
        second = self._look(image, around(box, _MARGIN), mirrored=True)
        if second is None or _disagreement(first, second) > _MOST_DISAGREEMENT:
            return None
        fills_the_picture = window == whole(image) and max(box[2] - box[0], box[3] - box[1]) > _CLOSE * window.longest
        return first if fills_the_picture else second

    def _look(self, image: NDArray[np.uint8], window: Window, *, mirrored: bool = False) -> NDArray[np.float32] | None:
        """(33, 5) landmarks, in the picture's pixels, of the person in the window, if there seems to be one."""
        pixels, factor = window.cut(image, _LOOK_SIDE if window == whole(image) else _CUT_SIDE)
        answer = ask(self._pose_network, np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels)
        if answer.pose_landmarks is None:
            return None
        marks = answer.pose_landmarks.landmark
        landmarks = np.array([[mark.x, mark.y, mark.z, mark.visibility, 0] for mark in marks], np.float32)
        landmarks[:, 4] = world_depths(landmarks[:, :2] * pixels.shape[1::-1], answer.pose_world_landmarks.landmark)
        if mirrored:
            landmarks = landmarks[_MIRRORED]
            landmarks[:, 0] = 1 - landmarks[:, 0]
        landmarks[:, 0] = landmarks[:, 0] * pixels.shape[1] / factor + window.left
        landmarks[:, 1] = landmarks[:, 1] * pixels.shape[0] / factor + window.top
        landmarks[:, 2] *= pixels.shape[1] / factor  # z is in units of the width
        landmarks[:, 4] /= factor
        return landmarks if _believable(landmarks, image.shape) else None

    def _load(self) -> None:
        if self._pose_network is not None:
            return
        self._pose_network = body_network(tracking=False)
        self._face_network = face_box_network()


def _believable(landmarks: NDArray[np.float32], shape: tuple[int, ...]) -> bool:
    """Whether this may be somebody: sure shoulders inside the picture, and not tiny."""
    height, width = shape[:2]
    shoulders = landmarks[_SHOULDERS]
    if shoulders[:, 3].mean() < _LEAST_VISIBILITY or not np.isfinite(landmarks).all():
        return False
    x, y = shoulders[:, :2].mean(axis=0)
    box = _box_inside(landmarks, shape)
    return 0 <= x < width and 0 <= y < height and extent(box) > max(24.0, 0.02 * max(height, width))


def _box_inside(landmarks: NDArray[np.float32], shape: tuple[int, ...]) -> Box:
    """The box of the landmarks, cut at the border of the picture."""
    last = np.array([shape[1] - 1, shape[0] - 1], np.float32)
    place = landmarks[:, :2].clip(0, last)
    (left, top), (right, bottom) = place.min(axis=0).tolist(), place.max(axis=0).tolist()
    return (left, top, right, bottom)


def _paint_over(canvas: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> None:
    """Hides somebody, in place, behind a rectangle in the colour of its surroundings."""
    _, length = _torso(landmarks)
    box = np.array(_box_inside(landmarks, canvas.shape)) + length * np.array([-0.25, -0.4, 0.25, 0.2])  # hair, hands
    left, top, right, bottom = box.round().astype(int).clip(0)
    beside = [canvas[top:bottom, max(0, left - 4) : left], canvas[top:bottom, right : right + 4]]
    colours = np.concatenate([strip.reshape(-1, 3) for strip in beside])
    canvas[top:bottom, left:right] = np.median(colours, axis=0) if len(colours) else 128


def _is_head_of(face: Box, landmarks: NDArray[np.float32]) -> bool:
    """Whether the nose of the landmarks lies in the face's box, made a third larger."""
    x, y = landmarks[0, :2]
    slack = (face[2] - face[0]) / 3
    return bool(face[0] - slack < x < face[2] + slack and face[1] - slack < y < face[3] + slack)


def _torso(landmarks: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """(3, 2) nose, middle of the shoulders, middle of the hips; and a length that torsos seen end-on have, too."""
    place = landmarks[:, :2]
    shoulders, hips = place[_SHOULDERS].mean(axis=0), place[_HIPS].mean(axis=0)
    breadth = float(np.linalg.norm(place[_SHOULDERS[0]] - place[_SHOULDERS[1]]))
    return np.stack([place[0], shoulders, hips]), max(float(np.linalg.norm(hips - shoulders)), breadth, 1e-3)


def _disagreement(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean distance of nose, shoulders and hips in torso lengths; whether left and right changed does not count."""
    (first, length), (second, _) = _torso(one), _torso(other)
    return float(np.linalg.norm(first - second, axis=1).mean()) / length


def _same_torso(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    (first, length), (second, other_length) = _torso(one), _torso(other)
    apart = float(np.linalg.norm(first[1:].mean(axis=0) - second[1:].mean(axis=0)))
    return apart < _SAME_TORSO * max(length, other_length)
