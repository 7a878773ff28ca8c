"""Speed of whole jobs, from files to files: single pose transfers, many pairs, and clips."""

from __future__ import annotations

import csv
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from gfla_cli.benchmark.measure import import_torch, interleaved_times, run_gfla
from gfla_cli.config import DeviceName, Precision, Runtime
from gfla_cli.datasets.tables import read_pairs
from gfla_cli.errors import DataError, GflaError
from gfla_cli.inference.session import Execution
from gfla_cli.io.background import Say, silent
from gfla_cli.io.image import read_image, write_image
from gfla_cli.pipelines.animation import AnimationSettings
from gfla_cli.pipelines.animation_jobs import AnimateOptions, plan_animation, run_animation
from gfla_cli.pipelines.framing import Size
from gfla_cli.pipelines.pose_jobs import TransferOptions, transfer_pairs
from gfla_cli.pipelines.pose_transfer import PoseTransfer

_IMPORT = "import torch"
_TORCH = "torch"  # all ratios of single transfers are to this way
_WAYS: dict[str, tuple[Precision, Runtime]] = {
    _TORCH: ("auto", "torch"),
    "torch, fp32": ("fp32", "torch"),
    "ONNX Runtime": ("auto", "onnx"),
}
ONE_BY_ONE = "pose-transfer, a command each"  # all ratios of many pairs are to this way
_COMMANDS = 3  # pairs for ONE_BY_ONE, the slowest way; its time for each hardly varies
STAGES = ("decode", "landmarks", "structure", "network", "compose", "encode")


@dataclass(frozen=True, slots=True)
class TransferSpeed:
    """One way to run one model. Cold: a new process, from its start to its end. Warm: the model is loaded."""

    name: str
    place: str  # device and number format, as `gfla pose-transfer` prints it
    cold_seconds: float
    cold_cpu_seconds: float  # of all cores; varies less than wall time on a busy machine
    cold_ratio: float  # how many times faster than torch in the same run
    cold_in_torch_imports: float  # the first result's time divided by that of `python -c "import torch"`
    warm_milliseconds: float  # one more transfer, with detection
    network_milliseconds: float  # the network's part of it
    warm_ratio: float
    warm_in_torch_imports: float


def measure_transfers(
    source: Path, pose: Path, model: str, *, device: DeviceName = "auto", threads: int | None = None, rounds: int = 5
) -> list[TransferSpeed]:
    """Torch in its own choice of number format, torch in float32, and ONNX Runtime; medians of runs in turns."""
    ways = {
        name: Execution(device=device, precision=precision, runtime=runtime, threads=threads)
        for name, (precision, runtime) in _WAYS.items()
    }
    loaded = {name: PoseTransfer(model, **execution) for name, execution in ways.items()}
    # From arrays, not paths: detections are cached by path.
    transfers = {
        name: partial(lambda model: model.transfer(read_image(source), read_image(pose)), model)
        for name, model in loaded.items()
    }
    warm = interleaved_times(transfers, rounds)
    ready = loaded[_TORCH].prepare(source, pose)
    network = interleaved_times({name: partial(m.generate, [ready]) for name, m in loaded.items()}, rounds)
    with TemporaryDirectory() as folder:
        files = [str(source), "--pose", str(pose), "-o", str(Path(folder) / "out.png")]
        command = ["pose-transfer", *files, "--model", model, "--overwrite", "--quiet"]
        starts = {name: _Start([*command, *_as_options(execution)]) for name, execution in ways.items()}
        cold = interleaved_times({_IMPORT: import_torch, **starts}, rounds)
    return [
        TransferSpeed(
            name,
            loaded[name].session.place,
            cold_seconds=cold[name],
            cold_cpu_seconds=starts[name].cpu_seconds,
            cold_ratio=cold[_TORCH] / cold[name],
            cold_in_torch_imports=cold[name] / cold[_IMPORT],
            warm_milliseconds=warm[name] * 1e3,
            network_milliseconds=network[name] * 1e3,
            warm_ratio=warm[_TORCH] / warm[name],
            warm_in_torch_imports=warm[name] / cold[_IMPORT],
        )
        for name in ways
    ]


class _Start:
    """Runs the command in a new process, and records its CPU time on all cores."""

    def __init__(self, arguments: list[str]) -> None:
        self._arguments = arguments
        self._spent: list[float] = []

    def __call__(self) -> None:
        before = os.times()
        run_gfla(*self._arguments)
        after = os.times()
        self._spent.append(sum(after[2:4]) - sum(before[2:4]))  # user and system time of children

    @property
    def cpu_seconds(self) -> float:
        """Median without the first call, which reads from a cold disk."""
        return statistics.median(self._spent[1:])


def _as_options(values: Mapping[str, object]) -> list[str]:
    """Settings by name as options of the command line, without those that are None."""
    given = ((f"--{name}", str(value)) for name, value in values.items() if value is not None)
    return list(chain.from_iterable(given))


@dataclass(frozen=True, slots=True)
class Throughput:
    """One way to transfer many pairs, including the time to load the model."""

    name: str
    pairs: int
    pairs_per_second: float
    ratio: float  # how many times faster than a command for each pair


def measure_throughput(
    pairs_csv: Path, images: Path, *, execution: Execution, limit: int, batch: int, rounds: int = 3
) -> list[Throughput]:
    """The first `limit` pairs of a CSV in three ways, from files to files; medians of runs in turns.

    Raises DataError for an empty CSV, GflaError if a pair fails.
    """
    pairs = read_pairs(pairs_csv)[:limit]
    if not pairs:
        raise DataError(f"{pairs_csv}: no pairs", hint="rows of from,to")
    with TemporaryDirectory() as folder:
        options = TransferOptions(execution=execution, batch=batch, overwrite=True)
        all_pairs = _Work(pairs, images, Path(folder), options)
        few = replace(all_pairs, pairs=pairs[:_COMMANDS])
        ways: dict[str, tuple[_Work, Callable[[], None]]] = {
            ONE_BY_ONE: (few, few.by_commands),
            "pose-transfer, one process": (all_pairs, all_pairs.in_turn),
            "infer": (all_pairs, all_pairs.by_infer),
        }
        seconds = interleaved_times({name: way for name, (_, way) in ways.items()}, rounds)
    counts = {name: len(work.pairs) for name, (work, _) in ways.items()}
    rates = {name: counts[name] / spent for name, spent in seconds.items()}
    return [Throughput(name, counts[name], rate, rate / rates[ONE_BY_ONE]) for name, rate in rates.items()]


@dataclass(frozen=True, slots=True)
class _Work:
    """Pairs to transfer, and the three ways to do it."""

    pairs: list[tuple[str, str]]
    images: Path
    folder: Path  # of the results
    options: TransferOptions

    def by_commands(self) -> None:
        shared = [*_as_options(self.options.execution), "--quiet", "--overwrite"]
        for source, pose, result in self._files():
            files = [str(source), "--pose", str(pose), "-o", str(result)]
            run_gfla("pose-transfer", *files, *shared)

    def in_turn(self) -> None:
        model = PoseTransfer(**self.options.execution)
        for source, pose, result in self._files():
            write_image(result, model.transfer(source, pose).image, overwrite=True)

    def by_infer(self) -> None:
        chosen = self.folder / "pairs.csv"
        with chosen.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("from", "to"), *self.pairs])
        report = transfer_pairs(chosen, self.images, self.folder / "infer", self.options)
        if report.failed:
            raise GflaError(f"{report.failed} of the measured pairs fail", hint="gfla infer names them")

    def _files(self) -> Iterator[tuple[Path, Path, Path]]:
        for number, (source, pose) in enumerate(self.pairs):
            yield self.images / source, self.images / pose, self.folder / f"{number}.png"


@dataclass(frozen=True, slots=True)
class ClipSpeed:
    """One clip, from files to a file."""

    task: str
    frames: int
    width: int  # of a frame, pixels
    height: int
    cold_seconds: float  # `gfla animate` in a new process, from its start to its end
    frames_per_second: float  # the model is loaded: from opening the driver to the finished file
    cpu_milliseconds: float  # per frame, in that time: of all cores, with ffmpeg; varies less on a busy machine
    milliseconds: dict[str, float]  # per frame, by stage, while no other stage runs
    network_share: float  # of the time of all stages


def measure_animation(
    source: Path, driving: Path, model: str | None, execution: Execution, size: Size = "source", say: Say = silent
) -> ClipSpeed:
    """Animates three times into temporary files: in a new process, in this one, and here one stage at a time.

    `size`: of the frames, see `AnimationSettings`.
    """
    options = AnimateOptions(settings=AnimationSettings(size=size), execution=execution, model=model)
    with TemporaryDirectory() as folder:
        jobs = [plan_animation(source, driving, Path(folder) / f"{name}.mp4") for name in ("cold", "warm", "in-turns")]
        named = _as_options({"model": model, "size": size, **execution})
        started = time.perf_counter()
        run_gfla("animate", str(source), str(driving), "-o", str(jobs[0].output), *named, "--quiet")
        cold = time.perf_counter() - started
        warm = run_animation(jobs[1], options, say=say)
        in_turns = run_animation(jobs[2], replace(options, in_turns=True))
    per_frame = {stage: round(1000 * in_turns.seconds.get(stage, 0.0) / in_turns.frames, 2) for stage in STAGES}
    return ClipSpeed(
        warm.task,
        warm.frames,
        warm.width,
        warm.height,
        cold_seconds=round(cold, 2),
        frames_per_second=warm.frames_per_second,
        cpu_milliseconds=round(1000 * warm.cpu_seconds / warm.frames, 1),
        milliseconds=per_frame,
        network_share=per_frame["network"] / sum(per_frame.values()),
    )
