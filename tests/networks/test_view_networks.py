"""View models: view codes, the generator, its samplers, and the estimator of the source's view."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from chairs import TINY
from tiny_models import fresh

from gfla_cli.bundles.convert import import_checkpoint
from gfla_cli.conditioning.view_code import ViewAngles, azimuth_difference, nearest_view, view_angles, view_code
from gfla_cli.config import preset
from gfla_cli.errors import BundleError, ConfigError, UsageError
from gfla_cli.networks.build import build
from gfla_cli.networks.view import averaged
from gfla_cli.training.recipe import recipe, with_sampler


def code(azimuth, elevation=10):
    return torch.from_numpy(view_code(ViewAngles(azimuth, elevation)))[None, :, None, None]


def test_codes_are_one_hot_and_blend_between_trained_angles():
    exact = view_code(ViewAngles(340, 20))
    assert np.flatnonzero(exact).tolist() == [17, 20]
    blended = view_code(ViewAngles(350, 5), "blend")
    assert {i: blended[i] for i in np.flatnonzero(blended)} == {0: 0.5, 17: 0.5, 18: 0.5, 19: 0.5}
    assert np.array_equal(view_code(ViewAngles(40, 10), "blend"), view_code(ViewAngles(40, 10)))


def test_the_nearest_trained_view_goes_around_the_circle():
    assert nearest_view(ViewAngles(355, 14)) == (0, 10)
    assert nearest_view(ViewAngles(50, 16)) == (40, 20)
    assert nearest_view(view_angles(-25, 0)) == (340, 0)
    assert azimuth_difference(350, 10) == 20
    assert azimuth_difference(0, 180) == 180


@pytest.mark.parametrize(("azimuth", "elevation"), [(361, 0), (-400, 0), (float("nan"), 0), (0, 21), (0, -1)])
def test_angles_out_of_range_are_refused(azimuth, elevation):
    with pytest.raises(UsageError, match="out of range"):
        view_angles(azimuth, elevation)


@pytest.mark.parametrize("size", [64, 128, 96])
def test_the_view_generator_takes_any_frame_and_encodes_the_source_once(size):
    network = fresh(TINY).eval()
    picture = torch.rand(1, 3, size, size) * 2 - 1
    made = network(picture, code(0), code(60))
    assert made.image.shape == (1, 3, size, size)
    encoded = network.encode_source(picture)
    for module in (network.flow_estimator.volume, network.source_encoder):
        module.register_forward_hook(lambda *_: pytest.fail("the source was encoded again"))
    assert torch.equal(made.image, network(picture, code(0), code(60), encoded).image)
    assert network.estimate_view(picture).shape == (1, 21)


@pytest.mark.parametrize("size", [(256, 256), (160, 96), (64, 128)])
def test_the_view_estimator_pools_as_torch_does(size):
    picture = torch.rand(2, 3, *size)
    torch.testing.assert_close(averaged(picture, 128), F.adaptive_avg_pool2d(picture, 128), atol=1e-6, rtol=0)


def test_another_code_gives_another_image():
    network = fresh(TINY).eval()
    picture = torch.rand(1, 3, 64, 64) * 2 - 1
    assert not torch.allclose(network(picture, code(0), code(60)).image, network(picture, code(0), code(80)).image)


@pytest.mark.parametrize("sampler", ["local", "bilinear", "global", "pixels"])
def test_every_sampler_of_view_models_trains_all_its_parameters(sampler):
    config = with_sampler(replace(recipe("chairs"), model=TINY), sampler).model
    network = fresh(config)
    made = network(torch.rand(1, 3, 64, 64), code(0), code(60))
    terms = made.image.square().mean() + sum(flow.mask.mean() for flow in made.flows)
    terms = terms + sum(flow.offset.square().mean() for flow in made.flows)
    if made.flows:  # the volume has losses of its own
        shape = network.estimate_flow(torch.rand(1, 3, 64, 64), code(0), code(60)).shape
        terms = terms + shape.opacity.mean() + shape.moved.mean()
    if config.view_width:
        terms = terms + network.estimate_view(torch.rand(1, 3, 64, 64)).square().mean()
    terms.backward()
    assert not [name for name, parameter in network.named_parameters() if parameter.grad is None]


def test_appearance_flow_only_warps_pixels():
    network = fresh(with_sampler(replace(recipe("chairs"), model=TINY), "pixels").model)
    picture = torch.full((1, 3, 64, 64), 0.25)
    torch.testing.assert_close(network(picture, code(0), code(60)).image, picture)


def test_samplers_of_other_tasks_are_refused():
    with pytest.raises(ConfigError, match="none"):
        with_sampler(recipe("chairs"), "none")
    with pytest.raises(ConfigError, match="pixels"):
        with_sampler(recipe("people"), "pixels")


def test_the_default_view_model_fits_its_bundle():
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in build(preset("view-chairs")).parameters())
    assert count * 2 <= 9.9e6  # float16 bytes; the card and the header need room too


def test_a_released_checkpoint_does_not_fit_our_own_preset(tmp_path):
    torch.save({"source.block0.model.0.weight": torch.zeros(3)}, tmp_path / "latest_net_G.pth")
    with pytest.raises(BundleError, match="does not fit the preset"):
        import_checkpoint(tmp_path / "latest_net_G.pth", "view-chairs", tmp_path / "out")
