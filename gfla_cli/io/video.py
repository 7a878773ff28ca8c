"""Read and write videos frame by frame. Frames are `uint8 (H, W, 3)` RGB. `probe` looks into a file first.

Copying one, say:

    with read_frames("driver.mp4") as frames, VideoWriter("out.mp4", frames.fps, sound=sound_of(frames.info)) as video:
        for frame in overlapped(frames):
            video.write(frame)
"""

from __future__ import annotations

import errno
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from gfla_cli.arrays import Image
from gfla_cli.errors import MediaError, UsageError
from gfla_cli.io.background import Closeable
from gfla_cli.io.ffmpeg import Ffmpeg, VideoInfo, can_seek, complaint, exact_rate, file_input, probe
from gfla_cli.io.files import atomic_path

__all__ = [
    "WRITABLE", "Frames", "Sound", "Trim", "VideoInfo", "VideoWriter", "container_of", "exact_rate", "probe",
    "read_frames", "sound_of",
]  # fmt: skip

Trim = tuple[float, float | None]  # seconds: from (inclusive), to (exclusive); None = to the end

_TOLERATED = 0.02  # share of frames that may be missing: headers round lengths, and sound may last longer
_HDR_WHITE = 203  # cd/m2 of white in HDR video (ITU-R BT.2408)
_SAME_ASPECT = 0.03  # relative; encoders round sizes to multiples of 16
# What ffmpeg prints and continues after when bytes are missing or wrong.
_DAMAGE = re.compile(
    r"partial file|ended prematurely|truncat|corrupt|conceal|error while decoding|decoding error|decode failed"
    r"|Invalid (data|NAL)|missing picture|no frame!|not available|invalid cbp|Error during demuxing",
    re.IGNORECASE,
)
_CHANGE = re.compile(
    r"filter context - w: (?P<width>\d+) h: (?P<height>\d+) .*"
    r"incoming frame - w: (?P<new_width>\d+) h: (?P<new_height>\d+) .*pts_time: (?P<time>-?[\d.]+)"
)

# Without these tags players guess the matrix.
_MATRIX = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
_TO_YUV = ("-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p", *_MATRIX)
# The preset "fast" takes 0.6 to 0.9 of the time of "medium"; its files are as large and as good (benchmarks.md).
_H264 = ("-c:v", "libx264", "-preset", "fast", "-crf", "18", *_TO_YUV)
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
        self.notes: list[str] = []  # what the user should know about the file
        self._faults: list[str] = []  # what is wrong with it: one line, or nothing
        # Not methods: the generator must not keep this object alive, or ffmpeg would never end.
        self._frames = (
            _read_image_as_video(info)
            if info.still
            else _decode(info, trim, fps, self.expected, self.notes, self._faults)
        )

    @property
    def damaged(self) -> bool:
        """Whether frames were missing or damaged."""
        return bool(self._faults)

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


def parse_trim(text: str | None) -> Trim | None:
    """A time range START:END in seconds; either may be left out. Raises UsageError."""
    if text is None:
        return None
    start, colon, end = text.partition(":")
    try:
        trim = (float(start) if start.strip() else 0.0, float(end) if end.strip() else None)
    except ValueError:
        colon, trim = "", (0.0, None)
    if not colon:
        raise _not_a_time_range(text)
    check_time_range(trim)
    return trim


def parse_rate(text: str | None) -> Fraction | None:
    """Frames per second: 25, 29.97 or 30000/1001. Raises UsageError."""
    return None if text is None else exact_rate(text)


def check_time_range(trim: Trim) -> None:
    """Raises UsageError for a time range that begins before 0, or does not end after its beginning."""
    start, end = trim
    if not start >= 0 or not (end is None or end > start):  # NaN: neither
        raise _not_a_time_range(f"{start:g}:{'' if end is None else f'{end:g}'}")


def _not_a_time_range(text: str) -> UsageError:
    return UsageError(f"{text} is not a time range", hint="--trim START:END in seconds, such as 2:5.5")


def _check_trim(info: VideoInfo, trim: Trim | None) -> None:
    if trim is None or info.still:
        return
    check_time_range(trim)
    start, _ = trim
    if start >= info.duration:
        what = f"{info.path}: the time range starts at {start:g} s, but the video lasts {info.duration:.2f} s"
        raise UsageError(what, hint="--trim START:END in seconds")


def _read_image_as_video(info: VideoInfo) -> Generator[Image]:
    from gfla_cli.io.image import read_image

    yield read_image(info.path)


def _decode(
    info: VideoInfo, trim: Trim | None, fps: Fraction, expected: int, notes: list[str], faults: list[str]
) -> Generator[Image]:
    """The frames. After the last one, `notes` gets what the user should know, and `faults` what of it is wrong."""
    height, width = info.size
    channels = 4 if info.alpha else 3
    start, end = trim or (0.0, None)
    # ffmpeg reads on after the time range, which ends by counting frames.
    most = None if end is None else max(1, round((end - start) * fps))
    seek = start > 0 and can_seek(info, start)
    process = Ffmpeg(_decoder_arguments(info, start, fps, seek=seek), writes=True)
    try:
        read = 0
        while read != most:
            pixels = np.empty((height, width, channels), np.uint8)
            if process.stdout.readinto(pixels.data.cast("B")) < pixels.nbytes:  # type: ignore[attr-defined]
                break
            read += 1
            yield _over_white(pixels) if info.alpha else pixels
        status, said = process.finish()
        if info.hdr:
            name = "HLG" if info.hdr[2] == "arib-std-b67" else "PQ"
            notes.append(f"{info.path}: HDR video ({name}); its colours were converted to those of a normal video")
        notes += _changes(info, start if seek else 0.0, process.warned)
        if read == most:
            return  # ffmpeg may complain about the closed pipe
        wrong = _fault(info, read, expected, status, said)
        if wrong:
            notes.append(wrong)
            faults.append(wrong)
    finally:
        process.kill()


def _changes(info: VideoInfo, start: float, warned: list[str]) -> list[str]:
    """A line about the first change of size or pixel format in the middle of a stream; nothing when there is none.

    `start`: the time from which ffmpeg counts, in seconds.
    """
    for line in warned:
        change = _CHANGE.search(line)
        if change:
            when = start + float(change["time"])
            before, after = f"{change['width']}x{change['height']}", f"{change['new_width']}x{change['new_height']}"
            what = f"from {before} to {after}" if before != after else "in pixel format or colour range"
            return [f"{info.path}: the video changes {what} at {when:.2f} s; all frames get its first size"]
    return []


def _decoder_arguments(info: VideoInfo, start: float, fps: Fraction, *, seek: bool) -> list[str]:
    """The arguments that decode from `start` on. The first frame is the one that is shown at that moment."""
    # Frames before `start` get negative times. The fps filter needs the last of them.
    seeking = ["-noaccurate_seek", "-ss", f"{start:.6f}"] if seek else []
    shift = f"setpts=PTS-{start:.6f}/TB," if start > 0 and not seek else ""
    height, width = info.size
    # start_time: if the frames start later than the sound, the first is shown from 0, so that both stay in sync.
    even = f"fps={info.fps}:start_time=0"
    # round=up: the frame that is shown at that moment, not the next one.
    resampled = "" if fps == info.fps else f",fps={fps}:start_time=0:round=up"
    pixels = "rgba" if info.alpha else "rgb24"
    centred = f"pad=w={width}:h={height}:x=(ow-iw)/2:y=(oh-ih)/2:eval=frame"  # smaller frames, on black
    fitted = f"{_fitted(width, height)},format={pixels},{centred}"
    if info.hdr:  # zscale wants frames of one size
        fitted = f"scale={width}:{height},{_tone_mapped(info.hdr)},format={pixels}"
    filters = f"{shift}{even}{resampled},{fitted},setsar=1"
    chosen = ["-map", info.stream, "-vf", filters, "-fps_mode", "passthrough", "-pix_fmt", pixels]
    # Size and format may change in the middle of a stream. By default ffmpeg then starts new filters, which count
    # time from 0 again and repeat a frame until the time of the change.
    kept = ["-reinit_filter:v", "0"]
    return ["-nostdin", *kept, *seeking, *file_input(info.path), *chosen, "-f", "rawvideo", "pipe:1"]


def _fitted(width: int, height: int) -> str:
    """The filter that scales each frame into this size; frames of another aspect ratio become smaller."""
    aspect = f"(iw*sar*{height}/(ih*{width}))"  # relative to the wanted one
    same = f"lt(abs({aspect}-1),{_SAME_ASPECT})"
    wide = f"if({same},{width},max(1,round({width}*min(1,{aspect}))))"
    high = f"if({same},{height},max(1,round({height}*min(1,1/{aspect}))))"
    return f"scale=w='{wide}':h='{high}':eval=frame"


def _tone_mapped(hdr: tuple[str, str, str]) -> str:
    """The filters that bring HLG or PQ to RGB as of BT.709. Below white, colours stay; highlights are compressed."""
    matrix, primaries, transfer = hdr
    told = f"setparams=colorspace={matrix}:color_primaries={primaries}:color_trc={transfer}"
    linear = f"{told},zscale=t=linear:npl={_HDR_WHITE},format=gbrpf32le"
    mapped = "zscale=p=bt709,tonemap=mobius:param=0.6:desat=0"
    return f"{linear},{mapped},zscale=t=bt709:m=gbr:r=pc,format=gbrp"


def _fault(info: VideoInfo, read: int, expected: int, status: int, said: list[str]) -> str:
    """What is wrong with the file, in one line, or an empty string. Raises MediaError when no frame was read."""
    bad = [line for line in said if _DAMAGE.search(line)]
    reason = complaint(bad or said, status)
    if read == 0 and info.hdr and any("No such filter" in line for line in said):
        what = f"{info.path}: this is an HDR video (HLG or PQ), and ffmpeg lacks the filters that convert it"
        raise MediaError(what, hint="convert it to SDR first, or pip install -U imageio-ffmpeg")
    if read == 0:
        raise MediaError(f"{info.path}: no frame can be decoded ({reason})", hint="copy or download it again")
    if read < expected * (1 - _TOLERATED) - 2:
        return f"{info.path}: cut off or damaged, {read} of about {expected} frames could be read"
    if bad or status != 0:
        return f"{info.path}: damaged, some of the {read} frames may look wrong ({reason})"
    return ""


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
    stream: int | None = None  # its number in the file; None = the first with sound
    seek: bool = True  # ffmpeg finds `start` by the index; else the file is read from its beginning

    def opened(self) -> list[str]:
        """The arguments that open the file as an input; its times count from `start`."""
        if self.start <= 0:
            return file_input(self.path)
        begin = ["-ss", f"{self.start:.6f}"] if self.seek else ["-itsoffset", f"{-self.start:.6f}"]
        return [*begin, *file_input(self.path)]

    def copied(self) -> list[str]:
        """The arguments that copy the packets."""
        # The first copied packet begins before the time range, and its negative time would delay the frames.
        # Without it at most 25 ms of sound are missing, and both stay in sync.
        return ["-c:a", "copy", *(["-bsf:a", "noise=drop='lt(pts,0)'"] if self.start > 0 else [])]

    def encoded(self, codec: Sequence[str]) -> list[str]:
        """The arguments that convert the sound with an encoder and its options."""
        return ["-c:a", *codec, *([] if self.start <= 0 or self.seek else ["-af", "atrim=start=0"])]


def sound_of(info: VideoInfo, trim: Trim | None = None) -> Sound | None:
    """The sound of a video whose time range `trim` is used; None when it has none."""
    start = trim[0] if trim else 0.0
    if info.audio_codec is None:
        return None
    return Sound(info.path, info.audio_codec, start, info.audio_stream, start <= 0 or can_seek(info, start))


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
        """Adds the sound to the draft: copied if possible, else converted, else in stereo, else left out.

        There is a note about stereo and about sound that is left out.
        """
        encoded = sound.encoded(self._container.audio)
        ways = [sound.copied()] if sound.codec in self._container.copied else []
        in_stereo = [*encoded, "-ac", "2"]  # some encoders refuse 5.1(side) and other layouts
        ways += [encoded, in_stereo]
        reasons = []
        for way in ways:
            status, said = self._mux(sound, way)
            if status == 0:
                if way is in_stereo:
                    self.notes.append(f"{self.path}: the sound is mixed down to stereo")
                return
            self._check_disk(said)
            reasons.append(complaint(said, status))
        self.notes.append(f"{self.path}: the sound could not be carried over ({reasons[-1]})")
        self._check(*self._mux(None, []))

    def _mux(self, sound: Sound | None, way: list[str]) -> tuple[int, list[str]]:
        inputs, chosen = ["-i", str(self._draft)], ["-map", "0:v:0"]
        if sound is not None:
            inputs += sound.opened()
            chosen += ["-map", "1:a:0" if sound.stream is None else f"1:{sound.stream}"]
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
