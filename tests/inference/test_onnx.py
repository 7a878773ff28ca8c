"""Exported models: they describe themselves, agree with torch, and need none to run."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from exports import command_without_torch, inputs
from paths import ANNA, BEN
from tiny_models import tiny

import gfla_cli.inference.export as export_module
from gfla_cli.bundles.bundle import load_bundle
from gfla_cli.errors import BundleError, GflaError, UsageError
from gfla_cli.inference.onnx_backend import OnnxSession, open_exported
from gfla_cli.inference.onnx_runtime import OnnxGraph
from gfla_cli.inference.session import cached_export, model_config, open_session


def test_the_report_compares_several_sizes(tiny_export):
    assert len({(check.batch, check.height) for check in tiny_export.checks}) == 3
    assert all(check.largest_difference < 1e-4 for check in tiny_export.checks)


@pytest.mark.parametrize("size", [(1, 64, 64), (3, 96, 32), (2, 128, 160)])
def test_any_batch_and_frame_size_agrees_with_torch(tiny_export, tiny_bundle, size):
    x = inputs(*size)
    with torch.inference_mode():
        expected = load_bundle(tiny_bundle).network(*map(torch.from_numpy, x)).image.numpy()
    np.testing.assert_allclose(open_exported(tiny_export.path).image(*x), expected, atol=5e-4)


def test_what_an_image_is_mixed_from_agrees_with_torch(tiny_export, tiny_bundle):
    x = inputs(1, 64, 64)
    sessions = open_exported(tiny_export.path), open_session(tiny_bundle, "pose", device="cpu", precision="fp32")
    (image, layers), (expected, wanted) = (session.image_and_layers(*x) for session in sessions)
    assert layers.shape == (1, 10, 64, 64)
    np.testing.assert_allclose(image, expected, atol=5e-4)
    np.testing.assert_allclose(layers, wanted, atol=2e-3)


def test_the_file_says_what_it_is(tiny_export, tiny_bundle):
    assert model_config(tiny_export.path) == model_config(tiny_bundle) == tiny()
    session = open_exported(tiny_export.path)
    assert (session.config, session.name, session.about["license"]) == (tiny(), "pose-people", "MIT")
    assert open_session(tiny_export.path.parent, "pose").config == tiny()  # its folder will do
    with pytest.raises(BundleError, match="task pose"):
        open_session(tiny_export.path, "face")
    with pytest.raises(UsageError, match="torch cannot run"):
        open_session(tiny_export.path, "pose", runtime="torch")


def test_pose_transfer_takes_the_file_and_loads_no_torch(tiny_export, tmp_path):
    arguments = ("pose-transfer", ANNA, "--pose", BEN, "-o", "out.png", "--threads", "1", "--model", tiny_export.path)
    out, messages = command_without_torch(tmp_path, *arguments)
    assert out == "out.png\n"
    # A slow machine gets a line for each step that takes more than a second.
    assert [line for line in messages if not line.endswith("...")] == ["gfla: pose-people on ONNX Runtime, CPU"]
    assert (tmp_path / "out.png").is_file()


def test_runtime_onnx_exports_a_bundle_once(tiny_bundle, tiny_export, tmp_path, monkeypatch):
    calls = []

    def quick(model, output, *, half, overwrite):
        calls.append(half)
        shutil.copy(tiny_export.path, output)

    monkeypatch.setattr(export_module, "export_onnx", quick)
    monkeypatch.setenv("GFLA_CACHE", str(tmp_path / "cache"))
    first, again = cached_export(tiny_bundle), cached_export(tiny_bundle)
    assert first == again
    assert first.is_relative_to(tmp_path / "cache")
    assert calls == [False]
    assert isinstance(open_session(tiny_bundle, "pose", runtime="onnx"), OnnxSession)
    assert calls == [False]
    with pytest.raises(UsageError, match="computes in fp32"):  # what the stand-in for the export made
        open_session(tiny_bundle, "pose", runtime="onnx", precision="fp16")
    assert calls == [False, True]
    with pytest.raises(UsageError, match="not in bf16"):
        open_session(tiny_bundle, "pose", runtime="onnx", precision="bf16")


def test_a_bundle_for_another_task_is_refused_before_it_is_exported(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "export_onnx", lambda *_, **__: pytest.fail("was exported"))
    monkeypatch.setenv("GFLA_CACHE", str(tmp_path))
    with pytest.raises(BundleError, match="task pose, not for face or body"):
        open_session(tiny_bundle, "face", "body", runtime="onnx")


def test_memory_that_runs_out_is_said(tiny_export):
    graph = OnnxGraph(tiny_export.path, "tiny")

    class Full:
        def run(self, *_):
            raise RuntimeError("Failed to allocate memory for requested buffer of size 17179869184")

    graph._session = Full()
    with pytest.raises(GflaError, match="tiny: out of memory on CPU"):
        graph.run(dict(zip(("source_image", "source_structure", "target_structure"), inputs(1, 64, 64), strict=True)))
