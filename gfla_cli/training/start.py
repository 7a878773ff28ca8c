"""A run that starts from a flow estimator that was trained already, and so without the stage that trains it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gfla_cli.bundles.bundle import is_flow_tensor, read_bundle
from gfla_cli.errors import BundleError, UsageError
from gfla_cli.training.learner import Learner
from gfla_cli.training.recipe import Recipe


def without_flow_stage(plan: Recipe) -> Recipe:
    """The recipe from its first joint stage on; raises UsageError when it has no stage for the flow alone."""
    joint = tuple(stage for stage in plan.stages if stage.train == "joint")
    if len(joint) == len(plan.stages):
        raise UsageError(
            f"a model with the sampler {plan.model.sampler} has no flow estimator", hint="leave --flow out"
        )
    return replace(plan, stages=joint)


def take_flow(learner: Learner, model: str | Path) -> None:
    """Copies the flow estimator of a bundle, which may hold nothing else, into a generator that is to be trained.

    Raises BundleError when the bundle is unknown or damaged, or its estimator is not that of the generator.
    """
    stored = read_bundle(model)
    theirs = {name: tensor.float() for name, tensor in stored.state.items() if is_flow_tensor(name)}
    own = {name: tensor.shape for name, tensor in learner.generator.state_dict().items() if is_flow_tensor(name)}
    if {name: tensor.shape for name, tensor in theirs.items()} != own:
        what = f"{stored.folder}: its flow estimator is not that of the recipe's model"
        raise BundleError(what, hint="take one with the same preset, --show prints the model's settings")
    learner.generator.load_state_dict(theirs, strict=False)
    learner.average.load({**learner.average.state(), **theirs}, steps=0)
