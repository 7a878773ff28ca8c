"""Export a bundle as ONNX, compared with torch afterwards.

A file holds a main graph that runs for every image, and parts that run once per source image. There are two kinds:

    exported file    any batch and frame size, with its weights; standard operators (`export_onnx`)
    bundle's graph   one image of the model's frame size; the weights stay in the bundle; also operators of ONNX
                     Runtime's own, which saves looking for them at every start (`write_graph`)
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from gfla_cli.bundles.bundle import Bundle, load_bundle
from gfla_cli.bundles.files import GRAPH, WEIGHTS, architecture_of, shapes_of
from gfla_cli.conditioning.face_map import INSIDE_LIPS, IRISES, LABELS
from gfla_cli.conditioning.structure import joint_map_batch
from gfla_cli.config import ModelConfig, Task
from gfla_cli.errors import GflaError, MissingExtraError
from gfla_cli.inference.onnx_backend import OnnxSession, OnnxView, open_exported, open_graph
from gfla_cli.inference.onnx_file import INPUTS, SOURCE, WEIGHT_PREFIX, GraphDescription, Part, metadata_of
from gfla_cli.inference.session import refuse_export_name
from gfla_cli.io.background import python_warnings_silenced
from gfla_cli.io.files import atomic_path
from gfla_cli.networks.build import ALWAYS_FLOAT
from gfla_cli.networks.layers import layers_of
from gfla_cli.networks.priors.curves import CURVE_DISTANCES
from gfla_cli.networks.sequence import SequenceGenerator
from gfla_cli.networks.view import AppearanceFlow, ViewGenerator

# x, y of the joints of a standing person, in shares of the frame
_STANDING = (
    (0.5, 0.12), (0.5, 0.22), (0.38, 0.22), (0.34, 0.36), (0.33, 0.48), (0.62, 0.22), (0.66, 0.36), (0.67, 0.48),
    (0.43, 0.5), (0.42, 0.7), (0.41, 0.9), (0.57, 0.5), (0.58, 0.7), (0.59, 0.9),
    (0.47, 0.09), (0.53, 0.09), (0.43, 0.11), (0.57, 0.11),
)  # fmt: skip
# Size of the traced example: small, since float16 is slow on the CPU; a batch of one would be treated as a constant.
_BATCH, _HEIGHT, _WIDTH = 2, 64, 96
# At this opset GridSample runs on the GPU from ONNX Runtime 1.18 on; later opsets rename its mode.
OPSET = 18
TOLERANCE = {"fp32": 1e-3, "fp16": 5e-2}  # largest allowed difference from torch, of values in [-1, 1]
# Share of the values that count. By rounding, a place between two parts of a body or face may take its pixel from the
# other one.
_COUNTED = {"fp32": 0.999, "fp16": 0.999}
_WORTH_A_NODE = 1024  # bytes that are saved by a constant that is stored once and expanded


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph to export: a module, example inputs by name, and the names of its outputs."""

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]


class Step(nn.Module):
    """The network's inputs in order, then what was encoded before, to the image in float32, and its layers."""

    def __init__(self, network: nn.Module, task: Task, dtype: torch.dtype, spec: pytree.TreeSpec | None) -> None:
        super().__init__()
        self.network = network
        self._task, self._inputs, self._source = task, len(INPUTS[task]), INPUTS[task].index(SOURCE[task])
        self._dtype, self._spec = dtype, spec

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) in [-1, 1], and layers (B, 10, H, W): see `layers_of`."""
        given = [x.to(self._dtype) for x in tensors[: self._inputs]]
        encoded = [] if self._spec is None else [pytree.tree_unflatten(tensors[self._inputs :], self._spec)]
        made = self.network(*given, *encoded)
        return made.image.float(), layers_of(made, given[self._source], self._task)


class Encode(nn.Module):
    """The part "encode": source images to the further inputs of `Step`, in the network's number format."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self._dtype = network, dtype

    def encoded(self, image: Tensor) -> Any:
        """The network's nested result."""
        if isinstance(self.network, SequenceGenerator):
            return self.network.encode_reference(image.to(self._dtype))
        assert isinstance(self.network, ViewGenerator | AppearanceFlow)
        return self.network.encode_source(image.to(self._dtype))

    def forward(self, image: Tensor) -> list[Tensor]:
        """The same as a flat list, which ONNX needs."""
        return pytree.tree_leaves(self.encoded(image))


class Estimate(nn.Module):
    """The part "estimate": images to the logits of their view codes."""

    def __init__(self, network: ViewGenerator) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """(B, 21)."""
        return self.network.estimate_view(image)


@torch.inference_mode()
def graphs_of(
    bundle: Bundle, *, half: bool, batch: int = _BATCH, size: tuple[int, int] | None = None
) -> tuple[Graph, dict[Part, Graph]]:
    """The main graph, and the parts by name. `half`: in float16, but for layers that need float32.

    `batch` and `size` (height, width) are those of the traced example, which is small by default.
    """
    network = _half_precision(bundle.network) if half else bundle.network
    dtype = torch.float16 if half else torch.float32
    task, parts = bundle.config.task, dict[Part, Graph]()
    reduction = bundle.config.flow_reduction
    inputs = example_inputs(bundle.config, batch, *(size or (reduction * _HEIGHT, reduction * _WIDTH)))
    source = SOURCE[task]
    encoded, spec = {}, None
    if task != "pose":
        encode = Encode(network, dtype)
        nested = encode.encoded(inputs[source])
        spec = pytree.tree_structure(nested)
        encoded = _named(nested, source.removesuffix("_image"))
        if encoded:  # without attention there is nothing to encode
            parts["encode"] = Graph(encode, {source: inputs[source]}, tuple(encoded))
    if isinstance(network, ViewGenerator) and network.view_estimator is not None:
        parts["estimate"] = Graph(Estimate(network), {source: inputs[source]}, ("scores",))
    step = Step(network, task, dtype, spec)
    return Graph(step, inputs | encoded, ("image", "layers")), parts


def example_inputs(config: ModelConfig, batch: int, height: int, width: int, seed: int = 0) -> dict[str, Tensor]:
    """Random images, structures and view codes for a network, by name, in its order.

    They are smooth, as images are: on white noise a flow's rounding error alone would be a large difference.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(channels: int, generator: torch.Generator = generator) -> Tensor:
        coarse = torch.rand(batch, channels, height // 8, width // 8, generator=generator)
        return F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)

    of_irises, channels = torch.Generator().manual_seed(seed + 1), config.structure_channels
    drawn = {}
    for name in INPUTS[config.task]:
        if name.endswith("_code"):
            drawn[name] = torch.rand(batch, channels, 1, 1, generator=generator).round()
        elif config.has_depth and name.endswith("_structure"):
            drawn[name] = _random_bodies(config, batch, height, width, generator)
        elif config.task == "face" and name.endswith("_structure"):
            drawn[name] = F.pad(draw(min(IRISES, channels)), (0, 0, 0, 0, 0, max(channels - IRISES, 0)))
        else:
            drawn[name] = draw(3) * 2 - 1 if name.endswith("_image") else draw(channels)
        if config.task == "face" and name.endswith("_structure"):
            drawn[name][:, CURVE_DISTANCES] *= 0.02  # every curve is near, or the maps would be constant
            drawn[name][:, LABELS] = (drawn[name][:, LABELS] * INSIDE_LIPS).round()
            if channels > IRISES:  # of a generator of their own: all else is as for 16 channels
                drawn[name][:, IRISES:] = (4 * draw(1, of_irises) - 3).clamp(min=0)  # discs are small
    return drawn


def _random_bodies(config: ModelConfig, batch: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """(B, 36, H, W) pose maps of standing people with depths.

    Random maps would put all joints into one place. There the solids of a body have no direction, and rounding errors
    decide where they lie.
    """
    points = torch.ones(batch, 18, 4)
    points[..., :2] = torch.tensor(_STANDING) + 0.04 * torch.rand(batch, 18, 2, generator=generator)
    points[..., :2] *= torch.tensor([width, height])
    points[..., 3] = height * 0.1 * torch.rand(batch, 18, generator=generator)
    return joint_map_batch(points, (height, width), config.heatmap_sigma * height / config.image_size[0])


def _named(nested: Any, prefix: str) -> dict[str, Tensor]:
    """The tensors by their path, such as source_samples_8_keys."""
    leaves, _ = pytree.tree_flatten_with_path(nested)
    return {"_".join([prefix, *(_step_name(step) for step in path)]): tensor for path, tensor in leaves}


def _step_name(step: Any) -> str:
    return str(next(getattr(step, name) for name in ("name", "key", "idx") if hasattr(step, name)))


def _half_precision(network: nn.Module) -> nn.Module:
    """A copy in float16, except the layers that need float32."""
    network = copy.deepcopy(network).half()
    for name, module in network.named_modules():
        if name.endswith(ALWAYS_FLOAT):
            module.float()
    return network


@dataclass(frozen=True, slots=True)
class SizeCheck:
    """ONNX Runtime against torch at one input size, on fresh inputs."""

    batch: int
    height: int
    width: int
    largest_difference: float  # of image values in [-1, 1], and of view scores as shares of the largest


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written, and how well it agrees with torch."""

    path: Path
    task: str
    megabytes: float
    precision: str
    parts: list[str]  # the graphs in the file
    checks: list[SizeCheck]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "path": str(self.path)}


def export_onnx(
    model: str | Path,
    output: Path,
    *,
    half: bool = False,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> ExportReport:
    """Writes the file, runs it at three sizes and compares the results with torch's. `say` gets each step.

    Raises GflaError, and leaves no file, when they differ too much; MissingExtraError without the package onnx;
    UsageError and MediaError when the output cannot be written.
    """
    refuse_export_name(output)
    bundle = load_bundle(model)
    precision = "fp16" if half else "fp32"
    say(f"exporting {bundle.name} in {precision}")
    step, parts = graphs_of(bundle, half=half)
    with atomic_path(output, overwrite=overwrite) as temporary:
        contents = {name: to_onnx(graph) for name, graph in parts.items()}
        about = {"name": bundle.name, "model": bundle.config.to_json(), "precision": precision, **bundle.about}
        _save(to_onnx(step), metadata_of(about, contents), temporary)
        say("comparing with torch at several sizes")
        checks = _compare(bundle, temporary)
        worst = max(check.largest_difference for check in checks)
        if not worst <= TOLERANCE[precision]:
            raise GflaError(
                f"the exported model differs from torch by {worst:.2g}, more than {TOLERANCE[precision]:.0e}",
                hint="nothing was written" + ("; export without --fp16" if half else "; please report this model"),
            )
        megabytes = temporary.stat().st_size / 1e6
    return ExportReport(output, bundle.config.task, megabytes, precision, ["step", *parts], checks)


def write_graph(folder: Path) -> ExportReport:
    """Writes the graph of a bundle into its folder, replacing an older one, and compares the results with torch's.

    Raises GflaError, and writes nothing, when they differ too much; MissingExtraError without the package onnx.
    """
    bundle = load_bundle(folder)
    step, parts = graphs_of(bundle, half=False, batch=1, size=bundle.config.image_size)
    weights = {f"{WEIGHT_PREFIX}{name}" for name in bundle.network.state_dict()}
    with atomic_path(bundle.folder / GRAPH, overwrite=True) as temporary:
        contents = {name: to_onnx(graph, weights) for name, graph in parts.items()}
        main = to_onnx(step, weights)
        architecture = architecture_of(bundle.config, shapes_of(bundle.folder / WEIGHTS))
        used = {"step": _named_weights(main)}
        used |= {str(name): _named_weights(content) for name, content in contents.items()}
        _save(main, metadata_of(asdict(GraphDescription(architecture, used)), contents), temporary)
        inputs = example_inputs(bundle.config, 1, *bundle.config.image_size, seed=1)
        difference = _difference(bundle, open_graph(bundle.folder, temporary), inputs)
        if not difference <= TOLERANCE["fp32"]:
            raise GflaError(
                f"the graph differs from torch by {difference:.2g}, more than {TOLERANCE['fp32']:.0e}",
                hint="nothing was written; please report this model",
            )
        megabytes = temporary.stat().st_size / 1e6
    check = SizeCheck(1, *bundle.config.image_size, difference)
    return ExportReport(bundle.folder / GRAPH, bundle.config.task, megabytes, "fp32", ["step", *parts], [check])


def to_onnx(graph: Graph, weights: Collection[str] = ()) -> bytes:
    """The graph as an ONNX model, by tracing: 1 s, where torch's newer exporter takes 30 s for free sizes.

    With the names of its `weights`, their values are left out, and all sizes are those of the example.
    """
    if importlib.util.find_spec("onnx") is None:
        raise MissingExtraError("exporting to ONNX needs onnx", "export")
    # Torch warns about its newer exporter, and about Python values that become constants.
    with TemporaryDirectory() as folder, python_warnings_silenced, torch.inference_mode():
        written = Path(folder) / "graph.onnx"
        torch.onnx.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            written,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes=None if weights else {name: _free_axes(name) for name in (*graph.inputs, *graph.outputs)},
            # ONNX Runtime folds no weights into other constants while they are inputs.
            do_constant_folding=not weights,
            keep_initializers_as_inputs=bool(weights),
        )
        _optimise(written, fuse=bool(weights))
        return _without_weights(written, graph, weights) if weights else _with_shapes(written)


def _optimise(path: Path, *, fuse: bool) -> None:
    """Folds constants. `fuse`: also joins operators to ONNX Runtime's own."""
    import onnx
    import onnxruntime

    # For the CPU ONNX Runtime would add casts around every float16 operator.
    if not any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in onnx.load(path).graph.initializer):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        levels = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_EXTENDED if fuse else levels.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    proto = onnx.load(path)
    domains = {node.domain for node in proto.graph.node}  # ONNX Runtime lists every domain that it knows
    used = [known for known in proto.opset_import if known.domain in domains]
    del proto.opset_import[:]
    proto.opset_import.extend(used)
    onnx.save(proto, path)


def _with_shapes(path: Path) -> bytes:
    """The model with inferred shapes, which loads in two thirds of the time."""
    import onnx

    return bytes(onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True).SerializeToString())


def _without_weights(path: Path, graph: Graph, weights: Collection[str]) -> bytes:
    """The model with short names, and with weights that are only named: they lie in the bundle's own file."""
    import onnx

    proto = onnx.load(path)
    inside = proto.graph
    _expand_repeated(inside, weights)
    short = {name: name for name in (*graph.inputs, *graph.outputs, *weights, "")}
    constants: dict[bytes, str] = {}  # by their content: pixel grids are there many times
    for tensor in list(inside.initializer):
        if tensor.name in weights:
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=WEIGHTS)
            continue
        old, tensor.name = tensor.name, ""
        content = tensor.SerializeToString()
        if content in constants:
            inside.initializer.remove(tensor)
        tensor.name = short[old] = constants.setdefault(content, f"c{len(short)}")
    kept = [given for given in inside.input if given.name in graph.inputs]
    del inside.input[:], inside.value_info[:]
    inside.input.extend(kept)
    for node in inside.node:
        node.name = node.doc_string = ""
        for names in (node.input, node.output):
            names[:] = [short.setdefault(name, f"v{len(short)}") for name in names]
    return bytes(proto.SerializeToString())


def _expand_repeated(graph: Any, weights: Collection[str]) -> None:
    """Stores constants that repeat their values along an axis once, with a node that expands them.

    ONNX Runtime does that while it loads a graph. A plane of ones is 256 kB otherwise.
    """
    import onnx

    expanding = []
    for tensor in list(graph.initializer):
        if tensor.name in weights:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        once = values
        for axis in range(values.ndim):
            first = once.take([0], axis) if once.size else once
            once = first if (once == first).all() else once
        if values.nbytes - once.nbytes < _WORTH_A_NODE:
            continue
        name, stored, shape = tensor.name, f"{tensor.name}.once", f"{tensor.name}.shape"
        tensor.CopyFrom(onnx.numpy_helper.from_array(once, stored))
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(values.shape, np.int64), shape))
        expanding.append(onnx.helper.make_node("Expand", [stored, shape], [name]))
    nodes = [*expanding, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _named_weights(content: bytes) -> list[str]:
    """The names of the weights that a graph takes from its bundle."""
    import onnx

    tensors = onnx.load_from_string(content).graph.initializer
    return [tensor.name for tensor in tensors if tensor.data_location == onnx.TensorProto.EXTERNAL]


def _free_axes(name: str) -> dict[int, str]:
    """The axes of variable length, with names: the batch, and height and width except for codes and scores."""
    if name.endswith(("_code", "scores")):
        return {0: "batch"}
    return {0: "batch", 2: f"{name}_height", 3: f"{name}_width"}


def _save(content: bytes, metadata: dict[str, str], path: Path) -> None:
    import onnx

    proto = onnx.load_from_string(content)
    onnx.helper.set_model_props(proto, metadata)
    onnx.save(proto, path)


def _compare(bundle: Bundle, path: Path) -> list[SizeCheck]:
    """Compares at the model's own size, with a batch, and at another height, so that a constant size is found."""
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
    apart = np.abs(session.image(*(x.numpy() for x in inputs.values())) - expected)
    difference = float(np.quantile(apart, _COUNTED[session.file.precision]))
    if isinstance(session, OnnxView) and session.estimates_views:
        assert isinstance(bundle.network, ViewGenerator)
        source = inputs[SOURCE["view"]]
        scores = bundle.network.estimate_view(source).numpy()
        apart = np.abs(session.view_scores(source.numpy()) - scores).max() / max(1.0, np.abs(scores).max())
        difference = max(difference, float(apart))
    return difference
