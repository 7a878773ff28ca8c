"""The jobs that kill.py kills, and checks of the files that they leave."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from paths import ROOT, SUPPORT

_ASSETS = ROOT / "assets"


class Job(NamedTuple):
    """A command, which runs in its folder, and checks of that folder."""

    command: list[str]
    wrong: Callable[[Path], str]  # what is incomplete; empty if all is whole
    done: Callable[[Path], bool]


def make_jobs(place: Path) -> dict[str, Job]:
    """The jobs by name. Their input is written to `place`."""
    from drawn_people import write_small_set
    from tiny_models import save_tiny, tiny

    save_tiny(place / "tiny", tiny(), license="MIT")
    write_small_set(place / "set")
    photos = place / "photos"
    photos.mkdir()
    for person in ("anna", "ben"):
        shutil.copy(_ASSETS / f"{person}.jpg", photos)
    rows = [f"p{k}: {y}: {x}" for k, (x, y) in enumerate(_walk(60))]
    (photos / "poses.csv").write_text("\n".join(["name:keypoints_y:keypoints_x", *rows]) + "\n")
    with (place / "pairs.csv").open("w", newline="") as file:
        targets = [f"poses.csv#p{k}" for k in range(60)]
        csv.writer(file).writerows([("from", "to"), *((f"{who}.jpg", to) for to in targets for who in ("anna", "ben"))])
    frames = [[[x, y, 1] for x, y in zip(*one, strict=True)] for one in _walk(40)]
    track = {"format": "gfla-track", "version": 1, "kind": "body", "fps": "25", "size": [256, 256], "frames": frames}
    (place / "walk.json").write_text(json.dumps(track))
    model = ["--model", str(place / "tiny"), "--threads", "1"]
    gfla = ["-m", "gfla_cli"]
    infer = ["infer", str(place / "pairs.csv"), "--images", str(photos), "-o", "out", *model, "--batch", "4"]
    animate = ["animate", str(photos / "anna.jpg"), str(place / "walk.json"), "-o", "out.mp4", "--task", "body"]
    return {
        "infer": Job([*gfla, *infer], _wrong_pictures, lambda folder: len(list(folder.glob("out/[!.]*.png"))) == 120),
        "export-onnx": Job(
            [*gfla, "export-onnx", *model[:2], "-o", "out.onnx", "--overwrite"],
            _wrong_onnx,
            lambda folder: (folder / "out.onnx").is_file(),
        ),
        "animate": Job([*gfla, *animate, *model], _wrong_clip, lambda folder: (folder / "out.mp4").is_file()),
        "train": Job(
            [str(SUPPORT / "kill.py"), "--train", str(place / "set")],
            _Trained().wrong,
            lambda folder: _bundle(folder).is_file(),
        ),
    }


def _walk(count: int) -> list[tuple[list[int], list[int]]]:
    """x and y of 18 joints of a person who swings arms and legs, in a 256 x 256 image."""
    stand_x = [128, 128, 108, 102, 98, 148, 154, 158, 116, 114, 112, 140, 142, 144, 124, 132, 119, 137]
    stand_y = [40, 66, 66, 96, 124, 66, 96, 124, 126, 170, 214, 126, 170, 214, 35, 35, 38, 38]
    swing = np.array([0, 0, 0, 3, 8, 0, -3, -8, 0, -5, -9, 0, 5, 9, 0, 0, 0, 0])
    phases = np.sin(np.arange(count) / 4)
    return [((np.array(stand_x) + np.rint(phase * swing)).astype(int).tolist(), stand_y) for phase in phases]


def _wrong_pictures(folder: Path) -> str:
    from gfla_cli.errors import GflaError
    from gfla_cli.io.image import read_image

    for path in folder.glob("out/[!.]*"):
        if path.suffix != ".png":
            return f"{path.name} should not be there"
        try:
            if read_image(path).shape != (64, 64, 3):
                return f"{path.name} has another size"
        except GflaError as error:
            return str(error)
    return ""


def _wrong_onnx(folder: Path) -> str:
    from gfla_cli.errors import GflaError
    from gfla_cli.inference.onnx_backend import open_exported

    path = folder / "out.onnx"
    try:
        if path.exists():
            open_exported(path, "cpu", threads=1).image(*(np.zeros((1, c, 64, 64), np.float32) for c in (3, 18, 18)))
    except GflaError as error:
        return str(error)
    return ""


def _wrong_clip(folder: Path) -> str:
    from gfla_cli.errors import GflaError
    from gfla_cli.io.video import read_frames

    path = folder / "out.mp4"
    try:
        if path.exists():
            with read_frames(path) as frames:
                count = sum(1 for _ in frames)
                if count != 40 or frames.damaged:
                    return f"{count} frames of 40, {frames.notes}"
    except GflaError as error:
        return str(error)
    return ""


def _bundle(folder: Path) -> Path:
    return folder / "run" / "bundle" / "config.json"


class _Trained:
    """Compares all weights with the first ones, which are from a run that was not killed."""

    def __init__(self) -> None:
        self.expected = b""

    def wrong(self, folder: Path) -> str:
        """What is incomplete in a training run, or different from the first one."""
        from gfla_cli.bundles.bundle import load_bundle
        from gfla_cli.errors import GflaError
        from gfla_cli.training.checkpoint import BEST, load_checkpoint

        try:
            for path in (folder / "run").glob("checkpoint*.pt"):
                if path.name != BEST or path.exists():
                    load_checkpoint(path)
            if _bundle(folder).is_file():
                load_bundle(folder / "run" / "bundle")
                weights = (folder / "run" / "bundle" / "model.safetensors").read_bytes()
                self.expected = self.expected or weights
                if weights != self.expected:
                    return "the weights are not those of a run without a kill"
        except GflaError as error:
            return str(error)
        return ""


def train(data: Path) -> None:
    """A small training run in ./run, resumed from its last checkpoint if there is one."""
    import torch

    from gfla_cli.config import preset
    from gfla_cli.inference.device import choose_device
    from gfla_cli.training.data import LAST
    from gfla_cli.training.recipe import LossWeights, Recipe, Stage
    from gfla_cli.training.run import RunOptions, run_training
    from gfla_cli.training.trainer import Pace

    torch.set_num_threads(1)
    model = replace(preset("pose-people"), width=8, max_width=16, flow_width=8, flow_max_width=16)
    flow = Stage(
        name="flow", train="flow", steps=6, image_size=(64, 64), batch=4, weights=LossWeights(affine=0.1),
        betas=(0.9, 0.999),
    )  # fmt: skip
    joint = replace(flow, name="joint", train="joint", steps=14, weights=LossWeights(l1=5, adversarial=1, affine=0.001))
    folder = Path("run")
    run_training(
        Recipe(dataset="fashion", model=model, stages=(flow, joint), initial="kaiming", average_decay=0.9),
        data,
        output=folder,
        resume=(folder / LAST).exists(),
        vgg=None,
        cache=None,
        placement=choose_device("cpu", "fp32"),
        options=RunOptions(workers=1, pace=Pace(log=2, save=2, sample=5, keep=3)),
    )
