"""Protocols of measuring: sizes, formats, and conditions that are said."""

from __future__ import annotations

import numpy as np
import pytest

from gfla_cli.errors import UsageError
from gfla_cli.evaluation.protocols import GFLA, OWN, PATN, PIDM, PROTOCOLS, parse_size, prepared, resized

pytest.importorskip("torchmetrics")


def picture(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def test_protocols_bring_pictures_to_their_size_and_format():
    large = picture((400, 300))
    assert prepared(large, GFLA, (256, 256)).shape == (256, 256, 3)
    assert not np.array_equal(prepared(large, GFLA, (256, 256)), prepared(large, PATN, (256, 256)))  # jpg
    two_steps = resized(resized(large, (256, 256), "bicubic"), (256, 176), "bilinear")
    assert np.array_equal(prepared(large, PIDM, (256, 176)), two_steps)
    fitting = picture((256, 256))
    assert prepared(fitting, GFLA, (256, 256)) is fitting
    assert not np.array_equal(prepared(fitting, GFLA, (256, 256), fresh=True), fitting)
    assert prepared(fitting, OWN, (256, 256), fresh=True) is fitting


def test_every_protocol_says_its_conditions():
    for name, protocol in PROTOCOLS.items():
        size = protocol.sizes.get("fashion") or (256, 256)
        said = protocol.to_json("fashion", size)
        assert said["name"] == name
        assert said["size"] == f"{size[0]}x{size[1]}"
        assert said["note"]
    assert PATN.to_json("fashion", (256, 176))["ssim_padding"] == "white to 256x256"
    assert "bicubic" in PIDM.to_json("fashion", (256, 176))["resize"]
    assert "bilinear" in PIDM.to_json("fashion", (256, 176))["resize"]


def test_sizes_are_read_as_height_and_width():
    assert parse_size("512x352") == (512, 352)
    for wrong in ("512", "0x9", "axb", "1x2x3", "99999x256"):
        with pytest.raises(UsageError, match="not a size"):
            parse_size(wrong)
