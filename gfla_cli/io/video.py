"""Read and write videos frame by frame. Frames are `uint8 (H, W, 3)` RGB. `probe` looks into a file first.

Copying one, say:

    with read_frames("driver.mp4") as frames, VideoWriter("out.mp4", frames.fps, sound=sound_of(frames.info)) as video:
        for frame in overlapped(frames):
            video.write(frame)
"""

from __future__ import annotations

import errno
import re
from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from gfla_cli.arrays import Image
from gfla_cli.errors import MediaError, UsageError
from gfla_cli.io.background import Closeable
from gfla_cli.io.ffmpeg import Ffmpeg, VideoInfo, complaint, exact_rate, file_input, probe
from gfla_cli.io.files import atomic_path

__all__ = [
    "WRITABLE", "Frames", "Sound", "Trim", "VideoInfo", "VideoWriter", "container_of", "exact_rate", "probe",
    "read_frames", "sound_of",
]  # fmt: skip

Trim = tuple[float, float | None]  # seconds: from (inclusive), to (exclusive); None = to the end

_TOLERATED = 0.02  # share of frames that may be missing: headers round lengths, and sound may last longer
# What ffmpeg prints and continues after when bytes are missing or wrong.
_DAMAGE = re.compile(
    r"partial file|ended prematurely|truncat|corrupt|conceal|error while decoding|decoding error|decode failed"
    r"|Invalid (data|NAL)|missing picture|no frame!|not available|invalid cbp|Error during demuxing",
    re.IGNORECASE,
)

_MATRIX = (
    "-colorspace",
    "bt709",
    "-color_primaries",
    "bt709",
    "-color_trc",
    "bt709",
)  # without these tags players guess
_TO_YUV = ("-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p", *_MATRIX)
_H264 = ("-c:v", "libx264", "-preset", "medium", "-crf", "18", *_TO_YUV)
_VP9 = ("-c:v", "libvpx-vp9", "-crf", "24", "-b:v", "0", "-row-mt", "1", "-cpu-used", "4", *_TO_YUV)
_LOSSLESS = ("-c:v", "libx264rgb", "-preset", "ultrafast", "-qp", "0")
_GIF_FASTEST = 50  # frames per second; viewers play faster GIFs slowly
_DISK = {
    errno.ENOSPC: "No space left on device",
    errno.EDQUOT: "Disk quota exceeded",
    errno.EFBIG: "File too large",
    errno.EROFS: "Read-only file system",
}


class Frames(Iterator[Image], Closeable):
    """(H, W, 3) uint8 RGB frames at the constant rate `fps`. Faults of the file are known after the last frame.

    A context manager; leaving it, `close` or the garbage collector ends ffmpeg.
    """

    def __init__(self, info: VideoInfo, trim: Trim | None, fps: Fraction) -> None:
        self.info = info
        self.fps = fps
        self.expected = _frame_count(info, trim, fps)
        self.count = 0  # frames handed out
        self.notes: list[str] = []  # what is wrong with the file: one line, or nothing
        # Not methods: the generator must not keep this object alive, or ffmpeg would never end.
        self._frames = _read_image_as_video(info) if info.still else _decode(info, trim, fps, self.expected, self.notes)

    @property
    def damaged(self) -> bool:
        """Whether frames were missing or damaged."""
        return bool(self.notes)

    def __next__(self) -> Image:
        """Raises MediaError when no frame at all can be read."""
        frame = next(self._frames)
        self.count += 1
        return frame

    def close(self) -> None:
        """Ends reading."""
        self._frames.close()


def read_frames(path: Path | str, trim: Trim | None = None, fps: Fraction | float | str | None = None) -> Frames:
    """Opens a video, animation or image (one frame) and reads it frame by frame, in constant memory.

    `trim`: the time range to read. `fps`: a constant rate to resample to, at the same speed. Raises MediaError when
    the file cannot be read, UsageError when the time range is invalid or begins after the end of the video.
    """
    info = probe(path)
    _check_trim(info, trim)
    return Frames(info, trim, info.fps if fps is None else exact_rate(fps))


def _frame_count(info: VideoInfo, trim: Trim | None, fps: Fraction) -> int:
    """The expected number of frames; an estimate for videos longer than a minute."""
    if info.still or (trim is None and fps == info.fps):
        return info.frames
    start, end = trim or (0.0, None)
    stop = info.duration if end is None else min(end, info.duration)
    return max(1, round((stop - start) * fps))


def _check_trim(info: VideoInfo, trim: Trim | None) -> None:
    if trim is None or info.still:
        return
    start, end = trim
    wanted = f"{start:g}:{'' if end is None else f'{end:g}'}"
    if not start >= 0 or (end is not None and not end > start):
        raise UsageError(f"{wanted} is not a time range", hint="--trim START:END in seconds, such as 2:5.5")
    if start >= info.duration:
        what = f"{info.path}: the time range starts at {start:g} s, but the video lasts {info.duration:.2f} s"
        raise UsageError(what, hint="--trim START:END in seconds")


def _read_image_as_video(info: VideoInfo) -> Generator[Image]:
    from gfla_cli.io.image import read_image

    yield read_image(info.path)


def _decode(info: VideoInfo, trim: Trim | None, fps: Fraction, expected: int, notes: list[str]) -> Generator[Image]:
    """The frames; after the last one, a line that says what is wrong with the file is added to `notes`."""
    height, width = info.size
    channels = 4 if info.alpha else 3
    start, end = trim or (0.0, None)
    # ffmpeg may give one more frame, which begins where the time range ends.
    most = None if end is None else max(1, round((end - start) * fps))
    process = Ffmpeg(_decoder_arguments(info, start, end, fps), writes=True)
    try:
        read = 0
        while read != most:
            pixels = _read_exactly(process.stdout, np.empty((height, width, channels), np.uint8))
            if pixels is None:
                break
            read += 1
            yield _over_white(pixels) if info.alpha else pixels
        if read == most:
            return  # ffmpeg may complain about the closed pipe
        wrong = _fault(info, read, expected, *process.finish())
        if wrong:
            notes.append(wrong)
    finally:
        process.kill()


def _decoder_arguments(info: VideoInfo, start: float, end: float | None, fps: Fraction) -> list[str]:
    seek = ["-ss", f"{start:.6f}"] if start > 0 else []
    until = ["-t", f"{end - start:.6f}"] if end is not None else []
    height, width = info.size
    # start_time: if the frames start later than the sound, the first is shown from 0, so that both stay in sync.
    even = f"fps={info.fps}:start_time=0"
    # round=up: the frame that is shown at that moment, not the next one.
    resampled = "" if fps == info.fps else f",fps={fps}:start_time=0:round=up"
    # The size is given again because it may change in the middle of a stream.
    filters = f"{even}{resampled},scale={width}:{height},setsar=1"
    chosen = ["-map", "0:V:0", "-vf", filters, "-fps_mode", "passthrough"]
    pixels = ["-pix_fmt", "rgba" if info.alpha else "rgb24", "-f", "rawvideo", "pipe:1"]
    return ["-nostdin", *seek, *until, *file_input(info.path), *chosen, *pixels]


def _fault(info: VideoInfo, read: int, expected: int, status: int, said: list[str]) -> str:
    """What is wrong with the file, in one line, or an empty string. Raises MediaError when no frame was read."""
    bad = [line for line in said if _DAMAGE.search(line)]
    reason = complaint(bad or said, status)
    if read == 0:
        raise MediaError(f"{info.path}: no frame can be decoded ({reason})", hint="copy or download it again")
    if read < expected * (1 - _TOLERATED) - 2:
        return f"{info.path}: cut off or damaged, {read} of about {expected} frames could be read"
    if bad or status != 0:
        return f"{info.path}: damaged, some of the {read} frames may look wrong ({reason})"
    return ""


def _read_exactly(stream: BinaryIO, pixels: Image) -> Image | None:
    """`pixels` filled from the stream; None when the stream ends first."""
    return pixels if stream.readinto(pixels.data.cast("B")) == pixels.nbytes else None  # type: ignore[attr-defined]


def _over_white(pixels: Image) -> Image:
    """(H, W, 4) RGBA -> (H, W, 3) RGB over white."""
    alpha = pixels[..., 3]
    if alpha.min() == 255:
        return np.ascontiguousarray(pixels[..., :3])
    share = alpha[..., None].astype(np.uint16)
    mixed = pixels[..., :3] * share + 255 * (255 - share)
    return ((mixed + 127) // 255).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class _Container:
    """A container format, with its codecs."""

    name: str  # ffmpeg's
    video: tuple[str, ...]
    copied: frozenset[str]  # audio codecs that it can hold, which are copied
    audio: tuple[str, ...] = ("aac", "-b:a", "192k")  # what other codecs are converted to
    options: tuple[str, ...] = ()


_FASTSTART = ("-movflags", "+faststart")
_MP4_AUDIO = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus"})
_MOV_AUDIO = frozenset({"aac", "mp3", "ac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le"})
_MKV_AUDIO = _MP4_AUDIO | _MOV_AUDIO | {"vorbis", "flac", "dts", "mp2"}
_OPUS = ("libopus", "-b:a", "128k")
_CONTAINERS = {
    ".mp4": _Container("mp4", _H264, _MP4_AUDIO, options=_FASTSTART),
    ".mov": _Container("mov", _H264, _MOV_AUDIO, options=_FASTSTART),
    ".mkv": _Container("matroska", _H264, _MKV_AUDIO),
    ".webm": _Container("webm", _VP9, frozenset({"opus", "vorbis"}), _OPUS),
    ".gif": _Container("gif", _LOSSLESS, frozenset()),
}
WRITABLE = tuple(_CONTAINERS)


@dataclass(frozen=True, slots=True)
class Sound:
    """The sound of another file, from `start` on. It ends with the frames."""

    path: Path | str
    codec: str  # as in VideoInfo.audio_codec
    start: float = 0.0  # seconds


def sound_of(info: VideoInfo, trim: Trim | None = None) -> Sound | None:
    """The sound of a video whose time range `trim` is used; None when it has none."""
    return Sound(info.path, info.audio_codec, trim[0] if trim else 0.0) if info.audio_codec else None


class VideoWriter:
    """Writes a video as a context manager. An exception inside it, Ctrl-C included, leaves no file.

        with VideoWriter("out.mp4", Fraction(30000, 1001), sound=Sound("driver.mp4", "aac")) as video:
            video.write(frame)

    `.mp4`, `.mov` and `.mkv` hold H.264 (yuv420p, crf 18), `.webm` holds VP9. `.gif` is an endless loop of 256 colours
    without sound. Raises UsageError for another suffix or an existing file (unless `overwrite`);
    MediaError when ffmpeg fails, the disk is full, or no frame was written.
    """

    def __init__(
        self, path: Path | str, fps: Fraction | float | str, *, sound: Sound | None = None, overwrite: bool = False
    ) -> None:
        self.path = Path(path)
        self.fps = exact_rate(fps)
        self.count = 0  # frames written
        self.notes: list[str] = []  # how the result differs from what was requested
        self._container = container_of(self.path)
        self._sound = None if self._container.name == "gif" else sound
        self._overwrite = overwrite
        self._cleanup = ExitStack()
        self._shape: tuple[int, ...] = ()
        self._process: Ffmpeg | None = None

    def __enter__(self) -> Self:
        self._temporary = self._cleanup.enter_context(atomic_path(self.path, overwrite=self._overwrite))
        # Sound needs the final length, and the palette of a GIF needs all frames. Both are added to a finished draft.
        self._draft = (
            self._temporary_file(".draft.mp4") if self._sound or self._container.name == "gif" else self._temporary
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._cleanup.__exit__(kind, error, trace)  # removes the files, and explains a full disk
            return
        with self._cleanup:
            self._finish()

    def write(self, frame: Image) -> None:
        """Adds an (H, W, 3) uint8 RGB frame. All frames have one size; odd sides are padded by repeating the border."""
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
            raise ValueError(f"a frame is uint8 (H, W, 3), got {frame.dtype} {frame.shape}")
        if self._process is None:
            self._start(frame.shape)
        if frame.shape != self._shape:
            raise ValueError(f"this video's frames are {self._shape}, got {frame.shape}")
        height, width = frame.shape[:2]
        if height % 2 or width % 2:  # in yuv420p, 2 x 2 pixels share a colour
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        assert self._process is not None
        try:
            self._process.stdin.write(np.ascontiguousarray(frame).data)
        except OSError:  # ffmpeg has ended: a broken pipe; on Windows an invalid argument
            self._check(*self._process.finish(), ended_early=True)
        self.count += 1

    def _start(self, shape: tuple[int, ...]) -> None:
        height, width = (side + side % 2 for side in shape[:2])
        pixels = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}"]
        source = [*pixels, "-framerate", str(self.fps), "-i", "pipe:0"]
        in_draft = self._draft != self._temporary
        form = ["-f", "mp4"] if in_draft else ["-f", self._container.name, *self._container.options]
        self._shape = shape
        self._process = Ffmpeg(["-y", *source, *self._container.video, *form, str(self._draft)], reads=True)
        self._cleanup.callback(self._process.kill)

    def _finish(self) -> None:
        if self._process is None:
            raise MediaError(
                f"{self.path}: there is no frame to write",
                hint="check that the driving video has frames in the time range",
            )
        self._check(*self._process.finish())
        if self._container.name == "gif":
            self._finish_gif()
        elif self._sound is not None:
            self._finish_with(self._sound)

    def _finish_gif(self) -> None:
        """Two passes over the draft: one collects the 256 colours, the other uses them."""
        palette = self._temporary_file(".palette.png")
        height, width = self._shape[:2]
        # A GIF counts time in hundredths of a second. The crop removes the padding of odd sizes.
        frames = f"fps={min(self.fps, Fraction(_GIF_FASTEST))},crop={width}:{height}:0:0"
        draft = ["-nostdin", "-y", "-i", str(self._draft)]
        self._run([*draft, "-vf", f"{frames},palettegen", "-f", "image2", "-update", "1", str(palette)])
        colours = ["-i", str(palette), "-lavfi", f"{frames}[x];[x][1:v]paletteuse=diff_mode=rectangle"]
        self._run([*draft, *colours, "-loop", "0", "-f", "gif", str(self._temporary)])

    def _finish_with(self, sound: Sound) -> None:
        """Adds the sound to the draft: copied if possible, else converted, else left out with a note."""
        encoded = ["-c:a", *self._container.audio]
        ways = [encoded]
        if sound.codec in self._container.copied:
            # The first copied packet begins before the time range, and its negative time would delay the frames.
            # Without it at most 25 ms of sound are missing, and both stay in sync.
            after_seek = ["-bsf:a", "noise=drop='lt(pts,0)'"] if sound.start > 0 else []
            ways.insert(0, ["-c:a", "copy", *after_seek])
        reasons = []
        for way in ways:
            status, said = self._mux(sound, way)
            if status == 0:
                return
            self._check_disk(said)
            reasons.append(complaint(said, status))
        self.notes.append(f"{self.path}: the sound could not be carried over ({reasons[-1]})")
        self._check(*self._mux(None, []))

    def _mux(self, sound: Sound | None, way: list[str]) -> tuple[int, list[str]]:
        inputs, chosen = ["-i", str(self._draft)], ["-map", "0:v:0"]
        if sound is not None:
            inputs += [*(["-ss", f"{sound.start:.6f}"] if sound.start > 0 else []), *file_input(sound.path)]
            chosen += ["-map", "1:a:0"]
        length = ["-t", f"{float(self.count / self.fps):.6f}"]
        form = ["-f", self._container.name, *self._container.options]
        arguments = ["-nostdin", "-y", *inputs, *chosen, "-c:v", "copy", *way, *length, *form, str(self._temporary)]
        process = Ffmpeg(arguments)
        self._cleanup.callback(process.kill)
        return process.finish()

    def _run(self, arguments: list[str]) -> None:
        process = Ffmpeg(arguments)
        self._cleanup.callback(process.kill)
        self._check(*process.finish())

    def _temporary_file(self, ending: str) -> Path:
        """Another temporary file beside the result, removed in the end."""
        path = self._temporary.with_name(self._temporary.stem + ending)
        self._cleanup.callback(_remove, path)
        return path

    def _check(self, status: int, said: list[str], *, ended_early: bool = False) -> None:
        """Raises when ffmpeg failed or ended before the last frame."""
        if status == 0 and not ended_early:
            return
        self._check_disk(said)
        reason = complaint(said, status)
        hint = "check that there is enough memory" if status < 0 else "try another format, such as .mp4"
        raise MediaError(f"{self.path} cannot be written: {reason}", hint=hint)

    def _check_disk(self, said: list[str]) -> None:
        for number, words in _DISK.items():
            if any(words in line for line in said):
                raise OSError(number, words)  # `atomic_path` turns it into a message


def container_of(path: Path | str) -> _Container:
    """The container format of a file name. Raises UsageError for an unknown suffix."""
    suffix = Path(path).suffix
    if suffix.lower() not in _CONTAINERS:
        what = f"videos cannot be written as {suffix}" if suffix else "its name has no suffix"
        raise UsageError(f"{path}: {what}", hint=f"known: {' '.join(WRITABLE)}")
    return _CONTAINERS[suffix.lower()]


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
