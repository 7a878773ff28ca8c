"""A bundle's network as an ONNX file: standard operators only, any batch and frame size, checked after writing.

The file's metadata holds the model's description under `gfla`, so that it is a model by itself.
"""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from gfla_cli.bundles.bundle import Bundle, load_bundle
from gfla_cli.errors import GflaError, MissingExtraError, UsageError
from gfla_cli.media.atomic import atomic_path
from gfla_cli.runtime.onnx_session import METADATA_KEY, OnnxSession

if TYPE_CHECKING:
    import onnx

# GridSample stays on the GPU with ONNX Runtimes back to 1.18 at this opset; later ones renamed its mode.
OPSET = 18
_TOLERANCE = {"fp32": 2e-4, "fp16": 3e-2}  # largest difference from torch, of values in [-1, 1]
_INPUTS = ("source_image", "source_structure", "target_structure")


@dataclass(frozen=True, slots=True)
class SizeCheck:
    """ONNX Runtime against torch at one input size, on fresh inputs."""

    batch: int
    height: int
    width: int
    largest_difference: float  # of image values in [-1, 1]


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written and how well it agrees."""

    path: Path
    megabytes: float
    precision: str
    checks: list[SizeCheck]


class _ImageOnly(nn.Module):
    """The generator without the flows, which an exported model does not give; inputs and output are float32."""

    def __init__(self, network: nn.Module, *, half: bool) -> None:
        super().__init__()
        self.network = _half_precision(network) if half else network
        self.dtype = torch.float16 if half else torch.float32

    def forward(self, source_image: Tensor, source_structure: Tensor, target_structure: Tensor) -> Tensor:
        """(B, 3, H, W)."""
        inputs = (x.to(self.dtype) for x in (source_image, source_structure, target_structure))
        image: Tensor = self.network(*inputs).image
        return image


def _half_precision(network: nn.Module) -> nn.Module:
    """A copy in float16 but for the heads that predict positions, which need more digits."""
    network = copy.deepcopy(network).half()
    for name, module in network.named_modules():
        if name.endswith(("offset_head", "mask_head")):
            module.float()
    return network


def export_onnx(model: str | Path, output: Path, *, half: bool = False, overwrite: bool = False) -> ExportReport:
    """Writes the file, runs it at three sizes and compares; what does not agree is not left behind.

    Raises GflaError when ONNX Runtime's result differs, MissingExtraError without the export packages, UsageError
    and MediaError when the output cannot be written.
    """
    if output.suffix.lower() != ".onnx":
        raise UsageError(f"{output}: an exported model is an .onnx file", hint="end the name of --output in .onnx")
    bundle = load_bundle(model)
    if bundle.config.task != "pose":
        raise UsageError(f"{bundle.name}: models for {bundle.config.task} cannot be exported yet")
    precision = "fp16" if half else "fp32"
    with atomic_path(output, overwrite=overwrite) as temporary:
        _save(_to_onnx(bundle, half=half), bundle, temporary)
        checks = _compare(bundle, temporary)
        worst = max(check.largest_difference for check in checks)
        if not worst <= _TOLERANCE[precision]:
            raise GflaError(
                f"the exported model differs from torch by {worst:.2g}, more than {_TOLERANCE[precision]:.0e}",
                hint="nothing was written" + ("; export without --fp16" if half else "; please report this model"),
            )
        megabytes = temporary.stat().st_size / 1e6
    return ExportReport(output, megabytes, precision, checks)


def _to_onnx(bundle: Bundle, *, half: bool) -> onnx.ModelProto:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("exporting to ONNX needs onnx and onnxscript", "export") from error
    height, width = bundle.config.image_size
    channels = bundle.config.structure_channels
    # Traced at a size of its own and a batch of two: a size of one is special to the tracer.
    example = tuple(torch.zeros(2, c, height, width) for c in (3, channels, channels))
    free = torch.export.Dim.DYNAMIC
    with _silent_exporter():
        program = torch.onnx.export(
            _ImageOnly(bundle.network, half=half),
            example,
            dynamo=True,
            dynamic_shapes=tuple({0: free, 2: free, 3: free} for _ in example),
            opset_version=OPSET,
            input_names=list(_INPUTS),
            output_names=["image"],
            verbose=False,
        )
    assert program is not None
    return program.model_proto


@contextmanager
def _silent_exporter() -> Iterator[None]:
    """torch's exporter talks about packages we do not need and about its own deprecations."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _save(proto: onnx.ModelProto, bundle: Bundle, path: Path) -> None:
    import onnx

    about = {"name": bundle.name, "model": bundle.config.to_json(), **bundle.about}
    onnx.helper.set_model_props(proto, {METADATA_KEY: json.dumps(about)})
    onnx.save(proto, path)


def _compare(bundle: Bundle, path: Path) -> list[SizeCheck]:
    """Runs both at the model's own size, at a batch and at another size; a size baked in shows here."""
    height, width = bundle.config.image_size
    session = OnnxSession(path)
    checks = []
    for batch, h, w in ((1, height, width), (2, height, width), (1, height + 32, width)):
        rng = np.random.default_rng(h + batch)
        image = rng.uniform(-1, 1, (batch, 3, h, w)).astype(np.float32)
        structures = [rng.random((batch, bundle.config.structure_channels, h, w), np.float32) for _ in range(2)]
        with torch.inference_mode():
            expected = bundle.network(*(torch.from_numpy(x) for x in (image, *structures))).image.numpy()
        difference = float(np.abs(session.image(image, *structures) - expected).max())
        checks.append(SizeCheck(batch, h, w, difference))
    return checks
