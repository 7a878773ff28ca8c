"""A network that corrects joints and body thickness for the flow prior "solids".

Not in the paper. The solids of `body.py` lead to the right place if their joints are right. Detected joints are a few
pixels off, and their depth is worse. Three facts allow a correction: the source image shows where its limbs are, both
poses have the same bone lengths, and few poses are likely.

B batch, J = 18 joints, N = 18 solids, H x W frame.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gfla_cli.conditioning.heatmap import JOINTS
from gfla_cli.networks.blocks import EncoderBlock, activation
from gfla_cli.networks.priors.body import body_shape, trunk_length
from gfla_cli.networks.priors.solids import SOLIDS, Joints, RefinedPose
from gfla_cli.ops.warp import sample_at

_WIDTHS = (24, 48, 72)  # channels at strides 2, 4, 8
_PER_JOINT = 24  # image features at each joint
_HIDDEN = 256
_NECK = 1
_LARGEST_STEP = 0.5  # trunks that a joint can be moved along each axis


class PoseRefiner(nn.Module):
    """An image pyramid sampled at the source's joints, and an MLP over the joints of both poses."""

    def __init__(self) -> None:
        super().__init__()
        channels = [3 + JOINTS, *_WIDTHS]
        self.down = nn.ModuleList(
            EncoderBlock(a, b, normed=i > 0) for i, (a, b) in enumerate(zip(channels, _WIDTHS, strict=False))
        )
        self.at_joint = nn.ModuleList(nn.Conv2d(width, _PER_JOINT, 1) for width in _WIDTHS[1:])
        of_joints = JOINTS * (2 * 5 + 2 * _PER_JOINT)
        self.layers = nn.Sequential(
            nn.Linear(of_joints + _WIDTHS[-1] + 1, _HIDDEN),
            activation(),
            nn.Linear(_HIDDEN, _HIDDEN),
            activation(),
        )
        # Two steps for each joint: one for poses with depth, which corrects it, and one for poses without, which
        # estimates it.
        self.place_head = nn.Linear(_HIDDEN, 2 * 2 * JOINTS * 3)
        self.thickness_head = nn.Linear(_HIDDEN, SOLIDS * 2)
        for head in (self.place_head, self.thickness_head):  # training starts with almost no correction
            if not head.weight.is_meta:  # there torch would load its compiler to set values that no tensor holds
                nn.init.normal_(head.weight, std=1e-3)
                nn.init.zeros_(head.bias)

    def forward(self, image: Tensor, heatmaps: Tensor, joints: Joints) -> RefinedPose:
        """Corrects `joints` of sources, then targets, (2 B, J, 3).

        `image` (B, 3, H, W) in [-1, 1] and `heatmaps` (B, J, H, W) are the source's.
        """
        count = image.shape[0]
        shape, _ = body_shape(image.device)
        trunk = trunk_length(joints.position, joints.present, shape)[..., None]  # (2 B, 1, 1)
        present = joints.present[..., None]
        neck = joints.position[:, _NECK, None] * present[:, _NECK, None]
        from_neck = (joints.position - neck) / trunk * present  # (2 B, J, 3)
        pose = torch.cat([from_neck, present, joints.has_depth[:, None].expand_as(present)], dim=2)  # (2 B, J, 5)
        x = torch.cat([image, heatmaps], dim=1).float()
        features = []
        for down in self.down:
            x = down(x)
            features.append(x)
        at_joints = []
        for k, layer in enumerate(self.at_joint):
            stride = 4 << k
            position = (joints.position[:count, :, :2] - (stride - 1) / 2) / stride  # (B, J, 2) feature pixels
            sampled = sample_at(layer(features[k + 1]), position.transpose(1, 2)[:, :, None])  # (B, F, 1, J)
            at_joints.append(sampled[:, :, 0].transpose(1, 2) * present[:count])
        size_ratio = (trunk[:count] / trunk[count:]).log()[..., 0]
        poses = [pose[:count].flatten(1), pose[count:].flatten(1)]
        whole_image = features[-1].float().mean(dim=(2, 3))
        y = self.layers(torch.cat([*poses, *(x.flatten(1) for x in at_joints), whole_image, size_ratio], dim=1))
        step = self.place_head(y).view(count, 2, 2, JOINTS, 3).transpose(0, 1).flatten(0, 1)  # (2 B, 2, J, 3)
        step = torch.where(joints.has_depth[..., None] > 0, step[:, 0], step[:, 1])
        step = step.float().tanh() * _LARGEST_STEP * trunk * present
        thickness = self.thickness_head(y).float().view(count, SOLIDS, 2).tanh().exp()
        return RefinedPose(joints.position + step, torch.cat([thickness, thickness]))
