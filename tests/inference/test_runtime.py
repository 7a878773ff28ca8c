"""Which runtime computes a bundle, and in which threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import current_thread

import numpy as np
import pytest
import torch
from tiny_models import save_tiny, tiny

from gfla_cli.inference import runtime, torch_backend
from gfla_cli.inference.runtime import LONG, MANY, VERY_MANY, choose_runtime
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


def test_very_many_images_are_made_by_torch_on_all_processors(monkeypatch):
    monkeypatch.setattr(runtime, "has_bf16", lambda: False)
    assert chosen(images=VERY_MANY - 1) == "onnx"
    assert chosen(images=VERY_MANY) == chosen(images=VERY_MANY, precision="fp32") == "torch"


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


@pytest.fixture
def threads():
    """Sets torch's threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def clip_of(session):
    """A clip, and four structures for it: noise, which the curves of faces are read from as well as from a face."""
    random = np.random.default_rng(0)
    side = session.config.image_size[0]
    image = random.uniform(-1, 1, (1, 3, side, side)).astype(np.float32)
    structures = random.random((5, 1, session.config.structure_channels, side, side), np.float32)
    return session.start(image, structures[0]), structures[1:]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["face-people", "body-people"])
def test_frames_of_a_long_clip_are_recorded_and_equal(tmp_path, threads, monkeypatch, kind, precision):
    bundle = save_tiny(tmp_path / "model", tiny(kind))
    threads(1)
    task = kind.split("-")[0]
    short, long = (
        open_session(bundle, task, device="cpu", precision=precision, runtime="torch", images=count)
        for count in (LONG - 1, LONG)
    )
    clip, structures = clip_of(short)
    wanted = [clip.next(structure) for structure in structures]
    clip, _ = clip_of(long)
    made = [clip.next(structure) for structure in structures[:2]]
    monkeypatch.setattr(type(long.network), "forward", None)  # Python has no part in the later ones
    with ThreadPoolExecutor(1) as ahead:
        made += [clip.next(ahead.submit(clip.prepare, structure).result()) for structure in structures[2:]]
    for frame, other in zip(made, wanted, strict=True):
        np.testing.assert_allclose(frame[0], other[0], atol=1e-5)
        np.testing.assert_allclose(frame[1], other[1], atol=1e-5)


def test_clips_of_a_session_share_one_recording(tmp_path, threads, monkeypatch):
    """Torch never frees a recording, so each clip with its own would take more memory for ever."""
    bundle = save_tiny(tmp_path / "face", tiny("face-people"))
    threads(1)
    long = open_session(bundle, "face", device="cpu", precision="fp32", runtime="torch", images=LONG)
    traced, trace = [], torch.jit.trace
    monkeypatch.setattr(torch.jit, "trace", lambda *given, **how: traced.append(given) or trace(*given, **how))
    first, structures = clip_of(long)
    made = [[first.next(structure)[0] for structure in structures]]
    image = np.flip(first._given[0], axis=3).copy()
    second = long.start(image, structures[2])
    made.append([second.next(structure)[0] for structure in structures])
    assert len(traced) == 1
    long.long = False
    wanted = []
    for given in (first._given, (image, structures[2])):
        clip = long.start(*given)
        wanted.append([clip.next(structure)[0] for structure in structures])
    np.testing.assert_allclose(made, wanted, atol=1e-5)
    assert np.abs(made[0][3] - made[1][3]).max() > 0.1


@pytest.mark.parametrize("failure", ["error", "other result"])
def test_where_recording_fails_frames_are_made_as_before(tmp_path, monkeypatch, failure):
    bundle = save_tiny(tmp_path / "face", tiny("face-people"))
    long, short = (
        open_session(bundle, "face", device="cpu", precision="fp32", runtime="torch", images=count, threads=1)
        for count in (LONG, 1)
    )
    calls = []

    def trace(step, given, check_trace):
        calls.append(step)
        if failure == "error":
            raise RuntimeError("no tracer")
        return lambda *given: tuple(part + 1 for part in step(*given))

    monkeypatch.setattr(torch.jit, "trace", trace)
    made = []
    for session in (long, long, short):
        clip, structures = clip_of(session)
        made.append([clip.next(structure)[0] for structure in structures])
    assert len(calls) == 1  # and not once a clip: torch never frees what it has recorded
    np.testing.assert_array_equal(made[:2], [made[2]] * 2)


def test_a_clip_leaves_one_core_to_its_other_stages(tmp_path, threads, monkeypatch):
    bundle = save_tiny(tmp_path / "face", tiny("face-people"))
    monkeypatch.setattr(torch_backend, "_CORES", 3)

    def used(**options):
        open_session(bundle, "face", device="cpu", precision="fp32", runtime="torch", **options)
        return torch.get_num_threads()

    threads(3)
    assert (used(), used(images=MANY), used(images=MANY + 1), used(images=LONG)) == (3, 3, 2, 2)
    assert used(images=LONG, threads=3) == 3
    threads(1)  # chosen before
    assert used(images=LONG) == 1
