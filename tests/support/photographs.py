"""Photos of people that a stand-in detector finds, and the data set that is built of them."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from keypoints import SIZE, points

from gfla_cli.datasets.build import BuildOptions, build_set
from gfla_cli.datasets.tables import DEEPFASHION
from gfla_cli.io.image import write_image
from gfla_cli.person.detect import Person
from gfla_cli.person.pose import Pose

Y18, X18 = list(range(20, 200, 10)), list(range(60, 96, 2))  # any 18 joints, as in the paper's table
OPTIONS = BuildOptions(height=64, test_share=0.3)


class Finder:
    """Finds one body in every image; in dark ones none, in red ones two."""

    def __init__(self):
        self.looks = 0

    def detect(self, image):
        self.looks += 1
        colour = image.reshape(-1, 3).mean(axis=0)
        if colour.max() < 20:
            return []
        person = Person(Pose(points(), SIZE).scaled(image.shape[:2]), np.zeros((33, 4), np.float32))
        return [person, person] if colour[0] > 200 > colour[1] else [person]


def build_set_with(finder, *arguments):
    """`build_set` with another detector, such as a Finder."""
    with patch("gfla_cli.datasets.photos.PersonDetector", lambda: nullcontext(finder)):
        return build_set(*arguments)


def draw(path, seed=0, colour=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(60, 190, (300, 200, 3), dtype=np.uint8)
    write_image(path, pixels if colour is None else np.full_like(pixels, colour))


@pytest.fixture(scope="session")
def photo_session(tmp_path_factory):
    """Not to be changed: `photos` of five people, three each, and the `set` that is built of them."""
    folder = tmp_path_factory.mktemp("photographs")
    for person in range(5):
        for view in range(3):
            draw(folder / "photos" / f"person{person}" / f"{view}.png", 10 * person + view)
    build_set_with(Finder(), folder / "photos", folder / "set", replace(OPTIONS, layout=DEEPFASHION))
    return folder


@pytest.fixture
def photos(photo_session, tmp_path):
    """Five people with three photos each."""
    return Path(shutil.copytree(photo_session / "photos", tmp_path / "photos"))


@pytest.fixture
def good_set(photo_session, tmp_path):
    """What is built of them."""
    return Path(shutil.copytree(photo_session / "set", tmp_path / "set"))


def edit(path, change):
    """Passes the lines of a file through `change`."""
    lines = path.read_text().splitlines()
    path.write_text("\n".join(change(lines)) + "\n")
