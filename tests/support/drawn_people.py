"""Four people, drawn as sticks in two images each, in the layout of the published data sets."""

from __future__ import annotations

import cv2
import numpy as np

from gfla_cli.datasets.render_cache import StoredView


def draw_person(x, y, colour):
    """An image (64,64,3) of a person at (x, y), and its 18 joints (18,2)."""
    image = np.full((64, 64, 3), 220, np.uint8)
    joints = np.array([[x, y + 3 * k % 40] for k in range(18)])
    cv2.rectangle(image, (x - 5, y), (x + 5, y + 40), colour, -1)
    return image, joints


def write_small_set(root):
    """Writes the images into `train`, their joints, and all pairs; returns the folder."""
    (root / "train").mkdir(parents=True)
    rows, pairs = ["name:keypoints_y:keypoints_x"], ["from,to"]
    for person, colour in enumerate([(200, 30, 30), (30, 160, 30), (40, 40, 200), (20, 20, 20)]):
        for view, x in enumerate((15, 45)):
            image, joints = draw_person(x, 12 + 2 * person, colour)
            name = f"p{person}_{view}.png"
            cv2.imwrite(str(root / "train" / name), image[..., ::-1])
            rows.append(f"{name}: {(joints[:, 1] * 4).tolist()}: {(joints[:, 0] * 4).tolist()}")
        pairs += [f"p{person}_0.png,p{person}_1.png", f"p{person}_1.png,p{person}_0.png"]
    (root / "fasion-annotation-train.csv").write_text("\n".join(rows) + "\n")
    (root / "fasion-pairs-train.csv").write_text("\n".join(pairs) + "\n")
    return root


def drawn_sample(number):
    """Two views of noise in place of rendered ones."""
    rng = np.random.default_rng(number)
    picture = lambda: rng.integers(0, 256, (32, 32, 3), np.uint8)  # noqa: E731
    surface = np.zeros((16, 16, 3), np.float32)
    views = [StoredView(picture(), np.full((32, 32), 255, np.uint8), surface) for _ in range(2)]
    return views, {"points": np.zeros((2, 18, 3), np.float32)}
