"""Distances of two pictures: their formulas, LPIPS, and what a mask leaves of them."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from judges import lpips_state
from keypoints import STANDING, points
from paths import GOLDEN

from gfla_cli.errors import BundleError
from gfla_cli.evaluation.protocols import padding
from gfla_cli.person.pose import MIRRORED

pytest.importorskip("torchmetrics")

from gfla_cli.evaluation.features import load_lpips
from gfla_cli.evaluation.metrics import Measures, PoseJudge, body_mask, hole_share


def flat(value, size=(32, 32)):
    return torch.full((1, 3, *size), float(value))


PLAIN = Measures(("ssim", "psnr", "l1"))


def of_pair(measures, *images):
    """The figures of one pair."""
    (figures,) = measures.figures(*images)
    return figures


def lpips(seeded):
    with TemporaryDirectory() as folder:
        torch.save(lpips_state(seeded, "alex"), Path(folder) / "alex.pth")
        return load_lpips("alex", Path(folder) / "alex.pth")[0]


@pytest.fixture
def front_is_found(monkeypatch):
    """Every image shows the standing person from the front."""
    monkeypatch.setattr(PoseJudge, "pose", lambda judge, image: points())
    return PoseJudge(rendered=False), np.zeros((256, 176, 3), np.uint8)


def test_a_front_that_should_be_a_back_counts_as_mirrored(front_is_found):
    judge, image = front_is_found
    back = points(STANDING[list(MIRRORED)])
    # Nose, neck, eyes and ears are so near to the middle that they are in place either way.
    assert judge.figures(image, back) == {"pck": 6 / 18, "mirrored": 1}
    assert judge.figures(image, points()) == {"pck": 1, "mirrored": 0}
    assert judge.figures(image, points(STANDING + 100)) == {"pck": 0, "mirrored": 0}


def test_mirrored_needs_a_fifth_of_the_joints(front_is_found):
    judge, image = front_is_found
    for others, mirrored in (4, 1), (5, 0):  # joints that are in place neither way
        wanted = np.full((18, 3), (-1, -1, 0), np.float32)
        wanted[8 : 8 + others] = points(STANDING + np.array([0, 150]))[8 : 8 + others]
        wanted[3] = points()[6]  # an elbow
        assert judge.figures(image, wanted) == {"pck": 0, "mirrored": mirrored}


def test_figures_of_pairs_are_what_their_formulas_give(seeded):
    judge = PLAIN
    made, real = flat(0.0), flat(0.5)
    figures = of_pair(judge, made, real)
    assert list(figures) == ["ssim", "psnr", "l1"]
    assert figures["l1"] == pytest.approx(0.5)
    assert figures["psnr"] == pytest.approx(20 * math.log10(4))  # a quarter of the range
    noise = seeded.uniform("noise", (1, 3, 32, 32), -1, 1)
    assert of_pair(judge, noise, noise) == pytest.approx({"ssim": 1, "psnr": 100, "l1": 0}, abs=1e-5)


def test_a_batch_gives_what_its_pairs_give_alone(seeded):
    judge = Measures(("ssim", "psnr", "l1", "lpips", "mask-ssim", "mask-lpips"), lpips=lpips(seeded))
    made, real = (seeded.uniform(name, (3, 3, 40, 32), -1, 1) for name in ("made", "real"))
    masks = torch.zeros(3, 1, 40, 32)
    masks[:, :, 8:30, 4:20] = 1
    together = judge.figures(made, real, masks)
    for k, figures in enumerate(together):
        assert list(figures) == ["ssim", "psnr", "l1", "lpips", "mask-ssim", "mask-lpips"]
        assert of_pair(judge, *(x[k : k + 1] for x in (made, real, masks))) == pytest.approx(figures, rel=1e-4)


def test_masked_figures_see_nothing_outside_the_mask(seeded):
    judge = Measures(("mask-ssim", "mask-lpips"), lpips=lpips(seeded))
    made = seeded.uniform("made", (1, 3, 40, 32), -1, 1)
    real = made.clone()
    real[:, :, :, 16:] = 0.3
    left = torch.zeros(1, 1, 40, 32)
    left[..., :16] = 1
    assert of_pair(judge, made, real, left) == pytest.approx({"mask-ssim": 1, "mask-lpips": 0}, abs=1e-5)
    black = [torch.where(left > 0, x, -1.0) for x in (made.clone().fill_(1), real)]
    assert of_pair(judge, torch.ones_like(made), real, left) == pytest.approx(
        {
            "mask-ssim": of_pair(PLAIN, *black)["ssim"],
            "mask-lpips": of_pair(Measures(("lpips",), lpips=lpips(seeded)), *black)["lpips"],
        }
    )
    whole = of_pair(judge, made, real, torch.ones(1, 1, 40, 32))
    assert whole["mask-ssim"] < 0.9
    assert whole["mask-lpips"] > 0
    assert all(math.isnan(value) for value in of_pair(judge, made, real, torch.zeros(1, 1, 40, 32)).values())


def test_white_padding_raises_ssim(seeded):
    made, real = (seeded.uniform(name, (1, 3, 64, 44), -1, 1) for name in ("made", "real"))
    plain, padded = (of_pair(Measures(("ssim",), padded=size), made, real)["ssim"] for size in (None, (64, 64)))
    assert padded > plain + 0.1
    assert padding((256, 176), (256, 256)) == (40, 40, 0, 0)


@pytest.mark.parametrize("backbone", ["alex", "vgg"])
def test_lpips_gives_the_distances_of_its_authors_package(seeded, backbone, tmp_path):
    torch.save(lpips_state(seeded, backbone), tmp_path / "net.pth")
    judge, file = load_lpips(backbone, tmp_path / "net.pth")
    made, real = (seeded.uniform(name, (2, 3, 64, 48), -1, 1) for name in ("made", "real"))
    with torch.inference_mode():
        found = judge(made, real)
        assert judge(real, real).abs().max() == 0
    expected = np.load(GOLDEN / "judges.npz")[f"lpips_{backbone}"]  # of lpips 0.1.4 with these weights
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert file == tmp_path / "net.pth"


def test_lpips_refuses_the_weights_of_another_network(seeded, tmp_path):
    torch.save(lpips_state(seeded, "alex"), tmp_path / "alex.pth")
    with pytest.raises(BundleError, match="vgg network"):
        load_lpips("vgg", tmp_path / "alex.pth")


BODY = np.array(
    (
        *((32, 14), (32, 30), (24, 30), (20, 48), (18, 64), (40, 30), (44, 48), (46, 64), (27, 66), (26, 92)),
        *((26, 118), (37, 66), (38, 92), (38, 118), (30, 12), (34, 12), (27, 14), (37, 14)),
    ),
    np.float32,
)
POINTS = np.concatenate([BODY, np.ones((18, 1), np.float32)], axis=1)


def test_the_mask_covers_the_body_and_not_the_corners():
    mask = body_mask(POINTS, (128, 64))
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}
    assert all(mask[int(y), int(x)] == 1 for x, y in BODY)
    assert list(mask[80, [16, 21, 32]]) == [0, 1, 1]  # beside the thigh, in its stroke, between the legs
    assert not mask[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert 0.15 < mask.mean() < 0.6
    missing = POINTS.copy()
    missing[:] = (-1, -1, 0)
    assert not body_mask(missing, (128, 64)).any()
    twice = POINTS * (2, 2, 1)
    grown = body_mask(twice.astype(np.float32), (256, 128))
    assert np.abs(grown[::2, ::2].astype(int) - mask).mean() < 0.05  # strokes grow with the body


def seat(colour=(120, 70, 40)):
    """A wide board with a gap in it, on white, and its silhouette."""
    image, inside = np.full((64, 64, 3), 255, np.uint8), np.zeros((64, 64), np.uint8)
    image[10:50, 10:50], inside[10:50, 10:50] = colour, 255
    image[20:40, 30:40], inside[20:40, 30:40] = 255, 0
    return image, inside


def test_background_that_the_object_encloses_is_a_hole():
    real, inside = seat()
    assert hole_share(real, real, inside) == 0
    holed = real.copy()
    holed[20:30, 15:25] = 220  # greyish, but nearer to white than to brown
    assert hole_share(holed, real, inside) == pytest.approx(100 / (inside > 0).sum())
    holed[20:30, 10:15] = 255  # now open to the background
    assert hole_share(holed, real, inside) == 0


def test_other_colours_and_a_shifted_outline_are_no_holes():
    real, inside = seat()
    assert hole_share(np.roll(real, 1, axis=1), real, inside) == 0
    pale, _ = seat((240, 240, 235))
    assert hole_share(np.full_like(pale, 255), pale, inside) == 0
    darker = real.copy()
    darker[20:30, 15:25] = 20
    assert hole_share(darker, real, inside) == 0
