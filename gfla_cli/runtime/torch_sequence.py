"""Sequence models run by torch: one reference picture, frame after frame of it."""

from __future__ import annotations

import torch

from gfla_cli.networks.sequence import SequenceGenerator
from gfla_cli.runtime.session import Array
from gfla_cli.runtime.torch_session import TorchSession


class TorchSequence(TorchSession):
    """The network of a face or body bundle on the best device at hand."""

    def start(self, reference_image: Array, reference_structure: Array) -> TorchClip:
        """See SequenceSession."""
        return TorchClip(self, reference_image, reference_structure)


class TorchClip:
    """A clip that is being generated: what depends on the reference alone is computed once."""

    @torch.inference_mode()
    def __init__(self, session: TorchSequence, image: Array, structure: Array) -> None:
        assert isinstance(session.network, SequenceGenerator)
        self._network, self._session = session.network, session
        self._reference = session.tensor(image), session.tensor(structure)
        self._previous = self._reference  # of the first frame
        with session.autocast:
            self._encoded = self._network.encode_reference(self._reference[0])

    @torch.inference_mode()
    def next(self, structure: Array) -> Array:
        """See Clip."""
        target = self._session.tensor(structure)
        with self._session.autocast:
            made = self._network(target, *self._previous, *self._reference, self._encoded).image
        self._previous = made.float().clamp(-1, 1), target
        return self._session.array(self._previous[0])
