"""What pictures are judged by: distances of pairs, the networks behind them, and the Frechet distance of sets."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import GOLDEN

from gfla_cli.bundles.state_file import read_state
from gfla_cli.errors import BundleError, DataError, UsageError
from gfla_cli.metrics import weights
from gfla_cli.metrics.body_mask import body_mask
from gfla_cli.metrics.frechet import FeatureSums, frechet_distance, read_gaussian, write_gaussian
from gfla_cli.metrics.inception import FidInception, build_inception
from gfla_cli.metrics.prepare import padding, prepared, resized
from gfla_cli.metrics.protocol import GFLA, OWN, PATN, PIDM, PROTOCOLS, parse_size
from gfla_cli.metrics.weights import ALEXNET, find_weights

pytest.importorskip("torchmetrics")

from gfla_cli.metrics.lpips import Lpips, load_lpips
from gfla_cli.metrics.pictures import PictureDistances

BODY = np.array(
    (
        *((32, 14), (32, 30), (24, 30), (20, 48), (18, 64), (40, 30), (44, 48), (46, 64), (27, 66), (26, 92)),
        *((26, 118), (37, 66), (38, 92), (38, 118), (30, 12), (34, 12), (27, 14), (37, 14)),
    ),
    np.float32,
)
POINTS = np.concatenate([BODY, np.ones((18, 1), np.float32)], axis=1)


def features(seed, count=400, width=3, scale=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal((count, width)) * scale + shift)


def gaussian(*batches):
    sums = FeatureSums()
    for batch in batches:
        sums.add(batch)
    return sums.gaussian()


# --- FID


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

    class Colours(torch.nn.Module):
        num_features = 6

        def forward(self, image):
            return torch.cat([image.float().mean(dim=(2, 3)), image.float().std(dim=(2, 3))], dim=1)

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


def fid_state(seeded, *, thin=False):
    """Seeded weights of FID's Inception. `thin`: a number for each channel only, so that a file of them is small."""
    state = {}
    for name, tensor in FidInception().state_dict().items():
        shape = tuple(tensor.shape)
        if name.endswith("conv.weight"):
            fan = math.prod(shape[1:])
            kernel = seeded.normal(name, (shape[0], 1, 1, 1)) / fan if thin else seeded.normal(name, shape) / fan**0.5
            state[name] = (1.4 * kernel).expand(shape)
        elif name.endswith(("running_var", "bn.weight")):
            state[name] = 1 + 0.1 * seeded.normal(name, shape).abs()
        elif not name.endswith("num_batches_tracked"):
            state[name] = 0.1 * seeded.normal(name, shape)
    return state


def test_inception_gives_the_features_of_pytorch_fid(seeded):
    pictures = seeded.uniform("pictures", (1, 3, 128, 64), -1, 1)
    with torch.inference_mode():
        found = build_inception(fid_state(seeded))(pictures)
    assert found.shape == (1, 2048)
    expected = np.load(GOLDEN / "judges.npz")["inception"]  # every 31st, of pytorch-fid 0.3.0 with these weights
    np.testing.assert_allclose(found[:, ::31], expected, atol=2e-5)


def test_other_inception_weights_are_refused(seeded):
    state = fid_state(seeded, thin=True)
    with pytest.raises(BundleError, match="1000 classes") as error:
        build_inception(state | {"fc.weight": torch.zeros(1000, 2048)})
    assert "pt_inception-2015-12-05" in error.value.hint
    del state["Mixed_7c.branch1x1.conv.weight"]
    with pytest.raises(BundleError, match="1 tensors do not fit, first Mixed_7c"):
        build_inception(state)
    with pytest.raises(BundleError, match="do not fit"):
        build_inception({})


# --- LPIPS


def lpips_state(seeded, name):
    widths, sides, numbers = {
        "alex": ((64, 192, 384, 256, 256), (11, 5, 3, 3, 3), (0, 3, 6, 8, 10)),
        "vgg": (
            (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512),
            (3,) * 13,
            (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
        ),
    }[name]
    state = {}
    for number, out, into, side in zip(numbers, widths, (3, *widths), sides, strict=False):
        state[f"features.{number}.weight"] = seeded.weight(f"{name}{number}", (out, into, side, side))
        state[f"features.{number}.bias"] = seeded.normal(f"{name}{number}.bias", (out,)) * 0.05
    return state


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
    assert file.to_json()["weights"] == "net.pth"


def test_lpips_refuses_the_weights_of_another_network(seeded, tmp_path):
    torch.save(lpips_state(seeded, "alex"), tmp_path / "alex.pth")
    with pytest.raises(BundleError, match="vgg network"):
        load_lpips("vgg", tmp_path / "alex.pth")


# --- where weights come from


def test_weights_are_found_in_torchs_cache_and_missing_ones_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(BundleError, match="alexnet-owt-7be5be79") as error:
        find_weights(ALEXNET)
    assert "https://" in error.value.hint
    assert "--lpips-backbone" in error.value.hint
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "alexnet-owt-4df8aa71.pth").write_bytes(b"abc")
    found = find_weights(ALEXNET)
    assert found.path.name == "alexnet-owt-4df8aa71.pth"
    assert found.sha256.startswith("ba7816bf8f01cfea")  # of "abc"
    assert find_weights(ALEXNET, folder / "alexnet-owt-4df8aa71.pth") == found
    with pytest.raises(BundleError, match="no such file"):
        find_weights(ALEXNET, tmp_path / "nothing.pth")


def test_torchs_cache_is_where_torch_says(monkeypatch, tmp_path):
    for name, value in (("TORCH_HOME", None), ("XDG_CACHE_HOME", str(tmp_path)), ("TORCH_HOME", str(tmp_path / "t"))):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
        assert weights.torch_cache() == type(tmp_path)(torch.hub.get_dir()) / "checkpoints"


def test_state_files_of_three_kinds_are_read_and_others_refused(tmp_path):
    from safetensors.torch import save_file

    tensor = torch.arange(6.0).reshape(2, 3)
    np.savez(tmp_path / "a.npz", x=tensor.numpy())
    save_file({"x": tensor}, tmp_path / "a.safetensors")
    torch.save({"x": tensor}, tmp_path / "a.pth")
    for suffix in ("npz", "safetensors", "pth"):
        assert torch.equal(read_state(tmp_path / f"a.{suffix}", "anything")["x"], tensor)
    torch.save([tensor], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:40])
    for name in ("list.pth", "text.pth", "cut.npz"):
        with pytest.raises(BundleError, match=f"{name}: not ") as error:
            read_state(tmp_path / name, "weights of mine")
        assert "\n" not in str(error.value)
    with pytest.raises(BundleError, match="no such file"):
        read_state(tmp_path / "b.pth", "weights")


# --- figures of pairs


def flat(value, size=(32, 32)):
    return torch.full((1, 3, *size), float(value))


def test_figures_of_pairs_are_what_their_formulas_give(seeded):
    judge = PictureDistances()
    made, real = flat(0.0), flat(0.5)
    figures = judge(made, real)
    assert list(figures) == ["ssim", "psnr", "l1"]
    assert figures["l1"] == pytest.approx(0.5)
    assert figures["psnr"] == pytest.approx(20 * math.log10(4))  # a quarter of the range
    noise = seeded.uniform("noise", (1, 3, 32, 32), -1, 1)
    assert judge(noise, noise) == pytest.approx({"ssim": 1, "psnr": 100, "l1": 0}, abs=1e-5)


def test_a_batch_gives_what_its_pairs_give_alone(seeded):
    judge = PictureDistances(lpips=lpips(seeded))
    made, real = (seeded.uniform(name, (3, 3, 40, 32), -1, 1) for name in ("made", "real"))
    masks = torch.zeros(3, 1, 40, 32)
    masks[:, :, 8:30, 4:20] = 1
    together = judge.of_batch(made, real, masks)
    for k, figures in enumerate(together):
        assert list(figures) == ["ssim", "psnr", "l1", "lpips", "mask-ssim", "mask-lpips"]
        assert judge(*(x[k : k + 1] for x in (made, real, masks))) == pytest.approx(figures, rel=1e-4)


def lpips(seeded):
    from gfla_cli.metrics.lpips import _judgements

    return Lpips("alex", lpips_state(seeded, "alex"), _judgements("alex"))


def test_masked_figures_see_nothing_outside_the_mask(seeded):
    judge = PictureDistances(lpips=lpips(seeded), metrics=("mask-ssim", "mask-lpips"))
    made = seeded.uniform("made", (1, 3, 40, 32), -1, 1)
    real = made.clone()
    real[:, :, :, 16:] = 0.3
    left = torch.zeros(1, 1, 40, 32)
    left[..., :16] = 1
    assert judge(made, real, left) == pytest.approx({"mask-ssim": 1, "mask-lpips": 0}, abs=1e-5)
    black = [torch.where(left > 0, x, -1.0) for x in (made.clone().fill_(1), real)]
    assert judge(torch.ones_like(made), real, left) == pytest.approx(
        {
            "mask-ssim": PictureDistances()(*black)["ssim"],
            "mask-lpips": PictureDistances(lpips=lpips(seeded))(*black)["lpips"],
        }
    )
    whole = judge(made, real, torch.ones(1, 1, 40, 32))
    assert whole["mask-ssim"] < 0.9
    assert whole["mask-lpips"] > 0
    assert all(math.isnan(value) for value in judge(made, real, torch.zeros(1, 1, 40, 32)).values())


def test_white_padding_raises_ssim(seeded):
    made, real = (seeded.uniform(name, (1, 3, 64, 44), -1, 1) for name in ("made", "real"))
    plain, padded = (PictureDistances(padded=size)(made, real)["ssim"] for size in (None, (64, 64)))
    assert padded > plain + 0.1
    assert padding((256, 176), (256, 256)) == (40, 40, 0, 0)


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


# --- protocols


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
        size = protocol.size("fashion") or (256, 256)
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
