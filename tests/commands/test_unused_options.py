"""An option that would do nothing next to the others is refused, or it does what it says."""

from __future__ import annotations

import json

import numpy as np
import pytest
from commands import refused
from paths import ROOT
from small_training import plan

from gfla_cli.io.image import read_image, write_image
from gfla_cli.training.recipe import Recipe

ASSETS = ROOT / "assets"


@pytest.fixture
def recipe_file(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(plan(flow=10, joint=20, seed=3).to_json()))
    return file


def shown(gfla, *arguments):
    result = gfla("train", "--dataset", "fashion", "--show", *arguments)
    assert result.exit_code == 0, result.output
    return Recipe.from_json(json.loads(result.stdout))


def test_options_change_the_recipe_of_a_file(gfla, recipe_file):
    assert shown(gfla, "--recipe", recipe_file) == plan(flow=10, joint=20, seed=3)
    assert shown(gfla, "--recipe", recipe_file, "--seed", "7") == plan(flow=10, joint=20, seed=7)
    assert shown(gfla, "--recipe", recipe_file, "--seed", "0") == plan(flow=10, joint=20, seed=0)
    assert shown(gfla, "--recipe", recipe_file, "--steps", "0.5") == plan(flow=5, joint=10, seed=3)
    assert shown(gfla, "--recipe", recipe_file, "--minutes", "5").minutes == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--recipe", "mine.json", "--sampler", "none"), "--sampler: mine.json says it"),
        (("--recipe", "mine.json", "--flow", "a", "--init", "b"), "--flow and --init exclude each other"),
        (("--init", "pose-people", "--sampler", "local"), "--sampler: the model of --init keeps its own"),
        (("--minutes", "5", "--steps", "0.1"), "--steps: the run ends after 5 minutes"),
        (("--data-root", ".", "--cache", "renders"), "--cache: fashion is not rendered"),
    ],
)
def test_training_refuses_what_contradicts(gfla, recipe_file, arguments, said):
    result = gfla("train", "--dataset", "fashion", "--device", "cpu", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rank-by", "l1"), "--rank-by chooses the examples of --html"),
        (("--no-refine-head",), "--refine-head: folders hold finished images"),
    ],
)
def test_evaluation_refuses_what_it_would_not_use(gfla, arguments, said):
    assert refused(gfla("evaluate", "--real", "real", "--generated", "made", *arguments), 2, said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--metrics", "ssim", "--vgg", "v.npz"), "--vgg is not used: --metrics names no vgg"),
        (("--metrics", "ssim,vgg", "--inception", "i.pth"), "--inception is not used: --metrics names no fid"),
        (("--metrics", "ssim", "--lpips-net", "vgg"), "--lpips-net is not used: --metrics names no lpips"),
        (("--metrics", "ssim", "--masks", "masks"), "--masks is not used: --metrics names no mask"),
    ],
)
def test_evaluation_says_which_weights_it_does_not_use(gfla, arguments, said):
    assert said in gfla("evaluate", "--real", "real", "--generated", "made", *arguments).stderr
    named = ("--metrics", "ssim,vgg,lpips,mask-ssim,fid", *arguments[2:])
    assert "is not used" not in gfla("evaluate", "--real", "real", "--generated", "made", *named).stderr


def test_a_table_of_reports_measures_nothing(gfla):
    assert refused(gfla("evaluate", "--table", "a.json", "--limit", "4"), 2, "--limit: --table measures nothing")


@pytest.mark.parametrize("option", ["--layout", "--size", "--protocol"])
def test_views_have_no_layout_of_person_images(gfla, option):
    value = {"--layout": "market", "--size": "64x64", "--protocol": "gfla"}[option]
    assert refused(gfla("evaluate", "view-chairs", option, value), 2, "those of person images")


def test_a_frame_of_the_whole_image_has_no_place_to_be_pasted_to(gfla):
    options = ("--paste-back", "--no-crop")
    assert refused(gfla("animate", ASSETS / "eve.jpg", ASSETS / "finn.mp4", *options), 2, "--paste-back: --no-crop")


@pytest.mark.parametrize(("option", "value"), [("--port", "8000"), ("--results", "answers")])
def test_a_study_that_is_not_served_has_no_port(gfla, option, value):
    assert refused(gfla("study", "make", "real", "made", option, value), 2, f"{option}: nothing is served")


def test_one_person_of_an_image_is_extracted_when_asked_for(gfla, tmp_path):
    anna, ben = (read_image(ASSETS / f"{name}.jpg") for name in ("anna", "ben"))
    write_image(tmp_path / "both.png", np.hstack([anna, ben]))
    result = gfla("extract", "both.png", "-o", "all.json", "--task", "body")
    assert result.exit_code == 0
    assert "2 people found, all are written" in result.stderr
    assert gfla("extract", "both.png", "-o", "right.json", "--task", "body", "--person", "right").exit_code == 0
    everybody, right = (json.loads((tmp_path / name).read_text()) for name in ("all.json", "right.json"))
    assert len(everybody["people"]) == 2
    assert "people" not in right
    assert right["points"][1][0] > anna.shape[1]


@pytest.mark.parametrize(("option", "value"), [("--trim", "0:1"), ("--fps", "10")])
def test_an_image_has_no_time(gfla, option, value):
    assert refused(gfla("extract", ASSETS / "anna.jpg", option, value), 2, "is an image, which has no time")
