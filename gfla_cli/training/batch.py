"""What the batches of all tasks consist of: tensors on the device, close-up crops, ground-truth flows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gfla_cli.datasets.sample import Correspondence
from gfla_cli.networks.flow import Flow
from gfla_cli.ops.warp import constant

# Close-ups: crops of heads, eyes and mouths.
_FACE, _NECK = (0, 14, 15, 16, 17), 1
_PER_NECK = 2.0  # side of a head crop / distance from the neck to the middle of the face; includes hair and chin
_SIDES = 20.0, 0.7  # smallest side in pixels, largest side as a fraction of the frame
_EYES, _MOUTH = slice(36, 48), slice(48, 68)  # of a face's 68 points
_PER_EYES, _PER_MOUTH = 1.25, 1.5  # side of a crop / width of eyes or mouth in a frontal face
_LEAST = 8.0  # smallest side of an eye or mouth crop, pixels
SIDE = 64  # of a resized crop, pixels

# (height, width) of a grid -> offsets (B, 2, h, w) in its pixels, weights and visibility (B, 1, h, w)
GroundTruthAt = Callable[[int, int], tuple[Tensor, Tensor, Tensor]]


def head_boxes(points: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, 3) centre x, y and side, in pixels, of the heads of people with joints (B, 18, 3): x, y, confidence.

    `size` is height and width of the frame. A person without face joints gets a box above the neck; without a neck,
    in the middle of the frame.
    """
    place, known = points[..., :2], (points[..., 2:] > 0).float()
    height, width = size
    names = constant(_FACE, points.device)
    count = known[:, names].sum(dim=1)  # (B, 1)
    face = (place[:, names] * known[:, names]).sum(dim=1) / count.clamp(min=1)
    neck, has_neck = place[:, _NECK], known[:, _NECK] > 0
    usual = 0.12 * height
    above = torch.where(
        has_neck,
        neck - constant((0.0, usual), neck.device, neck.dtype),
        constant((width / 2, height / 2), neck.device, neck.dtype),
    )
    middle = torch.where(count > 0, face, above)
    to_neck = torch.where(has_neck & (count > 0), torch.linalg.vector_norm(middle - neck, dim=1, keepdim=True), usual)
    side = (to_neck * _PER_NECK).clamp(_SIDES[0], _SIDES[1] * min(size))
    return torch.cat([middle, side], dim=1)


def feature_boxes(points: Tensor) -> Tensor:
    """(..., 2, 3) centre x, y and side, in pixels, of the eyes and of the mouth of faces with points (..., 68, 2)."""
    return torch.stack([_box(points[..., _EYES, :], _PER_EYES), _box(points[..., _MOUTH, :], _PER_MOUTH)], dim=-2)


def _box(points: Tensor, per_side: float) -> Tensor:
    least, most = points.amin(dim=-2), points.amax(dim=-2)
    side = (most - least).amax(dim=-1, keepdim=True) * per_side
    return torch.cat([(least + most) / 2, side.clamp(min=_LEAST)], dim=-1)


def close_up(boxes: Tensor, image: Tensor) -> Tensor:
    """Crops (B, C, SIDE, SIDE) of images (B, C, H, W) at (B, 3) boxes. Outside the image the edge is repeated."""
    height, width = image.shape[-2:]
    steps = (torch.arange(SIDE, device=image.device) + 0.5) / SIDE - 0.5
    x = boxes[:, 0, None] + steps * boxes[:, 2, None]  # (B, SIDE) pixels
    y = boxes[:, 1, None] + steps * boxes[:, 2, None]
    grid = torch.stack(
        [
            (2 * x / width - 1)[:, None, :].expand(-1, SIDE, -1),
            (2 * y / height - 1)[:, :, None].expand(-1, -1, SIDE),
        ],
        dim=-1,
    )
    return F.grid_sample(image.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


class GroundTruthFlow(NamedTuple):
    """A renderer's exact flow of N images, on a g x g grid."""

    offset: Tensor  # (N, 2, g, g) fractions of the frame
    weight: Tensor  # (N, 1, g, g) 0 = unknown
    visible: Tensor  # (N, 1, g, g) 1 seen in the source, 0 hidden, negative = unknown

    @classmethod
    def of(cls, stored: Correspondence, device: torch.device) -> GroundTruthFlow:
        """That of collated samples, on the device."""
        return cls(*(on_device(torch.as_tensor(part), device) for part in stored))

    def at(self, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pooled to a height x width grid: offsets in its pixels, weights and visibility, (N, ·, height, width)."""
        (offset, weight, visible), size = self, (height, width)
        if offset.shape[-2:] != size:
            pooled = F.adaptive_avg_pool2d(weight, size)
            offset = F.adaptive_avg_pool2d(offset * weight, size) / pooled.clamp(min=1e-6)
            weight = pooled
            unknown = F.adaptive_max_pool2d((visible < 0).float(), size) > 0
            visible = F.adaptive_avg_pool2d(visible, size).masked_fill(unknown, -1)
        return offset * constant((width, height), offset.device, offset.dtype).view(1, 2, 1, 1), weight, visible


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. Copies to a GPU are asynchronous."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def image_batch(images: Tensor, device: torch.device) -> Tensor:
    """(B, H, W, 3) bytes on the host -> (B, 3, H, W) in [-1, 1] on the device."""
    return on_device(images, device).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def mix_ground_truth_flows(flows: Sequence[Flow], ground_truth_at: GroundTruthAt, fraction: float) -> list[Flow]:
    """The flows of each level, replaced by the ground truth for a random `fraction` of the pairs (teacher forcing).

    Not in the paper. A decoder that only gets features from wrong places learns mean colours, and blurs stripes and
    faces even after the flows improve.
    """
    if not flows:
        return []
    offset = flows[0].offset
    return with_ground_truth_flows(flows, ground_truth_at, draw_teacher_forced(len(offset), fraction, offset.device))


def draw_teacher_forced(count: int, fraction: float, device: torch.device) -> Tensor:
    """(B, 1, 1, 1) booleans: which of `count` pairs use ground-truth flows. Drawn with torch's global generator."""
    return on_device(torch.rand(count) < fraction, device).view(-1, 1, 1, 1)


def with_ground_truth_flows(flows: Sequence[Flow], ground_truth_at: GroundTruthAt, chosen: Tensor) -> list[Flow]:
    """The flows of each level, replaced by the ground truth in the `chosen` pairs, wherever it is known.

    `chosen` (B, 1, 1, 1) comes from `draw_teacher_forced`. Where the renderer leaves the mask free it stays estimated.
    """
    replaced = []
    for flow in flows:
        offset, weight, visible = ground_truth_at(*flow.offset.shape[-2:])
        mask = torch.where(chosen & (visible >= 0), visible.clamp(min=0), flow.mask)
        replaced.append(Flow(torch.where(chosen & (weight > 0), offset, flow.offset), mask))
    return replaced
