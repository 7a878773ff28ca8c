"""Clips drawn by hand, and a short recipe that trains on them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from drawn_landmarks import drawn_body, drawn_face
from torch.utils.data import Dataset

from gfla_cli.config import preset
from gfla_cli.datasets.sample import ClipSample, unknown_correspondences
from gfla_cli.training.recipe import LossWeights, Recipe, Stage

SIDE, FRAMES, PER_STEP = 32, 6, 3


class Drawn(Dataset):
    """A disc that wanders over white; its landmarks wander with it."""

    def __init__(self, task):
        self.face = task == "face"

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        colour, start = rng.integers(0, 255, 3).tolist(), rng.integers(8, 24)
        images, points = [], []
        for k in range(1 + FRAMES):
            image = np.full((SIDE, SIDE, 3), 240, np.uint8)
            x = int(start + k) % SIDE
            cv2.circle(image, (x, 16), 8, colour, -1)
            images.append(image)
            points.append(drawn_face() * 0.08 + (x, 16) if self.face else drawn_body((SIDE, SIDE), float(x * 2)))
        known = unknown_correspondences(FRAMES)
        side = SIDE if self.face else 0
        return ClipSample(
            images=np.stack(images),
            points=np.stack(points).astype(np.float32),
            masks=np.full((1 + FRAMES, SIDE, SIDE), 255, np.uint8),
            edges=np.zeros((1 + FRAMES, side, side), np.bool_),
            to_previous=known[0],
            to_reference=known[1],
        )


def clip_plan(task, *, flow=2, joint=3, weights=None):
    frame = (2 * SIDE, 2 * SIDE)  # the training images are smaller
    model = replace(
        preset(f"{task}-people"),
        image_size=frame,
        width=8,
        flow_width=8,
        flow_max_width=16,
        flow_reduction=1,
        heatmap_sigma=3.0,
    )
    known = LossWeights(affine=0.1, correspondence=1, visibility=0.1)
    stage = Stage(name="flow", train="flow", steps=flow, image_size=(SIDE, SIDE), batch=2, weights=known)
    every = LossWeights(l1=5, content=0.5, style=10, adversarial=1, affine=0.001, person=1)
    fast = {"learning_rate": 2e-3, "betas": (0.9, 0.999)}
    joint_stage = replace(stage, name="joint", train="joint", steps=joint, weights=weights or every, **fast)
    return Recipe(
        dataset="people-faces",
        model=model,
        stages=(stage, joint_stage) if flow else (joint_stage,),
        initial="kaiming",
        content_layers=("relu1_1", "relu2_1"),
        style_layers=("relu2_2",),
        discriminator_blocks=3,
        frames=FRAMES,
        frames_per_step=PER_STEP,
        perceptual_frames=2,
    )
