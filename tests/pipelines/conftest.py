"""Fixtures of the tests of pipelines."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def photograph():
    """Fine texture that no image of 64 pixels can hold."""
    return np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
