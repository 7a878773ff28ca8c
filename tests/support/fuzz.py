"""Damaged files for every reader of the command line: python tests/support/fuzz.py --count 2000 --seed 0

Each case is one number, which chooses a file, its damage and its reader. A reader may return or raise a GflaError.
Anything else is a finding: another exception, a crash, more than 10 seconds, a gigabyte of memory, a file left behind.
Cases run in a child process: if one crashes or hangs, it is named and the others continue.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any, NamedTuple

from paths import ROOT

LONGEST_S, MOST_MEMORY = 10, 1 << 30
# Cases that failed once, with the finding; tests/io/test_fuzz.py runs them again.
ONCE_FAILED = {
    105: "onnx: metadata that is no UTF-8 was a traceback",
    150: "the same in the middle of a character",
    1011: "onnx: ONNX Runtime printed its complaint about a provider on stdout",
    12187: "pth: an end record of an archive of several disks was a traceback",
    13347: "json: a track whose kind is a list was a traceback",
}

_MARK = "case "  # prefix of a child's result lines
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, 1 << 63)
_WORDS = (
    "NaN", "1e400", "-1e400", "-1", "1e9", "9" * 5000, "0.1", "null", "true", '""', "[]", "{}", "[" * 5000, "\0",
    "\ud7ff", "../../x", '"', ",", ":", "\r", "\u202e", "1" + "0" * 400, "x" * 200_000,
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 10**9, 10**400, 1.5, float("nan"), float("inf"), "", "x", "../../x", "\0", [], {}, [[]],
    [None], {"x": 1}, [1] * 54, "x" * 100_000,
)  # fmt: skip


class Case(NamedTuple):
    """A damaged file and its reader."""

    kind: str
    name: str
    content: bytes
    read: Callable[[Path], Any]


def damaged(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """The content with bytes changed, cut out, doubled, or taken from another file."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(data) + 1) if rng.random() < 0.6 else rng.randrange(min(len(data), 256) + 1)
        length = min(rng.choice((1, 2, 4, 16, 256)), max(len(data) - at, 0))
        how = rng.randrange(7)
        if how == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            data[at : at + length] = rng.randbytes(length)
        elif how == 2:
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice(_NUMBERS) & ((1 << 8 * size) - 1)
            data[at : at + size] = number.to_bytes(size, rng.choice(("big", "little")))
        elif how == 3:
            del data[at : at + length]
        elif how == 4:
            data[at:at] = data[at : at + length] * rng.choice((1, 1, 50))
        elif how == 5:
            del data[at:]
        else:
            start = rng.randrange(len(other))
            data[at : at + length] = other[start : start + length]
    return bytes(data)


def damaged_text(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """The content with words replaced, or with damaged bytes."""
    if rng.random() < 0.3:
        return damaged(rng, content, other)
    text = content.decode()
    for _ in range(rng.choice((1, 1, 3))):
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(_WORDS) + text[at + rng.choice((0, 1, 5)) :]
    return text.encode(errors="surrogatepass")


def damaged_json(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """The content with other values in the tree, or with damaged text."""
    if rng.random() < 0.4:
        return damaged_text(rng, content, other)
    tree = json.loads(content)
    for _ in range(rng.choice((1, 1, 3))):
        tree = _changed(rng, tree)
    return json.dumps(tree).encode()


def _changed(rng: random.Random, value: Any) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        how = rng.randrange(6)
        if how == 0:
            return {name: one for name, one in value.items() if name != key}
        if how == 1:
            return {**value, rng.choice(("", "x", "../x")): rng.choice(_VALUES)}
        return {**value, key: _changed(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        how = rng.randrange(6)
        if how == 0:
            return [*value[:at], *value[at + 1 :]]
        if how == 1:
            return [*value[:at], rng.choice(_VALUES), *value[at:]]
        return [*value[:at], _changed(rng, value[at]), *value[at + 1 :]]
    return rng.choice(_VALUES)


def damaged_safetensors(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """The content with a damaged header, of a right or a wrong length, or with damaged bytes."""
    if rng.random() < 0.4:
        return damaged(rng, content, other)
    length = struct.unpack_from("<Q", content)[0]
    header = damaged_json(rng, content[8 : 8 + length], other)
    claimed = rng.choice(_NUMBERS) if rng.random() < 0.1 else len(header)
    return struct.pack("<Q", claimed) + header + content[8 + length :]


Damage = Callable[[random.Random, bytes, bytes], bytes]


class Corpus:
    """Small whole files of every kind, the same in every process."""

    def __init__(self, folder: Path) -> None:
        from fuzz_files import make_files

        self._kinds: dict[str, list[tuple[str, bytes, Callable[[Path], Any]]]] = make_files(folder)

    def case(self, number: int) -> Case:
        """The case of this number."""
        rng = random.Random(number)
        kind = rng.choice(list(self._kinds))
        name, content, read = rng.choice(self._kinds[kind])
        _, other, _ = rng.choice(self._kinds[kind])
        damage: Damage = {
            "json": damaged_json, "csv": damaged_text, "safetensors": damaged_safetensors
        }.get(kind, damaged)  # fmt: skip
        return Case(kind, name, damage(rng, content, other), read)


def judge(case: Case, folder: Path) -> str:
    """Reads the file of a case in an empty folder. Returns "read", "refused", or the finding."""
    from gfla_cli.errors import GflaError

    path = folder / case.name
    path.write_bytes(case.content)
    before, outcome = _memory(), "read"
    try:
        case.read(path)
    except GflaError as error:
        outcome = "refused" if str(error) else "an error that says nothing"
    except BaseException:
        last = traceback.extract_tb(sys.exc_info()[2])[-1]
        outcome = f"{traceback.format_exc().splitlines()[-1][:200]} in {Path(last.filename).name}:{last.lineno}"
    path.unlink(missing_ok=True)
    left = sorted(entry.name for entry in folder.rglob("*"))
    if left:
        outcome = f"left {', '.join(left[:3])}"
    if _memory() - before > MOST_MEMORY:
        outcome = f"took {(_memory() - before) / 1e9:.1f} GB"
    return outcome


def _memory() -> int:
    """The peak memory of this process in bytes; 0 where it is unknown."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run_child(numbers: list[int]) -> None:
    """Runs the cases in this process and prints a line of JSON for each."""
    with tempfile.TemporaryDirectory(prefix="gfla-fuzz-") as place:
        (Path(place) / "whole").mkdir()
        corpus = Corpus(Path(place) / "whole")
        work = Path(place) / "work"
        work.mkdir()
        # Temporary files that readers leave would be here, or beside the damaged file.
        tempfile.tempdir = str(work)
        print(_MARK, flush=True)
        for number in numbers:
            case = corpus.case(number)
            began = time.perf_counter()
            outcome = judge(case, work)
            took = time.perf_counter() - began
            if took > LONGEST_S:
                outcome = f"took {took:.0f} s"
            print(_MARK + json.dumps([number, case.kind, case.name, outcome, round(took, 3)]), flush=True)


def run(numbers: list[int]) -> Iterator[tuple[int, str, str, str, float]]:
    """Runs the cases in child processes. Yields number, kind, file, outcome and seconds of each."""
    todo = list(numbers)
    while todo:
        child = subprocess.Popen(
            [sys.executable, __file__, "--child"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
            env={
                **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
                "TORCHINDUCTOR_CACHE_DIR": tempfile.gettempdir(),  # torch may make this folder where we look for files
            },
        )  # fmt: skip
        assert child.stdin is not None
        child.stdin.write(json.dumps(todo))
        child.stdin.close()
        lines: Queue[str] = Queue()
        Thread(target=_listen, args=(child, lines), daemon=True).start()
        started = False
        while todo:
            try:
                line = lines.get(timeout=3 * LONGEST_S if started else 120)  # the core may be shared
            except Empty:
                line = None
            if not line:  # the child hangs or has ended
                child.kill()
                status = child.wait()
                yield todo.pop(0), "?", "?", "hangs" if line is None else f"ended with status {status}", 0.0
                break
            if not started:
                started = line.startswith(_MARK)
                continue
            if not line.startswith(_MARK):  # stdout is for results only
                yield todo[0], "?", "?", f"prints {line.strip()[:100]!r}", 0.0
                continue
            number, kind, name, outcome, took = json.loads(line.removeprefix(_MARK))
            todo.remove(number)
            yield number, kind, name, outcome, took
        child.kill()
        child.wait()


def _listen(child: subprocess.Popen[str], lines: Queue[str]) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        lines.put(line)
    lines.put("")


def main() -> None:
    """Prints the findings and a table. Exit status 1 when there are any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="cases")
    parser.add_argument("--seed", type=int, default=0, help="number of the first case")
    parser.add_argument("--keep", type=Path, help="folder for the files of the cases that fail")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_child(json.loads(sys.stdin.read()))
        return
    outcomes: Counter[tuple[str, str]] = Counter()
    slowest, failed = (0.0, -1), []
    for number, kind, name, outcome, took in run(list(range(options.seed, options.seed + options.count))):
        fine = outcome in ("read", "refused")
        outcomes[kind, outcome if fine else "FAILED"] += 1
        slowest = max(slowest, (took, number))
        if not fine:
            failed.append(number)
            print(f"case {number}: {kind} {name}: {outcome}", flush=True)
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"{kind:12} {outcome:8} {count:6}")
    print(f"{options.count} cases, {len(failed)} failed; the slowest, {slowest[1]}, took {slowest[0]:.2f} s")
    if options.keep and failed:
        with tempfile.TemporaryDirectory() as place:
            corpus = Corpus(Path(place))
            options.keep.mkdir(parents=True, exist_ok=True)
            for number in failed:
                case = corpus.case(number)
                (options.keep / f"{number}-{case.name}").write_bytes(case.content)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
