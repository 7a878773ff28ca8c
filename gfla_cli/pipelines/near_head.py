"""A head seen from near: drawn by the same network in a frame of its own, and put into the picture of the whole person.

Of a body that fills 256 pixels the head has 30: too few for a face. Models that were trained on heads, too
(`near_heads` in their settings), draw it once more eight times as large in area, from the source's own pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Image
from gfla_cli.landmarks.framing import Frame, head_frame
from gfla_cli.landmarks.pose import Box, Pose
from gfla_cli.media.paste import Paster

_ARMS = ((2, 3), (3, 4), (5, 6), (6, 7))
_ARM = 0.12  # of the frame's height: how thick an arm is there
_LARGEST = 0.7  # of the frame's height that a head's frame may have; a larger head is near enough as it is


@dataclass(frozen=True, slots=True)
class NearHead:
    """What the network needs for one head, and where the result belongs."""

    source_image: Image  # (H, W, 3) the network's frame
    source_points: NDArray[np.float32]  # (18, 3) in pixels of the frame
    target_points: NDArray[np.float32]
    box: Box  # of the target's head, in pixels of the frame of the whole body

    @classmethod
    def of(cls, picture: Image, source: Pose, target: Pose, frame: Frame) -> NearHead | None:
        """The head of `source`, a pose in pixels of `picture`, as `target` holds it, whose body fills `frame`.

        None when one of the two shows no head, or when it is large in the frame anyway.
        """
        seen, wanted = (head_frame(pose, frame.size) for pose in (source, target))
        if seen is None or wanted is None:
            return None
        corners = np.array(wanted.box).reshape(2, 2) @ frame.matrix[:, :2].T + frame.matrix[:, 2]
        left, top, right, bottom = (float(side) for side in corners.ravel())
        height, width = frame.size
        if (
            bottom - top > _LARGEST * height
            or min(right, width) - max(left, 0) < 1
            or min(bottom, height) - max(top, 0) < 1
        ):
            return None
        return cls(seen.crop(picture), seen.pose(source).points, wanted.pose(target).points, (left, top, right, bottom))

    def put_into(self, image: Image, head: Image) -> Image:
        """The picture of the whole person (H, W, 3) with the head (h, w, 3) in its place."""
        return Paster(image, self.box, self._mask())(head)

    def _mask(self) -> NDArray[np.float32]:
        """(H, W) in [0, 1] the head of the frame: a disc without the arms, which the source's may not show."""
        height, width = self.source_image.shape[:2]
        y, x = ((np.arange(length) + 0.5) / length * 2 - 1 for length in (height, width))
        inwards = np.clip(2 * (1 - np.hypot(y[:, None], x)), 0, 1)
        arms = np.zeros((height, width), np.float32)
        there, place = self.target_points[:, 2] > 0, self.target_points[:, :2].round().astype(int).tolist()
        for first, second in _ARMS:
            if there[first] and there[second]:
                cv2.line(arms, place[first], place[second], 1.0, round(_ARM * height))
        arms = cv2.GaussianBlur(arms, (0, 0), _ARM / 3 * height)
        return np.asarray(inwards * inwards * (3 - 2 * inwards) * (1 - arms), np.float32)
