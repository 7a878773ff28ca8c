"""Read untrusted NPZ archives: arrays of numbers only, no pickles, and no more memory than the limit."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

_LARGEST = 4 << 30  # bytes of all arrays
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays by name. Raises OSError when the file cannot be read, ValueError when its content is invalid."""
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_bomb(archive)
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError):
        raise
    # Damaged archives raise errors of zipfile, zlib, numpy's header parser and the memory allocator.
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _refuse_bomb(archive: zipfile.ZipFile) -> None:
    """Raises ValueError when the arrays are too large, or larger than their entries."""
    entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > _LARGEST:
        raise ValueError(f"{unpacked / 1e9:.1f} GB of arrays, {_LARGEST / 1e9:.1f} are the most")
    for entry in entries:
        with archive.open(entry) as file:
            read_header = _HEADERS.get(npy.read_magic(file))
            if read_header is None:
                raise ValueError(f"{entry.filename:.80} is not an array")
            shape, _, dtype = read_header(file)
        # numpy allocates what the header states before it reads.
        if math.prod(shape) * dtype.itemsize > entry.file_size:
            raise ValueError(f"{entry.filename:.80} is cut off")
