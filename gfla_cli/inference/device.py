"""Choose the device and the number format, and give the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch

from gfla_cli.config import DeviceName, Precision
from gfla_cli.distributed.launch import Launch
from gfla_cli.errors import UsageError


@dataclass(frozen=True, slots=True)
class Placement:
    """A device and a number format, with the reason in words."""

    device: torch.device
    dtype: torch.dtype  # of autocast; float32 means no autocast
    reason: str

    @property
    def autocast(self) -> torch.autocast:
        """The context to run a network in; does nothing for float32."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)

    @property
    def precision(self) -> Precision:
        """The number format as `--precision` names it."""
        names: dict[torch.dtype, Precision] = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
        return names[self.dtype]

    def __str__(self) -> str:
        return f"{self.device.type}, {self.precision} ({self.reason})"


def choose_device(device: DeviceName = "auto", precision: Precision = "auto") -> Placement:
    """The best available device for "auto", else the named one. Raises UsageError when that is not available."""
    if device not in get_args(DeviceName) or precision not in get_args(Precision):
        raise UsageError(f"unknown device or precision: {device}, {precision}", hint="auto, cpu, cuda or mps")
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device != "auto" and not present[device]:
        raise UsageError(
            f"--device {device}: not available here", hint=_why_not(device) + "; --device auto chooses one"
        )
    name = device if device != "auto" else next(name for name in ("cuda", "mps", "cpu") if present[name])
    reason = "chosen" if device != "auto" else _why_not("cuda") if name == "cpu" else "found"
    return Placement(torch.device(name), _dtype(name, precision), reason)


def choose_own_device(launch: Launch, device: DeviceName = "auto", precision: Precision = "auto") -> Placement:
    """`choose_device` for one of several processes that train together, each on its own GPU.

    Also raises UsageError when this machine has fewer GPUs than processes.
    """
    placement, there = choose_device(device, precision), torch.cuda.device_count()
    if placement.device.type == "cuda" and launch.local_rank >= there:
        hint = f"--nproc-per-node {there}, or --device cpu"
        raise UsageError(f"more than {there} processes on a machine with {there} CUDA devices", hint=hint)
    if placement.device.type == "mps" and launch.world_size > 1:
        raise UsageError("several processes cannot train on a Mac's GPU", hint="--device cpu")
    return placement


def _dtype(device: str, precision: Precision) -> torch.dtype:
    if precision == "auto":
        fast = bf16_on_cpu() if device == "cpu" else device == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    if precision == "fp16" and device == "cpu":
        raise UsageError("the CPU cannot compute in fp16", hint="use --precision bf16 or fp32")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def bf16_on_cpu() -> bool:
    """Whether this processor has bfloat16 instructions. Without them bfloat16 is slower than float32."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool((supported and supported()) or (amx and amx()))


def _why_not(device: str) -> str:
    if device == "cuda":
        return "this torch is a CPU build" if torch.version.cuda is None else "no CUDA device found"
    return f"no {device} device found"
