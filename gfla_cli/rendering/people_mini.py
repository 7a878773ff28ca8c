"""A small fixed set of synthetic people in the file layout of the DeepFashion pose-transfer benchmark.

OUT/train, OUT/test: JPEG pictures     OUT/{train,test}.lst: their names
OUT/fasion-annotation-{train,test}.csv: name:keypoints_y:keypoints_x     OUT/fasion-pairs-{train,test}.csv: from,to

The spelling is the benchmark's. Every character has a seed of its own, so the two splits never share one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np

from gfla_cli.errors import DataError
from gfla_cli.rendering.arrays import ByteArray
from gfla_cli.rendering.backgrounds import BackgroundKind
from gfla_cli.rendering.character import sample_character
from gfla_cli.rendering.framing import Crop, Shot, sample_shot
from gfla_cli.rendering.light import sample_scene
from gfla_cli.rendering.pack import Pack
from gfla_cli.rendering.people import People
from gfla_cli.rendering.views import View

_BACKGROUNDS: Mapping[BackgroundKind, float] = {
    "white": 0.62,
    "grey": 0.14,
    "gradient": 0.14,
    "colour": 0.05,
    "clutter": 0.05,
}
_FACE = [0, 14, 15, 16, 17]  # nose, eyes, ears: listed only when visible, as a detector would
_CLOSER: tuple[Crop, ...] = ("upper", "three_quarter")
_JPEG_QUALITY = 92


def write_people_mini(
    pack_path: Path,
    out: Path,
    *,
    train: int = 200,
    test: int = 40,
    views: int = 5,
    size: int = 256,
    seed: int = 2020,
) -> None:
    """Renders `train` + `test` characters, `views` pictures each, into the folder `out`, overwriting what is there."""
    people = People(Pack.load(pack_path))
    first = 0
    for split, count in (("train", train), ("test", test)):
        folder = out / split
        folder.mkdir(parents=True, exist_ok=True)
        rows, pairs, names = ["name:keypoints_y:keypoints_x"], ["from,to"], []
        for identity in range(first, first + count):
            own = []
            for k, view in enumerate(_sample_views(people, np.random.default_rng([seed, identity]), views, size)):
                name = f"syn{identity:05d}_{k}.jpg"
                _write_jpeg(folder / name, view.image)
                rows.append(_annotation(name, view))
                own.append(name)
            names += own
            pairs += [f"{source},{target}" for source, target in permutations(own, 2)]
        first += count
        _write_lines(out / f"fasion-annotation-{split}.csv", rows)
        _write_lines(out / f"fasion-pairs-{split}.csv", pairs)
        _write_lines(out / f"{split}.lst", names)


def _sample_views(people: People, rng: np.random.Generator, views: int, size: int) -> list[View]:
    """Pictures of one character in one scene."""
    character = sample_character(rng, people.pack)
    scene = sample_scene(rng, size, _BACKGROUNDS)
    shots = _sample_shots(rng, views)
    return [people.snapshot(rng, character, scene, shot, catalogue=0.7) for shot in shots]


def _sample_shots(rng: np.random.Generator, count: int) -> list[Shot]:
    """From the front, one side, the back, between, and closer from the front; then from anywhere."""
    shots = [sample_shot(rng, "full" if rng.random() < 0.7 else "three_quarter") for _ in range(3)]
    shots.append(sample_shot(rng, "full"))
    shots.append(sample_shot(rng, _CLOSER[rng.integers(len(_CLOSER))]))
    shots += [sample_shot(rng) for _ in range(count - len(shots))]
    side = rng.choice([-1, 1])
    yaws_deg = (
        rng.normal(0, 12),
        side * rng.normal(80, 15),
        180 + rng.normal(0, 20),
        side * rng.uniform(-60, 60),
        rng.normal(0, 25),
    )
    shots[: len(yaws_deg)] = [replace(shot, yaw_deg=yaw) for shot, yaw in zip(shots, yaws_deg, strict=False)]
    return shots[:count]


def _annotation(name: str, view: View) -> str:
    """A row of the benchmark's keypoint table; -1 = not seen."""
    keypoints = view.keypoints.copy()
    keypoints[_FACE] = np.where(keypoints[_FACE, 2:] > 0, keypoints[_FACE], -1)
    x, y = np.clip(np.round(keypoints[:, :2]), -1, len(view.image) - 1).astype(int).T
    return f"{name}: {y.tolist()}: {x.tolist()}"


def _write_jpeg(path: Path, image_RGB: ByteArray) -> None:
    if not cv2.imwrite(str(path), image_RGB[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]):
        raise DataError(f"{path}: cannot be written")


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
