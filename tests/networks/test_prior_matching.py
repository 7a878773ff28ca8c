"""Flow prior "matches", used by older bundles: equal descriptors lead to the right position."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny_models import tiny

from gfla_cli.config import preset
from gfla_cli.errors import ConfigError
from gfla_cli.networks.flow import FlowEstimator
from gfla_cli.networks.priors.limbs import limb_flow
from gfla_cli.networks.priors.matching import SOURCE_STRIDE, TARGET_STRIDE, Matches
from gfla_cli.ops.warp import downsample

SHARP = 20.0
CELLS = 16  # of a side of the source; the frame has 64 pixels


def moved(offset, seed=0):
    """Matches of a source with a descriptor of its own in every cell, seen `offset` (x, y) pixels away."""
    source = torch.randn(1, 48, CELLS, CELLS, generator=torch.Generator().manual_seed(seed))
    pixels = F.interpolate(source, scale_factor=SOURCE_STRIDE, mode="bilinear", align_corners=False)
    # The value at l is the source at l + offset, as for every flow.
    target = torch.roll(pixels, (-offset[1], -offset[0]), dims=(2, 3))
    target = F.avg_pool2d(target, TARGET_STRIDE)
    return Matches(F.normalize(target, dim=1), F.normalize(source, dim=1) * SHARP)


def inputs(size=64, batch=2):
    generator = torch.Generator().manual_seed(1)
    maps = torch.rand(batch, 36, size, size, generator=generator)
    return [torch.rand(batch, 3, size, size, generator=generator) * 2 - 1, *maps.split(18, dim=1)]


@pytest.mark.parametrize("offset", [(0, 0), (8, 0), (0, -12), (-4, 20), (3, 5)])
def test_equal_descriptors_lead_to_their_position_in_the_source(offset):
    flow, spread = moved(offset).flow()
    assert flow.shape == (1, 2, 32, 32)
    assert spread.shape == (1, 1, 32, 32)
    inside = (..., slice(11, -11), slice(11, -11))  # what wraps around the frame's edge is no correspondence
    for axis in (0, 1):
        assert (flow[:, axis][inside] - offset[axis]).abs().mean() < 1.2
    assert spread[inside].mean() < SOURCE_STRIDE


def test_a_descriptor_without_a_match_points_to_the_middle_with_a_large_spread():
    matches = moved((0, 0))
    _, spread = matches._replace(source=matches.source * 0).flow()
    assert spread.min() > CELLS  # pixels, of 64


@pytest.mark.parametrize("reduction", [1, 2])
def test_an_estimator_with_zero_corrections_gives_the_matches_at_every_level(reduction):
    config = tiny(image_size=(128, 128), flow_reduction=reduction, flow_prior="matches")
    estimator = FlowEstimator(config, 3 + 2 * 18).eval()
    for head in estimator.offset_head.values():
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    given = inputs(128)
    with torch.inference_mode():
        levels = estimator(given)
        # As the estimator reduces them: matches make a hundred times as much of a rounding error.
        image, source, target = (downsample(x, reduction) for x in given)
        matches = estimator.matcher(image, source, target, limb_flow(source, target))
        whole = matches.flow()[0] * reduction  # pixels of the frame
    whole = F.interpolate(whole, scale_factor=float(reduction), mode="bilinear", align_corners=False)
    for (flow,), stride in zip(levels, (8, 4, 2), strict=True):
        torch.testing.assert_close(
            flow.offset, F.avg_pool2d(whole, stride // TARGET_STRIDE) / stride, rtol=1e-4, atol=1e-4
        )


def test_other_than_pose_models_with_18_joints_are_refused():
    with pytest.raises(ConfigError, match="18 joints"):
        replace(preset("face"), flow_prior="matches")
    with pytest.raises(ConfigError, match="flow_depth"):
        replace(preset("pose-people"), flow_depth=3)
    with pytest.raises(ConfigError, match="match_width"):
        replace(preset("pose-people"), match_width=2)
