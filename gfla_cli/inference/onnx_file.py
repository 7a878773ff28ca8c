"""Exported models: one .onnx file each, which describes itself and may hold several graphs. Imports no torch.

The file's own graph runs for every image, frame or view. What depends on the source image alone is a graph of its own,
stored with the description in the file's metadata:

    gfla            JSON: name, model (as in a bundle's config.json), precision, licence, sha256 of the weights, ...
    gfla.encode     base64 of an ONNX model: the source image to further inputs of the file's own graph
    gfla.estimate   base64 of an ONNX model: an image to the logits of its view code

The metadata is read without ONNX Runtime, which starts slowly. A file is one protobuf message, ModelProto; only the
string pairs in `metadata_props` are read. Field numbers are those of onnx.proto, wire types those of protobuf.
"""

from __future__ import annotations

import base64
import binascii
import json
import mmap
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gfla_cli.bundles.files import WEIGHTS, architecture_of, check_digest, read_arrays, read_config, shapes_of
from gfla_cli.bundles.shelf import bundle_name, graphs
from gfla_cli.config import DeviceName, ModelConfig, Task
from gfla_cli.errors import BundleError, ConfigError
from gfla_cli.inference.onnx_runtime import CPU, OnnxGraph, providers_for, unreadable
from gfla_cli.inference.runtime import keep_freed_memory
from gfla_cli.inference.session import no_exported_file, no_gpu_after_fork
from gfla_cli.io.background import ProcessLock, never_freed, tell_of_forks

_METADATA_PROPS, _KEY, _VALUE = 14, 1, 2
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT = 10  # bytes
DESCRIPTION = "gfla"
_LONGEST_NAME = 80  # characters
WEIGHT_PREFIX = "network."  # of a weight's name in a graph
Part = Literal["encode", "estimate"]
# The networks' inputs, in order.
INPUTS: dict[Task, tuple[str, ...]] = {
    "pose": ("source_image", "source_structure", "target_structure"),
    "face": ("target_structure", "previous_image", "previous_structure", "reference_image", "reference_structure"),
    "view": ("source_image", "source_code", "target_code"),
}
INPUTS["body"] = INPUTS["face"]
# The input of the part "encode".
SOURCE: dict[Task, str] = {
    "pose": "source_image",
    "face": "reference_image",
    "body": "reference_image",
    "view": "source_image",
}


def read_metadata(path: Path) -> dict[str, str]:
    """The `metadata_props` of a file. Raises ValueError when it is no protobuf message, or they are not UTF-8."""
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
    """Number, begin and end of every field of the message in the bytes from `at` to `end`."""
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
    """A number in groups of seven bits, lowest first, and the position after it."""
    value = 0
    for count, byte in enumerate(content[at : min(at + _LONGEST_VARINT, end)]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, at + count + 1
    raise ValueError(f"a number at byte {at} does not end")


class OnnxFile:
    """An exported model, or a bundle with its graph. Its main graph is loaded at once in the background, its parts on
    first use.

    Threads may share it: ONNX Runtime runs graphs in parallel. A forked child loads its own graphs; on a GPU it cannot.
    """

    def __init__(
        self, path: Path, device: DeviceName = "auto", threads: int | None = None, bundle: Path | None = None
    ) -> None:
        """`bundle`: the folder of the model, if `path` is only its graph.

        Raises BundleError when the file is no model of gfla, UsageError when the device is not available.
        """
        self.path, self._device, self._threads, self._bundle = path, device, threads, bundle
        self._metadata = _metadata(path)
        if bundle is None:
            self.config, self.about = _description(path, self._metadata.pop(DESCRIPTION, None))
        else:
            self.config, self.about = read_config(bundle)
            self.about["name"] = bundle_name(bundle)
            check_digest(bundle / WEIGHTS, self.about.get("sha256"))
        self._on_gpu = providers_for(device) != [CPU]
        if not self._on_gpu:
            keep_freed_memory()
        self._lost_gpu = False
        self._lock = ProcessLock()
        self._starting: Future[OnnxGraph] | None = self._started()
        self.name = _printable(self.about.get("name")) or path.stem
        self.precision = str(self.about.get("precision", "fp32"))
        self._step: OnnxGraph | None = None
        self._parts: dict[Part, OnnxGraph] = {}
        tell_of_forks(self)

    def _started(self) -> Future[OnnxGraph]:
        starter = ThreadPoolExecutor(1)
        starting = starter.submit(self._loaded, self.path, str(self.path), "step")
        # Loading for a GPU silences stderr of the whole process. This is waited for, so that no message of another
        # thread is lost.
        starter.shutdown(wait=self._on_gpu)
        return starting

    def _loaded(self, model: Path | bytes, name: str, graph: str) -> OnnxGraph:
        weights = None
        if self._bundle is not None:
            arrays = read_arrays(self._bundle / WEIGHTS)
            used = _graph_description(self.path, self._metadata.get(DESCRIPTION)).weights.get(graph, ())
            weights = {name: arrays[name.removeprefix(WEIGHT_PREFIX)] for name in used}
        return OnnxGraph(model, name, self._device, self._threads, weights)

    def forked(self) -> None:
        """See `tell_of_forks`. The threads that run the parent's graphs are not in this process."""
        for thing in (self._starting, self._step, *self._parts.values()):
            never_freed(thing)
        self._starting = self._step = None
        self._lost_gpu = self._on_gpu
        if self._parts:
            self._parts, self._metadata = {}, _metadata(self.path)

    @property
    def step(self) -> OnnxGraph:
        """The main graph.

        Raises BundleError when it is damaged or not for the task, UsageError without its device, GflaError in a forked
        process without its GPU.
        """
        with self._lock:
            if self._lost_gpu:
                raise no_gpu_after_fork()
            if self._step is None:
                if self._starting is None:
                    self._starting = self._started()
                self._step = self._checked(self._starting.result())
            return self._step

    def _checked(self, graph: OnnxGraph) -> OnnxGraph:
        graph.name = self.name
        unknown = set(graph.inputs) - set(INPUTS[self.config.task])
        if graph.outputs[:1] != ["image"] or (unknown and not self.has("encode")):
            what = f"{self.path}: its graph is not for the task {self.config.task} of its description"
            raise BundleError(what, hint="export it again")
        return graph

    def has(self, part: Part) -> bool:
        """Whether the file holds that graph."""
        return part in self._parts or part_key(part) in self._metadata

    def part(self, part: Part) -> OnnxGraph:
        """That graph, loaded on first use. Raises BundleError when it is damaged or missing."""
        with self._lock:
            if self._lost_gpu:
                raise no_gpu_after_fork()
            if part not in self._parts:
                try:
                    content = base64.b64decode(self._metadata.pop(part_key(part)), validate=True)
                except (KeyError, binascii.Error, ValueError) as error:
                    raise BundleError(f"{self.path}: its part {part!r} is damaged", hint="export it again") from error
                self._parts[part] = self._loaded(content, f"{self.name}, {part}", part)
            return self._parts[part]


@dataclass(frozen=True, slots=True)
class GraphDescription:
    """What the metadata of a bundle's graph says."""

    architecture: str  # see `bundles.files.architecture_of`
    weights: dict[str, list[str]]  # the weights that each graph takes, by "step" or the part's name


def fitting_graph(bundle: Path) -> Path | None:
    """The graph of a bundle, or one of gfla's own for the same architecture; None when there is none.

    Raises BundleError when the bundle is damaged.
    """
    known = graphs(bundle)
    if not known:
        return None
    architecture = architecture_of(read_config(bundle)[0], shapes_of(bundle / WEIGHTS))
    for path in known:
        try:
            if _graph_description(path, _metadata(path).get(DESCRIPTION)).architecture == architecture:
                return path
        except BundleError:  # a damaged graph is as good as none: the weights are what counts
            continue
    return None


def _graph_description(path: Path, text: str | None) -> GraphDescription:
    try:
        return GraphDescription(**json.loads(text or ""))
    except (ValueError, TypeError) as error:
        raise BundleError(f"{path}: not the graph of a bundle", hint="gfla models graph writes it again") from error


def exported_config(path: Path) -> ModelConfig:
    """The configuration in a file, without loading its graphs. Raises BundleError when it is no model of gfla."""
    return _description(path, _metadata(path).get(DESCRIPTION))[0]


def _metadata(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise no_exported_file(path)
    try:
        return read_metadata(path)
    except UnicodeDecodeError as error:
        raise BundleError(f"{path}: its description is damaged ({error})", hint="export it again") from error
    except (OSError, ValueError) as error:
        raise unreadable(str(path), str(error)) from error


def part_key(part: Part) -> str:
    """The key of a graph in the file's metadata."""
    return f"{DESCRIPTION}.{part}"


def metadata_of(about: dict[str, Any], parts: dict[Part, bytes]) -> dict[str, str]:
    """The metadata of a file with the description `about` and these parts."""
    stored = {part_key(part): base64.b64encode(content).decode("ascii") for part, content in parts.items()}
    return {DESCRIPTION: json.dumps(about), **stored}


def _printable(name: object) -> str:
    """The name without control characters: an untrusted file must not control the terminal."""
    return "".join(letter for letter in str(name or "") if letter.isprintable())[:_LONGEST_NAME]


def _description(path: Path, text: str | None) -> tuple[ModelConfig, dict[str, Any]]:
    if text is None:
        OnnxGraph(path, str(path), "cpu")  # raises a better error when it is no ONNX model at all
        raise BundleError(f"{path}: an ONNX file, but not a model of gfla", hint="make one with gfla export-onnx")
    try:
        about = json.loads(text)
        return ModelConfig.from_json(about.pop("model")), about
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError, ConfigError) as error:
        raise BundleError(f"{path}: its description is damaged ({error})"[:300], hint="export it again") from error
