"""Clips run by torch, frame by frame. On the CPU, the operations of a frame are recorded for long clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        self.long = long and not self.on_gpu
        self._steps: dict[str, _Step] = {}  # recorded ones, by the size of a frame; torch never frees them

    def start(self, reference_image: Array, reference_structure: Array) -> TorchClip:
        """See SequenceSession."""
        return TorchClip(self, reference_image, reference_structure)

    def made(self, step: _Step, given: tuple[Any, ...], *, may_record: bool) -> tuple[Tensor, Tensor]:
        """What a step makes of the `given` tensors, the previous frame first. In long clips steps are recorded."""
        size = str(given[0].shape)
        made = self._steps.get(size, step)(*given)
        if self.long and may_record and size not in self._steps:
            self._steps[size] = _recorded(step, given, made)
        return made


class _Structure(NamedTuple):
    """The structure of a frame, and what the network derives from it alone."""

    tensors: tuple[Tensor, ...]  # maps (1, S, H, W); of the flow prior "curves" also those of a FaceReading
    features: Tensor | None = None  # of a frame that is to be rendered, see `SequenceGenerator.encode_target`

    @property
    def face(self) -> FaceReading | None:
        """What `SequenceGenerator.read_face` gave."""
        return FaceReading(self.tensors[1], Face(*self.tensors[2:])) if len(self.tensors) > 1 else None


class _FrameStep(nn.Module):
    """One frame of a clip, from tensors to tensors, so that torch can record its operations."""

    def __init__(self, network: SequenceGenerator, names: Sequence[str]) -> None:
        """`names`: of the levels; `encode_reference` gives a source for each."""
        super().__init__()
        self.network, self.names = network, names

    def forward(
        self,
        image: Tensor,
        structures: tuple[tuple[Tensor, ...], ...],
        features: Tensor,
        reference_image: Tensor,
        sources: tuple[tuple[Tensor, Tensor], ...],
    ) -> tuple[Tensor, Tensor]:
        """The next frame (1, 3, H, W) in [-1, 1] and its layers.

        `image`: the previous frame. `structures`: of the target, the previous frame and the reference.
        `features`: what the target's structure gave. `sources`: those of the reference, by level.
        """
        read = [_Structure(tensors).face for tensors in structures]
        faces = [face for face in read if face is not None]
        target, previous, reference = (tensors[0] for tensors in structures)
        encoded = {name: Source(*source) for name, source in zip(self.names, sources, strict=True)}
        inputs = target, image, previous, reference_image, reference
        made: GeneratedFrame = self.network(*inputs, encoded, faces or None, features)
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
    def prepare(self, structure: Array) -> Array | _Structure:
        """See Clip. With several threads `next` does this, too: OpenMP would start as many for a second caller."""
        if self._session.on_gpu or torch.get_num_threads() > 1:
            return structure
        with self._session.autocast():
            return self._read(structure)

    @torch.inference_mode()
    def next(self, prepared: Array | _Structure) -> tuple[Array, Array]:
        """See Clip."""
        with self._session.running():
            target = prepared if isinstance(prepared, _Structure) else self._read(prepared)
            if self._encoded is None:
                self._encoded = self._encode()
            (image, previous), (reference_image, reference) = self._previous, self._reference
            structures = target.tensors, previous.tensors, reference.tensors
            sources = tuple(map(tuple, self._encoded.values()))
            step = _FrameStep(self._network, list(self._encoded))
            given = image, structures, target.features, reference_image, sources
            # In the first frame one tensor has two roles, which a record would not tell apart.
            made = self._session.made(step, given, may_record=previous is not reference)
            self._previous = made[0], target
        return self._session.array(made[0]), self._session.array(made[1])

    def _read(self, structure: Array) -> _Structure:
        maps = self._session.tensor(structure)
        reading = self._network.read_face(maps)
        tensors = () if reading is None else (reading.reduced, *(part for part in reading.face if part is not None))
        return _Structure((maps, *tensors), self._network.encode_target(maps))

    def _encode(self) -> dict[str, Source]:
        image, structure = self._given
        self._reference = self._previous = self._session.tensor(image), self._read(structure)
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
