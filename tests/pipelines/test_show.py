"""Images of where a network looks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from paths import ANNA, BEN
from tiny_models import save_tiny, steady
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.inference.visualize import AttentionMaps, Intermediates, flow_colours, show_attention, show_mask
from gfla_cli.io.image import read_image
from gfla_cli.pipelines.pose_transfer import PoseTransfer

pytestmark = pytest.mark.usefixtures("detections_remembered")

*COARSE, FINEST = steady().levels
TINY = steady(levels=(*COARSE, replace(FINEST, patch=1)))  # of one pixel: no attention there


@pytest.fixture(scope="module", params=["local", "bilinear", "none"])
def model(request, tmp_path_factory):
    return save_tiny(
        tmp_path_factory.mktemp("models") / request.param, steady(sampler=request.param, levels=TINY.levels)
    )


def test_looks_are_those_of_the_network(model):
    transfer = PoseTransfer(model, device="cpu", precision="fp32")
    ready = transfer.prepare(ANNA, BEN)
    if model.name == "none":
        with pytest.raises(Exception, match="no flow to show"):
            transfer.generate([ready], inside=True)
        return
    result = transfer.generate([ready], inside=True)[0]
    inside = result.frame.inside
    usual = transfer.generate([ready])[0].image  # body and head in one batch, which rounds differently
    np.testing.assert_allclose(result.image.astype(int), usual, atol=1)
    # In the memory format of the session: another one rounds differently.
    inputs = (torch.from_numpy(x).to(memory_format=torch.channels_last) for x in transfer._inputs([ready]))
    with torch.inference_mode():
        flows = transfer.session.network(*inputs).flows
    for level, look, flow in zip(TINY.levels, inside.levels, flows, strict=True):
        np.testing.assert_allclose(look.offset, flow.offset[0], atol=1e-5)
        np.testing.assert_allclose(look.mask, flow.mask[0], atol=1e-5)
        if model.name == "local" and level.patch > 1:
            assert look.attention.shape == (level.patch**2, *flow.offset.shape[-2:])
            np.testing.assert_allclose(look.attention.sum(axis=0), 1, atol=1e-5)
        else:
            assert look.attention is None


def test_the_command_writes_what_was_asked_for(model, tmp_path):
    if model.name == "none":
        pytest.skip("has no flow")
    arguments = ["pose-transfer", str(ANNA), "--pose", str(BEN), "-o", str(tmp_path / "a.png"), "--model", str(model)]
    result = CliRunner().invoke(app, [*arguments, "--show", "flow,mask,attention"])
    assert result.exit_code == 0, result.output
    names = ["a.png", "a--flow.png", "a--mask.png", "a--attention.png"]
    assert result.stdout.split() == [str(tmp_path / name) for name in names]
    for name in names[1:]:
        assert read_image(tmp_path / name).shape == (64, 64 * (1 + len(TINY.levels)), 3)


def test_what_cannot_be_shown_is_said_before_any_work(tmp_path):
    arguments = ["pose-transfer", str(ANNA), "--pose", str(BEN), "-o", str(tmp_path / "a.png")]
    result = CliRunner().invoke(app, [*arguments, "--show", "flow,depth"])
    assert result.exit_code == 2
    assert "flow, mask, attention" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_opposite_directions_have_opposite_colours_and_rest_is_white():
    flow = np.zeros((2, 1, 3), np.float32)
    flow[0, 0] = 1, -1, 0
    right, left, still = flow_colours(flow)[0]
    np.testing.assert_allclose(right, (255, 0, 0), atol=1)
    np.testing.assert_allclose(left, (0, 255, 255), atol=1)
    np.testing.assert_allclose(still, 255, atol=1)


def test_a_tap_is_drawn_where_the_flow_points():
    offset = np.zeros((2, 8, 8), np.float32)
    offset[0] = 3  # grid pixels of 8: 24 pixels to the right
    attention = np.zeros((9, 8, 8), np.float32)
    attention[5] = 1  # one more to the right
    points = np.full((18, 3), (-1, -1, 0), np.float32)
    points[0] = 20, 36, 1
    white = np.full((64, 64, 3), 255, np.uint8)
    drawn = show_attention(
        white, white, Intermediates([AttentionMaps(offset, np.ones((1, 8, 8), np.float32), attention)]), points
    )[:, 64:]
    rows, columns = np.nonzero((drawn != 255).any(axis=2))
    assert rows.mean() == pytest.approx(36, abs=1)
    assert columns.mean() == pytest.approx(20 + 24 + 8, abs=1)


def test_what_was_invented_is_dark():
    mask = np.ones((1, 8, 8), np.float32)
    mask[:, :, 4:] = 0
    white = np.full((64, 64, 3), 255, np.uint8)
    shown = show_mask(
        white,
        white,
        Intermediates([AttentionMaps(np.zeros((2, 8, 8), np.float32), mask)]),
        np.zeros((18, 3), np.float32),
    )
    assert shown[:, 64 : 64 + 24].min() == 255
    assert shown[:, 128 - 24 :].max() < 60
