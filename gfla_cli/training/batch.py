"""A collated batch of byte pictures and points, made into what the networks and losses take, on their device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gfla_cli.config import ModelConfig
from gfla_cli.data.sample import PosePair
from gfla_cli.networks.body_shape import body_shape
from gfla_cli.networks.body_solids import trunk_length
from gfla_cli.ops.constants import constant
from gfla_cli.structure.heatmap import heatmap_batch
from gfla_cli.structure.joint_depth import joint_map_batch
from gfla_cli.training.close_ups import head_boxes

_HEAD_AND_HANDS = (0, 4, 7, 14, 15, 16, 17)
_FOREARMS = ((3, 4), (6, 7))  # elbow, wrist
_ALONG = (0.0, 0.35, 0.7, 1.25)  # of the way to the wrist, and on into the hand
_USUAL_TRUNK = 0.22  # of the frame's height
_DETAILS = 3.0  # how much more they count than the rest of a person


@dataclass(frozen=True, slots=True)
class PoseBatch:
    """One training step's inputs and expectations. B pictures of H x W, S = 18 joints."""

    source_image: Tensor  # (B, 3, H, W) in [-1, 1]
    target_image: Tensor  # (B, 3, H, W)
    source_structure: Tensor  # (B, S, H, W) in [0, 1]; with depths 2 S channels
    target_structure: Tensor  # (B, S, H, W)
    target_points: Tensor  # (B, S, 3) x, y, confidence, pixels; missing = -1, -1, 0
    true_points: Tensor  # (2 B, S, 4) x, y, 1 where known, depth: of all sources, then of all targets
    target_mask: Tensor  # (B, 1, H, W) in [0, 1], 1 on the person
    target_details: Tensor  # (B, 1, H, W) in [0, 1], 1 on faces, forearms and hands
    target_head: Tensor  # (B, 3) middle x, y and side of the head, pixels
    offset: Tensor  # (B, 2, g, g) known correspondences, fractions of the frame
    offset_weight: Tensor  # (B, 1, g, g)
    visible: Tensor  # (B, 1, g, g)

    def correspondence_at(self, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Known offsets in pixels of a height x width grid, their weights, and visibility, (B, ·, height, width)."""
        return pooled_correspondence(self.offset, self.offset_weight, self.visible, (height, width))

    def wanted_correspondence_at(self, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """The same for a loss: faces, forearms and hands count more, as in `pixel_weight`."""
        offset, weight, visible = self.correspondence_at(height, width)
        return offset, weight * (1 + _DETAILS * F.adaptive_avg_pool2d(self.target_details, (height, width))), visible

    def joint_maps(self, stride: int, sigma: float) -> Tensor:
        """(B, S, H/stride, W/stride) heat maps of the target's joints; `sigma` in pixels of those."""
        height, width = self.target_image.shape[-2:]
        return heatmap_batch(self.target_points / stride, (height // stride, width // stride), sigma)

    def around_person(self, share: float, *pictures: Tensor) -> list[Tensor]:
        """The columns around each target person, `share` of the width, of (B, C, H, W) pictures."""
        width = self.target_mask.shape[-1]
        kept = min(width, -(-int(width * share) // 8) * 8)
        columns = torch.arange(width, device=self.target_mask.device)
        there = self.target_mask.amax(dim=(1, 2)) > 0.5  # (B, W)
        first = torch.where(there, columns, width).amin(dim=1)
        last = torch.where(there, columns, -1).amax(dim=1)
        left = ((first + last + 1 - kept) // 2).clamp(0, width - kept)
        if left.device.type == "cpu":
            return [torch.stack([p[i, ..., x : x + kept] for i, x in enumerate(left.tolist())]) for p in pictures]
        chosen = (left[:, None] + columns[:kept])[:, None, None]  # (B, 1, 1, kept); to ask where would be to wait
        return [p.gather(3, chosen.expand(-1, p.shape[1], p.shape[2], -1)) for p in pictures]

    def pixel_weight(self, person: float) -> Tensor:
        """(B, 1, H, W) of mean 1: the person counts `person` times more, faces, forearms and hands yet more."""
        weight = 1 + person * (self.target_mask + _DETAILS * self.target_details)
        return weight / weight.mean(dim=(2, 3), keepdim=True)


def pooled_correspondence(
    offset: Tensor, weight: Tensor, visible: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Known offsets (B, 2, g, g), weights and visibility (B, 1, g, g) on a coarser grid, offsets in its pixels."""
    if offset.shape[-2:] != size:
        pooled = F.adaptive_avg_pool2d(weight, size)
        offset = F.adaptive_avg_pool2d(offset * weight, size) / pooled.clamp(min=1e-6)
        weight = pooled
        unknown = F.adaptive_max_pool2d((visible < 0).float(), size) > 0
        visible = F.adaptive_avg_pool2d(visible, size).masked_fill(unknown, -1)
    return offset * constant((size[1], size[0]), offset.device, offset.dtype).view(1, 2, 1, 1), weight, visible


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """The same on the device; a copy to a GPU is ordered there, and nobody waits for it."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def picture_batch(images: Tensor, device: torch.device) -> Tensor:
    """(B, H, W, 3) bytes on the host -> (B, 3, H, W) in [-1, 1] on the device."""
    return on_device(images, device).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def to_device(pair: PosePair, config: ModelConfig, device: torch.device) -> PoseBatch:
    """`pair` holds collated tensors (a leading B everywhere). Heat maps shrink with the picture when it is smaller."""
    source, target = (torch.as_tensor(x) for x in (pair.source_image, pair.target_image))
    size = (source.shape[1], source.shape[2])
    sigma = config.heatmap_sigma * size[0] / config.image_size[0]
    known = pair.correspondence
    source_points, wanted_points = (
        on_device(torch.as_tensor(x), device).float() for x in (pair.source_points, pair.target_points)
    )
    target_points = wanted_points[..., :3]
    offset_weight = on_device(torch.as_tensor(known.weight), device) * _share_of_size(wanted_points, size[0])
    maps = joint_map_batch if config.has_depth else heatmap_batch
    return PoseBatch(
        source_image=picture_batch(source, device),
        target_image=picture_batch(target, device),
        source_structure=maps(source_points, size, sigma),
        target_structure=maps(wanted_points, size, sigma),
        target_points=target_points,
        true_points=on_device(torch.as_tensor(pair.true_points), device).float().transpose(0, 1).flatten(0, 1),
        target_mask=on_device(torch.as_tensor(pair.target_mask), device)[:, None].float().div(255),
        target_details=_details(target_points, size, sigma),
        target_head=head_boxes(target_points, size),
        offset=on_device(torch.as_tensor(known.offset), device),
        offset_weight=offset_weight,
        visible=on_device(torch.as_tensor(known.visible), device),
    )


def _share_of_size(points: Tensor, height: int) -> Tensor:
    """(B, 1, 1, 1) how much flows count: less where a person is seen from near and every error is larger."""
    place = torch.cat([points[..., :2], torch.zeros_like(points[..., :1])], dim=2)
    shape, _ = body_shape(points.device)
    trunk = trunk_length(place, (points[..., 2] > 0).to(place.dtype), shape)  # (B, 1) pixels
    return (_USUAL_TRUNK * height / trunk).clamp(max=1)[..., None, None]


def _details(points: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """(B, 1, H, W), 1 where people look first and pictures are smallest, and where arms pass before a body."""
    places = [points[:, joint, :2] for joint in _HEAD_AND_HANDS]
    for elbow, wrist in _FOREARMS:
        first, second = points[:, elbow], points[:, wrist]
        there = ((first[:, 2:] > 0) & (second[:, 2:] > 0)).expand(-1, 2)
        for share in _ALONG:
            place = first[:, :2] + share * (second[:, :2] - first[:, :2])
            places.append(place.where(there, -1))
    return heatmap_batch(torch.stack(places, dim=1), size, sigma).amax(dim=1, keepdim=True)
