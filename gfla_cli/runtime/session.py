"""A loaded network behind arrays: pipelines do not know whether torch or ONNX Runtime computes. Imports neither."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gfla_cli.bundles.hub import is_hub_name
from gfla_cli.config import ModelConfig, Task
from gfla_cli.errors import BundleError, UsageError

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Runtime = Literal["auto", "torch", "onnx"]


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
    model: str | Path,
    task: Task,
    *,
    device: DeviceName = "auto",
    precision: Precision = "auto",
    runtime: Runtime = "auto",
) -> Session:
    """The network of a bundle or of an exported .onnx file, ready to run.

    `runtime` "auto" takes ONNX Runtime for .onnx files and torch for bundles; "onnx" exports a bundle into the cache
    on first use. Raises BundleError when the model is for another task, UsageError when the two do not go together.
    """
    session = _open(model, device, precision, runtime)
    if session.config.task != task:
        raise BundleError(
            f"{session.name} is a model for the task {session.config.task}, not for {task}",
            hint=f"gfla models list --task {task}",
        )
    return session


def _open(model: str | Path, device: DeviceName, precision: Precision, runtime: Runtime) -> Session:
    exported = exported_file(model)
    if exported is None and runtime == "onnx":
        from gfla_cli.runtime.cache import cached_export

        exported = cached_export(model)
    if exported is None:
        from gfla_cli.runtime.torch_session import TorchSession

        return TorchSession(model, device, precision)
    if runtime == "torch":
        raise UsageError(f"{exported} is an ONNX file; torch does not run it", hint="give the bundle it was made from")
    from gfla_cli.runtime.onnx_session import OnnxSession

    return OnnxSession(exported, device)


def exported_file(model: str | Path) -> Path | None:
    """The .onnx file that `model` names: itself, or the only one in a folder that is no bundle."""
    path = Path(model)
    if is_hub_name(model):
        return None
    if path.suffix.lower() == ".onnx":
        return path
    if path.is_dir() and not (path / "config.json").is_file():
        found = sorted(path.glob("*.onnx"))
        return found[0] if len(found) == 1 else None
    return None
