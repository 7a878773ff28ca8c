"""Flow prior "volume": an object as densities along the source camera's rays, seen from the target view.

Not in the paper. A network predicts where the object is in space, from the source image alone. The turn to the target
view is then geometry: a ray of the target camera meets the surface at a point, and the source camera sees that point
at a known position. All views of a turntable share one volume, so they show the same object.

Camera axes: x to the right, y up, z towards the camera, in halves of the frame. The object's middle is the origin.
B batch, K depths (nearest first), h x w grid at PRIOR_STRIDE of the reduced frame.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.conditioning.view_code import AZIMUTH_STEP, AZIMUTHS, ELEVATIONS
from gfla_cli.config import ModelConfig
from gfla_cli.geometry.volume import NEAREST, OUTSIDE, USUAL_DISTANCE
from gfla_cli.networks.blocks import DecoderBlock, ResidualBlock, Skip, encoder_blocks, features_after, widths
from gfla_cli.networks.priors import PRIOR_STRIDE
from gfla_cli.ops.warp import bag_of_pixels, constant, downsample, pixel_grid, sample_at, upsample

DEPTHS = 32  # slices of a volume, and samples along a ray
MAPS = 9  # channels of `Projection.maps`
REFINED = 48  # channels of the features of `MaskEstimator`
_EMPTY = -4.0  # logit of the density where nothing is learnt yet
_THIN = 0.05  # opacity below which a flow fades to zero
_SHARPNESS, _LEAST = 3.0, 1e-12
_CAMERA_LIMITS, _CAMERA_STEP = (0.3, 0.3, 0.6), 0.02  # of `Volume.camera`
_WIDTH = 48  # channels of the features that densities are read from


class Volume(NamedTuple):
    """An object as the source camera sees it."""

    density: Tensor  # (B, K, h, w) logits, along the source camera's rays
    clear: Tensor  # (B, K, h, w) in [0, 1]: how much of a ray reaches this depth
    camera: Tensor  # (B, 3, 1, 1) x and y of the object's middle, and the logarithm of the distance / USUAL_DISTANCE
    image: Tensor  # (B, 3, h, w) the source image

    def hit(self) -> Tensor:
        """(B, K, h, w) share of a ray of the source camera that ends at each depth."""
        return self.density.sigmoid() * self.clear


class Projection(NamedTuple):
    """A volume as the target camera sees it."""

    moved: Tensor  # (B, 2, h, w) opacity times offset to the source, in pixels of this grid
    opacity: Tensor  # (B, 1, h, w) in [0, 1]: the silhouette
    hit: Tensor  # (B, K, h, w) share of a ray of the target that ends at each depth
    maps: Tensor  # (B, MAPS, h, w) for a network: opacity, flow, depths, visibility, warped source image

    def offset_at(self, height: int, width: int) -> Tensor:
        """(B, 2, height, width) the flow in pixels of that grid. It fades to zero outside of the object."""
        moved, opacity = (_resized(x, height) for x in (self.moved, self.opacity))
        return moved / opacity.clamp(min=_THIN) * (_size(moved) / _size(self.moved))


class VolumeEstimator(nn.Module):
    """Source image to volume: a U-Net whose last features, at each position, give the densities along the ray."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = widths(config.flow_width, config.flow_max_width, config.flow_depth)
        self.down = encoder_blocks([3, *width])
        self.middle = ResidualBlock(width[-1])
        wanted = [*width[1:-1][::-1], _WIDTH]  # channels after each step up; the last one is at PRIOR_STRIDE
        self.up = nn.ModuleList(DecoderBlock(a, b, hidden=b, kernel=4) for a, b in pairwise([width[-1], *wanted]))
        self.skip = nn.ModuleList(Skip(channels) for channels in width[1:-1][::-1])
        self.fine = nn.Conv2d(width[0], _WIDTH, 3, padding=1)  # skip connection at PRIOR_STRIDE
        self.volume_head = nn.Conv2d(_WIDTH, DEPTHS, 3, padding=1)
        self.camera_head = nn.Conv2d(width[-1], 3, 1)

    def forward(self, image: Tensor) -> Volume:
        """The volume of an image (B, 3, H', W') in [-1, 1], of the reduced frame."""
        features = features_after(self.down, image)
        x = self.middle(features[-1])
        middle = x.float().mean(dim=(2, 3), keepdim=True)
        middle = middle / (middle.square().mean(dim=1, keepdim=True).sqrt() + 1e-3)
        for i, up in enumerate(self.up):
            before = features[-2 - i]
            x = up(x) + (self.skip[i](before) if i < len(self.skip) else self.fine(before))
        with torch.autocast(image.device.type, enabled=False):
            density = self.volume_head(F.leaky_relu(x.float(), 0.1)) + _EMPTY
            # Small steps: a tanh far from zero has no gradient.
            limit = constant(_CAMERA_LIMITS, middle.device).view(1, 3, 1, 1)
            camera = (self.camera_head(middle) * _CAMERA_STEP).tanh() * limit
            matter = F.softplus(density)
            clear = torch.exp(matter - matter.cumsum(dim=1))
        return Volume(density, clear, camera, downsample(image, PRIOR_STRIDE).float())


def project_volume(volume: Volume, source_code: Tensor, target_code: Tensor) -> Projection:
    """The volume seen from the target view. View codes are (B, 21, 1, 1).

    A ray of the target camera may meet matter in several places. The flow leads to where the source camera sees those
    that are hit most.
    """
    with torch.autocast(volume.density.device.type, enabled=False):
        return _project(volume, source_code.float(), target_code.float())


def _project(volume: Volume, source_code: Tensor, target_code: Tensor) -> Projection:
    height, width = volume.density.shape[-2:]
    turn = camera_rotation(source_code) @ camera_rotation(target_code).transpose(1, 2)  # (B, 3, 3)
    middle_x, middle_y, distance = volume.camera.float().split(1, dim=1)  # (B, 1, 1, 1) each
    distance = USUAL_DISTANCE * distance.exp()
    half = constant((2.0, 2.0), distance.device).view(1, 2, 1, 1) / _size(volume.density)
    here = (pixel_grid(height, width, distance) + 0.5) * half - 1  # (1, 2, h, w) in [-1, 1]
    z = _slices(distance)
    scale = (distance - z) / distance  # (B, K, 1, 1)
    x, y = (here[:, :1] - middle_x) * scale, (middle_y - here[:, 1:]) * scale  # (B, K, h, w)
    row = [[turn[:, i, j].view(-1, 1, 1, 1) for j in range(3)] for i in range(3)]
    there_x, there_y, there_z = (r[0] * x + r[1] * y + r[2] * z for r in row)  # in the source camera's axes
    scale = distance / (distance - there_z)
    seen_x, seen_y = there_x * scale + middle_x, middle_y - there_y * scale
    density = _sampled(volume.density - OUTSIDE, torch.stack([seen_x, seen_y, there_z / -NEAREST], dim=-1)) + OUTSIDE
    matter = F.softplus(density)
    weight = density.sigmoid() * torch.exp(matter - matter.cumsum(dim=1))  # of each sample, as what the ray hits first

    opacity = weight.sum(dim=1, keepdim=True)
    solid = opacity.clamp(min=_THIN)
    # The flow leads to the place that is hit most, not between two legs that may both be hit.
    most = weight**_SHARPNESS
    most = most * (opacity / most.sum(dim=1, keepdim=True).clamp(min=_LEAST))

    def met(values: Tensor) -> Tensor:
        return (most * values).sum(dim=1, keepdim=True)

    moved = torch.cat([met(seen_x - here[:, :1]), met(seen_y - here[:, 1:])], dim=1)
    place = here + moved / solid
    far, near = met(z.expand_as(weight)) / solid, met(there_z) / solid
    spot = torch.cat([place, (near + 2 * NEAREST / DEPTHS) / -NEAREST], dim=1)  # a slice in front of the surface
    visible = _sampled(volume.clear.float(), spot.permute(0, 2, 3, 1)[:, None])
    # Colours are those of all places that may be hit.
    seen = torch.stack([seen_x, seen_y], dim=1).flatten(2, 3)  # (B, 2, K * h, w)
    colours = sample_at(volume.image, (seen + 1) / half - 0.5).unflatten(2, (DEPTHS, height))  # (B, 3, K, h, w)
    colour = (weight[:, None] * colours).sum(dim=2) / solid
    maps = torch.cat([opacity, moved / solid, far, near, visible * opacity, colour], dim=1)
    return Projection(moved / half, opacity, weight, maps)


def camera_rotation(code: Tensor) -> Tensor:
    """(B, 3, 3) from the object's axes to those of a camera whose view code is (B, 21, 1, 1).

    Codes that blend two neighbouring views give the angle in between.
    """
    count = len(AZIMUTHS)
    step = constant(tuple(range(count)), code.device, torch.float32) * (AZIMUTH_STEP * torch.pi / 180)
    azimuths, elevations = code[:, :count, 0, 0], code[:, count:, 0, 0]
    sine, cosine = azimuths @ step.sin(), azimuths @ step.cos()
    length = (sine.square() + cosine.square()).sqrt().clamp(min=1e-3)
    sine, cosine = sine / length, cosine / length
    tilt = elevations @ (constant(ELEVATIONS, code.device, torch.float32) * (torch.pi / 180))
    zero = torch.zeros_like(sine)
    rows = [cosine, zero, -sine, -tilt.sin() * sine, tilt.cos(), -tilt.sin() * cosine]
    rows += [tilt.cos() * sine, tilt.sin(), tilt.cos() * cosine]
    return torch.stack(rows, dim=1).view(-1, 3, 3)


def slice_of(depth: Tensor) -> Tensor:
    """Depths towards the camera, in halves of the frame, as numbers of slices; -inf becomes K + 1 and more."""
    return ((1 - depth / NEAREST) * (DEPTHS / 2) - 0.5).clamp(0, DEPTHS + 1)


def _slices(like: Tensor) -> Tensor:
    """(1, K, 1, 1) the z of every slice, from the front to the back."""
    step = (torch.arange(DEPTHS, device=like.device, dtype=torch.float32) + 0.5) / DEPTHS
    return (NEAREST * (1 - 2 * step)).view(1, -1, 1, 1)


def _size(x: Tensor) -> Tensor:
    """(1, 2, 1, 1) width and height. It follows the input in an exported graph."""
    height, width = x.shape[-2:]
    if not torch.onnx.is_in_onnx_export():
        return constant((width, height), x.device, torch.float32).view(1, 2, 1, 1)
    return torch.stack([torch.as_tensor(width), torch.as_tensor(height)]).to(x.device, torch.float32).view(1, 2, 1, 1)


def _sampled(volume: Tensor, place: Tensor) -> Tensor:
    """Trilinear samples (B, k, h, w) of a volume (B, K, H, W), zero outside of it.

    `place` (B, k, h, w, 3): x, y and depth in [-1, 1], from the first to the last column, row and slice.
    """
    if not torch.onnx.is_in_onnx_export():  # the operator set of exports has no samples of volumes
        return F.grid_sample(volume[:, None], place, align_corners=False)[:, 0]
    depths, height, width = volume.shape[1:]
    x, y, z = ((place[..., i] + 1) * (n / 2) - 0.5 for i, n in enumerate((width, height, depths)))
    index, weight = [], []
    for corner in range(8):
        taps, share = [], torch.ones_like(x)
        for i, (at, n) in enumerate(((x, width), (y, height), (z, depths))):
            first = at.floor()
            tap = first + (corner >> i & 1)
            share = share * (1 - (at - tap).abs()) * ((tap >= 0) & (tap <= n - 1))
            taps.append(tap.clamp(0, n - 1).long())
        index.append((taps[2] * height + taps[1]) * width + taps[0])
        weight.append(share)
    flat = [torch.stack(parts, dim=-1).flatten(1, 2) for parts in (index, weight)]
    samples = bag_of_pixels(volume.flatten(1, 2)[:, None], *flat)  # (B, 1, k * h, w)
    return samples.view(place.shape[:4])


def _resized(x: Tensor, height: int) -> Tensor:
    """To a grid that is smaller or larger by a power of two."""
    own = x.shape[-2]
    return downsample(x, own // height) if height < own else upsample(x, height // own)


class MaskEstimator(nn.Module):
    """How far the flows of a projected volume can be trusted, and what the decoder should know of it: a small U-Net."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(MAPS, 32, 3, padding=1)
        self.down = encoder_blocks([32, 48, 64, 96], first_normed=True)
        self.up = nn.ModuleList(DecoderBlock(a, b, hidden=b, kernel=4) for a, b in pairwise([96, 64, REFINED, 32]))
        self.mask_head = nn.ModuleList(nn.Conv2d(c, 1, 3, padding=1) for c in (64, REFINED, 32))

    def forward(self, maps: Tensor) -> tuple[list[Tensor], Tensor]:
        """Masks on grids of 1/4, 1/2 and 1 of the side of `maps` (B, MAPS, h, w); features (B, REFINED, h/2, w/2)."""
        entered = self.enter(maps)
        features = [entered, *features_after(self.down, entered)]
        x = features.pop()
        found = []
        for up in self.up:
            x = up(x) + features.pop()
            found.append(x)
        with torch.autocast(maps.device.type, enabled=False):
            masks = [head(y.float()).sigmoid() for head, y in zip(self.mask_head, found, strict=True)]
        return masks, found[1]
