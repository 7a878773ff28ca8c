"""Time and peak memory of functions and of whole commands."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from gfla_cli.errors import GflaError
from gfla_cli.io.background import native_stderr_silenced


def run_gfla(*arguments: str) -> None:
    """Runs `gfla` with arguments in a new process. Raises GflaError with its message if it fails."""
    command = [sys.executable, "-m", "gfla_cli", *arguments]
    # With this setting, modules of a checkout would be compiled in every run.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise GflaError(f"the measured command failed: {done.stderr.strip()[:200]}")


def import_torch() -> None:
    """Runs `python -c "import torch"`, a measure of the machine for starts."""
    subprocess.run([sys.executable, "-c", "import torch"], check=True)


def interleaved_times(functions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each function. They run in turns, so that a busy moment of the machine affects all of them."""
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            _wait_for_device()
            started = time.perf_counter()
            function()
            _wait_for_device()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_bytes(function: Callable[[], object], device: torch.device) -> int:
    """Peak bytes of tensors while `function` runs, on top of those that exist before it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        return torch.cuda.max_memory_allocated(device) - before
    return _peak_of_cpu_allocator(function)


def _peak_of_cpu_allocator(function: Callable[[], object]) -> int:
    """From torch's trace of allocations, which does not see what other libraries allocate."""
    from torch.profiler import ProfilerActivity, profile

    with native_stderr_silenced, TemporaryDirectory() as folder:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            function()
        trace = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    alive = peak = 0
    for event in sorted((e for e in events if e["name"] == "[memory]"), key=lambda e: float(e["ts"])):
        alive += event["args"]["Bytes"]
        peak = max(peak, alive)
    return peak
