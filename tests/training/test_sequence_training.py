"""Training of animation: a task that starts each step from its own last frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from drawn_clips import FRAMES, PER_STEP, SIDE, Drawn, clip_plan
from small_training import small_vgg
from tiny_models import CPU, save_tiny
from torch.utils.data import default_collate

from gfla_cli.bundles.bundle import is_flow_tensor
from gfla_cli.datasets.sample import Correspondence
from gfla_cli.errors import BundleError
from gfla_cli.networks.build import build
from gfla_cli.networks.discriminator import Discriminator
from gfla_cli.training.batch import SIDE as CUT
from gfla_cli.training.checkpoint import load_flow_estimator, load_weights
from gfla_cli.training.learner import Engine
from gfla_cli.training.recipe import LossWeights
from gfla_cli.training.tasks.clip import SequenceTask, image_batches, sequence_batches
from gfla_cli.training.trainer import Trainer


def trainer(recipe, folder, vgg, **how):
    data = Drawn(recipe.model.task)
    return Trainer(recipe, SequenceTask(recipe, lambda stage: data, vgg), folder, CPU, workers=0, **how)


@pytest.mark.parametrize("task", ["face", "body"])
def test_both_stages_run_and_every_loss_is_there(task, tmp_path):
    seen = []
    run = trainer(clip_plan(task), tmp_path, small_vgg())
    run.run(seen.append)
    assert [p.stage.name for p in seen] == ["flow"] * 2 + ["joint"] * 3
    assert set(seen[0].losses) == {"affine", "correspondence", "visibility", "total"}
    assert set(seen[-1].losses) >= {"l1", "content", "style", "adversarial", "discriminator", "affine", "total"}
    assert all(np.isfinite(list(p.losses.values())).all() for p in seen)


def test_critics_of_clips_train_beside_channels_last(tmp_path):
    seen = []
    run = trainer(clip_plan("body"), tmp_path, small_vgg(), engine=Engine(channels_last=True))
    assert any(weight.dim() == 5 for weight in run.learner.discriminators.parameters())
    run.run(seen.append)
    assert all(np.isfinite(list(p.losses.values())).all() for p in seen)


def test_a_few_steps_learn_what_the_reference_shows(tmp_path):
    seen = []
    trainer(clip_plan("face", flow=0, joint=10, weights=LossWeights(l1=5)), tmp_path, None).run(seen.append)
    first, last = (np.mean([p.losses["l1"] for p in part]) for part in (seen[:2], seen[-4:]))
    assert last < 0.7 * first


def test_a_model_without_irises_starts_one_that_sees_them(tmp_path):
    recipe = clip_plan("face", flow=0, joint=2, weights=LossWeights(l1=5))
    before = replace(recipe.model, structure_channels=16)
    save_tiny(tmp_path / "before", before)
    run = trainer(recipe, tmp_path / "run", None)
    load_weights(run.learner, tmp_path / "before")
    started = run.learner.generator.state_dict()["target_encoder.down.0.down.weight"].clone()
    assert started[:, 16].abs().max() == 0 < started[:, :16].abs().max()
    flow = {name: tensor.clone() for name, tensor in run.learner.generator.state_dict().items() if is_flow_tensor(name)}
    run.run(lambda progress: None)  # and it learns
    load_flow_estimator(run.learner, tmp_path / "before")
    after = run.learner.generator.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in flow.items())
    assert not torch.equal(after["target_encoder.down.0.down.weight"], started)
    save_tiny(
        tmp_path / "wider", replace(before, flow_max_width=2 * before.flow_max_width, flow_width=2 * before.flow_width)
    )
    with pytest.raises(BundleError, match="does not fit"):
        load_flow_estimator(run.learner, tmp_path / "wider")


def test_a_step_goes_on_from_the_frame_that_the_one_before_made(tmp_path):
    run = trainer(clip_plan("face", flow=0, joint=4), tmp_path, small_vgg())
    went_on_from, made = [], []
    forward = run.task.forward

    def watched(generator, batch, stage):
        went_on_from.append(batch.carried)
        outcome = forward(generator, batch, stage)
        made.append(outcome.carried)
        return outcome

    run.task.forward = watched
    run.run(lambda progress: None)
    assert FRAMES // PER_STEP == 2  # every second step is the second of its clip
    assert [carried is None for carried in went_on_from] == [True, False, True, False]
    assert torch.equal(went_on_from[1], made[0])
    assert not went_on_from[1].requires_grad


RESUMED = clip_plan("face", flow=1, joint=4, weights=LossWeights(l1=5))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The weights at the end of a run that was not interrupted."""
    torch.manual_seed(0)
    run = trainer(RESUMED, tmp_path_factory.mktemp("unbroken"), None)
    run.run(lambda progress: None)
    return run.learner.average.state_dict()


@pytest.mark.parametrize("stop_at", [2, 3])
def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(unbroken, tmp_path, stop_at):
    """Also when it was interrupted in the middle of a clip."""

    class StoppedError(Exception):
        pass

    def stop(progress):
        if (progress.stage.name, progress.step) == ("joint", stop_at):
            raise StoppedError

    broken = trainer(RESUMED, tmp_path / "broken", None)
    with pytest.raises(StoppedError):
        broken.run(stop)
    broken.save()
    resumed = trainer(RESUMED, tmp_path / "broken", None)
    resumed.resume()
    resumed.run(lambda progress: None)
    for name, tensor in unbroken.items():
        assert torch.equal(tensor, resumed.learner.average.state_dict()[name]), name


def test_a_flow_stage_of_bodies_trains_both_estimators():
    recipe = clip_plan("body")
    network = build(recipe.model)
    modules = SequenceTask(recipe, lambda stage: Drawn("body"), None).flow_modules(network)
    assert modules == [network.previous_flow, network.reference_flow]
    recipe = clip_plan("face")
    network = build(recipe.model)
    assert SequenceTask(recipe, lambda stage: Drawn("face"), None).flow_modules(network) == [network.flow_estimator]


def test_motion_is_judged_by_two_differences_or_by_the_whole_clip():
    frames = torch.randn(2, 3, 4, 32, 32)
    assert Discriminator(blocks=3, clips=True)(frames).shape == (2, 1, 4, 4, 4)
    recipe = clip_plan("face", flow=0)
    task = SequenceTask(recipe, lambda stage: Drawn("face"), small_vgg())
    batch = next(task.batches(default_collate([Drawn("face")[0], Drawn("face")[1]]), torch.device("cpu")))
    judged = task.forward(build(recipe.model), batch, recipe.stages[0]).judged
    assert judged["motion"].real.shape == (2 * (PER_STEP - 2), 6, SIDE, SIDE)
    assert judged["image"].fake.shape == (2 * PER_STEP, 3, SIDE, SIDE)


@pytest.mark.parametrize(("task", "close_ups"), [("face", 2), ("body", 1)])
def test_what_people_look_at_first_is_learnt_and_judged_by_itself(task, close_ups, tmp_path):
    recipe = clip_plan(task, flow=0, joint=2, weights=LossWeights(l1=5, close_up=1, adversarial=1))
    seen = []
    run = trainer(recipe, tmp_path, small_vgg())
    run.run(lambda progress: seen.append(progress.losses))
    assert seen[-1]["close_up"] > 0
    assert set(run.learner.discriminators) == {"image", "motion", "close_up"}
    batch = next(run.task.batches(default_collate([Drawn(task)[0], Drawn(task)[1]]), torch.device("cpu")))
    judged = run.task.forward(build(recipe.model), batch, recipe.stages[0]).judged["close_up"]
    assert judged.real.shape == judged.fake.shape == (close_ups * 2 * PER_STEP, 3, CUT, CUT)


def test_a_row_to_look_at_shows_reference_structure_result_and_truth():
    for task in ("face", "body"):
        recipe = clip_plan(task)
        sequence = SequenceTask(recipe, lambda stage: None, None)
        batch = next(sequence.batches(default_collate([Drawn(task)[0], Drawn(task)[1]]), torch.device("cpu")))
        row = sequence.rows(build(recipe.model), batch)
        assert row.shape == (2, 3, SIDE, 4 * SIDE)
        assert torch.equal(row[..., 3 * SIDE :], batch.images[:, -1])


def test_the_steps_of_a_clip_follow_one_another():
    sample = default_collate([Drawn("face")[3], Drawn("face")[4]])
    config = clip_plan("face").model
    first, second = sequence_batches(sample, config, PER_STEP, torch.device("cpu"))
    pictures = image_batches(sample.images, torch.device("cpu"))
    assert torch.equal(first.before_image, pictures[:, 0])  # the reference is the frame before the first
    assert torch.equal(second.before_image, first.images[:, -1])
    assert torch.equal(second.before_structure, first.structures[:, -1])
    assert torch.equal(second.images[:, -1], pictures[:, -1])
    assert first.structures.shape == (2, PER_STEP, config.structure_channels, SIDE, SIDE)
    weight = first.pixel_weight(3, "face")
    assert torch.allclose(weight.mean(dim=(3, 4)), torch.ones(2, PER_STEP, 1))


def test_flows_of_eyes_and_lips_count_most_of_all():
    sample, grid = Drawn("face")[3], 16
    everywhere = Correspondence(
        np.zeros((FRAMES, 2, grid, grid), np.float32),
        np.ones((FRAMES, 1, grid, grid), np.float32),
        np.ones((FRAMES, 1, grid, grid), np.float32),
    )
    sample = default_collate([sample._replace(to_previous=everywhere, to_reference=everywhere)])
    batch = next(sequence_batches(sample, clip_plan("face").model, PER_STEP, torch.device("cpu")))
    labels = F.max_pool2d(batch.structures.flatten(0, 1)[:, 15:16], SIDE // grid)
    for known in (batch.to_previous, batch.to_reference):
        for label, times in ((0, 1), (1, 2), (3, 3), (4, 5), (5, 5)):
            weights = known.weight[labels == label]
            assert len(weights)
            assert (weights == times).all()
        assert known.visible.max() == 1  # the masks are learnt everywhere alike
