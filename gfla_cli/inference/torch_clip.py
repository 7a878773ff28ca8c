"""Clips run by torch, frame by frame. On the CPU, the operations of a frame are recorded for long clips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gfla_cli.config import DeviceName, Precision
from gfla_cli.inference.session import Array
from gfla_cli.inference.torch_backend import TorchSession
from gfla_cli.io.background import python_warnings_silenced
from gfla_cli.networks.flow import FaceReading
from gfla_cli.networks.layers import layers_of
from gfla_cli.networks.priors.curves import Face
from gfla_cli.networks.samplers import Source
from gfla_cli.networks.sequence import GeneratedFrame, SequenceGenerator

_SAME = 0.01  # of values in [-1, 1]
_Step = Callable[..., tuple[Tensor, Tensor]]


class TorchSequence(TorchSession):
    """A face or body bundle's network on the chosen device. See SequenceSession."""

    def __init__(
        self,
        model: str | Path,
        device: DeviceName = "auto",
        precision: Precision = "auto",
        reason: str = "",
        *,
        long: bool = False,
    ) -> None:
        """`long`: whether clips are long enough to record the operations of a frame, which takes half a second."""
        super().__init__(model, device, precision, reason)
        assert isinstance(self.network, SequenceGenerator)
        self.long = long and not self.on_gpu
        self._step = _FrameStep(self.network)
        self._records: dict[torch.Size, _Step] = {}  # by the shape of an image; torch never frees them

    def start(self, reference_image: Array, reference_structure: Array) -> TorchClip:
        """See SequenceSession."""
        return TorchClip(self, reference_image, reference_structure)

    def made(self, *given: Any, may_record: bool) -> tuple[Tensor, Tensor]:
        """What `_FrameStep.forward` makes of these tensors. In long clips its operations are recorded."""
        shape = given[0].shape
        made = self._records.get(shape, self._step)(*given)
        if self.long and may_record and shape not in self._records:
            self._records[shape] = _recorded(self._step, given, made)
        return made


_Structure = tuple[Tensor, ...]  # maps (1, S, H, W); of the flow prior "curves" also the tensors of a FaceReading


class _Target(NamedTuple):
    """What depends on the structure of a frame alone, see `Clip.prepare`."""

    structure: _Structure
    features: Tensor  # see `SequenceGenerator.encode_target`


class _FrameStep(nn.Module):
    """One frame of a clip, from tensors to tensors, so that torch can record its operations."""

    def __init__(self, network: SequenceGenerator) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        image: Tensor,
        structures: tuple[_Structure, _Structure, _Structure],
        features: Tensor,
        reference_image: Tensor,
        encoded: dict[str, Source],
    ) -> tuple[Tensor, Tensor]:
        """The next frame (1, 3, H, W) in [-1, 1] and its layers.

        `image`: the previous frame. `structures`: of the target, the previous frame and the reference. `features`: see
        `_Target`. `encoded`: the result of `encode_reference`.
        """
        faces = [FaceReading(parts[1], Face(*parts[2:])) for parts in structures if len(parts) > 1]
        target, previous, reference = (parts[0] for parts in structures)
        sources = {level: Source(*parts) for level, parts in encoded.items()}  # the tracer gives plain tuples
        inputs = target, image, previous, reference_image, reference
        made: GeneratedFrame = self.network(*inputs, sources, faces or None, features)
        return made.image.float().clamp(-1, 1), layers_of(made, reference_image, self.network.config.task)


class TorchClip:
    """A clip that is being generated. The reference is encoded once, by the thread that asks for the first frame."""

    def __init__(self, session: TorchSequence, image: Array, structure: Array) -> None:
        assert isinstance(session.network, SequenceGenerator)
        self._network, self._session = session.network, session
        self._given = image, structure
        self._encoded: dict[str, Source] | None = None
        self._reference: tuple[Tensor, _Structure]  # image and structure
        self._previous: tuple[Tensor, _Structure]  # of the last frame, at first the reference

    @torch.inference_mode()
    def prepare(self, structure: Array) -> Array | _Target:
        """See Clip. With several threads `next` does this, too: OpenMP would start as many for a second caller."""
        if self._session.on_gpu or torch.get_num_threads() > 1:
            return structure
        with self._session.autocast():
            return self._target(structure)

    @torch.inference_mode()
    def next(self, prepared: Array | _Target) -> tuple[Array, Array]:
        """See Clip."""
        with self._session.running():
            target = prepared if isinstance(prepared, _Target) else self._target(prepared)
            if self._encoded is None:
                self._encoded = self._encode()
            (image, previous), (reference_image, reference) = self._previous, self._reference
            structures = target.structure, previous, reference
            made = self._session.made(
                image,
                structures,
                target.features,
                reference_image,
                self._encoded,
                may_record=previous is not reference,  # else one tensor has two roles, which a record would confuse
            )
            self._previous = made[0], target.structure
        return self._session.array(made[0]), self._session.array(made[1])

    def _target(self, structure: Array) -> _Target:
        tensors = self._structure(structure)
        return _Target(tensors, self._network.encode_target(tensors[0]))

    def _structure(self, structure: Array) -> _Structure:
        maps = self._session.tensor(structure)
        reading = self._network.read_face(maps)
        if reading is None:
            return (maps,)
        return maps, reading.reduced, *(part for part in reading.face if part is not None)

    def _encode(self) -> dict[str, Source]:
        image, structure = self._given
        self._reference = self._previous = self._session.tensor(image), self._structure(structure)
        return self._network.encode_reference(self._reference[0])


def _recorded(step: _Step, given: tuple[Any, ...], made: tuple[Tensor, Tensor]) -> _Step:
    """A step without Python between its operations, which would let the threads of a clip wait for each other.

    Torch's tracer is deprecated, but nothing else does this without a compiler. Where it fails, or does not give what
    the step has `made` of the `given` tensors, the step itself is returned.
    """
    dtype, enabled = torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cpu")
    try:
        with python_warnings_silenced, torch.autocast("cpu", dtype, enabled=enabled, cache_enabled=False):
            recorded = torch.jit.trace(step, given, check_trace=False)

        def repeated(*given: Any) -> tuple[Tensor, Tensor]:
            # The casts of autocast are among the recorded operations.
            with torch.autocast("cpu", enabled=False), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
                image, layers = recorded(*given)
                return image, layers

        equal = all(torch.allclose(*pair, atol=_SAME) for pair in zip(repeated(*given), made, strict=True))
    except Exception:  # the tracer raises any type, and may be gone
        return step
    return repeated if equal else step
