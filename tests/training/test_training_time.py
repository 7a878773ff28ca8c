"""Runs that end by the clock, after so many steps, or at once; and samples that other processes render meanwhile."""

from __future__ import annotations

import json
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from drawn_people import drawn_sample
from jobs import fork_server
from small_training import plan, trainer
from tiny_models import CPU
from torch.utils.data import Dataset
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.bundles.bundle import load_bundle
from gfla_cli.datasets.people import RenderPlan
from gfla_cli.datasets.render_cache import RenderCache
from gfla_cli.errors import DataError, UsageError
from gfla_cli.pipelines import render_data as rendering
from gfla_cli.training.checkpoint import load_checkpoint
from gfla_cli.training.learner import AbandonedStepError
from gfla_cli.training.loading import load_samples
from gfla_cli.training.recipe import LossWeights, Recipe, recipe, time_shares
from gfla_cli.training.run import Interruption, RunOptions, run_training
from gfla_cli.training.trainer import Clock, Pace

SIMPLE = LossWeights(l1=5)


def test_stages_share_the_minutes_as_their_work_does():
    shares = time_shares(recipe("people"))
    assert sum(shares) == pytest.approx(1)
    flow, joint, full = recipe("people").stages
    assert shares[1] / shares[0] == pytest.approx(joint.steps / flow.steps * 4)
    assert shares[2] / shares[1] == pytest.approx(full.steps * full.batch * 4 / (joint.steps * joint.batch))


def test_the_clock_goes_from_step_to_step_or_by_time(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    by_steps = Clock(plan(flow=4))
    assert by_steps.fraction(0, 3, 4) == 0.75
    assert not by_steps.is_over(0)
    assert by_steps.left(0) is None
    timed = replace(plan(flow=4, joint=4), minutes=1.0)
    first = 60 * time_shares(timed)[0]
    clock = Clock(timed)
    now[0] += 2  # until the first batch was there
    assert clock.fraction(0, 0, 4) == 0
    now[0] = 100 + (2 + first) / 2
    assert clock.fraction(0, 7, 4) == pytest.approx(0.5)
    assert clock.left(0) == pytest.approx((first - 2) / 2)
    now[0] = 100 + first
    assert clock.is_over(0)
    assert not clock.is_over(1)
    later = Clock(timed)
    later.resume_at(59.0)
    assert not later.is_over(1)
    now[0] += 1
    assert later.is_over(1)


def test_a_run_of_some_seconds_visits_all_stages_and_lets_rates_fall(open_data, tmp_path):
    timed = replace(plan(flow=3, joint=3, weights=SIMPLE), minutes=2 / 60)
    timed = replace(timed, stages=tuple(replace(s, final_learning_rate=1e-6) for s in timed.stages))
    run = trainer(timed, open_data, tmp_path, None)
    rates, left = [], []

    def report(progress):
        rates.append((progress.stage.name, run.learner.optimiser.param_groups[0]["lr"]))
        left.append(progress.seconds_left)

    started = time.monotonic()
    assert run.run(report)
    assert time.monotonic() - started > 1.5
    assert {name for name, _ in rates} == {"flow", "joint"}
    joint = [rate for name, rate in rates if name == "joint"]
    assert len(joint) >= 2
    assert all(later <= before for before, later in pairwise(joint))
    assert joint[-1] < 0.5 * joint[0]
    assert min(left) >= 0
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert state["steps"] == len(rates)
    assert state["seconds"] >= 1.9


def test_most_steps_end_a_run_that_goes_on_with_more(open_data, tmp_path):
    whole = trainer(plan(flow=2, joint=3, weights=SIMPLE), open_data, tmp_path / "whole", None)
    assert whole.run(lambda p: None)
    seen = []
    first = trainer(plan(flow=2, joint=3, weights=SIMPLE), open_data, tmp_path / "run", None)
    assert first.run(lambda p: seen.append((p.stage.name, p.step)), Pace(max_steps=3))
    assert seen == [("flow", 1), ("flow", 2), ("joint", 1)]
    again = trainer(plan(flow=2, joint=3, weights=SIMPLE), open_data, tmp_path / "run", None)
    again.resume()
    assert again.steps == 3
    assert again.run(lambda p: seen.append((p.stage.name, p.step)), Pace(max_steps=9))
    assert seen[3:] == [("joint", 2), ("joint", 3)]
    for name, weight in whole.learner.generator.state_dict().items():
        assert torch.equal(weight, again.learner.generator.state_dict()[name]), name


def test_an_abandoned_step_leaves_no_trace(open_data, tmp_path):
    recipe = plan(flow=1, joint=3, weights=LossWeights(l1=5, adversarial=1))
    flow, joint = recipe.stages
    recipe = replace(recipe, stages=(flow, replace(joint, ground_truth_flows=0.5)))  # drawn in every step
    whole = trainer(recipe, open_data, tmp_path / "whole", None)
    assert whole.run(lambda p: None)
    stopped = trainer(recipe, open_data, tmp_path / "run", None)
    calls, stop = [], threading.Event()

    @contextmanager
    def in_the_third_step():
        calls.append(0)
        yield
        if len(calls) == 3:  # forward and backward passes are done, and drew random numbers
            stop.set()
            raise AbandonedStepError

    assert not stopped.run(lambda p: None, Pace(), stop.is_set, in_the_third_step)
    assert stopped.steps == 2
    again = trainer(recipe, open_data, tmp_path / "run", None)
    again.resume()
    assert again.run(lambda p: None)
    for part in ("generator", "discriminators"):
        before, after = whole.learner.state()[part], again.learner.state()[part]
        assert all(torch.equal(weight, after[name]) for name, weight in before.items()), part


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_work_that_can_be_abandoned(number):
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background may ignore it
    try:
        with Interruption() as interruption:
            with pytest.raises(AbandonedStepError), interruption.raising(AbandonedStepError):
                signal.raise_signal(number)
            assert interruption.signal == number
            with pytest.raises(AbandonedStepError), interruption.raising(AbandonedStepError):
                pytest.fail("one that came before the block counts, too")
        with Interruption() as interruption:
            with interruption.raising(AbandonedStepError):
                pass
            signal.raise_signal(number)  # outside of the block it is only noted
            assert interruption.signal == number
    finally:
        signal.signal(signal.SIGINT, before)


class Slow(Dataset):
    """Samples that take their time."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __getitem__(self, index):
        time.sleep(self.seconds if index else 0)
        return torch.tensor(index)


@pytest.mark.parametrize("workers", [0, 1])
def test_waiting_for_data_stops_at_once(workers):
    stop = threading.Event()
    with load_samples(Slow(30), [[0], [1], [2]], workers) as batches:
        assert batches.take().sample.tolist() == [0]
        threading.Timer(0.3, stop.set).start()
        started = time.monotonic()
        assert batches.take(stop.is_set) is None
    assert time.monotonic() - started < 3


def test_the_command_ends_by_steps_and_by_time(small_set, tmp_path, monkeypatch):
    small = plan(flow=1, joint=30, weights=SIMPLE, average_decay=0.9)
    monkeypatch.setattr("gfla_cli.training.recipe.recipe", lambda name: replace(small, dataset=name))
    arguments = f"train --dataset fashion --data-root {small_set} --workers 0 --device cpu"
    result = CliRunner().invoke(app, [*arguments.split(), "-o", str(tmp_path / "a"), "--max-steps", "2"])
    assert result.exit_code == 0, result.output
    assert load_bundle(tmp_path / "a" / "bundle").about["trained"]["samples"] == 8
    result = CliRunner().invoke(app, [*arguments.split(), "-o", str(tmp_path / "b"), "--minutes", "0.025"])
    assert result.exit_code == 0, result.output
    assert "joint 1  " in result.stderr  # the first step is said at once, without a number of steps
    assert load_checkpoint(tmp_path / "b" / "checkpoint.pt")["seconds"] > 1.2


def test_a_recipe_of_ones_own(small_set, tmp_path):
    own = plan(flow=1, joint=2, weights=SIMPLE)
    file = tmp_path / "mine.json"
    command = f"train --dataset fashion --recipe {file} --data-root {small_set} -o {tmp_path / 'run'} --device cpu"
    missing = CliRunner().invoke(app, command.split())
    assert missing.exit_code == 2
    assert "mine.json: cannot be read" in missing.stderr
    for text, said in (("{", "not JSON"), ("{}", "not a training recipe"), ("[]", "not a training recipe")):
        file.write_text(text)
        refused = CliRunner().invoke(app, command.split())
        assert refused.exit_code == 2
        assert said in refused.stderr
    import json

    file.write_text(json.dumps(replace(own, dataset="market").to_json()))
    refused = CliRunner().invoke(app, command.split())
    assert "a recipe for --dataset market" in refused.stderr
    file.write_text(json.dumps(own.to_json()))
    result = CliRunner().invoke(app, [*command.split(), "--workers", "0"])
    assert result.exit_code == 0, result.output
    assert Recipe.from_json(json.loads((tmp_path / "run" / "recipe.json").read_text())) == own


def test_critics_come_along_with_a_run(small_set, tmp_path):
    options = {"resume": False, "vgg": None, "cache": None, "placement": CPU}
    recipe = plan(flow=1, joint=2, weights=LossWeights(l1=5, adversarial=1))
    first = run_training(recipe, small_set, output=tmp_path / "a", options=RunOptions(workers=0), **options)
    assert (first / "critics.safetensors").is_file()
    none = replace(recipe, stages=(replace(recipe.stages[1], learning_rate=0.0, discriminator_rate=0.0),))
    second = run_training(none, small_set, output=tmp_path / "b", options=RunOptions(workers=0, init=first), **options)
    before, after = (load_checkpoint(folder.parent / "checkpoint.pt")["discriminators"] for folder in (first, second))
    weights = [name for name in before if "original" in name and not name.endswith(("_u", "_v"))]
    assert weights
    for name in weights:
        torch.testing.assert_close(before[name], after[name], atol=2e-3, rtol=2e-3)  # half precision


@pytest.fixture
def cache(tmp_path):
    """Samples that are drawn, not rendered."""
    return RenderCache(tmp_path, "albums", RenderPlan(), 6, drawn_sample)


def test_samples_that_others_render_are_used_at_once(cache, monkeypatch):
    rng = np.random.default_rng(0)
    cache.ensure(2)
    cache.existing_only = True
    assert {cache.choose(rng) for _ in range(10)} == {2}
    assert cache.ensure(4)
    assert not cache.ensure(4)
    assert {cache.choose(rng) for _ in range(10)} == {2}  # it does not look every time
    monkeypatch.setattr("gfla_cli.datasets.render_cache._LOOK_AGAIN_S", 0.0)
    assert {cache.choose(rng) for _ in range(40)} == {2, 4}


def test_an_empty_cache_is_said(cache, monkeypatch):
    monkeypatch.setattr("gfla_cli.datasets.render_cache._WAIT_S", 1)
    cache.existing_only = True
    with pytest.raises(DataError, match="no rendered images") as raised:
        cache.choose(np.random.default_rng(0))
    assert "gfla data render" in raised.value.hint


def test_kinds_of_samples_take_turns(tmp_path):
    two = [RenderCache(tmp_path, name, RenderPlan(), count, drawn_sample) for name, count in (("a", 3), ("b", 2))]
    turns = [(cache.folder.name[0], number) for cache, number in rendering._turns(two, None)]
    assert turns == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2)]  # thirds and halves
    assert len(list(rendering._turns(two, 1))) == 2


def test_data_that_is_not_rendered_is_refused(small_set, tmp_path):
    with pytest.raises(UsageError, match="photos is not rendered"):
        rendering.render_data(recipe("photos"), small_set, tmp_path, processes=1)
    result = CliRunner().invoke(app, ["train", "--dataset", "photos", "--data-root", str(small_set), "--no-render"])
    assert result.exit_code == 2
    assert "photos is not rendered" in result.stderr


@pytest.mark.shared
def test_two_processes_render_what_a_training_then_uses(shared, tmp_path, monkeypatch):
    # A command of the README renders in a process that imports everything.
    context = fork_server()
    monkeypatch.setattr(rendering.multiprocessing, "get_context", lambda _: context)
    command = f"data render {shared / 'humans'} -o {tmp_path / 'albums'} --processes 2 --most 2"
    result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 0, result.output
    assert "4 samples rendered" in result.stderr
    assert sorted(len(list(folder.glob("*.npz"))) for folder in (tmp_path / "albums").iterdir()) == [2, 2]
    again = CliRunner().invoke(app, [*command.split(), "--processes", "1"])
    assert again.exit_code == 0, again.output
    assert "0 samples rendered" in again.stderr
    halves = tmp_path / "halves.json"
    halves.write_text(json.dumps(replace(recipe("people"), halves=0.3).to_json()), encoding="utf-8")
    larger = CliRunner().invoke(app, [*command.split(), "--most", "1", "--recipe", str(halves)])
    assert larger.exit_code == 0, larger.output
    assert "1 sample rendered" in larger.stderr  # heads are near enough already
    assert sorted(len(list(folder.glob("*.npz"))) for folder in (tmp_path / "albums").iterdir()) == [1, 2, 2]
    other = CliRunner().invoke(
        app, ["data", "render", "-o", str(tmp_path / "x"), "--dataset", "chairs", "--recipe", str(halves)]
    )
    assert other.exit_code == 2
    assert "a recipe for --dataset people" in other.stderr
    wrong = CliRunner().invoke(app, ["data", "render", str(tmp_path / "nowhere"), "-o", str(tmp_path / "x")])
    assert wrong.exit_code == 1
    assert "nowhere" in wrong.stderr
