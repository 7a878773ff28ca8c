"""Landmarks into files that other commands read, and videos into clips to train on."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from animation import FRAMES
from commands import names_in
from films import NTSC
from paths import ANNA
from torch.utils.data import default_collate

from gfla_cli.config import preset
from gfla_cli.datasets.face_folders import FaceFolders, read_landmarks
from gfla_cli.io.image import read_image, write_image
from gfla_cli.io.video import probe
from gfla_cli.person.drawing import draw_face
from gfla_cli.person.keypoint_files import read_pose
from gfla_cli.person.track_files import read_track
from gfla_cli.pipelines.extraction import plan_extraction
from gfla_cli.pipelines.face_clips import plan_clips, tracked_ranges
from gfla_cli.training.tasks.clip import sequence_batches

pytestmark = pytest.mark.usefixtures("detections_remembered")


def test_a_body_becomes_a_pose_and_a_face_a_track_of_one_frame(gfla, head_videos, tmp_path):
    assert gfla("extract", ANNA, "--overlay", "-q").stdout == "anna.json\nanna_overlay.png\n"
    assert read_pose(tmp_path / "anna.json").present.sum() > 12
    drawn, plain = read_image(tmp_path / "anna_overlay.png"), read_image(ANNA)
    assert drawn.shape == plain.shape
    assert 0.002 < (np.abs(drawn.astype(int) - plain).max(axis=2) > 60).mean() < 0.2
    assert gfla("extract", head_videos / "face.png", "-o", "face.json").exit_code == 0
    track = read_track(tmp_path / "face.json")
    assert (track.kind, len(track.frames), track.size) == ("face", 1, (255, 221))
    assert gfla("extract", ANNA, "--task", "face", "-o", "anna-face.json").exit_code == 0
    assert read_track(tmp_path / "anna-face.json").frames[0].shape == (70, 3)


def test_a_video_becomes_a_track_and_a_video_with_lines(gfla, head_videos, tmp_path):
    result = gfla("extract", head_videos / "gaps.mp4", "-o", "gaps.json", "--overlay", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["written"] == ["gaps.json", "gaps_overlay.mp4"]
    assert "no face in 2 of 6 frames" in result.stderr
    track = read_track(tmp_path / "gaps.json")
    assert (track.kind, track.fps) == ("face", NTSC)
    assert [points is None for points in track.frames] == [False, False, True, True, False, False]
    assert probe(tmp_path / "gaps_overlay.mp4").frames == 6
    nobody = gfla("extract", head_videos / "wall.mp4", "--task", "face", "-o", "wall.json", "--overlay")
    assert nobody.exit_code == 1
    assert "wall.mp4: no face found" in nobody.stderr
    assert names_in(tmp_path) == ["gaps.json", "gaps_overlay.mp4"]


def test_a_folder_is_done_file_by_file_and_only_once(gfla, portrait, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    write_image(pictures / "a.png", portrait)
    write_image(pictures / "wall.png", np.full((90, 90, 3), 80, np.uint8))
    (pictures / "notes.txt").write_text("nothing")
    result = gfla("extract", pictures, "-o", "out", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["written"] == ["out/a.json"]
    assert list(report["failed"]) == [str(pictures / "wall.png")]
    again = gfla("extract", pictures, "-o", "out")
    assert "1 of 2 exist already" in again.stderr


def test_images_and_videos_of_one_name_have_results_of_their_own(portrait, tmp_path):
    write_image(tmp_path / "walk.jpg", portrait)
    write_image(tmp_path / "sit.png", portrait)
    (tmp_path / "walk.mp4").touch()
    jobs = plan_extraction(tmp_path, tmp_path / "out", overlay=True, overwrite=False)
    assert {job.source.name: [path.name for path in job.outputs] for job in jobs} == {
        "sit.png": ["sit.json", "sit_overlay.png"],
        "walk.jpg": ["walk.jpg.json", "walk.jpg_overlay.png"],
        "walk.mp4": ["walk.mp4.json", "walk.mp4_overlay.mp4"],
    }


def test_wrong_input_is_refused(gfla, head_videos, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments, code, said in (
        (["nothing.png"], 1, "no such file"),
        (["empty"], 1, "no images or videos"),
        ([ANNA, "-o", "anna.txt"], 2, ".json"),
        ([head_videos / "film.mp4", "--trim", "5:1"], 2, "not a time range"),
        ([head_videos / "film.mp4", "--fps", "fast"], 2, "frame rate"),
    ):
        result = gfla("extract", *arguments)
        assert result.exit_code == code, result.output
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 2


def test_a_face_is_drawn_where_it_is():
    points = np.array([[40, 30], [60, 50]], np.float32)[np.arange(68) % 2]
    drawn = draw_face(np.full((80, 100, 3), 250, np.uint8), points)
    changed = np.argwhere((drawn != 250).any(axis=2))
    assert changed.min(axis=0).tolist() == pytest.approx([30, 40], abs=4)
    assert changed.max(axis=0).tolist() == pytest.approx([50, 60], abs=4)


def test_irises_are_dots_of_a_drawing():
    plain = np.full((80, 100, 3), 250, np.uint8)
    face = np.full((68, 2), [10, 70], np.float32)
    face[1] = 12, 70
    drawn = draw_face(plain, np.concatenate([face, [[50, 30], [70, 32]]]))
    for x, y in ((50, 30), (70, 32)):
        assert (drawn[y, x] != 250).any()
    np.testing.assert_array_equal(draw_face(plain, face)[:60], plain[:60])
    np.testing.assert_array_equal(
        draw_face(plain, np.concatenate([face, np.full((2, 2), np.nan)])), draw_face(plain, face)
    )


# --- clips to train on -------------------------------------------------------------------------------------------


def test_videos_become_clips_that_training_reads(gfla, head_videos, tmp_path):
    result = gfla("data", "faces", head_videos / "film.mp4", "-o", "clips")
    assert result.stdout == "clips/film\n", result.output
    assert len(list((tmp_path / "clips" / "film").glob("*.jpg"))) == FRAMES
    image, points = read_image(tmp_path / "clips/film/00003.jpg"), read_landmarks(tmp_path / "clips/film/00003.txt")
    assert image.shape[0] == image.shape[1] <= 320
    assert (points > 0).all()
    assert (points < image.shape[0]).all()
    sample = FaceFolders(tmp_path / "clips", 64, 6)[0]
    (batch,) = sequence_batches(default_collate([sample]), preset("face-people"), 6, torch.device("cpu"))
    assert batch.structures.shape == (1, 6, 17, 64, 64)
    again = gfla("data", "faces", head_videos / "film.mp4", "-o", "clips")
    assert again.exit_code == 0


def test_videos_of_one_name_have_clips_of_their_own(gfla, head_videos, tmp_path):
    for name in ("talk.mp4", "talk.mov"):
        shutil.copy(head_videos / "film.mp4", tmp_path / name)
    result = gfla("data", "faces", tmp_path, "-o", "clips", "-q")
    assert result.stdout == "clips/talk.mov\nclips/talk.mp4\n", result.output
    assert names_in(tmp_path / "clips") == ["talk.mov", "talk.mp4"]


def test_a_video_may_be_named_like_the_second_clip_of_another(tmp_path):
    for name in ("talk.mp4", "talk-2.mp4", "take-1.mp4", "take-2.mp4"):
        (tmp_path / name).touch()
    assert [job.clip_name for job in plan_clips(tmp_path)] == ["take-1", "take-2", "talk-2.mp4", "talk"]


def test_a_video_without_a_face_gives_no_clip(gfla, head_videos, tmp_path):
    result = gfla("data", "faces", head_videos / "wall.mp4", "-o", "clips")
    assert result.exit_code == 1
    assert "no face can be tracked" in result.stderr
    assert names_in(tmp_path) == []


def test_a_clip_ends_where_the_face_is_lost_or_jumps():
    face = np.random.default_rng(0).normal(100, 20, (68, 3)).astype(np.float32)
    moved = face + 300
    found = tracked_ranges([None, *[face] * 5, None, *[face] * 3, *[moved] * 4])
    assert found == [range(1, 6), range(10, 14)]


def test_an_overlay_replaces_no_image_of_the_folder(gfla, portrait, tmp_path):
    write_image(tmp_path / "a.png", portrait)
    write_image(tmp_path / "a_overlay.png", portrait[:, ::-1])
    before = (tmp_path / "a_overlay.png").read_bytes()
    result = gfla("extract", ".", "-o", ".", "--overlay", "--overwrite", "--json")
    assert result.exit_code == 1
    assert list(json.loads(result.stdout)["failed"].values()) == ["a_overlay.png is an input, too"]
    assert (tmp_path / "a_overlay.png").read_bytes() == before


def test_a_second_run_over_a_folder_takes_none_of_its_own_overlays(gfla, portrait, head_videos, tmp_path):
    write_image(tmp_path / "a.png", portrait)
    shutil.copy(head_videos / "gaps.mp4", tmp_path / "walk.mp4")
    shutil.copy(head_videos / "gaps.mp4", tmp_path / "my_overlay.mp4")  # the name alone does not make it a result
    assert gfla("extract", ".", "-o", ".", "--overlay").exit_code == 0
    sources = {"a.png", "walk.mp4", "my_overlay.mp4"}
    for _ in range(2):
        jobs = plan_extraction(tmp_path, tmp_path, overlay=True, overwrite=True)
        assert {job.source.name for job in jobs} == sources
    assert {job.video.name for job in plan_clips(tmp_path)} == {"walk.mp4", "my_overlay.mp4"}


def test_a_batch_that_fails_leaves_no_empty_folder(gfla, tmp_path):
    (tmp_path / "walls").mkdir()
    write_image(tmp_path / "walls" / "a.png", np.full((90, 90, 3), 80, np.uint8))
    write_image(tmp_path / "walls" / "b.png", np.full((90, 90, 3), 80, np.uint8))
    assert gfla("extract", "walls", "-o", "out", "--overlay").exit_code == 1
    assert names_in(tmp_path) == ["walls"]
