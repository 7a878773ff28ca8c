"""Files of strangers: no code is run, no folder is left, nothing is allocated because a header says so."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
import torch
from conftest import ROOT
from tiny_glb import glb_bytes
from typer.testing import CliRunner

import gfla_cli.bundles.files as bundle_files
from gfla_cli.app import app
from gfla_cli.bundles.bundle import load_bundle, save_bundle
from gfla_cli.bundles.importing import import_checkpoint
from gfla_cli.bundles.pth import read_tensors
from gfla_cli.config import ModelConfig, preset
from gfla_cli.data.check import check_set
from gfla_cli.data.deepfashion import SQUARE, BenchmarkPairs
from gfla_cli.data.faces import read_landmarks
from gfla_cli.data.found import FoundFile
from gfla_cli.data.shapenet import ShapeNetPairs
from gfla_cli.errors import BundleError, ConfigError, DataError, DetectionError, MediaError
from gfla_cli.landmarks.framing import Frame
from gfla_cli.losses.vgg import load_vgg19
from gfla_cli.media.ffmpeg import executable
from gfla_cli.media.image import read_image
from gfla_cli.media.inside import inside, leads_out
from gfla_cli.media.npz import read_npz
from gfla_cli.media.video import probe
from gfla_cli.networks.build import build
from gfla_cli.rendering.glb import read_glb
from gfla_cli.rendering.object_folder import ObjectFolder
from gfla_cli.runtime.onnx_session import open_exported

TINY = replace(preset("pose-people"), width=8, flow_width=8)
_SPOKEN = re.compile(r"\b(load|loads|Unpickler|eval|exec|system|run|Popen)\(")
OUTSIDE = [
    "../x.png",
    "/etc/passwd",
    "a/../../x.png",
    "..",
    "C:\\x.png",
    "C:x.png",
    "\\\\host\\x.png",
    "..\\x.png",
    "a\0b",
]


def png(width, height, rows=b""):
    """A PNG whose header says what one likes; `rows` are its pixels, before they are compressed."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.fixture
def little_memory():
    """Fails the test when it ever held more than 200 MB more than before; numpy reports its arrays."""
    tracemalloc.start()
    yield
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 200e6


@pytest.fixture(scope="module")
def calls():
    """A function from a name to every call in the package of something so called: file and keywords."""
    found = defaultdict(list)
    for path in (ROOT / "gfla_cli").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if _SPOKEN.search(text) else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                found[ast.unparse(node.func)].append((path.name, keywords))
    return lambda name: found.get(name, [])


def test_pickles_are_read_as_tensors_only_and_in_two_places_only(calls):
    found = list(calls("torch.load"))
    assert {file for file, _ in found} == {"pth.py", "checkpoint.py"}  # strangers' and our own
    assert all(keywords["weights_only"] == "True" for _, keywords in found)
    assert all(keywords["allow_pickle"] == "False" for _, keywords in calls("np.load"))
    for name in ("pickle.load", "pickle.loads", "pickle.Unpickler", "eval", "exec", "os.system", "yaml.load"):
        assert not list(calls(name)), name


def test_programs_are_started_with_lists_and_never_by_a_shell(calls):
    for name in ("subprocess.run", "subprocess.Popen"):
        for file, keywords in calls(name):
            assert file in ("ffmpeg.py", "doctor.py")
            assert "shell" not in keywords


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_out_of_a_folder_are_known(tmp_path, name):
    assert leads_out(name)
    with pytest.raises(DataError, match="leads out"):
        inside(tmp_path, name)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_link_is_followed_before_a_name_is_believed(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "secret.png").touch()
    (tmp_path / "photos" / "a.png").touch()
    (tmp_path / "photos" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "photos" / "round.png").symlink_to("round.png")
    assert inside(tmp_path / "photos", "a.png") == tmp_path / "photos" / "a.png"
    with pytest.raises(DataError, match="leads out"):
        inside(tmp_path / "photos", "link.png")
    assert not inside(tmp_path / "photos", "round.png").exists()


@pytest.mark.usefixtures("little_memory")
def test_a_picture_of_60_000_pixels_a_side_is_refused_by_its_header(tmp_path):
    (tmp_path / "large.png").write_bytes(png(60_000, 60_000))
    with pytest.raises(MediaError, match="60000x60000 is 3600 megapixels"):
        read_image(tmp_path / "large.png")


@pytest.mark.parametrize(
    "damage",
    [
        {"width": 10**9}, {"width": 32.5}, {"width": True}, {"width": "64"}, {"max_width": float("inf")},
        {"source_norm": "no"}, {"frame_aspect": float("nan")}, {"heatmap_sigma": float("inf")},
        {"image_size": [float("inf"), 256]}, {"image_size": [256.0, 256]}, {"image_size": [256, 256, 256]},
        {"levels": [{"stride": 8, "patch": 3.0}]}, {"levels": [{"stride": 8, "patch": 10**9 + 1}]},
        {"levels": [[8, 3]]},
        {"task": ["pose"]}, {"sampler": {}}, {"view_width": 0.5}, {"structure_channels": 1e400},
    ],
)  # fmt: skip
def test_a_config_that_asks_for_what_cannot_be_is_refused(damage):
    content = json.loads(json.dumps({**preset("pose-fashion").to_json(), **damage}))
    with pytest.raises(ConfigError):
        ModelConfig.from_json(content)
    for nonsense in ([content], "pose", None, 5):
        with pytest.raises(ConfigError):
            ModelConfig.from_json(nonsense)


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "tiny"
    save_bundle(folder, TINY, build(TINY).state_dict(), license="MIT")
    content = json.loads((folder / "config.json").read_text())
    del content["sha256"]
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def claiming(shape, stop):
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, stop]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * 64


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    "content",
    [claiming([10**12], 4 * 10**12), claiming([16], 10**13), claiming([2**62, 4], 64), struct.pack("<Q", 2**62) + b"{}",
     claiming([-1, -16], 64), claiming([16], 64)],
    ids=["terabytes", "beyond the end", "overflow", "a header of exabytes", "negative", "another tensor"],
)  # fmt: skip
def test_safetensors_are_as_large_as_they_are_not_as_they_say(bundle, content):
    (bundle / "model.safetensors").write_bytes(content)
    with pytest.raises(BundleError):
        load_bundle(bundle)


def test_a_bundle_s_files_have_a_largest_size(bundle, monkeypatch):
    monkeypatch.setitem(bundle_files.LARGEST, "model.safetensors", 1000)
    with pytest.raises(BundleError, match="too much"):
        load_bundle(bundle)


def test_a_config_of_nested_lists_is_refused(bundle):
    (bundle / "config.json").write_text("[" * 100_000)
    with pytest.raises(BundleError, match="not readable"):
        load_bundle(bundle)


def bomb(path, name, megabytes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(megabytes << 20))


@pytest.mark.usefixtures("little_memory")
def test_archives_that_unpack_to_more_than_they_are_are_refused(tmp_path, monkeypatch):
    bomb(tmp_path / "g.pth", "archive/data/0", 50)
    with pytest.raises(BundleError, match="unpacks to 52 MB"):
        read_tensors(tmp_path / "g.pth")
    monkeypatch.setattr("gfla_cli.media.npz._LARGEST", 10 << 20)
    bomb(tmp_path / "a.npz", "a.npy", 50)
    with pytest.raises(ValueError, match="GB of arrays"):
        read_npz(tmp_path / "a.npz")


class Surprise:
    """Pickles to a call; loading it as code would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_no_reader_runs_what_a_pickle_asks_for(tmp_path):
    surprise = Surprise(tmp_path / "ran")
    torch.save({"a": surprise}, tmp_path / "evil.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"a": surprise}))
    np.savez(tmp_path / "evil.npz", a=np.array([surprise], object))
    for name in ("evil.pth", "plain.pth", "evil.npz"):
        with pytest.raises(BundleError):
            load_vgg19(tmp_path / name)
    for name in ("evil.pth", "plain.pth"):
        with pytest.raises(BundleError):
            import_checkpoint(tmp_path / name, "pose-market", tmp_path / "out")
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("little_memory")
def test_an_array_is_no_larger_than_its_archive(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**7)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("features.0.weight.npy", header.getvalue() + b"\0" * 100)
    with pytest.raises(BundleError, match="not readable as a VGG19"):
        load_vgg19(tmp_path / "a.npz")


@pytest.mark.parametrize("tensor", [torch.zeros(1).expand(10**9, 10**9), torch.zeros(3, 3).to_sparse()])
def test_tensors_that_are_more_than_their_numbers_are_not_copied(tmp_path, tensor):
    torch.save({"features.0.weight": tensor, "features.0.bias": torch.zeros(64)}, tmp_path / "vgg.pth")
    with pytest.raises(BundleError):
        load_vgg19(tmp_path / "vgg.pth")
    torch.save({"source.block0.model.2.weight": tensor}, tmp_path / "g.pth")
    with pytest.raises(BundleError):
        import_checkpoint(tmp_path / "g.pth", "pose-market", tmp_path / "out")


@pytest.fixture
def pose_set(tmp_path):
    row = f"a.png: {list(range(18))}: {list(range(18))}"
    (tmp_path / "fasion-annotation-test.csv").write_text(f"name:keypoints_y:keypoints_x\n{row}\n")
    (tmp_path / "fasion-pairs-test.csv").write_text("from,to\na.png,a.png\n")
    (tmp_path / "test").mkdir()
    return tmp_path


def test_a_set_does_not_name_pictures_elsewhere(pose_set):
    (pose_set / "secret.png").write_bytes(png(64, 64, bytes(64 * 193)))
    for table in ("annotation", "pairs"):
        path = pose_set / f"fasion-{table}-test.csv"
        path.write_text(path.read_text().replace("a.png", "../secret.png"))
    with pytest.raises(DataError, match="leads out"):
        BenchmarkPairs(pose_set, "test", SQUARE, (64, 64))
    assert any("leads out" in finding.what for finding in check_set(pose_set, SQUARE))


@pytest.mark.parametrize(
    "column",
    ["[1e400" + ", 1" * 17 + "]", "[NaN" + ", 1" * 17 + "]", "[1e300" + ", 1" * 17 + "]", "[" * 50_000,
     f"[{10**400}" + ", 1" * 17 + "]", "[" + "9" * 5000 + "]", "[[1]" + ", 1" * 17 + "]", "{}", "x" * 200_000],
    ids=["infinite", "NaN", "huge", "nested", "a huge whole number", "thousands of digits", "ragged", "object", "long"],
)  # fmt: skip
def test_coordinates_that_are_none_are_named_with_their_line(pose_set, column):
    table = f"name:keypoints_y:keypoints_x\na.png: {column}: {list(range(18))}\n"
    (pose_set / "fasion-annotation-test.csv").write_text(table)
    with pytest.raises(DataError, match=r"fasion-annotation-test\.csv"):
        BenchmarkPairs(pose_set, "test", SQUARE, (64, 64))
    assert any(finding.broken for finding in check_set(pose_set, SQUARE))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"from,to\n\xe4.png,b.png\n", b"from,to\na\0b,c\n\0,\0\n"])
def test_tables_that_are_no_text_are_refused(pose_set, content):
    (pose_set / "fasion-pairs-test.csv").write_bytes(content)
    with pytest.raises(DataError):
        BenchmarkPairs(pose_set, "test", SQUARE, (64, 64))
    check_set(pose_set, SQUARE)


def test_what_is_known_about_photos_names_none_elsewhere(tmp_path):
    entry = {"photo": "a/b.jpg", "stamp": [1, 2], "digest": "", "name": "../../b.jpg"}
    (tmp_path / "found.jsonl").write_text(json.dumps(entry) + "\n")
    with pytest.raises(DataError, match="line 1"):
        FoundFile(tmp_path / "found.jsonl").read()


@pytest.mark.parametrize(
    "rows", ["1e400,1\n" * 68, "nan,1\n" * 68, "1,1\n" * 67, "1,1\n" * 60_000, "1,1,1\n" * 68, "\x00"]
)
def test_landmarks_that_are_none_are_refused(tmp_path, rows):
    (tmp_path / "a.txt").write_text(rows)
    with pytest.raises(DataError, match=r"a\.txt"):
        read_landmarks(tmp_path / "a.txt")


def linked_elsewhere(file, other):
    del file["a_0_1"]["image"]
    file["a_0_1"]["image"] = h5py.ExternalLink(str(other), "image")


def linked_group(file, other):
    del file["a_0_1"]
    file["a_0_1"] = h5py.ExternalLink(str(other), "/")


def stored_elsewhere(file, other):
    del file["a_0_1"]["image"]
    file["a_0_1"].create_dataset("image", (8, 8, 3), np.uint8, external=[(str(other), 0, 192)])


def virtual(file, other):
    del file["a_0_1"]["image"]
    layout = h5py.VirtualLayout((8, 8, 3), np.uint8)
    layout[:] = h5py.VirtualSource(str(other), "image", (8, 8, 3))
    file["a_0_1"].create_virtual_dataset("image", layout)


def huge(file, other):
    del file["a_0_1"]["image"]
    file["a_0_1"].create_dataset("image", (10**6, 10**6, 3), np.uint8, chunks=(64, 64, 3))


def not_a_set(file, other):
    del file["a_0_1"]["image"]
    file["a_0_1"].create_group("image")


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("harm", [linked_elsewhere, linked_group, stored_elsewhere, virtual, huge, not_a_set])
def test_an_hdf5_file_keeps_to_itself_and_to_the_size_of_pictures(tmp_path, harm):
    with h5py.File(tmp_path / "secret.hdf5", "w") as file:
        file["image"], file["pose"] = np.zeros((8, 8, 3), np.uint8), [0, 10]
    with h5py.File(tmp_path / "data_chair.hdf5", "w") as file:
        for azimuth in (0, 2):
            group = file.create_group(f"a_{azimuth}_1")
            group["image"], group["pose"] = np.zeros((8, 8, 3), np.uint8), [azimuth, 10]
    (tmp_path / "id_chair_test.txt").write_text("a\n")
    ShapeNetPairs(tmp_path / "data_chair.hdf5", "test", (8, 8))
    with h5py.File(tmp_path / "data_chair.hdf5", "a") as file:
        harm(file, tmp_path / "secret.hdf5")
    with pytest.raises(DataError, match="a_0_1"):
        ShapeNetPairs(tmp_path / "data_chair.hdf5", "test", (8, 8))


def glb(path, **changes):
    path.write_bytes(glb_bytes(**changes))


TWICE = [{"children": [i + 1, i + 1]} for i in range(40)] + [{"mesh": 0}]
TEXTURED = {
    "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "material": 0}]}],
    "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
    "textures": [{"source": 0}],
    "images": [{"bufferView": 2, "mimeType": "image/png"}],
}


@pytest.mark.parametrize(
    "changes",
    [
        {"nodes": TWICE},
        {"nodes": [{"children": [0]}]},
        {"accessors": [{"bufferView": 0, "componentType": 5126, "count": 10**12, "type": "VEC3"}] * 2},
        {"accessors": [{"bufferView": 0, "componentType": 5126, "count": 1.5, "type": "VEC3"}] * 2},
        {"accessors": [{"bufferView": 0, "byteOffset": -8, "componentType": 5126, "count": 3, "type": "VEC3"}] * 2},
        {"bufferViews": [{"buffer": 0, "byteLength": -1}] * 3},
        {"buffers": [{"uri": "file:///etc/passwd", "byteLength": 40}]},
        {"nodes": [{"mesh": 0, "scale": [1e400, 1, 1]}]},
        {"nodes": {"0": 1}},
        {"scenes": "none"},
        {"binary": png(60_000, 60_000), **TEXTURED},
        {**TEXTURED, "images": [{"uri": "../../secret.png"}]},
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_object_that_is_a_trap_is_refused(tmp_path, changes):
    glb(tmp_path / "good.glb")
    assert len(read_glb(tmp_path / "good.glb")) == 1
    glb(tmp_path / "bad.glb", **changes)
    with pytest.raises(DataError, match=r"bad\.glb"):
        read_glb(tmp_path / "bad.glb")


def test_an_index_below_zero_is_refused(tmp_path):
    glb(tmp_path / "a.glb")
    content = (tmp_path / "a.glb").read_bytes()
    (tmp_path / "a.glb").write_bytes(content.replace(struct.pack("<bbb", 0, 1, 2) + b"\0", b"\xff\x01\x02\0"))
    with pytest.raises(DataError, match="beyond the vertices"):
        read_glb(tmp_path / "a.glb")


@pytest.mark.parametrize("facing", ['{"a": NaN}', '{"a": 1e400}', '{"a": [1]}', "[1]", "[" * 100_000, '{"a": "x"}'])
def test_angles_that_are_none_are_refused(tmp_path, facing):
    glb(tmp_path / "a.glb")
    (tmp_path / "facing.json").write_text(facing)
    with pytest.raises(DataError, match=r"facing\.json"):
        ObjectFolder(tmp_path)


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
    onnx.helper.set_model_props(model, {"gfla": json.dumps({"model": TINY.to_json()})})
    folder = tmp_path / "model"
    folder.mkdir()
    for path in (tmp_path / "secret.bin", folder / "beside.bin"):
        path.write_bytes(bytes(32))
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="other files"):
        open_exported(folder / "m.onnx")


def test_a_video_whose_frames_say_they_are_huge_is_refused(tmp_path):
    film = tmp_path / "film.avi"
    made = ["-f", "lavfi", "-i", "testsrc=size=64x64:rate=5:duration=1", "-c:v", "mjpeg", "-threads", "1", str(film)]
    subprocess.run([executable(), "-v", "error", *made], check=True)
    content = film.read_bytes()
    film.write_bytes(re.sub(rb"(?<=\xff\xc0\x00\x11\x08)....", b"\xea\x60\xea\x60", content, flags=re.DOTALL))
    with pytest.raises(MediaError, match="60000x60000"):
        probe(film)


@pytest.mark.parametrize("box", [(0, 0, 0, 0), (0, 0, 1e6, 1e6), (5, 5, 2, 2), (0, 0, float("nan"), 9)])
def test_a_frame_that_is_nothing_or_too_much_is_refused(box):
    with pytest.raises(DetectionError, match="ask for a frame"):
        Frame(box, (256, 256))


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
def test_a_hostile_name_cannot_steer_the_terminal(tmp_path):
    name = tmp_path / "a\x1b]0;owned\x07\x1b[2Jb.json"
    name.write_text("{}")
    result = CliRunner().invoke(
        app, ["animate", str(ROOT / "assets" / "anna.jpg"), str(name), "-o", str(tmp_path / "o.mp4")]
    )
    assert result.exit_code != 0
    assert not set("\x1b\x07") & set(result.stderr)
    assert Path(name).is_file()


def test_a_card_is_shown_whatever_the_terminal_can_show(bundle):
    (bundle / "README.md").write_text("6 px, 点\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "gfla_cli", "models", "show", str(bundle)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "6 px, ?" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
def test_a_path_that_is_no_text_comes_out_as_it_is(bundle, tmp_path):
    name = os.fsdecode(b"out-\xff")
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "gfla_cli", "models", "show", str(bundle.rename(tmp_path / name))]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"out-")
