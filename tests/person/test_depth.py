"""Depths of joints in files and clips: kept where they can be true, ignored with a line where they cannot."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from keypoints import SIZE, STANDING, points
from paths import ANNA

from gfla_cli.errors import LandmarkError
from gfla_cli.io.image import read_image
from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.keypoint_files import read_pose, read_poses, write_poses
from gfla_cli.person.pose import Pose
from gfla_cli.person.track import BodyFilter, BodyTracker
from gfla_cli.person.track_files import Track, read_track, write_track

DEPTHS = np.linspace(-20, 20, 18).astype(np.float32)  # pixels


def own(depths, **changes):
    """Our own JSON as a dictionary."""
    person = {"points": points().tolist()} | ({} if depths is None else {"depths": depths})
    return {"format": "gfla-pose", "version": 1, "size": list(SIZE)} | person | changes


def read(tmp_path, content):
    """The pose of a file and the notes about it."""
    file = tmp_path / "pose.json"
    file.write_text(json.dumps(content))
    notes = []
    return read_pose(file, notes=notes), notes


def test_depths_come_back_exactly_of_each_person_their_own(tmp_path):
    people = [Pose(points(), SIZE, DEPTHS), Pose(points(STANDING * 0.9), SIZE), Pose(points(), SIZE, -DEPTHS / 3)]
    write_poses(tmp_path / "three.json", people)
    for pose, before in zip(read_poses(tmp_path / "three.json"), people, strict=True):
        np.testing.assert_array_equal(pose.points, before.points)
        if before.depths is None:
            assert pose.depths is None
        else:
            np.testing.assert_array_equal(pose.depths, before.depths)


def test_a_file_without_depths_is_a_pose_without_them(tmp_path):
    pose, notes = read(tmp_path, own(None))
    assert pose.depths is None
    assert pose.known_points.shape == (18, 3)
    assert np.isnan(pose.deep_points[:, 3]).all()
    assert notes == []


def test_unknown_depths_of_missing_joints_do_not_matter(tmp_path):
    content = own(DEPTHS.tolist())
    content["points"][4], content["depths"][4] = [-1, -1, 0], None
    pose, notes = read(tmp_path, content)
    assert np.isfinite(pose.depths).all()
    np.testing.assert_array_equal(np.delete(pose.depths, 4), np.delete(DEPTHS, 4))
    assert notes == []


@pytest.mark.parametrize(
    ("depths", "said"),
    [
        ([None, None, *DEPTHS[2:].tolist()], "depths of 16 joints only"),
        ([0.0] * 18, "all alike"),
        ([7.0] * 18, "all alike"),
        ((DEPTHS / 5000).tolist(), "all alike"),  # of an image that is 1 wide
        ((DEPTHS * 1000).tolist(), "are they pixels"),  # millimetres
    ],
)
def test_depths_that_are_impossible_are_not_used(tmp_path, depths, said):
    pose, notes = read(tmp_path, own(depths))
    assert pose.depths is None
    assert len(notes) == 1
    assert said in notes[0]


@pytest.mark.parametrize("depths", [[1.0] * 17, "near", {"0": 1}, [*DEPTHS.tolist()[:-1], "far"], [True] * 18])
def test_depths_that_are_no_numbers_are_refused(tmp_path, depths):
    with pytest.raises(LandmarkError, match="depth"):
        read(tmp_path, own(depths))


def test_nan_in_a_file_is_refused(tmp_path):
    with pytest.raises(LandmarkError, match="depth of nan"):
        read(tmp_path, own([float("nan"), *DEPTHS.tolist()[1:]]))


def test_depths_count_from_anywhere(tmp_path):
    """Behind the camera or not: only differences matter."""
    from gfla_cli.conditioning.structure import joint_maps

    one, _ = read(tmp_path, own(DEPTHS.tolist()))
    other, notes = read(tmp_path, own((DEPTHS - 5000).tolist()))
    assert notes == []
    drawn = [joint_maps(pose.deep_points, (256, 256), 6.0) for pose in (one, other)]
    np.testing.assert_allclose(*drawn, atol=1e-4)


def test_a_track_keeps_depths(tmp_path):
    deep = np.column_stack([points(), DEPTHS])
    track = Track("body", Fraction(25), SIZE, [deep, None, points()])
    write_track(tmp_path / "walk.json", track)
    frames = read_track(tmp_path / "walk.json").frames
    np.testing.assert_array_equal(frames[0], deep)
    assert frames[1] is None
    np.testing.assert_array_equal(frames[2], points())
    content = json.loads((tmp_path / "walk.json").read_text())
    content["frames"][0] = np.column_stack([deep, DEPTHS]).tolist()
    (tmp_path / "bad.json").write_text(json.dumps(content))
    with pytest.raises(LandmarkError, match="18 points of 3 or 4 numbers"):
        read_track(tmp_path / "bad.json")


def test_depths_are_smoothed_over_time():
    rng = np.random.default_rng(0)
    steady, rough, calm = BodyFilter(25), [], []
    for _ in range(40):
        depths = DEPTHS + rng.normal(0, 3, 18).astype(np.float32)
        rough.append(depths)
        calm.append(steady(Pose(points(), SIZE, depths)).depths)
    assert np.std(calm[20:], axis=0).mean() < 0.6 * np.std(rough[20:], axis=0).mean()
    unchanged = BodyFilter(25, smooth=False)
    for depths in rough:
        np.testing.assert_array_equal(unchanged(Pose(points(), SIZE, depths)).depths, depths)


def test_people_are_found_and_followed_with_their_depths():
    picture = read_image(ANNA)
    with PersonDetector() as detector:
        (person,) = detector.detect(picture)
    with BodyTracker() as tracker:
        tracker.track(picture)
        followed = tracker.track(picture)
    assert followed is not None
    for depths in (person.pose.depths, followed.depths):
        assert depths is not None
        assert depths[0] < depths[1]  # she looks into the camera: her nose is nearer than her neck
    there = person.pose.present & followed.present
    torso = np.linalg.norm(person.pose.points[1, :2] - person.pose.points[[8, 11], :2].mean(axis=0))
    apart = (person.pose.depths - person.pose.depths[1]) - (followed.depths - followed.depths[1])
    assert np.abs(apart[there]).max() < 0.35 * torso
