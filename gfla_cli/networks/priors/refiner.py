"""Joints and thickness of a person, corrected by what the source picture shows and by what both poses have in common.

Not in the paper, a setting of our own models. The solids of `body_flow.py` lead to the right place when their joints
are right. Detected joints are a few pixels off, their depth more; the picture of the source shows where its limbs
are, both poses show the same bones, and few poses are likely.

B batch, J = 18 joints, N = 18 solids, H x W frame.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gfla_cli.conditioning.heatmap import JOINTS
from gfla_cli.networks.blocks import EncoderBlock, activation
from gfla_cli.networks.priors.body import body_shape, trunk_length
from gfla_cli.networks.priors.solids import SOLIDS, Joints, Refined
from gfla_cli.ops.warp import sample_at

_WIDTHS = (24, 48, 72)  # channels at strides 2, 4, 8
_PER_JOINT = 24  # features of the picture at each joint
_HIDDEN = 256
_NECK = 1
_FARTHEST = 0.5  # trunks that a joint can be moved


class PoseRefiner(nn.Module):
    """A small pyramid over the source picture, looked up at its joints, and three layers over all joints of both."""

    def __init__(self) -> None:
        super().__init__()
        into = [3 + JOINTS, *_WIDTHS]
        self.down = nn.ModuleList(
            EncoderBlock(a, b, normed=i > 0) for i, (a, b) in enumerate(zip(into, _WIDTHS, strict=False))
        )
        self.at_joint = nn.ModuleList(nn.Conv2d(width, _PER_JOINT, 1) for width in _WIDTHS[1:])
        of_joints = JOINTS * (2 * 5 + 2 * _PER_JOINT)
        self.layers = nn.Sequential(
            nn.Linear(of_joints + _WIDTHS[-1] + 1, _HIDDEN),
            activation(),
            nn.Linear(_HIDDEN, _HIDDEN),
            activation(),
        )
        # One for poses with depth, which is corrected, and one for those without, where it is found.
        self.place_head = nn.Linear(_HIDDEN, 2 * 2 * JOINTS * 3)
        self.thickness_head = nn.Linear(_HIDDEN, SOLIDS * 2)
        for head in (self.place_head, self.thickness_head):  # which start by changing almost nothing
            nn.init.normal_(head.weight, std=1e-3)
            nn.init.zeros_(head.bias)

    def forward(self, image: Tensor, heatmaps: Tensor, joints: Joints) -> Refined:
        """`image` (B, 3, H, W) in [-1, 1] and `heatmaps` (B, J, H, W) of the source; `joints` of source and target."""
        count = image.shape[0]
        shape, _ = body_shape(image.device)
        trunk = trunk_length(joints.place, joints.there, shape)[..., None]  # (2 B, 1, 1)
        there = joints.there[..., None]
        middle = joints.place[:, _NECK, None] * there[:, _NECK, None]
        away = (joints.place - middle) / trunk * there  # (2 B, J, 3)
        told = torch.cat([away, there, joints.deep[:, None].expand_as(there)], dim=2)
        x = torch.cat([image, heatmaps], dim=1).float()
        features = []
        for down in self.down:
            x = down(x)
            features.append(x)
        seen = []
        for k, layer in enumerate(self.at_joint):
            stride = 4 << k
            place = (joints.place[:count, :, :2] - (stride - 1) / 2) / stride  # (B, J, 2) pixels of those features
            at = sample_at(layer(features[k + 1]), place.transpose(1, 2)[:, :, None])  # (B, F, 1, J)
            seen.append(at[:, :, 0].transpose(1, 2) * there[:count])
        ratio = (trunk[:count] / trunk[count:]).log()[..., 0]
        told_of_both = [told[:count].flatten(1), told[count:].flatten(1)]
        whole = features[-1].float().mean(dim=(2, 3))
        y = self.layers(torch.cat([*told_of_both, *(s.flatten(1) for s in seen), whole, ratio], dim=1))
        moved = self.place_head(y).view(count, 2, 2, JOINTS, 3).transpose(0, 1).flatten(0, 1)  # (2 B, 2, J, 3)
        moved = torch.where(joints.deep[..., None] > 0, moved[:, 0], moved[:, 1])
        moved = moved.float().tanh() * _FARTHEST * trunk * there
        thickness = self.thickness_head(y).float().view(count, SOLIDS, 2).tanh().exp()
        return Refined(joints.place + moved, torch.cat([thickness, thickness]))
