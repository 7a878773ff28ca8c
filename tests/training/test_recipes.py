"""Recipes: the paper's, ours, and which data sets they are for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.conditioning.structure import CHANNELS
from gfla_cli.config import preset
from gfla_cli.training.recipe import RECIPES, Recipe, recipe, scaled, with_sampler


def test_recipes_of_the_paper_have_its_weights():
    flow, joint = recipe("fashion").stages
    assert (flow.weights.correctness, flow.weights.affine) == (20, 0.01)
    assert (joint.weights.l1, joint.weights.content, joint.weights.style, joint.weights.adversarial) == (5, 0.5, 500, 2)
    assert (joint.learning_rate, joint.discriminator_rate, joint.betas) == (1e-4, 1e-5, (0.0, 0.999))


def test_a_data_set_for_another_task_is_refused_with_those_for_it():
    runner = CliRunner()
    assert runner.invoke(app, ["train", "--dataset", "chairs", "--task", "view", "--show"]).exit_code == 0
    result = runner.invoke(app, ["train", "--dataset", "people", "--task", "view", "--show"])
    assert result.exit_code == 2
    assert "for view: chairs, objects, shapenet" in result.stderr


def test_recipes_of_the_paper_and_of_rendered_clips():
    authors, ours, bodies = recipe("faces"), recipe("people-faces"), recipe("bodies")
    assert (authors.frames_per_step, authors.perceptual_frames) == (6, 6)
    assert (authors.stages[1].weights.l1, authors.stages[1].weights.style) == (5, 500)
    assert ours.model.task == "face"
    assert bodies.model.structure_channels == CHANNELS
    for one in (authors, ours, bodies):
        assert one.frames % one.frames_per_step == 0


def test_recipes_of_views_by_the_paper_and_by_us():
    flow, joint = recipe("shapenet").stages
    assert recipe("shapenet").model == preset("view-chair")
    assert (flow.weights.correctness, joint.weights.style, joint.learning_rate) == (20, 500, 1e-4)
    ours = recipe("chairs")
    assert [stage.train for stage in ours.stages] == ["flow", "joint", "joint"]
    assert ours.stages[0].weights.view > 0
    pixels = with_sampler(ours, "pixels")
    assert all(stage.weights.content == stage.weights.adversarial == 0 for stage in pixels.stages)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_json(name):
    assert Recipe.from_json(recipe(name).to_json()) == recipe(name)


def test_a_recipe_from_before_ground_truth_flows_had_their_name_is_read():
    values = recipe("people").to_json()
    for stage in values["stages"]:
        stage["known_flows"] = stage.pop("ground_truth_flows")
    assert Recipe.from_json(values) == recipe("people")


def test_the_recipe_of_photographs_wants_nothing_that_only_a_renderer_knows():
    rendered, photos = recipe("people"), recipe("photos")
    assert photos.model == replace(rendered.model, refines_heads=False, refines_halves=False)
    for stage in photos.stages:
        assert stage.weights.correspondence == stage.weights.visibility == stage.weights.person == 0
        assert stage.weights.correctness > 0
        assert stage.ground_truth_flows == 0
    assert [stage.weights.close_up for stage in photos.stages] == [stage.weights.close_up for stage in rendered.stages]


def test_a_recipe_without_flow_has_no_flow_stage():
    plan = with_sampler(recipe("people"), "none")
    assert plan.model.sampler == "none"
    assert all(stage.train == "joint" for stage in plan.stages)


def test_scaling_keeps_every_stage_alive():
    assert [stage.steps for stage in scaled(recipe("people"), 1e-9).stages] == [1, 1, 1]
