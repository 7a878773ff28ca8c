"""Animation: a picture and a driver in, a clip out; faces and bodies, frame by frame, and what can go wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT
from films import BEEPS, children, make
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.bundles.bundle import save_bundle
from gfla_cli.config import preset
from gfla_cli.errors import DetectionError, UsageError
from gfla_cli.landmarks.face_points import mouth_opening
from gfla_cli.landmarks.kind import kind_of_picture
from gfla_cli.landmarks.tracks import Track, read_track, write_track
from gfla_cli.media.image import read_image, write_image
from gfla_cli.media.paste import Paster
from gfla_cli.media.video import VideoWriter, probe, read_frames
from gfla_cli.networks.build import build, initialise
from gfla_cli.pipelines.animate import Animator
from gfla_cli.pipelines.animate_files import parse_trim
from gfla_cli.pipelines.driver import open_driver
from gfla_cli.pipelines.staging import Staging

NTSC = Fraction(30000, 1001)
ANNA = ROOT / "assets" / "anna.jpg"
FRAMES = 8


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Untrained little models of the three kinds that animate."""
    folder = tmp_path_factory.mktemp("shelf")
    torch.manual_seed(0)
    for task in ("face", "body", "pose"):
        config = replace(preset(f"{task}-people"), image_size=(64, 64), heatmap_sigma=2, width=8, flow_width=8)
        network = build(config)
        initialise(network, "kaiming")
        save_bundle(folder / f"tiny-{task}", config, network.state_dict())
    return folder


@pytest.fixture(scope="module")
def portrait():
    """A rendered head, (255, 221, 3): both sides are odd."""
    return read_image(ANNA)[0:255, 165:386].copy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, portrait):
    """Films of a head that moves sideways: with sound, with gaps, and one of a wall."""
    folder = tmp_path_factory.mktemp("films")
    write_image(folder / "face.png", portrait)
    wall = np.full_like(portrait, 180)
    moving = [np.roll(portrait, 2 * k, axis=1) for k in range(FRAMES)]
    film(folder / "silent.mp4", moving)
    sound = ["-f", "lavfi", "-i", f"{BEEPS}:d=1"]
    make(folder / "film.mp4", "-i", str(folder / "silent.mp4"), *sound, "-c:v", "copy", "-c:a", "aac", "-shortest")
    film(folder / "gaps.mp4", [moving[0], moving[1], wall, wall, moving[4], moving[5]])
    film(folder / "wall.mp4", [wall] * 4)
    return folder


@pytest.fixture(scope="module")
def track(folder):
    """The landmarks of film.mp4, so that tests of other things need no detector."""
    frames = list(open_driver(folder / "film.mp4", "face").frames())
    path = folder / "film.json"
    write_track(path, Track("face", NTSC, (256, 222), [frame.points for frame in frames]))
    return path


def film(path, frames, fps=NTSC):
    with VideoWriter(path, fps) as video:
        for frame in frames:
            video.write(frame)


@pytest.fixture
def gfla(shelf, folder, monkeypatch, tmp_path):
    monkeypatch.setenv("GFLA_MODELS", str(shelf))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def animate(gfla, folder):
    """`gfla animate` of the face with the little model, over one of the films."""

    def run(driving, *arguments, source="face.png", model="tiny-face"):
        return gfla("animate", folder / source, folder / driving, "--model", model, *arguments)

    return run


@pytest.fixture
def face_animator(shelf):
    return Animator(shelf / "tiny-face", precision="fp32")


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def refused(result, code, *words):
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if not line.startswith("gfla: tiny-")]
    assert len(lines) == 2, result.stderr
    assert lines[0].startswith("gfla: ")
    assert lines[1].startswith("      ")
    for word in words:
        assert word in result.stderr
    return True


# --- the clip ----------------------------------------------------------------------------------------------------


def test_the_clip_has_the_drivers_rate_length_and_sound_and_the_sources_size(animate, folder, tmp_path):
    result = animate("film.mp4", "-o", "out.mp4", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["written"] == ["out.mp4"]
    assert (report["task"], report["frames"], report["missing"]) == ("face", FRAMES, 0)
    assert set(report["seconds"]) == {"decode", "landmarks", "structure", "network", "encode"}
    info = probe(tmp_path / "out.mp4")
    assert (info.fps, info.frames, info.audio_codec) == (NTSC, FRAMES, "aac")
    assert info.size == (256, 222)  # of a 255 x 221 picture; yuv420p has even sides
    source, made = read_image(folder / "face.png"), next(read_frames(tmp_path / "out.mp4"))
    corner = np.abs(made[:12, :12].astype(int) - source[:12, :12]).mean()
    assert corner < 8  # the picture around the frame stays
    assert names_in(tmp_path) == ["out.mp4"]


def test_the_clip_is_named_after_both_inputs_and_may_be_the_frame_alone(animate, tmp_path):
    result = animate("film.mp4", "--no-paste-back", "--quiet")
    assert result.stdout == "face--film.mp4\n"
    assert result.stderr == ""
    assert probe(tmp_path / "face--film.mp4").size == (64, 64)


def test_source_driver_and_result_side_by_side(animate, track, tmp_path):
    assert animate("film.mp4", "-o", "out.mp4", "--concat").stdout == "out.mp4\nout_concat.mp4\n"
    assert probe(tmp_path / "out_concat.mp4").size == (256, 221 + 222 + 221)
    assert probe(tmp_path / "out_concat.mp4").has_audio


def test_saved_landmarks_give_the_identical_clip(animate, face_animator, folder, tmp_path):
    assert animate("film.mp4", "-o", "out.mp4", "--save-landmarks", "film.json").exit_code == 0
    saved = read_track(tmp_path / "film.json")
    assert (saved.kind, saved.fps, len(saved.frames)) == ("face", NTSC, FRAMES)
    clips = [
        [frame.image for frame in face_animator.animate(folder / "face.png", driving)]
        for driving in (folder / "film.mp4", tmp_path / "film.json")
    ]
    np.testing.assert_array_equal(clips[0], clips[1])
    assert not np.array_equal(clips[0][0], clips[0][-1])


def test_a_gif_comes_out_and_goes_in(animate, folder, tmp_path):
    assert animate("film.mp4", "-o", "out.gif").exit_code == 0
    info = probe(tmp_path / "out.gif")
    assert info.frames == pytest.approx(FRAMES, abs=1)
    assert info.size == (255, 221)
    make(folder / "film.gif", "-i", str(folder / "silent.mp4"))
    assert animate("film.gif", "-o", "again.mp4").exit_code == 0


def test_a_still_driver_gives_one_frame(animate, tmp_path):
    assert animate("face.png", "-o", "out.mp4").exit_code == 0
    assert probe(tmp_path / "out.mp4").frames == 1


def test_a_stretch_at_another_rate(animate, track, tmp_path):
    for driving in ("film.mp4", "film.json"):
        assert animate(driving, "-o", "out.mp4", "--trim", ":0.2", "--fps", "15", "--overwrite").exit_code == 0
        info = probe(tmp_path / "out.mp4")
        assert (info.fps, info.frames) == (15, 3)


def test_the_frames_are_made_one_by_one(face_animator, folder):
    with face_animator.animate(folder / "face.png", folder / "film.mp4", pictures=True) as clip:
        first = next(clip)
        assert first.image.shape == (64, 64, 3)
        assert first.driving.shape == (256, 222, 3)
        assert first.points.shape == (68, 3)
        assert clip.expected == FRAMES
    assert not children()
    assert list(clip) == []


def test_the_first_seconds_are_looked_at_once(folder, monkeypatch):
    """The preview tells how the driver moves; its landmarks are used again."""
    driver = open_driver(folder / "film.mp4", "face")
    seen = driver.preview()
    monkeypatch.setattr(driver, "_track", lambda image: pytest.fail("looked again"))
    frames = list(driver.frames())
    assert len(frames) == len(seen) == FRAMES
    np.testing.assert_array_equal(frames[3].points, seen[3])


def test_motion_is_relative_to_the_source_unless_absolute(face_animator, folder, track, monkeypatch):
    """A driver whose mouth is wide open all the time opens nobody's mouth, except with `absolute`."""
    wide = read_track(track)
    for points in wide.frames:
        points[[*range(55, 60), *range(65, 68)], 1] += 20
    write_track(folder / "wide.json", wide, overwrite=True)
    drawn = []
    monkeypatch.setattr(
        "gfla_cli.pipelines.actors.face_structure",
        lambda points, size, edges: drawn.append(points) or np.zeros((16, *size), np.float32),
    )
    openings = {}
    for absolute in (False, True):
        drawn.clear()
        list(face_animator.animate(folder / "face.png", folder / "wide.json", staging=Staging(absolute=absolute)))
        openings[absolute] = [mouth_opening(points) for points in drawn]  # the source's own comes first
    assert openings[False][-1] == pytest.approx(openings[False][0], abs=0.02)
    assert openings[True][-1] > openings[True][0] + 0.1


def test_the_benchmark_tells_what_each_stage_takes(gfla, folder, tmp_path):
    result = gfla("benchmark", "animate", folder / "face.png", folder / "film.mp4", "--model", "tiny-face", "--json")
    assert result.exit_code == 0, result.output
    speed = json.loads(result.stdout)
    assert set(speed["milliseconds"]) == {"decode", "landmarks", "structure", "network", "encode"}
    assert 0 < speed["network_share"] < 1
    assert names_in(tmp_path) == []


# --- bodies ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dance(folder):
    whole = cv2.resize(read_image(ANNA), (256, 256), interpolation=cv2.INTER_AREA)
    write_image(folder / "body.png", whole)
    film(folder / "dance.mp4", [np.roll(whole, 2 * k, axis=1) for k in range(4)], fps=25)
    return "dance.mp4"


@pytest.mark.parametrize("model", ["tiny-body", "tiny-pose"])
def test_bodies_move_by_a_sequence_model_or_frame_by_frame(animate, dance, tmp_path, model):
    result = animate(dance, "-o", "out.mp4", "--save-landmarks", "l.json", "--json", source="body.png", model=model)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["task"], report["frames"]) == ("body", 4)
    assert probe(tmp_path / "out.mp4").size == (256, 256)
    saved = read_track(tmp_path / "l.json")
    assert (saved.kind, saved.frames[0].shape) == ("body", (18, 3))


def test_face_or_body_is_picked_by_what_the_picture_shows(portrait, dance, folder):
    assert kind_of_picture(portrait, "face.png") == "face"
    anna = read_image(ANNA)
    assert kind_of_picture(anna, "anna.jpg") == "body"
    assert kind_of_picture(anna[: anna.shape[0] // 2, 120:400], "half.jpg") == "face"
    with pytest.raises(DetectionError, match=r"wall\.png: neither"):
        kind_of_picture(np.full((200, 200, 3), 90, np.uint8), "wall.png")


def test_the_task_decides_about_the_model(gfla, folder, dance, track):
    wrong = gfla("animate", folder / "face.png", folder / "film.mp4", "--task", "body", "--model", "tiny-face")
    assert refused(wrong, 2, "model tiny-face is for a face", "--task face")
    mixed = gfla("animate", folder / "body.png", track, "--model", "tiny-body")
    assert refused(mixed, 2, "holds a face")


# --- frames without anybody --------------------------------------------------------------------------------------


def test_frames_without_a_face_are_held_and_counted(animate, tmp_path):
    result = animate("gaps.mp4", "-o", "out.mp4", "--no-paste-back", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert (report["frames"], report["missing"]) == (6, 2)
    assert "no face in 2 of 6 frames (held; first at 0.07 s)" in result.stderr
    frames = list(read_frames(tmp_path / "out.mp4"))
    assert np.abs(frames[1].astype(int) - frames[2]).mean() < 2


def test_they_may_be_skipped_or_be_the_end_of_it(animate, tmp_path):
    result = animate("gaps.mp4", "-o", "out.mp4", "--on-missing", "skip", "--json")
    assert json.loads(result.stdout)["frames"] == 4
    failed = animate("gaps.mp4", "-o", "fail.mp4", "--on-missing", "fail")
    assert refused(failed, 1, "gaps.mp4, frame 2 (0.07 s): no face", "--on-missing")
    assert names_in(tmp_path) == ["out.mp4"]


def test_skipped_frames_leave_no_sound_behind(animate, tmp_path):
    result = animate("film.mp4", "-o", "out.mp4", "--on-missing", "skip")
    assert "no sound" in result.stderr
    assert not probe(tmp_path / "out.mp4").has_audio


# --- what can go wrong -------------------------------------------------------------------------------------------


def test_a_driver_without_anybody_is_refused(animate, tmp_path):
    assert refused(animate("wall.mp4", "-o", "out.mp4"), 1, "wall.mp4: no face found")
    assert names_in(tmp_path) == []


def test_a_source_without_anybody_is_refused(animate, folder, tmp_path):
    write_image(folder / "wall.png", np.full((120, 120, 3), 90, np.uint8))
    assert refused(animate("film.mp4", source="wall.png"), 1, "wall.png: no face found")


def test_of_two_faces_the_largest_is_taken_and_it_is_said(animate, folder, portrait):
    small = cv2.resize(portrait, (160, 184), interpolation=cv2.INTER_AREA)
    pair = np.full((255, 420, 3), 128, np.uint8)
    pair[:, :221] = portrait
    pair[:184, 240:400] = small
    write_image(folder / "pair.png", pair, overwrite=True)
    result = animate("film.mp4", "-o", "out.mp4", source="pair.png")
    assert result.exit_code == 0
    assert "2 people found" in result.stderr
    chosen = animate("film.mp4", "-o", "right.mp4", "--person", "right", source="pair.png")
    assert "2 people" not in chosen.stderr
    assert refused(animate("film.mp4", "--person", "3", source="pair.png"), 1, "person 3")


def test_a_truncated_film_gives_what_it_has_and_says_so(animate, folder, portrait, tmp_path):
    film(folder / "whole.mp4", [np.roll(portrait, k % 9, axis=1) for k in range(60)])
    whole = (folder / "whole.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    result = animate("cut.mp4", "-o", "out.mp4")
    assert (result.exit_code, result.stdout) == (1, "out.mp4\n"), result.output
    assert "cut off or damaged" in result.stderr
    assert 2 < probe(tmp_path / "out.mp4").frames < 60


def test_films_that_are_none_are_named_before_a_model_is_loaded(animate, folder):
    make(folder / "sound.m4a", "-f", "lavfi", "-i", f"{BEEPS}:d=1")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("<html>")
    wrong = {"sound.m4a": "sound", "empty.mp4": "empty", "text.mp4": "text", "no.mp4": "no such file"}
    for name, said in wrong.items():
        assert refused(animate(name, model="no-such-model"), 1, name, said)
    assert refused(animate("film.mp4", source="no.png", model="no-such-model"), 1, "no.png: no such file")
    (folder / "bad.json").write_text("{}")
    assert refused(animate("bad.json", model="no-such-model"), 1, "bad.json")


def test_outputs_that_cannot_be_are_named_before_a_model_is_loaded(animate, tmp_path):
    (tmp_path / "there.mp4").write_bytes(b"x")
    for output, said in (("out.wmv", ".mp4"), ("there.mp4", "exists"), ("none/out.mp4", "does not exist")):
        assert refused(animate("film.mp4", "-o", output, model="no-such-model"), 2, said)
    landmarks = animate("film.mp4", "-o", "out.mp4", "--save-landmarks", "l.txt", model="no-such-model")
    assert refused(landmarks, 2, "l.txt")
    assert refused(animate("film.mp4", "-o", "out.mp4", model="no-such-model"), 1, "unknown model")


@pytest.mark.parametrize("text", ["3", "a:b", "2:1", "-1:3", "1:1", "nan:"])
def test_a_stretch_of_time_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="stretch"):
        parse_trim(text)


def test_stretches_of_time():
    assert parse_trim("2:5.5") == (2, 5.5)
    assert parse_trim(":3") == (0, 3)
    assert parse_trim("4:") == (4, None)
    assert parse_trim(None) is None


def test_an_interrupted_clip_leaves_nothing(gfla, folder, track, tmp_path, monkeypatch):
    from gfla_cli.pipelines import animate_files

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(animate_files, "_side_by_side", interrupt)
    result = gfla("animate", folder / "face.png", track, "-o", "out.mp4", "--model", "tiny-face", "--concat")
    assert result.exit_code == 130
    assert names_in(tmp_path) == []
    assert not children()


# --- pasting back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("box", [(10, 20, 74, 84), (-20, -10, 44, 54), (60, 60, 140, 140)])
def test_a_frame_goes_back_where_it_came_from(box):
    picture = np.full((100, 120, 3), 50, np.uint8)
    pasted = Paster(picture, box)(np.full((32, 32, 3), 200, np.uint8))
    left, top, right, bottom = box
    outside = np.ones((100, 120), bool)
    outside[max(top, 0) : bottom, max(left, 0) : right] = False
    assert (pasted[outside] == 50).all()
    middle = min((top + bottom) // 2, 90)
    assert (pasted[middle, min((left + right) // 2, 110)] == 200).all()
    assert abs(int(pasted[middle, max(left, 1), 0]) - (200 if left < 0 else 50)) < 25
    assert (picture == 50).all()
    same = Paster(picture, box)(np.full((32, 32, 3), 50, np.uint8))
    np.testing.assert_array_equal(same, picture)


# --- figures -----------------------------------------------------------------------------------------------------


def test_a_frame_whose_tones_are_off_leaves_no_rectangle():
    rng = np.random.default_rng(0)
    picture = np.full((160, 160, 3), 250, np.uint8)
    picture[60:100, 60:100] = rng.integers(0, 120, (40, 40, 3))
    frame = (picture[20:140, 20:140].astype(int) - [14, 10, 6]).clip(0).astype(np.uint8)
    pasted = Paster(picture, (20, 20, 140, 140))(frame)
    around = np.ones((160, 160), bool)
    around[58:102, 58:102] = False
    assert np.abs(pasted.astype(int) - picture)[around].max() <= 3
    assert np.abs(pasted.astype(int) - picture)[62:98, 62:98].mean() < 4


def test_figures_that_do_not_exist_do_not_count():
    from gfla_cli.pipelines.evaluate_clips import ClipScore

    score = ClipScore("m", [{"landmarks": 0.02, "found": 1.0}, {"landmarks": float("nan"), "found": 0.0}])
    assert score.means() == {"landmarks": 0.02, "found": 0.5}
    assert ClipScore("m", [{"landmarks": float("nan")}]).to_json()["landmarks"] is None


@pytest.mark.shared
@pytest.mark.parametrize("task", ["face", "body"])
def test_models_are_measured_beside_holding_the_source(shelf, shared, tmp_path, task):
    from gfla_cli.pipelines.evaluate_clips import HELD, REAL, evaluate_clips

    scores = evaluate_clips([shelf / f"tiny-{task}"], shared / "humans", vgg=None, clips=1, frames=2, cache=tmp_path)
    assert [score.name for score in scores] == [HELD, REAL, f"tiny-{task}"]
    held, real, made = (score.means() for score in scores)
    assert real["ssim"] == pytest.approx(1)
    assert real["l1"] == 0 < held["l1"] < made["l1"]
