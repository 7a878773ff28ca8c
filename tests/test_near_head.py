"""A head drawn once more from near: its frame, where it goes back to, and who does it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn_landmarks import drawn_body
from tiny_models import CPU, save_tiny, tiny

from gfla_cli.config import preset
from gfla_cli.data.deepfashion import SQUARE
from gfla_cli.errors import ConfigError
from gfla_cli.landmarks.framing import Frame, head_frame, whole_picture
from gfla_cli.landmarks.pose import FACE, MISSING, Pose
from gfla_cli.media.image import to_uint8
from gfla_cli.pipelines.compared_poses import ComparedPoses
from gfla_cli.pipelines.near_head import NearHead
from gfla_cli.pipelines.pose import PoseTransfer

SIZE = (256, 256)
NECK, NOSE = 1, 0


def body(*, missing=(), scale=1.0, shift=(0, 0)):
    points = drawn_body(SIZE, 32.0)
    points[:, :2] = points[:, :2] * scale + shift
    points[list(missing)] = MISSING
    return Pose(points, SIZE)


def around(head, image):
    """The pixels of a picture that are not in the frame of the head."""
    left, top, right, bottom = (max(round(side), 0) for side in head.box)
    outside = np.ones(image.shape[:2], bool)
    outside[top:bottom, left:right] = False
    return image[outside]


def test_the_frame_of_a_head_holds_it_at_the_size_of_the_training_pictures():
    """There the face is in the middle, and its distance to the neck two fifths of the side."""
    points = head_frame(body(), SIZE).pose(body()).points
    face = points[list(FACE), :2].mean(axis=0)
    np.testing.assert_allclose(face, (128, 128), atol=1)
    assert np.linalg.norm(face - points[NECK, :2]) == pytest.approx(0.385 * 256, rel=0.35)
    half = head_frame(body(scale=0.5), SIZE).box
    whole = head_frame(body(), SIZE).box
    assert half[2] - half[0] == pytest.approx((whole[2] - whole[0]) / 2, rel=0.01)


def test_a_head_without_a_face_is_above_the_neck():
    seen, turned_away = (head_frame(body(missing=gone), SIZE).box for gone in ((), FACE))
    np.testing.assert_allclose(turned_away, seen, atol=0.15 * (seen[2] - seen[0]))
    assert head_frame(body(missing=(*FACE, NECK)), SIZE) is None
    assert head_frame(body(missing=range(1, 18)), SIZE) is None


def test_only_small_heads_within_the_frame_are_drawn_again():
    picture = np.zeros((*SIZE, 3), np.uint8)
    frame = whole_picture(*SIZE, SIZE)
    assert NearHead.of(picture, body(), body(), frame) is not None
    assert NearHead.of(picture, body(), body(missing=(*FACE, NECK)), frame) is None
    assert NearHead.of(picture, body(), body(), Frame((96, 20, 160, 84), SIZE)) is None  # near enough
    assert NearHead.of(picture, body(), body(shift=(400, 0)), frame) is None


def test_the_head_goes_back_to_where_the_target_has_it():
    picture = np.full((512, 512, 3), 90, np.uint8)
    target = body(shift=(30, 10))
    near = NearHead.of(picture, body(), target, Frame((0, 0, 512, 512), SIZE))
    assert near.source_image.shape == (256, 256, 3)
    image = np.full((256, 256, 3), 90, np.uint8)
    image[::2] = 100
    head = np.full((256, 256, 3), 240, np.uint8)
    made = near.put_into(image, head)
    x, y = (target.points[list(FACE), :2].mean(axis=0) / 2).astype(int)
    assert made[y, x].tolist() == [240] * 3
    np.testing.assert_array_equal(around(near, made), around(near, image))


@pytest.fixture
def photographs():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (256, 256, 3), np.uint8), body(shift=(20, 0))


class Found(PoseTransfer):
    """Knows where the person of the picture is."""

    def _person(self, picture, source, which, notes):
        return body()


def test_models_that_learnt_to_draw_heads_again_unless_told_otherwise(photographs, tmp_path):
    picture, pose = photographs
    config = tiny(image_size=(128, 128))
    model = Found(save_tiny(tmp_path / "near", config), device="cpu", precision="fp32")
    far, near = (model.transfer(picture, pose, near_head=wanted).image for wanted in (False, True))
    assert (far != near).any()
    prepared = model.prepare(picture, pose)
    np.testing.assert_array_equal(around(prepared.head, far), around(prepared.head, near))
    np.testing.assert_array_equal(model.render_all([prepared, prepared])[1], model.finish(prepared).image)
    np.testing.assert_array_equal(model.finish_and_look(prepared)[0].image, model.finish(prepared).image)

    plain = Found(save_tiny(tmp_path / "far", replace(config, near_heads=False)), device="cpu", precision="fp32")
    assert plain.prepare(picture, pose).head is None


def test_an_evaluation_sees_what_a_user_gets(pose_shelf, tmp_path):
    config = tiny(image_size=(64, 64))
    models = [
        save_tiny(tmp_path / name, replace(config, near_heads=near)) for name, near in (("a", True), ("b", False))
    ]
    test = ComparedPoses(models, pose_shelf / "set", SQUARE, CPU)
    (pair,) = test.rendered([0])
    near, far = (to_uint8(pair.made[name]) for name in list(pair.made)[1:])
    source, target = (Pose(points, (64, 64)) for points in (pair.source_points, pair.target_points))
    head = NearHead.of(to_uint8(pair.made["copy of the source"]), source, target, whole_picture(64, 64, (64, 64)))
    assert (near != far).any()
    np.testing.assert_array_equal(around(head, near), around(head, far))


def test_only_pose_models_draw_heads_again():
    with pytest.raises(ConfigError, match="near_heads"):
        replace(preset("face-people"), near_heads=True)
