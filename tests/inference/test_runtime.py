"""Which runtime computes a bundle."""

from __future__ import annotations

import pytest

from gfla_cli.inference import runtime
from gfla_cli.inference.runtime import MANY, choose_runtime


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr(runtime, "gpu_count", lambda: 0)
    monkeypatch.setattr(runtime, "has_bf16", lambda: True)
    monkeypatch.setattr(runtime.sys, "platform", "linux")


def chosen(wanted="auto", device="auto", precision="auto", has_graph=True, images=1):
    return choose_runtime(wanted, device, precision, has_graph=has_graph, images=images).runtime


def test_what_the_user_chose_is_taken():
    assert chosen("torch") == "torch"
    assert chosen("onnx", has_graph=False, images=MANY) == "onnx"


def test_few_images_are_made_by_what_starts_faster():
    assert chosen() == chosen(precision="fp32", images=MANY) == chosen(images=MANY - 1) == "onnx"


def test_many_images_are_made_in_bfloat16_where_the_processor_has_it(monkeypatch):
    assert chosen(images=MANY) == "torch"
    monkeypatch.setattr(runtime, "has_bf16", lambda: False)
    assert chosen(images=MANY) == "onnx"


@pytest.mark.parametrize("wish", [{"device": "cuda"}, {"device": "mps"}, {"precision": "bf16"}, {"has_graph": False}])
def test_torch_does_what_graphs_cannot(wish):
    assert chosen(**wish) == "torch"


def test_a_gpu_is_torchs(monkeypatch):
    monkeypatch.setattr(runtime, "gpu_count", lambda: 1)
    assert (chosen(), chosen(device="cpu")) == ("torch", "onnx")
    monkeypatch.setattr(runtime, "gpu_count", lambda: 0)
    monkeypatch.setattr(runtime.sys, "platform", "darwin")
    monkeypatch.setattr(runtime.platform, "machine", lambda: "arm64")
    assert (chosen(), chosen(device="cpu")) == ("torch", "onnx")
