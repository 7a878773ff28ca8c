"""Pose transfer from two files to a third: how long the first result takes, and every one after it."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gfla_cli.benchmark.measure import interleaved_times, run_gfla
from gfla_cli.inference.export import export_onnx
from gfla_cli.inference.session import DeviceName, Precision
from gfla_cli.io.image import read_image
from gfla_cli.pipelines.pose_transfer import PoseTransfer

REFERENCE = "torch"


@dataclass(frozen=True, slots=True)
class TransferSpeed:
    """One way of running one model. Cold: a process of its own, from its start to its end."""

    name: str
    place: str  # as `gfla pose-transfer` says it
    cold_seconds: float
    cold_cpu_seconds: float  # of all cores; a busy machine changes it less than the time that passes
    cold_ratio: float  # the time of the first way over this one's, of the same run
    warm_milliseconds: float  # one more transfer in a process that has the model: people found, picture made
    network_milliseconds: float  # of that, the network
    warm_ratio: float

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Way:
    model: str
    precision: Precision


def measure_transfers(
    source: Path, pose: Path, model: str, *, device: DeviceName = "auto", threads: int | None = None, rounds: int = 5
) -> list[TransferSpeed]:
    """Torch as it chooses, torch in float32, ONNX Runtime; all in turns, medians. Exports the model for it."""
    with TemporaryDirectory() as folder:
        exported = export_onnx(model, Path(folder) / "model.onnx").path
        ways = {
            REFERENCE: _Way(model, "auto"),
            "torch, fp32": _Way(model, "fp32"),
            "ONNX Runtime": _Way(str(exported), "auto"),
        }
        loaded = {
            name: PoseTransfer(way.model, device=device, precision=way.precision, threads=threads)
            for name, way in ways.items()
        }
        warm = interleaved_times({n: _transfer(m, source, pose) for n, m in loaded.items()}, rounds)
        ready = loaded[REFERENCE].prepare(source, pose)
        network = interleaved_times({n: (lambda m=m: m.generate([ready])) for n, m in loaded.items()}, rounds)  # type: ignore[misc]
        shared = ["pose-transfer", str(source), "--pose", str(pose), "--device", device]
        shared += ["--threads", str(threads)] if threads else []
        starts = {name: _Start(shared, way, Path(folder)) for name, way in ways.items()}
        cold = interleaved_times(starts, rounds)
    return [
        TransferSpeed(
            name,
            loaded[name].session.place,
            cold_seconds=cold[name],
            cold_cpu_seconds=starts[name].cpu_seconds,
            cold_ratio=cold[REFERENCE] / cold[name],
            warm_milliseconds=warm[name] * 1e3,
            network_milliseconds=network[name] * 1e3,
            warm_ratio=warm[REFERENCE] / warm[name],
        )
        for name in ways
    ]


def _transfer(model: PoseTransfer, source: Path, pose: Path) -> Callable[[], object]:
    # The people of a file would be remembered, those of a picture are not.
    return lambda: model.transfer(read_image(source), read_image(pose))


class _Start:
    """Runs the command in a process of its own, and notes what it took of all cores."""

    def __init__(self, arguments: list[str], way: _Way, folder: Path) -> None:
        output = ["--model", way.model, "--precision", way.precision, "-o", str(folder / "out.png")]
        self._arguments = [*arguments, *output, "--overwrite", "--quiet"]
        self._spent: list[float] = []

    def __call__(self) -> None:
        before = _children_seconds()
        run_gfla(*self._arguments)
        self._spent.append(_children_seconds() - before)

    @property
    def cpu_seconds(self) -> float:
        """The median, without the first call, which finds the disk cold."""
        return statistics.median(self._spent[1:])


def _children_seconds() -> float:
    spent = os.times()
    return spent.children_user + spent.children_system
