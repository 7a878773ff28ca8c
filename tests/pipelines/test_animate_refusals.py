"""Animation of what cannot be animated: refused before any work, in one line, with nothing left behind."""

from __future__ import annotations

import shutil
import time

import cv2
import numpy as np
import pytest
from commands import names_in, refused
from films import BEEPS, NTSC, children, film, make

from gfla_cli.errors import DetectionError, UsageError
from gfla_cli.io.image import write_image
from gfla_cli.io.video import parse_trim, probe
from gfla_cli.pipelines.driver import DrivenFrame, _VideoDriver

pytestmark = pytest.mark.usefixtures("detections_remembered")


def test_the_task_decides_about_the_model(animate, dance, head_track):
    wrong = animate("film.mp4", "--task", "body")
    assert refused(wrong, 2, "model tiny-face is for a face", "--task face")
    mixed = animate(head_track, source="body.png", model="tiny-body")
    assert refused(mixed, 2, "holds a face")


def test_a_driver_without_a_person_is_refused(animate, tmp_path):
    assert refused(animate("wall.mp4", "-o", "out.mp4"), 1, "wall.mp4: no face found")
    assert names_in(tmp_path) == []


def test_a_source_without_a_person_is_refused(animate, tmp_path):
    write_image(tmp_path / "wall.png", np.full((120, 120, 3), 90, np.uint8))
    assert refused(animate("film.mp4", source=tmp_path / "wall.png"), 1, "wall.png: no face found")


def test_a_source_without_a_face_ends_the_look_at_the_driver(face_animator, head_videos, tmp_path, monkeypatch):
    film(tmp_path / "long.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 400, NTSC)
    seen = []

    def track(driver, number, image):
        seen.append(number)
        time.sleep(0.02)
        return DrivenFrame(number, None, None)

    monkeypatch.setattr(_VideoDriver, "_track", track)
    with pytest.raises(DetectionError, match=r"wall\.mp4: no face"):
        face_animator.animate(head_videos / "wall.mp4", tmp_path / "long.mp4")
    assert len(seen) < 400


def test_of_two_faces_the_largest_is_taken_and_it_is_said(animate, portrait, tmp_path):
    small = cv2.resize(portrait, (160, 184), interpolation=cv2.INTER_AREA)
    pair = np.full((255, 420, 3), 128, np.uint8)
    pair[:, :221] = portrait
    pair[:184, 240:400] = small
    write_image(tmp_path / "pair.png", pair)
    result = animate("film.mp4", "-o", "out.mp4", source=tmp_path / "pair.png")
    assert result.exit_code == 0
    assert "2 people found" in result.stderr
    chosen = animate("film.mp4", "-o", "right.mp4", "--person", "right", source=tmp_path / "pair.png")
    assert "2 people" not in chosen.stderr
    assert refused(animate("film.mp4", "--person", "3", source=tmp_path / "pair.png"), 1, "person 3")


def test_a_truncated_video_gives_what_it_has_and_is_reported(animate, portrait, tmp_path):
    film(tmp_path / "whole.mp4", [np.roll(portrait, k % 9, axis=1) for k in range(60)], NTSC)
    whole = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    result = animate(tmp_path / "cut.mp4", "-o", "out.mp4")
    assert (result.exit_code, result.stdout) == (1, "out.mp4\n"), result.output
    assert "cut off or damaged" in result.stderr
    assert 2 < probe(tmp_path / "out.mp4").frames < 60


def test_wrong_input_files_are_refused_before_a_model_is_loaded(animate, tmp_path):
    make(tmp_path / "sound.m4a", "-f", "lavfi", "-i", f"{BEEPS}:d=1")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("<html>")
    wrong = {"sound.m4a": "sound", "empty.mp4": "empty", "text.mp4": "text", "no.mp4": "no such file"}
    for name, said in wrong.items():
        assert refused(animate(tmp_path / name, model="no-such-model"), 1, name, said)
    assert refused(animate("film.mp4", source="no.png", model="no-such-model"), 1, "no.png: no such file")
    (tmp_path / "bad.json").write_text("{}")
    assert refused(animate(tmp_path / "bad.json", model="no-such-model"), 1, "bad.json")


def test_wrong_outputs_are_refused_before_a_model_is_loaded(animate, tmp_path):
    (tmp_path / "there.mp4").write_bytes(b"x")
    for output, said in (
        ("out.wmv", ".mp4"),
        ("there.mp4", "exists"),
        ("there.mp4/out.mp4", "is a file, not a folder"),
    ):
        assert refused(animate("film.mp4", "-o", output, model="no-such-model"), 2, said)
    landmarks = animate("film.mp4", "-o", "out.mp4", "--save-landmarks", "l.txt", model="no-such-model")
    assert refused(landmarks, 2, "l.txt")
    assert refused(animate("film.mp4", "-o", "out.mp4", model="no-such-model"), 1, "unknown model")


def test_no_output_takes_the_place_of_an_input(animate, head_track, head_videos, tmp_path):
    driver, film = tmp_path / "driver.json", tmp_path / "out_concat.mp4"
    shutil.copy(head_track, driver)
    shutil.copy(head_videos / "film.mp4", film)
    fixed = {"model": "no-such-model"}
    assert refused(animate(film, "-o", "out_concat.mp4", "--overwrite", **fixed), 2, "out_concat.mp4 is an input")
    assert refused(animate(film, "-o", "out.mp4", "--concat", "--overwrite", **fixed), 2, "out_concat.mp4 is an input")
    landmarks = animate(driver, "-o", "out.mp4", "--save-landmarks", "driver.json", "--overwrite", **fixed)
    assert refused(landmarks, 2, "driver.json is an input")


@pytest.mark.parametrize("text", ["3", "a:b", "2:1", "-1:3", "1:1", "nan:"])
def test_a_wrong_time_range_is_refused(text):
    with pytest.raises(UsageError, match="not a time range"):
        parse_trim(text)


def test_time_ranges():
    assert parse_trim("2:5.5") == (2, 5.5)
    assert parse_trim(":3") == (0, 3)
    assert parse_trim("4:") == (4, None)
    assert parse_trim(None) is None


def test_an_interrupted_clip_leaves_nothing(animate, head_track, tmp_path, monkeypatch):
    from gfla_cli.pipelines import animation_jobs

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(animation_jobs, "_side_by_side", interrupt)
    result = animate(head_track, "-o", "out.mp4", "--concat")
    assert result.exit_code == 130
    assert names_in(tmp_path) == []
    assert not children()
