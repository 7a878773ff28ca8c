"""Frames of videos: upright, square, each in its time, and none missed in silence."""

from __future__ import annotations

import gc
import warnings
from itertools import pairwise

import numpy as np
import pytest
from films import H264, children, make, pictures

from gfla_cli.errors import MediaError, UsageError
from gfla_cli.io import video
from gfla_cli.io.background import overlapped
from gfla_cli.io.video import probe, read_frames


def test_a_turned_video_is_upright(ntsc, tmp_path):
    turned = make(tmp_path / "turned.mp4", "-display_rotation", "90", "-i", str(ntsc), "-c", "copy")
    assert probe(turned).size == (160, 120)
    straight, upright = next(read_frames(ntsc)), next(read_frames(turned))
    assert np.abs(np.rot90(straight).astype(int) - upright).mean() < 2


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    wide = make(tmp_path / "wide.mp4", *pictures(), "-vf", "setsar=2", *H264)
    assert probe(wide).size == (120, 320)
    assert next(read_frames(wide)).shape == (120, 320, 3)


def test_a_variable_rate_becomes_constant_and_the_film_lasts_as_long(uneven):
    info = probe(uneven)
    assert info.fps == 30
    frames = list(read_frames(uneven))
    assert len(frames) == info.frames == pytest.approx(90, abs=2)
    same = [np.array_equal(a, b) for a, b in pairwise(frames[33:-3])]
    assert np.mean(same) == pytest.approx(2 / 3, abs=0.05)  # each of the ten a second is shown three times


def test_video_in_odd_sizes_is_read_as_it_is(tmp_path):
    odd = make(tmp_path / "odd.mkv", *pictures(size="162x122"), "-vf", "format=gbrp,crop=161:121", "-c:v", "ffv1")
    assert next(read_frames(odd)).shape == (121, 161, 3)


def test_an_animated_gif_is_read_over_white(tmp_path):
    clear = ["-f", "lavfi", "-i", "color=red@0.0:s=64x48:r=10:d=1,format=rgba"]
    gif = make(tmp_path / "clear.gif", *clear, "-lavfi", "split[a][b];[a]palettegen[p];[b][p]paletteuse")
    with read_frames(gif) as frames:
        first = next(frames)
        assert frames.info.fps == 10
        assert frames.info.frames == 10
    assert first.min() == 255


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
    # The frame that is shown at 2.0 s: number 59 began at 1.97 s, number 60 at 2.002 s.
    assert np.array_equal(slow[20], everything[59])
    fast = list(read_frames(ntsc, fps=60))
    assert len(fast) == pytest.approx(240, abs=1)
    assert np.array_equal(fast[100], everything[49])


@pytest.mark.parametrize("trim", [(-1, 2), (3, 2), (2, 2), (99, None), (float("nan"), 2)])
def test_stretches_that_are_none_are_refused(ntsc, trim):
    with pytest.raises(UsageError, match=r"time range"):
        read_frames(ntsc, trim=trim)


def test_of_a_cut_video_the_frames_that_are_there_are_read_and_the_rest_is_missed(ntsc, tmp_path):
    (tmp_path / "cut.mp4").write_bytes(ntsc.read_bytes()[: ntsc.stat().st_size // 2])
    with read_frames(tmp_path / "cut.mp4") as frames:
        count = sum(1 for _ in frames)
    assert 20 < count < 100
    assert frames.damaged
    assert f"{count} of about 120 frames" in frames.notes[0]


def test_wrong_bytes_in_the_middle_are_noticed(ntsc, tmp_path):
    damaged = bytearray(ntsc.read_bytes())
    for place in np.random.default_rng(1).integers(len(damaged) // 3, len(damaged), 40):
        damaged[place] ^= 0xFF
    (tmp_path / "damaged.mp4").write_bytes(damaged)
    with read_frames(tmp_path / "damaged.mp4") as frames:
        assert sum(1 for _ in frames) > 20
    assert frames.damaged
    assert "damaged" in frames.notes[0]


def test_a_whole_video_is_not_called_damaged(ntsc, uneven):
    for path in (ntsc, uneven):
        with read_frames(path) as frames:
            assert sum(1 for _ in frames) == frames.count
        assert not frames.damaged
        assert frames.notes == []


def test_stopping_early_leaves_no_process_behind(ntsc):
    frames = read_frames(ntsc)
    next(frames)
    frames.close()
    with pytest.raises(StopIteration):
        next(frames)
    next(read_frames(ntsc))  # and forgotten
    assert children() == []


def test_reading_closes_its_pipes_and_does_not_leave_that_to_the_collector(ntsc):
    gc.collect()  # what earlier tests left
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", ResourceWarning)
        with read_frames(ntsc) as frames:
            next(frames)
        del frames
        gc.collect()
    assert [str(warning.message) for warning in warned] == []


def test_reading_stops_when_the_consumer_stops(ntsc):
    for _ in overlapped(read_frames(ntsc), 2):
        break
    gc.collect()
    assert children() == []


_MPEG2 = ["-c:v", "mpeg2video", "-q:v", "3", "-bf", "2", "-pix_fmt", "yuv420p"]
_X264 = ["-c:v", "libx264", "-bf", "2", "-pix_fmt", "yuv420p"]
_VP8 = ["-c:v", "libvpx", "-b:v", "1M"]
_FRAGMENTS = ["-movflags", "frag_keyframe+empty_moov"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("film.ts", _X264),
        ("film.m2ts", [*_X264, "-mpegts_m2ts_mode", "1"]),
        ("film.mpg", _MPEG2),
        ("film.mpg", [*_MPEG2, "-threads", "1"]),  # its last packet has no time
        ("film.h264", _X264),
        ("film.avi", _MPEG2),
        ("film.flv", _X264),
        ("film.mkv", [*_X264, "-f", "matroska", "-live", "1"]),
        ("film.webm", [*_VP8, "-f", "webm", "-live", "1"]),
        ("film.mp4", [*_X264, *_FRAGMENTS]),
        ("film.mp4", [*_X264, "-x264-params", "open-gop=1"]),
        ("film.mkv", [*_X264, "-x264-params", "open-gop=1"]),
        ("film.gif", []),
    ],
)
@pytest.mark.parametrize("trim", [(0.4, 1.2), (1.96, None)])
def test_a_time_range_is_frame_exact_with_and_without_an_index(tmp_path, name, options, trim):
    path = make(tmp_path / name, *pictures("25", "3"), "-g", "25", *options)
    everything = list(read_frames(path))
    part = list(read_frames(path, trim=trim))
    start = round(trim[0] * 25)
    stop = len(everything) if trim[1] is None else round(trim[1] * 25)
    assert len(part) == stop - start
    assert all(np.array_equal(here, there) for here, there in zip(part, everything[start:stop], strict=True))


def test_a_time_range_begins_with_the_frame_that_is_shown_then(tmp_path):
    """A screen recorder writes no new frame while nothing changes."""
    path = make(tmp_path / "still.mkv", *pictures("25", "4"), "-vf", "select='lt(n,10)+gt(n,90)'", *H264)
    everything = list(read_frames(path))
    with read_frames(path, trim=(2.0, 3.0)) as frames:
        part = list(frames)
    assert len(part) == round(frames.fps)
    assert all(np.array_equal(image, everything[round(2 * frames.fps)]) for image in part)


def _changing(folder, *parts):
    """A raw H.264 stream of 20 frames for each list of options."""
    shots = [
        make(folder / f"part{i}.h264", *pictures("25", "0.8"), "-c:v", "libx264", *options)
        for i, options in enumerate(parts)
    ]
    path = folder / "changing.h264"
    path.write_bytes(b"".join(shot.read_bytes() for shot in shots))
    return path


_YUV = ["-pix_fmt", "yuv420p", "-bsf:v", "h264_metadata=video_full_range_flag=0"]


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (["-vf", "scale=80:60", *_YUV], "from 160x120 to 80x60"),
        (["-vf", "scale=320:240", *_YUV], "from 160x120 to 320x240"),
        (["-pix_fmt", "yuv444p"], "pixel format"),
        (["-vf", "scale=out_range=pc", "-pix_fmt", "yuvj420p", "-color_range", "pc"], "colour range"),
    ],
)
def test_a_change_in_the_middle_repeats_no_frame(tmp_path, second, said):
    shots = [next(read_frames(make(tmp_path / "one.mp4", *pictures(), *H264)))]
    with read_frames(_changing(tmp_path, _YUV, second, _YUV)) as frames:
        images = list(frames)
    assert len(images) == 60
    for first in (0, 20, 40):  # every part begins with the same image
        assert images[first].shape == (120, 160, 3)
        assert np.abs(images[first].astype(int) - shots[0]).mean() < 12
        assert not any(np.array_equal(a, b) for a, b in pairwise(images[first : first + 20]))
    assert not frames.damaged
    assert len(frames.notes) == 1
    assert said in frames.notes[0]
    assert "at 0.8" in frames.notes[0]


def test_a_change_in_aspect_distorts_nothing(tmp_path):
    turned = ["-vf", "transpose", *_YUV]
    with read_frames(_changing(tmp_path, _YUV, turned)) as frames:
        images = list(frames)
    assert len(images) == 40
    upright = images[25]
    assert upright[:, :34].max() < 20  # 120 x 160 becomes 90 x 120 between black bars
    assert upright[:, -34:].max() < 20
    assert upright[:, 40:-40].mean() > 40


def test_a_change_after_the_start_of_a_time_range_is_dated_in_the_whole_video(tmp_path):
    with read_frames(_changing(tmp_path, _YUV, ["-pix_fmt", "yuv444p"]), trim=(0.4, 1.2)) as frames:
        assert sum(1 for _ in frames) == 20
    assert "at 0.8" in frames.notes[0]


_BT709 = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"


def _hdr(path, transfer, *, tags=True):
    """Colour bars as HLG or PQ video with white at 203 cd/m2, as broadcasters and phones record it."""
    bars = ["-f", "lavfi", "-i", "smptehdbars=s=320x240:r=25:d=0.4"]
    linear = f"format=yuv444p,{_BT709},zscale=t=linear:npl=203,format=gbrpf32le"
    coded = f"{linear},zscale=t={transfer}:p=bt2020:m=bt2020nc:r=tv:npl=203,format=yuv420p10le"
    untold = "" if tags else ",setparams=colorspace=unknown:color_primaries=unknown"
    return make(path, *bars, "-vf", coded + untold, "-c:v", "libx265", "-x265-params", "log-level=error")


@pytest.mark.parametrize("tags", [True, False])
@pytest.mark.parametrize(("transfer", "name"), [("arib-std-b67", "HLG"), ("smpte2084", "PQ")])
def test_hdr_video_has_the_colours_of_a_normal_one(tmp_path, transfer, name, tags):
    usual = ["-vf", f"format=yuv444p,{_BT709}", "-c:v", "libx264"]
    wanted = make(tmp_path / "sdr.mkv", "-f", "lavfi", "-i", "smptehdbars=s=320x240:r=25:d=0.4", *usual)
    with read_frames(_hdr(tmp_path / "hdr.mp4", transfer, tags=tags)) as frames:
        images = list(frames)
    assert len(images) == 10
    difference = np.abs(images[0].astype(int) - next(read_frames(wanted)))
    assert np.median(difference) <= 4
    assert np.percentile(difference, 95) < 30
    assert [name in note for note in frames.notes] == [True]
    assert not frames.damaged


def test_hdr_video_is_refused_with_a_line_when_it_cannot_be_converted(tmp_path, monkeypatch):
    path = _hdr(tmp_path / "hdr.mp4", "smpte2084")
    monkeypatch.setattr(video, "_tone_mapped", lambda hdr: "zscalf")
    with pytest.raises(MediaError, match=r"hdr\.mp4.*HDR"):
        next(read_frames(path))


def test_an_animated_avif_has_all_its_frames(tmp_path):
    avif = make(
        tmp_path / "many.avif",
        *pictures("10", "2"),
        "-c:v",
        "libaom-av1",
        "-cpu-used",
        "8",
        "-g",
        "5",
        "-pix_fmt",
        "yuv420p",
    )
    with read_frames(avif) as frames:
        assert (frames.info.fps, frames.expected) == (10, 20)
        images = list(frames)
    assert len(images) == 20
    assert not any(np.array_equal(a, b) for a, b in pairwise(images))
    part = list(read_frames(avif, trim=(0.5, 1.2)))
    assert len(part) == 7
    assert all(np.array_equal(here, there) for here, there in zip(part, images[5:12], strict=True))
