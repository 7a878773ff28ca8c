"""Protocols: under which conditions images are compared, ours and those of papers on person images.

Figures of two protocols cannot be compared: FID and LPIPS differ more between two resize filters than between two
papers. A published protocol holds what its sources say. Its note names what they do not say.

Sources (issues and pages of the projects, read 2026-11):
gfla    RenYurui/Global-Flow-Local-Attention: PERSON_IMAGE_GENERATION.md (FID against the whole training set, LPIPS by
        the package of its authors, 256x256 and 128x64), issue 53 (img_highres resized directly to 256x256), issue 70
        (bicubic, jpg; others measure 9.87 with another filter), issue 42 (no SSIM in the paper);
        cuiaiyu/dressing-in-order issue 47 (9.87 against the published 10.57 by the filter alone)
patn    tengteng95/Pose-Transfer: README (SSIM, mask-SSIM, IS, DS, PCKh); Global-Flow-Local-Attention issue 42
        (256x176 padded with 40 white columns on either side before SSIM);
        PangzeCheung/Dual-task-Pose-Transformer-Network issue 11 (from DeepFashion's low-resolution images)
pidm    ankanbhunia/PIDM: issue 37 (FID against all training images, Pillow bicubic to 256x256, png), issue 4 (png,
        Pillow bicubic), issue 40 (cv2.resize to 256x176 before measuring)
cfld    YanzuoLu/CFLD: README (256x176, 512x352 and 128x64, png), issue 5 (generated at 512x512, measured at other
        sizes by resizing), issue 17 (FID against the training set)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import cv2
import numpy as np
from PIL import Image as PillowImage

from gfla_cli.arrays import Image
from gfla_cli.errors import UsageError
from gfla_cli.io.image import through_jpeg

Size = tuple[int, int]  # height, width
# Pillow's bicubic, which averages when it shrinks; cv2's linear, which does not.
Filter = Literal["bicubic", "bilinear"]

_FILTERS: dict[Filter, str] = {
    "bicubic": "bicubic, antialiased (Pillow)",
    "bilinear": "bilinear, not antialiased (cv2)",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """How images become comparable, and what FID is measured against."""

    name: str
    sizes: Mapping[str, Size] = field(default_factory=dict)  # layout -> size compared at; else that of the result
    first: Size | None = None  # a size in between, in the first filter
    filters: tuple[Filter, ...] = ("bicubic",)
    jpeg_quality: int | None = None  # of resized and of generated images; None = png, no loss
    padded_for_ssim: Mapping[str, Size] = field(default_factory=dict)  # layout -> size, white around
    rounded: bool = True  # to the 256 levels of a file; ours takes a network's output as it is
    fid_reference: Literal["targets", "train"] = "train"
    note: str = ""

    def to_json(self, layout: str, size: Size) -> dict[str, Any]:
        """How images of this layout were brought to `size`, in words."""
        resize = "as the network sees it: area when it shrinks, cubic when it grows (cv2)"
        file_format = "none: what the network gives, not rounded"
        if self.rounded:
            resize = ", then ".join(f"{_FILTERS[kind]} to {h}x{w}" for (h, w), kind in self.steps(size))
            file_format = f"jpg, quality {self.jpeg_quality}" if self.jpeg_quality else "png, or as the files are"
        padding = self.padded_for_ssim.get(layout)
        return {
            "name": self.name,
            "size": f"{size[0]}x{size[1]}",  # height x width, as the papers write it
            "resize": resize,
            "file_format": file_format,
            "ssim_padding": f"white to {padding[0]}x{padding[1]}" if padding else "",
            "note": self.note,
        }

    def steps(self, size: Size) -> tuple[tuple[Size, Filter], ...]:
        """Sizes and filters, in order, that bring an image to `size`."""
        ends = (self.first, size) if self.first else (size,)
        return tuple(zip(ends, self.filters, strict=True))


_FASHION, _MARKET = (256, 176), (128, 64)

OWN = Protocol(
    name="own",
    rounded=False,
    fid_reference="targets",
    note="comparable only with figures of the same protocol",
)
OWN_FILES = replace(OWN, rounded=True)
GFLA = Protocol(
    name="gfla",
    sizes={"fashion": (256, 256), "market": _MARKET},
    jpeg_quality=75,
    note="jpg is documented, its quality is not: Pillow's 75 is taken. Which network and version of LPIPS and which "
    "Inception weights is not documented; the published FID 10.573 came out as 9.87 for others by the filter alone. "
    "The paper gives no SSIM",
)
PATN = Protocol(
    name="patn",
    sizes={"fashion": _FASHION, "market": _MARKET},
    padded_for_ssim={"fashion": (256, 256)},
    fid_reference="targets",
    note="SSIM on pictures padded with white, which raises it. PATN has no FID and no LPIPS; its IS, DS and PCKh are "
    "not measured here, its pictures were DeepFashion's small ones, and its resize filter and SSIM window are not "
    "documented",
)
PIDM = Protocol(
    name="pidm",
    sizes={"fashion": _FASHION},
    first=(256, 256),
    filters=("bicubic", "bilinear"),
    note="the interpolation of the second step is cv2's default. The network of LPIPS, the window of SSIM and the "
    "Inception weights are not documented",
)
CFLD = Protocol(
    name="cfld",
    sizes={"fashion": _FASHION, "market": _MARKET},
    note="256x176 or, with --size 512x352, the larger pictures. The resize filter, the network of LPIPS, the window "
    "of SSIM and the Inception weights are not documented; bicubic is taken",
)
PROTOCOLS = {protocol.name: protocol for protocol in (GFLA, PATN, PIDM, CFLD)}


def parse_size(text: str) -> Size:
    """Height and width from "512x352"; raises UsageError for anything else."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and 16 <= int(part) <= 4096 for part in parts):
        raise UsageError(f"--size {text}: not a size", hint="height x width in pixels, such as 256x176")
    return int(parts[0]), int(parts[1])


def prepared(image: Image, protocol: Protocol, size: Size, *, fresh: bool = False) -> Image:
    """(H, W, 3) uint8 at `size` (height, width), through the file format of the protocol.

    `fresh`: from a network. An image from a file that has the size already is left as it is: it has a format.
    """
    fits = image.shape[:2] == size
    if not fits:
        for step, kind in protocol.steps(size):
            image = resized(image, step, kind)
    if protocol.jpeg_quality is not None and (fresh or not fits):
        image = through_jpeg(image, protocol.jpeg_quality)
    return image


def resized(image: Image, size: Size, kind: Filter) -> Image:
    """(H, W, 3) uint8 resized to height, width."""
    if image.shape[:2] == size:
        return image
    height, width = size
    if kind == "bilinear":
        return cast(Image, cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))
    return np.asarray(PillowImage.fromarray(image).resize((width, height), PillowImage.Resampling.BICUBIC))


def padding(size: Size, wanted: Size) -> tuple[int, int, int, int]:
    """Pixels to add left, right, top, bottom so that `size` becomes `wanted` with the image in the middle."""
    tall, wide = (max(0, goal - side) for goal, side in zip(wanted, size, strict=True))
    return wide // 2, wide - wide // 2, tall // 2, tall - tall // 2
