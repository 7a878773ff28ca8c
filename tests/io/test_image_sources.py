"""Images in Python: everything that NumPy sees as an image is taken, the rest is a GflaError."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from paths import ROOT
from PIL import Image
from tiny_models import save_tiny, tiny

from gfla_cli import PoseTransfer
from gfla_cli.errors import GflaError
from gfla_cli.io.image import image_name, load_image

ANNA = ROOT / "assets" / "anna.jpg"


@pytest.mark.parametrize("kind", [Image.fromarray, torch.from_numpy, np.ndarray.tolist, memoryview])
def test_what_shows_the_same_pixels_is_the_same_image(kind):
    pixels = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
    if kind in (np.ndarray.tolist, memoryview):  # lists have no bytes, and bytes are those of a file
        with pytest.raises(GflaError):
            load_image(kind(pixels))
    else:
        np.testing.assert_array_equal(load_image(kind(pixels)), pixels)
        assert image_name(kind(pixels)) == "the image"


def test_bytes_are_those_of_a_file():
    np.testing.assert_array_equal(load_image(ANNA.read_bytes()), load_image(ANNA))
    with pytest.raises(GflaError, match="the image"):
        load_image(b"nothing")


@pytest.mark.parametrize("wrong", [None, 7, {}, object(), np.zeros((3, 20, 20), np.float32), "missing.png", b""])
def test_the_rest_is_one_of_our_errors(wrong):
    with pytest.raises(GflaError):
        load_image(wrong)


def test_a_result_s_pose_can_be_given_back(tmp_path):
    model = PoseTransfer(save_tiny(tmp_path / "pose", tiny()))
    first = model.transfer(Image.open(ANNA), (ROOT / "assets" / "ben.jpg").read_bytes(), refine_head=False)
    again = model.transfer(ANNA, first.target_pose, align="placed", refine_head=False)
    both = (first.target_pose[:, 2] > 0) & (again.target_pose[:, 2] > 0)
    np.testing.assert_allclose(again.target_pose[both], first.target_pose[both], atol=0.1)
