"""Kill -9 at random moments: python -m tests.kill --count 50 --seed 0 [--only infer,export-onnx,animate,train]

A job is started in a folder of its own and killed: at a random moment of the time that it takes, or a moment after it
began to write. Then every result in the folder must be whole, and starting the job again must finish it; training has
to end with the weights of a run that nobody killed. Files under temporary names may stay, they are counted.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
_TEMPORARY = ".gfla-"
_PATIENCE_S = 600


class Job(NamedTuple):
    """A command, started with its folder as the current one, and what must hold for that folder afterwards."""

    command: list[str]
    wrong: Callable[[Path], str]  # what is half-written; nothing if all is whole
    done: Callable[[Path], bool]


def main() -> None:
    """Prints one line for each kill and a table at the end; exit status 1 when anything was half-written or lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50, help="kills, all jobs together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="infer,export-onnx,animate,train", help="jobs, with commas")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        _train(options.train)
        return
    with tempfile.TemporaryDirectory(prefix="gfla-kill-") as place:
        jobs = _jobs(Path(place))
        names = options.only.split(",")
        found: Counter[tuple[str, str]] = Counter()
        for number, name in enumerate(names):
            kills = options.count // len(names) + (number < options.count % len(names))
            _torment(name, jobs[name], Path(place) / f"run-{name}", kills, random.Random(options.seed + number), found)
    for (name, what), count in sorted(found.items()):
        print(f"{name:12} {what:40} {count:4}")
    sys.exit(1 if any(what.startswith("WRONG") for _, what in found) else 0)


def _torment(
    name: str, job: Job, folder: Path, kills: int, rng: random.Random, found: Counter[tuple[str, str]]
) -> None:
    folder.mkdir()
    began = time.perf_counter()
    if _start(job, folder)[0].wait(_PATIENCE_S) != 0:
        raise SystemExit(f"{name} fails by itself: {folder.with_suffix('.log').read_text()}")
    length = time.perf_counter() - began
    assert job.done(folder), f"{name} leaves nothing"
    assert not job.wrong(folder), job.wrong(folder)
    print(f"{name}: {length:.1f} s when nobody kills it", flush=True)
    _cleared(folder)
    for number in range(kills):
        process, mark = _start(job, folder)
        when = _moment(process, folder, rng, length)
        killed = process.poll() is None
        process.kill()
        process.wait()
        found[name, "killed" if killed else "was done before"] += 1
        if problem := job.wrong(folder):
            found[name, "WRONG half-written"] += 1
            print(f"{name}: {problem}", flush=True)
        if _still_running(mark):
            found[name, "WRONG processes stayed"] += 1
        left = [path.name for path in folder.rglob(f"{_TEMPORARY}*") if path.name != ".gfla-lock"]
        found[name, "with a temporary file left"] += bool(left)
        print(f"{name} {number + 1}/{kills}: {when}, {'whole' if not problem else 'WRONG'}", flush=True)
        if job.done(folder):
            found[name, "finished although killed before"] += number > 0
            _cleared(folder)
    if _start(job, folder)[0].wait(_PATIENCE_S) != 0 or not job.done(folder) or job.wrong(folder):
        found[name, "WRONG not finished in the end"] += 1
    else:
        found[name, "finished in the end"] += 1


def _moment(process: subprocess.Popen[bytes], folder: Path, rng: random.Random, length: float) -> str:
    """Waits for the moment of the kill and says which it was."""
    if rng.random() < 0.5:
        seconds = rng.uniform(0, length)
        _wait(process, seconds)
        return f"after {seconds:.1f} s"
    before, pause = _written(folder), rng.uniform(0, rng.choice((0.05, length / 3)))
    end = time.perf_counter() + _PATIENCE_S
    while process.poll() is None and _written(folder) == before and time.perf_counter() < end:
        time.sleep(0.002)
    _wait(process, pause)
    return f"{1000 * pause:.0f} ms after it began to write"


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def _written(folder: Path) -> frozenset[tuple[str, int]]:
    found = set()
    for path in folder.rglob("*"):
        try:
            found.add((str(path), path.stat().st_mtime_ns))
        except OSError:  # renamed meanwhile
            continue
    return frozenset(found)


def _start(job: Job, folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    mark = uuid.uuid4().hex
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GFLA_KILL_MARK": mark}
    command = [sys.executable, *job.command]
    with folder.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    return process, mark


def _still_running(mark: str) -> bool:
    """Whether a child of the killed process lives on, as far as the system tells; ffmpeg may take a moment to see."""
    for _ in range(50):
        alive = False
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                alive |= mark.encode() in path.read_bytes()
            except OSError:
                continue
        if not alive:
            return False
        time.sleep(0.2)
    return True


def _cleared(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _jobs(place: Path) -> dict[str, Job]:
    from gfla_cli.bundles.bundle import save_bundle
    from gfla_cli.config import preset
    from gfla_cli.networks.build import build

    tiny = replace(preset("pose-people"), image_size=(64, 64), heatmap_sigma=2, width=8, flow_width=8)
    save_bundle(place / "tiny", tiny, build(tiny).state_dict(), license="MIT")
    photos = place / "photos"
    photos.mkdir()
    for person in ("anna", "ben"):
        shutil.copy(ROOT / "assets" / f"{person}.jpg", photos)
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
    _make_set(place / "set")
    return {
        "infer": Job([*gfla, *infer], _wrong_pictures, lambda folder: len(list(folder.glob("out/[!.]*.png"))) == 120),
        "export-onnx": Job(
            [*gfla, "export-onnx", *model[:2], "-o", "out.onnx", "--overwrite"],
            _wrong_onnx,
            lambda folder: (folder / "out.onnx").is_file(),
        ),
        "animate": Job([*gfla, *animate, *model], _wrong_clip, lambda folder: (folder / "out.mp4").is_file()),
        "train": Job(
            ["-m", "tests.kill", "--train", str(place / "set")],
            _Trained().wrong,
            lambda folder: _bundle(folder).is_file(),
        ),
    }


def _walk(count: int) -> list[tuple[list[int], list[int]]]:
    """x and y of 18 joints of somebody who swings arms and legs, in a picture of 256 x 256."""
    stand_x = [128, 128, 108, 102, 98, 148, 154, 158, 116, 114, 112, 140, 142, 144, 124, 132, 119, 137]
    stand_y = [40, 66, 66, 96, 124, 66, 96, 124, 126, 170, 214, 126, 170, 214, 35, 35, 38, 38]
    swing = np.array([0, 0, 0, 3, 8, 0, -3, -8, 0, -5, -9, 0, 5, 9, 0, 0, 0, 0])
    phases = np.sin(np.arange(count) / 4)
    return [((np.array(stand_x) + np.rint(phase * swing)).astype(int).tolist(), stand_y) for phase in phases]


def _wrong_pictures(folder: Path) -> str:
    from gfla_cli.errors import GflaError
    from gfla_cli.media.image import read_image

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
    from gfla_cli.runtime.onnx_session import open_exported

    path = folder / "out.onnx"
    try:
        if path.exists():
            open_exported(path, "cpu", threads=1).image(*(np.zeros((1, c, 64, 64), np.float32) for c in (3, 18, 18)))
    except GflaError as error:
        return str(error)
    return ""


def _wrong_clip(folder: Path) -> str:
    from gfla_cli.errors import GflaError
    from gfla_cli.media.video import read_frames

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
    """The first weights that are seen are those of the run that nobody killed; all others must equal them."""

    def __init__(self) -> None:
        self.expected = b""

    def wrong(self, folder: Path) -> str:
        """What is half-written in a training run, or came out differently."""
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
                    return "the weights are not those of a run that nobody killed"
        except GflaError as error:
            return str(error)
        return ""


def _make_set(root: Path) -> None:
    """Four people, two pictures each, in the layout of the published sets."""
    from gfla_cli.media.image import write_image

    (root / "train").mkdir(parents=True)
    rows, pairs = ["name:keypoints_y:keypoints_x"], ["from,to"]
    rng = np.random.default_rng(0)
    for person in range(4):
        for view, (x, y) in enumerate(_walk(2)):
            write_image(root / "train" / f"p{person}_{view}.png", rng.integers(0, 255, (64, 64, 3), np.uint8))
            rows.append(f"p{person}_{view}.png: {y}: {x}")
        pairs += [f"p{person}_0.png,p{person}_1.png", f"p{person}_1.png,p{person}_0.png"]
    (root / "fasion-annotation-train.csv").write_text("\n".join(rows) + "\n")
    (root / "fasion-pairs-train.csv").write_text("\n".join(pairs) + "\n")


def _train(data: Path) -> None:
    """A small training run in ./run, from its last checkpoint on if there is one."""
    import torch

    from gfla_cli.config import preset
    from gfla_cli.pipelines.train import RunOptions, run_training
    from gfla_cli.runtime.device import choose_device
    from gfla_cli.training.checkpoint import LAST
    from gfla_cli.training.recipe import LossWeights, Recipe, Stage
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


if __name__ == "__main__":
    main()
