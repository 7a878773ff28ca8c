"""The models that come with gfla: small, complete, described, and doing what their card says."""

from __future__ import annotations

import re

import numpy as np
import pytest
from compared_pictures import plain_measures, pose_pairs
from paths import ANNA, BEN, ROOT, SHARED

from gfla_cli import PoseTransfer, load_bundle
from gfla_cli.losses.image import load_vgg19
from gfla_cli.person.detect import PersonDetector
from gfla_cli.pipelines import compositing

SHIPPED = sorted(path.parent for path in (ROOT / "models").glob("*/config.json"))
_LARGEST = 10_000_000  # bytes of weights


def test_the_default_model_is_there():
    assert "pose-people" in [folder.name for folder in SHIPPED]


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_a_bundle_is_small_and_described(folder):
    assert (folder / "model.safetensors").stat().st_size <= _LARGEST
    bundle = load_bundle(folder)
    assert bundle.about["license"] == "MIT"
    card = (folder / "README.md").read_text(encoding="utf-8")
    millions = sum(p.numel() for p in bundle.network.parameters()) / 1e6
    assert f"{millions:.2f} M" in card
    for said in (r"MIT", r"gfla train --dataset", r"gfla evaluate", r"cannot"):
        assert re.search(said, card), f"the card does not say {said}"


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_the_readme_tells_the_size_of_a_bundle(folder):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    megabytes = (folder / "model.safetensors").stat().st_size / 1e6
    (row,) = [line for line in readme.splitlines() if line.startswith(f"| `{folder.name}` |")]
    assert f"{megabytes:.1f} MB" in row


def torso_colour(image, points):
    """Mean colour between shoulders and hips: what somebody wears, shading averaged away."""
    x, y = points[[2, 5, 8, 11], :2].T  # shoulders, hips
    top, bottom = int(y[:2].mean() + 0.25 * np.ptp(y)), int(y[2:].mean() - 0.25 * np.ptp(y))
    left, right = int(np.quantile(x, 0.4)), int(np.ceil(np.quantile(x, 0.6)))
    return image[top:bottom, left : right + 1].reshape(-1, 3).mean(0)


def test_a_person_takes_the_pose_and_keeps_the_clothes():
    result = PoseTransfer("pose-people").transfer(ANNA, BEN)
    (person, *_) = PersonDetector().detect(result.image)
    found, source, wanted = person.pose.points, result.source_pose, result.target_pose
    there = (found[:, 2] > 0) & (source[:, 2] > 0) & (wanted[:, 2] > 0)
    assert there.sum() >= 12
    missed, moved = (np.linalg.norm((p - wanted)[there, :2], axis=1).mean() for p in (found, source))
    assert missed < 0.6 * moved
    worn = torso_colour(result.source_image, result.source_pose)
    made = torso_colour(result.image, result.target_pose)
    assert np.abs(worn - made).max() < 40  # of 255


def test_bf16_does_not_change_the_picture_visibly(monkeypatch):
    exact, fast = (PoseTransfer("pose-people", device="cpu", precision=p) for p in ("fp32", "bf16"))
    ready = exact.prepare(ROOT / "assets" / "cleo.jpg", ANNA)
    # Which patches continue the stripes of a shirt that an arm has hidden is a choice between equal ones.
    monkeypatch.setattr(compositing, "with_texture", lambda *layers: None)
    wanted, found = (model.generate([ready])[0].image.astype(np.float64) for model in (exact, fast))
    assert np.mean((wanted - found) ** 2) < 255**2 / 10 ** (40 / 10)  # a PSNR of 40 dB


@pytest.mark.shared
def test_unseen_people_come_out_better_than_a_copy():
    from gfla_cli.evaluation.loop import COPY, measure

    measures = plain_measures("ssim", "vgg", vgg=load_vgg19(SHARED / "weights" / "vgg19_to_relu3_4.npz"))
    copied, made = measure(pose_pairs(["pose-people"], SHARED / "people-mini", limit=4), measures).scores
    assert copied.name == COPY
    before, after = copied.means(), made.means()
    assert after["ssim"] > before["ssim"]
    assert after["vgg"] < 0.8 * before["vgg"]
