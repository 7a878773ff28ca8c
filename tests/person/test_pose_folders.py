"""Folders of keypoint files, as OpenPose writes them."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from keypoints import STANDING, openpose, points, table

from gfla_cli.errors import LandmarkError, MediaError
from gfla_cli.io.image import write_image
from gfla_cli.person.keypoint_files import read_pose
from gfla_cli.person.track_files import read_track
from gfla_cli.pipelines.driver import open_driver
from gfla_cli.pipelines.pose_jobs import plan_transfers


@pytest.fixture
def photo(tmp_path):
    write_image(tmp_path / "photo.png", np.zeros((64, 64, 3), np.uint8))
    return tmp_path / "photo.png"


@pytest.fixture
def frames(tmp_path):
    """A folder of four frames: a person walks to the right past a larger one; nobody is found in the third."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in (8, 9, 10, 11):
        shift = np.array([number, 0])
        people = [points(STANDING * 2 + np.array([300, 0])), points(STANDING + shift)] if number != 10 else []
        (folder / f"walk_{number}_keypoints.json").write_text(json.dumps(openpose(*people[:: (-1) ** number])))
    return folder


def test_a_folder_of_poses_is_every_pose_in_it(photo, frames, tmp_path):
    jobs = plan_transfers(photo, str(frames), tmp_path)
    assert [job.output.name for job in jobs] == [f"photo--walk_{n}_keypoints.png" for n in (8, 9, 10, 11)]
    write_image(frames / "walk.png", np.zeros((64, 64, 3), np.uint8))
    (frames / "more.csv").write_text(table([("a/1.jpg", STANDING), ("2.jpg", STANDING)]))
    (frames / "pairs.csv").write_text("from,to\na,b\n")
    jobs = plan_transfers(photo, str(frames), tmp_path)
    assert len(jobs) == len({job.output for job in jobs}) == 7
    assert [job.output.name for job in jobs][:3] == ["photo--walk.png", "photo--1.png", "photo--2.png"]
    assert read_pose(jobs[1].pose).present.all()


def test_poses_of_two_files_with_one_name_get_files_of_their_own(photo, tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    for name in ("x", "y"):
        (folder / f"{name}.csv").write_text(table([("a/1.jpg", STANDING), ("2.jpg", STANDING)]))
    jobs = plan_transfers(photo, str(folder), tmp_path)
    assert len({job.output for job in jobs}) == 4
    assert all(job.output.parent == tmp_path for job in jobs)


def test_a_folder_without_poses_says_so(photo, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="no images and no keypoint files"):
        plan_transfers(photo, str(tmp_path / "empty"), tmp_path)


def test_a_folder_of_frames_is_a_driver(frames):
    track = read_track(frames, person="left")
    assert track.fps == 25
    first, second, third, fourth = track.frames
    assert third is None
    assert [round(float(frame[0, 0])) for frame in (first, second, fourth)] == [96, 97, 99]
    largest = read_track(frames).frames
    assert largest[1][0, 0] == largest[0][0, 0] == 476
    driver = open_driver(frames, "body", fps=10, person="left")
    assert (driver.fps, driver.expected) == (Fraction(10), 4)
    assert len(driver.preview()) == 3
    assert any("no size" in note for note in driver.notes)


def test_a_folder_without_people_or_frames_is_no_driver(frames, tmp_path):
    for path in frames.glob("*.json"):
        path.write_text('{"people": []}')
    with pytest.raises(LandmarkError, match="no person in any of 4 files"):
        read_track(frames)
    (tmp_path / "none").mkdir()
    with pytest.raises(MediaError, match="no JSON files"):
        read_track(tmp_path / "none")
    (frames / "walk_9_keypoints.json").write_text("{")
    with pytest.raises(LandmarkError, match="walk_9"):
        read_track(frames)
