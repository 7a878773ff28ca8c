"""A bundle as an .onnx file: standard operators only, any batch and frame size, checked after writing."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from gfla_cli.bundles.bundle import Bundle, load_bundle
from gfla_cli.errors import GflaError, MissingExtraError
from gfla_cli.media.atomic import atomic_path
from gfla_cli.networks.view import ViewGenerator
from gfla_cli.runtime.export_graphs import Graph, example_inputs, graphs_of
from gfla_cli.runtime.onnx_file import SOURCE, metadata_of
from gfla_cli.runtime.onnx_session import OnnxSession, OnnxView, open_exported
from gfla_cli.runtime.session import refuse_export_name

# GridSample stays on the GPU with ONNX Runtimes back to 1.18 at this opset; later ones renamed its mode.
OPSET = 18
TOLERANCE = {"fp32": 1e-3, "fp16": 3e-2}  # largest difference from torch, of values in [-1, 1]


@dataclass(frozen=True, slots=True)
class SizeCheck:
    """ONNX Runtime against torch at one input size, on fresh inputs."""

    batch: int
    height: int
    width: int
    largest_difference: float  # of image values in [-1, 1], and of view scores as shares of the largest


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written and how well it agrees."""

    path: Path
    task: str
    megabytes: float
    precision: str
    parts: list[str]  # the graphs in the file
    checks: list[SizeCheck]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "path": str(self.path)}


def export_onnx(model: str | Path, output: Path, *, half: bool = False, overwrite: bool = False) -> ExportReport:
    """Writes the file, runs it at three sizes and compares; what does not agree is not left behind.

    Raises GflaError when ONNX Runtime's result differs, MissingExtraError without the export packages, UsageError
    and MediaError when the output cannot be written.
    """
    refuse_export_name(output)
    bundle = load_bundle(model)
    precision = "fp16" if half else "fp32"
    step, parts = graphs_of(bundle, half=half)
    with atomic_path(output, overwrite=overwrite) as temporary:
        contents = {name: to_onnx(graph) for name, graph in parts.items()}
        about = {"name": bundle.name, "model": bundle.config.to_json(), "precision": precision, **bundle.about}
        _save(to_onnx(step), metadata_of(about, contents), temporary)
        checks = _compare(bundle, temporary)
        worst = max(check.largest_difference for check in checks)
        if not worst <= TOLERANCE[precision]:
            raise GflaError(
                f"the exported model differs from torch by {worst:.2g}, more than {TOLERANCE[precision]:.0e}",
                hint="nothing was written" + ("; export without --fp16" if half else "; please report this model"),
            )
        megabytes = temporary.stat().st_size / 1e6
    return ExportReport(output, bundle.config.task, megabytes, precision, ["step", *parts], checks)


def to_onnx(graph: Graph) -> bytes:
    """By tracing: a second, where torch's newer exporter reasons half a minute about sizes that may be anything."""
    if importlib.util.find_spec("onnx") is None:
        raise MissingExtraError("exporting to ONNX needs onnx", "export")
    with TemporaryDirectory() as folder, _silent_exporter(), torch.inference_mode():
        written = Path(folder) / "graph.onnx"
        torch.onnx.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            written,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes={name: _free_axes(name) for name in (*graph.inputs, *graph.outputs)},
        )
        return _simplified(written)


def _simplified(path: Path) -> bytes:
    """Constants folded by ONNX Runtime, and shapes written down: the graph opens in two thirds of the time."""
    import onnx
    import onnxruntime

    # For the CPU it would put casts around everything in float16.
    if not any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in onnx.load(path).graph.initializer):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC  # standard operators
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    proto = onnx.load(path)
    standard = [used for used in proto.opset_import if used.domain == ""]  # it lists all that it knows
    del proto.opset_import[:]
    proto.opset_import.extend(standard)
    return bytes(onnx.shape_inference.infer_shapes(proto, data_prop=True).SerializeToString())


def _free_axes(name: str) -> dict[int, str]:
    """Names of the axes whose length is not fixed: codes and scores have a batch, all else has a size, too."""
    if name.endswith(("_code", "scores")):
        return {0: "batch"}
    return {0: "batch", 2: f"{name}_height", 3: f"{name}_width"}


@contextmanager
def _silent_exporter() -> Iterator[None]:
    """torch's exporter talks about its successor, and about Python values that it takes for constants."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _save(content: bytes, metadata: dict[str, str], path: Path) -> None:
    import onnx

    proto = onnx.load_from_string(content)
    onnx.helper.set_model_props(proto, metadata)
    onnx.save(proto, path)


def _compare(bundle: Bundle, path: Path) -> list[SizeCheck]:
    """Runs both at the model's own size, at a batch and at another size; a size baked in shows here."""
    height, width = bundle.config.image_size
    session = open_exported(path)
    checks = []
    for batch, h, w in ((1, height, width), (2, height, width), (1, height + 32 * bundle.config.flow_reduction, width)):
        inputs = example_inputs(bundle.config, batch, h, w, seed=h + batch)
        checks.append(SizeCheck(batch, h, w, _difference(bundle, session, inputs)))
    return checks


@torch.inference_mode()
def _difference(bundle: Bundle, session: OnnxSession, inputs: dict[str, torch.Tensor]) -> float:
    expected = bundle.network(*inputs.values()).image.numpy()
    difference = float(np.abs(session.image(*(x.numpy() for x in inputs.values())) - expected).max())
    if isinstance(session, OnnxView) and session.estimates_views:
        assert isinstance(bundle.network, ViewGenerator)
        picture = inputs[SOURCE["view"]]
        scores = bundle.network.estimate_view(picture).numpy()
        apart = np.abs(session.view_scores(picture.numpy()) - scores).max() / max(1.0, np.abs(scores).max())
        difference = max(difference, float(apart))
    return difference
