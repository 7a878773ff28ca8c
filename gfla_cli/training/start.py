"""A run that starts from weights that were trained already, and so without the stage that trains the flow alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from gfla_cli.bundles.bundle import is_flow_tensor, read_bundle
from gfla_cli.bundles.files import read_config
from gfla_cli.bundles.shelf import find_bundle
from gfla_cli.errors import BundleError, UsageError
from gfla_cli.io.files import atomic_path
from gfla_cli.training.learner import Learner
from gfla_cli.training.recipe import Recipe, joint_stages

CRITICS = "critics.safetensors"


def without_flow_stage(plan: Recipe) -> Recipe:
    """The recipe from its first joint stage on; raises UsageError when it has no stage for the flow alone."""
    joint = joint_stages(plan)
    if len(joint) == len(plan.stages):
        raise UsageError(
            f"a model with the sampler {plan.model.sampler} has no flow estimator", hint="leave --flow out"
        )
    return replace(plan, stages=joint)


def going_on_from(plan: Recipe, model: str | Path) -> Recipe:
    """The recipe from its first joint stage on, for the network of a bundle whatever its size.

    Raises BundleError when the bundle is unknown or damaged, UsageError when its task is not that of the recipe.
    """
    folder = find_bundle(model)
    config, _ = read_config(folder)  # the weights are read when the network is there to take them
    if config.task != plan.model.task:
        what = f"{folder}: a model for the task {config.task}, not for {plan.model.task}"
        raise UsageError(what, hint=f"--dataset {plan.dataset} is for {plan.model.task}")
    refines_heads = config.refines_heads or (plan.heads > 0 and config.is_square)  # what it learnt, and what it will
    return replace(plan, model=replace(config, refines_heads=refines_heads), stages=joint_stages(plan))


def take_flow(learner: Learner, model: str | Path) -> None:
    """Copies the flow estimator of a bundle, which may hold nothing else, into a generator that is to be trained.

    Raises BundleError when the bundle is unknown or damaged, or its estimator is not that of the generator.
    """
    _take(learner, model, is_flow_tensor, "flow estimator")


def take_weights(learner: Learner, model: str | Path) -> None:
    """Copies the whole network of a bundle into a generator that is to be trained. Raises as `take_flow` does.

    Discriminators that the folder of the bundle holds, as that of a run does, are taken along where they fit.
    """
    _take(learner, model, lambda name: True, "network")
    critics = find_bundle(model) / CRITICS
    if critics.is_file():
        theirs = {name: tensor.float() for name, tensor in load_file(critics).items()}
        own = learner.discriminators.state_dict()
        fitting = {name: tensor for name, tensor in theirs.items() if name in own and own[name].shape == tensor.shape}
        learner.discriminators.load_state_dict(fitting, strict=False)


def write_critics(learner: Learner, folder: Path) -> None:
    """Writes the discriminators beside a bundle, for a training that goes on from it."""
    half = {n: t.detach().to("cpu", torch.float16).contiguous() for n, t in learner.discriminators.state_dict().items()}
    with atomic_path(folder / CRITICS, overwrite=True) as temporary:
        save_file(half, temporary)


def _take(learner: Learner, model: str | Path, wanted: Callable[[str], bool], part: str) -> None:
    stored = read_bundle(model)
    theirs = {name: tensor.float() for name, tensor in stored.state.items() if wanted(name)}
    own = {name: tensor.shape for name, tensor in learner.generator.state_dict().items() if wanted(name)}
    if {name: tensor.shape for name, tensor in theirs.items()} != own:
        what = f"{stored.folder}: its {part} is not that of the recipe's model"
        raise BundleError(what, hint="take one with the same preset, --show prints the model's settings")
    learner.generator.load_state_dict(theirs, strict=False)
    learner.average.load_state_dict(learner.generator.state_dict())
