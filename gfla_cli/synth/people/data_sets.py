"""Fixed data sets of rendered people, in the file layout of the DeepFashion pose-transfer benchmark.

OUT/SPLIT: JPEG images     OUT/SPLIT.lst: their names
OUT/fasion-annotation-SPLIT.csv: name:keypoints_y:keypoints_x     OUT/fasion-pairs-SPLIT.csv: from,to

The spelling is the benchmark's. The seeds of the data sets differ from each other and from those of training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np

from gfla_cli.arrays import ByteArray, Float64Array
from gfla_cli.synth.pack import Pack, write_bgr
from gfla_cli.synth.people.character import Character, sample_character
from gfla_cli.synth.people.people import People
from gfla_cli.synth.people.views import HALF_PIXEL, Crop, Direction, Shot, View, sample_shot
from gfla_cli.synth.renderer.procedural import BackgroundKind
from gfla_cli.synth.renderer.render import Scene, sample_scene

_FACE = [0, 14, 15, 16, 17]  # nose, eyes, ears: annotated only if visible, as a detector does
_JPEG_QUALITY = 92
_MINI_BACKGROUNDS: Mapping[BackgroundKind, float] = {
    "white": 0.62, "grey": 0.14, "gradient": 0.14, "colour": 0.05, "clutter": 0.05,
}  # fmt: skip
_MINI_CLOSE_CROPS: tuple[Crop, ...] = ("upper", "three_quarter")
_HARD_BACKGROUNDS: Mapping[BackgroundKind, float] = {"white": 0.4, "grey": 0.2, "gradient": 0.2, "clutter": 0.2}
_HARD_ARMS = ("arms_crossed", "behind_head", "thinking", "both_hips", "hand_on_chest", "phone")
_HARD_SEATS = ("sit", "sit_crossed", "mh_sit01", "knee_up")
_HARD_CONTRAST = 12.5  # least `inner_contrast` of a character, 0..255; one outfit in four has more
_MAX_TRIALS = 60


@dataclass(slots=True)
class SplitWriter:
    """Writes the images of a split as they are added, and its three tables at the end."""

    out: Path
    split: str
    names: list[str] = field(default_factory=list)
    annotations: list[str] = field(default_factory=lambda: ["name:keypoints_y:keypoints_x"])
    pairs: list[str] = field(default_factory=lambda: ["from,to"])

    def add(
        self, identity: int, views: Iterable[View], pairing: Callable[[Sequence[str]], Iterable[tuple[str, str]]]
    ) -> None:
        """Writes the views of one character; `pairing` turns their file names into (from, to) pairs."""
        folder = self.out / self.split
        folder.mkdir(parents=True, exist_ok=True)
        own = []
        for k, view in enumerate(views):
            name = f"syn{identity:05d}_{k}.jpg"
            write_bgr(folder / name, view.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            self.annotations.append(_annotation(name, view))
            own.append(name)
        self.names += own
        self.pairs += [f"{source},{target}" for source, target in pairing(own)]

    def close(self) -> None:
        """Writes the tables."""
        (self.out / self.split).mkdir(parents=True, exist_ok=True)
        _write_lines(self.out / f"fasion-annotation-{self.split}.csv", self.annotations)
        _write_lines(self.out / f"fasion-pairs-{self.split}.csv", self.pairs)
        _write_lines(self.out / f"{self.split}.lst", self.names)


def _annotation(name: str, view: View) -> str:
    """A row of the benchmark's keypoint table; -1 = not in the image, or a hidden point of the face."""
    keypoints = view.keypoints.copy()
    keypoints[_FACE] = np.where(keypoints[_FACE, 2:] > 0, keypoints[_FACE], -1)
    # The published set counts whole pixels from the image's corner.
    places = np.where(keypoints[:, :2] >= 0, np.round(keypoints[:, :2] + HALF_PIXEL), -1)
    x, y = places.clip(-1, len(view.image) - 1).astype(int).T
    return f"{name}: {y.tolist()}: {x.tolist()}"


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def write_people_mini(
    pack_path: Path, out: Path, *, train: int = 200, test: int = 40, views: int = 5, size: int = 256, seed: int = 2020
) -> None:
    """Renders a small data set: `train` + `test` characters, `views` images each. Overwrites files in the folder `out`.

    Every character has a seed of its own, so the two splits never share one. Raises DataError for a damaged pack.
    """
    people = People(Pack.load(pack_path))
    first = 0
    for split, count in (("train", train), ("test", test)):
        writer = SplitWriter(out, split)
        for identity in range(first, first + count):
            shown = _mini_views(people, np.random.default_rng([seed, identity]), views, size)
            writer.add(identity, shown, lambda names: permutations(names, 2))
        writer.close()
        first += count


def _mini_views(people: People, rng: np.random.Generator, views: int, size: int) -> list[View]:
    """Views of one random character in one scene."""
    character = sample_character(rng, people.pack)
    scene = sample_scene(rng, size, _MINI_BACKGROUNDS)
    shots = _mini_shots(rng, views)
    return [people.random_view(rng, character, scene, shot, catalogue=0.7) for shot in shots]


def _mini_shots(rng: np.random.Generator, count: int) -> list[Shot]:
    """Shots from the front, a side, the back, obliquely, and close up from the front; all others from anywhere."""
    shots = [sample_shot(rng, "full" if rng.random() < 0.7 else "three_quarter") for _ in range(3)]
    shots.append(sample_shot(rng, "full"))
    shots.append(sample_shot(rng, _MINI_CLOSE_CROPS[rng.integers(len(_MINI_CLOSE_CROPS))]))
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


def write_people_hard(pack_path: Path, out: Path, *, characters: int = 40, size: int = 256, seed: int = 2021) -> None:
    """Renders a hard test set: patterned clothes, and 5 views per character. Overwrites files in the folder `out`.

    The views are: a catalogue pose from the front, the back, arms in front of the body, sitting, and the upper body.
    The pairs lead from the first view to each other one, and back. Raises DataError for a damaged pack.
    """
    people = People(Pack.load(pack_path))
    writer = SplitWriter(out, "test")
    for identity in range(characters):
        views = _hard_views(people, np.random.default_rng([seed, identity]), size)
        writer.add(identity, views, _from_and_to_the_first)
    writer.close()


def _from_and_to_the_first(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for other in names[1:]:
        yield names[0], other
        yield other, names[0]


def _hard_views(people: People, rng: np.random.Generator, size: int) -> list[View]:
    scene = sample_scene(rng, size, _HARD_BACKGROUNDS)
    character = _patterned_character(people, rng, scene)
    poses = people.pack.poses
    mostly_front: Mapping[Direction, float] = {"front": 0.7, "three_quarter": 0.3}

    def view(shot: Shot, pose: Float64Array) -> View:
        return people.view_in_pose(rng, character, scene, shot, pose)

    return [
        view(sample_shot(rng, "full", directions={"front": 1}), poses.sample(rng, catalogue=1)),
        view(sample_shot(rng, "full", directions={"back": 1}), poses.sample(rng)),
        view(sample_shot(rng, "full", directions=mostly_front), poses.sample_still(rng, _HARD_ARMS)),
        view(sample_shot(rng, "full"), poses.sample_still(rng, _HARD_SEATS)),
        view(sample_shot(rng, "upper"), poses.sample(rng)),
    ]


def _patterned_character(people: People, rng: np.random.Generator, scene: Scene) -> Character:
    """A random character with enough contrast inside the outline; after many trials, the last one."""
    shot = Shot("full", yaw_deg=0.0, distance=45.0)
    for _ in range(_MAX_TRIALS):
        character = sample_character(rng, people.pack)
        seen = people.view_in_pose(rng, character, scene, shot, people.pack.poses.standing())
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
