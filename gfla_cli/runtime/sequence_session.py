"""Sequence models run by torch: one reference picture, frame after frame of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gfla_cli.config import Task
from gfla_cli.errors import BundleError, UsageError
from gfla_cli.networks.sequence import SequenceGenerator
from gfla_cli.runtime.session import DeviceName, Precision, Runtime, exported_file
from gfla_cli.runtime.torch_session import TorchSession

Array = NDArray[np.float32]


class SequenceSession(TorchSession):
    """The network of a face or body bundle on the best device at hand."""

    def __init__(
        self,
        model: str | Path,
        task: Task,
        device: DeviceName = "auto",
        precision: Precision = "auto",
        runtime: Runtime = "auto",
    ) -> None:
        """Raises BundleError when the model is unknown, damaged or for another task, UsageError for ONNX."""
        if runtime == "onnx" or exported_file(model) is not None:
            raise UsageError(f"{model}: sequence models do not run in ONNX Runtime yet", hint="--runtime torch")
        super().__init__(model, device, precision)
        if self.config.task != task:
            raise BundleError(
                f"{self.name} is a model for the task {self.config.task}, not for {task}",
                hint=f"gfla models list --task {task}",
            )

    def start(self, reference_image: Array, reference_structure: Array) -> RunningSequence:
        """A clip of the reference, (1, 3, H, W) in [-1, 1], whose structure is (1, S, H, W)."""
        return RunningSequence(self, reference_image, reference_structure)


class RunningSequence:
    """A clip that is being generated: what depends on the reference alone is computed once."""

    @torch.inference_mode()
    def __init__(self, session: SequenceSession, image: Array, structure: Array) -> None:
        assert isinstance(session.network, SequenceGenerator)
        self._network, self._session = session.network, session
        self._reference = session.tensor(image), session.tensor(structure)
        self._previous = self._reference  # of the first frame
        with session.autocast:
            self._encoded = self._network.encode_reference(self._reference[0])

    @torch.inference_mode()
    def next(self, structure: Array) -> Array:
        """The next frame, (1, 3, H, W) in [-1, 1], for its structure (1, S, H, W)."""
        target = self._session.tensor(structure)
        with self._session.autocast:
            made = self._network(target, *self._previous, *self._reference, self._encoded).image
        image: Tensor = made.float().clamp(-1, 1)
        self._previous = image, target
        return np.asarray(image.cpu().numpy(), np.float32)
