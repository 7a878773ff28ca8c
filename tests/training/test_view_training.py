"""Training of view models: both stages, their losses, and a bundle at the end."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from chairs import TINY, write_shapenet
from tiny_models import CPU, fresh
from torch.utils.data import default_collate

from gfla_cli.bundles.bundle import load_bundle
from gfla_cli.conditioning.view_code import ViewAngles, view_code
from gfla_cli.datasets.sample import ViewPair, unknown_correspondence, unknown_geometry
from gfla_cli.training.batch import GroundTruthFlow
from gfla_cli.training.recipe import LossWeights, Recipe, Stage, with_sampler
from gfla_cli.training.run import RunOptions, run_training
from gfla_cli.training.tasks.view import ViewTask, view_batch
from gfla_cli.training.trainer import Trainer


class TwoViews(torch.utils.data.Dataset):
    """A square that moves to the right with the azimuth: two views of it."""

    def __getitem__(self, index):
        first, second = np.random.default_rng(index).choice(4, 2, replace=False)

        def view(k):
            picture = np.full((64, 64, 3), 255, np.uint8)
            picture[24:40, 4 + 12 * k : 20 + 12 * k] = 200, 40, 40
            return picture

        mask = np.full((64, 64), 255, np.uint8)
        codes = (view_code(ViewAngles(20.0 * k, 10)) for k in (first, second))
        return ViewPair(view(first), view(second), *codes, mask, unknown_correspondence(32), unknown_geometry(32))


def plan(*, flow=1, joint=2, weights=None, model=TINY):
    first = LossWeights(affine=0.1, correspondence=1, visibility=0.3, view=1)
    fast = {"learning_rate": 2e-3, "betas": (0.9, 0.999)}
    stage = Stage(name="flow", train="flow", steps=flow, image_size=(64, 64), batch=4, weights=first, **fast)
    joint_weights = weights or LossWeights(l1=5, adversarial=1, affine=0.001, view=1, person=1)
    stages = (stage, replace(stage, name="joint", train="joint", steps=joint, weights=joint_weights))
    return Recipe(dataset="chairs", model=model, stages=stages, initial="kaiming")


def trainer(plan, folder):
    return Trainer(plan, ViewTask(plan, lambda stage: TwoViews(), None), folder, CPU, workers=0)


def test_both_stages_run_with_their_losses(tmp_path):
    seen = []
    trainer(plan(), tmp_path).run(seen.append)
    assert set(seen[0].losses) == {"affine", "correspondence", "visibility", "view", "total"}
    assert set(seen[-1].losses) >= {"l1", "adversarial", "discriminator", "view", "affine", "total"}


def test_a_few_steps_lower_the_losses_of_pictures_and_views(tmp_path):
    seen = []
    run = trainer(plan(flow=1, joint=15, weights=LossWeights(l1=5, view=1)), tmp_path)
    run.run(seen.append)
    parts = (seen[1:6], seen[-5:])
    first, last = ({name: np.mean([p.losses[name] for p in part]) for name in ("l1", "view")} for part in parts)
    assert last["l1"] < 0.6 * first["l1"]
    assert last["view"] < 0.9 * first["view"]


def test_appearance_flow_trains_on_pixels_and_flows(tmp_path):
    seen = []
    trainer(with_sampler(plan(), "pixels"), tmp_path).run(seen.append)
    assert set(seen[-1].losses) == {"l1", "affine", "total"}


def test_a_view_batch_is_what_the_network_takes():
    batch = view_batch(torch.utils.data.default_collate([TwoViews()[0], TwoViews()[1]]), torch.device("cpu"))
    assert batch.source_code.shape == (2, 21, 1, 1)
    assert batch.source_image.max() == 1
    assert batch.target_mask.shape == (2, 1, 64, 64)


def test_an_object_counts_more_than_the_background_and_its_thin_parts_even_more():
    batch = view_batch(torch.utils.data.default_collate([TwoViews()[0], TwoViews()[1]]), torch.device("cpu"))
    mask = torch.zeros(2, 1, 64, 64)
    mask[..., 20:40, 20:40] = 1  # a seat
    mask[..., 40:60, 21] = 1  # a leg
    weight = replace(batch, target_mask=mask).pixel_weight(2)
    background, seat, leg = (float(weight[0, 0, y, x]) for y, x in ((0, 0), (30, 30), (50, 21)))
    assert weight.mean() == pytest.approx(1)
    assert seat == pytest.approx(3 * background)
    assert leg > 1.5 * seat


@pytest.mark.parametrize("dataset", ["chairs", "shapenet"])
def test_the_pipeline_ends_in_a_bundle_that_loads(tmp_path, dataset, monkeypatch):
    if dataset == "chairs":
        pytest.importorskip("numba")
        import gfla_cli.datasets.chairs as chairs

        small = chairs.ChairPlan(objects=1, elevations=1, azimuths=2, size=64)
        monkeypatch.setattr(chairs, "plan_with", lambda extras: small)
    root = None if dataset == "chairs" else write_shapenet(tmp_path / "set")
    options = {"resume": False, "vgg": None, "cache": None, "options": RunOptions(workers=0), "placement": CPU}
    tiny = replace(plan(flow=1, joint=1, weights=LossWeights(l1=5)), dataset=dataset)
    folder = run_training(tiny, root, output=tmp_path / "run", **options)
    assert load_bundle(folder).config == TINY


def test_a_run_from_before_a_setting_existed_can_be_resumed(tmp_path):
    run = trainer(plan(), tmp_path)
    run.save()
    state = torch.load(run.checkpoint)
    old = json.loads(state["recipe"])
    old["model"] = {k: v for k, v in old["model"].items() if k != "frame_aspect"}
    torch.save(state | {"recipe": json.dumps(old)}, run.checkpoint)
    trainer(plan(), tmp_path).resume()


def test_a_view_can_be_generated_from_ground_truth_flows():
    """The ground truth changes the view of an untrained network; the losses are still those of the estimated flows."""
    recipe = plan(weights=LossWeights(l1=1, correspondence=1))
    task = ViewTask(recipe, lambda stage: TwoViews(), None)
    batch = next(task.batches(default_collate([TwoViews()[k] for k in (0, 1)]), CPU.device))
    offset, weight, visible = batch.true_flow
    batch = replace(batch, true_flow=GroundTruthFlow(offset + 0.3, torch.ones_like(weight), visible))
    network, joint = fresh(recipe.model), recipe.stages[1]
    known, own = (task.forward(network, batch, replace(joint, ground_truth_flows=share)).terms for share in (1.0, 0.0))
    assert known["l1"] != own["l1"]
    assert known["correspondence"].equal(own["correspondence"])
