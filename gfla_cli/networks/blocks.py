"""The blocks that every network is made of. All are pre-activation, with LeakyReLU 0.1 and InstanceNorm.

B batch, a and b channels before and after a block, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gfla_cli.ops.warp import padded

_BF16_LANES = 16  # channels that torch's bfloat16 kernel takes at once; others it takes one by one
_ONNX_LANES = 4  # channels
_FEW_PIXELS = 1024  # torch's group norm goes through smaller maps channel by channel, which is slow


class InstanceNorm(nn.GroupNorm):
    """InstanceNorm2d with affine parameters, computed as a group norm with one group per channel.

    Same result, same parameters. On the CPU torch's group norm keeps channels_last and is several times faster.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to the same shape. Exports use ONNX's InstanceNormalization operator."""
        if torch.onnx.is_in_onnx_export():
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        if x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last):
            pixels = x.shape[2] * x.shape[3]
            # Batch norm is ten times faster for gradients and for small maps.
            if pixels > 1 and (pixels < _FEW_PIXELS or torch.is_grad_enabled()):
                return self._image_by_image(x)
            if x.dtype is torch.bfloat16 and x.shape[1] % _BF16_LANES:
                return super().forward(x.float()).to(x.dtype)  # torch's bfloat16 kernel is 2-6 times slower
        if x.device.type == "cuda":
            # Autocast would compute group norm in float32, with three copies of the largest maps. `F.instance_norm`
            # takes bfloat16 with float32 parameters, and keeps its statistics in float32.
            with torch.autocast("cuda", enabled=False):
                return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        return super().forward(x)

    def _image_by_image(self, x: Tensor) -> Tensor:
        """Instance norm as batch norm over batches of one image."""
        weight, bias = self.weight, self.bias
        done = [F.batch_norm(one, None, None, weight, bias, training=True, eps=self.eps) for one in x.split(1)]
        return torch.cat(done) if len(done) > 1 else done[0]


def norm(channels: int, enabled: bool = True) -> nn.Module:
    """InstanceNorm, or the identity where a network must keep absolute brightness."""
    return InstanceNorm(channels) if enabled else nn.Identity()


def activation() -> nn.Module:
    """The activation of all networks."""
    return nn.LeakyReLU(0.1)


def widths(first: int, largest: int, count: int) -> list[int]:
    """Channels after each of `count` stride-2 blocks: doubling from `first`, at most `largest`."""
    return [min(first << i, largest) for i in range(count)]


class EncoderBlock(nn.Module):
    """Halves the resolution: (B, a, H, W) -> (B, b, H/2, W/2)."""

    def __init__(self, a: int, b: int, hidden: int | None = None, *, normed: bool = True) -> None:
        super().__init__()
        hidden = hidden or b
        self.norm1 = norm(a, normed)
        self.down = nn.Conv2d(a, hidden, 4, stride=2, padding=1)
        self.norm2 = norm(hidden, normed)
        self.conv = nn.Conv2d(hidden, b, 3, padding=1)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = conv_of_parts(self.down, [self.act(self.norm1(x))])
        y = self.conv(self.act(self.norm2(y)))
        return y


def encoder_blocks(channels: Sequence[int], *, first_normed: bool = False) -> nn.ModuleList:
    """EncoderBlocks from each number of channels to the next. By default the first one keeps absolute brightness."""
    steps = enumerate(pairwise(channels))
    return nn.ModuleList(EncoderBlock(a, b, normed=first_normed or i > 0) for i, (a, b) in steps)


def features_after(blocks: nn.ModuleList, x: Tensor) -> list[Tensor]:
    """The features after each of several blocks that are called one after the other."""
    features = []
    for block in blocks:
        x = block(x)
        features.append(x)
    return features


class ResidualBlock(nn.Module):
    """Refines at the same resolution: (B, a, H, W) -> (B, b, H, W)."""

    def __init__(self, a: int, b: int | None = None, hidden: int | None = None, *, normed: bool = True) -> None:
        super().__init__()
        b, hidden = b or a, hidden or a
        self.norm1 = norm(a, normed)
        self.conv1 = nn.Conv2d(a, hidden, 3, padding=1)
        self.norm2 = norm(hidden, normed)
        self.conv2 = nn.Conv2d(hidden, b, 3, padding=1)
        self.shortcut = nn.Identity() if a == b else nn.Conv2d(a, b, 1)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv1(self.act(self.norm1(x)))
        y = self.conv2(self.act(self.norm2(y))) + self.shortcut(x)
        return y


class DecoderBlock(nn.Module):
    """Doubles the resolution: (B, a, H, W) -> (B, b, 2H, 2W).

    `kernel` of the transposed convolutions: 3 as in the released models, or 4. With 4 every output pixel is a sum of
    the same number of taps, which avoids checkerboard artefacts (Odena et al., 2016).
    """

    def __init__(self, a: int, b: int, hidden: int | None = None, *, normed: bool = True, kernel: int = 3) -> None:
        super().__init__()
        hidden = hidden or a
        self.norm1 = norm(a, normed)
        self.conv = nn.Conv2d(a, hidden, 3, padding=1)
        self.norm2 = norm(hidden, normed)
        self.up, self.shortcut = (
            nn.ConvTranspose2d(channels, b, kernel, stride=2, padding=1, output_padding=4 - kernel)
            for channels in (hidden, a)
        )
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.act(self.norm1(x)))
        # up(act(norm2(y))) + shortcut(x) as one convolution: it writes the largest maps once and adds nothing.
        up, shortcut = self.up, self.shortcut
        assert up.bias is not None
        assert shortcut.bias is not None
        both = torch.cat([self.act(self.norm2(y)), x], dim=1)
        weight, bias = torch.cat([up.weight, shortcut.weight]), up.bias + shortcut.bias
        if torch.onnx.is_in_onnx_export():
            return _doubled_by_shuffle(both, weight, bias, (up.in_channels + shortcut.in_channels, up.out_channels))
        return F.conv_transpose2d(both, weight, bias, stride=2, padding=1, output_padding=up.output_padding)


def _doubled_by_shuffle(x: Tensor, weight: Tensor, bias: Tensor, channels: tuple[int, int]) -> Tensor:
    """A transposed convolution of stride 2, padding 1 and kernel 3 or 4 as a 2x2 convolution and a pixel shuffle.

    `channels` before and after it. In ONNX Runtime this takes a third of the time of ConvTranspose.
    """
    a, b = channels
    if weight.shape[-1] == 3:  # a kernel of 4 whose last taps are 0
        weight = torch.cat([weight, 0 * weight[..., :1]], dim=3)
        weight = torch.cat([weight, 0 * weight[..., :1, :]], dim=2)
    # Output 2k - 1 + q takes tap q of input k, and tap q + 2 of input k - 1.
    taps = weight.reshape(a, b, 2, 2, 2, 2).flip(2, 4).permute(1, 3, 5, 0, 2, 4).reshape(4 * b, a, 2, 2)
    phases = F.conv2d(x, taps, torch.stack([bias] * 4, dim=1).reshape(4 * b), padding=1)
    return F.pixel_shuffle(phases, 2)[..., 1:-1, 1:-1]


def side_by_side(parts: Sequence[Tensor], like: Tensor | None = None) -> Tensor:
    """Joins maps (B, ·, H, W), in the memory format of `like`, or of the first map. Maps may be slices of channels.

    Otherwise one map in another format would decide the format of all, and slow the next convolution down.
    """
    if (parts[0] if like is None else like).stride(1) != 1:
        return torch.cat([part.contiguous() for part in parts], dim=1)
    # A single channel has both formats at once, and `cat` would take the wrong one. Permuted maps leave no choice.
    rows = [part.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1) for part in parts]
    return torch.cat(rows, dim=3).permute(0, 3, 1, 2)


def conv_of_parts(conv: nn.Conv2d, parts: Sequence[Tensor]) -> Tensor:
    """A convolution of maps (B, ·, H, W) side by side. Exports add empty channels up to a multiple of four.

    ONNX Runtime has no fast convolution for other numbers of channels.
    """
    lacking = -conv.in_channels % _ONNX_LANES
    if not (torch.onnx.is_in_onnx_export() and lacking):
        return conv(side_by_side(parts) if len(parts) > 1 else parts[0])  # type: ignore[no-any-return]
    empty = torch.zeros(conv.out_channels, lacking, *conv.kernel_size, dtype=conv.weight.dtype)
    x = F.pad(torch.cat(list(parts), dim=1), [0, 0, 0, 0, 0, lacking])
    return F.conv2d(x, torch.cat([conv.weight, empty], dim=1), conv.bias, conv.stride, conv.padding)


class Skip(nn.Module):
    """A skip connection from encoder to decoder: (B, a, H, W) -> (B, a, H, W). No norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(padded(self.act(x), 1, "reflect"))
        return y


class ToImage(nn.Module):
    """Features to an image in [-1, 1]: (B, a, H, W) -> (B, 3, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 3, 3)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        x = padded(self.act(x), 1, "reflect")
        y: Tensor = (four_pixels_at_once(self.conv, x) if x.device.type == "cpu" else self.conv(x)).tanh()
        return y


def four_pixels_at_once(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A 3x3 convolution without padding, (B, a, H + 2, W + 2) to (B, b, H, W), for few output channels; H, W even.

    Four neighbouring pixels become 4 b channels of one place: CPUs compute 16 channels in the time of three.
    """
    shifted = [F.pad(conv.weight, [right, 1 - right, down, 1 - down]) for down in (0, 1) for right in (0, 1)]
    weight = torch.stack(shifted, dim=1).reshape(4 * conv.out_channels, conv.in_channels, 4, 4)
    bias = None if conv.bias is None else torch.stack([conv.bias] * 4, dim=1).flatten()
    return F.pixel_shuffle(F.conv2d(x, weight, bias, stride=2), 2)
