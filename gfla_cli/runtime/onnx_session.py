"""Networks run by ONNX Runtime. Imports no torch: that alone saves a second of every first result."""

from __future__ import annotations

import json
import mmap
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from gfla_cli.config import ModelConfig
from gfla_cli.errors import BundleError, ConfigError, GflaError, UsageError
from gfla_cli.media.quiet import native_stderr_silenced
from gfla_cli.runtime.session import DeviceName

METADATA_KEY = "gfla"
_INPUTS = ("source_image", "source_structure", "target_structure")
_LOCATION = b"location"
_PROVIDERS = {"cuda": ("TensorrtExecutionProvider", "CUDAExecutionProvider"), "mps": ("CoreMLExecutionProvider",)}


class OnnxSession:
    """An exported model. Its metadata tells what it is."""

    def __init__(self, path: Path, device: DeviceName = "auto", threads: int | None = None) -> None:
        onnxruntime.set_default_logger_severity(4)  # the session's own setting does not cover provider loading
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        if threads:
            options.intra_op_num_threads = threads
        self._session = _open(path, options, device)
        self.config, about = _description(path, self._session)
        self.name = str(about.get("name", path.stem))

    @property
    def place(self) -> str:
        """The provider in force."""
        return f"ONNX Runtime, {self._session.get_providers()[0].removesuffix('ExecutionProvider')}"

    def image(self, *inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """The generated picture, (B, 3, H, W), from the network's inputs in order."""
        try:
            (image,) = self._session.run(["image"], dict(zip(_INPUTS, inputs, strict=True)))
        except Exception as error:  # ONNX Runtime raises exceptions of a dozen private types
            raise GflaError(
                f"{self.name}: ONNX Runtime failed: {_first_line(error)}", hint="--runtime torch"
            ) from error
        return np.asarray(image, np.float32)


def _open(path: Path, options: Any, device: DeviceName) -> Any:
    if not path.is_file():
        raise BundleError(f"{path}: no such file")
    _refuse_references(path)
    wanted = _providers(device)
    try:
        # When a provider fails it prints so, on stdout, and goes on with the next.
        with native_stderr_silenced(), redirect_stdout(StringIO()):
            return onnxruntime.InferenceSession(str(path), options, providers=[*wanted, "CPUExecutionProvider"])
    except Exception as error:
        raise BundleError(
            f"{path}: not a model that ONNX Runtime reads ({_first_line(error)})", hint="export it again"
        ) from error


def _refuse_references(path: Path) -> None:
    """Raises BundleError for a model that reads its weights from other files, which could be anybody's.

    ONNX Runtime itself refuses only those outside of the model's folder, and older ones not even these.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            # In protobuf the key of a file's name has its length before it, perhaps in more bytes than that needs.
            at = content.find(_LOCATION)
            while at > 0 and content[at - 1] not in (len(_LOCATION), 0):
                at = content.find(_LOCATION, at + 1)
    except (OSError, ValueError) as error:  # ValueError: an empty file
        raise BundleError(f"{path}: not a model ({error})", hint="export it again") from error
    if at > 0:
        raise BundleError(f"{path}: keeps its weights in other files", hint="gfla export-onnx writes a single one")


def _providers(device: DeviceName) -> list[str]:
    """Providers to try before the CPU. The GPU build lists CUDA on machines without one, so ask the driver."""
    present = set(onnxruntime.get_available_providers())
    if device == "auto":
        return [p for p in _PROVIDERS["cuda"] if p in present] if _has_nvidia_gpu() else []
    wanted = [p for p in _PROVIDERS.get(device, ()) if p in present]
    if device == "cuda" and not (wanted and _has_nvidia_gpu()):
        raise UsageError("--device cuda: no NVIDIA GPU that ONNX Runtime can use", hint="--device auto finds a place")
    if device == "mps" and not wanted:
        raise UsageError("--device mps: this ONNX Runtime has no CoreML", hint="--device auto finds a place")
    return wanted


def _has_nvidia_gpu() -> bool:
    """Whether the NVIDIA driver is loaded; asking ONNX Runtime itself would print a wall of warnings."""
    import ctypes
    import sys

    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        return bool(driver.cuInit(0) == 0)
    except (OSError, AttributeError):
        return False


def _description(path: Path, session: Any) -> tuple[ModelConfig, dict[str, Any]]:
    try:
        text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise BundleError(f"{path}: an ONNX file, but not one of gfla's", hint="make one with gfla export-onnx")
        about = json.loads(text)
        return ModelConfig.from_json(about.pop("model")), about
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError, ConfigError) as error:
        raise BundleError(f"{path}: its description is damaged ({error})", hint="export it again") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
