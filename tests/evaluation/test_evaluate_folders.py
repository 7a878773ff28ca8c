"""Folders of pictures measured: pair by pair, as sets, under masks, by the protocols of papers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from compared_pictures import SEEDS, colour_fid, picture, plain_measures
from judges import Colours
from tiny_models import CPU

from gfla_cli.datasets.tables import read_poses
from gfla_cli.errors import DataError, MediaError, UsageError
from gfla_cli.io.image import read_image, write_image

pytest.importorskip("torchmetrics")

from gfla_cli.evaluation.fid import FidReference
from gfla_cli.evaluation.folders import ComparedFolders
from gfla_cli.evaluation.loop import measure
from gfla_cli.evaluation.metrics import gather
from gfla_cli.evaluation.protocols import CFLD, GFLA, OWN_FILES, PIDM
from gfla_cli.evaluation.run import Request


def test_folders_are_measured_pair_by_pair(result_folders, tmp_path):
    real = {name: read_image(tmp_path / "real" / f"{name}.jpg") for name in SEEDS}
    same = result_folders("same", **{f"{name}_DOT_png": image for name, image in real.items()})
    darker = result_folders("darker", a_0_DOT_png=real["a_0"], a_1_DOT_png=(real["a_1"] // 2))
    test = ComparedFolders(real=tmp_path / "real", generated=[same, darker])
    found = measure(test, plain_measures())
    assert [(score.name, len(score.images)) for score in found.scores] == [("same", 4), ("darker", 2)]
    assert found.scores[0].means() == pytest.approx({"ssim": 1, "psnr": 100, "l1": 0}, abs=1e-5)
    expected = np.abs(real["a_1"].astype(float) - real["a_1"] // 2).mean() / 127.5 / 2
    assert found.scores[1].means()["l1"] == pytest.approx(expected, rel=1e-4)
    report = found.to_json()[0]
    assert report["protocol"]["size"] == "64x64"
    assert report["protocol"]["data"]["paired_by"] == "name"
    assert report["by_change"] == {}  # nobody knows the poses


def test_pictures_of_another_size_are_brought_to_that_of_the_results(result_folders, tmp_path):
    made = result_folders("made", a_0_DOT_png=picture(0, (96, 64)))
    write_image(tmp_path / "real" / "a_0.png", picture(0, (192, 128)))
    (tmp_path / "real" / "a_0.jpg").unlink()
    found = measure(ComparedFolders(real=tmp_path / "real", generated=[made]), plain_measures())
    assert found.conditions["size"] == "96x64"
    assert "bicubic" in found.conditions["resize"]
    assert found.scores[0].means()["ssim"] > 0.9
    assert found.test.shown("made", 0)[1]["real"].shape == (96, 64, 3)


@pytest.mark.parametrize(("protocol", "size"), [(GFLA, (256, 256)), (PIDM, (256, 176)), (CFLD, (256, 176))])
def test_protocols_compare_at_the_size_of_their_paper(result_folders, tmp_path, protocol, size):
    made = result_folders("made", a_0_DOT_png=picture(0))
    test = ComparedFolders(real=tmp_path / "real", generated=[made], protocol=protocol, layout="fashion")
    found = measure(test, plain_measures())
    assert found.test.shown("made", 0)[1]["result"].shape == (*size, 3)
    assert found.conditions["name"] == protocol.name
    assert found.conditions["note"]


def test_two_folders_of_one_name_are_told_apart_and_a_limit_is_kept(result_folders, tmp_path):
    names = {f"{name}_DOT_png": picture(seed) for name, seed in SEEDS.items()}
    one, two = result_folders("one/made", **names), result_folders("two/made", **names)
    test = ComparedFolders(real=tmp_path / "real", generated=[one, two], limit=2)
    found = measure(test, plain_measures())
    assert [score.name for score in found.scores] == ["one/made", "two/made"]
    assert [found.test.shown("one/made", k)[0] for k in (0, 1)] == ["a_0.png", "b_0.png"]


def test_fid_needs_no_pairs(result_folders, tmp_path):
    names = [f"x{k}_DOT_png" for k in range(5)]
    near = result_folders("near", **{name: picture(k % 4) for k, name in enumerate(names)})
    far = result_folders("far", **{name: picture(k) // 3 for k, name in enumerate(names)})
    measures = replace(colour_fid(), metrics=("fid",))
    found = measure(ComparedFolders(real=tmp_path / "real", generated=[near, far]), measures)
    assert 0 <= found.scores[0].sets["fid"] < 0.2 * found.scores[1].sets["fid"]
    said = found.conditions["fid_reference"]
    assert (said["pictures"], said["generated"], said["name"]) == (4, 5, "real")
    assert "4 pictures only" in said["note"]
    with pytest.raises(DataError, match="have no real one"):
        measure(ComparedFolders(real=tmp_path / "real", generated=[near]), colour_fid())


def test_a_protocol_that_wants_the_training_pictures_gets_them_or_leaves_fid_out(result_folders, tmp_path):
    made = result_folders("made", **{f"{name}_DOT_png": picture(seed) for name, seed in SEEDS.items()})
    train = result_folders("train", **{f"t{k}_DOT_png": picture(k + 20) for k in range(6)})
    test = ComparedFolders(real=tmp_path / "real", generated=[made], protocol=PIDM, layout="fashion", size=(64, 44))
    without = measure(test, colour_fid())
    assert "training pictures" in without.skipped["fid"]
    assert "--fid-reference" in without.skipped["fid"]
    assert "fid" not in without.scores[0].means()
    with pytest.raises(UsageError, match="fid cannot be measured"):
        measure(test, replace(colour_fid(), named=frozenset({"fid"})))
    found = measure(test, colour_fid(), fid_reference=train)
    assert found.conditions["fid_reference"]["name"] == "train"
    assert found.scores[0].means()["fid"] > 0
    with pytest.raises(MediaError, match="nothing: no such folder"):
        measure(test, colour_fid(), fid_reference=tmp_path / "nothing")


def test_a_reference_is_computed_once(result_folders, tmp_path):
    reference, cache = FidReference(tmp_path / "real", "pictures"), tmp_path / "cache"

    def computed(network, weights="x"):
        measures = replace(colour_fid(), inception=network, described={"fid": {"sha256": weights}})
        return reference.gaussian(measures, OWN_FILES, (64, 64), cache)

    def never(image):
        raise AssertionError("looked at again")

    once = computed(Colours())
    assert torch.equal(once.covariance, computed(never).covariance)
    with pytest.raises(AssertionError, match="looked at again"):
        computed(never, "other weights")
    (kept,) = cache.iterdir()
    kept.write_bytes(b"damaged")
    assert computed(Colours()).count == 4


def test_masked_figures_look_at_the_person_of_the_real_picture(result_folders, tmp_path, pose_shelf):
    poses = read_poses(pose_shelf / "set" / "fasion-annotation-test.csv", "square")
    assert sorted(poses) == sorted(SEEDS)
    real = read_image(tmp_path / "real" / "a_1.jpg")
    other = real.copy()
    other[:, 56:] = 255 - other[:, 56:]  # beside the body
    made = result_folders("made", a_0__a_1_DOT_png=other)
    measures = plain_measures("ssim", "mask-ssim")
    found = measure(ComparedFolders(real=tmp_path / "real", generated=[made], poses=poses), measures)
    means = found.scores[0].means()
    assert means["mask-ssim"] == pytest.approx(1, abs=1e-5)
    assert means["ssim"] < 0.95
    assert list(found.test.shown("made", 0)[1]) == ["source", "target pose", "result", "real"]
    assert found.scores[0].images[0].part == "small change"
    assert list(found.to_json()[0]["by_change"]) == ["small change"]


def test_masks_may_come_from_files(result_folders, tmp_path):
    real = read_image(tmp_path / "real" / "a_0.jpg")
    other = real.copy()
    other[:, 32:] = 255 - other[:, 32:]
    made = result_folders("made", a_0_DOT_png=other)
    left = np.zeros((128, 128, 3), np.uint8)
    left[:, :60] = 255
    masks = result_folders("masks", a_0_DOT_png=left)
    wanted = Request(metrics=("mask-ssim",), mask_folder=masks)
    test = ComparedFolders(real=tmp_path / "real", generated=[made])
    assert measure(test, gather(wanted, CPU.device)).scores[0].means()["mask-ssim"] == pytest.approx(1, abs=1e-5)
    more = result_folders("more", a_0_DOT_png=other, b_0_DOT_png=other)
    with pytest.raises(DataError, match="no mask for b_0"):
        measure(replace(test, generated=[more]), gather(wanted, CPU.device))


def test_masked_figures_without_masks_are_left_out_or_refused(result_folders, tmp_path):
    made = result_folders("made", a_0_DOT_png=picture(0))
    test = ComparedFolders(real=tmp_path / "real", generated=[made])
    measures = plain_measures("ssim", "mask-ssim")
    assert "--keypoints" in measure(test, measures).skipped["mask-ssim"]
    with pytest.raises(UsageError, match="mask-ssim cannot be measured"):
        measure(test, gather(Request(metrics=("mask-ssim",)), CPU.device))
