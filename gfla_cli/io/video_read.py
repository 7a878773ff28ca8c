"""The frames of a video, one after the other, upright and evenly spaced in time, however long it is."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from gfla_cli.errors import MediaError, UsageError
from gfla_cli.io.background import Closing
from gfla_cli.io.ffmpeg import Ffmpeg, complaint, file_input
from gfla_cli.io.video_probe import VideoInfo, exact_rate, probe

Trim = tuple[float, float | None]  # seconds: from (inclusive), to (exclusive); None = to the end

_TOLERATED = 0.02  # of the frames: lengths in headers are rounded, and sound may go on longer
# What ffmpeg says, and goes on, when bytes are missing or wrong; it says other things about sound files, too.
_DAMAGE = re.compile(
    r"partial file|ended prematurely|truncat|corrupt|conceal|error while decoding|decoding error|decode failed"
    r"|Invalid (data|NAL)|missing picture|no frame!|not available|invalid cbp|Error during demuxing",
    re.IGNORECASE,
)


class Frames(Iterator[NDArray[np.uint8]], Closing):
    """(H, W, 3) uint8 RGB frames at the constant rate `fps`. What is wrong with the file is known after the last one.

    A context manager; leaving it, `close` or the garbage collector ends ffmpeg.
    """

    def __init__(self, info: VideoInfo, trim: Trim | None, fps: Fraction) -> None:
        self.info = info
        self.fps = fps
        self.expected = frame_count(info, trim, fps)  # an estimate for long videos
        self.count = 0  # frames handed out
        self.notes: list[str] = []  # one line of what is wrong, if anything is
        # A function, not a method: it must not keep this object alive, or nobody would end a forgotten ffmpeg.
        self._frames = _still(info) if info.still else _decoded(info, trim, fps, self.expected, self.notes)

    @property
    def damaged(self) -> bool:
        """Whether there were fewer frames than promised, or frames with wrong bytes."""
        return bool(self.notes)

    def __next__(self) -> NDArray[np.uint8]:
        """Raises MediaError when not even one frame can be read."""
        frame = next(self._frames)
        self.count += 1
        return frame

    def close(self) -> None:
        """Ends reading; there are no more frames afterwards."""
        self._frames.close()


def read_frames(path: Path | str, trim: Trim | None = None, fps: Fraction | float | str | None = None) -> Frames:
    """Opens a video, animation or picture (one frame) and reads it frame by frame; memory does not grow with length.

    `trim`: seconds (from, to). `fps`: another constant rate than the file's, at the same speed. Raises MediaError for
    what cannot be read, UsageError for a stretch outside of the video.
    """
    info = probe(path)
    _check_trim(info, trim)
    return Frames(info, trim, info.fps if fps is None else exact_rate(fps))


def frame_count(info: VideoInfo, trim: Trim | None = None, fps: Fraction | None = None) -> int:
    """How many frames `read_frames` will give, for a progress bar; an estimate for videos beyond a minute."""
    rate = fps or info.fps
    if info.still:
        return 1
    start, end = trim or (0.0, None)
    stop = info.duration if end is None else min(end, info.duration)
    if trim is None and rate == info.fps:
        return info.frames
    return max(1, round((stop - start) * rate))


def _check_trim(info: VideoInfo, trim: Trim | None) -> None:
    if trim is None or info.still:
        return
    start, end = trim
    wanted = f"{start:g}:{'' if end is None else f'{end:g}'}"
    if not start >= 0 or (end is not None and not end > start):
        raise UsageError(f"{wanted} is no stretch of time", hint="--trim START:END in seconds, such as 2:5.5")
    if start >= info.duration:
        what = f"{info.path}: a stretch from {start:g} s was asked for, the video lasts {info.duration:.2f} s"
        raise UsageError(what, hint="--trim START:END in seconds")


def _still(info: VideoInfo) -> Generator[NDArray[np.uint8]]:
    from gfla_cli.io.image import read_image

    yield read_image(info.path)


def _decoded(
    info: VideoInfo, trim: Trim | None, fps: Fraction, expected: int, notes: list[str]
) -> Generator[NDArray[np.uint8]]:
    """Frames as ffmpeg decodes them; after the last one a line of what is wrong is added to `notes`."""
    height, width = info.size
    channels = 4 if info.alpha else 3
    start, end = trim or (0.0, None)
    # The last frame that ffmpeg gives may begin where the stretch ends.
    most = None if end is None else max(1, round((end - start) * fps))
    process = Ffmpeg(_arguments(info, start, end, fps), writes=True)
    try:
        read = 0
        while read != most:
            pixels = _filled(process.stdout, np.empty((height, width, channels), np.uint8))
            if pixels is None:
                break
            read += 1
            yield _over_white(pixels) if info.alpha else pixels
        if read == most:
            return  # what it says about a pipe that nobody reads any more is no news
        wrong = _judged(info, read, expected, *process.finish())
        if wrong:
            notes.append(wrong)
    finally:
        process.kill()


def _arguments(info: VideoInfo, start: float, end: float | None, fps: Fraction) -> list[str]:
    seek = ["-ss", f"{start:.6f}"] if start > 0 else []
    until = ["-t", f"{end - start:.6f}"] if end is not None else []
    height, width = info.size
    # start_time: pictures that start later than the sound are held from 0, so that both stay together.
    even = f"fps={info.fps}:start_time=0"
    # At another rate, round=up: what is on screen at that moment, not what comes next.
    resampled = "" if fps == info.fps else f",fps={fps}:start_time=0:round=up"
    # The size is said once more because it may change in the middle of a stream.
    filters = f"{even}{resampled},scale={width}:{height},setsar=1"
    chosen = ["-map", "0:V:0", "-vf", filters, "-fps_mode", "passthrough"]
    pixels = ["-pix_fmt", "rgba" if info.alpha else "rgb24", "-f", "rawvideo", "pipe:1"]
    return ["-nostdin", *seek, *until, *file_input(info.path), *chosen, *pixels]


def _judged(info: VideoInfo, read: int, expected: int, status: int, said: list[str]) -> str:
    """After the last frame: what is wrong with the file, in one line; nothing if it is all there."""
    bad = [line for line in said if _DAMAGE.search(line)]
    reason = complaint(bad or said, status)
    if read == 0:
        raise MediaError(f"{info.path}: no frame can be decoded ({reason})", hint="copy or download it again")
    if read < expected * (1 - _TOLERATED) - 2:
        return f"{info.path}: cut off or damaged, {read} of about {expected} frames could be read"
    if bad or status != 0:
        return f"{info.path}: damaged, some of the {read} frames may look wrong ({reason})"
    return ""


def _filled(stream: BinaryIO, pixels: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """`pixels` filled from the stream; None when it ends before."""
    return pixels if stream.readinto(pixels.data.cast("B")) == pixels.nbytes else None  # type: ignore[attr-defined]


def _over_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 4) RGBA -> (H, W, 3), laid over white."""
    alpha = pixels[..., 3]
    if alpha.min() == 255:
        return np.ascontiguousarray(pixels[..., :3])
    share = alpha[..., None].astype(np.uint16)
    mixed = pixels[..., :3] * share + 255 * (255 - share)
    return ((mixed + 127) // 255).astype(np.uint8)
