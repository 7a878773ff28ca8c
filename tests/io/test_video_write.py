"""Written videos: colours, rate and sound as they should be, and files that appear complete or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
from films import H264, NTSC, children, film, frame, make, pictures
from paths import ROOT

from gfla_cli.errors import MediaError, UsageError
from gfla_cli.io import ffmpeg
from gfla_cli.io.video import Sound, VideoWriter, probe, read_frames


def test_colours_survive_reading_and_writing(tmp_path):
    coloured = np.zeros((64, 96, 3), np.uint8)
    coloured[:32, :32], coloured[:32, 32:64], coloured[:32, 64:] = (200, 30, 40), (30, 180, 60), (40, 50, 190)
    coloured[32:] = np.linspace(0, 255, 96).astype(np.uint8)[None, :, None]
    for suffix in (".mp4", ".webm", ".gif"):
        with VideoWriter(tmp_path / f"c{suffix}", 25) as video:
            for _ in range(3):
                video.write(coloured)
        back = next(read_frames(tmp_path / f"c{suffix}")).astype(int)
        inside = np.abs(back - coloured)[4:28, [4, 16, 28, 36, 48, 60, 68, 80, 92]]
        assert inside.max() <= 8
        assert np.abs(back - coloured).mean() < 4


def test_odd_sizes_are_padded_not_stretched(tmp_path):
    picture = (
        np.random.default_rng(0)
        .integers(0, 255, (8, 11, 1))
        .astype(np.uint8)
        .repeat(3, 2)
        .repeat(9, 0)
        .repeat(9, 1)[:71, :99]
    )
    with VideoWriter(tmp_path / "out.mp4", 25) as video:
        video.write(picture)
    back = next(read_frames(tmp_path / "out.mp4"))
    assert back.shape == (72, 100, 3)
    assert np.abs(back[:71, :99].astype(int) - picture).mean() < 8
    with VideoWriter(tmp_path / "out.gif", 25) as video:
        video.write(picture)
        video.write(255 - picture)
    assert probe(tmp_path / "out.gif").size == (71, 99)


def test_web_players_can_start_before_the_file_is_there(tmp_path):
    with VideoWriter(tmp_path / "out.mp4", NTSC) as video:
        for value in range(5):
            video.write(frame(value=40 * value))
    content = (tmp_path / "out.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")
    _, _, said = ffmpeg.run(["-i", str(tmp_path / "out.mp4")])
    assert any("h264" in line and "yuv420p" in line for line in said)


def test_a_gif_keeps_the_speed(ntsc, tmp_path):
    with read_frames(ntsc, trim=(0, 2)) as frames, VideoWriter(tmp_path / "out.gif", frames.fps) as video:
        for picture in frames:
            video.write(picture)
    info = probe(tmp_path / "out.gif")
    assert info.duration == pytest.approx(2, abs=0.04)
    assert info.frames == pytest.approx(60, abs=1)


def test_unknown_suffixes_and_existing_files_are_refused_before_any_work(tmp_path):
    with pytest.raises(UsageError, match=r"\.avi"):
        VideoWriter(tmp_path / "out.avi", 25)
    (tmp_path / "out.mp4").write_bytes(b"old")
    with pytest.raises(UsageError, match="exists"), VideoWriter(tmp_path / "out.mp4", 25):
        pass
    with VideoWriter(tmp_path / "out.mp4", 25, overwrite=True) as video:
        video.write(frame())
    assert probe(tmp_path / "out.mp4").frames == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MediaError])
@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_an_exception_leaves_nothing_behind(ntsc, tmp_path, suffix, error):
    def interrupted():
        with VideoWriter(tmp_path / f"out{suffix}", 25, sound=Sound(ntsc, "aac")) as video:
            video.write(frame())
            raise error("stop")

    with pytest.raises(error, match="stop"):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    assert children() == []


def test_a_film_without_frames_is_an_error(tmp_path):
    with pytest.raises(MediaError, match="no frame"), VideoWriter(tmp_path / "out.mp4", 25):
        pass
    assert list(tmp_path.iterdir()) == []


def test_frames_of_another_size_are_refused(tmp_path):
    with pytest.raises(ValueError, match="64"):
        film(tmp_path / "out.mp4", [frame(), frame(32, 32)])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def failing_ffmpeg(tmp_path, monkeypatch):
    """Puts a program in ffmpeg's place that reads a little, says something and fails."""

    def install(says):
        program = tmp_path / "ffmpeg-that-fails"
        program.write_text(f"#!/bin/sh\nhead -c 20000 >/dev/null\n{says}\nexit 228\n")
        program.chmod(0o755)
        monkeypatch.setattr(ffmpeg, "executable", lambda: str(program))

    return install


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
@pytest.mark.parametrize("count", [1, 200])  # found out when the pipe is closed, and while writing
def test_a_full_disk_is_said(tmp_path, failing_ffmpeg, count):
    failing_ffmpeg("echo '[out#0/mp4 @ 0x1] Error writing trailer: No space left on device' >&2")
    (tmp_path / "out").mkdir()
    with pytest.raises(MediaError, match="disk is full"):
        film(tmp_path / "out" / "x.mp4", [frame()] * count)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_a_pipe_that_breaks_as_on_windows_is_explained_by_ffmpeg(tmp_path, failing_ffmpeg, monkeypatch):
    class Pipe:
        def write(self, data):
            raise OSError(errno.EINVAL, "Invalid argument")

    failing_ffmpeg("echo '[libx264 @ 0x55] Error: the encoder is unwell' >&2")
    monkeypatch.setattr(ffmpeg.Ffmpeg, "stdin", Pipe())
    with pytest.raises(MediaError, match="the encoder is unwell"):
        film(tmp_path / "x.mp4", [frame()])


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_a_talkative_ffmpeg_does_not_block_and_becomes_one_line(tmp_path, failing_ffmpeg):
    failing_ffmpeg("yes '[libx264 @ 0x55] Error: the encoder is unwell' | head -n 20000 >&2")
    with pytest.raises(MediaError, match="the encoder is unwell") as caught:
        film(tmp_path / "x.mp4", [frame()] * 100)
    assert "\n" not in str(caught.value)
    assert "0x55" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="nobody counts memory there")
def test_memory_does_not_grow_with_length(tmp_path):
    """The highest memory of reading and writing, in this process and in ffmpeg's, in a process of its own."""
    code = """
import resource, sys
from gfla_cli.io.background import overlapped
from gfla_cli.io.video import VideoWriter, read_frames
with read_frames(sys.argv[1]) as frames, VideoWriter(sys.argv[2], frames.fps) as video:
    for picture in overlapped(frames):
        video.write(picture)
print(video.count, *(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""
    peaks = []
    for count in (100, 1000):
        source = make(tmp_path / f"{count}.mp4", *pictures("30", "60", "96x64"), "-frames:v", str(count), *H264)
        command = [sys.executable, "-c", code, str(source), str(tmp_path / f"out{count}.mp4")]
        said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
        assert int(said[0]) == count
        peaks.append([int(value) for value in said[1:]])
    assert peaks[1][0] < 1.1 * peaks[0][0]
    assert peaks[1][1] < 1.1 * peaks[0][1]
