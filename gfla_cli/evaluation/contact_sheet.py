"""Contact sheets: rows of labelled pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from gfla_cli.arrays import Image

_HEADER = 22  # pixels of the line with the labels
_INK = (40, 40, 40)


def contact_sheet(rows: Sequence[Mapping[str, Image]], columns: int = 2) -> Image:
    """Every row's pictures side by side under their names, `columns` rows next to each other.

    All pictures are (H, W, 3) uint8 of one size, all rows have the same keys.
    """
    if not rows:
        raise ValueError("a sheet needs at least one row")
    lines = [np.hstack(list(row.values())) for row in rows]
    lines += [np.full_like(lines[0], 255)] * (-len(lines) % columns)
    body = np.vstack([np.hstack(lines[i : i + columns]) for i in range(0, len(lines), columns)])
    width = next(iter(rows[0].values())).shape[1]
    return np.vstack([_header(list(rows[0]) * columns, width), body])


def _header(labels: Sequence[str], width: int) -> Image:
    strip = np.full((_HEADER, width * len(labels), 3), 255, np.uint8)
    for i, label in enumerate(labels):
        cv2.putText(strip, label, (i * width + 4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.4, _INK, 1, cv2.LINE_AA)
    return strip
