"""Model descriptions and recipes: what they refuse, and that JSON keeps them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gfla_cli.bundles.files import architecture_of
from gfla_cli.config import Level, ModelConfig, preset
from gfla_cli.errors import ConfigError, UsageError


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": (250, 256)},
        {"image_size": (0, 0)},
        {"image_size": (32, 32)},
        {"image_size": (1 << 20, 256)},
        {"width": 10**9},
        {"flow_max_width": 10**9},
        {"bottleneck": 0},
        {"bottleneck": 17},
        {"flow_reduction": 3},
        {"flow_reduction": 2, "image_size": (96, 128)},
        {"flow_reduction": 4, "image_size": (128, 128)},
        {"structure_channels": 0},
        {"sampler": "telepathic"},
        {"task": "cooking"},
        {"attention_reduction": "median"},
        {"levels": ()},
        {"levels": (Level(stride=4, patch=3), Level(stride=8, patch=3))},
        {"heatmap_sigma": 0},
        {"frame_aspect": -1},
    ],
)
def test_impossible_models_are_refused_before_anything_is_allocated(change):
    with pytest.raises(ConfigError):
        replace(preset("pose-fashion"), **change)


@pytest.mark.parametrize(("stride", "patch"), [(8, 4), (8, 0), (8, 11), (3, 3), (16, 3)])
def test_impossible_levels_are_refused(stride, patch):
    with pytest.raises(ConfigError):
        Level(stride=stride, patch=patch)


@pytest.mark.parametrize(
    "damage",
    [
        {"levels": 3}, {"levels": [{"stride": 8}]}, {"levels": [[8, 3]]}, {"levels": [{"stride": 8, "patch": 3.0}]},
        {"levels": [{"stride": 8, "patch": 10**9 + 1}]}, {"image_size": [256]}, {"image_size": [256.0, 256]},
        {"image_size": [256, 256, 256]}, {"image_size": [float("inf"), 256]}, {"width": "wide"}, {"width": "64"},
        {"width": 10**9}, {"width": 32.5}, {"width": True}, {"max_width": float("inf")}, {"source_norm": "no"},
        {"frame_aspect": float("nan")}, {"heatmap_sigma": float("inf")}, {"task": ["pose"]}, {"sampler": {}},
        {"view_width": 0.5}, {"flow_reduction": 2.0}, {"structure_channels": 1e400}, {"colour": "blue"},
    ],
)  # fmt: skip
def test_json_that_is_no_model_is_refused_as_such(damage):
    content = json.loads(json.dumps({**preset("pose-fashion").to_json(), **damage}))
    with pytest.raises(ConfigError):
        ModelConfig.from_json(content)


def test_what_is_no_object_is_no_model():
    for nonsense in ([preset("pose-fashion").to_json()], "pose", None, 5):
        with pytest.raises(ConfigError):
            ModelConfig.from_json(nonsense)


def test_blocks_are_narrower_inside_by_the_bottleneck_but_not_by_more_than_pays():
    for bottleneck, hidden in ((1, [32, 64, 128]), (2, [16, 32, 64]), (4, [16, 16, 32]), (16, [16, 16, 16])):
        config = replace(preset("pose-people"), bottleneck=bottleneck)
        assert [config.hidden(channels) for channels in (32, 64, 128)] == hidden
        assert config.hidden(8) == 8


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(UsageError) as caught:
        preset("pose-martian")
    assert "pose-fashion" in caught.value.hint


def test_a_graph_stays_usable_when_later_releases_have_more_settings():
    """The hashes are those of graphs that are in use. A new setting with a default must not change them."""
    assert architecture_of(preset("pose-market"), {"a": [1]}) == "d23f83e7c4f0dda0"
    chairs = replace(preset("view-chairs"), levels=tuple(replace(x, hidden=128) for x in preset("view-chairs").levels))
    assert architecture_of(chairs, {"a": [1]}) == "f4e93f7c74e95644"
    assert architecture_of(chairs, {"a": [2]}) != "f4e93f7c74e95644"
    assert architecture_of(preset("view-chairs"), {"a": [1]}) == "46e2bea42485f07d"
