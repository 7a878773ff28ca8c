"""Names of NumPy array types, and the layout of layers. Shapes are given in docstrings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
