"""The training benchmark: each way is measured, the first one by the paper's definition, and so is the waiting."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tiny_models import CPU, tiny
from typer.testing import CliRunner

import gfla_cli.benchmark.networks as definition
from gfla_cli.app import app
from gfla_cli.benchmark.measure import interleaved_times
from gfla_cli.benchmark.training import measure_training
from gfla_cli.errors import UsageError
from gfla_cli.training.recipe import recipe

TINY = tiny()


def small(name):
    plan = recipe(name)
    return replace(plan, model=TINY, stages=tuple(replace(stage, image_size=(64, 64)) for stage in plan.stages))


def as_if_the_definition_were_fastest(steps, rounds):
    """Times of a small model are noise, and any way may be the fastest."""
    seconds = interleaved_times(steps, rounds)
    return {**seconds, next(iter(seconds)): min(seconds.values()) / 2}


def test_ways_are_compared_with_the_definition_in_one_run(monkeypatch):
    monkeypatch.setattr("gfla_cli.training.recipe.recipe", small)
    monkeypatch.setattr("gfla_cli.benchmark.training._STEPS_WITH_DATA", 2)
    calls = []
    reference = definition.local_attention_reference
    monkeypatch.setattr(definition, "local_attention_reference", lambda *a: (calls.append(1), reference(*a))[1])
    monkeypatch.setattr("gfla_cli.benchmark.training.interleaved_times", as_if_the_definition_were_fastest)
    arguments = ["benchmark", "train", "--json", "--rounds", "1", "--batch", "2", "--workers", "0", "--device", "cpu"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    speed = json.loads(result.stdout)
    ways = {way["name"]: way for way in speed["ways"]}
    assert {"fp32", "fp32, channels last"} < set(ways)
    assert len(calls) == 2 * len(TINY.levels)  # a warm-up and a round; images from disk are for a way that trains
    for way in ways.values():
        assert way["images_per_second"] == pytest.approx(2e3 / way["milliseconds"])
        assert way["ratio"] == pytest.approx(speed["ways"][0]["milliseconds"] / way["milliseconds"])
    assert 0 < speed["waiting"] < 1  # no worker loads ahead


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(UsageError, match="trains pose models, not view"):
        measure_training(recipe("chairs"), CPU, batch=2, rounds=1, workers=0, compiled=False)
    result = CliRunner().invoke(app, ["benchmark", "train", "--device", "cpu", "--compile"])
    assert result.exit_code == 2
    assert "--compile is for CUDA" in result.stderr
