"""Fixed data sets of rendered people, which models are measured on: pose sets in the layout SQUARE (see `tables`).

The seeds of the data sets differ from each other and from those of training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np

from gfla_cli.arrays import ByteArray, Float64Array
from gfla_cli.datasets.augment import as_listed
from gfla_cli.datasets.tables import SQUARE, Split, write_tables
from gfla_cli.synth.pack import Pack, write_bgr
from gfla_cli.synth.people.character import Character, sample_character
from gfla_cli.synth.people.people import view_in_pose
from gfla_cli.synth.people.views import HALF_PIXEL, Crop, Direction, Shot, View, sample_shot
from gfla_cli.synth.renderer.procedural import BackgroundKind
from gfla_cli.synth.renderer.render import Scene, sample_scene

_MINI_SEED, _HARD_SEED = 2020, 2021
_JPEG_QUALITY = 92
_MINI_SIZE = 256
_MINI_BACKGROUNDS: Mapping[BackgroundKind, float] = {
    "white": 0.62, "grey": 0.14, "gradient": 0.14, "colour": 0.05, "clutter": 0.05,
}  # fmt: skip
_MINI_CLOSE_CROPS: tuple[Crop, ...] = ("upper", "three_quarter")
_HARD_BACKGROUNDS: Mapping[BackgroundKind, float] = {"white": 0.4, "grey": 0.2, "gradient": 0.2, "clutter": 0.2}
_HARD_ARMS = ("arms_crossed", "behind_head", "thinking", "both_hips", "hand_on_chest", "phone")
_HARD_SEATS = ("sit", "sit_crossed", "mh_sit01", "knee_up")
_HARD_CONTRAST = 12.5  # least `inner_contrast` of a character, 0..255; one outfit in four has more
_MAX_TRIALS = 60


def write_split(
    out: Path,
    split: Split,
    characters: Iterable[tuple[int, Iterable[View]]],
    pairing: Callable[[Sequence[str]], Iterable[tuple[str, str]]],
) -> None:
    """Writes the images of one split as they are rendered, and its tables at the end.

    `characters`: a number and the views of each. `pairing` turns the file names of one character into (from, to) pairs.
    """
    (out / split).mkdir(parents=True, exist_ok=True)
    poses: dict[str, list[list[int]]] = {}
    pairs: list[tuple[str, str]] = []
    for identity, views in characters:
        own = []
        for k, view in enumerate(views):
            name = f"syn{identity:05d}_{k}.jpg"
            write_bgr(out / split / name, view.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            keypoints = as_listed(view.keypoints)
            # The published set counts whole pixels from the image's corner.
            places = np.where(keypoints[:, :2] >= 0, np.round(keypoints[:, :2] + HALF_PIXEL), -1)
            poses[name] = places.clip(-1, len(view.image) - 1).astype(int).tolist()
            own.append(name)
        pairs += pairing(own)
    write_tables(out, SQUARE, split, poses, pairs)


def write_people_mini(pack_path: Path, out: Path, *, train: int = 200, test: int = 40) -> None:
    """Renders a small data set: `train` + `test` characters, five images each. Overwrites files in the folder `out`.

    Every character has a seed of its own, so the two splits never share one. Raises DataError for a damaged pack.
    """
    pack = Pack.load(pack_path)
    numbers: dict[Split, range] = {"train": range(train), "test": range(train, train + test)}
    for split, identities in numbers.items():
        characters = ((k, _mini_views(pack, np.random.default_rng([_MINI_SEED, k]))) for k in identities)
        write_split(out, split, characters, lambda names: permutations(names, 2))


def _mini_views(pack: Pack, rng: np.random.Generator) -> list[View]:
    character = sample_character(rng, pack)
    scene = sample_scene(rng, _MINI_SIZE, _MINI_BACKGROUNDS)
    shots = _mini_shots(rng)
    return [view_in_pose(pack, rng, character, scene, shot, pack.poses.sample(rng, catalogue=0.7)) for shot in shots]


def _mini_shots(rng: np.random.Generator) -> list[Shot]:
    """Shots from the front, a side, the back, obliquely, and close up from the front."""
    shots = [sample_shot(rng, "full" if rng.random() < 0.7 else "three_quarter") for _ in range(3)]
    shots.append(sample_shot(rng, "full"))
    shots.append(sample_shot(rng, _MINI_CLOSE_CROPS[rng.integers(len(_MINI_CLOSE_CROPS))]))
    side = rng.choice([-1, 1])
    yaws_deg = (
        rng.normal(0, 12),
        side * rng.normal(80, 15),
        180 + rng.normal(0, 20),
        side * rng.uniform(-60, 60),
        rng.normal(0, 25),
    )
    return [replace(shot, yaw_deg=yaw) for shot, yaw in zip(shots, yaws_deg, strict=True)]


def write_people_hard(pack_path: Path, out: Path, *, characters: int = 40, size: int = 256) -> None:
    """Renders a hard test set: patterned clothes, and 5 views per character. Overwrites files in the folder `out`.

    The views are: a catalogue pose from the front, the back, arms in front of the body, sitting, and the upper body.
    The pairs lead from the first view to each other one, and back. Raises DataError for a damaged pack.
    """
    pack = Pack.load(pack_path)
    views = ((k, _hard_views(pack, np.random.default_rng([_HARD_SEED, k]), size)) for k in range(characters))
    # From the first view to every other one, and back.
    write_split(out, "test", views, lambda own: [pair for k in own[1:] for pair in ((own[0], k), (k, own[0]))])


def _hard_views(pack: Pack, rng: np.random.Generator, size: int) -> list[View]:
    scene = sample_scene(rng, size, _HARD_BACKGROUNDS)
    character = _patterned_character(pack, rng, scene)
    poses = pack.poses
    mostly_front: Mapping[Direction, float] = {"front": 0.7, "three_quarter": 0.3}

    def view(shot: Shot, pose: Float64Array) -> View:
        return view_in_pose(pack, rng, character, scene, shot, pose)

    return [
        view(sample_shot(rng, "full", directions={"front": 1}), poses.sample(rng, catalogue=1)),
        view(sample_shot(rng, "full", directions={"back": 1}), poses.sample(rng)),
        view(sample_shot(rng, "full", directions=mostly_front), poses.sample_still(rng, _HARD_ARMS)),
        view(sample_shot(rng, "full"), poses.sample_still(rng, _HARD_SEATS)),
        view(sample_shot(rng, "upper"), poses.sample(rng)),
    ]


def _patterned_character(pack: Pack, rng: np.random.Generator, scene: Scene) -> Character:
    """A random character with enough contrast inside the outline; after many trials, the last one."""
    shot = Shot("full", yaw_deg=0.0, distance=45.0)
    for _ in range(_MAX_TRIALS):
        character = sample_character(rng, pack)
        seen = view_in_pose(pack, rng, character, scene, shot, pack.poses.standing())
        if inner_contrast(seen.image, seen.mask) > _HARD_CONTRAST:
            return character
    return character


def inner_contrast(image: ByteArray, mask: ByteArray) -> float:
    """Mean absolute difference, 0..255, between a person (H,W,3) and the blurred image; the outline does not count."""
    inside = cv2.erode((mask > 250).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    if not inside.any():
        return 0.0
    difference = np.abs(image.astype(np.float32) - cv2.GaussianBlur(image, (0, 0), 3).astype(np.float32))
    return float(difference[inside].mean())
