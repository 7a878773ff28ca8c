"""The interface to a loaded network, run by torch or by ONNX Runtime: arrays in, arrays out. Imports neither."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, Unpack, overload, runtime_checkable

from gfla_cli import __version__
from gfla_cli.arrays import Float32Array
from gfla_cli.bundles.files import CONFIG, GRAPH_VERSION, read_config
from gfla_cli.bundles.hub import is_hub_name
from gfla_cli.bundles.shelf import bundle_name, find_bundle
from gfla_cli.config import DeviceName, ModelConfig, Precision, Runtime, Task
from gfla_cli.errors import BundleError, GflaError, UsageError
from gfla_cli.geometry.volume import RayVolume
from gfla_cli.inference.runtime import LONG, MANY, choose_runtime, gpu_count
from gfla_cli.io.files import cache_folder, make_folder

if TYPE_CHECKING:
    from gfla_cli.inference.visualize import Intermediates

Array = Float32Array


class Execution(TypedDict, total=False):
    """How a model is run, as every command's options say. Pass it on as `open_session(model, **execution)`."""

    device: DeviceName
    precision: Precision
    runtime: Runtime
    threads: int | None
    images: int  # how many will be generated, as far as is known; a clip of many is prepared for it


class Session(Protocol):
    """One loaded network."""

    @property
    def name(self) -> str:
        """The model's name, for people."""

    @property
    def config(self) -> ModelConfig:
        """The network's configuration."""

    @property
    def about(self) -> dict[str, Any]:
        """Further entries of the model's description: licence, sha256 of the weights, training."""

    @property
    def place(self) -> str:
        """Device, number format and the reason for them, for people. Waits until the model is loaded.

        Raises BundleError when an exported graph is damaged, UsageError when its device is not available.
        """

    def image(self, *inputs: Array) -> Array:
        """The generated images, (B, 3, H, W) in [-1, 1], from the network's inputs in order."""

    def image_and_layers(self, *inputs: Array) -> tuple[Array, Array]:
        """The image (B, 3, H, W), and what it is mixed from, (B, 10, H, W): see `networks.layers.layers_of`."""

    def image_and_intermediates(self, *inputs: Array) -> tuple[Array, Array, Intermediates]:
        """Images and layers, and the intermediates of the first image. Raises UsageError when the model has none."""


class Clip(Protocol):
    """A clip of one reference image, generated frame by frame."""

    def prepare(self, structure: Array) -> Any:
        """What depends on the structure (1, S, H, W) of a frame alone. Another thread may call it some frames ahead."""

    def next(self, prepared: Any) -> tuple[Array, Array]:
        """The next frame, (1, 3, H, W) in [-1, 1], from its structure (1, S, H, W) or the result of `prepare` for it.

        Also what it is mixed from, the reference and layers (1, 10, H, W): see `networks.layers.layers_of`.
        """


@runtime_checkable
class SequenceSession(Session, Protocol):
    """A loaded face or body network."""

    def start(self, reference_image: Array, reference_structure: Array) -> Clip:
        """A clip of the reference image (1, 3, H, W) in [-1, 1], with the structure (1, S, H, W)."""


class ViewSession(Session, Protocol):
    """A loaded view network. A source image is encoded once, for any number of views."""

    @property
    def estimates_views(self) -> bool:
        """Whether the model can estimate the view of an image."""

    def encode(self, image: Array) -> Any:
        """Everything that depends on the images (B, 3, H, W) in [-1, 1] alone; an argument of `view`."""

    def volume(self, source: Any) -> RayVolume | None:
        """The object that `encode` found in one image; None of models that estimate none."""

    def with_volume(self, source: Any, volume: RayVolume) -> Any:
        """The result of `encode` for one image, with another volume for the object in it."""

    def view(self, source: Any, source_code: Array, target_code: Array) -> tuple[Array, Array]:
        """The objects in the target view, (B, 3, H, W) in [-1, 1], and what they are mixed from.

        That is the source and layers (B, 10, H, W): see `networks.layers.layers_of`. View codes are (B, 21), or (21,)
        for one image.
        """

    def view_scores(self, image: Array) -> Array:
        """Logits (B, 21) of the view codes of images (B, 3, H, W) in [-1, 1]."""


class _PoseClip:
    """A clip by a pose model, which generates every frame from the reference alone."""

    def __init__(self, session: Session, image: Array, structure: Array) -> None:
        self._session, self._reference = session, (image, structure)

    def prepare(self, structure: Array) -> Array:
        """See Clip."""
        return structure

    def next(self, structure: Array) -> tuple[Array, Array]:
        """See Clip."""
        return self._session.image_and_layers(*self._reference, structure)


def start_clip(session: Session, reference_image: Array, reference_structure: Array) -> Clip:
    """A clip of the reference, (1, 3, H, W) in [-1, 1] and (1, S, H, W), by a sequence model or a pose model."""
    if isinstance(session, SequenceSession):
        return session.start(reference_image, reference_structure)
    return _PoseClip(session, reference_image, reference_structure)


@overload
def open_session(model: str | Path, *tasks: Literal["view"], **execution: Unpack[Execution]) -> ViewSession: ...


@overload
def open_session(model: str | Path, *tasks: Task, **execution: Unpack[Execution]) -> Session: ...


def open_session(
    model: str | Path,
    *tasks: Task,
    device: DeviceName = "auto",
    precision: Precision = "auto",
    runtime: Runtime = "auto",
    threads: int | None = None,
    images: int = 1,
) -> Session:
    """Loads the network of a bundle or of an exported .onnx file.

    `runtime` "auto" runs .onnx files with ONNX Runtime, and chooses for bundles (`choose_runtime`); `images`, how many
    will be generated, counts there. "onnx" exports a bundle without a graph into the cache on first use. `threads`: on
    the CPU, else all. Raises BundleError when the model is damaged or for none of `tasks`, UsageError when the options
    contradict each other.
    """
    exported = exported_file(model)
    if exported is None:
        bundle = find_bundle(model)
        config, about = read_config(bundle)
        check_task(bundle_name(bundle), config, *tasks)
        graph = None
        if runtime != "torch" and device in ("auto", "cpu") and precision in ("auto", "fp32") and "part" not in about:
            from gfla_cli.inference.onnx_file import fitting_graph

            graph = fitting_graph(bundle)
        choice = choose_runtime(runtime, device, precision, has_graph=graph is not None, images=images)
        if choice.runtime == "torch":
            return _open_torch(bundle, config.task, device, precision, threads, choice.reason, images)
        if precision == "bf16":
            raise UsageError("exported models compute in fp32 or fp16, not in bf16", hint="--runtime torch")
        if graph is not None and (device == "cpu" or not gpu_count()):
            from gfla_cli.inference.onnx_backend import open_graph

            def in_torch() -> Session:
                return _open_torch(bundle, config.task, "cpu", precision, threads)

            return open_graph(bundle, graph, threads, in_torch, reason=choice.reason)
        exported = cached_export(bundle, half=precision == "fp16")
    if runtime == "torch":
        raise UsageError(
            f"{exported} is an ONNX file, which torch cannot run", hint="give the bundle that it was exported from"
        )
    from gfla_cli.inference.onnx_backend import open_exported

    session = open_exported(exported, device, precision, threads)
    check_task(session.name, session.config, *tasks)
    return session


def cached_export(bundle: Path, *, half: bool = False) -> Path:
    """The bundle as an ONNX file in the cache, exported on first use; only that imports torch.

    Raises BundleError when the bundle cannot be read, and what `export_onnx` raises.
    """
    try:
        key = hashlib.sha256((bundle / CONFIG).read_bytes()).hexdigest()[:12]  # the config holds the weights' hash
    except OSError as error:
        raise BundleError(f"{bundle}: cannot be read: {error.strerror}", hint="get the bundle again") from error
    precision = "-fp16" if half else ""
    path = cache_folder() / "onnx" / f"{bundle_name(bundle)}-{key}-{__version__}-{GRAPH_VERSION}{precision}.onnx"
    if not path.is_file():
        from gfla_cli.inference.export import export_onnx

        make_folder(path.parent, hint="GFLA_CACHE names another")
        export_onnx(bundle, path, half=half, overwrite=True)
    return path


def model_config(model: str | Path) -> ModelConfig:
    """The configuration of a bundle or of an exported file. Raises BundleError when it is neither."""
    exported = exported_file(model)
    if exported is None:
        return read_config(find_bundle(model))[0]
    from gfla_cli.inference.onnx_file import exported_config

    return exported_config(exported)


def _open_torch(
    bundle: Path,
    task: Task,
    device: DeviceName,
    precision: Precision,
    threads: int | None,
    reason: str = "",
    images: int = 1,
) -> Session:
    from gfla_cli.inference.torch_backend import TorchSession, TorchView, leave_a_core, use_threads
    from gfla_cli.inference.torch_clip import TorchSequence

    if threads is not None:
        use_threads(threads)
    if task in ("pose", "view"):
        return (TorchSession if task == "pose" else TorchView)(bundle, device, precision, reason)
    session = TorchSequence(bundle, device, precision, reason, long=images >= LONG)
    if images > MANY and not session.on_gpu and threads is None:  # the page makes single frames, and says MANY
        leave_a_core()
    return session


def no_gpu_after_fork() -> GflaError:
    """The error in a forked child of a process that used the GPU."""
    hint = 'multiprocessing.get_context("spawn") starts processes that can, and so does device="cpu"'
    return GflaError("a forked process cannot use the GPU of its parent", hint=hint)


def check_task(name: str, config: ModelConfig, *tasks: Task) -> None:
    """Raises BundleError when the model is for none of the tasks."""
    if config.task not in tasks:
        *others, last = tasks
        wanted = f"{', '.join(others)} or {last}" if others else last
        raise BundleError(
            f"{name} is a model for the task {config.task}, not for {wanted}",
            hint=f"gfla models list --task {tasks[0]}",
        )


def check_model(model: str | Path, *tasks: Task) -> None:
    """Raises BundleError for a model that is not there, and for a bundle that is for none of the tasks.

    Reads no weights and loads no runtime. What an exported file is for is only known when it is opened.
    """
    exported = exported_file(model)
    if exported is None:
        bundle = find_bundle(model)
        check_task(bundle_name(bundle), read_config(bundle)[0], *tasks)
    elif not exported.is_file():
        raise no_exported_file(exported)


def no_exported_file(path: Path) -> BundleError:
    """The error for an .onnx file that is not there."""
    return BundleError(f"{path}: no such file", hint="check the spelling, or make it with gfla export-onnx")


def refuse_export_name(path: Path) -> None:
    """Raises UsageError unless the file name ends in .onnx."""
    if path.suffix.lower() != ".onnx":
        raise UsageError(f"{path}: an exported model is an .onnx file", hint="give --output a name that ends in .onnx")


def exported_file(model: str | Path) -> Path | None:
    """The .onnx file itself, or the only one in a folder that is no bundle; None for bundles."""
    path = Path(model)
    if is_hub_name(model):
        return None
    if path.suffix.lower() == ".onnx":
        return path
    if path.is_dir() and not (path / "config.json").is_file():
        found = sorted(path.glob("*.onnx"))
        return found[0] if len(found) == 1 else None
    return None
