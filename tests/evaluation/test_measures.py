"""What is measured: networks that may be missing, figures that do not exist, and examples."""

from __future__ import annotations

import hashlib
import math

import pytest
import torch
from judges import fid_state, lpips_state
from tiny_models import CPU

from gfla_cli.errors import BundleError, UsageError
from gfla_cli.evaluation.scores import ImageFigures, Score, column_means, picked

pytest.importorskip("torchmetrics")

from gfla_cli.evaluation.metrics import gather
from gfla_cli.evaluation.run import Request


def test_missing_networks_are_left_out_with_a_reason_unless_they_were_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    measures = gather(Request(), CPU.device)
    assert measures.metrics == ("ssim", "psnr", "l1")
    assert "--lpips-backbone" in measures.skipped["lpips"]
    assert "--inception" in measures.skipped["fid"]
    assert gather(Request(masks=True), CPU.device).skipped["mask-lpips"] == "as lpips"
    for wanted in (
        Request(metrics=("fid",)),
        Request(metrics=("mask-lpips",)),
        Request(inception=tmp_path / "nothing.pth"),
        Request(lpips_backbone=tmp_path / "nothing.pth"),
        Request(rank_by="lpips"),
    ):
        with pytest.raises(BundleError):
            gather(wanted, CPU.device)
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(BundleError, match="not a checkpoint"):
        gather(Request(inception=tmp_path / "text.pth"), CPU.device)
    with pytest.raises(UsageError, match="unknown metric: nonsense"):
        Request(metrics=("ssim", "nonsense"))
    with pytest.raises(UsageError, match="--rank-by vgg: not among"):
        Request(rank_by="vgg")


def test_found_networks_are_described_by_their_hash(seeded, tmp_path):
    torch.save(fid_state(seeded, thin=True), tmp_path / "inception.pth")
    torch.save(lpips_state(seeded, "alex"), tmp_path / "alex.pth")
    wanted = Request(inception=tmp_path / "inception.pth", lpips_backbone=tmp_path / "alex.pth", masks=True)
    measures = gather(wanted, CPU.device)
    assert measures.metrics == ("ssim", "psnr", "l1", "lpips", "mask-ssim", "mask-lpips", "fid")
    assert measures.skipped == {}
    digest = hashlib.sha256((tmp_path / "inception.pth").read_bytes()).hexdigest()
    assert measures.described["fid"]["sha256"] == digest
    assert measures.described["lpips"]["network"] == "alex"
    assert measures.described["lpips"]["weights"] == "alex.pth"


def test_figures_that_do_not_exist_do_not_count():
    assert column_means([{"a": 1.0, "b": math.nan}, {"a": 3.0, "b": 5.0}]) == {"a": 2, "b": 5}
    assert math.isnan(column_means([{"a": math.nan}])["a"])
    score = Score("m", [ImageFigures(0, None, {"lpips": math.nan})], {"fid": 3.0})
    assert score.to_json() == {"name": "m", "pairs": 1, "lpips": None, "fid": 3.0, "by_change": {}}


def test_examples_are_the_worst_the_middle_and_the_best():
    score = Score("m", [ImageFigures(k, None, {"ssim": k / 20, "l1": k / 20}) for k in range(20)])
    by_ssim = {kind: [pair.number for pair in pairs] for kind, pairs in picked(score, "ssim").items()}
    assert by_ssim == {"worst": [0, 1, 2, 3], "median": [8, 9, 10, 11], "best": [19, 18, 17, 16]}
    assert [pair.number for pair in picked(score, "l1")["worst"]] == [19, 18, 17, 16]
    few = Score("m", score.images[:2])
    assert {kind: len(pairs) for kind, pairs in picked(few, "ssim").items()} == {"worst": 1, "median": 0, "best": 1}
    assert picked(score, "fid") == {"worst": [], "median": [], "best": []}
