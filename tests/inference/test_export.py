"""Exports that fail: refused before they begin where that can be known, and nothing half-written."""

from __future__ import annotations

import os
import shutil
import sys

import pytest
from commands import refused
from typer.testing import CliRunner

import gfla_cli.inference.export as export_module
from gfla_cli.app import app
from gfla_cli.errors import GflaError
from gfla_cli.inference.export import export_onnx
from gfla_cli.inference.onnx_backend import OnnxSession


def test_a_result_that_differs_fails_and_leaves_nothing(tiny_bundle, tiny_export, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "to_onnx", lambda graph: tiny_export.path.read_bytes())
    monkeypatch.setattr(OnnxSession, "image", lambda self, image, *_: image + 1)
    with pytest.raises(GflaError, match="differs from torch"):
        export_onnx(tiny_bundle, tmp_path / "wrong.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_dies_leaves_nothing(tiny_bundle, tmp_path, monkeypatch):
    def dies(graph):
        raise KeyboardInterrupt

    monkeypatch.setattr(export_module, "to_onnx", dies)
    with pytest.raises(KeyboardInterrupt):
        export_onnx(tiny_bundle, tmp_path / "half-written.onnx")
    assert list(tmp_path.iterdir()) == []


def test_bad_requests_are_refused_before_the_export_begins(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = lambda *arguments: CliRunner().invoke(app, ["export-onnx", "--model", str(tiny_bundle), *arguments])  # noqa: E731
    assert refused(run("-o", "model.pt"), 2, "an exported model is an .onnx file")
    (tmp_path / "there.onnx").touch()
    assert refused(run("-o", "there.onnx/model.onnx"), 2, "is a file, not a folder")
    assert refused(run("-o", "there.onnx"), 2, "--overwrite")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert refused(run("-o", "locked.onnx"), 1, "no permission to write there")


def test_damaged_bundles_and_missing_packages_are_named(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_bundle, damaged)
    os.truncate(damaged / "model.safetensors", 100)
    run = lambda model: CliRunner().invoke(app, ["export-onnx", "-q", "--model", str(model), "-o", "o.onnx"])  # noqa: E731
    assert refused(run(damaged), 1, "damaged")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert refused(run(tiny_bundle), 1, "exporting to ONNX needs onnx", 'pip install "gfla[export]"')
    assert not (tmp_path / "o.onnx").exists()
