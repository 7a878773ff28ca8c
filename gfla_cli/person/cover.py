"""Which pixels of an image show a person: MediaPipe's mask, led to the edges that the image has there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.arrays import Float32Array, Image, median
from gfla_cli.geometry.crop import Crop, box_around, middle_of
from gfla_cli.person.body import body_extent, torso_length, with_cut_part
from gfla_cli.person.mediapipe import Network
from gfla_cli.person.pose import LIMBS, Pose

# Side of the square that is searched for a person's pixels, in sides of the box of the joints, and of all of a cut
# body.
_ROOM, _ROOM_AROUND_ALL = 1.4, 1.15
_SIDE = 512  # pixels of that square; the network inside sees 256
_EDGE = 0.3, 0.7  # MediaPipe's values between which the edge of a person lies
_HIDDEN = 0.7  # torso lengths around the limbs of a neighbour that may show the neighbour
_BETWEEN = 0.1  # torso lengths over which the cover of a person fades towards a neighbour's
# Of the guided filter, which works at half the size of the square:
_RADIUS = 4  # pixels: an edge of the image that near to the mask's is the person's
_CALM = 1e-4  # squared difference of colours in [0, 1]; what is smaller is noise
_GUIDE_BLUR = 0.15  # of its pixels: the noise of a large photograph is finer
_SURE = 0.3, 0.7  # values of its result between which the edge lies
# Where the mask alone shows the person. It is above `frame_layers.UNLIKELY`: the background is filled there, too.
_DOUBT = 0.15
_ISLAND = 0.03  # share of a person that a small piece inside of it has at most
_ISLAND_EDGE = 4  # pixels of the square by which the person is made larger before
_ANOTHER = 24.0  # grey levels by which such a piece differs from the background


def cover_of(network: Network, image: Image, pose: Pose, others: Sequence[Pose]) -> Float32Array | None:
    """Where an image (H, W, 3) shows a person, (H, W) in [0, 1]; None when MediaPipe does not see the person there.

    `network`: of `body_network`, with segmentation. See `PersonDetector.cover`.
    """
    from gfla_cli.geometry.paste import ramp  # it loads OpenCV, which takes a while

    whole, others = with_cut_part(pose), [with_cut_part(other) for other in others]
    # Around the joints of a whole body there is room for its head. Those of a portrait are the eyes and the shoulders.
    box, room = (pose.box, _ROOM) if whole is pose else (body_extent(whole), _ROOM_AROUND_ALL)
    left, top, right, bottom = box
    side = room * max(right - left, bottom - top, 1.0)
    crop = Crop(box_around(middle_of(box), side, side), (_SIDE, _SIDE))
    part, own = crop.image(image), np.ones(crop.size, np.float32)
    shown = part
    if others:
        away = _from_limbs([other.cropped(crop) for other in others])
        own = ((away - _from_limbs([whole.cropped(crop)])) / _BETWEEN + 0.5).clip(0, 1)
        hidden = (own < 0.5) & (away < _HIDDEN)
        shown = part.copy()
        shown[hidden] = np.median(part[~hidden], axis=0)
    answer = network.process(shown)
    if not answer.segmentation_masks:
        return None
    mask = own * ramp(np.array(answer.segmentation_masks[0].numpy_view(), np.float32).reshape(crop.size), *_EDGE)
    cover = np.zeros(image.shape[:2], np.float32)
    region = crop.region(image.shape)
    if region is not None:
        slopes = crop.uncropped(_slopes(mask, part), region, beyond=0)
        guide, led = _calmed(image[region], 2 / crop.scale), slopes[..., 3]
        for channel in range(3):
            led += slopes[..., channel] * guide[..., channel]
        doubtful = _DOUBT * crop.uncropped(np.maximum(mask, own * _islands(mask, part)), region, beyond=0)
        cover[region] = np.maximum(ramp(led, *_SURE), doubtful)
    return cover


def _islands(mask: Float32Array, image: Image) -> Float32Array:
    """(H, W) 1 on small pieces that a mask (H, W) encloses and that may be missed parts of the person, else 0.

    The inside of a skirt, seen between two legs, would pass for the background, or for a shadow on it. A piece in
    the colour of the background is a gap.
    """
    import cv2

    from gfla_cli.geometry.paste import enclosed_pieces

    square = np.ones((2 * _ISLAND_EDGE + 1, 2 * _ISLAND_EDGE + 1), np.uint8)
    person = cv2.dilate((mask > _DOUBT).astype(np.uint8), square)
    labels, enclosed = enclosed_pieces(1 - person)
    near = (cv2.dilate(person, square) > person) & ~enclosed[labels]
    islands = np.zeros(mask.shape, np.float32)
    for number in np.flatnonzero(enclosed & (np.bincount(labels.ravel()) < _ISLAND * person.sum())):
        piece = labels == number
        if not near.any() or np.abs(median(image[piece]) - median(image[near])).max() > _ANOTHER:
            islands[piece] = 1
    return islands


def _calmed(image: Image, cell: float) -> Image:
    """An image without the noise that is finer than a `cell` of the guided filter, in pixels of the image."""
    import cv2

    return np.asarray(cv2.GaussianBlur(image, (0, 0), _GUIDE_BLUR * cell)) if cell > 1 else image


def _slopes(mask: Float32Array, image: Image) -> Float32Array:
    """(H, W, 4) how a mask (H, W) depends on the colours (H, W, 3) of its image around each place, and a constant.

    This is a guided filter (He et al., Guided Image Filtering, 2013, Eq. 14 to 16). What it gives for a
    small image holds for a larger one, since it changes slowly from place to place.
    """
    import cv2

    def mean(values: NDArray[Any]) -> Float32Array:
        return np.asarray(cv2.blur(values, (2 * _RADIUS + 1, 2 * _RADIUS + 1), borderType=cv2.BORDER_REFLECT))

    half = (mask.shape[1] // 2, mask.shape[0] // 2)
    mask = cv2.resize(mask, half, interpolation=cv2.INTER_AREA)
    colour = cv2.resize(image, half, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    middle, share = mean(colour), mean(mask)
    together = mean(colour * mask[..., None]) - middle * share[..., None]
    products = (colour[..., None] * colour[..., None, :]).reshape(*mask.shape, 9)
    spread = np.stack([mean(products[..., k]) for k in range(9)], axis=-1).reshape(*mask.shape, 3, 3)
    spread += _CALM * np.eye(3, dtype=np.float32) - middle[..., None] * middle[..., None, :]
    slope = np.linalg.solve(spread, together[..., None])[..., 0]
    constant = share - (slope * middle).sum(axis=2)
    return mean(np.concatenate([slope / 255, constant[..., None]], axis=2))


def _from_limbs(people: Sequence[Pose]) -> Float32Array:
    """(H, W) distance from each pixel to the nearest limb of these people, in their torso lengths."""
    import cv2

    distances = []
    for pose in people:
        free = np.ones(pose.size, np.uint8)
        for a, b in LIMBS:
            if pose.present[a] and pose.present[b]:
                start, end = ((round(float(x)), round(float(y))) for x, y in pose.points[[a, b], :2])
                cv2.line(free, start, end, 0, 2)
        distances.append(cv2.distanceTransform(free, cv2.DIST_L2, 5) / max(torso_length(pose), 1.0))
    return np.asarray(np.min(distances, axis=0), np.float32)
