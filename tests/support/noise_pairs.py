"""Training pairs of noise with partial ground truth, and a short recipe for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tiny_models import steady
from torch.utils.data import Dataset

from gfla_cli.datasets.sample import Correspondence, PosePair, unknown_joints
from gfla_cli.errors import MediaError
from gfla_cli.training.recipe import LossWeights, Recipe, Stage

SIDE = 64
TINY = steady(heatmap_sigma=1.5)
WEIGHTS = LossWeights(l1=5, adversarial=1, affine=0.1, correspondence=1, visibility=0.3, person=1)
JOINT = Stage(name="joint", train="joint", steps=1, image_size=(SIDE, SIDE), batch=2, weights=WEIGHTS)
FLOW = replace(JOINT, name="flow", train="flow", weights=LossWeights(correspondence=1, affine=0.1))
ONE_STEP = Recipe(dataset="people", model=TINY, stages=(JOINT,), initial="kaiming", discriminator_blocks=3)
SMALL = replace(ONE_STEP, stages=(replace(FLOW, steps=2), replace(JOINT, steps=4)), average_decay=0.9)


class NoisePairs(Dataset):
    """Noise. The ground-truth flow of every pair covers another fraction of the frame. Samples can be broken."""

    pictures = 1000

    def __init__(self, broken=(), error=MediaError):
        self.broken, self.error = broken, error

    def __getitem__(self, index):
        if index in self.broken:
            raise self.error(f"{index}.png: cut off")
        rng = np.random.default_rng(index)
        known = (rng.random((1, 8, 8)) < rng.random() ** 3).astype(np.float32)
        return PosePair(
            source_image=rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8),
            target_image=rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8),
            source_points=np.float32([[*rng.uniform(0, SIDE, 2), 1] for _ in range(18)]),
            target_points=np.float32([[*rng.uniform(0, SIDE, 2), 1] for _ in range(18)]),
            true_points=unknown_joints(),
            target_mask=np.full((SIDE, SIDE), 255, np.uint8),
            correspondence=Correspondence(rng.normal(0, 0.1, (2, 8, 8)).astype(np.float32), known, 2 * known - 1),
        )
