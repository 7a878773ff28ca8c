"""Landmarks of whole videos: their file, tracking of a body, and retargeting of its motion."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from drawn_landmarks import drawn_body, drawn_face
from paths import ANNA

from gfla_cli.errors import DetectionError, LandmarkError, MediaError, UsageError
from gfla_cli.io.image import read_image
from gfla_cli.person.body import torso_length
from gfla_cli.person.body_motion import BodyMotion
from gfla_cli.person.pose import MISSING, Pose
from gfla_cli.person.track import BodyFilter, BodyTracker
from gfla_cli.person.track_files import Track, read_track, write_track

NTSC = Fraction(30000, 1001)


# --- files -------------------------------------------------------------------------------------------------------


def test_a_track_comes_back_exactly(tmp_path):
    face = (drawn_face(depth=True) / 3).astype(np.float32)
    for kind, points in (("face", face), ("body", drawn_body())):
        frames = [points, None, points * np.float32(1 / 7)]
        write_track(tmp_path / f"{kind}.json", Track(kind, NTSC, (480, 640), frames))
        track = read_track(tmp_path / f"{kind}.json")
        assert (track.kind, track.fps, track.size) == (kind, NTSC, (480, 640))
        assert track.frames[1] is None
        np.testing.assert_array_equal(track.frames[0], points)
        assert track.frames[2].dtype == np.float32


def test_a_track_does_not_replace_a_file_unasked(tmp_path):
    track = Track("face", Fraction(25), (10, 10), [None])
    write_track(tmp_path / "a.json", track)
    with pytest.raises(UsageError, match="exists"):
        write_track(tmp_path / "a.json", track)
    write_track(tmp_path / "a.json", track, overwrite=True)
    with pytest.raises(UsageError, match=r"\.json"):
        write_track(tmp_path / "a.txt", track)


def test_faces_come_back_with_the_irises_that_are_known(tmp_path):
    faces = [np.random.default_rng(count).normal(50, 9, (count, 3)).astype(np.float32) for count in (68, 70, 70)]
    faces[2][68:] = np.nan
    write_track(tmp_path / "a.json", Track("face", Fraction(25), (10, 10), list(faces)))
    found = read_track(tmp_path / "a.json").frames
    for frame, face in zip(found, (faces[0], faces[1], faces[2][:68]), strict=True):
        np.testing.assert_array_equal(frame, face)


def good():
    return {"format": "gfla-track", "version": 1, "kind": "face", "fps": "25", "size": [4, 4], "frames": [None]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "gfla-pose"}, "not the landmarks of a video"),
        ({"version": 9}, "version 9"),
        ({"kind": "hand"}, "hand"),
        ({"frames": []}, "no frames"),
        ({"frames": [[[1, 2, 3]]]}, "frame 0 is not 68 or 70"),
        ({"frames": [[[1, 2, "x"]] * 68]}, "not a number"),
        ({"frames": [[[1, 2, 1e40]] * 68]}, "frame 0"),
        ({"fps": "soon"}, "frame rate"),
        ({"fps": None}, "frame rate"),
        ({"size": [4]}, "size"),
        ({"size": [True, 4]}, "size"),
        ({"kind": "body", "frames": [[[1, 2, 3]] * 18]}, "confidences"),
    ],
)
def test_a_wrong_track_is_refused_with_the_name_of_its_file(tmp_path, change, said):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(good() | change))
    with pytest.raises(LandmarkError, match=rf"t\.json: .*{said}") as caught:
        read_track(path)
    assert caught.value.hint


@pytest.mark.parametrize("content", ["", "[1, 2", "3", "\x00"])
def test_what_is_no_json_is_named_with_its_file(tmp_path, content):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(LandmarkError, match=r"t\.json"):
        read_track(tmp_path / "t.json")
    with pytest.raises(MediaError, match="no such file"):
        read_track(tmp_path / "nothing.json")


# --- following a body --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def anna():
    return read_image(ANNA)


def test_a_body_is_followed_while_it_moves_and_found_again_after_it_was_gone(anna):
    shifts = (0, 4, 8, 12)
    empty = np.full_like(anna, 200)
    with BodyTracker() as tracker:
        poses = [tracker.track(np.roll(anna, shift, axis=1)) for shift in shifts]
        assert tracker.track(empty) is None
        again = tracker.track(np.roll(anna, 16, axis=1))
    assert all(pose is not None for pose in poses)
    assert again is not None
    torso = [1, 2, 5, 8, 11]
    for pose, shift in zip([*poses, again], [*shifts, 16], strict=True):
        assert pose.size == anna.shape[:2]
        moved = pose.points[torso, 0] - poses[0].points[torso, 0] - shift
        assert np.abs(moved).max() < 0.03 * anna.shape[0]


def test_a_body_that_is_suddenly_smaller_is_detected_again(anna):
    """The network that tracks would only slowly adapt to the new size."""
    half = np.full_like(anna, anna[0, 0])
    half[160:480, 120:360] = anna[::2, ::2]
    with BodyTracker() as tracker:
        before = [torso_length(tracker.track(anna)) for _ in range(3)][-1]
        after = [torso_length(tracker.track(half)) for _ in range(5)]
    assert after == pytest.approx([before / 2] * 5, rel=0.08)


def test_the_number_of_a_missing_person_is_refused(anna):
    with BodyTracker(3, where="film.mp4") as tracker, pytest.raises(DetectionError, match=r"film\.mp4: person 3"):
        tracker.track(anna)


# --- motion ------------------------------------------------------------------------------------------------------


def moved(pose, x=0.0, y=0.0, scale=1.0, size=None):
    return pose.transformed([[scale, 0, x], [0, scale, y]], size or pose.size)


def test_a_driver_moves_the_source_at_its_own_size_and_place():
    source = Pose(drawn_body((200, 200)), (200, 200))
    driver = moved(source, 100, 50, 2.0, (600, 800))
    motion = BodyMotion(source, [driver, moved(driver, 10)])
    start, later = motion(driver), motion(moved(driver, 40))
    assert start.size == source.size
    np.testing.assert_allclose(later.points[:, 0] - start.points[:, 0], 20, atol=1e-3)  # half as large
    np.testing.assert_allclose(start.points[:, 1], source.points[:, 1], atol=1)
    np.testing.assert_allclose(np.ptp(start.points[:, 1]), np.ptp(source.points[:, 1]), rtol=0.02)


def test_a_driver_who_bends_does_not_grow():
    source = Pose(drawn_body((200, 200)), (200, 200))
    bent = source.points.copy()
    bent[:8, 1] = bent[8, 1] - (bent[8, 1] - bent[:8, 1]) * 0.6
    motion = BodyMotion(source, [source] * 4 + [Pose(bent, source.size)])
    legs = [9, 10, 12, 13]
    np.testing.assert_allclose(motion(Pose(bent, source.size)).points[legs], source.points[legs], atol=1)


def test_absolute_motion_keeps_the_driver_where_it_is():
    source = Pose(drawn_body((100, 100)), (100, 100))
    driver = moved(source, 80, 0, 2.0, (200, 300))
    placed = BodyMotion(source, [driver], absolute=True)(driver)
    np.testing.assert_allclose(placed.points[:, 0], driver.points[:, 0] / 2 - 25, atol=1e-3)  # 150 wide, 100 are seen


def test_a_joint_that_flickers_stays_and_one_that_is_gone_goes():
    steady = BodyFilter(25)
    whole = Pose(drawn_body(), (64, 64))
    without = whole.points.copy()
    without[4] = MISSING
    shown = [steady(whole)] + [steady(Pose(without, (64, 64))) for _ in range(6)]
    assert [bool(pose.present[4]) for pose in shown] == [True, True, True, True, False, False, False]
    np.testing.assert_allclose(shown[1].points[4], whole.points[4])


def test_trembling_joints_are_smoothed_unless_unwanted():
    rng = np.random.default_rng(0)
    shaken = [Pose(drawn_body((256, 256)) + rng.normal(0, 1, (18, 3)) * (1, 1, 0), (256, 256)) for _ in range(40)]

    def tremble(steady):
        out = np.stack([steady(pose).points[:, :2] for pose in shaken])
        return np.diff(out[10:], axis=0).std()

    assert tremble(BodyFilter(25)) < 0.6 * tremble(BodyFilter(25, smooth=False))
