"""A head seen from near: drawn by the same network in a frame of its own, and put into the picture of the whole person.

Of a body that fills 256 pixels the head has 30: too few for a face. Models that were trained on heads, too
(`near_heads` in their settings), draw it once more several times larger, from the source's own pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Image
from gfla_cli.geometry.paste import Paster
from gfla_cli.person.body import torso_length
from gfla_cli.person.framing import Frame, head_box
from gfla_cli.person.pose import FACE, Box, Pose

_ARMS = ((2, 3), (3, 4), (5, 6), (6, 7))
_ARM = 0.12  # of the frame's height: how thick an arm is there
_FAR = 16.0  # frames; cv2 draws lines to no place farther away
_LARGEST = 0.7  # of the frame's height that a head's frame may have; a larger head is near enough as it is
_IN_COMMON = 2  # joints of the face; with fewer, joints were found less often in the result than without near heads
_SHOWN = 0.5  # of the source's head frame that its picture has to hold; the rest would be made up from its border


@dataclass(frozen=True, slots=True)
class NearHead:
    """What the network needs for one head, and where the result belongs."""

    source_image: Image  # (H, W, 3) the network's frame
    source_points: NDArray[np.float32]  # (18, 4) x, y, confidence, depth in pixels of the frame
    target_points: NDArray[np.float32]
    arms: NDArray[np.float32]  # (A, 2, 2) both ends of the target's arms in pixels of the frame, outside of it perhaps
    box: Box  # of the target's head, in whole pixels of the frame of the whole body

    def put_into(self, image: Image, head: Image) -> Image:
        """The picture of the whole person (H, W, 3) with the head (h, w, 3) in its place."""
        return Paster(image, self.box, self._mask())(head)

    def _mask(self) -> NDArray[np.float32]:
        """(H, W) in [0, 1] the head of the frame: a disc without the arms, which the source's may not show."""
        height, width = self.source_image.shape[:2]
        y, x = ((np.arange(length) + 0.5) / length * 2 - 1 for length in (height, width))
        inwards = np.clip(2 * (1 - np.hypot(y[:, None], x)), 0, 1)
        arms = np.zeros((height, width), np.float32)
        for first, second in self.arms.clip(-_FAR * height, _FAR * height).round().astype(int).tolist():
            cv2.line(arms, first, second, 1.0, round(_ARM * height))
        arms = cv2.GaussianBlur(arms, (0, 0), _ARM / 3 * height)
        return np.asarray(inwards * inwards * (3 - 2 * inwards) * (1 - arms), np.float32)


@dataclass(frozen=True, slots=True)
class SourceHead:
    """The head of a source, cut out once for all the poses that it is to be drawn in."""

    image: Image  # (H, W, 3) the network's frame
    points: NDArray[np.float32]  # (18, 4) x, y, confidence, depth in pixels of the frame

    @classmethod
    def of(cls, picture: Image, pose: Pose, size: tuple[int, int]) -> SourceHead | None:
        """The head of a pose in pixels of `picture`, for frames of `size` (height, width).

        None when there is none, or when the picture shows too little of it.
        """
        box = head_box(pose, torso_length(pose))
        if box is None:
            return None
        left, top, right, bottom = box = _whole(box)
        height, width = picture.shape[:2]
        shown = max(0, min(right, width) - max(left, 0)) * max(0, min(bottom, height) - max(top, 0))
        if shown < _SHOWN * (right - left) * (bottom - top):
            return None
        frame = Frame(box, size)
        return cls(frame.crop(picture), frame.pose(pose).deep_points)

    def at(self, target: Pose, frame: Frame, torso: float | None = None) -> NearHead | None:
        """This head as `target` holds it, whose body fills `frame`; `torso`: its length, if the pose shall not tell.

        None when the target shows no head, one outside the frame, or one that is large in it anyway; and when the two
        have hardly a joint of the face in common: from near nothing more is to be seen of a head that turned away.
        """
        face = list(FACE)
        if ((self.points[face, 2] > 0) & target.present[face]).sum() < _IN_COMMON:
            return None
        box = head_box(target, torso_length(target) if torso is None else torso)
        if box is None:
            return None
        posed = target.transformed(frame.matrix, frame.size)
        first, last = (np.array(box).reshape(2, 2) @ frame.matrix[:, :2].T + frame.matrix[:, 2]).tolist()
        left, top, right, bottom = box = _whole((*first, *last))
        height, width = frame.size
        outside = left >= width or top >= height or right <= 0 or bottom <= 0
        if outside or bottom - top > _LARGEST * height:
            return None
        near = Frame(box, frame.size)
        ends = posed.points[np.array(_ARMS)]  # (4, 2, 3)
        there = (ends[..., 2] > 0).all(axis=1)
        arms = ends[there, :, :2] @ near.matrix[:, :2].T + near.matrix[:, 2]
        return NearHead(self.image, self.points, near.pose(posed).deep_points, arms.astype(np.float32), box)


def head_from_near(picture: Image, source: Pose, target: Pose, frame: Frame) -> NearHead | None:
    """The head of `source`, a pose in pixels of `picture`, as `target` holds it, whose body fills `frame`; or None."""
    head = SourceHead.of(picture, source, frame.size)
    return head.at(target, frame) if head else None


def _whole(box: Box) -> Box:
    """The box in whole pixels, one at least: enlarged, a fraction of one would show."""
    left, top, right, bottom = (float(round(side)) for side in box)
    return left, top, max(right, left + 1), max(bottom, top + 1)
