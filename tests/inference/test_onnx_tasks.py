"""Every kind of model exports and agrees with torch, and every command takes the file without loading torch."""

from __future__ import annotations

import base64

import numpy as np
import onnx
import pytest
import torch
from chairs import draw_chair
from commands import refused
from exports import command_without_torch, small
from paths import ANNA, BEN
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.bundles.bundle import load_bundle
from gfla_cli.config import PRESETS
from gfla_cli.errors import BundleError, UsageError
from gfla_cli.inference.export import TOLERANCE, example_inputs
from gfla_cli.inference.onnx_backend import open_exported
from gfla_cli.inference.onnx_file import DESCRIPTION, part_key
from gfla_cli.inference.session import SequenceSession, open_session
from gfla_cli.io.image import read_image, write_image
from gfla_cli.io.video import probe
from gfla_cli.networks.layers import _DETAIL
from gfla_cli.ops.warp import bilinear_warp, blurred

# The ablations and appearance flow have graphs of their own.
SAMPLERS = ("pose-people:none", "face:bilinear", "face:none", "body:global", "view-chairs:pixels", "view-chairs:global")
KINDS = (*(name for name in PRESETS if name != "view-car"), *SAMPLERS)  # cars have the network of chairs
PARTS = {"pose": [], "face": ["encode"], "body": ["encode"], "view": ["encode", "estimate"]}


def graphs_in(path):
    """All graphs of an exported model, by name."""
    model = onnx.load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    parts = {key: onnx.load_from_string(base64.b64decode(value)) for key, value in metadata.items() if "." in key}
    return {DESCRIPTION: model, **parts}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_agrees_with_torch_at_several_sizes(exported, kind):
    bundle, report = exported(kind)
    assert len({(check.batch, check.height, check.width) for check in report.checks}) == 3
    # Appearance flow takes each pixel from where 32 samples of a volume put it: rounding moves it by a thousandth.
    # So it does to pixels of the previous frame that a random network takes from far away.
    limit = 1e-3 if kind in ("view-chairs:pixels", "face-people") else 1e-4
    assert all(check.largest_difference < limit for check in report.checks)
    session, config = open_exported(report.path), small(kind)
    assert (session.config, session.name) == (config, bundle.name)
    for batch, height, width in ((1, 96, 160), (3, 128, 64)):
        given = example_inputs(config, batch, height, width, seed=width)
        with torch.inference_mode():
            made = load_bundle(bundle).network(*given.values())
        np.testing.assert_allclose(
            session.image(*(x.numpy() for x in given.values())), made.image, atol=max(limit, 5e-4)
        )
    flows = [flow for level in made.flows for flow in (level if isinstance(level[0], tuple) else [level])]
    if flows:
        assert max(flow.offset.abs().max() for flow in flows) > 1  # else a wrong grid would not be noticed


@pytest.mark.parametrize("kind", ["pose-people", "face", "body-people", "view-chairs", "view-chairs:pixels"])
def test_only_standard_operators_are_used_and_every_size_is_free(exported, kind):
    graphs = graphs_in(exported(kind)[1].path)
    wanted = PARTS[small(kind).task] if kind != "view-chairs:pixels" else ["encode"]
    assert sorted(graphs) == sorted([DESCRIPTION, *map(part_key, wanted)])
    for model in graphs.values():
        onnx.checker.check_model(model)
        assert {node.domain for node in model.graph.node} == {""}
        assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
        assert not {"Loop", "If", "Scan", "SequenceEmpty"} & {node.op_type for node in model.graph.node}
        assert not model.functions
        for given in model.graph.input:
            batch, _, *size = given.type.tensor_type.shape.dim
            assert batch.dim_param
            assert given.name.endswith("_code") or all(side.dim_param for side in size)


@pytest.mark.parametrize("kind", ["pose-people", "face-people", "view-chairs", "view-chairs:pixels"])
def test_half_precision_is_close_and_samples_in_float(exported, kind):
    _, report = exported(kind, half=True)
    assert all(0 < check.largest_difference < TOLERANCE["fp16"] for check in report.checks)
    graphs = graphs_in(report.path)
    # CUDA's provider has GridSample in float32 alone; in float16 it would run on the CPU.
    config, floats = small(kind), {onnx.TensorProto.FLOAT}
    assert types_of(graphs[DESCRIPTION], "GridSample") == floats  # if for nothing else, then for the layers
    if config.sampler == "local":
        assert types_of(graphs[DESCRIPTION], "MatMul") == floats  # weighted sums of pixels
    for key in (DESCRIPTION, part_key("encode")):
        if key in graphs:
            assert onnx.TensorProto.FLOAT16 in types_of(graphs[key], "Conv")
    if "gfla.estimate" in graphs:
        assert types_of(graphs["gfla.estimate"], "Conv") == {onnx.TensorProto.FLOAT}


def test_half_precision_is_half_the_size_and_says_so(exported):
    (_, whole), (_, half) = exported("pose-market"), exported("pose-market", half=True)
    assert half.megabytes < 0.75 * whole.megabytes  # of this tiny model the graph itself is a good part
    session = open_exported(half.path, precision="fp16")
    assert session.place == "ONNX Runtime, CPU, fp16"
    x = [tensor.numpy() for tensor in example_inputs(small("pose-market"), 1, 64, 64).values()]
    assert 0 < np.abs(session.image(*x) - open_exported(whole.path).image(*x)).max() < 1e-2
    with pytest.raises(UsageError, match="computes in fp16, as it was exported, not in fp32"):
        open_session(half.path, "pose", precision="fp32")


def types_of(model, operator):
    """The number formats of the inputs of all nodes of a kind."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {types[name] for node in graph.node if node.op_type == operator for name in node.input}


# --- one image, many results


@pytest.mark.parametrize("kind", ["face", "body-people"])
def test_a_clip_is_that_of_torch_and_the_reference_is_encoded_once(exported, kind):
    bundle, report = exported(kind)
    sessions = (
        open_session(bundle, small(kind).task, device="cpu", precision="fp32"),
        open_session(report.path, small(kind).task),
    )
    given = example_inputs(small(kind), 1, 64, 96)
    frames = [example_inputs(small(kind), 1, 64, 96, seed=k)["target_structure"].numpy() for k in range(3)]
    clips, layers = [], []
    for session in sessions:
        assert isinstance(session, SequenceSession)
        clip = session.start(given["reference_image"].numpy(), given["reference_structure"].numpy())
        if session is sessions[1]:
            session.file.part("encode").run = lambda _: pytest.fail("the reference was encoded again")
        made = [clip.next(frame) for frame in (*frames, frames[0])]
        clips.append([image for image, _ in made[:3]])
        layers.append(made[3][1])
    np.testing.assert_allclose(clips[1], clips[0], atol=1e-4)
    assert np.abs(clips[0][1] - clips[0][2]).max() > 1e-3
    assert layers[0].shape == (1, 10, 64, 96)
    np.testing.assert_allclose(layers[1], layers[0], atol=1e-3)


@pytest.mark.parametrize("kind", ["face", "view-chair"])
def test_layers_give_the_image_the_fine_detail_of_the_moved_source(exported, kind):
    bundle, _ = exported(kind)
    session = open_session(bundle, small(kind).task, device="cpu", precision="fp32")
    given = {name: tensor.numpy() for name, tensor in example_inputs(small(kind), 1, 64, 64).items()}
    if kind == "view-chair":
        source, codes = given["source_image"], (given["source_code"], given["target_code"])
        encoded = session.encode(source)
        image, layers = session.view(encoded, *codes)
    else:
        source, structures = given["reference_image"], (given["reference_structure"], given["target_structure"])
        image, layers = session.start(source, structures[0]).next(structures[1])
    drawn, share, residual, offset = np.split(layers[:, :9], [3, 4, 7], axis=1)
    assert share.max() > 0.05
    moved = bilinear_warp(torch.from_numpy(source), torch.from_numpy(offset * 64)).numpy()
    mixed = drawn * (1 - share) + share * moved + residual
    fine = [x - blurred(torch.from_numpy(x), _DETAIL).numpy() for x in (moved, image)]
    np.testing.assert_allclose(mixed, image + share * (fine[0] - fine[1]), atol=1e-4)


@pytest.mark.parametrize("kind", ["view-chairs", "view-chair", "view-chairs:pixels"])
def test_views_and_their_scores_are_those_of_torch(exported, kind):
    bundle, report = exported(kind)
    torchs = open_session(bundle, "view", device="cpu", precision="fp32")
    onnxs = open_session(report.path, "view")
    picture = example_inputs(small(kind), 1, 96, 64)["source_image"].numpy()
    codes = np.eye(21, dtype=np.float32)
    encoded = torchs.encode(picture), onnxs.encode(picture)
    for k in (1, 9):
        pairs = list(zip((torchs, onnxs), encoded, strict=True))
        views, layers = zip(*(session.view(source, codes[0], codes[k]) for session, source in pairs), strict=True)
        np.testing.assert_allclose(views[1], views[0], atol=1e-4)
        assert layers[0].shape == (1, 10, 96, 64)
        np.testing.assert_allclose(layers[1], layers[0], atol=1e-3)
    volumes = [session.volume(source) for session, source in zip((torchs, onnxs), encoded, strict=True)]
    assert [volume is not None for volume in volumes] == [kind == "view-chairs"] * 2
    if kind == "view-chairs":
        for mine, its in zip(*volumes, strict=True):
            np.testing.assert_allclose(mine, its, atol=1e-3)
        denser = volumes[0]._replace(density=volumes[0].density + 4)
        pairs = [(session, session.with_volume(source, denser)) for session, source in pairs]
        other = [session.view(source, codes[0], codes[9])[0] for session, source in pairs]
        np.testing.assert_allclose(other[1], other[0], atol=1e-4)
        assert np.abs(other[0] - views[0]).max() > 1e-2
    assert onnxs.estimates_views == torchs.estimates_views == (kind == "view-chairs")
    if onnxs.estimates_views:
        np.testing.assert_allclose(onnxs.view_scores(picture), torchs.view_scores(picture), atol=1e-4)


def test_a_part_that_is_damaged_is_named(exported, tmp_path):
    model = onnx.load(exported("face")[1].path)
    (entry,) = (entry for entry in model.metadata_props if entry.key == part_key("encode"))
    entry.value = entry.value[:-9]
    onnx.save(model, tmp_path / "face.onnx")
    with pytest.raises(BundleError, match="'encode' is damaged"):
        open_exported(tmp_path / "face.onnx").encoded(np.zeros((1, 3, 64, 64), np.float32))
    entry.value = base64.b64encode(b"hello").decode()
    onnx.save(model, tmp_path / "face.onnx")
    with pytest.raises(BundleError, match="face, encode: not a model"):
        open_exported(tmp_path / "face.onnx").encoded(np.zeros((1, 3, 64, 64), np.float32))


# --- commands, in processes that must not load torch


@pytest.mark.parametrize(("kind", "task"), [("face", "face"), ("body-people", "body"), ("pose-people", "body")])
def test_animate_takes_the_file(exported, tmp_path, kind, task):
    picture = read_image(ANNA)
    write_image(tmp_path / "source.png", picture[0:255, 165:386] if task == "face" else picture)
    model = exported(kind)[1].path
    arguments = ("source.png", "source.png", "--task", task, "--threads", "1", "--model", model, "-o", "out.mp4")
    printed, said = command_without_torch(tmp_path, "animate", *arguments, "--no-paste-back", "--size", "64")
    assert (printed, said[0]) == ("out.mp4\n", f"gfla: {kind} on ONNX Runtime, CPU")
    lasting = (line for line in said[1:] if not line.endswith(" ..."))  # a busy machine says what takes long
    assert [line for line in lasting if "a blurred result" not in line] == said[-1:], said
    assert probe(tmp_path / "out.mp4").size == (64, 64)


def test_view_synthesis_takes_the_file_and_gives_what_torch_gives(exported, tmp_path, monkeypatch):
    bundle, report = exported("view-chairs")
    write_image(tmp_path / "chair.png", draw_chair())
    arguments = ["view-synthesis", "chair.png", "--azimuth", "60", "--elevation", "10"]
    printed, said = command_without_torch(tmp_path, *arguments, "--model", report.path, "-o", "onnx.png")
    assert (printed, said[0]) == ("onnx.png\n", "gfla: view-chairs on ONNX Runtime, CPU")
    monkeypatch.chdir(tmp_path)
    again = [*arguments, "--model", str(bundle), "--precision", "fp32", "-o", "torch.png"]
    result = CliRunner().invoke(app, again)
    # The estimated view, and its confidence. What a slow command is doing ends in dots.
    notes = [[line for line in lines[1:] if not line.endswith("...")] for lines in (result.stderr.splitlines(), said)]
    assert notes[0] == notes[1] != []
    difference = np.abs(read_image(tmp_path / "onnx.png").astype(int) - read_image(tmp_path / "torch.png"))
    assert difference.max() <= 1


def test_infer_takes_the_file(exported, tmp_path):
    (tmp_path / "pairs.csv").write_text(f"from,to\n{ANNA.name},{BEN.name}\n")
    arguments = ("pairs.csv", "--images", ANNA.parent, "-o", "out", "--model", exported("pose-people")[1].path)
    command_without_torch(tmp_path, "infer", *arguments)
    assert (tmp_path / "out" / "anna--ben.png").is_file()


def test_files_of_another_task_are_refused(exported, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "chair.png", draw_chair())
    run = lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])  # noqa: E731
    face, view = exported("face")[1].path, exported("view-chairs")[1].path
    said = "is a model for the task face, not for pose"
    assert refused(run("pose-transfer", ANNA, "--pose", BEN, "--model", face), 1, said, "--task pose")
    assert refused(run("view-synthesis", "chair.png", "--azimuth", "60", "--model", face), 1, "not for view")
    said = "is a model for the task view, not for face, body or pose"
    assert refused(run("animate", ANNA, BEN, "--task", "body", "--model", view, "-o", "a.mp4"), 1, said)
