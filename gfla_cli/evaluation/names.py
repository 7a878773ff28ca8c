"""The names of all figures, in the order of every table, and which way is better. Imports nothing."""

from __future__ import annotations

BY_PAIR = ("ssim", "psnr", "l1", "vgg", "lpips", "mask-ssim", "mask-lpips")  # of one picture and the real one
RANKING = (*BY_PAIR, "pck")  # every single picture has them: examples can be chosen by them
METRICS = (*RANKING, "fid")  # fid: of sets of pictures
ALWAYS = ("ssim", "psnr", "l1")  # need nothing but the pictures
_HIGHER = ("ssim", "psnr", "mask-ssim", "pck", "found")


def higher_is_better(metric: str) -> bool:
    """Whether more of it is better; of all others less is."""
    return metric in _HIGHER


LABELS = {
    "ssim": "SSIM",
    "psnr": "PSNR, dB",
    "l1": "l1",
    "vgg": "VGG",
    "lpips": "LPIPS",
    "mask-ssim": "mask-SSIM",
    "mask-lpips": "mask-LPIPS",
    "pck": "PCK@0.1",
    "fid": "FID",
}
_DECIMALS = {"psnr": 2, "fid": 2}


def figure_text(metric: str, value: float | None) -> str:
    """A figure with as many decimals as mean something; a dash where there is none."""
    return "-" if value is None else f"{value:.{_DECIMALS.get(metric, 4)}f}"
