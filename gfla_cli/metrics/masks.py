"""Masks of people that somebody else has made, one file for each picture."""

from __future__ import annotations

from pathlib import Path, PurePath

import cv2
import numpy as np
from numpy.typing import NDArray

from gfla_cli.errors import DataError
from gfla_cli.media.image import find_images, read_image

_WHITE = 128  # levels from which a pixel belongs to the person


class MaskFiles:
    """The masks of a folder, by the names of the pictures they belong to, whatever their suffix."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = {path.stem: path for path in find_images(folder)}

    def __call__(self, name: str, size: tuple[int, int]) -> NDArray[np.uint8]:
        """(H, W) of 0 and 1, white in the file is 1; raises DataError when this picture has no mask."""
        stem = PurePath(name).stem
        if stem not in self._files:
            raise DataError(f"{self.folder}: no mask for {name}", hint=f"looked for {stem} with a picture's suffix")
        grey = read_image(self._files[stem]).mean(axis=2)
        mask: NDArray[np.uint8] = (grey >= _WHITE).astype(np.uint8)
        if mask.shape == size:
            return mask
        return np.asarray(cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST), np.uint8)
