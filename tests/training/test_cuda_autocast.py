"""Every recipe takes its steps under an autocast that refuses what CUDA's refuses."""

from __future__ import annotations

import inspect
import pkgutil
from dataclasses import replace
from importlib import import_module

import pytest
import torch
import torch.nn.functional as F
from cuda_autocast import REFUSED, cuda_autocast
from drawn_clips import Drawn
from noise_pairs import KnownPairs
from small_training import small_vgg
from test_view_training import TwoViews
from tiny_models import tiny
from torch.utils.data import default_collate

import gfla_cli.losses
from gfla_cli.inference.device import Placement
from gfla_cli.training.learner import Engine, Learner, StagePosition
from gfla_cli.training.recipe import RECIPES, recipe
from gfla_cli.training.tasks.clip import SequenceTask
from gfla_cli.training.tasks.pose import PoseTask
from gfla_cli.training.tasks.view import ViewTask

BF16 = Placement(torch.device("cpu"), torch.bfloat16, "test")


def test_the_autocast_refuses_what_cuda_refuses():
    x = torch.rand(3)
    with cuda_autocast():
        F.binary_cross_entropy(x, x)  # outside of autocast it is allowed, as on CUDA
        with torch.autocast("cpu", torch.bfloat16):
            with pytest.raises(RuntimeError, match="unsafe to autocast"):
                F.binary_cross_entropy(x, x)
            assert F.softmax(x.bfloat16(), dim=0).dtype is torch.float32
            with torch.autocast("cpu", enabled=False):
                F.binary_cross_entropy(x, x)


def test_no_loss_calls_a_refused_operation_while_autocast_may_be_on():
    """Each stands inside of a block without autocast."""
    for module in pkgutil.iter_modules(gfla_cli.losses.__path__):
        lines = inspect.getsource(import_module(f"gfla_cli.losses.{module.name}")).splitlines()
        for number, line in enumerate(lines):
            if any(f"{name}(" in line for name in REFUSED):
                before = "\n".join(lines[max(0, number - 4) : number])
                assert "enabled=False" in before, f"{module.name}:{number + 1}"


def small(name):
    """The recipe with a tiny model and a step of every stage."""
    plan = recipe(name)
    preset = {"fashion": "pose-fashion", "market": "pose-market", "people": "pose-people", "photos": "pose-people"}
    preset |= {"chairs": "view-chairs", "shapenet": "view-chair", "faces": "face", "bodies": "body-people"}
    preset |= {"people-faces": "face-people"}
    model = tiny(preset[name], refines_heads=False) if plan.model.task == "pose" else tiny(preset[name])
    stages = tuple(
        replace(
            s,
            steps=1,
            batch=2,
            image_size=(64, 64),
            adversarial_from=0,
            ground_truth_flows=min(s.ground_truth_flows, 0.5),
        )
        for s in plan.stages
    )
    return replace(plan, model=model, stages=stages, content_layers=("relu1_1", "relu2_1"), style_layers=("relu2_2",))


def task_of(plan):
    """A task over noise, and a collated sample of it."""
    kind = plan.model.task
    if kind == "pose":
        data, make = KnownPairs(), PoseTask
    elif kind == "view":
        data, make = TwoViews(), ViewTask
    else:
        data, make = Drawn(kind), SequenceTask
    vgg = small_vgg(deep=True)
    return make(plan, lambda stage: data, vgg), default_collate([data[k] for k in range(2)])


@pytest.mark.parametrize("name", RECIPES)
def test_every_stage_of_every_recipe_takes_a_step(name):
    plan = small(name)
    task, sample = task_of(plan)
    learner = Learner(plan, task, BF16, Engine())
    for stage in plan.stages:
        learner.start_stage(stage)
        batch = next(iter(task.batches(sample, BF16.device)))
        with cuda_autocast() as mode:
            result = learner.step([batch], [1.0], stage, StagePosition(0, 0.0))
        assert all(torch.isfinite(torch.tensor(value)) for value in result.losses.values()), result.losses
        wanted = {
            loss
            for loss in ("l1", "content", "style", "correspondence", "visibility", "solids", "choice", "matte", "share")
            if getattr(stage.weights, loss)
        }
        if stage.train == "flow":
            wanted -= {"l1", "content", "style", "matte", "share"}
        assert wanted <= set(result.losses), name
        assert "conv2d" in mode.calls
