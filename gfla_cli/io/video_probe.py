"""What a video is, before any work is done with it: size, exact rate, length, sound, and whether it is all there.

ffmpeg decodes the first frame and lists the time stamps of the first minute; both are cheap, and unlike the header
time stamps tell the truth.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from gfla_cli.errors import MediaError, UsageError
from gfla_cli.io.ffmpeg import LARGEST_FRAME, complaint, file_input, run
from gfla_cli.io.files import require_file

_LISTED_S = 60  # seconds whose time stamps are listed
_STILL_FPS = Fraction(25)
_FASTEST = 60  # frames per second; a variable rate is not brought to more than this
_KNOWN_RATES = tuple(
    Fraction(rate)
    for rate in ("24000/1001", "24", "25", "30000/1001", "30", "48", "50", "60000/1001", "60", "120000/1001", "120")
)
_SNAP = 2e-4  # relative; 24 and 24000/1001 are 1e-3 apart
_UNEVEN = 0.1  # of a frame's time: what a constant rate may be off by, besides the rounding of time stamps
_MISSING = Fraction(1, 20)  # of the length: where header and content differ by more, the end is missing
_ALPHA = re.compile(r"^(rgba|bgra|argb|abgr|yuva.*|gbrap.*|ya\d.*|pal8|rgba64.*|bgra64.*|rgbaf.*)$")
_COPY_AGAIN = "copy or download it again"


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoInfo:
    """A video, animation or still picture that can be read."""

    path: Path
    size: tuple[int, int]  # height, width as people see it: turned upright, with square pixels
    fps: Fraction  # exact; of a variable rate the constant one it is brought to
    frames: int  # at `fps`; exact up to a minute, else estimated from the length
    duration: float  # seconds of pictures
    audio_codec: str | None = None  # ffmpeg's name of the first audio stream's codec
    variable: bool = False  # the frames are not evenly spaced in time
    still: bool = False  # a picture: one frame
    alpha: bool = False  # has transparent pixels, perhaps
    cut_short: bool = False  # the header promises more than there is


def probe(path: Path | str) -> VideoInfo:
    """Looks into a video file. Raises MediaError when there is none, it holds no picture, or none can be decoded."""
    path = Path(path)
    require_file(path, "video")
    return _as_still(path) or _as_video(path)


def exact_rate(fps: Fraction | float | str) -> Fraction:
    """29.97 -> 30000/1001, "25" -> 25: the rate that is meant. Raises UsageError outside of 0 < fps <= 1000."""
    try:
        rate = Fraction(fps)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise UsageError(f"{fps} is no frame rate", hint="write 25, 29.97 or 30000/1001") from error
    if not 0 < rate <= 1000:
        raise UsageError(f"{fps} is no frame rate", hint="write 25, 29.97 or 30000/1001")
    close = min(_KNOWN_RATES, key=lambda known: abs(known - rate))
    return close if abs(close - rate) <= _SNAP * close else rate.limit_denominator(1001)


def _as_still(path: Path, *, surely: bool = False) -> VideoInfo | None:
    """The file as a picture; None when it is an animation or no picture."""
    from gfla_cli.io.image import READABLE, is_animated, read_image

    if not surely and path.suffix.lower() not in READABLE:
        return None
    try:
        if is_animated(path):
            return None
        height, width = read_image(path).shape[:2]
    except MediaError:
        if surely:
            raise
        return None  # a video with a misleading suffix, perhaps; otherwise ffmpeg says why not
    duration = float(1 / _STILL_FPS)
    return VideoInfo(path=path, size=(height, width), fps=_STILL_FPS, frames=1, duration=duration, still=True)


def _as_video(path: Path) -> VideoInfo:
    status, said, listing = _listed(path)
    header = "\n".join(said).split("Output #0")[0]
    container = re.search(r"^Input #0, ([\w,]+), from", header, re.MULTILINE)
    if container and container[1].endswith("_pipe"):
        return _as_still(path, surely=True) or _unreadable(path, status, said)
    # The size after the filters, in which the turn and the shape of the pixels are settled.
    size = re.search(r"Video: wrapped_avframe.*?\b(\d+)x(\d+)\b", "\n".join(said))
    first = re.search(r"input from stream .*?pixfmt:(\w+) .*?\bfr:(\d+)/(\d+)", "\n".join(said))
    pictures, sound = listing
    if size is None or first is None or not pictures:
        return _unreadable(path, status, said)
    guess = Fraction(int(first[2]), int(first[3])) if int(first[2]) and int(first[3]) else _STILL_FPS
    height, width = int(size[2]), int(size[1])
    if height * width > LARGEST_FRAME:  # thin pixels made square, for instance
        raise MediaError(f"{path}: frames of {width}x{height} are too large", hint="make the video smaller first")
    fps, variable = _rate(pictures, guess)
    audio = re.search(r"Stream #0:\d+.*?: Audio: (\w+)", header)
    promised = _promised_s(header)
    end, cut_short = _end(pictures, sound, promised)
    return VideoInfo(
        path=path,
        size=(height, width),
        fps=fps,
        frames=max(1, round(end * fps)),
        duration=float(end),
        audio_codec=audio[1] if audio else None,
        variable=variable,
        alpha=bool(_ALPHA.match(first[1])),
        cut_short=cut_short,
    )


@dataclass(frozen=True, slots=True)
class _Stamps:
    """Sorted times of a stream's packets in seconds, when the last of them ends, and the unit they are rounded to."""

    times: list[Fraction]
    end: Fraction
    tick: Fraction

    def __len__(self) -> int:
        return len(self.times)


def _listed(path: Path) -> tuple[int, list[str], tuple[_Stamps, _Stamps]]:
    """ffmpeg's status and words while it decodes one frame, and the time stamps of pictures and sound."""
    for limit in (["-t", str(_LISTED_S)], []):
        one_frame = ["-map", "0:V:0", "-frames:v", "1", "-vf", "scale=iw*sar:ih,setsar=1", "-f", "null", "-"]
        stamps = ["-map", "0:V:0", "-map", "0:a:0?", "-c", "copy", *limit, "-f", "framecrc", "-"]
        status, table, said = run(["-v", "verbose", *file_input(path), *one_frame, *stamps])
        pictures, sound = _stamps(table, 0), _stamps(table, 1)
        if _promised_s("\n".join(said)) is not None or pictures.end < _LISTED_S - 1:
            break  # else nobody has written down how long it is: list it all
    return status, said, (pictures, sound)


def _stamps(table: str, stream: int) -> _Stamps:
    unit = re.search(rf"^#tb {stream}: (\d+)/(\d+)", table, re.MULTILINE)
    tick = Fraction(int(unit[1]), int(unit[2])) if unit else Fraction(1, 1000)
    times: list[Fraction] = []
    end = Fraction(0)
    for row in re.finditer(rf"^{stream}, *(-?\d+), *(-?\d+), *(\d+),", table, re.MULTILINE):
        decoded, shown, lasts = (int(value) for value in row.groups())
        shown = decoded if shown < -(1 << 62) else shown  # AVI: no time of its own
        times.append(shown * tick)
        end = max(end, (shown + lasts) * tick)
    return _Stamps(sorted(times), end, tick)


def _promised_s(header: str) -> Fraction | None:
    """The length in seconds that the container claims; None when it claims none."""
    length = re.search(r"Duration: (\d+):(\d\d):(\d\d\.\d+)", header)
    return int(length[1]) * 3600 + int(length[2]) * 60 + Fraction(length[3]) if length else None


def _end(pictures: _Stamps, sound: _Stamps, promised: Fraction | None) -> tuple[Fraction, bool]:
    """When the pictures end, in seconds, and whether the file ends before it should."""
    last = max(pictures.end, sound.end)
    if promised is None or last >= promised:
        return pictures.end, False
    if last >= _LISTED_S - 2:  # not listed to the end
        return promised, False
    missing = promised - last
    cut_short = missing > Fraction(1, 2) and missing > _MISSING * promised
    return (promised, True) if cut_short else (pictures.end, False)


def _rate(pictures: _Stamps, guess: Fraction) -> tuple[Fraction, bool]:
    """The constant rate, exactly, and whether it had to be made up because the frames are unevenly spaced."""
    count, span = len(pictures) - 1, pictures.times[-1] - pictures.times[0]
    if count < 1 or span <= 0:
        return (exact_rate(guess) if 1 <= guess <= _FASTEST else _STILL_FPS), False
    mean = Fraction(count) / span
    for rate in (guess, exact_rate(max(Fraction(1, 1000), min(mean, Fraction(1000))))):
        slack = max(Fraction(3, 2) * pictures.tick, Fraction(_UNEVEN) / rate)
        first = pictures.times[0]
        if all(abs(time - first - k / rate) <= slack for k, time in enumerate(pictures.times)):
            return rate, False
    if Fraction(99, 100) * mean <= guess <= _FASTEST:
        return exact_rate(guess), True
    steps = sorted(late - early for early, late in zip(pictures.times, pictures.times[1:], strict=False))
    usual = 1 / max(steps[len(steps) // 2], Fraction(1, _FASTEST))
    return exact_rate(min(max(usual, mean, Fraction(1)), Fraction(_FASTEST))), True


def _unreadable(path: Path, status: int, said: list[str]) -> VideoInfo:
    """Raises the MediaError that says why no frame came out of the file."""
    text = "\n".join(said)
    with path.open("rb") as file:
        head = file.read(512)
    if b"\0" not in head and all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        raise MediaError(f"{path} holds text, not a video", hint="was a web page saved instead of the video?")
    if "moov atom not found" in text and b"ftyp" in head:
        raise MediaError(f"{path}: cut off, the video's table of contents (moov) is missing", hint=_COPY_AGAIN)
    if "Audio:" in text and "wrapped_avframe" not in text:
        raise MediaError(f"{path} holds sound and no moving picture", hint="give a video file")
    reason = complaint(said, status)
    if "Input #0" in text:
        wrong = f"no frame in it can be decoded ({reason})" if "Video:" in text else "there is no frame in it"
        raise MediaError(f"{path}: {wrong}", hint=_COPY_AGAIN)
    raise MediaError(f"{path} is not a video in any known format ({reason})", hint="export it as MP4 (H.264)")
