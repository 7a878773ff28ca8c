"""Training: both stages, learning of a small set, exact resume, and the final bundle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_training import plan, small_vgg, trainer
from tiny_models import CPU, tiny
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.bundles.bundle import FLOW_ONLY, is_flow_tensor, load_bundle, save_bundle
from gfla_cli.errors import BundleError, DataError, GflaError, UsageError
from gfla_cli.networks.build import build
from gfla_cli.training.recipe import RECIPES, LossWeights, fine_tuning_recipe, with_sampler, without_flow_stage
from gfla_cli.training.run import RunOptions, run_training
from gfla_cli.training.tasks.base import Outcome


def test_both_stages_run_and_leave_a_journal(open_data, tmp_path):
    seen = []
    trainer(plan(), open_data, tmp_path, small_vgg()).run(seen.append)
    assert [(p.stage.name, p.step) for p in seen] == [
        ("flow", 1),
        ("flow", 2),
        ("joint", 1),
        ("joint", 2),
        ("joint", 3),
    ]
    assert set(seen[0].losses) == {"affine", "total"}
    assert set(seen[-1].losses) >= {"l1", "content", "style", "adversarial", "discriminator", "affine", "total"}
    assert seen[-1].samples == 20


def test_a_head_is_learnt_and_judged_by_itself(open_data, tmp_path):
    weights = LossWeights(l1=5, close_up=1, adversarial=1)
    run = trainer(plan(flow=1, weights=weights), open_data, tmp_path, small_vgg())
    seen = []
    run.run(lambda progress: seen.append(progress.losses))
    assert seen[-1]["close_up"] > 0
    assert "content" not in seen[-1]
    assert set(run.learner.discriminators) == {"image", "close_up"}


def test_a_few_steps_learn_a_small_set(open_data, tmp_path):
    seen = []
    simple = plan(flow=1, joint=15, weights=LossWeights(l1=5))
    trainer(simple, open_data, tmp_path, None).run(seen.append)
    first, last = (np.mean([p.losses["l1"] for p in part]) for part in (seen[1:6], seen[-5:]))
    assert last < 0.5 * first


@pytest.mark.parametrize("frozen", [(), ("flow_estimator.down", "decoder.to_image")])
def test_frozen_parts_keep_their_weights(open_data, tmp_path, frozen):
    recipe = plan(flow=1, joint=2)
    recipe = replace(recipe, stages=(replace(recipe.stages[1], frozen=frozen),))
    run = trainer(recipe, open_data, tmp_path, small_vgg())
    before = {name: weight.detach().clone() for name, weight in run.learner.generator.named_parameters()}
    run.run(lambda progress: None)
    changed = {
        name for name, weight in run.learner.generator.named_parameters() if not torch.equal(weight, before[name])
    }
    parts = ("flow_estimator.down", "flow_estimator.up", "decoder.to_image", "decoder.levels", "source_encoder.down")
    still = {part for part in parts if not any(name.startswith(f"{part}.") for name in changed)}
    assert still == set(frozen)


def test_a_part_that_is_frozen_must_exist(open_data, tmp_path):
    recipe = plan(flow=1, joint=1)
    recipe = replace(recipe, stages=(replace(recipe.stages[0], frozen=("refiner",)),))
    with pytest.raises(UsageError, match="freezes refiner"):
        trainer(recipe, open_data, tmp_path, small_vgg()).run(lambda progress: None)


def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(open_data, tmp_path):
    recipe = plan(flow=1, joint=3, average_decay=0.9)
    whole = trainer(recipe, open_data, tmp_path / "whole", small_vgg())
    whole.run(lambda progress: None)

    class StoppedError(Exception):
        pass

    def stop(progress):
        if (progress.stage.name, progress.step) == ("joint", 2):
            raise StoppedError

    broken = trainer(recipe, open_data, tmp_path / "broken", small_vgg())
    with pytest.raises(StoppedError):
        broken.run(stop)
    broken.save()
    resumed = trainer(recipe, open_data, tmp_path / "broken", small_vgg())
    resumed.resume()
    assert (resumed.stage_index, resumed.step) == (1, 2)
    resumed.run(lambda progress: None)
    for name, tensor in whole.learner.average.state_dict().items():
        assert torch.equal(tensor, resumed.learner.average.state_dict()[name]), name


def test_the_pipeline_ends_in_a_bundle_that_loads(small_set, tmp_path):
    vgg = tmp_path / "vgg.npz"
    state = {k.replace("convs.relu", ""): v for k, v in small_vgg().state_dict().items()}
    numbers = {"1_1": 0, "1_2": 2, "2_1": 5, "2_2": 7, "3_1": 10}
    arrays = {f"features.{numbers[k.split('.')[0]]}.{k.split('.')[1]}": v.numpy() for k, v in state.items()}
    np.savez(vgg, **arrays)
    bundle = run_training(
        plan(flow=1, joint=1),
        small_set,
        output=tmp_path / "run",
        resume=False,
        vgg=vgg,
        cache=None,
        placement=CPU,
        options=RunOptions(workers=0),
    )
    assert load_bundle(bundle).config == tiny()
    with pytest.raises(DataError, match="there is a run already"):
        run_training(plan(), small_set, output=tmp_path / "run", resume=False, vgg=vgg, cache=None, placement=CPU)


def test_a_run_may_start_from_the_flow_estimator_of_a_bundle(small_set, tmp_path):
    torch.manual_seed(5)
    theirs = {name: tensor for name, tensor in build(tiny()).state_dict().items() if is_flow_tensor(name)}
    save_bundle(tmp_path / "flow", tiny(), theirs, dtype=torch.float32, part=FLOW_ONLY)
    recipe = without_flow_stage(plan(joint=1, weights=LossWeights(l1=5), average_decay=0.9))
    assert [stage.train for stage in recipe.stages] == ["joint"]
    still = replace(recipe, stages=tuple(replace(stage, learning_rate=0.0) for stage in recipe.stages))
    options = {"resume": False, "vgg": None, "cache": None, "placement": CPU}
    start = RunOptions(workers=0, flow=tmp_path / "flow")
    bundle = run_training(still, small_set, output=tmp_path / "run", options=start, **options)
    assert f"--dataset {still.dataset}" in (bundle / "README.md").read_text()  # the model card
    made = load_bundle(bundle).network.state_dict()
    assert all(torch.equal(made[name], tensor.half().float()) for name, tensor in theirs.items())
    other = replace(still, model=replace(tiny(), flow_width=12))
    with pytest.raises(BundleError, match="does not fit the recipe"):
        run_training(other, small_set, output=tmp_path / "other", options=start, **options)
    with pytest.raises(UsageError, match="has no flow estimator"):
        without_flow_stage(with_sampler(plan(), "none"))


def test_a_run_may_go_on_from_all_the_weights_of_a_bundle(small_set, tmp_path):
    torch.manual_seed(6)
    smaller = replace(tiny(), flow_width=12)
    theirs = build(smaller).state_dict()
    save_bundle(tmp_path / "before", smaller, theirs, dtype=torch.float32)
    recipe = fine_tuning_recipe(plan(joint=1, weights=LossWeights(l1=5), average_decay=0.9), tmp_path / "before")
    assert [stage.train for stage in recipe.stages] == ["joint"]
    assert recipe.model == smaller
    still = replace(recipe, stages=tuple(replace(stage, learning_rate=0.0) for stage in recipe.stages))
    options = {"resume": False, "vgg": None, "cache": None, "placement": CPU}
    start = RunOptions(workers=0, init=tmp_path / "before")
    bundle = run_training(still, small_set, output=tmp_path / "run", options=start, **options)
    made = load_bundle(bundle).network.state_dict()
    assert all(torch.equal(made[name], tensor.half().float()) for name, tensor in theirs.items())
    with pytest.raises(UsageError, match="a model for the task pose, not for view"):
        fine_tuning_recipe(RECIPES["chairs"], tmp_path / "before")


def test_heads_from_near_are_learnt_by_models_whose_frame_is_a_square_and_by_no_others(tmp_path):
    for name, aspect, learnt in (("square", 1.0, True), ("stretched", 176 / 256, False)):
        config = replace(tiny(), refines_heads=False, refines_halves=False, frame_aspect=aspect)
        save_bundle(tmp_path / name, config, build(config).state_dict())
        assert fine_tuning_recipe(RECIPES["people"], tmp_path / name).model == replace(config, refines_heads=learnt)


def test_a_run_starts_from_one_model_at_most_and_keeps_its_sampler():
    both = ["train", "--dataset", "photos", "--init", "pose-people", "--flow", "pose-people", "--show"]
    assert "exclude each other" in CliRunner().invoke(app, both).stderr
    other = ["train", "--dataset", "photos", "--init", "pose-people", "--sampler", "bilinear", "--show"]
    assert "keeps its own" in CliRunner().invoke(app, other).stderr


def test_a_loss_that_is_not_a_number_is_survived_and_then_named(open_data, tmp_path, monkeypatch):
    run = trainer(plan(flow=1, joint=30), open_data, tmp_path, small_vgg())
    before = {name: tensor.clone() for name, tensor in run.learner.generator.state_dict().items()}
    nan = {"l1": torch.tensor(float("nan"), requires_grad=True)}
    monkeypatch.setattr(run.task, "forward", lambda *_: Outcome(dict(nan), {}))
    with pytest.raises(GflaError, match="not a number"):
        run.run(lambda progress: None)
    assert all(torch.equal(before[name], tensor) for name, tensor in run.learner.generator.state_dict().items())
