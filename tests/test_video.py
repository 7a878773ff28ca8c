"""Videos: what is in them, every frame in its time, and files that appear complete or not at all."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gfla_cli.errors import GflaError, MediaError, UsageError
from gfla_cli.media import ffmpeg
from gfla_cli.media.video import Sound, VideoWriter, exact_rate, overlapped, probe, read_frames, sound_of

NTSC = Fraction(30000, 1001)
BEEPS = "aevalsrc='if(lt(mod(t,0.5),0.003),0.9*sin(2*PI*3000*t),0)':s=44100"  # one every half second


def make(path: Path, *arguments: str) -> Path:
    status, _, said = ffmpeg.run(["-v", "error", "-y", *arguments, str(path)])
    assert status == 0, said
    return path


def pictures(rate="25", seconds="1", size="160x120"):
    """Input arguments for a film that shows a different picture at every moment."""
    return ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]


H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def ntsc(folder):
    """Four seconds at 30000/1001 with beeps, the table of contents in front."""
    sound = ["-f", "lavfi", "-i", f"{BEEPS}:d=4"]
    options = [*H264, "-g", "30", "-c:a", "aac", "-movflags", "+faststart"]
    return make(folder / "ntsc.mp4", *pictures("30000/1001", "4"), *sound, *options)


@pytest.fixture(scope="module")
def uneven(folder):
    """Thirty frames a second for one second, then ten a second for two: 50 frames."""
    thinned = ["-vf", "select='lt(n,30)+not(mod(n,3))'", "-fps_mode", "vfr"]
    return make(folder / "uneven.mp4", *pictures("30", "3"), *thinned, *H264)


def beeps(path):
    """The times at which a beep begins, in seconds."""
    command = [
        ffmpeg.executable(),
        "-v",
        "error",
        "-i",
        str(path),
        "-map",
        "0:a:0",
        "-af",
        "aresample=async=1:first_pts=0",
    ]
    raw = subprocess.run([*command, "-f", "f32le", "-ac", "1", "-ar", "8000", "-"], capture_output=True, check=True)
    loud = np.nonzero(np.abs(np.frombuffer(raw.stdout, "<f4")) > 0.1)[0] / 8000
    return [float(now) for before, now in zip([-1, *loud], loud, strict=False) if now - before > 0.2]


def frame(height=48, width=64, value=90):
    return np.full((height, width, 3), value, np.uint8)


def film(path, frames, fps=25, **options):
    with VideoWriter(path, fps, **options) as video:
        for picture in frames:
            video.write(picture)
    return video


def leftovers(folder):
    return [entry.name for entry in folder.iterdir() if entry.name.startswith(".gfla")]


def children():
    """Processes of this one that run, or have ended and were never waited for."""
    listed = subprocess.run(["ps", "-o", "comm=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    return [name for name in listed.stdout.split() if name.startswith("ffmpeg")]


# --- looking -----------------------------------------------------------------------------------------------------


def test_the_rate_of_television_stays_a_fraction(ntsc):
    info = probe(ntsc)
    assert info.fps == NTSC
    assert (info.size, info.frames, info.audio_codec, info.variable) == ((120, 160), 120, "aac", False)
    assert info.duration == pytest.approx(120 / NTSC)


@pytest.mark.parametrize("suffix", [".mkv", ".mov", ".ts", ".avi"])
def test_the_rate_is_exact_in_every_container(ntsc, folder, suffix):
    if suffix == ".ts" and "v7.0" in ffmpeg.executable():
        pytest.skip("that build of ffmpeg crashes on transport streams")
    copy = make(folder / f"copy{suffix}", "-i", str(ntsc), "-an", "-c", "copy")
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


def test_a_turned_video_is_upright(ntsc, folder):
    turned = make(folder / "turned.mp4", "-display_rotation", "90", "-i", str(ntsc), "-c", "copy")
    assert probe(turned).size == (160, 120)
    straight, upright = next(read_frames(ntsc)), next(read_frames(turned))
    assert np.abs(np.rot90(straight).astype(int) - upright).mean() < 2


def test_pixels_that_are_not_square_are_made_so(folder):
    wide = make(folder / "wide.mp4", *pictures(), "-vf", "setsar=2", *H264)
    assert probe(wide).size == (120, 320)
    assert next(read_frames(wide)).shape == (120, 320, 3)


def test_a_variable_rate_becomes_constant_and_the_film_lasts_as_long(uneven):
    info = probe(uneven)
    assert info.variable
    assert info.fps == 30
    frames = list(read_frames(uneven))
    assert len(frames) == info.frames == pytest.approx(90, abs=2)
    same = [np.array_equal(a, b) for a, b in pairwise(frames[33:-3])]
    assert np.mean(same) == pytest.approx(2 / 3, abs=0.05)  # each of the ten a second is shown three times


def test_video_in_odd_sizes_is_read_as_it_is(folder):
    odd = make(folder / "odd.mkv", *pictures(size="162x122"), "-vf", "format=gbrp,crop=161:121", "-c:v", "ffv1")
    assert next(read_frames(odd)).shape == (121, 161, 3)


def test_an_animated_gif_is_read_over_white(folder):
    clear = ["-f", "lavfi", "-i", "color=red@0.0:s=64x48:r=10:d=1,format=rgba"]
    gif = make(folder / "clear.gif", *clear, "-lavfi", "split[a][b];[a]palettegen[p];[b][p]paletteuse")
    with read_frames(gif) as frames:
        first = next(frames)
        assert frames.info.fps == 10
        assert frames.info.frames == 10
    assert first.min() == 255


def test_a_still_picture_is_a_film_of_one_frame(folder):
    for name in ("still.png", "still.jpg", "still.gif", "photo.mp4"):
        with (folder / name).open("wb") as file:
            Image.fromarray(frame()).save(file, format="JPEG" if name == "photo.mp4" else None)
        info = probe(folder / name)
        assert (info.still, info.frames, info.size) == (True, 1, (48, 64))
        with read_frames(folder / name, trim=(0, 2)) as frames:
            assert [picture.shape for picture in frames] == [(48, 64, 3)]
            assert not frames.damaged


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


# --- parts -------------------------------------------------------------------------------------------------------


def test_a_trimmed_stretch_has_the_right_frames(ntsc):
    everything = list(read_frames(ntsc))
    with read_frames(ntsc, trim=(1.0, 2.5)) as frames:
        part = list(frames)
        assert frames.expected == len(part) == 45
    assert np.array_equal(part[0], everything[30])  # the first at or after 1.0 s
    assert np.array_equal(part[-1], everything[74])
    assert len(list(read_frames(ntsc, trim=(3.0, None)))) == pytest.approx(30, abs=1)
    assert len(list(read_frames(ntsc, trim=(3.0, 100.0)))) == pytest.approx(30, abs=1)


def test_another_rate_keeps_the_speed(ntsc):
    slow = list(read_frames(ntsc, fps=10))
    assert len(slow) == pytest.approx(40, abs=1)
    everything = list(read_frames(ntsc))
    # The picture on screen at 2.0 s: number 59 began at 1.97 s, number 60 at 2.002 s.
    assert np.array_equal(slow[20], everything[59])
    fast = list(read_frames(ntsc, fps=60))
    assert len(fast) == pytest.approx(240, abs=1)
    assert np.array_equal(fast[100], everything[49])


@pytest.mark.parametrize("trim", [(-1, 2), (3, 2), (2, 2), (99, None), (float("nan"), 2)])
def test_stretches_that_are_none_are_refused(ntsc, trim):
    with pytest.raises(UsageError, match=r"stretch"):
        read_frames(ntsc, trim=trim)


# --- what cannot be read -----------------------------------------------------------------------------------------


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


def test_of_a_cut_video_the_frames_that_are_there_are_read_and_the_rest_is_missed(ntsc, folder):
    (folder / "cut.mp4").write_bytes(ntsc.read_bytes()[: ntsc.stat().st_size // 2])
    with read_frames(folder / "cut.mp4") as frames:
        assert frames.info.cut_short
        count = sum(1 for _ in frames)
    assert 20 < count < 100
    assert frames.damaged
    assert f"{count} of about 120 frames" in frames.notes[0]


def test_wrong_bytes_in_the_middle_are_noticed(ntsc, folder):
    damaged = bytearray(ntsc.read_bytes())
    for place in np.random.default_rng(1).integers(len(damaged) // 3, len(damaged), 40):
        damaged[place] ^= 0xFF
    (folder / "damaged.mp4").write_bytes(damaged)
    with read_frames(folder / "damaged.mp4") as frames:
        assert sum(1 for _ in frames) > 20
    assert frames.damaged
    assert "damaged" in frames.notes[0]


def test_a_whole_video_is_not_called_damaged(ntsc, uneven):
    for path in (ntsc, uneven):
        with read_frames(path) as frames:
            assert sum(1 for _ in frames) == frames.count
        assert not frames.damaged
        assert frames.notes == []


def test_names_that_look_like_something_else(ntsc, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-x.mp4", "http:x.mp4", "a %03d.mp4", "pipe:.mp4", "ü 'quoted'.mp4"):
        Path(name).write_bytes(ntsc.read_bytes())
        assert probe(name).frames == 120
        with VideoWriter(f"out {name}", 25) as video:
            video.write(frame())
        assert probe(f"out {name}").frames == 1


def test_stopping_early_leaves_no_process_behind(ntsc):
    frames = read_frames(ntsc)
    next(frames)
    frames.close()
    with pytest.raises(StopIteration):
        next(frames)
    next(read_frames(ntsc))  # and forgotten
    assert children() == []


# --- writing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "aac"), (".mov", "aac"), (".mkv", "aac"), (".webm", "opus")])
def test_rate_and_sound_of_the_driver_are_kept(ntsc, tmp_path, suffix, codec):
    out = tmp_path / f"out{suffix}"
    with read_frames(ntsc) as frames, VideoWriter(out, frames.fps, sound=sound_of(frames.info)) as video:
        for picture in overlapped(frames):
            video.write(picture)
    info = probe(out)
    assert (info.fps, info.audio_codec, info.variable) == (NTSC, codec, False)
    assert info.frames == pytest.approx(120, abs=1)  # ffmpeg 7 lets sound and pictures of an mkv start 23 ms late
    assert video.notes == []
    assert beeps(out) == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5], abs=0.025 if suffix == ".mkv" else 0.012)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_trimmed_sound_starts_exactly_with_the_pictures(ntsc, tmp_path, suffix):
    trim = (1.3, 3.1)
    out = tmp_path / f"out{suffix}"
    with read_frames(ntsc, trim) as frames, VideoWriter(out, frames.fps, sound=sound_of(frames.info, trim)) as video:
        for picture in frames:
            video.write(picture)
    assert probe(out).frames == 54
    assert beeps(out) == pytest.approx([0.2, 0.7, 1.2, 1.7], abs=0.012)


def test_sound_is_copied_not_encoded_again(ntsc, tmp_path):
    def packets(path):
        arguments = ["-v", "error", "-i", str(path), "-map", "0:a:0", "-c", "copy", "-f", "framecrc", "-"]
        return [row.split(",")[5].strip() for row in ffmpeg.run(arguments)[1].splitlines() if row.startswith("0,")]

    with VideoWriter(tmp_path / "out.mp4", 25, sound=Sound(ntsc, "aac")) as video:
        for _ in range(50):
            video.write(frame())
    copied = packets(tmp_path / "out.mp4")
    assert len(copied) > 80
    assert copied[:80] == packets(ntsc)[:80]


def test_sound_shorter_than_the_film_does_not_shorten_it(ntsc, tmp_path):
    with VideoWriter(tmp_path / "out.mp4", 10, sound=Sound(ntsc, "aac", start=3.0)) as video:
        for _ in range(30):
            video.write(frame())
    info = probe(tmp_path / "out.mp4")
    assert (info.frames, info.audio_codec) == (30, "aac")


def test_sound_that_cannot_be_used_costs_a_note_not_the_film(tmp_path):
    silent = make(tmp_path / "silent.mp4", *pictures(), *H264)
    with VideoWriter(tmp_path / "out.mp4", 10, sound=Sound(silent, "aac")) as video:
        video.write(frame())
    assert probe(tmp_path / "out.mp4").audio_codec is None
    assert "sound" in video.notes[0]


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
def test_a_talkative_ffmpeg_blocks_nobody_and_becomes_one_line(tmp_path, failing_ffmpeg):
    failing_ffmpeg("yes '[libx264 @ 0x55] Error: the encoder is unwell' | head -n 20000 >&2")
    with pytest.raises(MediaError, match="the encoder is unwell") as caught:
        film(tmp_path / "x.mp4", [frame()] * 100)
    assert "\n" not in str(caught.value)
    assert "0x55" not in str(caught.value)


def test_a_missing_ffmpeg_is_no_traceback(monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "")
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: (_ for _ in ()).throw(RuntimeError("No ffmpeg exe")))
    ffmpeg.executable.cache_clear()
    try:
        with pytest.raises(GflaError, match="ffmpeg cannot be found"):
            ffmpeg.executable()
    finally:
        ffmpeg.executable.cache_clear()


@pytest.mark.skipif(os.name == "nt", reason="nobody counts memory there")
def test_memory_does_not_grow_with_length(tmp_path):
    """The highest memory of reading and writing, in this process and in ffmpeg's, in a process of its own."""
    code = """
import resource, sys
from gfla_cli.media.video import VideoWriter, overlapped, read_frames
with read_frames(sys.argv[1]) as frames, VideoWriter(sys.argv[2], frames.fps) as video:
    for picture in overlapped(frames):
        video.write(picture)
print(video.count, *(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""
    peaks = []
    for count in (100, 1000):
        source = make(tmp_path / f"{count}.mp4", *pictures("30", "60", "96x64"), "-frames:v", str(count), *H264)
        command = [sys.executable, "-c", code, str(source), str(tmp_path / f"out{count}.mp4")]
        root = Path(__file__).resolve().parent.parent
        said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout.split()
        assert int(said[0]) == count
        peaks.append([int(value) for value in said[1:]])
    assert peaks[1][0] < 1.1 * peaks[0][0]
    assert peaks[1][1] < 1.1 * peaks[0][1]


# --- overlapping -------------------------------------------------------------------------------------------------


def test_overlapping_keeps_items_and_order():
    assert list(overlapped(range(100), 3)) == list(range(100))
    assert list(overlapped([], 1)) == []
    assert list(overlapped(overlapped(overlapped(range(20), 1), 2), 3)) == list(range(20))


def test_stages_work_at_the_same_time():
    def slow(items):
        for item in items:
            time.sleep(0.01)
            yield item

    started = time.perf_counter()
    assert len(list(slow(overlapped(slow(overlapped(slow(range(20)))))))) == 20
    assert time.perf_counter() - started < 0.5  # one after the other: 0.6


def test_a_producer_is_at_most_a_queue_ahead():
    produced = []

    def counting():
        for item in range(50):
            produced.append(item)
            yield item

    items = overlapped(counting(), 2)
    next(items)
    time.sleep(0.1)
    assert len(produced) <= 4  # one used, two waiting, one in the producer's hand
    items.close()


def test_exceptions_travel_to_the_consumer():
    def failing():
        yield 1
        raise MediaError("broken")

    items = overlapped(failing())
    assert next(items) == 1
    with pytest.raises(MediaError, match="broken"):
        next(items)


def test_a_consumer_that_stops_stops_the_producer():
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    before = threading.active_count()
    for _ in overlapped(endless(), 2):
        break
    gc.collect()
    assert closed.wait(2)
    assert threading.active_count() <= before  # a thread of an earlier test may have ended meanwhile


def test_reading_stops_when_the_consumer_stops(ntsc):
    for _ in overlapped(read_frames(ntsc), 2):
        break
    gc.collect()
    assert children() == []
