"""Models of one table: opened alike whatever runs them, told apart by their names, and asked for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast, overload

import torch
from torch import Tensor

from gfla_cli.bundles.shelf import find_bundle
from gfla_cli.config import Task
from gfla_cli.errors import BundleError
from gfla_cli.inference.device import Placement
from gfla_cli.inference.session import (
    DeviceName,
    Precision,
    Session,
    ViewSession,
    exported_file,
    model_config,
    open_session,
)

_PRECISIONS: dict[torch.dtype, Precision] = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
}


@overload
def open_compared(
    models: Sequence[str | Path], placement: Placement, *tasks: Literal["view"]
) -> dict[str, ViewSession]: ...


@overload
def open_compared(models: Sequence[str | Path], placement: Placement, *tasks: Task) -> dict[str, Session]: ...


def open_compared(models: Sequence[str | Path], placement: Placement, *tasks: Task) -> dict[str, Any]:
    """Name -> model, of bundles and of exported files; raises BundleError when they cannot be in one table."""
    configs = [model_config(model) for model in models]
    if len({config.image_size for config in configs}) != 1 or any(config.task not in tasks for config in configs):
        what = f"only {' and '.join(tasks)} models of one frame size can be compared in one table"
        raise BundleError(what, hint="evaluate the others by themselves")
    sessions = [_opened(model, placement, *tasks) for model in models]
    return dict(zip(_labels(models, sessions), sessions, strict=True))


def generated(model: Session, *inputs: Tensor) -> Tensor:
    """The pictures (B, 3, H, W) in [-1, 1] that a model makes of its inputs, on their device."""
    made = torch.from_numpy(model.image(*(x.cpu().numpy() for x in inputs)))
    return made.to(inputs[0].device).clamp(-1, 1)


def _opened(model: str | Path, placement: Placement, *tasks: Task) -> Session:
    if exported_file(model) is not None:  # it has a number format of its own
        return open_session(model, *tasks, device="cpu" if placement.device.type == "cpu" else "auto")
    device = cast(DeviceName, placement.device.type)
    return open_session(model, *tasks, device=device, precision=_PRECISIONS[placement.dtype])


def _labels(models: Sequence[str | Path], sessions: Sequence[Session]) -> list[str]:
    """Name, sampler and runtime; the folder above tells two of one name apart, else a number."""
    labels = []
    for model, session in zip(models, sessions, strict=True):
        runtime = f", {session.place}" if exported_file(model) is not None else ""
        labels.append(f"{session.name} ({session.config.sampler}{runtime})")
    placed = [
        label if labels.count(label) == 1 else f"{_folder(model).resolve().parent.name}/{label}"
        for label, model in zip(labels, models, strict=True)
    ]
    return [
        label if placed.count(label) == 1 else f"{label} ({placed[:k].count(label) + 1})"
        for k, label in enumerate(placed)
    ]


def _folder(model: str | Path) -> Path:
    return exported_file(model) or find_bundle(model)
