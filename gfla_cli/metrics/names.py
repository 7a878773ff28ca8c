"""The names of all figures, in the order of every table, and which way is better. Imports nothing."""

from __future__ import annotations

BY_PAIR = ("ssim", "psnr", "l1", "vgg", "lpips", "mask-ssim", "mask-lpips")  # of one picture and the real one
METRICS = (*BY_PAIR, "pck", "fid")  # fid: of sets of pictures
ALWAYS = ("ssim", "psnr", "l1")  # need nothing but the pictures
_HIGHER = ("ssim", "psnr", "mask-ssim", "pck", "found")


def higher_is_better(metric: str) -> bool:
    """Whether more of it is better; of all others less is."""
    return metric in _HIGHER
