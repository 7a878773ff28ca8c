"""Networks run by ONNX Runtime. Imports no torch, which saves a second at every start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from gfla_cli.arrays import LAYERS
from gfla_cli.conditioning.view_code import CODE_LENGTH
from gfla_cli.config import DeviceName, Precision
from gfla_cli.errors import UsageError
from gfla_cli.geometry.volume import RayVolume
from gfla_cli.inference.onnx_file import INPUTS, SOURCE, OnnxFile
from gfla_cli.inference.onnx_runtime import Tensors
from gfla_cli.inference.session import Array, Session
from gfla_cli.io.background import ProcessLock

if TYPE_CHECKING:
    from gfla_cli.inference.visualize import Intermediates

_VOLUME = tuple(f"source_flow_{number}" for number in range(3))  # density, clear and camera, as `encode` names them


class OnnxSession:
    """An exported model of any task. See Session."""

    def __init__(self, file: OnnxFile, other: Callable[[], Session] | None = None, reason: str = "") -> None:
        """`other` opens the same model in torch, which can show more of it. `reason`: why ONNX Runtime, for people."""
        self.file, self._reason = file, reason
        self._other, self._in_torch = other, cast("Session | None", None)
        self._lock = ProcessLock()
        self.name, self.config, self.about = file.name, file.config, file.about

    @property
    def place(self) -> str:
        """The provider, the number format unless it is float32, and the reason. See Session."""
        precision = "" if self.file.precision == "fp32" else f", {self.file.precision}"
        reason = f" ({self._reason})" if self._reason else ""
        return f"ONNX Runtime, {self.file.step.place}{precision}{reason}"

    def image_and_layers(self, *inputs: Array) -> tuple[Array, Array]:
        """See Session."""
        made = self._run(inputs)
        return np.asarray(made["image"], np.float32), layers_in(made)

    def image_and_intermediates(self, *inputs: Array) -> tuple[Array, Array, Intermediates]:
        """See Session. Graphs do not give them, so torch is loaded. Raises UsageError for an exported file."""
        if self._other is None:
            raise UsageError("an exported model shows no flows", hint="give the bundle that it was exported from")
        with self._lock:
            self._in_torch = self._in_torch or self._other()
        return self._in_torch.image_and_intermediates(*inputs)

    def image(self, *inputs: Array) -> Array:
        """See Session."""
        return np.asarray(self._run(inputs)["image"], np.float32)

    def _run(self, inputs: Sequence[Array]) -> Tensors:
        named = dict(zip(INPUTS[self.config.task], inputs, strict=True))
        return self.file.step.run(named | self.encoded(named[SOURCE[self.config.task]]))

    def encoded(self, source_image: Array) -> Tensors:
        """What depends on the source image alone, by name; empty when the file has no graph for it."""
        if not self.file.has("encode"):
            return {}
        return self.file.part("encode").run({SOURCE[self.config.task]: source_image})

    def step(self, inputs: Tensors, encoded: Tensors) -> Tensors:
        """Images and layers from the network's inputs by name and the result of `encoded`."""
        return self.file.step.run(inputs | encoded)


def layers_in(made: Tensors) -> Array:
    """The layers (B, 10, H, W). Files that were exported before there were layers have the image alone."""
    if "layers" in made:
        return np.asarray(made["layers"], np.float32)
    image = np.asarray(made["image"], np.float32)
    batch, drawn, height, width = image.shape
    rest = np.zeros((batch, sum(LAYERS.values()) - drawn, height, width), np.float32)
    rest[:, -1] = 1  # no matte
    return np.concatenate([image, rest], axis=1)


class OnnxSequence(OnnxSession):
    """An exported face or body model. See SequenceSession."""

    def start(self, reference_image: Array, reference_structure: Array) -> OnnxClip:
        """See SequenceSession."""
        return OnnxClip(self, reference_image, reference_structure)


class OnnxClip:
    """A clip that is being generated. The reference is encoded once."""

    def __init__(self, session: OnnxSequence, image: Array, structure: Array) -> None:
        self._session = session
        self._reference: Tensors = {"reference_image": image, "reference_structure": structure}
        self._encoded = session.encoded(image)
        self._previous = image, structure  # of the first frame

    def prepare(self, structure: Array) -> Array:
        """See Clip. The graph of a frame is run as a whole."""
        return structure

    def next(self, structure: Array) -> tuple[Array, Array]:
        """See Clip."""
        previous: Tensors = dict(zip(("previous_image", "previous_structure"), self._previous, strict=True))
        made = self._session.step({"target_structure": structure} | previous | self._reference, self._encoded)
        self._previous = np.asarray(made["image"], np.float32).clip(-1, 1), structure
        return self._previous[0], layers_in(made)


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """Source images and what the network derives from them alone."""

    image: Array  # (B, 3, H, W)
    encoded: Tensors


class OnnxView(OnnxSession):
    """An exported view model. See ViewSession."""

    @property
    def estimates_views(self) -> bool:
        """See ViewSession."""
        return self.file.has("estimate")

    def encode(self, image: Array) -> EncodedImage:
        """See ViewSession."""
        return EncodedImage(image, self.encoded(image))

    def volume(self, source: EncodedImage) -> RayVolume | None:
        """See ViewSession."""
        if self.config.flow_prior != "volume" or not set(_VOLUME) <= set(source.encoded):
            return None
        density, clear, camera = (np.asarray(source.encoded[name][0], np.float32) for name in _VOLUME)
        return RayVolume(density, clear, camera.ravel())

    def with_volume(self, source: EncodedImage, volume: RayVolume) -> EncodedImage:
        """See ViewSession."""
        old = source.encoded
        new = {
            name: part.reshape(old[name].shape).astype(old[name].dtype)
            for name, part in zip(_VOLUME, volume, strict=True)
        }
        return EncodedImage(source.image, old | new)

    def view(self, source: EncodedImage, source_code: Array, target_code: Array) -> tuple[Array, Array]:
        """See ViewSession."""
        codes = (code.reshape(-1, CODE_LENGTH, 1, 1) for code in (source_code, target_code))
        made = self.step(dict(zip(INPUTS["view"], (source.image, *codes), strict=True)), source.encoded)
        return np.asarray(made["image"], np.float32), layers_in(made)

    def view_scores(self, image: Array) -> Array:
        """See ViewSession."""
        return np.asarray(self.file.part("estimate").run({SOURCE["view"]: image})["scores"], np.float32)


def open_exported(
    path: Path, device: DeviceName = "auto", precision: Precision = "auto", threads: int | None = None
) -> OnnxSession:
    """Opens an exported file. Raises BundleError when it is no model of gfla, UsageError for another precision.

    The main graph is loaded in the background. If it is damaged, the first use raises the error.
    """
    file = OnnxFile(path, device, threads)
    if precision not in ("auto", file.precision):
        raise UsageError(
            f"{path} computes in {file.precision}, as it was exported, not in {precision}",
            hint="leave --precision out, or export again; gfla export-onnx --fp16 writes half precision",
        )
    return _KINDS.get(file.config.task, OnnxSession)(file)


def open_graph(
    bundle: Path,
    graph: Path,
    threads: int | None = None,
    other: Callable[[], Session] | None = None,
    *,
    reason: str = "",
) -> OnnxSession:
    """Opens a bundle by a graph that fits it (`fitting_graph`), in float32 on the CPU. For `other` and `reason` see
    OnnxSession.

    Raises BundleError when its weights are damaged. The graph is loaded in the background, as by `open_exported`.
    """
    file = OnnxFile(graph, "cpu", threads, bundle)
    return _KINDS.get(file.config.task, OnnxSession)(file, other, reason)


_KINDS: dict[str, type[OnnxSession]] = {"face": OnnxSequence, "body": OnnxSequence, "view": OnnxView}
