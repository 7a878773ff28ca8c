"""Which part of an image the network sees, and how a target pose is fitted to the source's body."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gfla_cli.errors import DetectionError
from gfla_cli.geometry.crop import Box, Crop, Size
from gfla_cli.person.body import anchor, body_box, has_feet, torso_length
from gfla_cli.person.pose import FACE, Pose

_LARGEST_AREA = 100_000_000  # pixels: more is a mistake in the joints
_BODY_SHARE = 0.9  # of the crop's height that a whole body fills in the training images (median)
# In torso lengths, medians of 1 455 training images of heads: the side of their crop, and how far its middle lies below
# the face or above the neck. Horizontally the middle lies between the visible joints of the face and the neck.
_HEAD_SIDE, _BELOW_FACE, _ABOVE_NECK = 1.65, 0.035, 0.44
_TOWARDS_NECK, _FARTHEST = 0.7, 0.25  # share of the way to the neck, and the longest way in torso lengths


def body_crop(poses: Sequence[Pose], size: Size, aspect: float) -> Crop:
    """The crop of one image that holds all these poses, framed as the training images frame a body.

    `aspect` is width over height of the crop. If the image cuts a body at its lower border, the crop ends there too.
    Raises DetectionError when the joints lie impossibly far apart.
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
    if not (2 * half >= 1 and height >= 1 and 2 * half * height <= _LARGEST_AREA):  # NaN: neither
        what = f"the joints ask for a frame of {2 * half:.0f}x{height:.0f} pixels"
        raise DetectionError(what, hint="are some of them far away from the body? --no-align or --no-crop may help")
    return Crop((float(centre - half), float(lowest - height), float(centre + half), float(lowest)), size)


def head_box(pose: Pose, torso: float) -> Box | None:
    """The square around a head, as the training images of heads frame it; `torso` is the length of the torso in pixels.

    None when there is no head. A head without any joint of its face is assumed above the neck.
    """
    face, neck = pose.points[list(FACE), :2][pose.present[list(FACE)]], pose.points[1, :2]
    if torso < 1 or not (len(face) or pose.present[1]):
        return None
    x, y = face.mean(axis=0) if len(face) else neck
    y += _BELOW_FACE * torso if len(face) else -_ABOVE_NECK * torso
    if len(face) and pose.present[1]:  # the face of a profile is on one side of the head
        x += np.clip(_TOWARDS_NECK * (neck[0] - x), -_FARTHEST * torso, _FARTHEST * torso)
    return Crop.square((float(x), float(y)), _HEAD_SIDE * torso, (1, 1)).box


def aligned(target: Pose, source: Pose) -> Pose:
    """The target pose at the size and the place of the source's body, in pixels of the source's image.

    The torso length decides the scale. Two bodies with feet stand on the same ground, other bodies meet at the neck.
    Joints may lie outside of the image.
    """
    wanted, found = torso_length(source), torso_length(target)
    scale = wanted / found if wanted > 0 and found > 0 else 1.0
    feet = has_feet(source) and has_feet(target)
    place = anchor(source, feet=feet) - scale * anchor(target, feet=feet)
    matrix = np.array([[scale, 0, place[0]], [0, scale, place[1]]])
    moved = target.transformed(matrix, source.size)
    if has_feet(target):
        return moved
    # A body that its own image cuts stays cut there, not where the source's image ends.
    last = scale * (target.size[0] - 0.5) + place[1]
    ground = math.floor(last + 1)
    return replace(moved, size=(max(1, min(ground, source.size[0])), source.size[1]))
