"""The Frechet distance of two sets of pictures, and Inception, whose features it compares."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from judges import Colours, fid_state
from paths import GOLDEN

from gfla_cli.errors import BundleError, DataError
from gfla_cli.evaluation.features import build_inception
from gfla_cli.evaluation.fid import FeatureSums, frechet_distance, read_gaussian, write_gaussian

pytest.importorskip("torchmetrics")


def features(seed, count=400, width=3, scale=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal((count, width)) * scale + shift)


def gaussian(*batches):
    sums = FeatureSums()
    for batch in batches:
        sums.add(batch)
    return sums.gaussian()


def test_the_frechet_distance_of_known_gaussians_is_what_the_formula_gives():
    one = gaussian(features(0))
    mean, covariance = one.mean, one.covariance
    moved = type(one)(mean + torch.tensor([3.0, 0.0, 4.0]), covariance, 400)
    assert frechet_distance(one, moved) == pytest.approx(25, abs=1e-9)
    wider = type(one)(mean, covariance * 4, 400)  # (S · 4S)^½ = 2S, so tr(S + 4S - 4S) = tr S
    assert frechet_distance(one, wider) == pytest.approx(float(covariance.trace()), rel=1e-9)
    diagonal = [type(one)(torch.zeros(2).double(), torch.diag(torch.tensor(d)).double(), 9) for d in ([1, 4], [9, 16])]
    assert frechet_distance(*diagonal) == pytest.approx((1 - 3) ** 2 + (2 - 4) ** 2)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)


def test_few_features_of_many_dimensions_have_the_distance_of_their_singular_values():
    one, other = features(4, 9, 300).numpy(), features(5, 7, 300, shift=0.1).numpy()
    centred = [x - x.mean(axis=0) for x in (one, other)]
    shared = np.linalg.svd(centred[0] @ centred[1].T / math.sqrt(8 * 6), compute_uv=False).sum()
    spread = sum((x**2).sum() / (len(x) - 1) for x in centred)
    exact = ((one.mean(axis=0) - other.mean(axis=0)) ** 2).sum() + spread - 2 * shared
    found = frechet_distance(gaussian(torch.from_numpy(one)), gaussian(torch.from_numpy(other)))
    assert found == pytest.approx(exact, rel=1e-9)


def test_sums_over_batches_are_the_mean_and_covariance_of_everything():
    everything = features(1, 101, 5, scale=3, shift=7)
    found = gaussian(everything[:1], everything[1:40], everything[40:])
    np.testing.assert_allclose(found.mean, everything.numpy().mean(axis=0))
    np.testing.assert_allclose(found.covariance, np.cov(everything.numpy(), rowvar=False))
    assert found.count == 101
    with pytest.raises(DataError, match="at least 2"):
        gaussian(everything[:1])


def test_the_distance_is_that_of_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    judge = FrechetInceptionDistance(feature=Colours(), input_img_size=(3, 8, 8)).set_dtype(torch.float64)
    generator = torch.Generator().manual_seed(0)
    sets = [torch.randint(0, top, (60, 3, 8, 8), generator=generator, dtype=torch.uint8) for top in (256, 200)]
    for pictures, real in zip(sets, (True, False), strict=True):
        judge.update(pictures, real=real)
    ours = frechet_distance(*(gaussian(Colours()(pictures)) for pictures in sets))
    assert ours == pytest.approx(float(judge.compute()), rel=1e-4)


def test_statistics_are_kept_and_those_of_pytorch_fid_are_read(tmp_path):
    one = gaussian(features(2))
    write_gaussian(tmp_path / "mine.npz", one)
    assert frechet_distance(read_gaussian(tmp_path / "mine.npz"), one) == pytest.approx(0, abs=1e-9)
    assert read_gaussian(tmp_path / "mine.npz").count == 400
    np.savez(tmp_path / "theirs.npz", mu=np.zeros(3), sigma=np.eye(3))
    assert read_gaussian(tmp_path / "theirs.npz").count == 0
    np.savez(tmp_path / "wrong.npz", mu=np.zeros(3), sigma=np.eye(4))
    (tmp_path / "text.npz").write_text("hello")
    for name, said in (("wrong.npz", "do not belong"), ("text.npz", "no statistics")):
        with pytest.raises(DataError, match=said):
            read_gaussian(tmp_path / name)
    with pytest.raises(DataError, match="3 and 5 dimensions"):
        frechet_distance(one, gaussian(features(3, width=5)))


def test_inception_gives_the_features_of_pytorch_fid(seeded):
    pictures = seeded.uniform("pictures", (1, 3, 128, 64), -1, 1)
    with torch.inference_mode():
        found = build_inception(fid_state(seeded), "fid.pth")(pictures)
    assert found.shape == (1, 2048)
    expected = np.load(GOLDEN / "judges.npz")["inception"]  # every 31st, of pytorch-fid 0.3.0 with these weights
    np.testing.assert_allclose(found[:, ::31], expected, atol=2e-5)


def test_other_inception_weights_are_refused(seeded):
    state = fid_state(seeded, thin=True)
    with pytest.raises(BundleError, match="1000 classes") as error:
        build_inception(state | {"fc.weight": torch.zeros(1000, 2048)}, "fid.pth")
    assert "pt_inception-2015-12-05" in error.value.hint
    del state["Mixed_7c.branch1x1.conv.weight"]
    with pytest.raises(BundleError, match="1 tensors do not fit, first Mixed_7c"):
        build_inception(state, "fid.pth")
    with pytest.raises(BundleError, match="do not fit"):
        build_inception({}, "fid.pth")
