"""Pictures for a study, and answers as raters give them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gfla_cli.io.image import write_image

STUDY, OTHER = "a" * 16, "b" * 16


def draw_picture(path, seed=0, size=(48, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    write_image(path, np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)))


@pytest.fixture
def study_folders(tmp_path):
    """Ten real pictures and what two models made of them."""
    for number in range(10):
        draw_picture(tmp_path / "real" / f"p{number}.jpg", number)
        draw_picture(tmp_path / "ours" / f"p{number}.png", 100 + number)
        draw_picture(tmp_path / "theirs" / f"p{number}.png", 200 + number)
    return tmp_path


@pytest.fixture
def gfla_study(gfla):
    """Runs a command of `gfla study` in an empty folder."""
    return lambda *arguments: gfla("study", *arguments)


def answer(picture, fooled, model="ours", kind="pair"):
    return {"kind": kind, "picture": picture, "model": model, "real": "left", "ms": 900,
            "chosen": "right" if fooled else "left"}  # fmt: skip


def result_of(answers, *, study=STUDY, session=1, rater=1, sitting=1, started="2025-01-01T00:00:00.000Z"):
    return {"format": "gfla-study-result", "version": 1, "study": study, "session": f"{session:032x}",
            "rater": f"{rater:032x}", "sitting": sitting, "started": started, "finished": started, "complete": True,
            "answers": answers}  # fmt: skip


def fooled_in(total, fooled, model="ours"):
    return [answer(f"p{number}", number < fooled, model) for number in range(total)]
