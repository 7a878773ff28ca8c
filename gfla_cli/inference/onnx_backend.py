"""Networks run by ONNX Runtime. Imports no torch: that alone saves a second of every first result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gfla_cli.conditioning.view_code import CODE_LENGTH
from gfla_cli.config import ModelConfig
from gfla_cli.errors import UsageError
from gfla_cli.inference.inside import Inside
from gfla_cli.inference.onnx_file import INPUTS, SOURCE, OnnxFile
from gfla_cli.inference.onnx_graph import Tensors
from gfla_cli.inference.session import Array, DeviceName, Precision


class OnnxSession:
    """An exported model of any task."""

    def __init__(self, file: OnnxFile) -> None:
        self.file = file

    @property
    def name(self) -> str:
        """The model's name."""
        return self.file.name

    @property
    def config(self) -> ModelConfig:
        """What the network is."""
        return self.file.config

    @property
    def about(self) -> dict[str, Any]:
        """What else the model says of itself."""
        return self.file.about

    @property
    def place(self) -> str:
        """The provider in force, and the number format where it is not float32."""
        precision = "" if self.file.precision == "fp32" else f", {self.file.precision}"
        return f"ONNX Runtime, {self.file.step.place}{precision}"

    def image_and_layers(self, *inputs: Array) -> tuple[Array, Array]:
        """See Session. Files that were exported before there were layers have the image alone."""
        named = dict(zip(INPUTS[self.config.task], inputs, strict=True))
        made = self.file.step.run(named | self.encoded(named[SOURCE[self.config.task]]))
        image = np.asarray(made["image"], np.float32)
        if "layers" in made:
            return image, np.asarray(made["layers"], np.float32)
        batch, _, height, width = image.shape
        rest = np.zeros((batch, 7, height, width), np.float32)
        rest[:, -1] = 1  # no matte
        return image, np.concatenate([image, rest], axis=1)

    def image_and_inside(self, *inputs: Array) -> tuple[Array, Inside]:
        """See Session."""
        raise UsageError("an exported model shows no flows", hint="give the bundle that it was made from")

    def image(self, *inputs: Array) -> Array:
        """The generated picture, (B, 3, H, W), from the network's inputs in order."""
        named = dict(zip(INPUTS[self.config.task], inputs, strict=True))
        return self.step(named, self.encoded(named[SOURCE[self.config.task]]))

    def encoded(self, source_image: Array) -> Tensors:
        """All that depends on the source picture alone; empty for models whose only graph does everything."""
        if not self.file.has("encode"):
            return {}
        return self.file.part("encode").run({SOURCE[self.config.task]: source_image})

    def step(self, inputs: Tensors, encoded: Tensors) -> Array:
        """The picture from the network's inputs by name and what `encoded` gave."""
        return np.asarray(self.file.step.run(inputs | encoded)["image"], np.float32)


class OnnxSequence(OnnxSession):
    """An exported face or body model."""

    def start(self, reference_image: Array, reference_structure: Array) -> OnnxClip:
        """See SequenceSession."""
        return OnnxClip(self, reference_image, reference_structure)


class OnnxClip:
    """A clip that is being generated: what depends on the reference alone is computed once."""

    def __init__(self, session: OnnxSequence, image: Array, structure: Array) -> None:
        self._session = session
        self._reference: Tensors = {"reference_image": image, "reference_structure": structure}
        self._encoded = session.encoded(image)
        self._previous = image, structure  # of the first frame

    def next(self, structure: Array) -> Array:
        """See Clip."""
        previous: Tensors = dict(zip(("previous_image", "previous_structure"), self._previous, strict=True))
        made = self._session.step({"target_structure": structure} | previous | self._reference, self._encoded)
        self._previous = np.clip(made, -1, 1), structure
        return self._previous[0]


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """Source pictures and all that the network derives from them alone."""

    image: Array  # (B, 3, H, W)
    encoded: Tensors


class OnnxView(OnnxSession):
    """An exported view model."""

    @property
    def estimates_views(self) -> bool:
        """See ViewSession."""
        return self.file.has("estimate")

    def encode(self, image: Array) -> EncodedPicture:
        """See ViewSession."""
        return EncodedPicture(image, self.encoded(image))

    def view(self, source: EncodedPicture, source_code: Array, target_code: Array) -> Array:
        """See ViewSession."""
        codes = (code.reshape(-1, CODE_LENGTH, 1, 1) for code in (source_code, target_code))
        return self.step(dict(zip(INPUTS["view"], (source.image, *codes), strict=True)), source.encoded)

    def view_scores(self, image: Array) -> Array:
        """See ViewSession."""
        return np.asarray(self.file.part("estimate").run({SOURCE["view"]: image})["scores"], np.float32)


def open_exported(
    path: Path, device: DeviceName = "auto", precision: Precision = "auto", threads: int | None = None
) -> OnnxSession:
    """The model of an exported file; raises BundleError for what is none, UsageError for a precision it has not.

    It starts in the background: that its graph is damaged shows when it is first asked for something.
    """
    file = OnnxFile(path, device, threads)
    if precision not in ("auto", file.precision):
        raise UsageError(
            f"{path} computes in {file.precision}, as it was exported, not in {precision}",
            hint="leave --precision out; gfla export-onnx --fp16 makes a file of half precision",
        )
    kinds: dict[str, type[OnnxSession]] = {"face": OnnxSequence, "body": OnnxSequence, "view": OnnxView}
    return kinds.get(file.config.task, OnnxSession)(file)
