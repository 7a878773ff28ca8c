"""What a video is: its rate, size, length and sound, and what is said of files that are none."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from films import H264, NTSC, frame, make, pictures
from PIL import Image

from gfla_cli.errors import GflaError, MediaError, UsageError
from gfla_cli.io import ffmpeg
from gfla_cli.io.video import VideoWriter, exact_rate, probe, read_frames


def test_the_rate_of_television_stays_a_fraction(ntsc):
    info = probe(ntsc)
    assert info.fps == NTSC
    assert (info.size, info.frames, info.audio_codec) == ((120, 160), 120, "aac")
    assert info.duration == pytest.approx(120 / NTSC)


@pytest.mark.parametrize("suffix", [".mkv", ".mov", ".ts", ".avi"])
def test_the_rate_is_exact_in_every_container(ntsc, tmp_path, suffix):
    if suffix == ".ts" and "v7.0" in ffmpeg.executable():
        pytest.skip("that build of ffmpeg crashes on transport streams")
    copy = make(tmp_path / f"copy{suffix}", "-i", str(ntsc), "-an", "-c", "copy")
    assert probe(copy).fps == NTSC
    assert len(list(read_frames(copy))) == pytest.approx(120, abs=2)


def test_rates_are_read_as_they_are_meant():
    assert exact_rate(29.97) == NTSC
    assert exact_rate("30000/1001") == NTSC
    assert exact_rate(23.976) == Fraction(24000, 1001)
    assert exact_rate(12.5) == Fraction(25, 2)
    assert exact_rate(24) == 24
    for nonsense in (0, -1, "fast", "1/0", float("nan"), float("inf"), 1e9):
        with pytest.raises(UsageError):
            exact_rate(nonsense)


def test_a_still_picture_is_a_film_of_one_frame(tmp_path):
    for name in ("still.png", "still.jpg", "still.gif", "photo.mp4"):
        with (tmp_path / name).open("wb") as file:
            Image.fromarray(frame()).save(file, format="JPEG" if name == "photo.mp4" else None)
        info = probe(tmp_path / name)
        assert (info.still, info.frames, info.size) == (True, 1, (48, 64))
        with read_frames(tmp_path / name, trim=(0, 2)) as frames:
            assert [picture.shape for picture in frames] == [(48, 64, 3)]
            assert not frames.damaged


def unreadable(folder):
    (folder / "text.mp4").write_text("<html>404 not found</html>\n")
    (folder / "text.txt").write_text("ffmpeg would draw this as ANSI art\n")
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://localhost:9/x.ts\n#EXT-X-ENDLIST\n")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    make(folder / "audio.m4a", "-f", "lavfi", "-i", "sine=d=1", "-c:a", "aac")
    make(folder / "nothing.mp4", *pictures(), "-frames:v", "0", *H264)
    late = make(folder / "late.mp4", *pictures(), *H264)
    (folder / "moov.mp4").write_bytes(late.read_bytes()[:-1500])
    return {
        "absent.mp4": "no such file",
        ".": "is a folder",
        "text.mp4": "text",
        "text.txt": "text",
        "list.m3u8": "text",
        "empty.mp4": "empty",
        "noise.mp4": "not a video",
        "audio.m4a": "sound",
        "nothing.mp4": "no frame",
        "moov.mp4": "cut off",
    }


def test_what_is_no_video_is_said_in_one_line(tmp_path):
    for name, words in unreadable(tmp_path).items():
        with pytest.raises(MediaError, match=words) as caught:
            probe(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert caught.value.hint


def test_names_that_look_like_something_else(ntsc, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-x.mp4", "http:x.mp4", "a %03d.mp4", "pipe:.mp4", "ü 'quoted'.mp4"):
        Path(name).write_bytes(ntsc.read_bytes())
        assert probe(name).frames == 120
        with VideoWriter(f"out {name}", 25) as video:
            video.write(frame())
        assert probe(f"out {name}").frames == 1


def test_a_missing_ffmpeg_is_no_traceback(monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "")
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: (_ for _ in ()).throw(RuntimeError("No ffmpeg exe")))
    ffmpeg.executable.cache_clear()
    try:
        with pytest.raises(GflaError, match="ffmpeg cannot be found"):
            ffmpeg.executable()
    finally:
        ffmpeg.executable.cache_clear()


def test_a_video_whose_frames_say_they_are_huge_is_refused(tmp_path):
    film = make(tmp_path / "film.avi", *pictures("5", size="64x64"), "-c:v", "mjpeg", "-threads", "1")
    content = film.read_bytes()
    film.write_bytes(re.sub(rb"(?<=\xff\xc0\x00\x11\x08)....", b"\xea\x60\xea\x60", content, flags=re.DOTALL))
    with pytest.raises(MediaError, match="60000x60000"):
        probe(film)
