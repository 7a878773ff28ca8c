"""Which runtime computes a bundle, and in which threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import current_thread

import numpy as np
import pytest
import torch
from tiny_models import save_tiny, tiny

from gfla_cli.inference import runtime, torch_backend
from gfla_cli.inference.runtime import MANY, choose_runtime
from gfla_cli.inference.session import open_session


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


def test_only_the_thread_that_draws_computes(tmp_path, monkeypatch):
    """OpenMP keeps threads for every thread that has computed. Too many of them make drawing slow."""
    counts, threads, load = [], [], torch_backend.load_bundle

    def watched(model):
        counts.append(torch.get_num_threads())
        return load(model)

    monkeypatch.setattr(torch_backend, "load_bundle", watched)
    before = torch.get_num_threads()
    bundle = save_tiny(tmp_path / "face", tiny("face-people"))
    torch.set_num_threads(2)
    try:
        session = open_session(bundle, "face", device="cpu", precision="fp32", runtime="torch")
        assert (counts, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)
    encode = session.network.encode_reference
    monkeypatch.setattr(
        session.network, "encode_reference", lambda image: threads.append(current_thread().name) or encode(image)
    )
    face = np.zeros((1, session.config.structure_channels, 64, 64), np.float32)
    clip = session.start(np.zeros((1, 3, 64, 64), np.float32), face)
    with ThreadPoolExecutor(1, thread_name_prefix="drawing") as drawing:
        assert drawing.submit(clip.next, face).result()[0].shape == (1, 3, 64, 64)
    assert threads == ["drawing_0"]
