"""One ONNX graph in ONNX Runtime: arrays in, arrays out. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from gfla_cli.errors import BundleError, GflaError, UsageError
from gfla_cli.inference.memory import is_out_of_memory
from gfla_cli.inference.providers import CPU, cpu_threads, providers_for, short_name, with_own_gpu
from gfla_cli.inference.session import DeviceName
from gfla_cli.io.background import native_stderr_silenced

_LOCATION = b"location"
Tensors = dict[str, NDArray[Any]]


class OnnxGraph:
    """A graph on the best provider at hand."""

    def __init__(self, model: Path | bytes, name: str, device: DeviceName = "auto", threads: int | None = None) -> None:
        """`model`: a file or the content of one; `name` is for messages.

        Raises BundleError when ONNX Runtime does not read it, UsageError when the device is not there.
        """
        self.name = name
        wanted = providers_for(device)
        self._session, trouble = _started(model, name, wanted, threads)
        self.outputs = [output.name for output in self._session.get_outputs()]
        self.inputs = [given.name for given in self._session.get_inputs()]
        self._provider = self._session.get_providers()[0]
        self._fell_back = self._provider == CPU and wanted[0] != CPU
        if device not in ("auto", "cpu") and self._fell_back:
            raise UsageError(
                f"--device {device}: ONNX Runtime cannot use it ({trouble or 'its libraries are missing'})",
                hint="--device auto finds a place",
            )

    @property
    def place(self) -> str:
        """The provider in force."""
        return short_name(self._provider) + (" (the GPU's libraries are missing)" if self._fell_back else "")

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Tensors:
        """All outputs by name; inputs that the graph does not have are left out. Raises GflaError when it fails."""
        try:
            made = self._session.run(self.outputs, {name: inputs[name] for name in self.inputs})
        except Exception as error:  # ONNX Runtime raises exceptions of a dozen private types
            if is_out_of_memory(error):
                raise GflaError(
                    f"{self.name}: out of memory on {short_name(self._provider)}",
                    hint="smaller batches, or --device cpu",
                ) from error
            raise GflaError(
                f"{self.name}: ONNX Runtime failed: {_first_line(error)}", hint="--runtime torch"
            ) from error
        return {name: np.asarray(value) for name, value in zip(self.outputs, made, strict=True)}


def _started(model: Path | bytes, name: str, providers: list[str], threads: int | None) -> tuple[Any, str]:
    """The session, and why the first provider could not be had, if ONNX Runtime said so."""
    content = _content(model, name)
    onnxruntime.set_default_logger_severity(4)  # the session's own setting does not cover provider loading
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = cpu_threads(threads)
    trouble = ""
    for chosen in dict.fromkeys([tuple(providers), tuple(providers[-2:]), (CPU,)]):
        try:
            # What they say of missing libraries is told in one line of our own; the CPU has nothing to say.
            with native_stderr_silenced() if chosen != (CPU,) else nullcontext():
                session = onnxruntime.InferenceSession(
                    content,
                    options,
                    providers=with_own_gpu(chosen),
                    enable_fallback=0,  # its own would print to stdout
                )
        except Exception as error:  # of a dozen private types; a damaged file fails on the CPU, too
            if chosen == (CPU,):
                raise _refused(name, error) from error
            trouble = _first_line(error)
        else:
            return session, trouble
    raise AssertionError("the CPU is always tried")


def _content(model: Path | bytes, name: str) -> bytes:
    """The model itself. Raises BundleError for one that reads its weights from other files, which could be anybody's.

    ONNX Runtime itself refuses only those outside of the model's folder, and older ones not even these.
    """
    try:
        # Read once, and not mapped: a file that is cut off while a thread looks at it would end the whole process.
        content = model.read_bytes() if isinstance(model, Path) else model
    except OSError as error:
        raise unreadable(name, str(error)) from error
    if _names_a_file(content):
        raise BundleError(f"{name}: keeps its weights in other files", hint="gfla export-onnx writes a single one")
    return content


def _names_a_file(content: bytes) -> bool:
    # In protobuf the key of a file's name has its length before it, perhaps in more bytes than that needs.
    at = content.find(_LOCATION)
    while at > 0 and content[at - 1] not in (len(_LOCATION), 0):
        at = content.find(_LOCATION, at + 1)
    return at > 0


def unreadable(name: str, reason: str) -> BundleError:
    """The error for a file that is no ONNX model."""
    return BundleError(f"{name}: not a model that ONNX Runtime reads ({reason})", hint="export it again")


def _refused(name: str, error: Exception) -> BundleError:
    if any(sign in str(error) for sign in ("released onnx opset", "Unsupported model IR version")):
        return BundleError(
            f"{name}: made for a newer ONNX than onnxruntime {onnxruntime.__version__} knows",
            hint="pip install --upgrade onnxruntime, or export it again with gfla export-onnx",
        )
    return unreadable(name, _first_line(error))


def _first_line(error: Exception) -> str:
    said = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    return (said.splitlines() or [type(error).__name__])[0][:160]
