"""View models run by torch: one source picture, many views of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gfla_cli.networks.appearance_flow import AppearanceFlow
from gfla_cli.networks.view import ViewGenerator
from gfla_cli.runtime.session import Array
from gfla_cli.runtime.torch_session import TorchSession
from gfla_cli.structure.view import CODE_LENGTH


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """Source pictures and all that the network derives from them alone."""

    image: Tensor  # (B, 3, H, W)
    encoded: Any  # of `encode_source`


class TorchView(TorchSession):
    """A view bundle's network on the best device at hand."""

    @property
    def estimates_views(self) -> bool:
        """See ViewSession."""
        return isinstance(self.network, ViewGenerator) and self.network.view_estimator is not None

    @torch.inference_mode()
    def encode(self, image: Array) -> EncodedPicture:
        """See ViewSession."""
        assert isinstance(self.network, ViewGenerator | AppearanceFlow)
        picture = self.tensor(image)
        with self.autocast:
            return EncodedPicture(picture, self.network.encode_source(picture))

    @torch.inference_mode()
    def view(self, source: EncodedPicture, source_code: Array, target_code: Array) -> Array:
        """See ViewSession."""
        codes = (self.tensor(code.reshape(-1, CODE_LENGTH, 1, 1)) for code in (source_code, target_code))
        with self.autocast:
            return self.array(self.network(source.image, *codes, source.encoded).image)

    @torch.inference_mode()
    def view_scores(self, image: Array) -> Array:
        """See ViewSession."""
        assert isinstance(self.network, ViewGenerator)
        return self.array(self.network.estimate_view(self.tensor(image)))  # float32: half a megaflop, and ties matter
