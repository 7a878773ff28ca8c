"""The ffmpeg that imageio-ffmpeg ships, as a child process: an argument list, never a shell, never the network."""

from __future__ import annotations

import re
import signal
import subprocess
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Thread
from typing import BinaryIO

from gfla_cli.errors import GflaError

# Containers people film or download in, and pictures that hide behind another suffix. Left out on purpose: play lists
# (they name other files and addresses) and formats that take any text for a picture (tty).
_FORMATS = (
    "mov", "matroska", "avi", "gif", "mpegts", "mpeg", "mpegvideo", "m4v", "ogg", "flv", "asf", "mxf", "nut", "dv",
    "ivf", "obu", "h264", "hevc", "mjpeg", "yuv4mpegpipe", "rm", "wtv", "apng", "webp_anim", "webp_pipe", "png_pipe",
    "jpeg_pipe", "bmp_pipe", "tiff_pipe", "mp3", "aac", "wav", "flac", "aiff",
)  # fmt: skip
LARGEST_FRAME = 150_000_000  # pixels; 16K video has 133 million
_KEPT_LINES = 200  # of what ffmpeg says; a damaged video makes it say thousands
_SPEAKER = re.compile(r"^(\[[^\]]*\] ?)+")  # "[h264 @ 0x55d5]"


@cache
def executable() -> str:
    """The path of ffmpeg. Raises GflaError when the package has none for this machine."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        what = f"ffmpeg cannot be found: {str(error).splitlines()[0]}"
        raise GflaError(what, hint="pip install --force-reinstall imageio-ffmpeg") from error


def file_input(path: Path | str) -> list[str]:
    """The arguments that open a stranger's file: local, and one of the known formats."""
    allowed = ["-protocol_whitelist", "file", "-format_whitelist", ",".join(_FORMATS)]
    name = str(Path(path).absolute())  # absolute: "http:x.mp4" is a legal file name, too
    return [*allowed, "-max_pixels", str(LARGEST_FRAME), "-i", name]


def run(arguments: Sequence[str]) -> tuple[int, str, list[str]]:
    """Runs ffmpeg to its end: exit status, stdout, and the lines of stderr."""
    command = [executable(), "-hide_banner", "-nostdin", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True)
    said = done.stderr.decode(errors="replace").splitlines()
    return done.returncode, done.stdout.decode(errors="replace"), said


class Ffmpeg:
    """A running ffmpeg that is read from or written to; what it says is collected meanwhile, so it never blocks.

    `finish` or `kill` must be called in the end; both may be called again.
    """

    def __init__(self, arguments: Sequence[str], *, reads: bool = False, writes: bool = False) -> None:
        self._said: deque[str] = deque(maxlen=_KEPT_LINES)
        self._process = subprocess.Popen(
            [executable(), "-hide_banner", "-v", "error", *arguments],
            stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
            stdout=subprocess.PIPE if writes else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # A Ctrl-C in the terminal reaches Python only, which then ends ffmpeg in its own time.
            start_new_session=True,
        )
        self._listener = Thread(target=self._listen, name="ffmpeg-stderr", daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said.append(line.decode(errors="replace").rstrip())

    @property
    def stdin(self) -> BinaryIO:
        assert self._process.stdin is not None
        return self._process.stdin  # type: ignore[return-value]  # typeshed says IO[bytes]

    @property
    def stdout(self) -> BinaryIO:
        assert self._process.stdout is not None
        return self._process.stdout  # type: ignore[return-value]

    def finish(self) -> tuple[int, list[str]]:
        """Lets it come to its end: the exit status and the last lines it said."""
        self._close_pipes()
        status = self._process.wait()
        self._listener.join()
        return status, list(self._said)

    def kill(self) -> None:
        """Ends it at once, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self.finish()

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what is still buffered has nowhere to go when ffmpeg is gone
                    pipe.close()


def complaint(said: Sequence[str], status: int = 1) -> str:
    """The one line of what ffmpeg said that tells most about why it failed."""
    if status < 0:
        return f"ffmpeg was ended by {signal.Signals(-status).name}"
    lines = [_SPEAKER.sub("", line).strip() for line in said]
    telling = [line for line in lines if _TELLING.search(line) and not _EMPTY_WORDS.search(line)]
    chosen = telling[0] if telling else next((line for line in reversed(lines) if line), "ffmpeg said nothing")
    return chosen if len(chosen) <= 160 else chosen[:159] + "…"


_TELLING = re.compile(r"error|invalid|unable|cannot|could not|fail|no such|not found|denied|unsupported", re.IGNORECASE)
_EMPTY_WORDS = re.compile(r"^Error opening (input|output)|^Conversion failed|^Task finished|^Terminating")
