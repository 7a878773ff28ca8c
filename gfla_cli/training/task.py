"""What the training loop asks of a task: pose, sequences and views differ in their batches, not in how they train."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from gfla_cli.training.recipe import Stage

Terms = dict[str, Tensor]  # name of a loss -> unweighted scalar; the names are those of LossWeights


class Judged(NamedTuple):
    """What one discriminator compares; shapes are its own."""

    real: Tensor
    fake: Tensor


class Read(NamedTuple):
    """What a pose reader finds joints in, and those it should find in the real one."""

    real: Tensor  # (B, 3, H, W)
    fake: Tensor
    joints: Tensor  # (B, J, h, w) heat maps


class Outcome(NamedTuple):
    """What came out of one step's forward pass."""

    terms: Terms
    judged: Mapping[str, Judged | Read]  # by critic; empty where nothing was rendered
    carried: Tensor | None = None  # what the next step of the same sample goes on from, see TrainingTask.batches


class TrainingTask(Protocol):
    """A task's data, its losses and its pictures."""

    steps_per_sample: int  # how many training steps one loaded batch serves, one after another

    def dataset(self, stage: Stage) -> Dataset[Any]:
        """Numbered samples of the stage's size; numbers never end."""

    def discriminators(self) -> nn.ModuleDict:
        """The critics by name: discriminators, and a pose reader where the recipe wants one."""

    def batches(self, sample: Any, device: torch.device) -> Iterator[Any]:
        """`steps_per_sample` batches from one collated sample.

        Where the outcome of a step has something `carried`, the next batch of the same sample becomes
        `batch.continued(carried)`.
        """

    def flow_modules(self, generator: nn.Module) -> list[nn.Module]:
        """The parts that a flow stage trains."""

    def forward(self, generator: nn.Module, batch: Any, stage: Stage) -> Outcome:
        """Runs the generator as the stage wants it, and computes every loss but the adversarial ones."""

    def rows(self, generator: nn.Module, batch: Any) -> Tensor:
        """(N, 3, H, W) pictures in [-1, 1] to look at, one line of small pictures each."""
