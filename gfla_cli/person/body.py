"""Bodies: their size, and the crops in which the network sees them.

The unit of length is the torso: from the neck to the middle of the hips, seen from the front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gfla_cli.arrays import BoolArray, Float32Array, Float64Array
from gfla_cli.errors import DetectionError
from gfla_cli.geometry.crop import Box, Crop, Size, box_around, box_of, middle_of
from gfla_cli.person.pose import FACE, Pose

# Pairs of joints -> their distance in torsos. Means over the bodies of the rendered people (80 shapes, both sexes).
_SEGMENTS: dict[tuple[int, int], float] = {
    (2, 5): 0.77,
    (2, 3): 0.54,
    (5, 6): 0.54,
    (3, 4): 0.52,
    (6, 7): 0.52,
    (8, 9): 0.87,
    (11, 12): 0.87,
    (9, 10): 0.93,
    (12, 13): 0.93,
    (0, 1): 0.54,
}
# How far a body reaches beyond its joints, in torsos: crown, soles, arms and hands. Medians over 180 rendered views.
_ABOVE_NECK, _BELOW_ANKLE, _BESIDE = 0.81, 0.24, 0.12
# The same as 4 of 5 have it, of 800 rendered people whose joints MediaPipe found: from the neck and from the nose to
# the crown, from the ankle to sole or toes, and from the wrist to the fingers. They tell what an image may cut off.
_CROWN_ABOVE_NECK, _CROWN_ABOVE_NOSE, _SOLE_BELOW_ANKLE, _FINGERS = 0.73, 0.355, 0.34, 0.28
_NOSE, _ANKLES, _HIPS, _SHOULDERS = 0, (10, 13), (8, 11), (2, 5)
# Forearms and shins, with what reaches beyond them. A foot that is raised sideways points there.
_ENDS = (3, 4, _FINGERS), (6, 7, _FINGERS), (9, 10, _SOLE_BELOW_ANKLE), (12, 13, _SOLE_BELOW_ANKLE)
# How far clothes, hair and hands reach from the hull of trunk and legs, from the arms, and from the middle of the head.
# Shins reach less far: beside one may be a foot of the source, which a network would copy.
_TRUNK_REACH, _SHIN_REACH, _ARM_REACH, _HEAD_REACH, _SOFT_REACH = 0.45, 0.28, 0.35, 0.8, 0.2
_SHINS = (9, 10), (12, 13)
_TRUNK, _ARMS = (1, 2, 5, 8, 9, 10, 11, 12, 13), ((2, 3), (3, 4), (5, 6), (6, 7))
# Limbs, and how far hands and feet reach beyond them, in torsos.
_LIMBS = (2, 3, 0.0), (3, 4, 0.25), (5, 6, 0.0), (6, 7, 0.25), (8, 9, 0.0), (9, 10, 0.1), (11, 12, 0.0), (12, 13, 0.1)
_UPPER, _SKULL = (1, 2, 5, 8, 11), 0.4  # joints of the trunk, width of a head in torsos
_FAR = 4  # images; cv2 draws no line to a point farther away
_LARGEST_AREA = 100_000_000  # pixels: more is a mistake in the joints
_BODY_SHARE = 0.9  # of the crop's height that a whole body fills in the training images (median)
# In torso lengths, medians of 1 455 training images of heads: the side of their crop, and how far its middle lies below
# the face or above the neck. Horizontally the middle lies between the visible joints of the face and the neck.
_HEAD_SIDE, _BELOW_FACE, _HEAD_ABOVE_NECK = 1.65, 0.035, 0.44
# The joints down one side of a body, and torso lengths from each to the next.
_SIDES, _DOWN = ((2, 8, 9, 10), (5, 11, 12, 13)), (1.0, _SEGMENTS[8, 9], _SEGMENTS[9, 10])
_LEGS = ((1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13))  # joints, each from its parent, from the neck down
# Halves of a body: the joints that their crops hold, and how far these reach above and below them, in torso lengths.
Half = Literal["upper", "lower"]
HALVES: tuple[Half, ...] = ("lower", "upper")  # in the order in which they are set into a body
_HELD: dict[Half, tuple[tuple[int, ...], float, float]] = {
    "upper": ((0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 14, 15, 16, 17), 0.3, 0.5),
    "lower": ((8, 9, 10, 11, 12, 13), 0.35, 0.3),
}
_NOISE = 0.05  # torso lengths by which detected joints of a still body move at most
_BESIDE_HALF = 0.35  # torso lengths
_LEAST_HELD = 4  # joints
_LARGEST_HALF = 0.78  # share of the frame's side; a larger half gains too little
# Bones that may leave the crop: joint inside, joint outside. Those of one group are cut after the same share of their
# length.
# Joint -1 is the middle of the hips.
_CUT: dict[Half, tuple[tuple[tuple[int, int], ...], ...]] = {
    "upper": (((8, 9),), ((11, 12),), ((9, 10),), ((12, 13),)),
    "lower": (((8, 2), (11, 5), (-1, 1)), ((4, 3),), ((7, 6),)),
}
_PLACE = [0, 1, 3]  # columns of joints: x, y, depth
_CUT_INSIDE = 0.03  # share of the crop's side by which a cut bone ends inside of it
_SMALLEST = 0.8  # scale of a body that is fitted into its image
_CUT_OFF = 0.15  # torso lengths; a body that leaves the image by less looks whole
_TOWARDS_NECK, _FARTHEST = 0.7, 0.25  # share of the way to the neck, and the longest way in torso lengths


def torso_length(pose: Pose) -> float:
    """Estimated length of the torso in pixels; 0 when no pair of joints gives one.

    A segment that is seen at an angle looks shorter than it is, never longer. So this is the mean of the three largest
    estimates.
    """
    estimates = [
        float(np.linalg.norm(pose.points[a, :2] - pose.points[b, :2])) / ratio
        for (a, b), ratio in _SEGMENTS.items()
        if pose.present[a] and pose.present[b]
    ]
    hips = _middle(pose, _HIPS)
    if hips is not None and pose.present[1]:
        estimates.append(float(np.linalg.norm(pose.points[1, :2] - hips)))
    return float(np.mean(sorted(estimates)[-3:])) if estimates else 0.0


def _middle(pose: Pose, joints: tuple[int, int]) -> Float32Array | None:
    """Mean x, y of the joints that are present; None when there are none."""
    there = [pose.points[joint, :2] for joint in joints if pose.present[joint]]
    return np.mean(there, axis=0) if there else None


def _neck(pose: Pose) -> Float32Array | None:
    """x, y of the neck, or of the middle of the shoulders when it is missing."""
    return pose.points[1, :2] if pose.present[1] else _middle(pose, _SHOULDERS)


def body_box(pose: Pose) -> Box:
    """The box of the whole visible body: its joints, and hair, hands and shoes beyond them. See `geometry.crop`.

    The box of a body without ankles ends at the image's lower border.
    """
    left, top, right, bottom = (side + 0.5 for side in pose.box)
    torso = torso_length(pose)
    neck = _neck(pose)
    crown = (top if neck is None else neck[1] + 0.5) - _ABOVE_NECK * torso
    # With raised arms the hands are highest; they reach past the wrist about as far as shoes do past the ankle.
    top = min(top - _BESIDE * torso, float(crown))
    bottom = bottom + _BELOW_ANKLE * torso if has_feet(pose) else max(bottom, float(pose.size[0]))
    return left - _BESIDE * torso, top, right + _BESIDE * torso, bottom


def body_extent(pose: Pose) -> Box:
    """The box that holds all of a whole body, as far as joints tell, with hair, hands and shoes.

    `body_box` is that of the training images, which cuts fingers and toes. A head that leans forward is lower above its
    neck than an upright one, so the nose counts, too.
    """
    torso, (left, top, right, bottom) = torso_length(pose), body_box(pose)
    if (neck := _neck(pose)) is not None:
        crown = neck[1] - _CROWN_ABOVE_NECK * torso
        if pose.present[_NOSE]:
            crown = max(crown, pose.points[_NOSE, 1] - _CROWN_ABOVE_NOSE * torso)
        top = min(float(crown), pose.box[1] - _BESIDE * torso) + 0.5
    if has_feet(pose):
        bottom += (_SOLE_BELOW_ANKLE - _BELOW_ANKLE) * torso
    for start, end, beyond in _ENDS:
        if pose.present[[start, end]].all():
            x, y = (_beyond(pose.points, start, end, beyond * torso) + 0.5).tolist()
            left, top, right, bottom = min(left, x), min(top, y), max(right, x), max(bottom, y)
    return left, top, right, bottom


def _beyond(points: Float32Array, start: int, end: int, way: float) -> Float32Array:
    """x, y of the place `way` pixels beyond the end of a bone, in its direction."""
    along = points[end, :2] - points[start, :2]
    length = max(float(np.linalg.norm(along)), 1e-6)
    return np.asarray(points[end, :2] + way * along / length, np.float32)


def has_feet(pose: Pose) -> bool:
    """Whether at least one ankle is in the image."""
    return any(bool(pose.present[joint]) for joint in _ANKLES)


def anchor(pose: Pose, *, feet: bool) -> Float32Array:
    """(2,) the point by which bodies are aligned: x of the hips (else neck), y of the lower ankle or of the neck."""
    hips, neck = _middle(pose, _HIPS), _neck(pose)
    fallback = np.array([(pose.box[0] + pose.box[2]) / 2, pose.box[1]], np.float32)
    across = hips if hips is not None else neck if neck is not None else fallback
    down = neck if neck is not None else fallback
    if feet:
        return np.array([across[0], max(pose.points[j, 1] for j in _ANKLES if pose.present[j])], np.float32)
    return np.array([across[0], down[1]], np.float32)


def frame_height(box: Box, aspect: float) -> float:
    """Height of the crop in which the training images frame a body with this box; `aspect` is its width over height."""
    left, top, right, bottom = box
    return max(bottom - top, (right - left) / aspect) / _BODY_SHARE


def body_crop(poses: Sequence[Pose], size: Size, aspect: float, *, least_height: float = 0.0) -> Crop:
    """The crop of one image that holds all these poses, framed as the training images frame a body.

    `aspect` is width over height of the crop. If the image cuts a body at its lower border, the crop ends there too.
    `least_height`: of the crop, in pixels of the image.
    Raises DetectionError when the joints lie impossibly far apart.
    """
    boxes = np.array([body_extent(pose) for pose in poses])
    left, top = boxes[:, 0].min(), boxes[:, 1].min()
    right = boxes[:, 2].max()
    cut = [pose for pose in poses if not has_feet(pose)]
    bottom = min(body_box(pose)[3] for pose in cut) if cut else boxes[:, 3].max()
    height = max(frame_height((left, top, right, bottom), aspect), least_height)
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
    y += _BELOW_FACE * torso if len(face) else -_HEAD_ABOVE_NECK * torso
    if len(face) and pose.present[1]:  # the face of a profile is on one side of the head
        x += np.clip(_TOWARDS_NECK * (neck[0] - x), -_FARTHEST * torso, _FARTHEST * torso)
    return Crop.square((float(x), float(y)), _HEAD_SIDE * torso, (1, 1)).box


def half_crop(poses: Sequence[Pose], half: Half) -> Crop | None:
    """The square that shows one half of all these bodies, which lie in one frame; enlarged to the frame's size.

    None if a body shows little of that half, or if the half is nearly as large as the frame.
    """
    joints, above, below = _HELD[half]
    boxes = []
    for pose in poses:
        torso = torso_length(pose)
        held = [joint for joint in joints if pose.present[joint]]
        if torso <= 0 or len(held) < _LEAST_HELD or not pose.present[list(_HIPS)].any():
            return None
        left, top, right, bottom = box_of(pose.points[held] + 0.5)
        if half == "upper" and pose.present[1]:
            top = min(top, float(pose.points[1, 1]) - (_ABOVE_NECK - above) * torso)
        beside = _BESIDE_HALF * torso
        boxes.append((left - beside, top - above * torso, right + beside, bottom + below * torso))
    (left, top), (right, bottom) = np.min(boxes, axis=0)[:2].tolist(), np.max(boxes, axis=0)[2:].tolist()
    side = max(right - left, bottom - top)
    if not 1 <= side <= _LARGEST_HALF * poses[0].size[0]:
        return None
    return Crop(box_around(((left + right) / 2, (top + bottom) / 2), side, side), poses[0].size)


def moves(poses: tuple[Pose, Pose], half: Half) -> bool:
    """Whether that half of a body moves from one pose to the other by more than a detector's noise."""
    first, second = poses
    held = [joint for joint in _HELD[half][0] if first.present[joint] or second.present[joint]]
    way = np.linalg.norm(first.points[held, :2] - second.points[held, :2], axis=1)  # far where one is missing
    return bool(way.max(initial=0) > _NOISE * torso_length(first))


def in_half(poses: Sequence[Pose], half: Half, crop: Crop) -> list[Pose]:
    """Bodies in the crop of their half. Bones that leave it end at its border, as if the body were that short.

    They end after the same share of their length in each body, so that the rests correspond. Without these rests, the
    network would not know where a thigh goes if its knee is outside.
    """
    moved = [pose.cropped(crop).deep_points for pose in poses]
    cut: set[int] = set()
    for bones in _CUT[half]:
        ends = [end for _, end in bones]
        if any(start in cut for start, _ in bones):  # they follow a bone that was cut
            for points in moved:
                points[ends, 2] = 0
            continue
        share = min(_share_inside(points, bone, crop.size) for points in moved for bone in bones)
        if share == 1:
            continue
        cut.update(ends)
        for points in moved:
            for start, end in bones:
                begin = _start(points, start)
                points[end, _PLACE] = begin[_PLACE] + share * (points[end, _PLACE] - begin[_PLACE])
                points[end, 2] *= begin[2] > 0  # a bone without a start cannot be cut
    return [Pose.of(points, crop.size).within_frame() for points in moved]


def _start(points: Float32Array, joint: int) -> Float32Array:
    """(4,) a joint of (18, 4) points; of -1 the middle of the hips that are present."""
    if joint >= 0:
        return np.asarray(points[joint])
    hips = points[list(_HIPS)]
    there = hips[:, 2] > 0
    return np.asarray(hips[there].mean(axis=0) if there.any() else hips[0])


def _share_inside(points: Float32Array, bone: tuple[int, int], size: Size) -> float:
    """Which share of a bone that starts inside of a crop lies well inside of it; 1 of other bones."""
    begin, end = _start(points, bone[0]), points[bone[1]]
    if not (begin[2] > 0 and end[2] > 0):
        return 1.0
    share = 1.0
    for axis, length in enumerate(size[::-1]):
        way = float(end[axis] - begin[axis])
        border = length * (1 - _CUT_INSIDE if way > 0 else _CUT_INSIDE)
        if (border - begin[axis]) * way < 0:
            return 1.0
        if (border - end[axis]) * way < 0:
            share = min(share, float(border - begin[axis]) / way)
    return share


def body_reach(pose: Pose, size: Size) -> Float32Array:
    """(H, W) in [0, 1], 1 where an image of `size` may show a body with its clothes and hair, 0 far from it."""
    import cv2

    torso = torso_length(pose)
    if torso <= 0:
        return np.ones(size, np.float32)
    points = drawable(pose.points[:, :2], size)
    mask = np.zeros(size, np.float32)
    trunk = points[[joint for joint in _TRUNK if pose.present[joint]]]
    lines = [(points[[a, b]], _ARM_REACH) for a, b in _ARMS if pose.present[a] and pose.present[b]]
    lines += [(points[[a, b]], _SHIN_REACH) for a, b in _SHINS if pose.present[a] and pose.present[b]]
    if len(trunk):
        cv2.fillConvexPoly(mask, cv2.convexHull(trunk)[:, 0], 1.0)
        upper = points[[joint for joint in _TRUNK if pose.present[joint] and joint not in _ANKLES]]
        if len(upper):
            hull = cv2.convexHull(upper)[:, 0]
            lines.append((np.concatenate([hull, hull[:1]]), _TRUNK_REACH))
    if (head := head_box(pose, torso)) is not None:
        lines.append((drawable([middle_of(head)] * 2, size), _HEAD_REACH))
    for line, reach in lines:
        cv2.polylines(mask, [line], False, 1.0, max(1, round(2 * reach * torso)))
    soft = max(1, round(_SOFT_REACH * torso))
    return np.asarray(cv2.blur(mask, (soft, soft)), np.float32)


def distance_from_body(pose: Pose, size: Size) -> Float32Array:
    """(H, W) how far each place of an image of `size` is from a body's limbs, trunk and head, in torso lengths.

    0 everywhere for a pose without joints.
    """
    import cv2

    torso = torso_length(pose)
    if torso <= 0:
        return np.zeros(size, np.float32)
    points = pose.points[:, :2]
    away = np.ones(size, np.uint8)
    for start, end, beyond in _LIMBS:
        if pose.present[start] and pose.present[end]:
            limb = drawable([points[start], _beyond(points, start, end, beyond * torso)], size)
            cv2.polylines(away, [limb], False, 0)
    trunk = [joint for joint in _UPPER if pose.present[joint]]
    if trunk:
        cv2.fillConvexPoly(away, cv2.convexHull(drawable(points[trunk], size))[:, 0], 0)
    if (head := head_box(pose, torso)) is not None:
        cv2.polylines(away, [drawable([middle_of(head)] * 2, size)], False, 0, max(1, round(_SKULL * torso)))
    if away.all():
        return np.full(size, np.inf, np.float32)
    return np.asarray(cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_5) / torso, np.float32)


def drawable(places: ArrayLike, size: Size) -> NDArray[np.int32]:
    """(N, 2) places x, y as cv2 draws them in an image of `size`: whole, and not too far outside."""
    far = _FAR * max(size)
    return np.clip(places, -far, far).round().astype(np.int32)


def with_legs_of(pose: Pose, source: Pose) -> Pose:
    """A pose without feet, completed by the legs of the source. It then stands where the source stands.

    `pose` has the size and place of `source`. Missing joints have the same offset from their parent joint as in the
    source. A pose with feet stays as it is, and so does every pose if the source has no feet.
    """
    if has_feet(pose) or not has_feet(source):
        return pose
    points = pose.points.copy()
    depths = None if pose.depths is None else pose.depths.copy()
    for parent, joint in _LEGS:
        if points[joint, 2] > 0 or points[parent, 2] == 0 or not (source.present[joint] and source.present[parent]):
            continue
        points[joint, :2] = points[parent, :2] + source.points[joint, :2] - source.points[parent, :2]
        points[joint, 2] = source.points[joint, 2]
        if depths is not None:
            depths[joint] = depths[parent]
            if source.depths is not None:
                depths[joint] += source.depths[joint] - source.depths[parent]
    whole = Pose(points, source.size, depths)
    if not has_feet(whole):
        return pose
    x, y = anchor(source, feet=True) - anchor(whole, feet=True)
    return whole.transformed(np.array([[1, 0, x], [0, 1, y]]), source.size)


def with_cut_part(pose: Pose) -> Pose:
    """A body without feet, completed straight down to the lower border of its image, which cuts it.

    It tells which places below the last joints are still the person's. Trunk and legs have their usual length at most.
    """
    torso, height = torso_length(pose), float(pose.size[0])
    if has_feet(pose) or torso <= 0:
        return pose
    points = pose.points.copy()
    for side in _SIDES:
        known = [k for k, joint in enumerate(side) if pose.present[joint]]
        if known:
            last = known[-1]
            x, y = points[side[last], :2]
            for joint, below in zip(side[last + 1 :], np.cumsum(_DOWN[last:]), strict=True):
                points[joint] = x, max(y, min(y + below * torso, height)), 1
    return Pose(points, pose.size, pose.depths)


def fitted_into_image(pose: Pose, source: Pose) -> Pose:
    """A whole body that would leave its image, moved and made smaller so that it stays inside; see `fit_into_image`."""
    matrix = fit_into_image([pose], source)
    return pose if matrix is None else pose.transformed(matrix, pose.size)


def fit_into_image(poses: Sequence[Pose], source: Pose) -> Float64Array | None:
    """(2, 3) the one map of points that keeps whole bodies inside of their image; None if nothing has to change.

    `source`: the body that the image shows. A side that cuts it may cut the poses as well. Bodies get smaller by at
    most a fifth: a person that shrinks more looks wrong in the image. If the person walks too far for that, the first
    pose is inside. None if a body has no feet.
    """
    if not (has_feet(source) and all(map(has_feet, poses))):
        return None
    boxes = np.array([body_extent(pose) for pose in poses])
    left, top = boxes[:, 0].min(), boxes[:, 1].min()
    right, bottom = boxes[:, 2].max(), boxes[:, 3].max()
    first, last = image_limits(source)
    if _SMALLEST * (right - left) > last[0] - first[0]:
        left, right = boxes[0, 0], boxes[0, 2]
    wanted = np.maximum([right - left, bottom - top], 1.0)
    scale = float(np.clip(min(1.0, *((last - first) / wanted)), _SMALLEST, 1.0))
    stand = np.array([(left + right) / 2, bottom])  # feet stay where they are
    low = stand + (np.array([left, top]) - stand) * scale
    high = stand + (np.array([right, bottom]) - stand) * scale
    shift = np.maximum(first - low, 0) + np.minimum(last - high, 0)
    if scale == 1 and not shift.any():
        return None
    move = stand * (1 - scale) + shift + 0.5 * (scale - 1)
    return np.array([[scale, 0, move[0]], [0, scale, move[1]]])


def image_limits(source: Pose) -> tuple[Float64Array, Float64Array]:
    """The first and last x, y that a body may take: those of its image, or of the body where the image cuts it."""
    height, width = source.size
    left, top, right, bottom = body_extent(source)
    return np.minimum(0.0, (left, top)), np.maximum((width, height), (right, bottom))


def are_cut_off(poses: Sequence[Pose], source: Pose) -> BoolArray:
    """Which bodies reach visibly beyond the limits of their image, see `image_limits`.

    Where the image cuts the source above its feet, every pose is cut, so only the other sides count.
    """
    first, last = image_limits(source)
    if not has_feet(source):
        last[1] = np.inf
    boxes = np.array([body_extent(pose) for pose in poses])
    beyond = np.maximum(first - boxes[:, :2], boxes[:, 2:] - last).max(axis=1)
    return np.asarray(beyond > _CUT_OFF * torso_length(source))
