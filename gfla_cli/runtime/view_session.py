"""View models run by torch: one source picture, many views of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gfla_cli.errors import BundleError
from gfla_cli.networks.samplers import Source
from gfla_cli.networks.view import ViewGenerator
from gfla_cli.runtime.session import DeviceName, Precision
from gfla_cli.runtime.torch_session import TorchSession
from gfla_cli.structure.view import AZIMUTHS

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EncodedSource:
    """A source picture and all that the network derives from it alone."""

    image: Tensor  # (1, 3, H, W)
    features: dict[str, Source] | None  # None for appearance flow, which has no features


class ViewSession(TorchSession):
    """A view bundle's network on the best device at hand."""

    def __init__(self, model: str | Path, device: DeviceName = "auto", precision: Precision = "auto") -> None:
        """Raises BundleError when the model is unknown, damaged or for another task."""
        super().__init__(model, device, precision)
        if self.config.task != "view":
            raise BundleError(
                f"{self.name} is a model for the task {self.config.task}, not for view",
                hint="gfla models list --task view",
            )

    @property
    def estimates_views(self) -> bool:
        """Whether the model can tell where a picture was taken from."""
        return isinstance(self.network, ViewGenerator) and self.network.view_estimator is not None

    @torch.inference_mode()
    def encode(self, image: Array) -> EncodedSource:
        """(1, 3, H, W) in [-1, 1], prepared for any number of views."""
        picture = self.tensor(image)
        if not isinstance(self.network, ViewGenerator):
            return EncodedSource(picture, None)
        with self.autocast:
            return EncodedSource(picture, self.network.encode_source(picture))

    @torch.inference_mode()
    def view(self, source: EncodedSource, source_code: Array, target_code: Array) -> Array:
        """The object from another side, (1, 3, H, W) in [-1, 1]; codes (21,)."""
        inputs = [source.image, *(self.tensor(code.reshape(1, -1, 1, 1)) for code in (source_code, target_code))]
        with self.autocast:
            made = self.network(*inputs, source.features) if source.features is not None else self.network(*inputs)
        return np.asarray(made.image.float().cpu().numpy(), np.float32)

    @torch.inference_mode()
    def view_chances(self, image: Array) -> tuple[Array, Array]:
        """How likely each azimuth (18,) and each elevation (3,) is for a picture (1, 3, H, W)."""
        assert isinstance(self.network, ViewGenerator)
        scores = self.network.estimate_view(self.tensor(image))[0]  # float32: half a megaflop, and ties matter
        azimuth, elevation = scores[: len(AZIMUTHS)].softmax(0), scores[len(AZIMUTHS) :].softmax(0)
        return np.asarray(azimuth.cpu().numpy(), np.float32), np.asarray(elevation.cpu().numpy(), np.float32)
