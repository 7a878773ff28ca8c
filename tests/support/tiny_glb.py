"""The smallest object file, to be changed and damaged."""

from __future__ import annotations

import json
import struct

import numpy as np


def glb_bytes(binary=b"", **changes):
    """One triangle, or what `changes` make of it; `binary` is a third view behind its two."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.5]], "<f4").tobytes()
    index = struct.pack("<bbb", 0, 1, 2) + b"\0"
    buffer = corners + index + binary
    content = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5120, "count": 3, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteLength": 36},
            {"buffer": 0, "byteOffset": 36, "byteLength": 3},
            {"buffer": 0, "byteOffset": 40, "byteLength": len(binary)},
        ],
        "buffers": [{"byteLength": len(buffer)}],
    } | changes
    return packed(content, buffer)


def packed(content, buffer=b""):
    """A file with this description and these bytes."""
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 4)
    buffer += b"\0" * (-len(buffer) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(buffer), b"BIN\0") + buffer
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
