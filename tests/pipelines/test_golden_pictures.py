"""The shipped models make the pictures that they made when they were shipped.

`python tests/pipelines/test_golden_pictures.py` writes them anew. Look at them before they are committed.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from paths import ANNA, BEN, GOLDEN, ROOT, SHARED

from gfla_cli.geometry.crop import Crop
from gfla_cli.io.image import load_image, to_planes, write_image

PICTURES = GOLDEN / "pictures"
SIDE = 256  # longer side of a golden picture
MOST = {"dssim": 0.02, "vgg": 0.05}  # other processors and runtimes round differently


def posed():
    from gfla_cli import PoseTransfer

    return PoseTransfer(device="cpu").transfer(ANNA, BEN).image


def talking():
    from gfla_cli.pipelines.animation import Animator

    animation = Animator(device="cpu").animate(ROOT / "assets/eve.jpg", ROOT / "assets/finn.mp4", trim=(0, 0.4))
    with animation:
        return [frame.image for frame in animation][-1]


def turned(model, image, azimuth):
    from gfla_cli import ViewSynthesizer

    return ViewSynthesizer(model, device="cpu").render(ROOT / "assets" / image, [azimuth]).images[0]


MADE = {
    "pose-people": posed,
    "face-people": talking,
    "view-chairs": functools.partial(turned, "view-chairs", "armchair.jpg", 60),
    "view-cars": functools.partial(turned, "view-cars", "van.jpg", 80),
}


def small(image):
    height, width = image.shape[:2]
    factor = SIDE / max(height, width)
    return Crop.whole(image.shape, (round(height * factor), round(width * factor))).image(image)


@functools.cache
def metrics():
    """SSIM, and the distance of VGG19 where its weights are beside the checkout."""
    from gfla_cli.evaluation.metrics import Measures
    from gfla_cli.losses.image import load_vgg19

    weights = SHARED / "weights" / "vgg19_to_relu3_4.npz"
    vgg = load_vgg19(weights) if weights.is_file() else None
    return Measures(("ssim", "vgg") if vgg else ("ssim",), vgg=vgg).figures


def distances(one, other):
    """How different two images look; 0 is equal. `vgg` is relative to the distance of the image from plain grey."""
    one, other = (torch.from_numpy(to_planes(image)) for image in (one, other))
    found = metrics()(one, other)[0]
    result = {"dssim": (1 - found["ssim"]) / 2}
    if "vgg" in found:
        result["vgg"] = found["vgg"] / from_grey(other)
    return result


_grey: dict[bytes, float] = {}


def from_grey(image):
    """The distance of an image (1, 3, H, W) from plain grey, by VGG19."""
    key = image.numpy().tobytes()
    if key not in _grey:
        _grey[key] = metrics()(torch.zeros_like(image), image)[0]["vgg"]
    return _grey[key]


@pytest.mark.parametrize("name", MADE)
def test_a_shipped_model_makes_its_golden_picture(name):
    wanted = load_image(PICTURES / f"{name}.png")
    got = small(MADE[name]())
    assert got.shape == wanted.shape
    found = distances(got, wanted)
    if any(value > MOST[measure] for measure, value in found.items()):
        beside = PICTURES / f"{name}-got.png"
        write_image(beside, got, overwrite=True)
        pytest.fail(f"{found}, at most {MOST} is allowed; look at {beside}")


@pytest.mark.shared  # SSIM alone does not see the tint
@pytest.mark.parametrize("name", MADE)
def test_the_distance_sees_a_shift_of_two_pixels_and_a_tint(name):
    wanted = load_image(PICTURES / f"{name}.png")
    tinted = (wanted * np.array([1, 0.85, 1])).astype(np.uint8)
    for changed in (np.roll(wanted, 2, axis=1), tinted):
        found = distances(changed, wanted)
        assert any(value > MOST[measure] for measure, value in found.items()), found


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for model, make in MADE.items():
        write_image(PICTURES / f"{model}.png", small(make()), overwrite=True)
