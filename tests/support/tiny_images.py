"""A small image with ramps from black to white and back, files of it, and PNG files with any header."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

RAMP = np.linspace(0, 255, 64, dtype=np.uint8)[None].repeat(48, axis=0)  # (48, 64), black left, white right
PICTURE = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 90)], axis=2)  # (48, 64, 3)


def saved(path: Path, image: Image.Image, **options) -> Path:
    """Writes the image; returns the path."""
    image.save(path, **options)
    return path


def png(width, height, rows=b""):
    """The bytes of a PNG with that size in its header; `rows` are its pixels before compression."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
