"""A picture that runs from black to white and from white to black, and files of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

RAMP = np.linspace(0, 255, 64, dtype=np.uint8)[None].repeat(48, axis=0)  # (48, 64), black left, white right
PICTURE = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 90)], axis=2)  # (48, 64, 3)


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path
