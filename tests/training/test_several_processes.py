"""Several processes that train together: the same steps as one."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_clips import Drawn, clip_plan
from jobs import Job
from noise_pairs import JOINT, ONE_STEP, WEIGHTS, NoisePairs
from tiny_models import CPU

from gfla_cli.distributed.launch import current_launch, init_distributed
from gfla_cli.errors import DataError, GflaError
from gfla_cli.training.learner import Engine, Learner
from gfla_cli.training.recipe import LossWeights, for_processes
from gfla_cli.training.tasks.clip import SequenceTask
from gfla_cli.training.tasks.pose import PoseTask
from gfla_cli.training.trainer import Trainer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork server")


def trained(recipe, folder, group=None, parts=1, data=None):
    """The losses of every step, gradients and weights at the end."""
    task = PoseTask(recipe, lambda stage: data or NoisePairs(), None)
    run = Trainer(recipe, task, folder, CPU, 0, Engine(accumulate=parts), group=group)
    seen = []
    run.run(seen.append)
    networks = {"generator": run.learner.generator, "discriminators": run.learner.discriminators}
    return {
        "losses": [p.losses for p in seen],
        "unreadable": [p.unreadable for p in seen],
        "gradients": {n: torch.cat([p.grad.flatten() for p in m.parameters()]) for n, m in networks.items()},
        "weights": {n: m.state_dict() for n, m in networks.items()} | {"average": run.learner.average.state_dict()},
    }


def without_ground_truth(recipe):
    """Without flow losses: in parts they would be normalised part by part."""
    weights = replace(WEIGHTS, correspondence=0, visibility=0)
    return replace(recipe, stages=tuple(replace(stage, weights=weights) for stage in recipe.stages))


_READ = replace(JOINT, steps=3, weights=replace(WEIGHTS, joints=1), adversarial_from=1)
WITH_JOINTS = replace(ONE_STEP, stages=(_READ,))


def steps_together(folder):
    """In one group: a step whole, a step in parts, and runs in which things go wrong in the second process."""
    doubled = for_processes(ONE_STEP, 2)
    longer = replace(doubled, stages=(replace(doubled.stages[0], steps=4),))
    with init_distributed(current_launch()) as group:
        results = {"whole": trained(doubled, folder / "whole", group)}
        results["joints"] = trained(for_processes(WITH_JOINTS, 2), folder / "joints", group)
        results["parts"] = trained(without_ground_truth(doubled), folder / "parts", group, parts=2)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Learner, "step", nan_in_the_second(Learner.step))
            results["mixed"] = trained(longer, folder / "mixed", group, data=NoisePairs(broken=(6,)))
        with pytest.raises((GflaError, SystemExit)) as raised:
            trained(doubled, folder / "broken", group, data=NoisePairs(broken=(2,), error=DataError))
        results["error"] = repr(raised.value)
        torch.save(results, folder / f"results-{group.rank}.pt")


def nan_in_the_second(step):
    """The second process finds no number in the second step."""

    def changed(self, parts, shares, stage, position, *rest):
        bad = self.group.rank == 1 and position.step == 1
        weights = replace(stage.weights, l1=float("nan")) if bad else stage.weights
        return step(self, parts, shares, replace(stage, weights=weights), position, *rest)

    return changed


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    job = Job(folder, 2)
    assert job.run(steps_together) == [0, 0], job.output(0) + job.output(1)
    return [torch.load(folder / f"results-{rank}.pt") for rank in (0, 1)]


def test_a_pose_reader_learns_together_before_discriminators_do_and_with_them(together, tmp_path):
    """The critics whose gradients are averaged change with the second step."""
    alone = trained(for_processes(WITH_JOINTS, 2), tmp_path)
    assert ["discriminator" in losses for losses in alone["losses"]] == [False, True, True]
    for result in (rank["joints"] for rank in together):
        for found, expected in zip(result["losses"], alone["losses"], strict=True):
            assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("how", ["whole", "parts"])
def test_two_processes_take_the_step_of_one_with_the_doubled_batch(together, tmp_path, how):
    doubled = for_processes(ONE_STEP, 2)
    whole = how == "whole"
    alone = trained(doubled if whole else without_ground_truth(doubled), tmp_path, parts=1 if whole else 2)
    most = 1e-5 if whole else 0.01  # parts are of other samples, and each meets its own estimate of spectral norms
    for result in (rank[how] for rank in together):
        assert result["losses"][0] == pytest.approx(alone["losses"][0], rel=most)
        for name, gradient in alone["gradients"].items():
            assert (result["gradients"][name] - gradient).norm() < most * gradient.norm(), name


def test_all_processes_have_the_same_weights(together):
    first, second = (rank["mixed"]["weights"] for rank in together)
    for part, tensors in first.items():
        assert all(torch.equal(tensor, second[part][name]) for name, tensor in tensors.items()), part


def test_a_loss_that_is_not_a_number_in_one_process_is_skipped_by_all(together):
    for rank in together:
        assert [np.isnan(losses["total"]) for losses in rank["mixed"]["losses"]] == [False, True, False, False]


def test_an_image_that_one_process_cannot_read_is_named_once(together):
    for rank in together:
        assert rank["mixed"]["unreadable"] == [(), ("6.png: cut off",), (), ()]


def test_an_error_in_one_process_ends_all_and_rank_0_raises_it(together):
    assert [rank["error"] for rank in together] == ["GflaError('2.png: cut off')", "SystemExit(1)"]


def clips_together(folder):
    """A run whose clips are of two steps each, and one that is stopped in the middle of a clip and resumed."""
    with init_distributed(current_launch()) as group:
        seen, before = [], clip_trainer(folder / "stopped", group)
        before.run(seen.append, stop=lambda: len(seen) == 1 and group.rank == 1)
        after = clip_trainer(folder / "stopped", group)
        after.resume()
        after.run(seen.append)
    torch.save([progress.losses for progress in seen], folder / f"results-{group.rank}.pt")


def clip_trainer(folder, group=None):
    plan = clip_plan("face", flow=0, joint=2, weights=LossWeights(l1=5))
    recipe = for_processes(plan, 2)
    return Trainer(recipe, SequenceTask(recipe, lambda stage: Drawn("face"), None), folder, CPU, 0, group=group)


def test_what_a_step_of_a_clip_goes_on_from_is_kept_for_all_processes(tmp_path):
    job = Job(tmp_path, 2)
    assert job.run(clips_together) == [0, 0], job.output(0) + job.output(1)
    alone = []
    clip_trainer(tmp_path / "alone").run(alone.append)
    for rank in (0, 1):
        losses = torch.load(tmp_path / f"results-{rank}.pt")
        assert [loss["l1"] for loss in losses] == pytest.approx([step.losses["l1"] for step in alone], rel=1e-3)
