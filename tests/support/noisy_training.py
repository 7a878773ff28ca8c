"""A run with random losses, which shows any inexact resume; also as a process that tests can stop."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from small_training import plan
from tiny_models import CPU

from gfla_cli.io.background import Say, silent
from gfla_cli.training.recipe import LossWeights
from gfla_cli.training.run import RunOptions, run_training
from gfla_cli.training.tasks.pose import PoseTask
from gfla_cli.training.trainer import Pace, Trainer

STOPPABLE = LossWeights(l1=5, adversarial=1, affine=0.001)
PACE = Pace(log=1, save=2, sample=1000)
STOPPED_AT = 3  # step of the last stage; the last checkpoint before it is of step 2
_PATIENCE_S = 60


def noisy(forward):
    """The same losses times random numbers: a run that does not restore the random state shows it."""

    def changed(self, generator, batch, stage):
        outcome = forward(self, generator, batch, stage)
        return outcome._replace(terms={n: t * (1 + 0.1 * torch.rand(())) for n, t in outcome.terms.items()})

    return changed


def train_noisily(root, folder, *, flow=2, joint=5, resume=False, report=None, workers=0, say: Say = silent):
    """Trains into the folder, calls `report` after every step, and returns the bundle."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PoseTask, "forward", noisy(PoseTask.forward))
        if report is not None:
            run = Trainer.run
            patch.setattr(Trainer, "run", lambda s, show, *rest: run(s, lambda p: (show(p), report(p)), *rest))
        return run_training(
            plan(flow=flow, joint=joint, weights=STOPPABLE, average_decay=0.9),
            Path(root),
            output=Path(folder),
            resume=resume,
            vgg=None,
            cache=None,
            placement=CPU,
            options=RunOptions(workers=workers, pace=PACE),
            say=say,
        )


def child(root, folder, threads, workers, reached):
    """The process that is stopped, with its workers: sends to `reached` that it waits for that."""
    os.setsid()
    torch.set_num_threads(threads)
    said = []

    def report(progress):
        if (progress.stage.name, progress.step) == ("joint", STOPPED_AT):
            reached.send(True)
            end = time.monotonic() + _PATIENCE_S
            while not any("stopping and saving" in line for line in said) and time.monotonic() < end:
                time.sleep(0.01)

    train_noisily(root, folder, report=report, workers=workers, say=said.append)
