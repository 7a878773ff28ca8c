"""The benchmark of models: one result of every kind of model, with and without what depends on the source alone."""

from __future__ import annotations

import json

import pytest
from tiny_models import save_tiny, tiny


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A shelf with a model for each task."""
    folder = tmp_path / "shelf"
    for task, preset in {"pose": "pose-people", "face": "face-people", "view": "view-chairs"}.items():
        save_tiny(folder / f"tiny-{task}", tiny(preset))
    monkeypatch.setenv("GFLA_MODELS", str(folder))
    return folder


def test_every_kind_of_model_is_measured(gfla, shelf):
    names = ("tiny-pose", "tiny-face", "tiny-view")
    result = gfla("benchmark", "models", *names, "--rounds", "1", "--threads", "1", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["models"]
    assert [(model["name"], model["task"]) for model in found] == [(name, name[5:]) for name in names]
    assert all(model["first_milliseconds"] > 0 < model["further_milliseconds"] for model in found)
    table = gfla("benchmark", "models", "tiny-view", "--rounds", "1", "--threads", "1")
    assert "view" in table.stdout
    assert "tiny-view: torch, cpu" in table.stderr


def test_what_depends_on_the_source_alone_is_computed_once(gfla, shelf, monkeypatch):
    from gfla_cli.inference.torch_backend import TorchView

    encoded, encode = [], TorchView.encode
    monkeypatch.setattr(TorchView, "encode", lambda *given: (encoded.append(1), encode(*given))[1])
    gfla("benchmark", "models", "tiny-view", "--rounds", "2", "--threads", "1", "--json")
    assert len(encoded) == 1 + 3  # for the further ones; a warm-up and two rounds of first ones


def test_unknown_models_are_named(gfla):
    result = gfla("benchmark", "models", "no-such-model")
    assert result.exit_code == 1
    assert "no-such-model" in result.stderr
