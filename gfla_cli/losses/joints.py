"""Whether two pictures show the same pose, in the heat maps that a pose reader finds in them."""

from __future__ import annotations

import math

from torch import Tensor

SIGMA = 1.75  # of a joint, in cells of the reader's maps


def joint_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean over joints of the squared distance of heat maps (B, J, h, w), in units of what one joint holds.

    1 where a wanted joint is not found at all, 2 where another place is taken for it.
    """
    difference = found.float() - wanted.float()
    return difference.square().sum(dim=(2, 3)).mean() / (math.pi * SIGMA**2)
