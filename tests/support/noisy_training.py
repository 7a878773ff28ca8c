"""A run with random losses, which shows any inexact resume; also as a process that tests can stop."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import torch
from small_training import plan
from tiny_models import CPU

from gfla_cli.training.recipe import LossWeights
from gfla_cli.training.run import RunOptions, run_training
from gfla_cli.training.tasks.pose import PoseTask
from gfla_cli.training.trainer import Pace, Trainer

STOPPABLE = LossWeights(l1=5, adversarial=1, affine=0.001)
PACE = Pace(log=1, save=3, sample=1000)


def noisy(forward):
    """The same losses times random numbers: a run that does not restore the random state shows it."""

    def changed(self, generator, batch, stage):
        outcome = forward(self, generator, batch, stage)
        return outcome._replace(terms={n: t * (1 + 0.1 * torch.rand(())) for n, t in outcome.terms.items()})

    return changed


def train_noisily(root, folder, *, flow=4, joint=9, resume=False, report=None, workers=0):
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
        )


def child(root, folder, threads, workers):
    """The process that is stopped: prints every step, and waits after step 5 of the last stage."""
    torch.set_num_threads(int(threads))

    def report(progress):
        sys.stdout.write(f"{progress.stage.name} {progress.step}\n")
        sys.stdout.flush()
        if (progress.stage.name, progress.step) >= ("joint", 5):
            time.sleep(2)

    train_noisily(root, folder, report=report, workers=int(workers))
