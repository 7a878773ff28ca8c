"""Refinement: the crops of a head and of the halves of a body, where the results go, and which models do it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from compared_pictures import pose_pairs
from drawn_landmarks import drawn_body
from tiny_models import save_tiny, steady, tiny

from gfla_cli.config import preset
from gfla_cli.errors import ConfigError
from gfla_cli.geometry.crop import Crop
from gfla_cli.io.image import read_image, to_uint8
from gfla_cli.person.body import half_crop, head_box, in_half, torso_length
from gfla_cli.person.pose import FACE, MISSING, Pose
from gfla_cli.pipelines.pose_transfer import PoseTransfer
from gfla_cli.pipelines.refinement import HeadCrop, SourceHead, half_crops

SIZE = (256, 256)
NECK = 1


def body(*, missing=(), scale=1.0, shift=(0, 0)):
    points = drawn_body(SIZE, 32.0)
    points[:, :2] = points[:, :2] * scale + shift
    points[list(missing)] = MISSING
    return Pose(points, SIZE)


def around(head, image):
    """The pixels of an image that are not in the frame of the head."""
    outside = np.ones(image.shape[:2], bool)
    outside[head.place.region(image.shape)] = False
    return image[outside]


def box_of(pose):
    return head_box(pose, torso_length(pose))


def test_the_frame_of_a_head_holds_it_at_the_size_of_the_training_images():
    left, top, right, bottom = box_of(body())
    face = body().points[list(FACE), :2].mean(axis=0)
    side = right - left
    assert (side, bottom - top) == pytest.approx((1.65 * torso_length(body()),) * 2)
    np.testing.assert_allclose(((left + right) / 2, (top + bottom) / 2), face, atol=0.03 * side)
    np.testing.assert_allclose(box_of(body(scale=0.5)), np.array((left, top, right, bottom)) / 2, atol=0.5)


def test_a_head_in_profile_is_behind_its_face():
    points = body().points.copy()
    away = 0.3 * torso_length(body())
    points[list(FACE), 0] += away
    points[[16, 17]] = MISSING
    left, _, right, _ = box_of(Pose(points, SIZE))
    assert 128 < (left + right) / 2 < 128 + 0.5 * away


def test_a_head_without_a_face_is_above_the_neck():
    seen, turned_away = (box_of(body(missing=gone)) for gone in ((), FACE))
    np.testing.assert_allclose(turned_away, seen, atol=0.15 * (seen[2] - seen[0]))
    assert box_of(body(missing=(*FACE, NECK))) is None
    assert box_of(body(missing=range(1, 18))) is None


def test_only_small_heads_within_the_frame_are_drawn_again():
    picture = np.zeros((*SIZE, 3), np.uint8)
    frame = Crop.whole(SIZE)
    head = SourceHead.of(picture, body(), SIZE)
    assert head.at(body(), frame) is not None
    assert head.at(body(missing=(*FACE, NECK)), frame) is None
    assert head.at(body(), Crop((96, 20, 160, 84), SIZE)) is None  # large enough
    assert head.at(body(missing=FACE[1:]), frame) is None  # turned away
    assert SourceHead.of(picture, body(missing=FACE[:4]), SIZE).at(body(), frame) is None
    assert SourceHead.of(picture, body(missing=FACE[:3]), SIZE).at(body(), frame) is not None
    for shift in ((400, 0), (-400, 0), (0, 400), (0, -400)):
        assert head.at(body(shift=shift), frame) is None


def test_one_wild_moment_is_no_error():
    """A joint far away makes a torso that no frame could hold."""
    head = SourceHead.of(np.zeros((*SIZE, 3), np.uint8), body(), SIZE)
    assert head.at(body(scale=90), Crop.whole(SIZE)) is None
    assert SourceHead.of(np.zeros((*SIZE, 3), np.uint8), body(scale=90), SIZE) is None


def test_a_head_that_the_image_cuts_off_is_not_invented():
    picture = np.zeros((*SIZE, 3), np.uint8)
    assert SourceHead.of(picture, body(shift=(0, 20)), SIZE) is not None
    assert SourceHead.of(picture, body(shift=(0, -50), missing=FACE), SIZE) is None


def test_the_length_of_the_torso_may_be_given():
    """In a clip: there a head keeps its size while limbs are foreshortened."""
    head = SourceHead.of(np.zeros((*SIZE, 3), np.uint8), body(), SIZE)
    frame = Crop.whole(SIZE)
    for torso in (40.0, 60.0):
        left, _, right, _ = head.at(body(), frame, torso).place.box
        assert right - left == pytest.approx(1.65 * torso, abs=1e-3)


def test_arms_stay_those_of_the_body_wherever_their_elbows_are():
    points = body().points.copy()
    points[2:5, :2] = (104, 60), (60, 90), (124, 34)  # a hand at the ear, its elbow outside of the head's frame
    frame = Crop.whole(SIZE)
    head = SourceHead.of(np.full((*SIZE, 3), 90, np.uint8), body(), SIZE)
    image, drawn = np.full((*SIZE, 3), 90, np.uint8), np.full((*SIZE, 3), 240, np.uint8)
    torso = torso_length(body())
    made, plain = (head.at(pose, frame, torso).paste(image, drawn) for pose in (Pose(points, SIZE), body()))
    assert plain[44, 112, 0] > 200
    assert made[44, 112, 0] < 110  # on the forearm
    assert made[30, 145, 0] > 200


def test_the_head_goes_back_to_where_the_target_has_it():
    picture = np.full((512, 512, 3), 90, np.uint8)
    target = body(shift=(30, 10))
    near = SourceHead.of(picture, body(), SIZE).at(target, Crop((0, 0, 512, 512), SIZE))
    assert near.source_image.shape == (256, 256, 3)
    image = np.full((256, 256, 3), 90, np.uint8)
    image[::2] = 100
    head = np.full((256, 256, 3), 240, np.uint8)
    made = near.paste(image, head)
    x, y = (target.points[list(FACE), :2].mean(axis=0) / 2).astype(int)
    assert made[y, x].tolist() == [240] * 3
    np.testing.assert_array_equal(around(near, made), around(near, image))


@pytest.fixture
def photographs():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (256, 256, 3), np.uint8), body(shift=(20, 0))


class Found(PoseTransfer):
    """Always finds the person of the image."""

    people = (body(),)

    def _people(self, source, image=None):
        return list(self.people)


def test_models_that_support_it_refine_heads_unless_switched_off(photographs, tmp_path):
    picture, pose = photographs
    config = steady(image_size=(128, 128))
    model = Found(save_tiny(tmp_path / "near", config), device="cpu", precision="fp32")
    far, near = (model.transfer(picture, pose, refine_head=wanted, size=None).image for wanted in (False, True))
    assert (far != near).any()
    np.testing.assert_array_equal(model.transfer(picture, pose, near_head=False, size=None).image, far)  # the old name
    prepared = model.prepare(picture, pose, size=None)
    (head,) = prepared.close_ups
    np.testing.assert_allclose(around(head, far).astype(int), around(head, near), atol=1)
    # Body and head are one batch, which rounds differently.
    together, alone = model.generate([prepared, prepared])[1].image, model.generate([prepared])[0].image
    np.testing.assert_allclose(together.astype(int), alone, atol=1)
    np.testing.assert_allclose(model.generate([prepared], inside=True)[0].image.astype(int), near, atol=1)

    plain = Found(
        save_tiny(tmp_path / "far", replace(config, refines_heads=False, refines_halves=False)),
        device="cpu",
        precision="fp32",
    )
    assert not plain.prepare(picture, pose).close_ups


def with_depths(pose, slope=0.5):
    return Pose(pose.points, pose.size, slope * pose.points[:, 1])


def test_the_crop_of_a_half_holds_it_in_both_poses():
    poses = body(), body(shift=(30, 4))
    for half, held in (("upper", (*range(9), 11, *FACE)), ("lower", range(8, 14))):
        crop = half_crop(poses, half)
        for pose in poses:
            places = pose.cropped(crop).points[list(held), :2]
            assert places.min() > 0.1 * torso_length(pose)
            assert places.max() < 255 - 0.1 * torso_length(pose)
        left, top, right, bottom = crop.box
        assert right - left == pytest.approx(bottom - top)
        assert right - left < 0.75 * 256


def test_only_halves_that_gain_from_it_are_drawn_again():
    assert half_crop([body()], "upper") is not None
    assert half_crop([body(), body(missing=(8, 11))], "upper") is None  # no hips
    assert half_crop([body(missing=(9, 10, 12, 13))], "lower") is None  # nothing below them
    assert half_crop([body(scale=1.6, shift=(-70, 0))], "upper") is None  # fills the frame
    assert half_crop([body(missing=range(18))], "upper") is None


def test_a_half_that_stays_where_it_is_is_not_drawn_again():
    points = body().points.copy()
    points[4, :2] += (20, -30)  # a hand
    image, frame = np.zeros((*SIZE, 3), np.uint8), Crop.whole(SIZE)
    for target, halves in ((body(), []), (Pose(points, SIZE), ["upper"]), (body(shift=(9, 0)), ["lower", "upper"])):
        assert [part.half for part in half_crops(image, frame, (body(), target))] == halves


def test_bones_that_leave_a_half_end_inside_of_it_in_both_poses_alike():
    """What is left of a thigh in one pose is what is left of it in the other."""
    longer = body().points.copy()
    longer[[9, 12], 1] += 20
    poses = with_depths(body()), with_depths(Pose(longer, SIZE))
    crop = half_crop(poses, "upper")
    inside = in_half(poses, "upper", crop)
    for pose, moved in zip(poses, inside, strict=True):
        plain = pose.cropped(crop)
        kept = [joint for joint in range(18) if joint not in (9, 10, 12, 13)]
        np.testing.assert_allclose(moved.deep_points[kept], plain.deep_points[kept], atol=1e-3)
        assert (moved.points[[10, 13], 2] == 0).all()  # shins hang on thighs that were cut
        assert 230 < moved.points[9, 1] < 255
    shares = [
        (moved.deep_points[9] - moved.deep_points[8])[[1, 3]] / (plain.deep_points[9] - plain.deep_points[8])[[1, 3]]
        for moved, plain in zip(inside, (pose.cropped(crop) for pose in poses), strict=True)
    ]
    np.testing.assert_allclose(shares, np.full((2, 2), shares[0][0]), rtol=1e-3)
    assert 0.1 < shares[0][0] < 0.9


def test_trunk_and_shoulders_of_the_lower_half_are_cut_together():
    crop = half_crop([body()], "lower")
    (moved,) = in_half([body()], "lower", crop)
    plain = body().cropped(crop).points
    hips = plain[[8, 11], :2].mean(axis=0)
    share = (moved.points[1, 1] - hips[1]) / (plain[1, 1] - hips[1])
    assert 0 < share < 1
    np.testing.assert_allclose(moved.points[2, :2], plain[8, :2] + share * (plain[2, :2] - plain[8, :2]), atol=1e-3)
    assert (moved.points[list(FACE), 2] == 0).all()


def test_a_body_that_lacks_joints_is_cut_without_them():
    gone = (9, 10, 1, 4)
    for half in ("upper", "lower"):
        crop = half_crop([body()], half)
        (moved,) = in_half([body(missing=gone)], half, crop)
        assert not moved.present[list(gone)].any()
        assert np.isfinite(moved.points).all()


@pytest.mark.parametrize("hip", [8, 11])
def test_a_missing_hip_moves_no_joint_of_the_other_side(hip):
    """A hip is often hidden in profile. What hangs on it has no known place."""
    whole, gone = body(), body(missing=(hip,))
    for half, hangs in (("upper", {8: 9, 11: 12}), ("lower", {8: 2, 11: 5})):
        crop = half_crop([gone, whole], half)
        moved, other = in_half([gone, whole], half, crop)
        assert not moved.present[hangs[hip]]
        assert other.present[hangs[hip]]
        kept = [joint for joint in range(2, 18) if moved.present[joint]]  # the neck leans to the hip that is left
        assert set(hangs.values()) - {hangs[hip]} < set(kept)
        np.testing.assert_allclose(moved.points[kept], other.points[kept], atol=1e-3)
    neck, kept_hip = moved.points[1], moved.points[19 - hip]
    assert min(kept_hip[0], 128) < neck[0] < max(kept_hip[0], 128)


def test_a_forearm_that_begins_at_the_border_of_a_half_shortens_no_other():
    points = body().points.copy()
    crop = half_crop([body()], "lower")
    points[4, :2] = points[3, 0], crop.points_back(np.float32([[0, 2]]))[0, 1]  # a wrist 2 pixels inside
    low, high = in_half([body(), Pose(points, SIZE)], "lower", crop)
    assert np.linalg.norm(low.points[4, :2] - low.points[3, :2]) > 15
    assert high.present[4]
    assert not high.present[3]


def test_hands_come_from_the_upper_half_and_feet_from_the_lower_one():
    lower, upper = half_crops(np.zeros((*SIZE, 3), np.uint8), Crop.whole(SIZE), (body(shift=(4, 0)), body()))
    assert (lower.half, upper.half) == ("lower", "upper")

    def shown(part, joint, cover=None):
        x, y = part.place.points(body().points[joint, :2][None])[0].round().astype(int)
        return (part.mask() if cover is None else cover)[y, x]

    for part in (lower, upper):
        mask = part.mask()
        assert mask.shape == SIZE
        assert max(mask[0].max(), mask[-1].max(), mask[:, 0].max(), mask[:, -1].max()) < 0.1
    assert min(shown(upper, wrist) for wrist in (4, 7)) > 0.95
    assert max(shown(upper, joint) for joint in (0, 1)) < 0.05
    assert min(shown(lower, ankle) for ankle in (10, 13)) > 0.95
    assert max(shown(lower, joint) for joint in (4, 7, 8, 9)) < 0.1
    everywhere = np.ones(SIZE, np.float32)
    assert shown(lower, 4, lower.own(everywhere)) < 0.3
    assert shown(upper, 4, upper.own(everywhere)) == 1


def test_without_its_joints_no_hand_is_taken_from_a_half():
    target = body(missing=(4, 6, 7))
    (*_, upper) = half_crops(np.zeros((*SIZE, 3), np.uint8), Crop.whole(SIZE), (body(shift=(4, 0)), target))
    assert upper.mask().max() == 0


def test_the_upper_half_leaves_a_raised_leg_to_the_lower_one():
    """The source's knee is not in the crop, so that the crop knows no more of the raised leg than a stump."""
    raised = body().points.copy()
    raised[12:14, :2] = (186, 130), (186, 150)
    poses = body(shift=(4, 0)), Pose(raised, SIZE)
    lower, upper = half_crops(np.zeros((*SIZE, 3), np.uint8), Crop.whole(SIZE), poses)
    ankle = raised[13, :2]
    x, y = upper.place.points(ankle[None])[0].round().astype(int)
    assert upper.mask()[y, x] < 0.1
    x, y = lower.place.points(ankle[None])[0].round().astype(int)
    assert lower.mask()[y, x] > 0.9


def test_halves_are_drawn_again_where_the_result_shows_more_than_the_frame(tmp_path):
    large = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
    pose = body().scaled((1024, 1024))
    config = steady(image_size=(128, 128))
    model = Found(save_tiny(tmp_path / "halves", config), device="cpu", precision="fp32")
    model.people = [pose]
    target = pose.transformed([[1, 0.2, -90], [0, 1, 0]], pose.size)
    far, near = (model.transfer(large, target, refine_body=wanted).image for wanted in (False, True))
    assert (far != near).any()

    def halves(**options):
        return [part for part in model.prepare(large, target, **options).close_ups if not isinstance(part, HeadCrop)]

    assert len(halves()) == 2
    assert len(halves(size=512)) == 2
    assert not halves(size=128)
    assert not halves(size=None)
    assert not halves(refine_body=False)
    assert [isinstance(part, HeadCrop) for part in model.prepare(large, target).close_ups] == [False, False, True]
    several = model.generate([model.prepare(large, target), model.prepare(large, target, refine_body=False)])
    np.testing.assert_allclose(several[0].image.astype(int), near, atol=2)
    np.testing.assert_allclose(several[1].image.astype(int), far, atol=2)


def test_an_evaluation_sees_what_a_user_gets(pose_shelf, tmp_path):
    config = tiny(image_size=(64, 64))
    models = [
        save_tiny(tmp_path / name, replace(config, refines_heads=near)) for name, near in (("a", True), ("b", False))
    ]
    test = pose_pairs(models, pose_shelf / "set")
    (pair,) = test.generated([0])
    near, far = (to_uint8(pair.made[name]) for name in test.rows)
    source, target = (Pose(points, (64, 64)) for points in (test.pairs[0].source_points, pair.joints[0]))
    transfer = Found(models[0], device="cpu", precision="fp32")
    transfer.people = [source]
    picture = pose_shelf / "set" / "test" / test.pairs.pairs[0][0]
    given = transfer.transfer(read_image(picture), target, crop=False, align=False, size=None).image
    assert (near != far).any()
    np.testing.assert_allclose(near.astype(int), given, atol=1)
    alone = pose_pairs(models[:1], pose_shelf / "set", refine_head=False)
    (pair,) = alone.generated([0])
    np.testing.assert_array_equal(to_uint8(list(pair.made.values())[-1]), far)


def test_only_pose_models_draw_heads_again():
    with pytest.raises(ConfigError, match="refines_heads"):
        replace(preset("face-people"), refines_heads=True)
    with pytest.raises(ConfigError, match="refines_heads"):
        replace(preset("pose-fashion"), refines_heads=True)
    with pytest.raises(ConfigError, match="refines_halves"):
        replace(preset("face-people"), refines_halves=True)
