"""Layers of a frame of 64 pixels, as a network gives them."""

from __future__ import annotations

import numpy as np

from gfla_cli.geometry.crop import Crop
from gfla_cli.pipelines.frame_layers import Layers, SourceFrame


def layers(share=1.0, offset=(0.0, 0.0), residual=0.0, matte=1.0, drawn=0.0):
    """One frame of a network of 64 pixels, everywhere the same."""
    return Layers(
        np.full((64, 64, 3), drawn, np.float32),
        np.full((64, 64), share, np.float32),
        np.full((64, 64, 3), residual, np.float32),
        np.broadcast_to(np.float32(offset), (64, 64, 2)).copy(),
        np.full((64, 64), matte, np.float32),
    )


FRAME = Crop((0, 0, 600, 600), (64, 64))
NOTHING_SEEN = SourceFrame.shown(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.float32))


def drawn_before_grey(matte, subject=(200, 30, 30), wall=128):
    """What a network drew of a subject that its source does not show: mixed with the wall as the matte (64, 64) is."""
    mixture = matte[..., None] * np.float32(subject) + (1 - matte[..., None]) * wall
    return layers(share=0.0)._replace(drawn=(mixture / 127.5 - 1).astype(np.float32), matte=matte.astype(np.float32))
