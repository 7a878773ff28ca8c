"""Animation: an image and a driver in, a video out; faces and bodies, frame by frame."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest
from animation import FRAMES
from commands import names_in, refused
from films import NTSC, children, make
from paths import ANNA

from gfla_cli.errors import DetectionError, MediaError
from gfla_cli.io.image import read_image
from gfla_cli.io.video import probe, read_frames
from gfla_cli.person.detect_face import kind_of_image
from gfla_cli.person.face import mouth_opening, with_irises
from gfla_cli.person.track_files import read_track, write_track
from gfla_cli.pipelines.animation import AnimationSettings, Animator, read_source
from gfla_cli.pipelines.driver import Stopwatch, open_driver

pytestmark = pytest.mark.usefixtures("detections_remembered")


def test_the_clip_has_the_drivers_rate_length_and_sound_and_the_sources_size(animate, head_videos, tmp_path):
    result = animate("film.mp4", "-o", "out.mp4", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["written"] == ["out.mp4"]
    assert (report["task"], report["frames"], report["missing"]) == ("face", FRAMES, 0)
    assert (report["width"], report["height"]) == (221, 255)
    assert set(report["seconds"]) == {"decode", "landmarks", "structure", "network", "compose", "encode"}
    info = probe(tmp_path / "out.mp4")
    assert (info.fps, info.frames, info.audio_codec) == (NTSC, FRAMES, "aac")
    assert info.size == (256, 222)  # of a 255 x 221 image; yuv420p has even sides
    source, made = read_image(head_videos / "face.png"), next(read_frames(tmp_path / "out.mp4"))
    corner = np.abs(made[:12, :12].astype(int) - source[:12, :12]).mean()
    assert corner < 8  # the image around the frame stays
    assert names_in(tmp_path) == ["out.mp4"]


def test_the_clip_is_named_after_both_inputs_and_may_be_the_frame_alone(animate, tmp_path):
    result = animate("film.mp4", "--no-paste-back", "--size", "64", "--quiet")
    assert result.stdout == "face--film.mp4\n"
    assert result.stderr == ""
    assert probe(tmp_path / "face--film.mp4").size == (64, 64)


def test_source_driver_and_result_side_by_side(animate, head_track, tmp_path):
    assert animate("film.mp4", "-o", "out.mp4", "--concat").stdout == "out.mp4\nout_concat.mp4\n"
    assert probe(tmp_path / "out_concat.mp4").size == (256, 221 + 222 + 221)
    assert probe(tmp_path / "out_concat.mp4").audio_codec == "aac"


def test_saved_landmarks_give_the_identical_clip(animate, face_animator, head_videos, tmp_path):
    assert animate("film.mp4", "-o", "out.mp4", "--save-landmarks", "film.json").exit_code == 0
    saved = read_track(tmp_path / "film.json")
    assert (saved.kind, saved.fps, len(saved.frames)) == ("face", NTSC, FRAMES)
    clips = [
        [frame.image for frame in face_animator.animate(head_videos / "face.png", driving)]
        for driving in (head_videos / "film.mp4", tmp_path / "film.json")
    ]
    np.testing.assert_array_equal(clips[0], clips[1])
    assert not np.array_equal(clips[0][0], clips[0][-1])


def test_a_gif_comes_out_and_goes_in(animate, head_videos, tmp_path):
    assert animate("film.mp4", "-o", "out.gif").exit_code == 0
    info = probe(tmp_path / "out.gif")
    assert info.frames == pytest.approx(FRAMES, abs=1)
    assert info.size == (255, 221)
    gif = make(tmp_path / "film.gif", "-i", str(head_videos / "silent.mp4"))
    assert animate(gif, "-o", "again.mp4").exit_code == 0


def test_a_still_driver_gives_one_frame(animate, tmp_path):
    assert animate("face.png", "-o", "out.mp4").exit_code == 0
    assert probe(tmp_path / "out.mp4").frames == 1


def test_a_time_range_at_another_rate(animate, head_track, tmp_path):
    for driving in ("film.mp4", "film.json"):
        assert animate(driving, "-o", "out.mp4", "--trim", ":0.2", "--fps", "15", "--overwrite").exit_code == 0
        info = probe(tmp_path / "out.mp4")
        assert (info.fps, info.frames) == (15, 3)


def test_the_frames_are_made_one_by_one(face_animator, head_videos):
    with face_animator.animate(head_videos / "face.png", head_videos / "film.mp4", images=True) as clip:
        first = next(clip)
        assert first.image.shape == clip.still.shape == (255, 221, 3)
        assert first.driving.shape == (256, 222, 3)
        assert first.points.shape == (70, 3)
        assert clip.expected == FRAMES
    assert not children()
    assert list(clip) == []


def test_the_first_seconds_are_looked_at_once(head_videos, monkeypatch):
    """The landmarks of the preview are used again."""
    driver = open_driver(head_videos / "film.mp4", "face")
    seen = driver.preview()
    monkeypatch.setattr(driver, "_track", lambda *_: pytest.fail("looked again"))
    monkeypatch.setattr("gfla_cli.pipelines.driver.read_frames", lambda *_: pytest.fail("decoded again"))
    frames = list(driver.frames())
    assert len(frames) == len(seen) == FRAMES
    np.testing.assert_array_equal(frames[3].points, seen[3])


def test_motion_is_relative_to_the_source_unless_absolute(
    face_animator, head_videos, head_track, tmp_path, monkeypatch
):
    """A driver whose mouth is wide open all the time does not open the source's mouth, except with `absolute`."""
    wide = read_track(head_track)
    for points in wide.frames:
        points[[*range(55, 60), *range(65, 68)], 1] += 20
    write_track(tmp_path / "wide.json", wide)
    drawn = []
    monkeypatch.setattr(
        "gfla_cli.conditioning.structure.face_structure",
        lambda points, size, edges, channels: drawn.append(points) or np.zeros((channels, *size), np.float32),
    )
    openings = {}
    for absolute in (False, True):
        drawn.clear()
        list(
            face_animator.animate(
                head_videos / "face.png", tmp_path / "wide.json", settings=AnimationSettings(absolute=absolute)
            )
        )
        openings[absolute] = [mouth_opening(points) for points in drawn]  # the source's own comes first
    assert openings[False][-1] == pytest.approx(openings[False][0], abs=0.02)
    assert openings[True][-1] > openings[True][0] + 0.1


def test_the_irises_of_a_driver_may_be_known_in_some_frames_only(face_animator, head_videos, head_track, tmp_path):
    track = read_track(head_track)
    seeing = with_irises(track.frames[0])
    seeing[68:] = seeing[[37, 43]]
    track.frames[:] = [seeing[:68], seeing, seeing[:68]]
    write_track(tmp_path / "some.json", track)
    assert len(list(face_animator.animate(head_videos / "face.png", tmp_path / "some.json"))) == 3


def test_the_benchmark_reports_the_time_of_each_stage(gfla, animators, head_videos, tmp_path):
    clip = head_videos / "face.png", head_videos / "film.mp4"
    result = gfla("benchmark", "animate", *clip, "--model", animators / "tiny-face", "--json")
    assert result.exit_code == 0, result.output
    speed = json.loads(result.stdout)
    assert set(speed["milliseconds"]) == {"decode", "landmarks", "structure", "network", "compose", "encode"}
    assert 0 < speed["network_share"] < 1
    assert (speed["frames"], speed["width"], speed["height"]) == (FRAMES, 221, 255)
    assert all(speed[name] > 0 for name in ("cold_seconds", "frames_per_second", "cpu_milliseconds"))
    assert names_in(tmp_path) == []


def test_stages_in_turns_never_run_at_the_same_time():
    watch = Stopwatch(in_turns=True)
    running, most = set(), []

    def work(stage):
        for _ in range(20):
            with watch.measure(stage):
                running.add(stage)
                most.append(len(running))
                time.sleep(0.001)
                running.remove(stage)

    threads = [threading.Thread(target=work, args=(stage,)) for stage in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert all(watch.seconds[stage] >= 0.02 for stage in "abc")


@pytest.mark.parametrize("model", ["tiny-body", "tiny-pose"])
def test_bodies_move_by_a_sequence_model_or_frame_by_frame(animate, dance, tmp_path, model):
    result = animate(dance, "-o", "out.mp4", "--save-landmarks", "l.json", "--json", source="body.png", model=model)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["task"], report["frames"]) == ("body", 4)
    assert probe(tmp_path / "out.mp4").size == (256, 256)
    saved = read_track(tmp_path / "l.json")
    assert (saved.kind, saved.frames[0].shape) == ("body", (18, 4))


def test_a_pose_model_refines_the_head_in_every_frame(animators, head_videos, dance):
    body = Animator(animators / "tiny-pose", precision="fp32")
    clips = []
    for near in (True, False):
        frames = body.animate(
            head_videos / "body.png", head_videos / dance, settings=AnimationSettings(refine_head=near)
        )
        clips.append(np.stack([frame.image for frame in frames]).astype(int))
    changed = np.abs(clips[0] - clips[1]).max(axis=(0, 3)) > 1  # body and head in one batch, which rounds differently
    height = len(changed)
    assert changed[: height // 3].any()
    assert not changed[height * 2 // 3 :].any()
    assert all((near != far).any() for near, far in zip(*clips, strict=True))


def test_face_or_body_is_picked_by_what_the_image_shows(portrait):
    assert kind_of_image(portrait, "face.png") == "face"
    anna = read_image(ANNA)
    assert kind_of_image(anna, "anna.jpg") == "body"
    assert kind_of_image(anna[: anna.shape[0] // 2, 120:400], "half.jpg") == "face"
    with pytest.raises(DetectionError, match=r"wall\.png: neither"):
        kind_of_image(np.full((200, 200, 3), 90, np.uint8), "wall.png")


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
    assert probe(tmp_path / "out.mp4").audio_codec is None


def test_a_video_as_the_source_gives_its_first_frame(animate, head_track, head_videos, tmp_path):
    result = animate("film.json", "-o", "out.mp4", source="film.mp4")
    assert result.exit_code == 0, result.output
    assert "film.mp4: a video; its first frame is animated" in result.stderr
    first = next(read_frames(head_videos / "film.mp4"))
    assert np.array_equal(read_source(head_videos / "film.mp4"), first)
    assert probe(tmp_path / "out.mp4").size == first.shape[:2]


def test_an_animation_as_the_source_gives_its_first_frame_with_a_note(head_videos, tmp_path):
    gif = make(tmp_path / "head.gif", "-i", str(head_videos / "silent.mp4"))
    notes = []
    assert read_source(gif, notes).shape == (256, 222, 3)
    assert notes == [f"{gif}: a video; its first frame is animated"]


def test_a_source_that_is_neither_image_nor_video_keeps_its_message(tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    with pytest.raises(MediaError, match="broken") as as_image:
        read_image(broken)
    with pytest.raises(MediaError) as as_source:
        read_source(broken)
    assert str(as_source.value) == str(as_image.value)
