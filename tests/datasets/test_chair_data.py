"""Pairs of chairs to train on: rendered once and cached, endless pairs, and chairs that no training sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_glb import glb_bytes

pytest.importorskip("numba")
pytest.importorskip("scipy")
from gfla_cli.conditioning.view_code import AZIMUTHS, CODE_LENGTH
from gfla_cli.datasets.chairs import ChairPairs, ChairPlan, RenderedChairs, UnseenObjects, plan_with
from gfla_cli.datasets.people import RenderedPeople, RenderPlan
from gfla_cli.errors import DataError, UsageError
from gfla_cli.synth.objects.objects import ObjectFolder
from gfla_cli.training.data import open_training_data
from gfla_cli.training.recipe import recipe

TINY_PLAN = ChairPlan(objects=2, elevations=2, azimuths=3, size=64)


def test_chairs_are_rendered_once_and_read_back(tmp_path):
    chairs = RenderedChairs(tmp_path, TINY_PLAN)
    first = chairs.view(1, 1, 2)
    (file,) = chairs.cache.folder.iterdir()
    written = file.stat().st_mtime_ns
    again = RenderedChairs(tmp_path, TINY_PLAN).view(1, 1, 2)
    assert np.array_equal(first.view.image, again.view.image)
    assert first.angles == again.angles
    assert file.stat().st_mtime_ns == written
    assert RenderedChairs(tmp_path, replace(TINY_PLAN, seed=1)).cache.folder != chairs.cache.folder


def test_the_render_cache_of_people_keeps_its_name():
    # Existing caches stay valid; another digest would render everything again.
    assert RenderedPeople(Path("pack"), Path("cache"), RenderPlan()).cache.folder == Path(
        "cache/albums-6000x6-40e1779b"
    )


def test_pairs_share_object_and_mostly_elevation_and_end_never(tmp_path):
    pairs = ChairPairs(RenderedChairs(tmp_path, TINY_PLAN), size=32, grid=16)
    many = [pairs[i] for i in (*range(30), 10**9)]
    for pair in many:
        assert pair.source_image.shape == pair.target_image.shape == (32, 32, 3)
        assert pair.source_code.shape == (CODE_LENGTH,)
        assert pair.source_code.sum() == 2
        assert (pair.target_image[pair.target_mask == 0] == 255).all()
        assert pair.correspondence.offset.shape == (2, 16, 16)
        assert np.isfinite(pair.correspondence.offset).all()
    azimuths = [
        pair.source_code[: len(AZIMUTHS)].argmax() != pair.target_code[: len(AZIMUTHS)].argmax() for pair in many
    ]
    elevations = [np.array_equal(pair.source_code[18:], pair.target_code[18:]) for pair in many]
    assert np.mean(azimuths) > 0.7
    assert np.mean(elevations) > 0.7
    again = pairs[3]
    assert all(np.array_equal(a, b) for a, b in zip(many[3][:5], again[:5], strict=True))


def test_extra_objects_mix_in_and_change_the_plan(tmp_path):
    (tmp_path / "extras").mkdir()
    (tmp_path / "extras" / "a.glb").write_bytes(glb_bytes())
    plan = replace(plan_with(tmp_path / "extras"), objects=1, elevations=1, azimuths=2, size=64, extra_share=1.0)
    assert plan.extras
    view = RenderedChairs(tmp_path / "cache", plan, tmp_path / "extras").view(0, 0, 1)
    assert (view.view.mask > 0).any()
    assert plan_with(tmp_path / "extras").extra_share < 1  # chairs stay the most
    assert plan_with(None).extras == ""
    (tmp_path / "extras" / "b.glb").write_bytes(glb_bytes()[:50])
    with pytest.raises(DataError, match=r"b\.glb"):
        plan_with(tmp_path / "extras")


def test_unseen_chairs_turn_by_every_angle():
    data = UnseenObjects(32)
    turned_by = []
    for pair in (data[i] for i in range(9)):
        source, target = (int(code[:18].argmax()) * 20 for code in (pair.source_code, pair.target_code))
        turned_by.append(min((source - target) % 360, (target - source) % 360))
    assert turned_by == list(range(20, 181, 20))
    assert np.array_equal(data[0].source_image, data[8].source_image)


def test_unseen_objects_of_a_folder_are_measured(tmp_path):
    (tmp_path / "a.glb").write_bytes(glb_bytes())
    data = UnseenObjects(32, folder=tmp_path)
    shape = ObjectFolder(tmp_path).sample(np.random.default_rng(0)).vertices.shape
    assert data._sample(np.random.default_rng(1)).vertices.shape == shape
    assert (data[3].target_mask > 0).any()
    assert np.array_equal(data[3].source_image, UnseenObjects(32, folder=tmp_path)[3].source_image)
    with pytest.raises(DataError, match=r"no \.glb files"):
        UnseenObjects(32, folder=tmp_path / "none")


def test_objects_are_the_files_of_a_folder_alone(tmp_path):
    """As for cars: no chair among them, and images apart from those of chairs."""
    (tmp_path / "cars").mkdir()
    (tmp_path / "cars" / "a.glb").write_bytes(glb_bytes())
    plan, stage = recipe("objects"), recipe("objects").stages[0]
    assert plan == replace(recipe("chairs"), dataset="objects")
    pairs = open_training_data(plan, tmp_path / "cars", tmp_path / "cache")(stage)
    assert pairs.chairs.cache.folder.name.startswith("objects-")
    drawn = [pairs.chairs._sample(np.random.default_rng(k)) for k in range(30)]
    assert {len(item.vertices) for item in drawn} == {len(drawn[0].vertices)}
    with pytest.raises(UsageError, match="needs --data-root"):
        open_training_data(plan, None, tmp_path / "cache")
