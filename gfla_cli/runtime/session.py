"""A loaded network behind arrays: pipelines do not know whether torch or ONNX Runtime computes. Imports neither."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gfla_cli.config import ModelConfig, Task
from gfla_cli.errors import BundleError

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


class Session(Protocol):
    """Runs one network."""

    @property
    def name(self) -> str:
        """The model's name, for people."""

    @property
    def config(self) -> ModelConfig:
        """What the network is."""

    @property
    def place(self) -> str:
        """Device and number format, with the reason, for people."""

    def image(self, *inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """The generated picture, (B, 3, H, W) in [-1, 1], from the network's inputs in order."""


def open_session(
    model: str | Path, task: Task, *, device: DeviceName = "auto", precision: Precision = "auto"
) -> Session:
    """The network of a bundle, ready to run; raises BundleError when it is for another task."""
    from gfla_cli.runtime.torch_session import TorchSession

    session = TorchSession(model, device, precision)
    if session.config.task != task:
        raise BundleError(
            f"{session.name} is a model for the task {session.config.task}, not for {task}",
            hint=f"gfla models list --task {task}",
        )
    return session
