"""Exported models: they agree with torch at every size, describe themselves, and need no torch to run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from conftest import ROOT
from typer.testing import CliRunner

import gfla_cli.runtime.export as export_module
from gfla_cli.app import app
from gfla_cli.bundles.bundle import load_bundle, save_bundle
from gfla_cli.config import preset
from gfla_cli.errors import BundleError, GflaError, UsageError
from gfla_cli.networks.build import build
from gfla_cli.runtime.cache import cached_export
from gfla_cli.runtime.export import export_onnx
from gfla_cli.runtime.onnx_session import OnnxSession
from gfla_cli.runtime.session import open_session

ANNA, BEN = ROOT / "assets" / "anna.jpg", ROOT / "assets" / "ben.jpg"
TINY = replace(preset("pose-people"), image_size=(64, 64), heatmap_sigma=2, width=8, flow_width=8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_bundle(folder, TINY, build(TINY).state_dict(), dtype=torch.float32, license="MIT")
    return folder


@pytest.fixture(scope="module")
def exported(bundle, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    return export_onnx(bundle, path)


def inputs(batch, height, width):
    rng = np.random.default_rng(batch * height + width)
    return [rng.random((batch, channels, height, width), np.float32) for channels in (3, 18, 18)]


def test_the_report_compares_several_sizes(exported):
    assert len({(check.batch, check.height) for check in exported.checks}) == 3
    assert all(check.largest_difference < 1e-4 for check in exported.checks)


@pytest.mark.parametrize("size", [(1, 64, 64), (3, 96, 32), (2, 128, 160)])
def test_any_batch_and_frame_size_agrees_with_torch(exported, bundle, size):
    x = inputs(*size)
    with torch.inference_mode():
        expected = load_bundle(bundle).network(*map(torch.from_numpy, x)).image.numpy()
    np.testing.assert_allclose(OnnxSession(exported.path).image(*x), expected, atol=1e-4)


def test_only_standard_operators_are_used(exported):
    model = onnx.load(exported.path)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert [(o.domain, o.version) for o in model.opset_import if o.domain == ""] == [("", 18)]
    assert not {"Loop", "If", "Scan", "SequenceEmpty"} & {node.op_type for node in model.graph.node}
    assert not model.functions


def test_the_file_says_what_it_is(exported):
    session = OnnxSession(exported.path)
    assert (session.config, session.name) == (TINY, "tiny")
    assert open_session(exported.path.parent, "pose").config == TINY  # its folder will do
    with pytest.raises(BundleError, match="task pose"):
        open_session(exported.path, "face")
    with pytest.raises(UsageError, match="torch does not run it"):
        open_session(exported.path, "pose", runtime="torch")


def test_pose_transfer_takes_the_file_and_loads_no_torch(exported, tmp_path):
    code = (
        "import sys\nfrom gfla_cli.app import app\n"
        f"try:\n    app(['pose-transfer', {str(ANNA)!r}, '--pose', {str(BEN)!r}, '-o', 'out.png', "
        f"'--model', {str(exported.path)!r}])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "assert 'onnxruntime' in sys.modules and 'torch' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines() == ["gfla: tiny on ONNX Runtime, CPU"]
    assert (tmp_path / "out.png").is_file()


def test_runtime_onnx_exports_a_bundle_once(bundle, exported, tmp_path, monkeypatch):
    calls = []

    def quick(model, output, **options):
        calls.append(model)
        shutil.copy(exported.path, output)

    monkeypatch.setattr(export_module, "export_onnx", quick)
    monkeypatch.setenv("GFLA_CACHE", str(tmp_path / "cache"))
    first, again = cached_export(bundle), cached_export(bundle)
    assert first == again
    assert first.is_relative_to(tmp_path / "cache")
    assert len(calls) == 1
    assert isinstance(open_session(bundle, "pose", runtime="onnx"), OnnxSession)


def test_half_precision_is_half_the_size_and_close(exported, bundle, tmp_path):
    half = export_onnx(bundle, tmp_path / "half.onnx", half=True)
    assert half.megabytes < 0.75 * exported.megabytes  # of this tiny model the graph itself is a good part
    x = inputs(1, 64, 64)
    difference = np.abs(OnnxSession(half.path).image(*x) - OnnxSession(exported.path).image(*x)).max()
    assert 0 < difference < 3e-2


def test_a_result_that_differs_fails_and_leaves_nothing(bundle, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "_to_onnx", lambda bundle, half: onnx.load(exported.path))
    monkeypatch.setattr(OnnxSession, "image", lambda self, image, *_: image + 1)
    with pytest.raises(GflaError, match="differs from torch"):
        export_onnx(bundle, tmp_path / "wrong.onnx")
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_model_of_ours_are_named(tmp_path):
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(BundleError, match="not a model"):
        OnnxSession(tmp_path / "text.onnx")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [value("x", onnx.TensorProto.FLOAT, [1])],
        [value("y", onnx.TensorProto.FLOAT, [1])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(BundleError, match="not one of gfla's"):
        OnnxSession(tmp_path / "foreign.onnx")
    onnx.helper.set_model_props(model, {"gfla": '{"model": {"width": 1000000000}}'})
    onnx.save(model, tmp_path / "greedy.onnx")
    with pytest.raises(BundleError, match="damaged"):
        OnnxSession(tmp_path / "greedy.onnx")
    with pytest.raises(BundleError, match="no such file"):
        OnnxSession(tmp_path / "missing.onnx")


def test_bad_requests_are_refused_before_the_export_begins(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = lambda *arguments: CliRunner().invoke(app, ["export-onnx", "--model", str(bundle), *arguments])  # noqa: E731
    assert run("-o", "model.pt").exit_code == 2
    assert run("-o", "no/folder/model.onnx").exit_code == 2
    (tmp_path / "there.onnx").touch()
    result = run("-o", "there.onnx")
    assert result.exit_code == 2
    assert "--overwrite" in result.stderr
    assert "exporting" not in result.stderr
    damaged = tmp_path / "damaged"
    shutil.copytree(bundle, damaged)
    os.truncate(damaged / "model.safetensors", 100)
    result = CliRunner().invoke(app, ["export-onnx", "--model", str(damaged), "-o", "out.onnx"])
    assert result.exit_code == 1
    assert "damaged" in result.stderr
    assert not (tmp_path / "out.onnx").exists()
