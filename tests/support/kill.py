"""Kill -9 at random moments: python tests/support/kill.py --count 50 --seed 0 [--only infer,export-onnx,animate,train]

A job starts in a folder of its own and is killed, at a random time or shortly after its first write. Then every result
in the folder must be whole, and starting the job again must finish it. Training must end with the weights of a run that
was not killed. Temporary files may stay; they are counted.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from contextlib import suppress
from pathlib import Path

from kill_jobs import Job, make_jobs, train
from paths import ROOT

_TEMPORARY = ".gfla-"
_PATIENCE_S = 600


def main() -> None:
    """Prints a line per kill and a table. Exit status 1 when a result was incomplete or lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50, help="kills, all jobs together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="infer,export-onnx,animate,train", help="jobs, with commas")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(options.train)
        return
    with tempfile.TemporaryDirectory(prefix="gfla-kill-") as place:
        jobs = make_jobs(Path(place))
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
    print(f"{name}: {length:.1f} s without a kill", flush=True)
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
    """Waits until the time of the kill. Returns its description."""
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
        except OSError:  # it was renamed
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
    """Whether a child of the killed process still runs after some seconds; ffmpeg takes a moment to end."""
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


if __name__ == "__main__":
    main()
