"""`gfla evaluate`: pairs of files, folders and bundles under a protocol, and the reports about them."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.bundles.bundle import save_bundle
from gfla_cli.config import preset
from gfla_cli.data.deepfashion import DEEPFASHION, SQUARE
from gfla_cli.data.keypoint_table import read_poses
from gfla_cli.data.paired_folders import pair_folders
from gfla_cli.data.tables import write_tables
from gfla_cli.errors import BundleError, DataError, MediaError, UsageError
from gfla_cli.media.image import read_image, write_image
from gfla_cli.metrics.scores import PairFigures, Score, column_means, picked
from gfla_cli.networks.build import build
from gfla_cli.runtime.device import choose_device

pytest.importorskip("torchmetrics")

from gfla_cli.metrics.fid import reference_of_files
from gfla_cli.metrics.measures import Measures, Wanted, gather, plain_measures
from gfla_cli.metrics.protocol import CFLD, GFLA, OWN, OWN_FILES, PATN, PIDM
from gfla_cli.pipelines.compared_poses import COPY, REAL, ComparedPoses
from gfla_cli.pipelines.evaluate import evaluate_bundles, measure
from gfla_cli.pipelines.evaluate_folders import ComparedFolders, evaluate_folders

CPU = torch.device("cpu")
PLACE = choose_device("cpu", "fp32")
STANDING = [[128, 30], [128, 55], [110, 56], [102, 88], [98, 118], [146, 56], [154, 88], [158, 118], [117, 115]]
STANDING += [[116, 170], [115, 228], [139, 115], [140, 170], [141, 228], [124, 26], [132, 26], [119, 28], [137, 28]]
SIZES = {"a_0": 0, "a_1": 1, "b_0": 2, "b_1": 3}


def picture(seed, size=(64, 64)):
    """Soft colours, different for every seed."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 4, 4)))
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bilinear")
    return smooth[0].permute(1, 2, 0).numpy().astype(np.uint8)


@pytest.fixture
def folders(tmp_path):
    """`real` with four pictures, and a function that writes a folder of generated ones."""
    (tmp_path / "real").mkdir()
    for name, seed in SIZES.items():
        write_image(tmp_path / "real" / f"{name}.jpg", picture(seed))

    def write(folder, **pictures):
        (tmp_path / folder).mkdir(parents=True)
        for name, image in pictures.items():
            write_image(tmp_path / folder / name.replace("__", "--").replace("_DOT_", "."), image)
        return tmp_path / folder

    return write


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Tiny pose models, and a data set of two people in two poses each."""
    folder = tmp_path_factory.mktemp("shelf")
    for sampler in ("local", "none"):
        config = replace(preset("pose-people"), image_size=(64, 64), width=8, flow_width=8, sampler=sampler)
        torch.manual_seed(0)
        state = build(config).state_dict()
        save_bundle(folder / f"tiny-{sampler}", config, state, trained={"samples": 1200, "dataset": "people"})
    for split in ("train", "test"):
        (folder / "set" / split).mkdir(parents=True)
        for name, seed in SIZES.items():
            write_image(folder / "set" / split / f"{name}.jpg", picture(seed + 10 * (split == "train")))
    moved = [[x + 9 * (k % 3), y] for k, (x, y) in enumerate(STANDING)]
    poses = {f"{name}.jpg": moved if name.endswith("1") else STANDING for name in SIZES}
    write_tables(folder / "set", SQUARE, "test", poses, [("a_0.jpg", "a_1.jpg"), ("b_0.jpg", "b_1.jpg")])
    return folder


@pytest.fixture
def gfla(shelf, monkeypatch, tmp_path):
    """Runs a command in an empty folder, with tiny models on the shelf and none of torch's weights."""
    monkeypatch.setenv("GFLA_MODELS", str(shelf))
    monkeypatch.setenv("GFLA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [*map(str, arguments), "--device", "cpu", "--precision", "fp32"])


class Colours(torch.nn.Module):
    """Stands for Inception: means and spreads of the three colours."""

    def forward(self, image):
        return torch.cat([image.mean(dim=(2, 3)), image.std(dim=(2, 3))], dim=1)


def colour_fid(*others):
    names = ("ssim", "psnr", "l1", *others, "fid")
    return Measures(names, CPU, inception=Colours(), described={"fid": {"sha256": "0" * 64}})


# --- pairs of files


@pytest.mark.parametrize(
    "name", ["a_0--a_1.png", "a_0_2_a_1_vis.jpg", "a_0_2_a_1.png", "a_0___a_1_vis.png", "a_0.jpg___a_1.jpg_vis.jpg"]
)
def test_names_of_two_pictures_are_told_apart(folders, tmp_path, name):
    made = folders("made")
    write_image(made / name, picture(0))
    (pair,) = pair_folders(tmp_path / "real", made)
    assert (pair.generated.name, pair.real.name, pair.source) == (name, "a_1.jpg", "a_0")


def test_equal_names_are_pairs_whatever_their_suffix(folders, tmp_path):
    made = folders("made", a_0_DOT_png=picture(5), b_1_DOT_png=picture(6))
    assert [(p.generated.name, p.real.name) for p in pair_folders(tmp_path / "real", made)] == [
        ("a_0.png", "a_0.jpg"),
        ("b_1.png", "b_1.jpg"),
    ]


def test_a_sign_inside_a_name_does_not_split_it(folders, tmp_path):
    made = folders("made")
    for name in ("x_2_y.jpg", "y.jpg", "y_2_y.jpg"):
        write_image(tmp_path / "real" / name, picture(1))
    write_image(made / "x_2_y_2_y_vis.png", picture(2))
    (pair,) = pair_folders(tmp_path / "real", made)
    assert (pair.source, pair.real.stem) == ("x_2_y", "y")  # and not x and y_2_y: there is no x


def test_what_has_no_partner_is_named(folders, tmp_path):
    made = folders("made", a_0_DOT_png=picture(0), stranger_DOT_png=picture(1))
    with pytest.raises(DataError, match=r"1 of 2 generated pictures.*stranger\.png") as error:
        pair_folders(tmp_path / "real", made)
    assert "--metrics fid" in error.value.hint
    folders("twice", a_0_DOT_png=picture(0), a_0_DOT_jpg=picture(1))
    with pytest.raises(DataError, match="have one name"):
        pair_folders(tmp_path / "real", tmp_path / "twice")
    with pytest.raises(MediaError, match="no such folder"):
        pair_folders(tmp_path / "nothing", made)


def test_tables_of_pairs_are_read_and_their_mistakes_named(folders, tmp_path):
    made = folders("made", a_0__a_1_DOT_png=picture(0), b_0__b_1_DOT_png=picture(1))
    table = tmp_path / "pairs.csv"

    def read(text):
        table.write_bytes(text.encode("utf-8-sig"))
        return [(p.generated.name, p.real.name, p.source) for p in pair_folders(tmp_path / "real", made, table)]

    assert read("from,to\r\nb_0.jpg,b_1.jpg\r\n") == [("b_0--b_1.png", "b_1.jpg", "b_0")]
    assert read("generated,real\na_0--a_1.png,b_0.jpg\n") == [("a_0--a_1.png", "b_0.jpg", "")]
    for text, said in {
        "from,to\na_0.jpg,nobody.jpg\n": "line 2: nobody.jpg is not among",
        "from,to\n\nb_1.jpg,a_1.jpg\n": "line 3: no result for b_1.jpg and a_1.jpg",
        "one,two\n": "should begin with",
        "from,to\na_0.jpg\n": "line 2: fewer than 2",
        "from,to\n": "no pairs",
    }.items():
        with pytest.raises(DataError, match=said):
            read(text)
    with pytest.raises(DataError, match="no such file"):
        pair_folders(tmp_path / "real", made, tmp_path / "nothing.csv")


# --- folders


def test_folders_are_measured_pair_by_pair(folders, tmp_path):
    real = {name: read_image(tmp_path / "real" / f"{name}.jpg") for name in SIZES}
    same = folders("same", **{f"{name}_DOT_png": image for name, image in real.items()})
    darker = folders("darker", a_0_DOT_png=real["a_0"], a_1_DOT_png=(real["a_1"] // 2))
    test = ComparedFolders(real=tmp_path / "real", generated=[same, darker])
    found = evaluate_folders(test, plain_measures(None, CPU))
    assert [(score.name, len(score.pairs)) for score in found.scores] == [("same", 4), ("darker", 2)]
    assert found.scores[0].means() == pytest.approx({"ssim": 1, "psnr": 100, "l1": 0}, abs=1e-5)
    expected = np.abs(real["a_1"].astype(float) - real["a_1"] // 2).mean() / 127.5 / 2
    assert found.scores[1].means()["l1"] == pytest.approx(expected, rel=1e-4)
    report = found.to_json()[0]
    assert report["protocol"]["size"] == "64x64"
    assert report["protocol"]["data"]["paired_by"] == "name"
    assert report["by_change"] == {}  # nobody knows the poses


def test_pictures_of_another_size_are_brought_to_that_of_the_results(folders, tmp_path):
    made = folders("made", a_0_DOT_png=picture(0, (96, 64)))
    write_image(tmp_path / "real" / "a_0.png", picture(0, (192, 128)))
    (tmp_path / "real" / "a_0.jpg").unlink()
    found = evaluate_folders(ComparedFolders(real=tmp_path / "real", generated=[made]), plain_measures(None, CPU))
    assert found.conditions["size"] == "96x64"
    assert "bicubic" in found.conditions["resize"]
    assert found.scores[0].means()["ssim"] > 0.9
    assert found.pictures("made", 0)["real"].shape == (96, 64, 3)


@pytest.mark.parametrize(("protocol", "size"), [(GFLA, (256, 256)), (PIDM, (256, 176)), (CFLD, (256, 176))])
def test_protocols_compare_at_the_size_of_their_paper(folders, tmp_path, protocol, size):
    made = folders("made", a_0_DOT_png=picture(0))
    test = ComparedFolders(real=tmp_path / "real", generated=[made], protocol=protocol, layout="fashion")
    found = evaluate_folders(test, plain_measures(None, CPU))
    assert found.pictures("made", 0)["result"].shape == (*size, 3)
    assert found.conditions["name"] == protocol.name
    assert found.conditions["note"]


def test_two_folders_of_one_name_are_told_apart_and_a_limit_is_kept(folders, tmp_path):
    names = {f"{name}_DOT_png": picture(seed) for name, seed in SIZES.items()}
    one, two = folders("one/made", **names), folders("two/made", **names)
    test = ComparedFolders(real=tmp_path / "real", generated=[one, two], limit=2)
    found = evaluate_folders(test, plain_measures(None, CPU))
    assert [score.name for score in found.scores] == ["one/made", "two/made"]
    assert [found.title("one/made", k) for k in (0, 1)] == ["a_0.png", "b_0.png"]


def test_fid_needs_no_pairs(folders, tmp_path):
    names = [f"x{k}_DOT_png" for k in range(5)]
    near = folders("near", **{name: picture(k % 4) for k, name in enumerate(names)})
    far = folders("far", **{name: picture(k) // 3 for k, name in enumerate(names)})
    measures = replace(colour_fid(), metrics=("fid",))
    found = evaluate_folders(ComparedFolders(real=tmp_path / "real", generated=[near, far]), measures)
    assert 0 <= found.scores[0].sets["fid"] < 0.2 * found.scores[1].sets["fid"]
    said = found.conditions["fid_reference"]
    assert (said["pictures"], said["generated"], said["name"]) == (4, 5, "real")
    assert "4 pictures only" in said["note"]
    with pytest.raises(DataError, match="have no real one"):
        evaluate_folders(ComparedFolders(real=tmp_path / "real", generated=[near]), colour_fid())


def test_a_protocol_that_wants_the_training_pictures_gets_them_or_leaves_fid_out(folders, tmp_path):
    made = folders("made", **{f"{name}_DOT_png": picture(seed) for name, seed in SIZES.items()})
    train = folders("train", **{f"t{k}_DOT_png": picture(k + 20) for k in range(6)})
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


def test_a_reference_is_computed_once(folders, tmp_path):
    paths = sorted((tmp_path / "real").iterdir())
    cache = tmp_path / "cache"
    once = reference_of_files(paths, Colours(), "x", OWN_FILES, (64, 64), device=CPU, cache=cache)

    def never(image):
        raise AssertionError("looked at again")

    again = reference_of_files(paths, never, "x", OWN_FILES, (64, 64), device=CPU, cache=cache)
    assert torch.equal(once.covariance, again.covariance)
    with pytest.raises(AssertionError, match="looked at again"):
        reference_of_files(paths, never, "other weights", OWN_FILES, (64, 64), device=CPU, cache=cache)
    (kept,) = cache.iterdir()
    kept.write_bytes(b"damaged")
    assert reference_of_files(paths, Colours(), "x", OWN_FILES, (64, 64), device=CPU, cache=cache).count == 4


# --- masks and poses


def test_masked_figures_look_at_the_person_of_the_real_picture(folders, tmp_path, shelf):
    poses = read_poses(shelf / "set" / "fasion-annotation-test.csv", "square")
    assert sorted(poses) == sorted(SIZES)
    real = read_image(tmp_path / "real" / "a_1.jpg")
    other = real.copy()
    other[:, 56:] = 255 - other[:, 56:]  # beside the body
    made = folders("made", a_0__a_1_DOT_png=other)
    measures = replace(plain_measures(None, CPU), metrics=("ssim", "mask-ssim"))
    found = evaluate_folders(ComparedFolders(real=tmp_path / "real", generated=[made], poses=poses), measures)
    means = found.scores[0].means()
    assert means["mask-ssim"] == pytest.approx(1, abs=1e-5)
    assert means["ssim"] < 0.95
    assert list(found.pictures("made", 0)) == ["source", "target pose", "result", "real"]
    assert found.scores[0].pairs[0].change < 0.35
    assert list(found.to_json()[0]["by_change"]) == ["small change"]


def test_masks_may_come_from_files(folders, tmp_path):
    real = read_image(tmp_path / "real" / "a_0.jpg")
    other = real.copy()
    other[:, 32:] = 255 - other[:, 32:]
    made = folders("made", a_0_DOT_png=other)
    left = np.zeros((128, 128, 3), np.uint8)
    left[:, :60] = 255
    masks = folders("masks", a_0_DOT_png=left)
    wanted = Wanted(metrics=("mask-ssim",), mask_folder=masks)
    test = ComparedFolders(real=tmp_path / "real", generated=[made])
    assert evaluate_folders(test, gather(wanted, CPU)).scores[0].means()["mask-ssim"] == pytest.approx(1, abs=1e-5)
    more = folders("more", a_0_DOT_png=other, b_0_DOT_png=other)
    with pytest.raises(DataError, match="no mask for b_0"):
        evaluate_folders(replace(test, generated=[more]), gather(wanted, CPU))


def test_masked_figures_without_masks_are_left_out_or_refused(folders, tmp_path):
    made = folders("made", a_0_DOT_png=picture(0))
    test = ComparedFolders(real=tmp_path / "real", generated=[made])
    measures = replace(plain_measures(None, CPU), metrics=("ssim", "mask-ssim"))
    assert "--keypoints" in evaluate_folders(test, measures).skipped["mask-ssim"]
    with pytest.raises(UsageError, match="mask-ssim cannot be measured"):
        evaluate_folders(test, gather(Wanted(metrics=("mask-ssim",)), CPU))


# --- networks that may be missing


def test_missing_networks_are_left_out_with_a_reason_unless_they_were_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    measures = gather(Wanted(), CPU)
    assert measures.metrics == ("ssim", "psnr", "l1")
    assert "--lpips-backbone" in measures.skipped["lpips"]
    assert "--inception" in measures.skipped["fid"]
    assert gather(Wanted(masks=True), CPU).skipped["mask-lpips"] == "as lpips"
    for wanted in (
        Wanted(metrics=("fid",)),
        Wanted(metrics=("mask-lpips",)),
        Wanted(inception=tmp_path / "nothing.pth"),
        Wanted(lpips_backbone=tmp_path / "nothing.pth"),
    ):
        with pytest.raises(BundleError):
            gather(wanted, CPU)
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(BundleError, match="not a checkpoint"):
        gather(Wanted(inception=tmp_path / "text.pth"), CPU)
    with pytest.raises(UsageError, match="unknown metric: nonsense"):
        Wanted(metrics=("ssim", "nonsense"))


def test_found_networks_are_described_by_their_hash(seeded, tmp_path):
    from test_metrics import fid_state, lpips_state

    torch.save(fid_state(seeded, thin=True), tmp_path / "inception.pth")
    torch.save(lpips_state(seeded, "alex"), tmp_path / "alex.pth")
    wanted = Wanted(inception=tmp_path / "inception.pth", lpips_backbone=tmp_path / "alex.pth", masks=True)
    measures = gather(wanted, CPU)
    assert measures.metrics == ("ssim", "psnr", "l1", "lpips", "mask-ssim", "mask-lpips", "fid")
    assert measures.skipped == {}
    assert re.fullmatch("[0-9a-f]{64}", measures.described["fid"]["sha256"])
    assert measures.described["lpips"]["network"] == "alex"
    assert measures.described["lpips"]["weights"] == "alex.pth"


# --- bundles


def test_bundles_are_measured_beside_copying_the_source(shelf):
    test = ComparedPoses([shelf / "tiny-local", shelf / "tiny-none"], shelf / "set", SQUARE, PLACE)
    found = measure(test, colour_fid())
    assert [score.name for score in found.scores] == [COPY, "tiny-local (local)", "tiny-none (none)"]
    report = found.to_json()
    assert report[1]["model"]["sampler"] == "local"
    assert report[1]["model"]["trained"] == {"samples": 1200, "dataset": "people"}
    assert report[0]["protocol"]["fid_reference"]["kind"] == "the real pictures of these pairs"
    assert report[0]["protocol"]["data"]["pairs"] == "2 of 2"
    assert {"ssim", "psnr", "l1", "fid"} <= set(report[0])
    assert "fid" not in report[0]["by_change"]["small change"]
    assert measure(test, replace(colour_fid(), metrics=("fid",))).scores[1].means().keys() == {"fid"}
    shown = found.pictures("tiny-local (local)", 1)
    assert list(shown) == ["source", "target pose", "result", "real"]
    assert {image.shape for image in shown.values()} == {(64, 64, 3)}
    assert found.title(COPY, 1) == "b_0.jpg to b_1.jpg"


def test_an_exported_model_stands_beside_its_bundle(shelf, tmp_path):
    pytest.importorskip("onnx")
    from gfla_cli.runtime.export import export_onnx

    exported = export_onnx(shelf / "tiny-local", tmp_path / "tiny.onnx").path
    test = ComparedPoses([shelf / "tiny-local", exported], shelf / "set", SQUARE, PLACE)
    scores = measure(test, plain_measures(None, CPU), limit=2).scores
    assert [score.name for score in scores[1:]] == ["tiny-local (local)", "tiny-local (local, ONNX Runtime, CPU)"]
    assert scores[2].means() == pytest.approx(scores[1].means(), abs=1e-3)
    assert scores[2].about == scores[1].about


def test_against_training_pictures_the_real_ones_have_a_row_too(shelf):
    test = ComparedPoses([shelf / "tiny-local"], shelf / "set", SQUARE, PLACE, GFLA)
    found = measure(test, colour_fid())
    assert [score.name for score in found.scores] == [COPY, REAL, "tiny-local (local)"]
    assert found.conditions["fid_reference"]["kind"] == "training pictures"
    real = found.scores[1].means()
    assert real["fid"] > 0
    assert real["psnr"] == 100


def test_a_protocol_reads_the_real_pictures_from_their_files(shelf):
    test = ComparedPoses([shelf / "tiny-local"], shelf / "set", DEEPFASHION, PLACE, PATN)
    assert test.size == (256, 176)
    (pair,) = test.rendered([0])
    assert pair.real.shape == pair.made["tiny-local (local)"].shape == (1, 3, 256, 176)
    assert float(pair.target_points[:, 1].max()) == pytest.approx(228 * 256 / 256, rel=0.02)
    own = ComparedPoses([shelf / "tiny-local"], shelf / "set", SQUARE, PLACE, OWN, (32, 32))
    assert own.protocol is OWN_FILES
    assert next(own.rendered([0])).real.shape == (1, 3, 32, 32)


def test_the_plain_call_gives_scores_and_examples(shelf):
    scores, examples = evaluate_bundles(
        [shelf / "tiny-local"], shelf / "set", SQUARE, vgg=None, placement=PLACE, examples=5
    )
    assert [list(score.means()) for score in scores] == [["ssim", "psnr", "l1"]] * 2
    assert [example.pair for example in examples] == [0, 1]
    assert list(examples[0].pictures) == [COPY, "tiny-local (local)", REAL]


# --- scores


def test_figures_that_do_not_exist_do_not_count():
    assert column_means([{"a": 1.0, "b": math.nan}, {"a": 3.0, "b": 5.0}]) == {"a": 2, "b": 5}
    assert math.isnan(column_means([{"a": math.nan}])["a"])
    score = Score("m", [PairFigures(0, math.nan, {"lpips": math.nan})], {"fid": 3.0})
    assert score.to_json() == {"name": "m", "pairs": 1, "lpips": None, "fid": 3.0, "by_change": {}}


def test_examples_are_the_worst_the_middle_and_the_best():
    score = Score("m", [PairFigures(k, 0, {"ssim": k / 20, "l1": k / 20}) for k in range(20)])
    by_ssim = {kind: [pair.pair for pair in pairs] for kind, pairs in picked(score, "ssim").items()}
    assert by_ssim == {"worst": [0, 1, 2, 3], "median": [8, 9, 10, 11], "best": [19, 18, 17, 16]}
    assert [pair.pair for pair in picked(score, "l1")["worst"]] == [19, 18, 17, 16]
    few = Score("m", score.pairs[:2])
    assert {kind: len(pairs) for kind, pairs in picked(few, "ssim").items()} == {"worst": 1, "median": 0, "best": 1}
    assert picked(score, "fid") == {"worst": [], "median": [], "best": []}


# --- the command


def test_models_give_a_table_and_every_kind_of_file(gfla, shelf, tmp_path):
    outputs = ("--csv", "t.csv", "--html", "t.html", "--json-file", "t.json", "--sheet", "t.png")
    result = gfla("evaluate", "tiny-local", "tiny-none", "--data-root", shelf / "set", *outputs)
    assert result.exit_code == 0, result.output
    assert "tiny-none (none)" in result.stdout
    assert "protocol: own" in result.stdout
    assert "fid left out" in result.stderr
    assert result.stdout.splitlines()[-4:] == ["t.csv", "t.json", "t.html", "t.png"]
    report = json.loads((tmp_path / "t.json").read_text())
    assert [row["name"] for row in report] == [COPY, "tiny-local (local)", "tiny-none (none)"]
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [(row["name"], row["part"]) for row in rows][:2] == [(COPY, "all"), (COPY, "small change")]
    assert float(rows[0]["ssim"]) == pytest.approx(report[0]["ssim"])
    assert rows[0]["protocol.data.name"] == "set"
    assert rows[2]["model.trained.samples"] == "1200"
    assert read_image(tmp_path / "t.png").shape[1] == 2 * 4 * 64
    again = gfla("evaluate", "tiny-local", "--data-root", shelf / "set", "--csv", "t.csv")
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


def test_json_on_stdout_is_json_and_keeps_its_form(gfla, shelf):
    result = gfla("evaluate", "tiny-local", "--data-root", shelf / "set", "--json", "--html", "t.html")
    report = json.loads(result.stdout)
    assert {"name", "pairs", "ssim", "l1", "by_change"} <= set(report[0])
    assert report[0]["skipped"].keys() == {"lpips", "fid"}
    assert "written: t.html" in result.stderr


def test_the_page_holds_everything_and_loads_nothing(gfla, folders, tmp_path):
    made = folders("made & <b>", **{f"{name}_DOT_png": picture(seed + 1) for name, seed in SIZES.items()})
    result = gfla("evaluate", "--real", "real", "--generated", made, "--html", "t.html", "--rank-by", "l1")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "t.html").read_text()
    assert "made &amp; &lt;b&gt;" in page
    assert "<b>" not in page
    assert page.count("data:image/jpeg;base64,") == 2 * (2 + 2)  # worst and best two, each with result and real
    assert "Worst by l1" in page
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "url(" not in page
    assert "LPIPS left out: no alexnet" in page
    assert "Gaussian window of 11" in page


def test_folders_are_measured_from_the_command_line(gfla, folders, monkeypatch):
    import gfla_cli.metrics.measures as loading

    monkeypatch.setattr(loading, "read_state", lambda path, what: {})
    monkeypatch.setattr(loading, "build_inception", lambda state: Colours())
    made = folders("made", a_0__a_1_DOT_png=picture(1), b_0_2_b_1_vis_DOT_jpg=picture(2))
    (made.parent / "weights.pth").write_bytes(b"")
    run = ("evaluate", "--real", "real", "--generated", "made", "--inception", "weights.pth", "--json")
    (row,) = json.loads(gfla(*run).stdout)
    assert row["pairs"] == 2
    assert row["fid"] > 0
    assert row["protocol"]["metrics"]["fid"]["weights"] == "weights.pth"
    (row,) = json.loads(gfla(*run, "--metrics", "fid").stdout)
    assert (row["pictures"], row["fid"] > 0, "ssim" in row, "pairs" in row) == (2, True, False, False)
    (row,) = json.loads(gfla(*run, "--protocol", "patn", "--metrics", "ssim").stdout)
    assert row["protocol"]["size"] == "256x176"
    assert row["protocol"]["ssim_padding"] == "white to 256x256"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to evaluate"),
        (("--table",), "--table needs reports"),
        (("--real", "real"), "belong together"),
        (("--generated", "real"), "belong together"),
        (("tiny-local", "--real", "real", "--generated", "real"), "not together with folders: models"),
        (("--real", "real", "--generated", "real", "--data-root", "set"), "not together with folders: --data-root"),
        (("tiny-local", "--data-root", "set", "--pairs", "p.csv"), "not together with models: --pairs"),
        (("--table", "a.json", "--html", "b.html"), "takes reports and --json"),
        (("tiny-local",), "measured on a data set"),
        (("--real", "real", "--generated", "real", "--size", "big"), "not a size"),
        (("--real", "real", "--generated", "real", "--metrics", "beauty"), "unknown metric: beauty"),
        (("--real", "real", "--generated", "real", "--rank-by", "beauty"), "unknown metric"),
    ],
)
def test_what_does_not_go_together_is_refused(gfla, folders, arguments, said):
    result = gfla("evaluate", *arguments)
    assert result.exit_code == 2, result.output
    assert said in result.stderr


def test_help_of_evaluate_loads_no_torch():
    check = "import sys, gfla_cli.app as a\n"
    check += "from typer.testing import CliRunner as R\nR().invoke(a.app, ['evaluate', '--help'])\n"
    check += "sys.exit(bool({'torch', 'cv2', 'torchmetrics'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


# --- the paper's table


def report(path, *rows, data="people-mini", weights="a", **figures):
    said = {
        "name": "own",
        "size": "256x256",
        "data": {"name": data, "pairs": "800 of 800"},
        "metrics": {"lpips": {"sha256": weights}},
    }
    content = [
        {"name": name, "pairs": 800, "lpips": lpips, **figures, "protocol": {**said, "run": {"torch": name}}}
        | ({"model": {"sampler": name, "trained": {"samples": samples, "dataset": "people"}}} if name else {})
        for name, lpips, samples in rows
    ]
    path.write_text(json.dumps(content))
    return path


def test_ours_stand_beside_the_papers_figures(gfla, tmp_path):
    one = report(tmp_path / "one.json", ("none", 0.31, 6000), ("local", 0.29, 6000), ("", 0.5, 0))
    two = report(tmp_path / "two.json", ("bilinear", 0.3, 6000))
    result = CliRunner().invoke(app, ["evaluate", "--table", str(one), str(two)])
    assert result.exit_code == 0, result.output
    lines = {line.split()[1]: line for line in result.stdout.splitlines() if line.startswith("│")}
    assert list(lines) == ["Baseline", "Global-Attn", "Bi-Sample", "Full"]
    assert "16.008" in lines["Baseline"]
    assert "0.2473" in lines["Baseline"]
    assert "0.3100" in lines["Baseline"]
    assert "0.3000" in lines["Bi-Sample"]
    assert "0.2900" in lines["Full"]
    assert "(1) people-mini, 256x256, protocol own, 800 pairs; 6 000 samples of people" in result.stdout
    assert "(2)" not in result.stdout


def test_other_data_weights_or_runs_get_columns_of_their_own(gfla, tmp_path):
    files = [
        report(tmp_path / "a.json", ("none", 0.31, 6000), ("local", 0.29, 9000)),
        report(tmp_path / "b.json", ("bilinear", 0.1, 9000), data="people-hard"),
        report(tmp_path / "c.json", ("global", 0.2, 9000), weights="b"),
        report(tmp_path / "d.json", ("local", 0.28, 20000)),
    ]
    result = CliRunner().invoke(app, ["evaluate", "--table", *map(str, files), "--json"])
    ours = json.loads(result.stdout)["ours"]
    assert [[row["lpips"] for row in column["rows"]] for column in ours] == [[0.31, 0.29], [0.1], [0.2], [0.28]]
    assert "budgets differ" in ours[0]["conditions"]
    assert "people-hard" in ours[1]["conditions"]
    shown = CliRunner().invoke(app, ["evaluate", "--table", *map(str, files)]).stdout
    assert "none: 6 000 samples of people" in shown


def test_files_that_are_no_reports_are_refused(tmp_path):
    (tmp_path / "text.json").write_text("hello")
    (tmp_path / "other.json").write_text("[1]")
    (tmp_path / "old.json").write_text('[{"name": "x", "ssim": 1}]')
    (tmp_path / "plain.json").write_text('[{"name": "x", "protocol": {}}]')
    for name, said in (
        ("nothing", "not a report"),
        ("text", "not a report"),
        ("other", "not a report of"),
        ("old", "conditions"),
        ("plain", "no model of a known sampler"),
    ):
        result = CliRunner().invoke(app, ["evaluate", "--table", str(tmp_path / f"{name}.json")])
        assert result.exit_code == 1, result.output
        assert said in result.stderr
        assert len(result.stderr.strip().splitlines()) == 2
