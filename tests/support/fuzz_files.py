"""The whole files that fuzz.py damages, and the readers of the commands that open them."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tiny_glb import glb_bytes

from gfla_cli.bundles.bundle import load_bundle, save_bundle
from gfla_cli.bundles.convert import read_tensors, translate
from gfla_cli.bundles.files import read_card, read_config
from gfla_cli.config import preset
from gfla_cli.datasets.check import check_set
from gfla_cli.datasets.deepfashion import BenchmarkPairs
from gfla_cli.datasets.face_folders import read_landmarks
from gfla_cli.datasets.photos import read_found
from gfla_cli.datasets.tables import SQUARE, read_pairs
from gfla_cli.inference.onnx_backend import open_exported
from gfla_cli.io.ffmpeg import executable
from gfla_cli.io.image import is_animated, read_image
from gfla_cli.io.video import read_frames
from gfla_cli.losses.image import load_vgg19
from gfla_cli.networks.build import build
from gfla_cli.person.body import body_crop
from gfla_cli.person.body_motion import aligned
from gfla_cli.person.keypoint_files import read_poses
from gfla_cli.person.pose import Pose
from gfla_cli.person.track_files import read_track
from gfla_cli.pipelines.pose_jobs import _with_names
from gfla_cli.synth.objects.glb import read_glb
from gfla_cli.synth.objects.objects import ObjectFolder

File = tuple[str, bytes, Callable[[Path], Any]]
_TINY = replace(preset("pose-people"), image_size=(64, 64), flow_reduction=1, heatmap_sigma=2, width=4, max_width=8,
                flow_width=4, flow_max_width=8)  # fmt: skip
_CHANNELS = _TINY.structure_channels
_SIDE, _JOINTS = 48, [[20 + 3 * (k % 5), 5 + 4 * k, 1] for k in range(18)]


def make_files(folder: Path) -> dict[str, list[File]]:
    """Kind -> list of (name, content, reader)."""
    return {
        "picture": [*_pictures()],
        "video": _videos(folder),
        "json": _json_files(folder),
        "csv": _tables(),
        "safetensors": _weights(folder),
        "onnx": [("model.onnx", _onnx_model(), _read_onnx)],
        "pth": _checkpoints(folder),
        "object": [("object.glb", glb_bytes(), read_glb)],
    }


def _drawing(seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 255, (_SIDE, _SIDE, 3), np.uint8)
    return Image.fromarray(noise).resize((_SIDE, _SIDE + 16))


def _pictures() -> list[File]:
    files = []
    drawing, exif = _drawing(), Image.Exif()
    exif[0x0112] = 6
    formats: list[tuple[str, str, Image.Image, dict[str, Any]]] = [
        ("a.png", "PNG", drawing.convert("RGBA"), {}),
        ("palette.png", "PNG", drawing.convert("P"), {"transparency": 3}),
        ("deep.png", "PNG", Image.fromarray(np.full((32, 32), 9000, np.uint16)), {}),
        ("a.jpg", "JPEG", drawing, {"exif": exif.tobytes(), "progressive": True}),
        ("cmyk.jpg", "JPEG", drawing.convert("CMYK"), {}),
        ("a.webp", "WEBP", drawing, {}),
        ("a.gif", "GIF", drawing, {"save_all": True, "append_images": [_drawing(1), _drawing(2)]}),
        ("a.tif", "TIFF", drawing, {"compression": "tiff_lzw"}),
        ("fax.tif", "TIFF", drawing.convert("1"), {"compression": "group4"}),
        ("a.bmp", "BMP", drawing, {}),
        ("a.ppm", "PPM", drawing, {}),
        ("a.jp2", "JPEG2000", drawing, {}),
        ("a.avif", "AVIF", drawing, {}),
    ]
    for name, kind, picture, options in formats:
        Image.init()
        if kind in Image.SAVE:
            encoded = io.BytesIO()
            picture.save(encoded, kind, **options)
            files.append((name, encoded.getvalue(), _read_picture))
    return files


def _read_picture(path: Path) -> None:
    is_animated(path)
    read_image(path, max_side=32)


def _videos(folder: Path) -> list[File]:
    source = ["-f", "lavfi", "-i", "testsrc=size=48x64:rate=10:duration=0.6"]
    sound = ["-f", "lavfi", "-i", "sine=frequency=300:duration=0.6"]
    exact = ["-threads", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact"]
    made = {
        "a.mp4": ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", "-shortest"],
        "a.avi": ["-c:v", "mjpeg", "-an"],
        "a.mkv": ["-c:v", "mpeg4", "-an"],
        "a.gif": ["-c:v", "gif", "-an"],
    }
    files: list[File] = []
    for name, how in made.items():
        path = folder / name
        command = [executable(), "-v", "error", "-y", *source, *sound, *how, *exact, str(path)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        files.append((name, path.read_bytes(), _read_video))
    return files


def _read_video(path: Path) -> None:
    with read_frames(path) as frames:
        for number, _ in enumerate(frames):
            if number == 100:
                break


def _json_files(folder: Path) -> list[File]:
    flat = [float(value) for joint in _JOINTS for value in joint]
    coco = {"images": [{"id": 1, "file_name": "a.jpg", "height": 96, "width": 64}],
            "annotations": [{"image_id": 1, "keypoints": flat[: 17 * 3]}]}  # fmt: skip
    track = {"format": "gfla-track", "version": 1, "kind": "body", "fps": "30000/1001", "size": [96, 64],
             "frames": [_JOINTS, None, _JOINTS]}  # fmt: skip
    found = {"photo": "a/b.jpg", "stamp": [1, 2], "digest": "0", "name": "a--b.jpg", "box": [0, 0, 9, 9],
             "points": [[1, 2]] * 18}  # fmt: skip
    save_bundle(folder / "bundle", _TINY, build(_TINY).state_dict(), license="MIT")
    return [
        ("own.json", _dumped({"format": "gfla-pose", "version": 1, "size": [96, 64], "points": _JOINTS}),
         _read_keypoints),
        ("openpose.json", _dumped({"people": [{"pose_keypoints_2d": flat}], "canvas_height": 96, "canvas_width": 64}),
         _read_keypoints),
        ("coco.json", _dumped(coco), _read_keypoints),
        ("track.json", _dumped(track), read_track),
        ("config.json", (folder / "bundle" / "config.json").read_bytes(), _read_description),
        ("found.json", _dumped(found) + b"\n", read_found),
        ("facing.json", _dumped({"object": 90.0, "other": -5}), _read_facing),
    ]  # fmt: skip


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def _read_keypoints(path: Path) -> None:
    """Reads a pose as pose-transfer does: retargets it, finds its crop, and cuts the image."""
    size = (96, 64)
    source = Pose(np.array(_JOINTS, np.float32), size)
    for pose in read_poses(path, frame=size, notes=[]):
        target = aligned(pose, source)
        crop = body_crop([source, target], (64, 64), 1.0)
        target.cropped(crop)
        crop.image(np.zeros((*size, 3), np.uint8))


def _read_description(path: Path) -> None:
    config, _ = read_config(path.parent)
    read_card(path.parent)
    with torch.device("meta"):
        build(config)


def _read_facing(path: Path) -> None:
    (path.parent / "object.glb").write_bytes(glb_bytes())
    try:
        ObjectFolder(path.parent)
    finally:
        (path.parent / "object.glb").unlink()


def _tables() -> list[File]:
    y, x = [joint[1] for joint in _JOINTS], [joint[0] for joint in _JOINTS]
    rows = "".join(f"{name}.png: {y}: {x}\n" for name in "abc")
    annotation = f"name:keypoints_y:keypoints_x\n{rows}".encode()
    landmarks = "".join(f"{10 + k % 9}.25,{20 + k}.5\n" for k in range(68)).encode()
    return [
        ("poses.csv", annotation, _read_keypoints),
        ("fasion-annotation-test.csv", annotation, _read_set),
        ("fasion-pairs-test.csv", b"from,to\na.png,b.png\nb.png,c.png\n", _read_set),
        ("pairs.csv", b"from,to\na.png,b.png\nsub/b.png,c.png\n", lambda path: _with_names(read_pairs(path))),
        ("00000.txt", landmarks, read_landmarks),
    ]


def _read_set(path: Path) -> None:
    """Reads a pose set whose other table is whole."""
    whole = {name: content for name, content, _ in _tables() if name.startswith("fasion") and name != path.name}
    try:
        (path.parent / "test").mkdir()
        for name, content in whole.items():
            (path.parent / name).write_bytes(content)
        for finding in check_set(path.parent, SQUARE):
            str(finding)
        BenchmarkPairs(path.parent, "test", SQUARE, (64, 64))
    finally:
        for name in whole:
            (path.parent / name).unlink(missing_ok=True)
        (path.parent / "test").rmdir()


def _weights(folder: Path) -> list[File]:
    content = (folder / "bundle" / "model.safetensors").read_bytes()
    description = json.loads((folder / "bundle" / "config.json").read_bytes())
    del description["sha256"]

    def read(path: Path) -> None:
        (path.parent / "config.json").write_bytes(_dumped(description))
        try:
            network = load_bundle(path.parent).network
            with torch.inference_mode():
                network(torch.zeros(1, 3, 64, 64), *torch.zeros(2, 1, _CHANNELS, 64, 64))
        finally:
            (path.parent / "config.json").unlink()

    return [("model.safetensors", content, read), ("vgg.safetensors", content, load_vgg19)]


def _onnx_model() -> bytes:
    """The smallest model with our inputs: one convolution over all of them."""
    from onnx import TensorProto, helper

    channels = {"source_image": 3, "source_structure": _CHANNELS, "target_structure": _CHANNELS}
    value = helper.make_tensor_value_info
    inputs = [value(name, TensorProto.FLOAT, ["b", count, "h", "w"]) for name, count in channels.items()]
    kernel = helper.make_tensor("kernel", TensorProto.FLOAT, [3, 39, 1, 1], [0.01] * (3 * 39))
    nodes = [
        helper.make_node("Concat", list(channels), ["all"], axis=1),
        helper.make_node("Conv", ["all", "kernel"], ["mixed"]),
        helper.make_node("Tanh", ["mixed"], ["image"]),
    ]
    output = value("image", TensorProto.FLOAT, ["b", 3, "h", "w"])
    graph = helper.make_graph(nodes, "tiny", inputs, [output], [kernel])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {"gfla": json.dumps({"name": "tiny", "model": _TINY.to_json()})})
    return bytes(model.SerializeToString())


def _read_onnx(path: Path) -> None:
    open_exported(path, "cpu", threads=1).image(
        *(np.zeros((1, c, 32, 32), np.float32) for c in (3, _CHANNELS, _CHANNELS))
    )


def _checkpoints(folder: Path) -> list[File]:
    config = preset("pose-market")
    state = {"source.block0.model.0.weight": torch.ones(3), "source.block0.model.0.bias": torch.zeros(3)}
    files: list[File] = []
    for name, archive in (("latest_net_G.pth", True), ("legacy.pth", False)):
        torch.save(state, folder / name, _use_new_zipfile_serialization=archive)

        def read(path: Path) -> None:
            translate(read_tensors(path), config)

        files.append((name, (folder / name).read_bytes(), read))
    np.savez_compressed(folder / "vgg.npz", **{"features.0.weight": np.ones((64, 3, 3, 3), np.float32),
                                               "features.0.bias": np.ones(64, np.float32)})  # fmt: skip
    return [*files, ("vgg.npz", (folder / "vgg.npz").read_bytes(), load_vgg19)]
