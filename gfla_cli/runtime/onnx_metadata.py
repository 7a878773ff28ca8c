"""What an ONNX file says about itself, read without ONNX Runtime, which takes its time to start.

A file is one protobuf message, ModelProto; of its fields only the pairs of strings in `metadata_props` are looked at,
the graph is stepped over. Field numbers are those of onnx.proto, wire types those of protobuf's encoding.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

_METADATA_PROPS, _KEY, _VALUE = 14, 1, 2
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT = 10  # bytes


def read_metadata(path: Path) -> dict[str, str]:
    """The pairs of `metadata_props` of a file; raises ValueError when it is no message, or they are no text."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        pairs = [
            dict(_fields(content, begin, end))
            for number, (begin, end) in _fields(content, 0, len(content))
            if number == _METADATA_PROPS
        ]
        return {_text(content, pair.get(_KEY)): _text(content, pair.get(_VALUE)) for pair in pairs}


def _text(content: mmap.mmap, place: tuple[int, int] | None) -> str:
    return "" if place is None else content[slice(*place)].decode("utf-8")


def _fields(content: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Number, begin and end of every field of the message that lies between two places."""
    while at < end:
        key, at = _varint(content, at, end)
        wire_type = key & 7
        if wire_type == _LENGTH:
            length, at = _varint(content, at, end)
            after = at + length
        elif wire_type == _VARINT:
            _, after = _varint(content, at, end)
        elif wire_type in (_EIGHT_BYTES, _FOUR_BYTES):
            after = at + (8 if wire_type == _EIGHT_BYTES else 4)
        else:
            raise ValueError(f"wire type {wire_type} at byte {at}")
        if after > end:
            raise ValueError(f"a field at byte {at} is cut off")
        yield key >> 3, (at, after)
        at = after


def _varint(content: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """A number in groups of seven bits, lowest first, and the place after it."""
    value = 0
    for count, byte in enumerate(content[at : min(at + _LONGEST_VARINT, end)]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, at + count + 1
    raise ValueError(f"a number at byte {at} does not end")
