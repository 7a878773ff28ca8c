"""Speed of training steps: what each acceleration gains, and whether data loading keeps up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import default_collate

from gfla_cli.benchmark.measure import interleaved_times
from gfla_cli.benchmark.networks import attend_by_patches
from gfla_cli.datasets.deepfashion import BenchmarkPairs
from gfla_cli.datasets.tables import SQUARE, write_tables
from gfla_cli.errors import UsageError
from gfla_cli.inference.device import Placement, bf16_on_cpu
from gfla_cli.io.image import write_image
from gfla_cli.losses.image import LAYERS, Vgg19
from gfla_cli.training.learner import Engine, Learner, StagePosition
from gfla_cli.training.loading import load_samples
from gfla_cli.training.recipe import Recipe, Stage
from gfla_cli.training.tasks.pose import PoseTask

_IMAGES, _SIDE = 8, 256
_STEPS_WITH_DATA = 6


class Way(NamedTuple):
    name: str
    dtype: torch.dtype
    engine: Engine
    patches: bool = False  # local attention patch by patch, as the paper defines it


@dataclass(frozen=True, slots=True)
class StepSpeed:
    name: str
    milliseconds: float  # per step
    images_per_second: float
    ratio: float  # how many times faster than the first way in the same run


@dataclass(frozen=True, slots=True)
class TrainingSpeed:
    """Speed of all ways, and of the fastest one that training has with images from disk."""

    dataset: str
    batch: int
    image_size: tuple[int, int]
    ways: list[StepSpeed]
    workers: int
    images_per_second: float  # of the fastest way, with data loading
    waiting: float  # share of that time spent waiting for images


def measure_training(
    recipe: Recipe, placement: Placement, *, batch: int, rounds: int, workers: int, compiled: bool
) -> TrainingSpeed:
    """Steps of the first joint stage of a pose recipe, with random images and VGG19 weights; medians of runs in turns.

    Raises UsageError for a recipe of another task.
    """
    if recipe.model.task != "pose":
        raise UsageError(f"the benchmark trains pose models, not {recipe.model.task}", hint="--dataset people")
    stage = replace(next(stage for stage in recipe.stages if stage.train == "joint"), batch=batch)
    with TemporaryDirectory() as folder:
        data = _photos(Path(folder), stage.image_size)
        task = PoseTask(recipe, lambda stage: data, _vgg19(placement.device))
        ways, learners = _ways(placement.device, compiled=compiled), {}
        for way in ways:
            learner = Learner(recipe, task, Placement(placement.device, way.dtype, "benchmark"), way.engine)
            learner.start_stage(stage)
            if way.patches:
                attend_by_patches(learner.generator)
            learners[way.name] = learner
        sample = default_collate([data[k] for k in range(batch)])
        steps = {name: _stepper(learner, task, stage, sample) for name, learner in learners.items()}
        seconds = interleaved_times(steps, rounds)
        first = next(iter(seconds.values()))
        speeds = [StepSpeed(name, 1e3 * spent, batch / spent, first / spent) for name, spent in seconds.items()]
        # Training never computes attention by patches: noise of a small model must not choose it.
        fastest = min((way.name for way in ways if not way.patches), key=lambda name: seconds[name])
        rate, waiting = _with_data(learners[fastest], task, stage, data, workers)
    return TrainingSpeed(recipe.dataset, batch, stage.image_size, speeds, workers, rate, waiting)


def _ways(device: torch.device, *, compiled: bool) -> list[Way]:
    """All ways; ratios are to the first one, the slowest."""
    plain, last = Engine(), Engine(channels_last=True)
    ways = [
        Way("attention by patches, fp32", torch.float32, plain, patches=True),
        Way("fp32", torch.float32, plain),
        Way("fp32, channels last", torch.float32, last),
    ]
    if device.type == "cuda" or (device.type == "cpu" and bf16_on_cpu()):
        ways += [Way("bf16", torch.bfloat16, plain), Way("bf16, channels last", torch.bfloat16, last)]
    if compiled:
        ways.append(Way(f"{ways[-1].name}, compiled", ways[-1].dtype, replace(last, compile=True)))
    return ways


def _stepper(learner: Learner, task: PoseTask, stage: Stage, sample: Any) -> Callable[[], object]:
    return lambda: learner.step(
        [next(task.batches(sample, learner.placement.device))], [1.0], stage, StagePosition(0, 0.0)
    )


def _with_data(
    learner: Learner, task: PoseTask, stage: Stage, data: BenchmarkPairs, workers: int
) -> tuple[float, float]:
    """Images per second, and the share of time spent waiting for them; without the start of the workers."""
    with load_samples(data, [list(range(stage.batch))] * (_STEPS_WITH_DATA + 1), workers) as batches:
        loaded = next(batches)
        waited, started = 0.0, time.perf_counter()
        for _ in range(_STEPS_WITH_DATA):
            _stepper(learner, task, stage, loaded.sample)()
            asked = time.perf_counter()
            loaded = next(batches)
            waited += time.perf_counter() - asked
        spent = time.perf_counter() - started
    return _STEPS_WITH_DATA * stage.batch / spent, waited / spent


def _photos(folder: Path, size: tuple[int, int]) -> BenchmarkPairs:
    """A data set of JPEG files of smooth noise, which decode as slowly as photos, with random joints."""
    rng = np.random.default_rng(0)
    (folder / "train").mkdir()
    names = [f"{k}.jpg" for k in range(_IMAGES)]
    for name in names:
        noise = rng.integers(0, 255, (_SIDE, _SIDE, 3), dtype=np.uint8)
        write_image(folder / "train" / name, np.asarray(cv2.GaussianBlur(noise, (0, 0), 2.0), np.uint8))
    points = {name: rng.integers(0, _SIDE, (18, 2)).tolist() for name in names}
    write_tables(folder, SQUARE, "train", points, zip(names, names[1:] + names[:1], strict=True))
    return BenchmarkPairs(folder, "train", SQUARE, size)


def _vgg19(device: torch.device) -> Vgg19:
    state: dict[str, torch.Tensor] = {}
    channels = 3
    for name, number in LAYERS.items():
        width = min(32 << int(name[4]), 512)  # by block: 64, 128, 256, 512, 512
        state[f"features.{number}.weight"] = torch.randn(width, channels, 3, 3) * (2 / (9 * channels)) ** 0.5
        state[f"features.{number}.bias"] = torch.zeros(width)
        channels = width
    return Vgg19(state).to(device)
