"""Every recipe takes its steps under an autocast that refuses what CUDA's refuses."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from drawn_clips import Drawn
from noise_pairs import NoisePairs
from small_training import small_vgg
from test_view_training import TwoViews
from tiny_models import tiny
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils.data import default_collate

import gfla_cli.losses
import gfla_cli.training.tasks
from gfla_cli.inference.device import Placement
from gfla_cli.training.learner import Engine, Learner, StagePosition
from gfla_cli.training.recipe import RECIPES, recipe
from gfla_cli.training.tasks.clip import SequenceTask
from gfla_cli.training.tasks.pose import PoseTask
from gfla_cli.training.tasks.view import ViewTask

BF16 = Placement(torch.device("cpu"), torch.bfloat16, "test")

# How operations behave under CUDA's autocast, as torch's documentation lists them ("CUDA Ops that ..."). The CPU's
# autocast allows more, so a loss that works there may end a training on a GPU before its first step.
REFUSED = {"binary_cross_entropy"}
IN_FLOAT32 = {
    "__pow__", "__rdiv__", "__rpow__", "__rtruediv__", "acos", "asin", "binary_cross_entropy_with_logits", "cosh",
    "cosine_embedding_loss", "cdist", "cosine_similarity", "cross_entropy", "cumprod", "cumsum", "dist", "erfinv",
    "exp", "expm1", "group_norm", "hinge_embedding_loss", "kl_div", "l1_loss", "layer_norm", "log", "log10",
    "log_softmax", "log1p", "log2", "margin_ranking_loss", "mse_loss", "nll_loss", "norm", "normalize", "pow", "prod",
    "reciprocal", "rsqrt", "sinh", "smooth_l1_loss", "softmax", "softmin", "softplus", "sum", "renorm", "tan",
}  # fmt: skip
IN_WIDEST = {
    "addcdiv", "addcmul", "atan2", "bilinear", "cross", "dot", "grid_sample", "index_put", "scatter_add", "tensordot",
}  # fmt: skip


class CudaAutocast(TorchFunctionMode):
    """Applies the lists wherever autocast is enabled."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = (resolve_name(func) or getattr(func, "__name__", "")).rsplit(".", 1)[-1]
        self.calls.add(name)
        if torch.is_autocast_enabled("cpu"):
            if name in REFUSED:
                raise RuntimeError(f"torch.{name} is unsafe to autocast")
            if name in IN_FLOAT32:
                args, kwargs = _cast(args, torch.float32), _cast(kwargs, torch.float32)
            elif name in IN_WIDEST:
                wide = torch.float32 if torch.float32 in set(_types((args, kwargs))) else torch.bfloat16
                args, kwargs = _cast(args, wide), _cast(kwargs, wide)
        return func(*args, **kwargs)


@contextmanager
def cuda_autocast() -> Iterator[CudaAutocast]:
    """The block runs as under CUDA's autocast, as far as a CPU can play it."""
    with CudaAutocast() as mode:
        yield mode


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(dtype) if value.dtype in (torch.bfloat16, torch.float32) else value
    if isinstance(value, dict):
        return {key: _cast(item, dtype) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_cast(item, dtype) for item in value)
    return value


def _types(value: Any) -> Iterator[torch.dtype]:
    if isinstance(value, torch.Tensor):
        yield value.dtype
    elif isinstance(value, dict):
        for item in value.values():
            yield from _types(item)
    elif type(value) in (list, tuple):
        for item in value:
            yield from _types(item)


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


def test_tasks_copy_to_the_device_without_waiting():
    """`on_device` copies while the GPU computes; Tensor.to waits for all work queued there."""
    for module in pkgutil.iter_modules(gfla_cli.training.tasks.__path__):
        source = inspect.getsource(import_module(f"gfla_cli.training.tasks.{module.name}"))
        assert not re.findall(r"\.to\([\w.]*device[,)].*", source), module.name


def small(name):
    """The recipe with a tiny model and a step of every stage."""
    plan = recipe(name)
    preset = {"fashion": "pose-fashion", "market": "pose-market", "people": "pose-people", "photos": "pose-people"}
    preset |= {"chairs": "view-chairs", "shapenet": "view-chair", "faces": "face", "bodies": "body-people"}
    preset |= {"people-faces": "face-people", "objects": "view-chairs"}
    model = (
        tiny(preset[name], refines_heads=False, refines_halves=False)
        if plan.model.task == "pose"
        else tiny(preset[name])
    )
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
        data, make = NoisePairs(), PoseTask
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
