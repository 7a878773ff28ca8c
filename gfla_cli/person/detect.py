"""Finds people in an image with MediaPipe: several of them, small ones too, with joints in pixels.

MediaPipe finds one person per call, and only one who fills most of the image. So the detector looks at several windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.geometry.crop import Box, box_of
from gfla_cli.io.background import Closeable, ProcessLock
from gfla_cli.io.image import check_image
from gfla_cli.person.cover import cover_of
from gfla_cli.person.mediapipe import (
    LARGEST_SIDE,
    LOOK_SIDE,
    MOST_SQUARES,
    Network,
    Window,
    around,
    around_body_of,
    body_network,
    face_box_network,
    faces_in,
    squares,
    whole,
)
from gfla_cli.person.pose import LEAST_CONFIDENCE, MISSING, Pose, extent

_CUT_SIDE = 512  # pixels of a cut-out; the network inside sees 256
_WIDE = 1.3  # width / height; wider images are also searched in squares side by side
_HEADS = 9.5  # a standing body and some air, in heights of MediaPipe's face box (brow to chin)
_MARGIN = 0.15  # around a person for the second, closer look
_CLOSE = 0.55  # of the window; for a larger person the closer look is no better than the first
_MOST_PEOPLE = 8  # in one image, before squares are searched; larger groups are of no use here

_SURE_FACE = 0.9  # confidence; such a face is upright
_CLEAR_FACE = 0.75  # confidence that a face of a turned image needs, ...
_CLEARER = 0.04  # ... and how much it must be above the one before turning; 0.07 to 1 in four portraits
_LYING_DEG = 60  # of a torso's tilt, from which on the turned image is looked at, too

_SHOULDERS, _HIPS = [11, 12], [23, 24]
_MIRRORED = [0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, *(mark + 1 if mark % 2 else mark - 1 for mark in range(11, 33))]
# Torso lengths. Of 500 single rendered people none was above 0.15; of 359 in cluttered scenes 97 % were below 0.18.
# Of 31 false or wrong detections 27 were above.
_MOST_DISAGREEMENT = 0.18
_LEAST_VISIBILITY = 0.9  # of the shoulders; 99 in 100 people have 0.98 or more
_NEAR = 0.25  # torso lengths between two looks at a landmark; beyond it one of them is wrong, such as on the other leg
_SAME_TORSO = 0.4  # of a torso's length: closer torsos are one person seen twice


@dataclass(frozen=True, eq=False)
class Person:
    """One person found in an image."""

    pose: Pose
    # (33, 5): x, y, z in pixels of the image, visibility 0..1, depth from MediaPipe's world landmarks in pixels
    landmarks: NDArray[np.float32] = field(repr=False)

    @property
    def box(self) -> Box:
        """Left, top, right, bottom of the joints in the image."""
        return self.pose.box

    @property
    def prominence(self) -> float:
        """See `Pose`."""
        return self.pose.prominence


class PersonDetector(Closeable):
    """Finds people. Keep it for many images: the first one takes half a second longer.

    A context manager. Threads may share it: they take turns. For forks see `Network`.
    """

    def __init__(self) -> None:
        self._lock = ProcessLock()
        # One network for joints and cover: a second one would start for a tenth of a second.
        self._pose_network = body_network(tracking=False, segmentation=True)
        self._face_network = face_box_network()

    def start_in_background(self) -> None:
        """Starts the networks in threads, so that the first `detect` waits less."""
        self._pose_network.start_in_background()
        self._face_network.start_in_background()

    def close(self) -> None:
        """Frees the networks; the next `detect` would load them again."""
        with self._lock:
            self._pose_network.close()
            self._face_network.close()

    def detect(self, image: NDArray[np.uint8]) -> list[Person]:
        """The people in (H, W, 3) uint8 RGB, largest first; an empty list when there are none."""
        check_image(image)
        self._pose_network.start_in_background()  # while the other one starts
        pixels, factor = whole(image).cut(image, LARGEST_SIDE)
        with self._lock:
            found = self._search_turned(pixels)
        scale = np.array([1 / factor, 1 / factor, 1 / factor, 1, 1 / factor], np.float32)
        # MediaPipe counts from the image's edge, this package from the centre of the first pixel.
        shift = np.array([-0.5, -0.5, 0, 0, 0], np.float32)
        placed = [landmarks * scale + shift for landmarks in found]
        size = (image.shape[0], image.shape[1])
        people = [Person(to_openpose(landmarks, size), landmarks) for landmarks in placed]
        return sorted(people, key=lambda person: extent(person.box), reverse=True)

    def cover(self, image: NDArray[np.uint8], pose: Pose, others: Sequence[Pose] = ()) -> NDArray[np.float32] | None:
        """Where an image (H, W, 3) shows a person, (H, W) in [0, 1]; None when MediaPipe does not see the person there.

        `pose`: the person's, in pixels of the image. MediaPipe shows one person of an image, and does not separate
        people who touch. So places nearer to the limbs of one of the `others` are hidden from it.
        """
        with self._lock:
            return cover_of(self._pose_network, image, pose, others)

    def _search_turned(self, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """The landmarks of all people. Images that seem to lie on a side or upside down are also searched upright."""

        faces = TurnedFaces(self._face_network, image)

        def search(turns: int, *, closely: bool = True) -> list[NDArray[np.float32]]:
            found = self._search(turned(image, turns), faces.boxes(turns), closely=closely)
            return [turned_back(landmarks, turns, image.shape) for landmarks in found]

        by_face = faces.upright_turns()
        if by_face and (found := search(by_face)):
            return found
        found = search(0)
        if not found:
            return next((again for turns in (2, 1, 3) if (again := search(turns, closely=False))), [])
        largest = max(found, key=lambda landmarks: torso_of(landmarks)[1])
        turns = _turns_of_body(largest)
        again = search(turns) if turns else []
        return again if len(again) >= len(found) and turns else found

    def _search(self, image: NDArray[np.uint8], faces: list[Box], *, closely: bool) -> list[NDArray[np.float32]]:
        """The landmarks of all people: in the whole image, below the boxes of faces, in squares side by side.

        `closely`: also look into small squares when nothing is found.
        """
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
            _paint_over(canvas, confirmed)  # so that the next look finds another person
            return True

        while len(found) < _MOST_PEOPLE and look(whole(image)):
            pass
        for face in faces:
            for heads in (_HEADS, _HEADS / 2):  # half: sitting, or cut off by the image
                if not any(_is_head_of(face, landmarks) for landmarks in found):
                    look(around_body_of(face, heads))
        height, width = image.shape[:2]
        if width > _WIDE * height:
            for window in squares(image, height)[:MOST_SQUARES]:
                look(window)
        if closely and not found:
            for window in squares(image, round(0.6 * min(height, width)))[:MOST_SQUARES]:
                look(window)
        return found

    def _confirmed(
        self, image: NDArray[np.uint8], first: NDArray[np.float32], window: Window
    ) -> NDArray[np.float32] | None:
        """The mean of the first look and a closer one; for a small person the closer one. None when they disagree.

        MediaPipe also finds people in curtains and tea cups, with high confidence. In the mirrored image it finds
        these in another place, but real people in the same place.
        """
        box = _box_inside(first, image.shape)
        second = self._look(image, around(box, _MARGIN), mirrored=True)
        if second is None or _disagreement(first, second) > _MOST_DISAGREEMENT:
            return None
        fills_the_image = window == whole(image) and max(box[2] - box[0], box[3] - box[1]) > _CLOSE * window.longest
        return _mean(first, second) if fills_the_image else second

    def _look(self, image: NDArray[np.uint8], window: Window, *, mirrored: bool = False) -> NDArray[np.float32] | None:
        """(33, 5) landmarks, in pixels of the image, of the person in the window; None when there is none."""
        longest = LOOK_SIDE if window == whole(image) else _CUT_SIDE
        landmarks = landmarks_in(self._pose_network, image, window, longest, mirrored=mirrored)
        return landmarks if landmarks is not None and _believable(landmarks, image.shape) else None


def _mean(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Two looks (33, 5) at one person: the mean has less noise. Landmarks that lie far apart are those of `one`.

    If the other look confused left and right, it is `one` alone: means of both sides would lie in the middle.
    """
    _, length = torso_of(one)
    apart, exchanged = (
        np.linalg.norm(one[:, :2] - look[:, :2], axis=1, keepdims=True) for look in (other, other[_MIRRORED])
    )
    if exchanged.mean() < apart.mean():
        return one
    mean = np.where(apart < _NEAR * length, (one + other) / 2, one)
    return np.asarray(np.column_stack([mean[:, :3], one[:, 3], mean[:, 4]]), np.float32)


def turned(image: NDArray[np.uint8], turns: int) -> NDArray[np.uint8]:
    """(H, W, 3) turned to the left by that many quarters."""
    return np.ascontiguousarray(np.rot90(image, turns))


def turned_back(points: NDArray[np.float32], turns: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Points (n, 2 or more) x, y of an image that `turned` has turned, in the image before, (height, width) `shape`.

    In pixels from the edge of the image; further columns stay.
    """
    height, width = shape[:2]
    points = points.copy()
    x, y = points[:, 0].copy(), points[:, 1].copy()
    points[:, 0], points[:, 1] = [(x, y), (width - y, x), (width - x, height - y), (y, height - x)][turns]
    return points


class TurnedFaces:
    """The faces that MediaPipe finds in a whole image (H, W, 3) and in its quarter turns. Each is searched once."""

    def __init__(self, network: Network, image: NDArray[np.uint8]) -> None:
        """`network`: of `face_box_network`."""
        self._network, self._image = network, image
        self._found: dict[int, list[tuple[float, Box]]] = {}  # by quarters to the left

    def boxes(self, turns: int) -> list[Box]:
        """The boxes of faces in the image that is turned to the left by that many quarters, in its pixels."""
        return [box for _, box in self._faces(turns)]

    def upright_turns(self) -> int:
        """How many quarters to the left bring the clearest face upright; 0 when it is, or there is none.

        MediaPipe also finds faces that lie or stand on their head, but with less confidence than in the upright image.
        """
        scores = [self._score(0)]
        if scores[0] < _SURE_FACE:
            scores += [self._score(turns) for turns in (1, 2, 3)]
        best = int(np.argmax(scores))
        return best if scores[best] > max(scores[0] + _CLEARER, _CLEAR_FACE) else 0

    def _score(self, turns: int) -> float:
        """The confidence, 0..1, of the clearest face."""
        return max((score for score, _ in self._faces(turns)), default=0.0)

    def _faces(self, turns: int) -> list[tuple[float, Box]]:
        if turns not in self._found:
            image = turned(self._image, turns)
            self._found[turns] = faces_in(self._network, image, whole(image))
        return self._found[turns]


def _turns_of_body(landmarks: NDArray[np.float32]) -> int:
    """How many quarters to the left bring a body upright; 0 up to 60 degrees."""
    (_, shoulders, hips), _ = torso_of(landmarks)
    x, y = shoulders - hips
    angle = math.degrees(math.atan2(x, -y))  # of the torso, to the right
    return round(angle / 90) % 4 if abs(angle) > _LYING_DEG else 0


def landmarks_in(
    network: Network, image: NDArray[np.uint8], window: Window, longest: int, *, mirrored: bool = False
) -> NDArray[np.float32] | None:
    """(33, 5) landmarks of the person in the window, in pixels of the image from its edge; None when there is none.

    The network sees the window reduced to at most `longest` pixels. `mirrored`: it sees the mirrored window.
    """
    pixels, factor = window.cut(image, longest)
    answer = network.process(np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels)
    if not answer.pose_landmarks:
        return None
    marks = answer.pose_landmarks[0]
    landmarks = np.array([[mark.x, mark.y, mark.z, mark.visibility, 0] for mark in marks], np.float32)
    height, width = (side / factor for side in pixels.shape[:2])
    landmarks[:, :3] *= np.array([width, height, width], np.float32)  # z is in units of the width
    landmarks[:, 4] = world_depths(landmarks[:, :2], answer.pose_world_landmarks[0])
    if mirrored:
        landmarks = landmarks[_MIRRORED]
        landmarks[:, 0] = width - landmarks[:, 0]
    landmarks[:, :2] += (window.left, window.top)
    return landmarks


def _believable(landmarks: NDArray[np.float32], shape: tuple[int, ...]) -> bool:
    """Whether this may be a person: confident shoulders inside the image, and not tiny."""
    height, width = shape[:2]
    shoulders = landmarks[_SHOULDERS]
    if shoulders[:, 3].mean() < _LEAST_VISIBILITY or not np.isfinite(landmarks).all():
        return False
    x, y = shoulders[:, :2].mean(axis=0)
    box = _box_inside(landmarks, shape)
    return 0 <= x < width and 0 <= y < height and extent(box) > max(24.0, 0.02 * max(height, width))


def _box_inside(landmarks: NDArray[np.float32], shape: tuple[int, ...]) -> Box:
    """The box of the landmarks, cut at the border of the image."""
    last = np.array([shape[1] - 1, shape[0] - 1], np.float32)
    return box_of(landmarks[:, :2].clip(0, last))


def _paint_over(canvas: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> None:
    """Hides a person, in place, behind a rectangle in the colour of its surroundings."""
    _, length = torso_of(landmarks)
    box = np.array(_box_inside(landmarks, canvas.shape)) + length * np.array([-0.25, -0.4, 0.25, 0.2])  # hair, hands
    left, top, right, bottom = box.round().astype(int).clip(0)
    strips = [canvas[top:bottom, max(0, left - 4) : left], canvas[top:bottom, right : right + 4]]
    colours = np.concatenate([strip.reshape(-1, 3) for strip in strips])
    canvas[top:bottom, left:right] = np.median(colours, axis=0) if len(colours) else 128


def _is_head_of(face: Box, landmarks: NDArray[np.float32]) -> bool:
    """Whether the nose of the landmarks lies in the face's box, made a third larger."""
    x, y = landmarks[0, :2]
    slack = (face[2] - face[0]) / 3
    return bool(face[0] - slack < x < face[2] + slack and face[1] - slack < y < face[3] + slack)


def torso_of(landmarks: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """(3, 2) nose, middle of the shoulders, middle of the hips; and the torso's length, or breadth if that is larger.

    The breadth stands in for the length where a torso is seen end-on. For an estimate from 18 joints see `body`.
    """
    place = landmarks[:, :2]
    shoulders, hips = place[_SHOULDERS].mean(axis=0), place[_HIPS].mean(axis=0)
    breadth = float(np.linalg.norm(place[_SHOULDERS[0]] - place[_SHOULDERS[1]]))
    return np.stack([place[0], shoulders, hips]), max(float(np.linalg.norm(hips - shoulders)), breadth, 1e-3)


def _disagreement(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean distance of nose, shoulders and hips in torso lengths. Exchanged left and right sides do not count."""
    (first, length), (second, _) = torso_of(one), torso_of(other)
    return float(np.linalg.norm(first - second, axis=1).mean()) / length


def _same_torso(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    (first, length), (second, other_length) = torso_of(one), torso_of(other)
    apart = float(np.linalg.norm(first[1:].mean(axis=0) - second[1:].mean(axis=0)))
    return apart < _SAME_TORSO * max(length, other_length)


# MediaPipe's 33 landmarks -> the 18 joints of OpenPose, with the conventions of the training data.
#
# The training data has the joints of the body wherever they lie inside the image, even behind the body. It has eyes,
# ears and nose only when they are visible. MediaPipe always guesses all 33, and its `visibility` is near 1 even for the
# face of a person who turns away. So the direction of the head decides which face joints are kept, and the border of
# the image decides about the body. The thresholds were chosen on 1 000 rendered training images and checked on 200 test
# images.

# MediaPipe's index of each joint. It has no landmark for the neck.
_SOURCE = (0, None, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7)
_NECK = 1
_NOSE, _LEFT_EYE, _RIGHT_EYE, _LEFT_EAR, _RIGHT_EAR, _MOUTH = 0, 2, 5, 7, 8, [9, 10]

_BORDER = 0.02  # of the image's side: joints up to this far outside may be moved to the border
_SEEN = 0.5  # visibility that a joint outside the image needs for that
_BAND = 0.04  # of the image's side: in this band inside, ...
_GUESSED = 0.2  # ... joints below this visibility are guesses about what the image cuts off
_HIDDEN_LEG = 0.1  # visibility; the body itself rarely hides feet, so below this they are absent or behind an object

# How far (in degrees) the head may be turned away until a feature disappears; positive = its own side turns away.
_NOSE_GONE = 120
_EYE_GONE, _NEAR_EYE_GONE = 78, 105
_EAR_GONE, _EAR_BACK = 22, 150


def to_openpose(landmarks: NDArray[np.float32], size: tuple[int, int]) -> Pose:
    """The pose of (33, 4 or 5) landmarks: x, y, z in pixels of an image of `size` (height, width), visibility 0..1.

    A fifth column is a depth in pixels, which is more reliable than z. Without it the pose has no depths.
    """
    joints = np.array(
        [landmarks[_SHOULDERS].mean(axis=0) if index is None else landmarks[index] for index in _SOURCE],
        np.float64,
    )
    points = joints[:, [0, 1, 3]]
    points[_NECK, 2] = landmarks[_SHOULDERS, 3].min()
    there = _inside(points, size)
    there &= ~_hidden_legs(points[:, 2])
    for joint, seen in _face_seen(head_turn_deg(landmarks)).items():
        there[joint] &= seen
    points[:, 2] = points[:, 2].clip(LEAST_CONFIDENCE, 1)  # hidden joints are present
    points[:, :2] = points[:, :2].clip(0, (size[1] - 1, size[0] - 1))
    points[~there] = MISSING
    return Pose(points.astype(np.float32), size, joints[:, 4].astype(np.float32) if joints.shape[1] > 4 else None)


def world_depths(places: NDArray[np.float32], world: Any) -> NDArray[np.float32]:
    """(33,) depths in pixels of landmarks at places (33, 2) in pixels, from MediaPipe's world landmarks in metres.

    The metres are scaled until their x and y fit the places. These depths have the right slope on average, whereas
    MediaPipe's own z in pixels is 2.3 times too steep.
    """
    metres = np.array([[mark.x, mark.y, mark.z] for mark in world], np.float32)
    own, seen = (points - points.mean(axis=0) for points in (metres[:, :2], places))
    scale = float((own * seen).sum()) / max(float((own * own).sum()), 1e-6)
    return np.asarray(metres[:, 2] * max(scale, 0.0), np.float32)


def head_turn_deg(landmarks: NDArray[np.float32]) -> float:
    """Where the head faces: 0 = into the camera, 90 = to the right edge of the image, ±180 = away from the camera.

    From the nose and from the line through the ears. MediaPipe's z is noisy but has the right sign. The direction from
    the eyes to the mouth is removed first, so tilted and lying heads work, too.
    """
    place = landmarks[:, :3].astype(np.float64)
    down = place[_MOUTH].mean(axis=0)[:2] - place[[_LEFT_EYE, _RIGHT_EYE]].mean(axis=0)[:2]
    across = np.array([down[1], -down[0]]) / max(float(np.hypot(*down)), 1e-6)
    forward = place[_NOSE] - place[[_LEFT_EAR, _RIGHT_EAR]].mean(axis=0)
    ears = place[_LEFT_EAR] - place[_RIGHT_EAR]
    by_nose = math.atan2(forward[:2] @ across, -forward[2])
    by_ears = math.atan2(ears[2], ears[:2] @ across)
    turn_x = 0.3 * math.cos(by_nose) + 0.7 * math.cos(by_ears)
    turn_y = 0.3 * math.sin(by_nose) + 0.7 * math.sin(by_ears)
    return math.degrees(math.atan2(turn_y, turn_x))


def _face_seen(turn_deg: float) -> dict[int, bool]:
    """For each of the five face joints whether it is visible when the head is turned by `turn_deg`."""
    # A head that faces the right edge of the image hides its left side. The right side is the mirror image.
    left, right = turn_deg, -turn_deg
    return {
        0: abs(turn_deg) < _NOSE_GONE,
        14: -_NEAR_EYE_GONE < right < _EYE_GONE,
        15: -_NEAR_EYE_GONE < left < _EYE_GONE,
        16: right < _EAR_GONE or right > _EAR_BACK,
        17: left < _EAR_GONE or left > _EAR_BACK,
    }


def _inside(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(18,) whether each joint lies in the image, by its place and, near the border, by its visibility."""
    sides = np.array([size[1], size[0]], np.float64)
    depth = np.minimum(points[:, :2], sides - 1 - points[:, :2]) / sides  # (18, 2) distance from the border, inwards
    depth = depth.min(axis=1)
    visibility = points[:, 2]
    clipped = (depth >= -_BORDER) & (depth < 0) & (visibility >= _SEEN)
    guessed = (depth < _BAND) & (visibility < _GUESSED)
    return np.asarray(clipped | ((depth >= 0) & ~guessed))


def _hidden_legs(visibility: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(18,) knees and ankles of legs that are behind a table or not in the image."""
    hidden = np.zeros(len(visibility), np.bool_)
    for knee, ankle in ((9, 10), (12, 13)):
        hidden[ankle] = visibility[ankle] < _HIDDEN_LEG
        hidden[knee] = hidden[ankle] and visibility[knee] < _HIDDEN_LEG
    return hidden
