"""Run ffmpeg, and probe videos with it.

The ffmpeg that imageio-ffmpeg ships runs as a child process: an argument list, never a shell, never the network.
`probe` decodes the first frame and lists the time stamps of the first minute. Both are cheap, and time stamps are
right where headers are wrong.
"""

from __future__ import annotations

import re
import signal
import subprocess
from bisect import insort
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import BinaryIO

from gfla_cli.errors import GflaError, MediaError, UsageError
from gfla_cli.io.files import require_file

# Usual containers, and image formats in case the suffix is wrong. Left out on purpose: play lists, which name other
# files and addresses, and formats that accept any text (tty).
_FORMATS = (
    "mov", "matroska", "avi", "gif", "mpegts", "mpeg", "mpegvideo", "m4v", "ogg", "flv", "asf", "mxf", "nut", "dv",
    "ivf", "obu", "h264", "hevc", "mjpeg", "yuv4mpegpipe", "rm", "wtv", "apng", "webp_anim", "webp_pipe", "png_pipe",
    "jpeg_pipe", "bmp_pipe", "tiff_pipe", "mp3", "aac", "wav", "flac", "aiff",
)  # fmt: skip
LARGEST_FRAME = 150_000_000  # pixels; 16K video has 133 million
_KEPT_LINES = 200  # of stderr; a damaged video produces thousands
_PREFIX = re.compile(r"^(\[[^\]]*\] ?)+")  # "[h264 @ 0x55d5]"
_LEVEL = re.compile(r"\[(warning|error|fatal|panic)\] ")
_INFORMATIVE = re.compile(
    r"error|invalid|unable|cannot|could not|fail|no such|not found|denied|unsupported", re.IGNORECASE
)
_UNINFORMATIVE = re.compile(r"^Error opening (input|output)|^Conversion failed|^Task finished|^Terminating")
_LISTED_S = 60  # seconds of the video whose time stamps are listed
_NO_TIME = -(1 << 62)  # ffmpeg writes less for a packet without a time
_STILL_FPS = Fraction(25)  # of an image, and of a video without a rate
_FASTEST = 60  # frames per second; a variable rate becomes at most this constant one
_KNOWN_RATES = tuple(
    Fraction(rate)
    for rate in ("24000/1001", "24", "25", "30000/1001", "30", "48", "50", "60000/1001", "60", "120000/1001", "120")
)
_SNAP = 2e-4  # relative; 24 and 24000/1001 are 1e-3 apart
_UNEVEN = 0.1  # share of a frame's time by which stamps of a constant rate may be off, besides their rounding
_MISSING = Fraction(1, 20)  # share of the length; if header and content differ by more, the end is missing
_ALPHA = re.compile(r"^(rgba|bgra|argb|abgr|yuva.*|gbrap.*|ya\d.*|pal8|rgba64.*|bgra64.*|rgbaf.*)$")
_INDEXED = ("mov", "matroska")  # containers in which ffmpeg finds a time, unless the index is missing
_BT2020 = ("bt2020nc", "bt2020")  # matrix and primaries of HDR video that does not name them
_IMAGE_SEQUENCES = (b"avis", b"msf1", b"hevc")  # brands of ISO files
_COPY_AGAIN = "copy or download it again"


@cache
def executable() -> str:
    """The path of ffmpeg. Raises GflaError when imageio-ffmpeg has none for this machine."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        what = f"ffmpeg cannot be found: {str(error).splitlines()[0]}"
        raise GflaError(what, hint="pip install --force-reinstall imageio-ffmpeg") from error


def file_input(path: Path | str) -> list[str]:
    """The arguments that open an untrusted file: local files only, known formats only, frames of a limited size."""
    allowed = ["-protocol_whitelist", "file", "-format_whitelist", ",".join(_FORMATS)]
    name = str(Path(path).absolute())  # "http:x.mp4" is a legal file name
    return [*allowed, "-max_pixels", str(LARGEST_FRAME), "-i", name]


def run(arguments: Sequence[str]) -> tuple[int, str, list[str]]:
    """Runs ffmpeg to its end. Returns the exit status, stdout, and the lines of stderr."""
    command = [executable(), "-hide_banner", "-nostdin", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True)
    said = done.stderr.decode(errors="replace").splitlines()
    return done.returncode, done.stdout.decode(errors="replace"), said


class Ffmpeg:
    """A running ffmpeg with pipes. A thread collects its stderr, so that it never blocks.

    Call `finish` or `kill` in the end; calling them again is harmless.
    """

    def __init__(self, arguments: Sequence[str], *, reads: bool = False, writes: bool = False) -> None:
        self._said: deque[str] = deque(maxlen=_KEPT_LINES)
        self.warned: list[str] = []  # the first warnings; complete after `finish`
        self._process = subprocess.Popen(
            [executable(), "-hide_banner", "-v", "level+warning", *arguments],
            stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
            stdout=subprocess.PIPE if writes else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # Ctrl-C in the terminal then reaches Python only, which ends ffmpeg itself.
            start_new_session=True,
        )
        self._listener = Thread(target=self._listen, name="ffmpeg-stderr", daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        warning = False
        with self._process.stderr as lines:
            for line in lines:
                text = line.decode(errors="replace").rstrip()
                level = _LEVEL.search(text)
                if level:
                    warning = level[1] == "warning"
                    text = text.replace(level[0], "", 1)
                if not warning:
                    self._said.append(text)
                elif len(self.warned) < _KEPT_LINES:
                    self.warned.append(text)

    @property
    def stdin(self) -> BinaryIO:
        assert self._process.stdin is not None
        return self._process.stdin  # type: ignore[return-value]  # typeshed says IO[bytes]

    @property
    def stdout(self) -> BinaryIO:
        assert self._process.stdout is not None
        return self._process.stdout  # type: ignore[return-value]

    def finish(self) -> tuple[int, list[str]]:
        """Waits for its end. Returns the exit status and the last lines of stderr that are no warnings."""
        self._close_pipes()
        status = self._process.wait()
        self._listener.join()
        return status, list(self._said)

    def kill(self) -> None:
        """Ends it at once if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self.finish()

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # flushing fails when ffmpeg has ended
                    pipe.close()


def complaint(said: Sequence[str], status: int = 1) -> str:
    """The one line of stderr that explains best why ffmpeg failed."""
    if status < 0:
        return f"ffmpeg was ended by {signal.Signals(-status).name}"
    lines = [_PREFIX.sub("", line).strip() for line in said]
    informative = [line for line in lines if _INFORMATIVE.search(line) and not _UNINFORMATIVE.search(line)]
    chosen = informative[0] if informative else next((line for line in reversed(lines) if line), "ffmpeg said nothing")
    return chosen if len(chosen) <= 160 else chosen[:159] + "…"


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoInfo:
    """A video, animation or still image that can be read."""

    path: Path
    size: tuple[int, int]  # height, width as shown: upright, with square pixels
    fps: Fraction  # exact; for a variable rate the constant one that replaces it
    frames: int  # at `fps`; exact up to a minute, then estimated from the length
    duration: float  # seconds of the video stream
    audio_codec: str | None = None  # of the audio stream that players choose, by ffmpeg's name
    audio_stream: int | None = None  # its number in the file
    still: bool = False  # an image: one frame
    alpha: bool = False  # may have transparent pixels
    hdr: tuple[str, str, str] | None = None  # matrix, primaries and transfer by ffmpeg's names, when HLG or PQ
    stream: str = "0:V:0"  # the video stream, as ffmpeg's -map wants it
    container: str = ""  # ffmpeg's name of its format; empty for an image


def probe(path: Path | str) -> VideoInfo:
    """What a video file holds. Raises MediaError when it is missing, holds no video, or no frame can be decoded."""
    path = Path(path)
    require_file(path, "video")
    return _probe_image(path) or _probe_video(path)


def exact_rate(fps: Fraction | float | str) -> Fraction:
    """The exact rate: 29.97 -> 30000/1001, "25" -> 25. Raises UsageError outside of 0 < fps <= 1000."""
    try:
        rate = Fraction(fps)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise UsageError(f"{fps} is no frame rate", hint="write 25, 29.97 or 30000/1001") from error
    if not 0 < rate <= 1000:
        raise UsageError(f"{fps} is no frame rate", hint="write 25, 29.97 or 30000/1001")
    close = min(_KNOWN_RATES, key=lambda known: abs(known - rate))
    return close if abs(close - rate) <= _SNAP * close else rate.limit_denominator(1001)


def _probe_image(path: Path, *, known: bool = False) -> VideoInfo | None:
    """The file as an image; None when it is an animation, or no image unless `known` to be one."""
    from gfla_cli.io.image import READABLE, is_animated, read_image

    if not known and path.suffix.lower() not in READABLE:
        return None
    try:
        if is_animated(path):
            return None
        height, width = read_image(path).shape[:2]
    except MediaError:
        if known:
            raise
        return None  # perhaps a video with a wrong suffix; if not, ffmpeg says why
    duration = float(1 / _STILL_FPS)
    return VideoInfo(path=path, size=(height, width), fps=_STILL_FPS, frames=1, duration=duration, still=True)


def _probe_video(path: Path) -> VideoInfo:
    stream = _video_stream(path)
    status, said, listing = _decode_and_list(path, stream)
    header = "\n".join(said).split("Output #0")[0]
    container = re.search(r"^Input #0, ([\w,]+), from", header, re.MULTILINE)
    if container and container[1].endswith("_pipe"):
        return _probe_image(path, known=True) or _unreadable(path, status, said)
    # The size after the filters, which rotate the frames and make their pixels square.
    size = re.search(r"Video: wrapped_avframe.*?\b(\d+)x(\d+)\b", "\n".join(said))
    first = re.search(r"input from stream .*?pixfmt:(\w+) .*?\bfr:(\d+)/(\d+)", "\n".join(said))
    video, sound = listing
    if size is None or first is None or not video:
        return _unreadable(path, status, said)
    guess = Fraction(int(first[2]), int(first[3])) if int(first[2]) and int(first[3]) else _STILL_FPS
    height, width = int(size[2]), int(size[1])
    if height * width > LARGEST_FRAME:  # after narrow pixels were made square, for instance
        raise MediaError(f"{path}: frames of {width}x{height} are too large", hint="scale the video down first")
    fps = _rate(video, guess)
    audio = _audio_stream(header)
    end = _end(video, sound, _promised_s(header))
    return VideoInfo(
        path=path,
        size=(height, width),
        fps=fps,
        frames=max(1, round(end * fps)),
        duration=float(end),
        audio_codec=audio[1] if audio else None,
        audio_stream=audio[0] if audio else None,
        alpha=bool(_ALPHA.match(first[1])),
        hdr=_hdr(header),
        stream=stream,
        container=container[1] if container else "",
    )


def _hdr(header: str) -> tuple[str, str, str] | None:
    """Matrix, primaries and transfer of the video stream when its transfer is HLG or PQ."""
    for line in re.findall(r"^ *Stream #0:.*?: Video: .*$", header, re.MULTILINE):
        if "(attached pic)" in line:
            continue
        found = re.search(r"\b([\w-]+)/([\w-]+)/(arib-std-b67|smpte2084)\b", line)
        if found is None:
            return None
        matrix, primaries = (
            known if known != "unknown" else usual for known, usual in zip(found.groups(), _BT2020, strict=False)
        )
        return matrix, primaries, found[3]
    return None


def _audio_stream(header: str) -> tuple[int, str] | None:
    """The number and codec of the audio stream that players choose: the default one, else the first."""
    streams = list(re.finditer(r"^ *Stream #0:(\d+).*?: Audio: (\w+).*$", header, re.MULTILINE))
    known = [stream for stream in streams if stream[2] != "none"] or streams
    if not known:
        return None
    chosen = next((stream for stream in known if "(default)" in stream[0]), known[0])
    return int(chosen[1]), chosen[2]


def can_seek(info: VideoInfo, start: float) -> bool:
    """Whether ffmpeg's `-ss` finds the frame that is shown at `start` seconds.

    Containers without an index are searched by guessing, and ffmpeg may land after that time. Then the file has to be
    read from its beginning. Files that usually have an index are tried, because theirs may be missing.
    """
    if info.container.split(",")[0] not in _INDEXED:
        return False
    one_packet = ["-map", info.stream, "-c", "copy", "-frames:v", "1", "-f", "framecrc", "-"]
    seek = ["-noaccurate_seek", "-ss", f"{start:.6f}"]
    _, table, _ = run(["-v", "error", *seek, *file_input(info.path), *one_packet])
    landed = _stamps(table, 0)
    return bool(landed.times) and landed.times[0] <= landed.tick


@dataclass(frozen=True, slots=True)
class _Stamps:
    """A stream's packets: their sorted times and the end of the last one in seconds, and the unit of rounding."""

    times: list[Fraction]
    end: Fraction
    tick: Fraction

    def __len__(self) -> int:
        return len(self.times)


def _video_stream(path: Path) -> str:
    """The video stream to read. Animated AVIF and HEIC hold a still image as another stream before it."""
    with path.open("rb") as file:
        head = file.read(64)
    if head[4:8] == b"ftyp" and any(brand in head[8:] for brand in _IMAGE_SEQUENCES):
        header = "\n".join(run(file_input(path))[2])
        for stream in re.finditer(r"^ *Stream #(0:\d+).*?: Video: .* tbr, (\S+) tbn", header, re.MULTILINE):
            if stream[2] != "1":  # the time base of a still image
                return stream[1]
    return "0:V:0"


def _decode_and_list(path: Path, stream: str) -> tuple[int, list[str], tuple[_Stamps, _Stamps]]:
    """ffmpeg's status and stderr from decoding one frame, and the time stamps of the video and audio streams."""
    for limit in (["-t", str(_LISTED_S)], []):
        one_frame = ["-map", stream, "-frames:v", "1", "-vf", "scale=iw*sar:ih,setsar=1", "-f", "null", "-"]
        stamps = ["-map", stream, "-map", "0:a:0?", "-c", "copy", *limit, "-f", "framecrc", "-"]
        status, table, said = run(["-v", "verbose", *file_input(path), *one_frame, *stamps])
        video, sound = _stamps(table, 0), _stamps(table, 1)
        if _promised_s("\n".join(said)) is not None or video.end < _LISTED_S - 1:
            break  # else the container states no length: list everything
    return status, said, (video, sound)


def _stamps(table: str, stream: int) -> _Stamps:
    unit = re.search(rf"^#tb {stream}: (\d+)/(\d+)", table, re.MULTILINE)
    tick = Fraction(int(unit[1]), int(unit[2])) if unit else Fraction(1, 1000)
    found = re.finditer(rf"^{stream}, *(-?\d+), *(-?\d+), *(\d+),", table, re.MULTILINE)
    packets = [(int(row[1]), int(row[2]), int(row[3])) for row in found]
    timed = sorted((shown, lasts) for _, shown, lasts in packets if shown > _NO_TIME)
    if not timed:  # AVI
        timed = sorted((decoded, lasts) for decoded, _, lasts in packets)
    else:  # in MPEG files single packets may have no time, such as the last one
        for lasts in (lasts for _, shown, lasts in packets if shown <= _NO_TIME):
            insort(timed, (_first_gap(timed, lasts), lasts))
    end = max((shown + lasts for shown, lasts in timed), default=0)
    return _Stamps([shown * tick for shown, _ in timed], max(0, end) * tick, tick)


def _first_gap(timed: list[tuple[int, int]], lasts: int) -> int:
    """When a packet that has no time and lasts so long is shown, among packets with their times and lengths."""
    for (shown, length), (following, _) in pairwise(timed):
        if following - shown >= length + lasts > length:
            return shown + length
    return sum(timed[-1])


def _promised_s(header: str) -> Fraction | None:
    """The length in seconds that the container states; None when it states none."""
    length = re.search(r"Duration: (\d+):(\d\d):(\d\d\.\d+)", header)
    return int(length[1]) * 3600 + int(length[2]) * 60 + Fraction(length[3]) if length else None


def _end(video: _Stamps, sound: _Stamps, promised: Fraction | None) -> Fraction:
    """When the video stream ends, in seconds. Of a file that is cut short, when it would have ended."""
    last = max(video.end, sound.end)
    if promised is None or last >= promised:
        return video.end
    if last >= _LISTED_S - 2:  # not listed to the end
        return promised
    missing = promised - last
    return promised if missing > Fraction(1, 2) and missing > _MISSING * promised else video.end


def _rate(video: _Stamps, guess: Fraction) -> Fraction:
    """The exact constant rate, or a substitute for it where the frames are unevenly spaced."""
    count, span = len(video) - 1, video.times[-1] - video.times[0]
    if count < 1 or span <= 0:
        return exact_rate(guess) if 1 <= guess <= _FASTEST else _STILL_FPS
    mean = Fraction(count) / span
    for rate in (guess, exact_rate(max(Fraction(1, 1000), min(mean, Fraction(1000))))):
        slack = max(Fraction(3, 2) * video.tick, Fraction(_UNEVEN) / rate)
        first = video.times[0]
        if all(abs(time - first - k / rate) <= slack for k, time in enumerate(video.times)):
            return rate
    if Fraction(99, 100) * mean <= guess <= _FASTEST:
        return exact_rate(guess)
    steps = sorted(late - early for early, late in zip(video.times, video.times[1:], strict=False))
    usual = 1 / max(steps[len(steps) // 2], Fraction(1, _FASTEST))
    return exact_rate(min(max(usual, mean, Fraction(1)), Fraction(_FASTEST)))


def _unreadable(path: Path, status: int, said: list[str]) -> VideoInfo:
    """Raises a MediaError that says why no frame could be read."""
    text = "\n".join(said)
    with path.open("rb") as file:
        head = file.read(512)
    if b"\0" not in head and all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        raise MediaError(f"{path} holds text, not a video", hint="was a web page saved instead of the video?")
    if "moov atom not found" in text and b"ftyp" in head:
        raise MediaError(f"{path}: cut off, the video's table of contents (moov) is missing", hint=_COPY_AGAIN)
    if "Audio:" in text and "wrapped_avframe" not in text:
        raise MediaError(f"{path} holds sound but no video", hint="give a video file")
    reason = complaint(said, status)
    if "Input #0" in text:
        wrong = f"no frame in it can be decoded ({reason})" if "Video:" in text else "there is no frame in it"
        raise MediaError(f"{path}: {wrong}", hint=_COPY_AGAIN)
    raise MediaError(f"{path} is not a video in any known format ({reason})", hint="export it as MP4 (H.264)")
