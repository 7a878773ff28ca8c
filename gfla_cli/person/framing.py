"""Where the network looks: the part of a photograph that becomes its frame, and a target pose fitted to the source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.errors import DetectionError
from gfla_cli.person.body import anchor, body_box, has_feet, torso_length
from gfla_cli.person.pose import FACE, Box, Pose

_LARGEST_AREA = 100_000_000  # pixels of a picture, 4096 at most on a side, and of what lies beyond its borders
_LINE = 255  # pixels in which a border is judged
# Torsos, medians of 1 455 training pictures of heads: the side of their frame, and where its middle is, below that of
# the face or above the neck. Sideways it is nearer to the neck than to those joints of a face that a detector sees.
_HEAD_FRAME, _BELOW_FACE, _ABOVE_NECK = 1.65, 0.035, 0.44
_TOWARDS_NECK, _FARTHEST = 0.7, 0.25  # share of the way, and the longest way in torsos
_BODY_SHARE = 0.9  # of the frame's height that a whole body fills in the training pictures (median)


@dataclass(frozen=True, slots=True)
class Frame:
    """A rectangle of a picture, partly outside of it perhaps, and the size it is brought to."""

    box: Box  # left, top, right, bottom in pixels of the picture
    size: tuple[int, int]  # height, width of the network's frame

    def __post_init__(self) -> None:
        """Raises DetectionError for a rectangle that no picture of a person needs: empty, or too large for memory."""
        across, down = self.box[2] - self.box[0], self.box[3] - self.box[1]
        if not (across >= 1 and down >= 1 and across * down <= _LARGEST_AREA):  # NaN: neither
            what = f"the joints ask for a frame of {across:.0f}x{down:.0f} pixels"
            raise DetectionError(what, hint="are some of them far away from the body? --no-align or --no-crop may help")

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(2, 3) affine map from the picture's pixels to the frame's."""
        left, top, right, bottom = self.box
        across, down = self.size[1] / (right - left), self.size[0] / (bottom - top)
        return np.array([[across, 0, -left * across], [0, down, -top * down]])

    def crop(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame's part of a picture, (height, width, 3); beyond the picture its background goes on."""
        left, top, right, bottom = (round(side) for side in self.box)
        height, width = image.shape[:2]
        inside = image[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
        if not inside.size:  # nothing of the picture lies in the frame
            return np.full((*self.size, 3), np.median(image, axis=(0, 1)), np.uint8)
        beyond = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
        if any(beyond):
            inside = _continued(inside, beyond)
        shrinks = inside.shape[0] > self.size[0]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        return cast(NDArray[np.uint8], cv2.resize(inside, self.size[::-1], interpolation=method))

    def pose(self, pose: Pose) -> Pose:
        """A pose of the picture, in pixels of the frame; joints outside the frame are missing."""
        return pose.transformed(self.matrix, self.size).within_frame()


def _continued(image: NDArray[np.uint8], beyond: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """A picture with so many more pixels at its top, bottom, left and right, each side the border's own colours.

    Without what touches the border for less than a fifth of it: hair at the upper edge would go on as a bar.
    """
    top, _, left, _ = beyond
    padded = cast(NDArray[np.uint8], cv2.copyMakeBorder(image, *beyond, cv2.BORDER_REPLICATE))
    height, width = image.shape[:2]
    rows, columns = slice(top, top + height), slice(left, left + width)
    padded[rows, :left] = _calmed(image[:, 0])[:, None]
    padded[rows, left + width :] = _calmed(image[:, -1])[:, None]
    padded[:top, columns] = _calmed(image[0])[None]
    padded[top + height :, columns] = _calmed(image[-1])[None]
    for part, line in ((slice(0, top), image[0]), (slice(top + height, None), image[-1])):
        padded[part, :left], padded[part, left + width :] = _calmed(line)[[0, -1]]
    return padded


def _calmed(line: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, 3) pixels of a border, as the median of their surroundings."""
    few = cv2.resize(line[None], (min(len(line), _LINE), 1), interpolation=cv2.INTER_AREA)
    calm = cv2.medianBlur(few, 2 * (few.shape[1] // 5) + 1)
    return cast(NDArray[np.uint8], cv2.resize(calm, (len(line), 1), interpolation=cv2.INTER_LINEAR)[0])


def whole_picture(height: int, width: int, size: tuple[int, int]) -> Frame:
    """The picture as it is, stretched to the frame."""
    return Frame((0.0, 0.0, float(width), float(height)), size)


def person_frame(poses: list[Pose], size: tuple[int, int], aspect: float) -> Frame:
    """The frame that holds all these poses of one picture as the training pictures hold theirs.

    `aspect` is width over height of the rectangle. A body that the picture's lower border cuts ends with the frame.
    """
    boxes = np.array([body_box(pose) for pose in poses])
    left, top = boxes[:, 0].min(), boxes[:, 1].min()
    right = boxes[:, 2].max()
    cut = [pose for pose in poses if not has_feet(pose)]
    bottom = min(body_box(pose)[3] for pose in cut) if cut else boxes[:, 3].max()
    height = max(bottom - top, (right - left) / aspect) / _BODY_SHARE
    lowest = bottom if cut else (top + bottom + height) / 2
    centre = (left + right) / 2
    half = height * aspect / 2
    return Frame((float(centre - half), float(lowest - height), float(centre + half), float(lowest)), size)


def head_box(pose: Pose, torso: float) -> Box | None:
    """The square around a head that holds it as the training pictures of heads do, by the length of the torso.

    None when there is no head; one without any joint of its face is looked for above the neck.
    """
    face, neck = pose.points[list(FACE), :2][pose.present[list(FACE)]], pose.points[1, :2]
    if torso < 1 or not (len(face) or pose.present[1]):
        return None
    x, y = face.mean(axis=0) if len(face) else neck
    y += _BELOW_FACE * torso if len(face) else -_ABOVE_NECK * torso
    if len(face) and pose.present[1]:  # a profile's face is on one side of its head
        x += np.clip(_TOWARDS_NECK * (neck[0] - x), -_FARTHEST * torso, _FARTHEST * torso)
    half = _HEAD_FRAME * torso / 2
    return float(x - half), float(y - half), float(x + half), float(y + half)


def aligned(target: Pose, source: Pose) -> Pose:
    """The target pose at the size and the place of the source's body, in pixels of the source's picture.

    Sizes are compared by torso length. Bodies that both show their feet stand on the same ground, others meet at
    the neck. Joints may come to lie outside the picture.
    """
    wanted, found = torso_length(source), torso_length(target)
    scale = wanted / found if wanted > 0 and found > 0 else 1.0
    feet = has_feet(source) and has_feet(target)
    place = anchor(source, feet=feet) - scale * anchor(target, feet=feet)
    matrix = np.array([[scale, 0, place[0]], [0, scale, place[1]]])
    moved = target.transformed(matrix, source.size)
    if has_feet(target):
        return moved
    # A cut target stays cut where its own picture ended, not where the source's does.
    ground = round(scale * target.size[0] + place[1])
    return replace(moved, size=(max(1, min(ground, source.size[0])), source.size[1]))
