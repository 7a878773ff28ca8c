"""A small data set, a small VGG19, a short recipe and its trainer, for tests of training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from drawn_people import write_small_set
from tiny_models import CPU, tiny

from gfla_cli.datasets.deepfashion import BenchmarkPairs
from gfla_cli.datasets.tables import SQUARE
from gfla_cli.losses.image import Vgg19
from gfla_cli.training.recipe import LossWeights, Recipe, Stage
from gfla_cli.training.tasks.pose import PoseTask
from gfla_cli.training.trainer import Trainer


@pytest.fixture(scope="session")
def small_set(tmp_path_factory):
    """Four people, two images each. Read only."""
    return write_small_set(tmp_path_factory.mktemp("set"))


@pytest.fixture
def open_data(small_set):
    """Opens its pairs at the size of a stage."""
    return lambda stage: BenchmarkPairs(small_set, "train", SQUARE, stage.image_size)


def small_vgg(*, deep=False):
    """VGG19 up to relu3_1, or to relu4_1, with hardly any channels."""
    torch.manual_seed(1)
    shapes = {0: (8, 3), 2: (8, 8), 5: (16, 8), 7: (16, 16), 10: (16, 16)}
    if deep:
        shapes |= dict.fromkeys((12, 14, 16, 19), (16, 16))
    state = {f"features.{n}.weight": torch.randn(*shape, 3, 3) * 0.2 for n, shape in shapes.items()}
    return Vgg19(state | {f"features.{n}.bias": torch.zeros(shape[0]) for n, shape in shapes.items()})


def trainer(recipe, open_data, folder, vgg, *, placement=CPU, workers=0, engine=None):
    return Trainer(recipe, PoseTask(recipe, open_data, vgg), folder, placement, workers, engine)


def plan(*, flow=2, joint=3, weights=None, **changes):
    """A stage of flow and one of everything, of a few steps each."""
    stage = Stage(name="flow", train="flow", steps=flow, image_size=(64, 64), batch=4, weights=LossWeights(affine=0.1))
    joint_weights = weights or LossWeights(l1=5, content=0.5, style=10, adversarial=1, affine=0.001, person=1)
    fast = {"learning_rate": 2e-3, "betas": (0.9, 0.999)}
    stages = (stage, replace(stage, name="joint", train="joint", steps=joint, weights=joint_weights, **fast))
    layers = {"content_layers": ("relu1_1", "relu2_1"), "style_layers": ("relu2_2",)}
    return Recipe(dataset="fashion", model=tiny(), stages=stages, initial="kaiming", **layers, **changes)
