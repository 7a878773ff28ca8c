"""Test videos, from ffmpeg and from our own writer, and the ffmpeg processes that are left."""

from __future__ import annotations

import os
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from gfla_cli.io import ffmpeg
from gfla_cli.io.video import VideoWriter

NTSC = Fraction(30000, 1001)
BEEPS = "aevalsrc='if(lt(mod(t,0.5),0.003),0.9*sin(2*PI*3000*t),0)':s=44100"  # one every half second
H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]


def make(path: Path, *arguments: str) -> Path:
    status, _, said = ffmpeg.run(["-v", "error", "-y", *arguments, str(path)])
    assert status == 0, said
    return path


def pictures(rate="25", seconds="1", size="160x120"):
    """Input arguments for a video that shows a different image at every moment."""
    return ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]


@pytest.fixture(scope="session")
def ntsc(tmp_path_factory):
    """Four seconds at 30000/1001 with beeps, the table of contents in front."""
    sound = ["-f", "lavfi", "-i", f"{BEEPS}:d=4"]
    options = [*H264, "-g", "30", "-c:a", "aac", "-movflags", "+faststart"]
    return make(tmp_path_factory.mktemp("films") / "ntsc.mp4", *pictures("30000/1001", "4"), *sound, *options)


@pytest.fixture(scope="session")
def uneven(tmp_path_factory):
    """Thirty frames a second for one second, then ten a second for two: 50 frames."""
    thinned = ["-vf", "select='lt(n,30)+not(mod(n,3))'", "-fps_mode", "vfr"]
    return make(tmp_path_factory.mktemp("films") / "uneven.mp4", *pictures("30", "3"), *thinned, *H264)


def frame(height=48, width=64, value=90):
    return np.full((height, width, 3), value, np.uint8)


def film(path, frames, fps=25, **options):
    with VideoWriter(path, fps, **options) as video:
        for picture in frames:
            video.write(picture)
    return video


def children():
    """Child processes that still run, or that ended without being waited for."""
    listed = subprocess.run(["ps", "-o", "comm=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    return [name for name in listed.stdout.split() if name.startswith("ffmpeg")]
