"""Minimal GLB files for tests, also damaged ones."""

from __future__ import annotations

import json
import struct

import numpy as np


def glb_bytes(binary=b"", **changes):
    """A GLB file with one triangle. changes: replace entries of its JSON; binary: the bytes of a third buffer view."""
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
    """A GLB file with this JSON content and these bytes."""
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 4)
    buffer += b"\0" * (-len(buffer) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(buffer), b"BIN\0") + buffer
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
