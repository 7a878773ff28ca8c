"""Folders of pictures measured: pair by pair, as sets, under masks, by the protocols of papers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from compared_pictures import SEEDS, colour_fid, picture
from judges import Colours
from tiny_models import CPU

from gfla_cli.datasets.tables import read_poses
from gfla_cli.errors import DataError, MediaError, UsageError
from gfla_cli.io.image import read_image, write_image

pytest.importorskip("torchmetrics")

from gfla_cli.evaluation.fid import reference_of_files
from gfla_cli.evaluation.folders import ComparedFolders, evaluate_folders
from gfla_cli.evaluation.measures import Wanted, gather, plain_measures
from gfla_cli.evaluation.protocols import CFLD, GFLA, OWN_FILES, PIDM


def test_folders_are_measured_pair_by_pair(result_folders, tmp_path):
    real = {name: read_image(tmp_path / "real" / f"{name}.jpg") for name in SEEDS}
    same = result_folders("same", **{f"{name}_DOT_png": image for name, image in real.items()})
    darker = result_folders("darker", a_0_DOT_png=real["a_0"], a_1_DOT_png=(real["a_1"] // 2))
    test = ComparedFolders(real=tmp_path / "real", generated=[same, darker])
    found = evaluate_folders(test, plain_measures(None, CPU.device))
    assert [(score.name, len(score.pairs)) for score in found.scores] == [("same", 4), ("darker", 2)]
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
    found = evaluate_folders(
        ComparedFolders(real=tmp_path / "real", generated=[made]), plain_measures(None, CPU.device)
    )
    assert found.conditions["size"] == "96x64"
    assert "bicubic" in found.conditions["resize"]
    assert found.scores[0].means()["ssim"] > 0.9
    assert found.pictures("made", 0)["real"].shape == (96, 64, 3)


@pytest.mark.parametrize(("protocol", "size"), [(GFLA, (256, 256)), (PIDM, (256, 176)), (CFLD, (256, 176))])
def test_protocols_compare_at_the_size_of_their_paper(result_folders, tmp_path, protocol, size):
    made = result_folders("made", a_0_DOT_png=picture(0))
    test = ComparedFolders(real=tmp_path / "real", generated=[made], protocol=protocol, layout="fashion")
    found = evaluate_folders(test, plain_measures(None, CPU.device))
    assert found.pictures("made", 0)["result"].shape == (*size, 3)
    assert found.conditions["name"] == protocol.name
    assert found.conditions["note"]


def test_two_folders_of_one_name_are_told_apart_and_a_limit_is_kept(result_folders, tmp_path):
    names = {f"{name}_DOT_png": picture(seed) for name, seed in SEEDS.items()}
    one, two = result_folders("one/made", **names), result_folders("two/made", **names)
    test = ComparedFolders(real=tmp_path / "real", generated=[one, two], limit=2)
    found = evaluate_folders(test, plain_measures(None, CPU.device))
    assert [score.name for score in found.scores] == ["one/made", "two/made"]
    assert [found.title("one/made", k) for k in (0, 1)] == ["a_0.png", "b_0.png"]


def test_fid_needs_no_pairs(result_folders, tmp_path):
    names = [f"x{k}_DOT_png" for k in range(5)]
    near = result_folders("near", **{name: picture(k % 4) for k, name in enumerate(names)})
    far = result_folders("far", **{name: picture(k) // 3 for k, name in enumerate(names)})
    measures = replace(colour_fid(), metrics=("fid",))
    found = evaluate_folders(ComparedFolders(real=tmp_path / "real", generated=[near, far]), measures)
    assert 0 <= found.scores[0].sets["fid"] < 0.2 * found.scores[1].sets["fid"]
    said = found.conditions["fid_reference"]
    assert (said["pictures"], said["generated"], said["name"]) == (4, 5, "real")
    assert "4 pictures only" in said["note"]
    with pytest.raises(DataError, match="have no real one"):
        evaluate_folders(ComparedFolders(real=tmp_path / "real", generated=[near]), colour_fid())


def test_a_protocol_that_wants_the_training_pictures_gets_them_or_leaves_fid_out(result_folders, tmp_path):
    made = result_folders("made", **{f"{name}_DOT_png": picture(seed) for name, seed in SEEDS.items()})
    train = result_folders("train", **{f"t{k}_DOT_png": picture(k + 20) for k in range(6)})
    test = ComparedFolders(real=tmp_path / "real", generated=[made], protocol=PIDM, layout="fashion", size=(64, 44))
    without = evaluate_folders(test, colour_fid())
    assert "training pictures" in without.skipped["fid"]
    assert "--fid-reference" in without.skipped["fid"]
    assert "fid" not in without.scores[0].means()
    with pytest.raises(UsageError, match="fid cannot be measured"):
        evaluate_folders(test, replace(colour_fid(), named=frozenset({"fid"})))
    found = evaluate_folders(replace(test, fid_reference=train), colour_fid())
    assert found.conditions["fid_reference"]["name"] == "train"
    assert found.scores[0].means()["fid"] > 0
    with pytest.raises(MediaError, match="no such file"):
        evaluate_folders(replace(test, fid_reference=tmp_path / "nothing"), colour_fid())


def test_a_reference_is_computed_once(result_folders, tmp_path):
    paths = sorted((tmp_path / "real").iterdir())
    cache = tmp_path / "cache"
    once = reference_of_files(paths, Colours(), "x", OWN_FILES, (64, 64), device=CPU.device, cache=cache)

    def never(image):
        raise AssertionError("looked at again")

    again = reference_of_files(paths, never, "x", OWN_FILES, (64, 64), device=CPU.device, cache=cache)
    assert torch.equal(once.covariance, again.covariance)
    with pytest.raises(AssertionError, match="looked at again"):
        reference_of_files(paths, never, "other weights", OWN_FILES, (64, 64), device=CPU.device, cache=cache)
    (kept,) = cache.iterdir()
    kept.write_bytes(b"damaged")
    assert reference_of_files(paths, Colours(), "x", OWN_FILES, (64, 64), device=CPU.device, cache=cache).count == 4


def test_masked_figures_look_at_the_person_of_the_real_picture(result_folders, tmp_path, pose_shelf):
    poses = read_poses(pose_shelf / "set" / "fasion-annotation-test.csv", "square")
    assert sorted(poses) == sorted(SEEDS)
    real = read_image(tmp_path / "real" / "a_1.jpg")
    other = real.copy()
    other[:, 56:] = 255 - other[:, 56:]  # beside the body
    made = result_folders("made", a_0__a_1_DOT_png=other)
    measures = replace(plain_measures(None, CPU.device), metrics=("ssim", "mask-ssim"))
    found = evaluate_folders(ComparedFolders(real=tmp_path / "real", generated=[made], poses=poses), measures)
    means = found.scores[0].means()
    assert means["mask-ssim"] == pytest.approx(1, abs=1e-5)
    assert means["ssim"] < 0.95
    assert list(found.pictures("made", 0)) == ["source", "target pose", "result", "real"]
    assert found.scores[0].pairs[0].change < 0.35
    assert list(found.to_json()[0]["by_change"]) == ["small change"]


def test_masks_may_come_from_files(result_folders, tmp_path):
    real = read_image(tmp_path / "real" / "a_0.jpg")
    other = real.copy()
    other[:, 32:] = 255 - other[:, 32:]
    made = result_folders("made", a_0_DOT_png=other)
    left = np.zeros((128, 128, 3), np.uint8)
    left[:, :60] = 255
    masks = result_folders("masks", a_0_DOT_png=left)
    wanted = Wanted(metrics=("mask-ssim",), mask_folder=masks)
    test = ComparedFolders(real=tmp_path / "real", generated=[made])
    assert evaluate_folders(test, gather(wanted, CPU.device)).scores[0].means()["mask-ssim"] == pytest.approx(
        1, abs=1e-5
    )
    more = result_folders("more", a_0_DOT_png=other, b_0_DOT_png=other)
    with pytest.raises(DataError, match="no mask for b_0"):
        evaluate_folders(replace(test, generated=[more]), gather(wanted, CPU.device))


def test_masked_figures_without_masks_are_left_out_or_refused(result_folders, tmp_path):
    made = result_folders("made", a_0_DOT_png=picture(0))
    test = ComparedFolders(real=tmp_path / "real", generated=[made])
    measures = replace(plain_measures(None, CPU.device), metrics=("ssim", "mask-ssim"))
    assert "--keypoints" in evaluate_folders(test, measures).skipped["mask-ssim"]
    with pytest.raises(UsageError, match="mask-ssim cannot be measured"):
        evaluate_folders(test, gather(Wanted(metrics=("mask-ssim",)), CPU.device))
