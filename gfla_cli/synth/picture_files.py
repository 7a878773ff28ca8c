"""Pictures as OpenCV has them, BGR, from and to files with any name: cv2.imread on Windows knows ASCII names only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from gfla_cli.arrays import ByteArray


def read_bgr(path: Path) -> ByteArray | None:
    """A picture with all its channels as they are stored; None when it is none. Raises OSError."""
    data = np.frombuffer(path.read_bytes(), np.uint8)
    picture: ByteArray | None = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if len(data) else None
    return picture


def write_bgr(path: Path, picture: ByteArray, options: Sequence[int]) -> None:
    """Writes in the format that the suffix names; raises OSError, where cv2.imwrite says nothing of a full disk."""
    _, data = cv2.imencode(path.suffix, picture, options)
    path.write_bytes(data.tobytes())
