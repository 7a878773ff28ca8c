"""The weighted patch sum of local attention (eq. 9) as Triton kernels for GPUs. Triton compiles them at first use.

The torch form (`ops/local_attention.py`) spreads the attention over bilinear corners, lists the pixels and sums them.
Here one kernel does all three and stores only the result. Values and gradients are the same. Sums are in float32 for
all input types.

Shape suffixes: B batch, C channels, H x W source grid, h x w target grid, K = n*n attention taps, T = (n+1)² pixels.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

# mypy: disable-error-code="no-untyped-def"
# Kernels are written in Triton's own language; their arguments (pointers and constants) have no Python types.


_PIXELS = 16  # target pixels per program; their (n+1)² taps overlap, so repeated reads come from the cache
_CHANNELS = 64  # channels per program in the forward pass


@triton.jit
def _start(position, b, pixel, inside, h, w, H, W, R: tl.constexpr):
    """First row and column of each patch, and the fractions that all its taps share."""
    x = tl.load(position + (b * 2) * h * w + pixel, mask=inside, other=0.0).to(tl.float32)
    y = tl.load(position + (b * 2 + 1) * h * w + pixel, mask=inside, other=0.0).to(tl.float32)
    # Beyond the border every tap is the border pixel; the clamp keeps very large flows inside int32.
    x = tl.minimum(tl.maximum(x, -R - 1.0), W + R + 0.0)
    y = tl.minimum(tl.maximum(y, -R - 1.0), H + R + 0.0)
    left, top = tl.floor(x), tl.floor(y)
    return top.to(tl.int32), left.to(tl.int32), y - top, x - left


@triton.jit
def _tap_weight(attention, base, inside, step, fy, fx, i: tl.constexpr, j: tl.constexpr, N: tl.constexpr):
    """Weight of pixel (i, j) of the (n+1) x (n+1) pixels under a patch: the up to four taps that touch it."""
    weight = tl.zeros_like(fx)
    if i < N and j < N:
        tap = tl.load(attention + base + (i * N + j) * step, mask=inside, other=0.0).to(tl.float32)
        weight += tap * (1 - fy) * (1 - fx)
    if i < N and j > 0:
        tap = tl.load(attention + base + (i * N + j - 1) * step, mask=inside, other=0.0).to(tl.float32)
        weight += tap * (1 - fy) * fx
    if i > 0 and j < N:
        tap = tl.load(attention + base + ((i - 1) * N + j) * step, mask=inside, other=0.0).to(tl.float32)
        weight += tap * fy * (1 - fx)
    if i > 0 and j > 0:
        tap = tl.load(attention + base + ((i - 1) * N + j - 1) * step, mask=inside, other=0.0).to(tl.float32)
        weight += tap * fy * fx
    return weight


@triton.jit
def _forward_kernel(
    source, position, attention, out, h, w, H, W, C, N: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr
):
    """out[b, pixel, c] for a block of pixels and a block of channels; source and out are channels-last."""
    R: tl.constexpr = N // 2
    b = tl.program_id(2)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside, wanted = pixel < h * w, channel < C
    top, left, fy, fx = _start(position, b, pixel, inside, h, w, H, W, R)
    total = tl.zeros([PIXELS, CHANNELS], tl.float32)
    for i in tl.static_range(N + 1):
        row = tl.minimum(tl.maximum(top + (i - R), 0), H - 1)
        for j in tl.static_range(N + 1):
            column = tl.minimum(tl.maximum(left + (j - R), 0), W - 1)
            weight = _tap_weight(attention, b * N * N * h * w + pixel, inside, h * w, fy, fx, i, j, N)
            place = ((b * H + row) * W + column) * C
            both = inside[:, None] & wanted[None, :]
            value = tl.load(source + place[:, None] + channel[None, :], mask=both, other=0.0)
            total += weight[:, None] * value.to(tl.float32)
    result = out + (b * h * w + pixel[:, None]) * C + channel[None, :]
    tl.store(result, total.to(out.dtype.element_ty), mask=inside[:, None] & wanted[None, :])


@triton.jit
def _backward_kernel(
    source, position, attention, gradient, source_gradient, dots, h, w, H, W, C,
    N: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Adds to the source's gradient, and stores dots[b, i, j, pixel] = <gradient at the pixel, source under (i, j)>."""
    R: tl.constexpr = N // 2
    b = tl.program_id(1)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.arange(0, CHANNELS)  # all of them: the dot runs over every channel
    inside = pixel < h * w
    both = inside[:, None] & (channel < C)[None, :]
    top, left, fy, fx = _start(position, b, pixel, inside, h, w, H, W, R)
    here = tl.load(gradient + (b * h * w + pixel[:, None]) * C + channel[None, :], mask=both, other=0.0).to(tl.float32)
    for i in tl.static_range(N + 1):
        row = tl.minimum(tl.maximum(top + (i - R), 0), H - 1)
        for j in tl.static_range(N + 1):
            column = tl.minimum(tl.maximum(left + (j - R), 0), W - 1)
            weight = _tap_weight(attention, b * N * N * h * w + pixel, inside, h * w, fy, fx, i, j, N)
            place = (((b * H + row) * W + column) * C)[:, None] + channel[None, :]
            value = tl.load(source + place, mask=both, other=0.0).to(tl.float32)
            tl.atomic_add(source_gradient + place, weight[:, None] * here, mask=both)
            dot = tl.sum(here * value, axis=1)
            tl.store(dots + (b * (N + 1) * (N + 1) + i * (N + 1) + j) * h * w + pixel, dot, mask=inside)


def weighted_patch_sum_triton(source_BCHW: Tensor, position_B2hw: Tensor, attention_BKhw: Tensor) -> Tensor:
    """Like `weighted_patch_sum`; features in float32, float16 or bfloat16, result (B, C, h, w) in the same type."""
    last = source_BCHW.permute(0, 2, 3, 1).contiguous()
    out: Tensor = _weighted_patch_sum(last, position_B2hw.contiguous(), attention_BKhw.contiguous())
    return out.permute(0, 3, 1, 2)


def _launch_forward(source_BHWC: Tensor, position: Tensor, attention: Tensor) -> Tensor:
    B, H, W, C = source_BHWC.shape
    h, w = position.shape[-2:]
    n = math.isqrt(attention.shape[1])
    out = source_BHWC.new_empty(B, h, w, C)
    channels = min(_CHANNELS, triton.next_power_of_2(C))
    grid = (triton.cdiv(h * w, _PIXELS), triton.cdiv(C, channels), B)
    _callable(_forward_kernel)[grid](
        source_BHWC, position, attention, out, h, w, H, W, C, N=n, PIXELS=_PIXELS, CHANNELS=channels
    )
    return out


def _launch_backward(
    gradient: Tensor, source_BHWC: Tensor, position: Tensor, attention: Tensor
) -> tuple[Tensor, Tensor]:
    B, H, W, C = source_BHWC.shape
    h, w = position.shape[-2:]
    n = math.isqrt(attention.shape[1])
    source_gradient = torch.zeros_like(source_BHWC, dtype=torch.float32)
    dots = gradient.new_empty(B, (n + 1) ** 2, h, w, dtype=torch.float32)
    _callable(_backward_kernel)[(triton.cdiv(h * w, _PIXELS), B)](
        source_BHWC, position, attention, gradient.contiguous(), source_gradient, dots, h, w, H, W, C,
        N=n, PIXELS=_PIXELS, CHANNELS=triton.next_power_of_2(C),
    )  # fmt: skip
    return source_gradient.to(source_BHWC.dtype), dots


def _gradients_of_weights(dots: Tensor, position: Tensor, attention: Tensor, size: tuple[int, int]) -> list[Tensor]:
    """Gradients of positions and attention from the dots of the backward kernel."""
    n = math.isqrt(attention.shape[1])
    D = dots.unflatten(1, (n + 1, n + 1))  # (B, n+1, n+1, h, w)
    a = attention.float().unflatten(1, (n, n))
    x, y = position.float().unbind(1)
    low_x, high_x, low_y, high_y = _limits(n, size)
    fx = (x.clamp(low_x, high_x) - x.clamp(low_x, high_x).floor())[:, None, None]
    fy = (y.clamp(low_y, high_y) - y.clamp(low_y, high_y).floor())[:, None, None]
    upper = D[:, :n, :n] * (1 - fx) + D[:, :n, 1:] * fx
    lower = D[:, 1:, :n] * (1 - fx) + D[:, 1:, 1:] * fx
    of_attention = upper * (1 - fy) + lower * fy
    across = (D[:, :n, 1:] - D[:, :n, :n]) * (1 - fy) + (D[:, 1:, 1:] - D[:, 1:, :n]) * fy
    of_x = (a * across).sum(dim=(1, 2)) * ((x >= low_x) & (x <= high_x))
    of_y = (a * (lower - upper)).sum(dim=(1, 2)) * ((y >= low_y) & (y <= high_y))
    return [torch.stack([of_x, of_y], dim=1).to(position.dtype), of_attention.flatten(1, 2).to(attention.dtype)]


def _limits(n: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    r = n // 2
    return -r - 1, size[1] + r, -r - 1, size[0] + r


def _interpreting() -> bool:
    return bool(getattr(triton.knobs.runtime, "interpret", False))


def _callable(kernel: Any) -> Any:
    """The kernel in a form that torch.compile can trace; kernels of the interpreter are plain Python."""
    return kernel if _interpreting() else torch.library.wrap_triton(kernel)


def _register() -> Any:
    """The operator with its gradient: a `triton_op`, which torch.compile can trace; a `custom_op` when interpreted."""
    make: Any = torch.library.custom_op if _interpreting() else torch.library.triton_op

    def forward(source_BHWC: Tensor, position: Tensor, attention: Tensor) -> Tensor:
        return _launch_forward(source_BHWC, position, attention)

    def backward(gradient: Tensor, source_BHWC: Tensor, position: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
        return _launch_backward(gradient, source_BHWC, position, attention)

    # Annotations are strings in this module; the schema is inferred from real types.
    types = {"source_BHWC": Tensor, "position": Tensor, "attention": Tensor}
    forward.__annotations__ = {**types, "return": Tensor}
    backward.__annotations__ = {"gradient": Tensor, **types, "return": tuple[Tensor, Tensor]}
    op = make("gfla::weighted_patch_sum", forward, mutates_args=())
    gradient_op = make("gfla::weighted_patch_sum_backward", backward, mutates_args=())

    def remember(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    def differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        source, position, attention = ctx.saved_tensors
        of_source, dots = gradient_op(gradient, source, position, attention)
        of_position, of_attention = _gradients_of_weights(dots, position, attention, (source.shape[1], source.shape[2]))
        return of_source, of_position, of_attention

    op.register_autograd(differentiate, setup_context=remember)
    return op


_weighted_patch_sum = _register()
