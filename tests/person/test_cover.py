"""The cover of a person: MediaPipe's mask, led to the edges of the image."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from gfla_cli.person.cover import cover_of
from gfla_cli.person.pose import Pose

SIZE = 360, 300
POSE = Pose(np.array([(110 + 80 * (k % 2), 50 + 260 * (k // 9), 1) for k in range(18)], np.float32), SIZE)
BODY = np.zeros(SIZE, np.float32)
BODY[60:300, 100:200] = 1


def network_that_sees(shown):
    """A network whose mask of the square around POSE is `shown` (H, W), in pixels of the image."""

    def process(square):
        side = 1.4 * 260  # of the box of the joints
        left, top = 150 + 0.5 - side / 2, 180 + 0.5 - side / 2
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
    gap, hem = BODY.copy(), BODY.copy()
    gap[150:250, 130:170] = 0
    hem[200:220, 140:160] = 0
    assert cover_of(network_that_sees(hem), photograph(), POSE, [])[210, 150] > 0.1
    assert cover_of(network_that_sees(gap), photograph(wall=(40, 60, 90)), POSE, [])[200, 150] == 0


def test_an_image_without_a_mask_has_no_cover():
    network = SimpleNamespace(process=lambda square: SimpleNamespace(segmentation_masks=[]))
    assert cover_of(network, photograph(), POSE, []) is None
