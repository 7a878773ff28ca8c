"""Reads GLB files (binary glTF 2.0): triangles, base colours and embedded textures; everything else is ignored.

In glTF the front is +z, and v counts from the top of a texture; here v counts from the bottom.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gfla_cli.arrays import ByteArray, Float64Array
from gfla_cli.errors import DataError
from gfla_cli.synth.objects.finishes import Finish
from gfla_cli.synth.objects.shapes import Shape, face_normals, unit
from gfla_cli.synth.renderer.rasterizer import MATT, Material, mip_chain, plain

_MAX_BYTES = 64 << 20  # of a file
_MAX_NODES, _MAX_CORNERS = 10_000, 30_000_000  # limits, as a small file may repeat the same mesh many times
_MAX_PIXELS = 64 << 20  # of a texture
_TEXTURE_SIDE = 256
_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_COUNTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_TRIANGLES = 4
_HINT = "export it again as .glb: triangles, textures inside the file, no compression"


@dataclass(frozen=True, slots=True, eq=False)
class GlbPart:
    """One primitive of a file, placed in the scene."""

    shape: Shape
    finish: Finish
    textured: bool


def read_glb(path: Path) -> list[GlbPart]:
    """The parts of an object, in the units of its file. Raises DataError for files that cannot be drawn."""
    try:
        file = _File(path)
        parts = list(file.parts())
    except DataError:
        raise
    # The JSON is untrusted input: any value may have any type, so any error may occur.
    except Exception as error:
        raise DataError(f"{path}: damaged, or not valid glTF 2.0 ({error})"[:300], hint=_HINT) from error
    if not parts:
        raise DataError(f"{path}: no triangles in it", hint=_HINT)
    return parts


class _File:
    """A parsed file: its JSON, its binary chunk, and the materials in use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.json, self.binary = _chunks(path)
        if self.json.get("extensionsRequired"):
            what = ", ".join(self.json["extensionsRequired"])
            raise DataError(f"{path}: needs glTF extensions that are not supported: {what}", hint=_HINT)
        self._finishes: dict[int | None, tuple[Finish, bool]] = {}
        self._nodes = self._corners = 0  # seen so far

    def parts(self) -> Iterator[GlbPart]:
        """All triangles of the first scene."""
        scene = self.json["scenes"][self.json.get("scene", 0)]
        for root in scene["nodes"]:
            yield from self._node(root, np.eye(4), depth=0)

    def _node(self, index: int, parent: Float64Array, depth: int) -> Iterator[GlbPart]:
        self._nodes += 1
        if depth > 64 or self._nodes > _MAX_NODES:
            raise ValueError("nodes that contain themselves")
        node = self.json["nodes"][index]
        place = parent @ _placement(node)
        if "mesh" in node:
            for primitive in self.json["meshes"][node["mesh"]]["primitives"]:
                if primitive.get("mode", _TRIANGLES) == _TRIANGLES:
                    yield self._primitive(primitive, place)
        for child in node.get("children", []):
            yield from self._node(child, place, depth + 1)

    def _primitive(self, primitive: dict[str, Any], place: Float64Array) -> GlbPart:
        attributes = primitive["attributes"]
        points = self._accessor(attributes["POSITION"]).astype(np.float64)
        index = self._accessor(primitive["indices"]).ravel() if "indices" in primitive else np.arange(len(points))
        self._corners += len(index) + len(points)
        if self._corners > _MAX_CORNERS:
            raise ValueError(f"more than {_MAX_CORNERS // 1_000_000} million corners")
        faces = index.astype(np.int64).reshape(-1, 3)
        if len(faces) and not 0 <= faces.min() <= faces.max() < len(points):
            raise ValueError("an index beyond the vertices")
        points = points @ place[:3, :3].T + place[:3, 3]
        uv = np.zeros((len(points), 2))
        if "TEXCOORD_0" in attributes:
            uv = self._accessor(attributes["TEXCOORD_0"]).astype(np.float64) * [1, -1] + [0, 1]
        finish, textured = self._finish(primitive.get("material"))
        corners = faces.astype(np.int32)
        if "NORMAL" in attributes:
            turn = np.linalg.inv(place[:3, :3])  # normals transform by the inverse transpose; rows transpose it again
            normals = unit(self._accessor(attributes["NORMAL"]).astype(np.float64) @ turn)
        else:  # for flat shading, each triangle has its own corners and normals
            normals = np.repeat(unit(face_normals(points, corners)), 3, axis=0)
            points, corners = points[faces].reshape(-1, 3), np.arange(faces.size, dtype=np.int32).reshape(-1, 3)
        shape = Shape(points, normals, corners, uv[faces].astype(np.float32))
        if not np.isfinite(shape.vertices).all() or not np.isfinite(shape.uv).all():
            raise ValueError("coordinates that are not numbers")
        return GlbPart(shape, finish, textured)

    def _accessor(self, index: int) -> NDArray[Any]:
        """The numbers of an accessor, (count, components)."""
        accessor = self.json["accessors"][index]
        if "sparse" in accessor or "bufferView" not in accessor:
            raise ValueError("sparse accessors are not supported")
        view = self.json["bufferViews"][accessor["bufferView"]]
        kind, columns, count = np.dtype(_TYPES[accessor["componentType"]]), _COUNTS[accessor["type"]], accessor["count"]
        data = self._view(view)[accessor.get("byteOffset", 0) :]
        stride = view.get("byteStride") or kind.itemsize * columns
        if count < 1 or (count - 1) * stride + kind.itemsize * columns > len(data):
            raise ValueError("the file is cut off")
        rows = np.ndarray((count, columns), kind, data, strides=(stride, kind.itemsize))
        return rows / np.iinfo(kind).max if accessor.get("normalized") else rows

    def _view(self, view: dict[str, Any]) -> bytes:
        if "uri" in self.json["buffers"][view["buffer"]]:
            raise ValueError("its data is in another file")
        start = view.get("byteOffset", 0)
        data = self.binary[start : start + view["byteLength"]]
        if start < 0 or not 0 <= view["byteLength"] <= len(data):
            raise ValueError("the file is cut off")
        return data

    def _finish(self, index: int | None) -> tuple[Finish, bool]:
        if index not in self._finishes:
            material = self.json["materials"][index] if index is not None else {}
            surface = material.get("pbrMetallicRoughness", {})
            tint = np.array(surface.get("baseColorFactor", [1, 1, 1, 1])[:3], np.float64).clip(0, 1)
            image = surface.get("baseColorTexture")
            texture = mip_chain(self._texture(image["index"])) if image else plain(255, 255, 255)
            self._finishes[index] = Finish(Material(texture, tint, MATT), 1.0), image is not None
        return self._finishes[index]

    def _texture(self, index: int) -> ByteArray:
        image = self.json["images"][self.json["textures"][index]["source"]]
        if "bufferView" not in image:
            raise ValueError("its texture is in another file")
        data = self._view(self.json["bufferViews"][image["bufferView"]])
        with Image.open(BytesIO(data), formats=["PNG", "JPEG"]) as header:  # all that glTF has
            if header.width * header.height > _MAX_PIXELS:
                raise ValueError(f"a texture of {header.width}x{header.height}")
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            raise ValueError("a texture that cannot be decoded")
        # Many textures are palettes of flat colours. Averaging would mix neighbours, so pixels are picked instead.
        square = cv2.resize(pixels, (_TEXTURE_SIDE, _TEXTURE_SIDE), interpolation=cv2.INTER_NEAREST_EXACT)
        opaque = np.full((_TEXTURE_SIDE, _TEXTURE_SIDE, 4), 255, np.uint8)
        opaque[..., :3] = square[..., ::-1]
        return opaque


def _chunks(path: Path) -> tuple[dict[str, Any], bytes]:
    """The JSON and the binary part of a file."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path}: larger than {_MAX_BYTES >> 20} MB", hint="simplify the object")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})", hint="check its permissions") from error
    if data[:4] != b"glTF":
        raise DataError(f"{path}: not a GLB file", hint=_HINT)
    version, length = struct.unpack_from("<II", data, 4)
    if version != 2 or length > len(data):
        raise DataError(f"{path}: {'cut off' if version == 2 else f'glTF version {version}'}", hint=_HINT)
    found: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= length:
        size, kind = struct.unpack_from("<I4s", data, at)
        found.setdefault(kind, data[at + 8 : at + 8 + size])
        at += 8 + size
    description = json.loads(found[b"JSON"])
    if not isinstance(description, dict):
        raise ValueError("its JSON is not an object")
    return description, found.get(b"BIN\0", b"")


def _placement(node: dict[str, Any]) -> Float64Array:
    """A node's matrix (4,4) relative to its parent."""
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    turn = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    placement = np.eye(4)
    placement[:3, :3] = np.array(turn) * np.array(node.get("scale", (1, 1, 1)), np.float64)
    placement[:3, 3] = node.get("translation", (0, 0, 0))
    return placement
