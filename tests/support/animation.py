"""Helpers to test animation: small models, videos of a head and of a body that move, and the command."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from films import BEEPS, NTSC, film, make
from paths import ANNA
from tiny_models import save_tiny, tiny

from gfla_cli.io.image import read_image, write_image
from gfla_cli.person.track_files import Track, write_track
from gfla_cli.pipelines.animation import Animator
from gfla_cli.pipelines.driver import open_driver

FRAMES = 8


@pytest.fixture(scope="session")
def animators(tmp_path_factory):
    """A shelf with untrained small models of the three kinds that animate."""
    folder = tmp_path_factory.mktemp("animators")
    for task in ("face", "body", "pose"):
        save_tiny(folder / f"tiny-{task}", tiny(f"{task}-people"))
    return folder


@pytest.fixture(scope="session")
def portrait():
    """A rendered head, (255, 221, 3): both sides are odd."""
    return read_image(ANNA)[0:255, 165:386].copy()


@pytest.fixture(scope="session")
def head_videos(tmp_path_factory, portrait):
    """A read-only folder with videos of a head that moves sideways (with sound, with gaps) and one of a wall."""
    folder = tmp_path_factory.mktemp("heads")
    write_image(folder / "face.png", portrait)
    wall = np.full_like(portrait, 180)
    moving = [np.roll(portrait, 2 * k, axis=1) for k in range(FRAMES)]
    film(folder / "silent.mp4", moving, NTSC)
    sound = ["-f", "lavfi", "-i", f"{BEEPS}:d=1"]
    make(folder / "film.mp4", "-i", str(folder / "silent.mp4"), *sound, "-c:v", "copy", "-c:a", "aac", "-shortest")
    film(folder / "gaps.mp4", [moving[0], moving[1], wall, wall, moving[4], moving[5]], NTSC)
    film(folder / "wall.mp4", [wall] * 4, NTSC)
    return folder


@pytest.fixture(scope="session")
def head_track(head_videos):
    """The landmarks of film.mp4, so that tests of other things need no detector."""
    frames = list(open_driver(head_videos / "film.mp4", "face").frames())
    path = head_videos / "film.json"
    write_track(path, Track("face", NTSC, (256, 222), [frame.points for frame in frames]))
    return path


@pytest.fixture(scope="session")
def dance(head_videos):
    whole = cv2.resize(read_image(ANNA), (256, 256), interpolation=cv2.INTER_AREA)
    write_image(head_videos / "body.png", whole)
    film(head_videos / "dance.mp4", [np.roll(whole, 2 * k, axis=1) for k in range(4)], fps=25)
    return "dance.mp4"


@pytest.fixture
def animate(gfla, animators, head_videos, monkeypatch):
    """`gfla animate` of the face with the small model, over one of the videos."""
    monkeypatch.setenv("GFLA_MODELS", str(animators))

    def run(driving, *arguments, source="face.png", model="tiny-face"):
        return gfla("animate", head_videos / source, head_videos / driving, "--model", model, *arguments)

    return run


@pytest.fixture
def face_animator(animators):
    return Animator(animators / "tiny-face", precision="fp32")
