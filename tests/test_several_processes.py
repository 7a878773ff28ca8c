"""Several processes that train, or render, together: the same steps as one, one voice, and no end by themselves."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jobs import Job
from test_sequence_training import Drawn
from test_sequence_training import plan as clip_plan
from torch.utils.data import Dataset

import gfla_cli.pipelines.train
import gfla_cli.training.recipe
from gfla_cli.app import app
from gfla_cli.config import preset
from gfla_cli.data.sample import Correspondence, PosePair
from gfla_cli.errors import DataError, GflaError, MediaError, UsageError
from gfla_cli.pipelines.train import _folder
from gfla_cli.runtime.device import Placement
from gfla_cli.runtime.launch import Launch, launched
from gfla_cli.runtime.team import Team, joined
from gfla_cli.training.checkpoint import load_checkpoint
from gfla_cli.training.engine import Engine
from gfla_cli.training.learner import Learner
from gfla_cli.training.pose import PoseTask
from gfla_cli.training.recipe import LossWeights, Recipe, Stage, for_processes
from gfla_cli.training.sequence import SequenceTask
from gfla_cli.training.trainer import Trainer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork server")

CPU = Placement(torch.device("cpu"), torch.float32, "test")
SIDE = 64
TINY = replace(preset("pose-people"), image_size=(SIDE, SIDE), width=8, flow_width=8, heatmap_sigma=1.5)
WEIGHTS = LossWeights(l1=5, adversarial=1, affine=0.1, correspondence=1, visibility=0.3, person=1)
JOINT = Stage(name="joint", train="joint", steps=1, image_size=(SIDE, SIDE), batch=2, weights=WEIGHTS)
FLOW = replace(JOINT, name="flow", train="flow", weights=LossWeights(correspondence=1, affine=0.1))
ONE_STEP = Recipe(dataset="people", model=TINY, stages=(JOINT,), initial="kaiming", discriminator_blocks=3)
SMALL = replace(ONE_STEP, stages=(replace(FLOW, steps=2), replace(JOINT, steps=4)), average_decay=0.9)


class KnownPairs(Dataset):
    """Noise, with correspondences of which every pair knows another share."""

    pictures = 1000

    def __init__(self, broken=(), error=MediaError):
        self.broken, self.error = broken, error

    def __getitem__(self, index):
        if index in self.broken:
            raise self.error(f"{index}.png: cut off")
        rng = np.random.default_rng(index)
        known = (rng.random((1, 8, 8)) < rng.random() ** 3).astype(np.float32)
        return PosePair(
            source_image=rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8),
            target_image=rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8),
            source_points=np.float32([[*rng.uniform(0, SIDE, 2), 1] for _ in range(18)]),
            target_points=np.float32([[*rng.uniform(0, SIDE, 2), 1] for _ in range(18)]),
            target_mask=np.full((SIDE, SIDE), 255, np.uint8),
            correspondence=Correspondence(rng.normal(0, 0.1, (2, 8, 8)).astype(np.float32), known, 2 * known - 1),
        )


def trained(recipe, folder, team=None, parts=1, data=None):
    """The losses of every step, gradients and weights at the end."""
    task = PoseTask(recipe, lambda stage: data or KnownPairs(), None)
    run = Trainer(recipe, task, folder, CPU, 0, Engine(accumulate=parts), team=team)
    seen = []
    run.run(seen.append)
    networks = {"generator": run.generator, "discriminators": run.learner.discriminators}
    return {
        "losses": [p.losses for p in seen],
        "unreadable": [p.unreadable for p in seen],
        "gradients": {n: torch.cat([p.grad.flatten() for p in m.parameters()]) for n, m in networks.items()},
        "weights": {n: m.state_dict() for n, m in networks.items()} | {"average": run.weights()},
    }


# --- the same steps as one process


def without_known(recipe):
    """In parts, what counts as known would be counted part by part."""
    weights = replace(WEIGHTS, correspondence=0, visibility=0)
    return replace(recipe, stages=tuple(replace(stage, weights=weights) for stage in recipe.stages))


def steps_together(folder):
    """In one group: a step whole, a step in parts, and runs in which things go wrong in the second process."""
    doubled = for_processes(ONE_STEP, 2)
    longer = replace(doubled, stages=(replace(doubled.stages[0], steps=4),))
    with joined(launched()) as team:
        results = {"whole": trained(doubled, folder / "whole", team)}
        results["parts"] = trained(without_known(doubled), folder / "parts", team, parts=2)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Learner, "step", nan_in_the_second(Learner.step))
            results["mixed"] = trained(longer, folder / "mixed", team, data=KnownPairs(broken=(6,)))
        with pytest.raises((GflaError, SystemExit)) as raised:
            trained(doubled, folder / "broken", team, data=KnownPairs(broken=(2,), error=DataError))
        results["error"] = repr(raised.value)
        torch.save(results, folder / f"results-{team.rank}.pt")


def nan_in_the_second(step):
    """The second process finds no number in the second step."""

    def changed(self, parts, shares, stage, number):
        bad = self.team.rank == 1 and number == 1
        weights = replace(stage.weights, l1=float("nan")) if bad else stage.weights
        return step(self, parts, shares, replace(stage, weights=weights), number)

    return changed


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    job = Job(folder, 2)
    assert job.run(steps_together) == [0, 0], job.said(0) + job.said(1)
    return [torch.load(folder / f"results-{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("how", ["whole", "parts"])
def test_two_processes_take_the_step_of_one_with_the_doubled_batch(together, tmp_path, how):
    doubled = for_processes(ONE_STEP, 2)
    whole = how == "whole"
    alone = trained(doubled if whole else without_known(doubled), tmp_path, parts=1 if whole else 2)
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


def test_a_picture_that_one_process_cannot_read_is_named_once(together):
    for rank in together:
        assert rank["mixed"]["unreadable"] == [(), ("6.png: cut off",), (), ()]


def test_an_error_in_one_process_ends_all_and_the_first_says_it(together):
    assert [rank["error"] for rank in together] == ["GflaError('2.png: cut off')", "SystemExit(1)"]


# --- clips, whose steps go on from one another


def clips_together(folder):
    """A run whose clips are of two steps each, and one that is stopped in the middle of a clip and resumed."""
    with joined(launched()) as team:
        seen, before = [], clip_trainer(folder / "stopped", team)
        before.run(seen.append, stop=lambda: len(seen) == 1 and team.rank == 1)
        after = clip_trainer(folder / "stopped", team)
        after.resume()
        after.run(seen.append)
    torch.save([progress.losses for progress in seen], folder / f"results-{team.rank}.pt")


def clip_trainer(folder, team=None):
    plan = clip_plan("face", flow=0, joint=2, weights=LossWeights(l1=5))
    recipe = for_processes(plan, 2)
    return Trainer(recipe, SequenceTask(recipe, lambda stage: Drawn("face"), None), folder, CPU, 0, team=team)


def test_what_a_step_of_a_clip_goes_on_from_is_kept_for_all_processes(tmp_path):
    job = Job(tmp_path, 2)
    assert job.run(clips_together) == [0, 0], job.said(0) + job.said(1)
    alone = []
    clip_trainer(tmp_path / "alone").run(alone.append)
    for rank in (0, 1):
        losses = torch.load(tmp_path / f"results-{rank}.pt")
        assert [loss["l1"] for loss in losses] == pytest.approx([step.losses["l1"] for step in alone], rel=1e-3)


# --- the command


def command(folder, arguments="", ends=None):
    """`gfla train` on noise. `ends` says how the second process ends after its third step: by itself, or asked to."""
    gfla_cli.training.recipe.recipe = lambda name: replace(SMALL, dataset=name)
    gfla_cli.pipelines.train.open_training_data = lambda recipe, root, cache: lambda stage: KnownPairs()
    take = Trainer._take

    def take_and_end(self, *step):
        take(self, *step)
        if self.team.rank == 1 and self.steps == 3:
            signal.raise_signal(ends)

    if ends is not None:
        Trainer._take = take_and_end
    fixed = f"train --dataset people -o {folder / 'run'} --workers 0 --device cpu --precision fp32 --save-every 1"
    app([*fixed.split(), *arguments.split()])


def checkpoint(folder):
    return load_checkpoint(folder / "run" / "checkpoint.pt")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    job = Job(tmp_path_factory.mktemp("unbroken"), 2)
    assert job.run(command, "--sample-every 2") == [0, 0], job.said(0) + job.said(1)
    return job


def test_only_the_first_process_speaks(unbroken):
    assert "2 processes" in unbroken.said(0)
    assert "joint 4/4" in unbroken.said(0)
    assert unbroken.said(0).splitlines()[-1] == str(unbroken.folder / "run" / "bundle")
    assert unbroken.said(1) == ""
    assert len(list((unbroken.folder / "run" / "samples").iterdir())) == 2
    recipe = json.loads((unbroken.folder / "run" / "recipe.json").read_text())
    assert [stage["batch"] for stage in recipe["stages"]] == [4, 4]
    assert checkpoint(unbroken.folder)["position"] == [2, 0, 24]


def same(one, other):
    return all(
        torch.equal(tensor, other[part][name])
        for part in ("generator", "discriminators", "average")
        for name, tensor in one[part].items()
    )


def test_a_signal_to_one_process_stops_all_and_the_run_resumes_exactly(unbroken, tmp_path):
    job = Job(tmp_path, 2)
    assert job.run(command, "", signal.SIGTERM) == [143, 143]
    assert "stopped after step 3, everything saved" in job.said(0)
    assert job.said(1) == ""
    assert checkpoint(tmp_path)["position"] == [1, 1, 12]
    shutil.copytree(tmp_path / "run", tmp_path / "alone")
    before, whole = checkpoint(tmp_path)["generator"], checkpoint(unbroken.folder)["generator"]
    assert job.run(command, "--resume") == [0, 0]
    assert "going on after step 3" in job.said(0)
    assert same(checkpoint(tmp_path), checkpoint(unbroken.folder))

    alone = Trainer(SMALL, PoseTask(SMALL, lambda stage: KnownPairs(), None), tmp_path / "alone", CPU, 0)
    alone.resume()
    alone.run(lambda progress: None)
    assert [stage.batch for stage in alone.recipe.stages] == [4, 4]
    after = alone.generator.state_dict()
    learnt, differs = (
        torch.cat([(now[n] - then[n]).flatten() for n in whole]) for now, then in ((whole, before), (whole, after))
    )
    assert differs.norm() < 0.05 * learnt.norm()  # Adam makes much of rounding errors


def test_restarted_by_torchrun_a_run_goes_on_from_its_checkpoint(unbroken, tmp_path):
    job = Job(tmp_path, 2)
    assert job.run(command, "", signal.SIGKILL) == [1, -signal.SIGKILL]
    assert re.search("^gfla: another process has ended$", job.said(0), re.MULTILINE)
    assert job.run(command) == [0, 0], job.said(0)
    assert "going on after step 3" in job.said(0)
    assert same(checkpoint(tmp_path), checkpoint(unbroken.folder))


def test_only_the_same_job_goes_on_without_being_told_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = Path("runs") / "people-1"
    assert _folder("people", None, False, "17") == (first, False)
    first.mkdir(parents=True)
    (first / ".gfla-job").write_text("17")
    (first / "checkpoint.pt").touch()
    assert _folder("people", None, False, "17") == (first, True)
    assert _folder("people", None, False, "18") == (Path("runs") / "people-2", False)
    for other in ("18", ""):
        with pytest.raises(DataError, match="there is a run already"):
            _folder("people", first, False, other)
        assert _folder("people", first, True, other) == (first, True)


def test_torchrun_starts_the_command():
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    gfla = ["-m", "gfla_cli", "train", "--dataset", "people", "--show"]
    result = subprocess.run([sys.executable, *torchrun, *gfla], capture_output=True, text=True, check=True)
    recipe = json.loads(result.stdout)  # one process speaks, or this would not be JSON
    assert [stage["batch"] for stage in recipe["stages"]] == [16, 16, 8]


# --- numbers


def test_without_torchrun_a_process_is_alone():
    assert launched({"RANK": "1", "WORLD_SIZE": "4"}) == Launch()
    assert Team().means({"l1": 0.5}) == {"l1": 0.5}


def test_torchrun_tells_a_process_which_one_it_is():
    told = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    launch = launched(told | {"TORCHELASTIC_RUN_ID": "17", "TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert launch == Launch(rank=3, processes=4, local_rank=1, grouped=True, agent=("localhost", 29500), job="17")
    assert not launch.is_first
    unnamed = launched(told | {"TORCHELASTIC_RUN_ID": "none"}).job
    assert unnamed.endswith(f":{os.getppid()}")
    for nonsense in ({"RANK": "4"}, {"RANK": "first"}, {"LOCAL_RANK": "-1"}):
        with pytest.raises(UsageError):
            launched(told | nonsense)


def test_shares_are_consecutive_and_even():
    teams = [Team(Launch(rank=rank, processes=4)) for rank in range(4)]
    assert [list(team.share(range(8, 16))) for team in teams] == [[8, 9], [10, 11], [12, 13], [14, 15]]
    with pytest.raises(UsageError, match="a batch of 6 cannot be shared evenly by 4 processes"):
        teams[0].share(range(6))
