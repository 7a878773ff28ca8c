"""View models run by torch: one source picture, many views of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gfla_cli.networks.samplers import Source
from gfla_cli.networks.view import ViewGenerator
from gfla_cli.runtime.session import Array
from gfla_cli.runtime.torch_session import TorchSession
from gfla_cli.structure.view import CODE_LENGTH


@dataclass(frozen=True, slots=True)
class EncodedSource:
    """A source picture and all that the network derives from it alone."""

    image: Tensor  # (B, 3, H, W)
    features: dict[str, Source] | None  # None for appearance flow, which has no features


class TorchView(TorchSession):
    """A view bundle's network on the best device at hand."""

    @property
    def estimates_views(self) -> bool:
        """See ViewSession."""
        return isinstance(self.network, ViewGenerator) and self.network.view_estimator is not None

    @torch.inference_mode()
    def encode(self, image: Array) -> EncodedSource:
        """See ViewSession."""
        picture = self.tensor(image)
        if not isinstance(self.network, ViewGenerator):
            return EncodedSource(picture, None)
        with self.autocast:
            return EncodedSource(picture, self.network.encode_source(picture))

    @torch.inference_mode()
    def view(self, source: EncodedSource, source_code: Array, target_code: Array) -> Array:
        """See ViewSession."""
        inputs = [
            source.image,
            *(self.tensor(code.reshape(-1, CODE_LENGTH, 1, 1)) for code in (source_code, target_code)),
        ]
        with self.autocast:
            made = self.network(*inputs, source.features) if source.features is not None else self.network(*inputs)
        return self.array(made.image)

    @torch.inference_mode()
    def view_scores(self, image: Array) -> Array:
        """See ViewSession."""
        assert isinstance(self.network, ViewGenerator)
        return self.array(self.network.estimate_view(self.tensor(image)))  # float32: half a megaflop, and ties matter
