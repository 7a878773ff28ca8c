"""ONNX files that are no model of ours, or say what they should not: named, and harmless."""

from __future__ import annotations

import json

import onnx
import pytest
from commands import refused
from paths import ANNA, BEN
from tiny_models import tiny
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.errors import BundleError
from gfla_cli.inference.onnx_backend import open_exported
from gfla_cli.inference.onnx_file import read_metadata

POSE = json.dumps({"model": tiny().to_json()})


def foreign(path, *, opset=18, metadata=None, operator="Identity"):
    """A model that gfla did not make."""
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, ["x"], ["y"])],
        "identity",
        [value("x", onnx.TensorProto.FLOAT, [1])],
        [value("y", onnx.TensorProto.FLOAT, [1])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    onnx.helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("make", "said", "hint"),
    [
        (lambda path: path.write_text("hello"), "not a model that ONNX Runtime reads", "export it again"),
        (lambda path: path.write_bytes(b""), "not a model that ONNX Runtime reads", "export it again"),
        (lambda path: None, "no such file", "gfla export-onnx"),
        (lambda path: path.mkdir(), "no such file", "gfla export-onnx"),
        (foreign, "not a model of gfla", "gfla export-onnx"),
        (lambda path: foreign(path, opset=99), "a newer ONNX than onnxruntime", "pip install --upgrade onnxruntime"),
        (lambda path: foreign(path, operator="Nonsense"), "not a model that ONNX Runtime reads", "export it again"),
        (lambda path: foreign(path, metadata={"gfla": '{"model": {"width": 1e9}}'}), "damaged", "export it again"),
        (lambda path: foreign(path, metadata={"gfla": "[" * 9999}), "damaged", "export it again"),
        (lambda path: foreign(path, metadata={"gfla": "[1]"}), "damaged", "export it again"),
        (lambda path: foreign(path, metadata={"gfla": POSE}), "is not for the task", "export it again"),
    ],
)
def test_files_that_are_no_model_of_ours_are_named(tmp_path, monkeypatch, make, said, hint):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "odd.onnx")
    before = list(tmp_path.iterdir())
    arguments = ["pose-transfer", str(ANNA), "--pose", str(BEN), "--model", "odd.onnx"]
    assert refused(CliRunner().invoke(app, arguments), 1, said, hint)
    assert list(tmp_path.iterdir()) == before


def test_untrusted_names_cannot_control_the_terminal(tiny_export, tmp_path):
    model = onnx.load(tiny_export.path)
    about = json.loads(model.metadata_props[0].value)
    for name, shown in (("\x1b[2Jred\n", "[2Jred"), ("x" * 999, "x" * 80), ("\x07", "odd"), (["a"], "['a']")):
        onnx.helper.set_model_props(model, {"gfla": json.dumps(about | {"name": name})})
        onnx.save(model, tmp_path / "odd.onnx")
        assert open_exported(tmp_path / "odd.onnx").name == shown


@pytest.mark.parametrize("place", ["../secret.bin", "/etc/hostname", "beside.bin"])
def test_an_onnx_model_reads_no_other_file(tmp_path, place):
    weight = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[8])
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": place, "offset": "0", "length": "32"}.items():
        weight.external_data.add(key=key, value=value)
    value = onnx.helper.make_tensor_value_info
    ends = [[value(name, onnx.TensorProto.FLOAT, [8])] for name in ("x", "image")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "w"], ["image"])], "g", *ends, [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    onnx.helper.set_model_props(model, {"gfla": POSE})
    folder = tmp_path / "model"
    folder.mkdir()
    for path in (tmp_path / "secret.bin", folder / "beside.bin"):
        path.write_bytes(bytes(32))
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="other files"):
        _ = open_exported(folder / "m.onnx").file.step


def test_a_file_tells_about_itself_without_onnx_runtime(tmp_path):
    told = {"gfla": '{"name": "Größe"}', "": "no key", "empty": "", "long": "x" * 70_000}
    assert read_metadata(foreign(tmp_path / "x.onnx", metadata=told)) == told


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x72\x05abc", "cut off"),  # field 14 of five bytes, of which three are there
        (b"\x72" + b"\xff" * 12, "does not end"),
        (b"\x73", "wire type 3"),
        (b"\x72\x04\x0a\x02\xc3\x28", "utf-8"),
        (b"\x09\x01", "cut off"),  # eight bytes, of which one is there
    ],
)
def test_a_damaged_message_is_no_metadata(tmp_path, content, said):
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=said):
        read_metadata(tmp_path / "x.onnx")
