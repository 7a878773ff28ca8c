"""The frame of a result as options name it: its size, and what stands behind the person. Imports no cv2."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

from gfla_cli.arrays import Image
from gfla_cli.errors import UsageError
from gfla_cli.io.image import WITH_ALPHA, read_image

Size = Literal["source"] | int  # longer side of the network's frame in the result, pixels
Background = Literal["keep", "white", "transparent"] | Image

SMALLEST_FRAME = 32  # pixels
LARGEST_FRAME = 2048  # pixels of the longer side of a frame that is as large as in its source


def parse_size(text: str) -> Size:
    """The longer side of a frame in pixels, or "source". Raises UsageError for anything else."""
    if text == "source":
        return "source"
    if not text.isdecimal() or not SMALLEST_FRAME <= int(text) <= LARGEST_FRAME:
        raise UsageError(
            f"--size {text}: not a size", hint=f"source, or pixels from {SMALLEST_FRAME} to {LARGEST_FRAME}"
        )
    return int(text)


def parse_background(text: str, output: Path | None, *, video: bool = False) -> Background:
    """What stands behind the result; a file is read. Raises UsageError where `output` cannot hold transparency."""
    if text == "transparent" and video:
        raise UsageError("--background transparent: videos have no transparency", hint="white, or an image file")
    if text == "transparent" and output is not None and output.suffix.lower() not in ("", *WITH_ALPHA):
        raise UsageError(
            f"{output}: {output.suffix} files have no transparency", hint=f"write {' or '.join(WITH_ALPHA)}"
        )
    if text in ("keep", "white", "transparent"):
        return cast(Background, text)
    return read_image(text)
