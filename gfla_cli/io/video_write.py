"""Writing a video frame by frame: exact rate, the driver's sound, and a file that appears complete or not at all."""

from __future__ import annotations

import errno
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gfla_cli.errors import MediaError, UsageError
from gfla_cli.io.ffmpeg import Ffmpeg, complaint, file_input
from gfla_cli.io.files import atomic_path
from gfla_cli.io.video_probe import VideoInfo, exact_rate
from gfla_cli.io.video_read import Trim

_MATRIX = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")  # else players guess
_TO_YUV = ("-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p", *_MATRIX)
_H264 = ("-c:v", "libx264", "-preset", "medium", "-crf", "18", *_TO_YUV)
_VP9 = ("-c:v", "libvpx-vp9", "-crf", "24", "-b:v", "0", "-row-mt", "1", "-cpu-used", "4", *_TO_YUV)
_LOSSLESS = ("-c:v", "libx264rgb", "-preset", "ultrafast", "-qp", "0")
_GIF_FASTEST = 50  # frames per second; viewers slow down frames of one hundredth
_SILENT = "the sound could not be carried over"


@dataclass(frozen=True, slots=True)
class _Container:
    """What a file format can hold."""

    name: str  # ffmpeg's
    video: tuple[str, ...]
    copied: frozenset[str]  # audio codecs taken over as they are
    audio: tuple[str, ...] = ("aac", "-b:a", "192k")  # what others become
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
    """The sound that goes with the frames: of which file, and from when on; it ends with the frames."""

    path: Path | str
    codec: str  # VideoInfo.audio_codec
    start: float = 0.0  # seconds


def sound_of(info: VideoInfo, trim: Trim | None = None) -> Sound | None:
    """The sound of a driving video of which the stretch `trim` is used; None when it is silent."""
    return Sound(info.path, info.audio_codec, trim[0] if trim else 0.0) if info.audio_codec else None


class VideoWriter:
    """A context manager that takes frames and leaves a video; an exception inside, Ctrl-C included, leaves nothing.

        with VideoWriter("out.mp4", Fraction(30000, 1001), sound=Sound("driver.mp4", "aac")) as video:
            video.write(frame)

    `.mp4`, `.mov` and `.mkv` hold H.264 (yuv420p, crf 18), `.webm` VP9; `.gif` is an endless loop of 256 colours and
    silent. Raises UsageError for another suffix, an existing file (unless `overwrite`) or a missing folder, MediaError
    when ffmpeg fails, the disk is full, or no frame was written.
    """

    def __init__(
        self, path: Path | str, fps: Fraction | float | str, *, sound: Sound | None = None, overwrite: bool = False
    ) -> None:
        self.path = Path(path)
        self.fps = exact_rate(fps)
        self.count = 0  # frames written
        self.notes: list[str] = []  # what differs from what was asked for
        self._container = container_of(self.path)
        self._sound = None if self._container.name == "gif" else sound
        self._overwrite = overwrite
        self._cleanup = ExitStack()
        self._shape: tuple[int, ...] = ()
        self._process: Ffmpeg | None = None

    def __enter__(self) -> Self:
        self._temporary = self._cleanup.enter_context(atomic_path(self.path, overwrite=self._overwrite))
        # Sound and the colours of a GIF are added when it is known how long the film is, and what is in it.
        self._draft = self._beside(".draft.mp4") if self._sound or self._container.name == "gif" else self._temporary
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._cleanup.__exit__(kind, error, trace)  # removes the files, and explains a full disk
            return
        with self._cleanup:
            self._finish()

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Adds (H, W, 3) uint8 RGB; all frames of a video have one size, odd ones get their border doubled."""
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
            raise ValueError(f"a frame is uint8 (H, W, 3), got {frame.dtype} {frame.shape}")
        if self._process is None:
            self._start(frame.shape)
        if frame.shape != self._shape:
            raise ValueError(f"this video's frames are {self._shape}, got {frame.shape}")
        height, width = frame.shape[:2]
        if height % 2 or width % 2:  # two by two pixels share a colour in yuv420p
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        assert self._process is not None
        try:
            self._process.stdin.write(np.ascontiguousarray(frame).data)
        except OSError:  # ffmpeg is gone: a broken pipe; on Windows an invalid argument
            self._check(*self._process.finish(), gone=True)
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
            raise MediaError(f"{self.path}: there is no frame to write", hint="is the driving video empty?")
        self._check(*self._process.finish())
        if self._container.name == "gif":
            self._finish_gif()
        elif self._sound is not None:
            self._finish_with(self._sound)

    def _finish_gif(self) -> None:
        """Two looks at the draft: one collects the 256 colours, the other uses them."""
        palette = self._beside(".palette.png")
        height, width = self._shape[:2]
        # Whole hundredths of seconds are all that a GIF knows; the padding of odd sizes goes again.
        frames = f"fps={min(self.fps, Fraction(_GIF_FASTEST))},crop={width}:{height}:0:0"
        draft = ["-nostdin", "-y", "-i", str(self._draft)]
        self._run([*draft, "-vf", f"{frames},palettegen", "-f", "image2", "-update", "1", str(palette)])
        colours = ["-i", str(palette), "-lavfi", f"{frames}[x];[x][1:v]paletteuse=diff_mode=rectangle"]
        self._run([*draft, *colours, "-loop", "0", "-f", "gif", str(self._temporary)])

    def _finish_with(self, sound: Sound) -> None:
        """Puts draft and sound together: copied if possible, else encoded anew, else left out with a note."""
        encoded = ["-c:a", *self._container.audio]
        ways = [encoded]
        if sound.codec in self._container.copied:
            # Copied sound begins with the packet that the seek lands on, before the stretch; a negative time would
            # move the pictures back. Dropped, at most 25 ms are missing, and everything stays in step.
            after_seek = ["-bsf:a", "noise=drop='lt(pts,0)'"] if sound.start > 0 else []
            ways.insert(0, ["-c:a", "copy", *after_seek])
        reasons = []
        for way in ways:
            status, said = self._mux(sound, way)
            if status == 0:
                return
            self._check_disk(said)
            reasons.append(complaint(said, status))
        self.notes.append(f"{self.path}: {_SILENT} ({reasons[-1]})")
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

    def _beside(self, ending: str) -> Path:
        """Another temporary file, removed in the end."""
        path = self._temporary.with_name(self._temporary.stem + ending)
        self._cleanup.callback(_remove, path)
        return path

    def _check(self, status: int, said: list[str], *, gone: bool = False) -> None:
        """Raises when ffmpeg failed, or is gone although there were more frames."""
        if status == 0 and not gone:
            return
        self._check_disk(said)
        reason = complaint(said, status)
        hint = "is there enough memory?" if status < 0 else "try another format, such as .mp4"
        raise MediaError(f"{self.path} cannot be written: {reason}", hint=hint)

    def _check_disk(self, said: list[str]) -> None:
        for number, words in _DISK.items():
            if any(words in line for line in said):
                raise OSError(number, words)  # `atomic_path` says what to do about it


_DISK = {
    errno.ENOSPC: "No space left on device",
    errno.EDQUOT: "Disk quota exceeded",
    errno.EFBIG: "File too large",
    errno.EROFS: "Read-only file system",
}


def container_of(path: Path | str) -> _Container:
    """The format that the suffix names. Raises UsageError for an unknown one."""
    suffix = Path(path).suffix
    if suffix.lower() not in _CONTAINERS:
        what = f"videos cannot be written as {suffix}" if suffix else "the name says no video format"
        raise UsageError(f"{path}: {what}", hint=f"known: {' '.join(WRITABLE)}")
    return _CONTAINERS[suffix.lower()]


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
