"""The cover of a person: MediaPipe's mask, led to the edges of the image."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from drawn_landmarks import drawn_body

from gfla_cli.person.body import torso_length
from gfla_cli.person.cover import cover_of
from gfla_cli.person.pose import MISSING, Pose

SIZE = 360, 300
POSE = Pose(np.array([(110 + 80 * (k % 2), 50 + 260 * (k // 9), 1) for k in range(18)], np.float32), SIZE)
BODY = np.zeros(SIZE, np.float32)
BODY[60:300, 100:200] = 1


def network_that_sees(shown, factor=1):
    """A network whose mask of the square around POSE is `shown` (H, W). Both are larger by a factor."""

    def process(square):
        side = 1.4 * 260 * factor  # of the box of the joints
        left, top = 150 * factor - side / 2, 180 * factor - side / 2
        scale = square.shape[0] / side
        mask = cv2.warpAffine(shown, np.array([[scale, 0, -left * scale], [0, scale, -top * scale]]), square.shape[:2])
        return SimpleNamespace(segmentation_masks=[SimpleNamespace(numpy_view=lambda: mask)])

    return SimpleNamespace(process=process)


def coarse(mask):
    """As MediaPipe's are: two pixels off, and soft."""
    return cv2.GaussianBlur(np.roll(mask, (2, -2), (0, 1)), (0, 0), 2)


def photograph(person=(40, 60, 90), wall=(220, 220, 215), noise=0.0):
    image = np.where(BODY[..., None] > 0, person, wall) + np.random.default_rng(0).normal(0, noise, (*SIZE, 3))
    return image.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("noise", [0, 5])
def test_the_cover_ends_where_the_person_does(noise):
    cover = cover_of(network_that_sees(coarse(BODY)), photograph(noise=noise), POSE, [])
    assert np.abs(cover - BODY)[70:290].mean() < 0.5 * np.abs(coarse(BODY) - BODY)[70:290].mean()
    assert cover[180, 104:196].min() > 0.9
    assert max(cover[180, :97].max(), cover[180, 203:].max()) < 0.2


def test_where_the_image_has_no_edge_the_mask_stays():
    cover = cover_of(network_that_sees(coarse(BODY)), photograph((200, 200, 200), (200, 200, 200)), POSE, [])
    assert ((cover > 0.5) != (coarse(BODY) > 0.5)).mean() < 0.01  # a pixel along the edge


def test_small_pieces_inside_a_person_are_no_background():
    """But large ones are, and those that reach the border, and those in the colour of the wall."""

    def doubt(rows, columns, image):
        mask = BODY.copy()
        mask[rows, columns] = 0
        middle = (rows.start + rows.stop) // 2, (columns.start + columns.stop) // 2
        return cover_of(network_that_sees(mask), image, POSE, [])[middle]

    small = slice(200, 226), slice(137, 163)
    hem, gap = photograph(), photograph()
    hem[small], gap[small] = (120, 20, 120), (220, 220, 215)
    assert doubt(*small, hem) == pytest.approx(0.15, abs=0.01)
    assert doubt(*small, gap) == 0
    large = slice(150, 250), slice(125, 175)
    hem[large] = 120, 20, 120
    assert doubt(*large, hem) == 0


def test_noise_of_a_large_photograph_leaves_no_specks():
    image = photograph((120, 120, 120), (135, 135, 135))
    large = cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST).astype(np.float32)
    large = (large + np.random.default_rng(0).normal(0, 12, large.shape)).clip(0, 255).astype(np.uint8)
    shown = cv2.resize(coarse(BODY), None, fx=4, fy=4)
    pose = Pose(POSE.points * np.float32((4, 4, 1)), (4 * SIZE[0], 4 * SIZE[1]))
    cover = cover_of(network_that_sees(shown, 4), large, pose, [])
    inside = cv2.erode(cv2.resize(BODY, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST), np.ones((25, 25))) > 0
    assert np.quantile(cover[inside], 0.001) > 0.8


def portrait(missing, height):
    """The pose of a body that its image cuts at `height`, and the image."""
    points = drawn_body((256, 256), 32.0)
    points[list(missing)] = MISSING
    return Pose(points, (height, 256)), np.full((height, 256, 3), 200, np.uint8)


@pytest.mark.parametrize(
    ("missing", "height"),
    [((9, 10, 12, 13), 165), ((3, 4, 6, 7, 8, 9, 10, 11, 12, 13), 90)],
    ids=["cut at the thighs", "cut at the chest"],
)
def test_all_of_a_body_that_the_image_cuts_is_searched(missing, height):
    """Its joints end far above the cut, and those of the head far below the crown."""
    pose, image = portrait(missing, height)

    def process(square):
        return SimpleNamespace(segmentation_masks=[SimpleNamespace(numpy_view=lambda: np.ones(square.shape[:2]))])

    cover = cover_of(SimpleNamespace(process=process), image, pose, [])
    crown = round(float(pose.points[1, 1]) - 0.73 * torso_length(pose))
    assert cover[max(0, crown), 128] == 1
    assert cover[-1, 110:146].min() == 1


def test_an_image_without_a_mask_has_no_cover():
    network = SimpleNamespace(process=lambda square: SimpleNamespace(segmentation_masks=[]))
    assert cover_of(network, photograph(), POSE, []) is None
