"""Pairs of rendered chairs that no training sees, at every angle alike: the test set of view models."""

from __future__ import annotations

import numpy as np
from torch.utils.data import Dataset

from gfla_cli.data.sample import ViewPair, unknown_correspondence
from gfla_cli.structure.view import AZIMUTH_STEP, AZIMUTHS, ELEVATIONS, ViewAngles, view_code

_SEED = 20_200_303  # trainings count their seeds from 0
_DIFFERENCES = tuple(range(AZIMUTH_STEP, 181, AZIMUTH_STEP))


class UnseenChairs(Dataset[ViewPair]):
    """Pair number i: chair i // 9, turned by 20, 40 ... 180 degrees to either side. Not augmented, equal elevations."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __getitem__(self, index: int) -> ViewPair:
        from gfla_cli.rendering.chairs import sample_chair
        from gfla_cli.rendering.objects import photograph_object, sample_object_light

        rng = np.random.default_rng([_SEED, index // len(_DIFFERENCES)])
        chair, light = sample_chair(rng), sample_object_light(rng)
        azimuth, elevation = float(rng.choice(AZIMUTHS)), float(rng.choice(ELEVATIONS))
        side = rng.choice([-1, 1], len(_DIFFERENCES))
        number = index % len(_DIFFERENCES)
        turned = (azimuth + float(side[number]) * _DIFFERENCES[number]) % 360
        source, target = (photograph_object(chair, a, elevation, light, self.size) for a in (azimuth, turned))
        return ViewPair(
            source.image,
            target.image,
            view_code(ViewAngles(azimuth, elevation)),
            view_code(ViewAngles(turned, elevation)),
            target.mask,
            unknown_correspondence(),
        )
