"""Where torch computes."""

from __future__ import annotations

import pytest
import torch

from gfla_cli.errors import UsageError
from gfla_cli.inference.device import choose_device


def test_devices_that_are_not_there_are_named():
    assert choose_device("cpu").device.type == "cpu"
    assert choose_device("auto").reason
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="cuda"):
            choose_device("cuda")
    with pytest.raises(UsageError, match="fp16"):
        choose_device("cpu", "fp16")
