"""A collated batch of clips, cut into training steps: structures, pictures and correspondences on their device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gfla_cli.config import ModelConfig
from gfla_cli.data.sample import ClipSample, Correspondence
from gfla_cli.structure.body import body_structure
from gfla_cli.structure.face import EYE, face_structure
from gfla_cli.training.batch import picture_batch, pooled_correspondence
from gfla_cli.training.close_ups import feature_boxes, head_boxes

_HEAD_AND_HANDS = (0, 3, 6, 13, 14, 15, 16)  # channels of the body structure: nose, wrists, eyes, ears
_FACE_LABELS = 15  # the channel of the face structure that says which part of the face a pixel is


@dataclass(frozen=True, slots=True)
class KnownFlow:
    """Known correspondences of B x T frames with another picture, fractions of the frame on a g x g grid."""

    offset: Tensor  # (B*T, 2, g, g)
    weight: Tensor  # (B*T, 1, g, g)
    visible: Tensor  # (B*T, 1, g, g)

    def at(self, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Offsets in pixels of a height x width grid, their weights, and visibility, (B*T, ·, height, width)."""
        return pooled_correspondence(self.offset, self.weight, self.visible, (height, width))

    def of_frame(self, k: int, frames: int) -> KnownFlow:
        """The correspondences of the B frames number `k`, of `frames` that each clip has."""
        return KnownFlow(*(x.unflatten(0, (-1, frames))[:, k] for x in (self.offset, self.weight, self.visible)))


@dataclass(frozen=True, slots=True)
class SequenceBatch:
    """One step's stretch of B clips: T frames of H x W, S structure channels."""

    reference_image: Tensor  # (B, 3, H, W) in [-1, 1]
    reference_structure: Tensor  # (B, S, H, W)
    before_image: Tensor  # (B, 3, H, W) the real frame before the first one; at the start of a clip the reference
    before_structure: Tensor  # (B, S, H, W)
    images: Tensor  # (B, T, 3, H, W) what should come out
    structures: Tensor  # (B, T, S, H, W)
    masks: Tensor  # (B, T, 1, H, W) in [0, 1], 1 on the person
    to_previous: KnownFlow
    to_reference: KnownFlow
    close_ups: Tensor  # (B, T, K, 3) middle x, y and side of eyes and mouth (K = 2), or of a body's head (K = 1)
    carried: Tensor | None = None  # (B, 3, H, W) the last frame that the step before generated, if there was one

    def continued(self, carried: Tensor) -> SequenceBatch:
        """The same step, going on from a frame that was generated."""
        return replace(self, carried=carried)

    def pixel_weight(self, extra: float, task: str) -> Tensor:
        """(B, T, 1, H, W) of mean 1: the person counts `extra` times more; eyes and mouth, or head and hands, more."""
        weight = 1 + extra * (self.masks + _details(self.structures, task)) / 2
        return weight / weight.mean(dim=(3, 4), keepdim=True)


def sequence_batches(
    sample: ClipSample, config: ModelConfig, frames_per_step: int, device: torch.device
) -> Iterator[SequenceBatch]:
    """The steps of collated clips (a leading B everywhere), one after the other; frames that fill no step are left."""
    images = picture_batches(torch.as_tensor(sample.images), device)  # (B, 1 + F, 3, H, W)
    masks = torch.as_tensor(sample.masks).to(device)[:, :, None].float().div(255)
    drawn = _Drawing(sample, config, device)
    reference = before = drawn.structures([0])[:, 0]
    for first in range(1, images.shape[1] - frames_per_step + 1, frames_per_step):
        rows = list(range(first, first + frames_per_step))
        structures = drawn.structures(rows)
        details = _details(structures, config.task).flatten(0, 1)
        yield SequenceBatch(
            reference_image=images[:, 0],
            reference_structure=reference,
            before_image=images[:, first - 1],
            before_structure=before,
            images=images[:, rows],
            structures=structures,
            masks=masks[:, rows],
            to_previous=_known(sample.to_previous, rows, details),
            to_reference=_known(sample.to_reference, rows, details),
            close_ups=drawn.close_ups(rows),
        )
        before = structures[:, -1]


def picture_batches(images: Tensor, device: torch.device) -> Tensor:
    """(B, N, H, W, 3) bytes on the host -> (B, N, 3, H, W) in [-1, 1] on the device."""
    flat = picture_batch(images.flatten(0, 1), device)
    return flat.view(*images.shape[:2], *flat.shape[1:])


class _Drawing:
    """Draws the structures of a batch when they are needed: they are fifty times larger than the points."""

    def __init__(self, sample: ClipSample, config: ModelConfig, device: torch.device) -> None:
        self.points, self.edges = (np.asarray(x) for x in (sample.points, sample.edges))
        self.size = (sample.images.shape[2], sample.images.shape[3])
        self.is_face = config.task == "face"
        self.sigma = config.heatmap_sigma * self.size[0] / config.image_size[0]
        self.device = device

    def structures(self, rows: list[int]) -> Tensor:
        """(B, len(rows), S, H, W)."""
        drawn = [[self._one(clip, row) for row in rows] for clip in range(len(self.points))]
        return torch.from_numpy(np.stack([np.stack(clip) for clip in drawn])).to(self.device)

    def close_ups(self, rows: list[int]) -> Tensor:
        """(B, len(rows), K, 3) boxes of what people look at first."""
        points = torch.from_numpy(self.points[:, rows]).float().to(self.device)
        if self.is_face:
            return feature_boxes(points[..., :2])
        return head_boxes(points.flatten(0, 1), self.size).view(*points.shape[:2], 1, 3)

    def _one(self, clip: int, row: int) -> NDArray[np.float32]:
        points = self.points[clip, row]
        if self.is_face:
            return face_structure(points[:, :2], self.size, self.edges[clip, row])
        return body_structure(points, self.size, self.sigma)


def _details(structures: Tensor, task: str) -> Tensor:
    """(B, T, 1, H, W) how much more than the rest counts what people look at: eyes and lips, head and hands."""
    if task == "face":
        labels = structures[:, :, _FACE_LABELS : _FACE_LABELS + 1]
        return (labels >= EYE).float() * 2 + (labels >= 2).float() + (labels >= 1).float()
    return structures[:, :, _HEAD_AND_HANDS].amax(dim=2, keepdim=True)


def _known(known: Correspondence, rows: list[int], details: Tensor) -> KnownFlow:
    """The correspondences of the frames of some rows, those of `details` (B*T, 1, H, W) counting more.

    Lids and lips are a hundredth of a frame: flows would be learnt without them.
    """
    offset, weight, visible = (
        torch.as_tensor(part)[:, [row - 1 for row in rows]].flatten(0, 1).to(details.device) for part in known
    )
    return KnownFlow(offset, weight * (1 + F.adaptive_max_pool2d(details, weight.shape[-2:])), visible)
