"""Graphs of bundles: they agree with torch, are left alone where they do not fit, and read no other file."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from exports import command_without_torch
from paths import ANNA, BEN

from gfla_cli.bundles.bundle import load_bundle, read_bundle, save_bundle
from gfla_cli.bundles.files import CONFIG, GRAPH, WEIGHTS
from gfla_cli.bundles.shelf import shelves
from gfla_cli.errors import BundleError
from gfla_cli.inference.export import TOLERANCE, example_inputs, write_graph
from gfla_cli.inference.onnx_backend import OnnxSession, OnnxView
from gfla_cli.inference.onnx_file import fitting_graph
from gfla_cli.inference.session import open_session
from gfla_cli.inference.torch_backend import TorchSession

MODELS = shelves()[-1]
POSE = MODELS / "pose-people"
SHIPPED = ("pose-people", "face-people", "view-chairs")


def drawn(config, batch=1, seed=3):
    return [value.numpy() for value in example_inputs(config, batch, *config.image_size, seed=seed).values()]


@pytest.fixture
def copied(tmp_path):
    return Path(shutil.copytree(POSE, tmp_path / "copied"))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_graph_of_every_bundle_fits_and_agrees_with_torch(name):
    assert fitting_graph(MODELS / name) == MODELS / name / GRAPH, f"gfla models graph models/{name} writes it again"
    assert (MODELS / name / GRAPH).stat().st_size < 700_000
    bundle = load_bundle(name)
    session = open_session(name, bundle.config.task, device="cpu", threads=1)
    assert isinstance(session, OnnxSession)
    inputs = drawn(bundle.config)
    with torch.inference_mode():
        expected = bundle.network(*map(torch.from_numpy, inputs)).image.numpy()
        apart = np.abs(session.image(*inputs) - expected)
        # By rounding, a place between two parts of a body or face takes its pixel from the other one.
        assert np.quantile(apart, 0.999) <= TOLERANCE["fp32"]
        assert apart.mean() < TOLERANCE["fp32"] / 100
        assert apart.max() < 20 * TOLERANCE["fp32"]
        if isinstance(session, OnnxView):
            scores = bundle.network.estimate_view(torch.from_numpy(inputs[0])).numpy()
            np.testing.assert_allclose(session.view_scores(inputs[0]), scores, atol=1e-3 * np.abs(scores).max())


@pytest.mark.parametrize("name", SHIPPED)
def test_a_graph_stores_constants_that_repeat_once(name):
    for tensor in onnx.load(MODELS / name / GRAPH, load_external_data=False).graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        repeated = [axis for axis in range(values.ndim) if (values == values.take([0], axis)).all()]
        smallest = values.nbytes // np.prod([values.shape[axis] for axis in repeated], dtype=int)
        assert values.nbytes - smallest < 1024, tensor.name


def test_several_images_are_computed_one_by_one():
    session = open_session(POSE, "pose", device="cpu", threads=1)
    inputs = drawn(session.config, batch=2)
    image, layers = session.image_and_layers(*inputs)
    assert (image.shape[0], layers.shape[0]) == (2, 2)
    again, _ = session.image_and_layers(*(value[1:] for value in inputs))
    np.testing.assert_array_equal(image[1:], again)


def test_a_bundle_that_was_trained_further_keeps_its_graph(copied):
    stored = read_bundle(copied)
    state = {name: tensor.float() * 1.01 for name, tensor in stored.state.items()}
    save_bundle(copied, stored.config, state, license="MIT")
    inputs = drawn(stored.config)
    session = open_session(copied, "pose", device="cpu", threads=1)
    assert isinstance(session, OnnxSession)
    made = session.image(*inputs)
    with torch.inference_mode():
        expected = load_bundle(copied).network(*map(torch.from_numpy, inputs)).image.numpy()
    np.testing.assert_allclose(made, expected, atol=TOLERANCE["fp32"])
    before = open_session(POSE, "pose", device="cpu", threads=1).image(*inputs)
    assert np.abs(before - expected).max() > 10 * TOLERANCE["fp32"]  # the other weights are seen


def test_a_bundle_without_a_graph_takes_that_of_the_same_network(copied):
    (copied / GRAPH).unlink()
    assert fitting_graph(copied) == POSE / GRAPH


def test_models_of_the_same_network_share_a_graph():
    assert fitting_graph(MODELS / "view-cars") == MODELS / "view-chairs" / GRAPH
    assert isinstance(open_session("view-cars", "view", device="cpu", threads=1), OnnxView)


def test_a_graph_of_another_network_is_left_alone(copied):
    config = (copied / CONFIG).read_text(encoding="utf-8")
    (copied / CONFIG).write_text(config.replace('"heatmap_sigma": 6.0', '"heatmap_sigma": 7.0'), encoding="utf-8")
    assert fitting_graph(copied) is None
    session = open_session(copied, "pose", device="cpu")
    assert isinstance(session, TorchSession)
    assert "gfla models graph" in session.place


def test_a_damaged_graph_is_as_good_as_none(copied):
    (copied / GRAPH).write_bytes((copied / GRAPH).read_bytes()[:1000])
    assert fitting_graph(copied) == POSE / GRAPH


def test_damaged_weights_are_an_error_with_a_graph_too(copied):
    content = bytearray((copied / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (copied / WEIGHTS).write_bytes(content)
    with pytest.raises(BundleError, match="damaged"):
        open_session(copied, "pose", device="cpu")


def test_a_graph_that_names_another_file_is_refused(copied):
    content = (copied / GRAPH).read_bytes()
    other = b"/etc/hostname".rjust(len(WEIGHTS), b"/")
    (copied / GRAPH).write_bytes(content.replace(WEIGHTS.encode(), other, 1))
    with pytest.raises(BundleError, match="other files"):
        _ = open_session(copied, "pose", device="cpu").place


def test_what_a_graph_cannot_show_torch_does():
    inputs = drawn(load_bundle(POSE).config)
    graph = open_session(POSE, "pose", device="cpu", threads=1)
    image, _, inside = graph.image_and_intermediates(*inputs)
    np.testing.assert_allclose(image, graph.image(*inputs), atol=0.2)  # torch may compute it in bfloat16
    assert len(inside.levels) == 3


def test_the_command_loads_no_torch(tmp_path):
    arguments = ("pose-transfer", ANNA, "--pose", BEN, "-o", "out.png", "--threads", "1", "--device", "cpu")
    printed, said = command_without_torch(tmp_path, *arguments)
    assert printed == "out.png\n"
    assert "gfla: pose-people on ONNX Runtime, CPU (starts faster than torch)" in said  # a slow machine says more


def test_a_graph_is_written_for_a_bundle_of_ones_own(tiny_bundle, tmp_path):
    own = Path(shutil.copytree(tiny_bundle, tmp_path / "own"))
    assert fitting_graph(own) is None
    report = write_graph(own)
    assert fitting_graph(own) == report.path == own / GRAPH
    assert isinstance(open_session(own, "pose", device="cpu"), OnnxSession)
