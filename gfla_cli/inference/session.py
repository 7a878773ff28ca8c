"""A loaded network behind arrays: pipelines do not know whether torch or ONNX Runtime computes. Imports neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict, overload, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gfla_cli.bundles.files import read_config
from gfla_cli.bundles.hub import is_hub_name
from gfla_cli.bundles.shelf import bundle_name, find_bundle
from gfla_cli.config import DeviceName as DeviceName
from gfla_cli.config import ModelConfig, Task
from gfla_cli.config import Precision as Precision
from gfla_cli.config import Runtime as Runtime
from gfla_cli.errors import BundleError, UsageError
from gfla_cli.inference.inside import Inside

Array = NDArray[np.float32]


class Execution(TypedDict):
    """How a model is run, as the options of every command say it; `**execution` gives it to who opens a session."""

    device: DeviceName
    precision: Precision
    runtime: Runtime
    threads: int | None


class Session(Protocol):
    """Runs one network."""

    @property
    def name(self) -> str:
        """The model's name, for people."""

    @property
    def config(self) -> ModelConfig:
        """What the network is."""

    @property
    def about(self) -> dict[str, Any]:
        """What else the model says of itself: its licence, the sha256 of its weights, how it was trained."""

    @property
    def place(self) -> str:
        """Device and number format, with the reason, for people; waits until the model is ready.

        Raises BundleError when an exported graph is damaged, UsageError when its device turns out not to be there.
        """

    def image(self, *inputs: Array) -> Array:
        """The generated picture, (B, 3, H, W) in [-1, 1], from the network's inputs in order."""

    def image_and_layers(self, *inputs: Array) -> tuple[Array, Array]:
        """The image (B, 3, H, W), and what it is mixed from, (B, 10, H, W): see `networks.layers.pixel_layers`."""

    def image_and_inside(self, *inputs: Array) -> tuple[Array, Inside]:
        """The image, and flows, attention and solids of the first one. UsageError when the model cannot show them."""


class Clip(Protocol):
    """A clip of one reference picture, generated frame after frame."""

    def next(self, structure: Array) -> Array:
        """The next frame, (1, 3, H, W) in [-1, 1], for its structure (1, S, H, W)."""


@runtime_checkable
class SequenceSession(Session, Protocol):
    """Runs a face or body network."""

    def start(self, reference_image: Array, reference_structure: Array) -> Clip:
        """A clip of the reference, (1, 3, H, W) in [-1, 1], whose structure is (1, S, H, W)."""


class ViewSession(Session, Protocol):
    """Runs a view network. A source picture is encoded once, for any number of views."""

    @property
    def estimates_views(self) -> bool:
        """Whether the model can tell where a picture was taken from."""

    def encode(self, image: Array) -> Any:
        """All that depends on the pictures (B, 3, H, W) in [-1, 1] alone, for `view`."""

    def view(self, source: Any, source_code: Array, target_code: Array) -> Array:
        """The objects from another side, (B, 3, H, W) in [-1, 1]; codes (B, 21), or (21,) for one picture."""

    def view_scores(self, image: Array) -> Array:
        """Unnormalised scores (B, 21) of the parts of the codes that pictures (B, 3, H, W) were taken with."""


class _Stills:
    """A clip by a pose model, which draws every frame from the reference alone."""

    def __init__(self, session: Session, image: Array, structure: Array) -> None:
        self._session, self._reference = session, (image, structure)

    def next(self, structure: Array) -> Array:
        """See Clip."""
        return self._session.image(*self._reference, structure)


def start_clip(session: Session, reference_image: Array, reference_structure: Array) -> Clip:
    """A clip of the reference, (1, 3, H, W) in [-1, 1] and (1, S, H, W), by a sequence model or a pose model."""
    if isinstance(session, SequenceSession):
        return session.start(reference_image, reference_structure)
    return _Stills(session, reference_image, reference_structure)


@overload
def open_session(
    model: str | Path,
    *tasks: Literal["view"],
    device: DeviceName = "auto",
    precision: Precision = "auto",
    runtime: Runtime = "auto",
    threads: int | None = None,
) -> ViewSession: ...


@overload
def open_session(
    model: str | Path,
    *tasks: Task,
    device: DeviceName = "auto",
    precision: Precision = "auto",
    runtime: Runtime = "auto",
    threads: int | None = None,
) -> Session: ...


def open_session(
    model: str | Path,
    *tasks: Task,
    device: DeviceName = "auto",
    precision: Precision = "auto",
    runtime: Runtime = "auto",
    threads: int | None = None,
) -> Session:
    """The network of a bundle or of an exported .onnx file, ready to run on `threads` CPU threads, else on all.

    `runtime` "auto" takes ONNX Runtime for .onnx files and torch for bundles; "onnx" exports a bundle into the cache
    on first use. Raises BundleError when the model is for none of the tasks, UsageError when what was asked for does
    not go together.
    """
    exported = exported_file(model)
    if exported is None:
        bundle = find_bundle(model)
        config, _ = read_config(bundle)
        check_task(bundle_name(bundle), config, *tasks)
        if runtime != "onnx":
            return _by_torch(bundle, config.task, device, precision, threads)
        exported = _in_cache(bundle, precision)
    if runtime == "torch":
        raise UsageError(f"{exported} is an ONNX file; torch does not run it", hint="give the bundle it was made from")
    from gfla_cli.inference.onnx_backend import open_exported

    session = open_exported(exported, device, precision, threads)
    check_task(session.name, session.config, *tasks)
    return session


def _in_cache(bundle: Path, precision: Precision) -> Path:
    if precision == "bf16":
        raise UsageError("exported models compute in fp32 or fp16, not in bf16", hint="--runtime torch")
    from gfla_cli.inference.cache import cached_export

    return cached_export(bundle, half=precision == "fp16")


def model_config(model: str | Path) -> ModelConfig:
    """What a bundle or an exported file holds; raises BundleError when it is neither."""
    exported = exported_file(model)
    if exported is None:
        return read_config(find_bundle(model))[0]
    from gfla_cli.inference.onnx_file import exported_config

    return exported_config(exported)


def _by_torch(bundle: Path, task: Task, device: DeviceName, precision: Precision, threads: int | None) -> Session:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    if task == "pose":
        from gfla_cli.inference.torch_backend import TorchSession

        return TorchSession(bundle, device, precision)
    if task == "view":
        from gfla_cli.inference.torch_backend import TorchView

        return TorchView(bundle, device, precision)
    from gfla_cli.inference.torch_backend import TorchSequence

    return TorchSequence(bundle, device, precision)


def check_task(name: str, config: ModelConfig, *tasks: Task) -> None:
    """Raises BundleError when the model is for none of the tasks."""
    if config.task not in tasks:
        *others, last = tasks
        wanted = f"{', '.join(others)} or {last}" if others else last
        raise BundleError(
            f"{name} is a model for the task {config.task}, not for {wanted}",
            hint=f"gfla models list --task {tasks[0]}",
        )


def refuse_export_name(path: Path) -> None:
    """Raises UsageError for a file name by which no exported model would be known."""
    if path.suffix.lower() != ".onnx":
        raise UsageError(f"{path}: an exported model is an .onnx file", hint="end the name of --output in .onnx")


def exported_file(model: str | Path) -> Path | None:
    """The .onnx file that `model` names: itself, or the only one in a folder that is no bundle."""
    path = Path(model)
    if is_hub_name(model):
        return None
    if path.suffix.lower() == ".onnx":
        return path
    if path.is_dir() and not (path / "config.json").is_file():
        found = sorted(path.glob("*.onnx"))
        return found[0] if len(found) == 1 else None
    return None
