"""Sound of written videos: that of the driver, copied where possible, and in sync with the frames."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from commands import names_in
from films import H264, NTSC, frame, make, pictures

from gfla_cli.io import ffmpeg
from gfla_cli.io.background import overlapped
from gfla_cli.io.video import Sound, VideoWriter, probe, read_frames, sound_of


def beeps(path):
    """The times at which a beep begins, in seconds."""
    command = [ffmpeg.executable(), "-v", "error", "-i", str(path), "-map", "0:a:0"]
    command += ["-af", "aresample=async=1:first_pts=0"]
    raw = subprocess.run([*command, "-f", "f32le", "-ac", "1", "-ar", "8000", "-"], capture_output=True, check=True)
    loud = np.nonzero(np.abs(np.frombuffer(raw.stdout, "<f4")) > 0.1)[0] / 8000
    return [float(now) for before, now in zip([-1, *loud], loud, strict=False) if now - before > 0.2]


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "aac"), (".mov", "aac"), (".mkv", "aac"), (".webm", "opus")])
def test_rate_and_sound_of_the_driver_are_kept(ntsc, tmp_path, suffix, codec):
    out = tmp_path / f"out{suffix}"
    with read_frames(ntsc) as frames, VideoWriter(out, frames.fps, sound=sound_of(frames.info)) as video:
        for picture in overlapped(frames):
            video.write(picture)
    info = probe(out)
    assert (info.fps, info.audio_codec) == (NTSC, codec)
    assert info.frames == pytest.approx(120, abs=1)  # ffmpeg 7 lets sound and frames of an mkv start 23 ms late
    assert video.notes == []
    assert beeps(out) == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5], abs=0.025 if suffix == ".mkv" else 0.012)
    assert names_in(tmp_path) == [out.name]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_trimmed_sound_starts_exactly_with_the_frames(ntsc, tmp_path, suffix):
    trim = (1.3, 3.1)
    out = tmp_path / f"out{suffix}"
    with read_frames(ntsc, trim) as frames, VideoWriter(out, frames.fps, sound=sound_of(frames.info, trim)) as video:
        for picture in frames:
            video.write(picture)
    assert probe(out).frames == 54
    assert beeps(out) == pytest.approx([0.2, 0.7, 1.2, 1.7], abs=0.012)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_trimmed_sound_of_a_stream_without_an_index_is_in_sync(ntsc, tmp_path, suffix):
    trim, out = (1.3, 3.1), tmp_path / f"out{suffix}"
    stream = make(tmp_path / "stream.ts", "-i", str(ntsc), "-c", "copy")
    with read_frames(stream, trim) as frames, VideoWriter(out, frames.fps, sound=sound_of(frames.info, trim)) as video:
        for picture in frames:
            video.write(picture)
    assert video.notes == []
    assert beeps(out) == pytest.approx([0.2, 0.7, 1.2, 1.7], abs=0.025)


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


def test_sound_that_cannot_be_used_costs_a_note_not_the_video(tmp_path):
    silent = make(tmp_path / "silent.mp4", *pictures(), *H264)
    with VideoWriter(tmp_path / "out.mp4", 10, sound=Sound(silent, "aac")) as video:
        video.write(frame())
    assert probe(tmp_path / "out.mp4").audio_codec is None
    assert "sound" in video.notes[0]


def _with_sound(folder, sound):
    """Rewrites a second of video with the sound of `sound` in it. Returns the result and the notes."""
    out = folder / "out.webm"
    with read_frames(sound) as frames, VideoWriter(out, frames.fps, sound=sound_of(frames.info)) as video:
        for picture in frames:
            video.write(picture)
    return out, video.notes


def test_the_default_track_is_taken_as_players_do(tmp_path):
    silence = ["-f", "lavfi", "-i", "anullsrc=r=44100:cl=mono"]
    tone = ["-f", "lavfi", "-i", "aevalsrc=0.9*sin(2*PI*440*t):s=44100"]
    maps = ["-map", "0:v", "-map", "1:a", "-map", "2:a", "-disposition:a:0", "0", "-disposition:a:1", "default"]
    two = make(tmp_path / "two.mkv", *pictures(), *silence, *tone, *maps, "-t", "1", *H264, "-c:a", "flac")
    assert probe(two).audio_stream == 2
    out, _ = _with_sound(tmp_path, two)
    assert len(beeps(out)) == 1  # loud from the start


def test_without_a_default_track_the_first_is_taken(tmp_path):
    tones = ["-f", "lavfi", "-i", "anullsrc=r=44100:cl=mono", "-f", "lavfi", "-i", "anullsrc=r=44100:cl=stereo"]
    maps = ["-map", "0:v", "-map", "1:a", "-map", "2:a", "-disposition:a", "0"]
    codecs = ["-c:a:0", "flac", "-c:a:1", "aac"]
    two = make(tmp_path / "two.mkv", *pictures(), *tones, *maps, "-t", "1", *H264, *codecs)
    assert (probe(two).audio_stream, probe(two).audio_codec) == (1, "flac")


@pytest.mark.parametrize("layout", ["5.1(side)", "5.0(side)", "4.0", "6.1", "7.1", "hexagonal"])
@pytest.mark.parametrize("suffix", [".webm", ".mp4"])
def test_no_layout_of_speakers_loses_its_sound(tmp_path, layout, suffix):
    tone = ["-f", "lavfi", "-i", f"aevalsrc=0.9*sin(2*PI*440*t):s=48000,aformat=channel_layouts={layout}"]
    many = make(tmp_path / "many.mkv", *pictures(), *tone, "-t", "1", *H264, "-c:a", "pcm_s16le")
    with read_frames(many) as frames, VideoWriter(tmp_path / f"o{suffix}", 25, sound=sound_of(frames.info)) as video:
        for picture in frames:
            video.write(picture)
    assert probe(tmp_path / f"o{suffix}").audio_codec == ("opus" if suffix == ".webm" else "aac")
    assert all("stereo" in note for note in video.notes)


def test_surround_sound_of_a_film_is_mixed_down_where_it_is_refused(tmp_path):
    tone = ["-f", "lavfi", "-i", "aevalsrc=0.9*sin(2*PI*440*t):s=48000,aformat=channel_layouts=5.1(side)"]
    film = make(tmp_path / "film.mkv", *pictures(), *tone, "-t", "1", *H264, "-c:a", "ac3")
    out, notes = _with_sound(tmp_path, film)
    assert probe(out).audio_codec == "opus"
    assert len(beeps(out)) == 1
    assert ["stereo" in note for note in notes] == [True]
