"""Where ONNX Runtime computes: the providers it may try, and the threads it takes."""

from __future__ import annotations

import os

import onnxruntime
import pytest
from exports import inputs

import gfla_cli.inference.onnx_runtime as onnx_runtime
from gfla_cli.errors import UsageError
from gfla_cli.inference.onnx_backend import open_exported
from gfla_cli.inference.onnx_runtime import OnnxGraph

GPU = ["TensorrtExecutionProvider", "CUDAExecutionProvider"]


def test_a_provider_that_cannot_be_used_is_not_tried(monkeypatch):
    built_for = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built_for)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(onnx_runtime, "gpu_count", lambda: 0)
    assert onnx_runtime.providers_for("auto") == ["CPUExecutionProvider"]
    with pytest.raises(UsageError, match="no NVIDIA GPU"):
        onnx_runtime.providers_for("cuda")
    with pytest.raises(UsageError, match="no CoreML"):
        onnx_runtime.providers_for("mps")
    monkeypatch.setattr(onnx_runtime, "gpu_count", lambda: 1)
    monkeypatch.setattr(onnx_runtime, "_loads", lambda library: False)
    assert onnx_runtime.providers_for("auto") == built_for[1:]
    monkeypatch.setattr(onnx_runtime, "_loads", lambda library: True)
    assert onnx_runtime.providers_for("cuda") == built_for
    assert onnx_runtime.providers_for("cpu") == ["CPUExecutionProvider"]


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_gpu_without_its_libraries_is_said_in_one_line(tiny_export, monkeypatch, capfd):
    for module in ("onnx_file", "onnx_runtime"):
        found = ["NoExecutionProvider", onnx_runtime.CPU]
        monkeypatch.setattr(f"gfla_cli.inference.{module}.providers_for", lambda _, found=found: found)
    session = open_exported(tiny_export.path)
    assert session.place == "ONNX Runtime, CPU (the GPU's libraries are missing)"
    assert session.image(*inputs(1, 64, 64)).shape == (1, 3, 64, 64)
    with pytest.raises(UsageError, match="--device cuda: ONNX Runtime cannot use it"):
        _ = open_exported(tiny_export.path, "cuda").place
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.parametrize(("local_rank", "gpus", "taken"), [(1, 2, 1), (5, 2, 0)])
def test_several_processes_of_a_machine_take_a_gpu_each(tiny_export, monkeypatch, local_rank, gpus, taken):
    asked, start = [], onnxruntime.InferenceSession

    def noted(*args, **options):
        asked.append(options["providers"])
        return start(*args, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", noted)
    monkeypatch.setattr("gfla_cli.inference.onnx_runtime.providers_for", lambda _: [*GPU, onnx_runtime.CPU])
    monkeypatch.setattr(onnx_runtime, "gpu_count", lambda: gpus)
    OnnxGraph(tiny_export.path, "tiny")
    assert asked[0] == [*GPU, onnx_runtime.CPU]  # of one process alone
    names = {"RANK": 7, "WORLD_SIZE": 8, "LOCAL_RANK": local_rank, "MASTER_PORT": 1, "MASTER_ADDR": "localhost"}
    for name, value in names.items():
        monkeypatch.setenv(name, str(value))
    asked.clear()
    OnnxGraph(tiny_export.path, "tiny")
    assert asked[0] == [*((name, {"device_id": taken}) for name in GPU), onnx_runtime.CPU]


def test_loading_on_the_cpu_keeps_messages_of_other_threads(tiny_export, monkeypatch, capfd):
    start = onnxruntime.InferenceSession

    def meanwhile(*args, **options):
        os.write(2, b"an error")
        return start(*args, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", meanwhile)
    assert open_exported(tiny_export.path, "cpu").place == "ONNX Runtime, CPU"
    assert capfd.readouterr().err == "an error"


def test_no_more_threads_than_allowed(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert (onnx_runtime.cpu_threads(None), onnx_runtime.cpu_threads(5)) == (3, 5)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert onnx_runtime.cpu_threads(None) == 0
