"""NumPy arrays: names of their types, the layout of layers, their median, and reading untrusted NPZ archives.

Shapes are given in docstrings.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

if TYPE_CHECKING:
    from zipfile import ZipFile

Float64Array = NDArray[np.float64]
Float32Array = NDArray[np.float32]
Int64Array = NDArray[np.int64]
Int32Array = NDArray[np.int32]
Int16Array = NDArray[np.int16]
Int8Array = NDArray[np.int8]
ByteArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]
FloatArray = Float32Array | Float64Array
Image = ByteArray  # (H, W, 3) RGB, (H, W) grey, or (H, W, 4) with alpha
Points = Float32Array  # (N, 2), (N, 3) or (N, 4): x, y (, confidence or z) (, depth)

# What a generated image is mixed from, with channels, in the order of `networks.layers.layers_of`.
LAYERS = {"drawn": 3, "share": 1, "residual": 3, "offset": 2, "matte": 1}


def median(values: NDArray[Any], axis: int = 0) -> NDArray[Any]:
    """`np.median` of finite numbers along one axis. It does not load `numpy.ma`, which takes 10 ms of a start."""
    length = values.shape[axis]
    middle = [(length - 1) // 2, length // 2]
    return np.asarray(np.partition(values, middle, axis).take(middle, axis).mean(axis))


_LARGEST = 4 << 30  # bytes of all arrays of an archive
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an archive by name. Pickles are not read.

    Raises OSError when the file cannot be read, ValueError when its content is invalid or needs too much memory.
    """
    import zipfile  # takes a while, and every command loads this module

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


def _refuse_bomb(archive: ZipFile) -> None:
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
