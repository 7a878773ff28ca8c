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


RED_D50, GREEN_D50, BLUE_D50 = (0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)  # of sRGB


def rgb_profile(red=RED_D50, green=GREEN_D50, blue=BLUE_D50, gamma=2.2):
    """The bytes of an ICC profile of an RGB display with these primaries (XYZ in D50)."""
    curve = b"curv" + struct.pack(">IIHH", 0, 1, round(gamma * 256), 0)
    tags = {"wtpt": _xyz(0.9642, 1, 0.8249), "rXYZ": _xyz(*red), "gXYZ": _xyz(*green), "bXYZ": _xyz(*blue)}
    return _profile("mntr", "RGB ", "XYZ ", tags | {"rTRC": curve, "gTRC": curve, "bTRC": curve})


def grey_profile(gamma):
    """The bytes of an ICC profile of grey values."""
    curve = b"curv" + struct.pack(">IIHH", 0, 1, round(gamma * 256), 0)
    return _profile("mntr", "GRAY", "XYZ ", {"wtpt": _xyz(0.9642, 1, 0.8249), "kTRC": curve})


def cmyk_profile(inks):
    """The bytes of an ICC profile of a press. `inks`: (L, a, b) of cyan, magenta, yellow and black; 0..100, -128..127.

    Paper is white. Inks on each other are black.
    """
    corners = []
    for number in range(16):  # cyan changes slowest
        used = [ink for bit, ink in zip((8, 4, 2, 1), inks, strict=True) if number & bit]
        lightness, a, b = (100, 0, 0) if not used else used[0] if len(used) == 1 else (0, 0, 0)
        corners += [round(lightness * 2.55), a + 128, b + 128]
    straight = bytes(range(256))
    identity = struct.pack(">9i", *[65536 if place % 4 == 0 else 0 for place in range(9)])
    table = b"mft1" + bytes([0, 0, 0, 0, 4, 3, 2, 0]) + identity + straight * 4 + bytes(corners) + straight * 3
    return _profile("prtr", "CMYK", "Lab ", {"wtpt": _xyz(0.9642, 1, 0.8249), "A2B0": table})


def _xyz(*values):
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *[round(value * 65536) for value in values])


def _profile(kind, space, connection, tags):
    place, index, data = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        index += name.encode() + struct.pack(">II", place + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    size = place + len(data)
    head = struct.pack(">I4xI", size, 0x02400000) + (kind + space + connection).encode() + bytes(12) + b"acsp"
    head += bytes(28) + _xyz(0.9642, 1, 0.8249)[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + index + data
