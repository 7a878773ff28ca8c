"""The median of arrays is NumPy's, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from gfla_cli.arrays import median


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1,), (2,), (7,), (64,), (5, 3), (6, 3), (4, 9, 3)])
def test_the_median_equals_that_of_numpy(shape, dtype):
    values = (np.random.default_rng(0).random(shape) * 255).astype(dtype)
    for axis in range(len(shape)):
        found, expected = median(values, axis), np.median(values, axis)
        assert found.dtype == np.asarray(expected).dtype
        np.testing.assert_array_equal(found, expected)
