"""Where torch computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gfla_cli.errors import UsageError
from gfla_cli.inference.device import choose_device
from gfla_cli.inference.torch_backend import _channels_last


def test_devices_that_are_not_there_are_named():
    assert choose_device("cpu").device.type == "cpu"
    assert choose_device("auto").reason
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="cuda"):
            choose_device("cuda")
    with pytest.raises(UsageError, match="fp16"):
        choose_device("cpu", "fp16")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 1, 4, 4), (3, 18, 1, 1), (0, 3, 4, 4)])
def test_inputs_keep_their_values_in_the_other_memory_format(shape, dtype):
    array = np.random.default_rng(0).random(shape).astype(dtype)
    made = _channels_last(array)
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert made.numpy().dtype == dtype
    np.testing.assert_array_equal(made.numpy(), array)
