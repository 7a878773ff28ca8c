"""Time and peak memory of a function."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from gfla_cli.media.quiet import native_stderr_silenced


def interleaved_times(functions: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each function, run in turns so that a busy moment of the machine hits all of them."""
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
    """Most bytes of tensors alive at once while `function` runs, beyond those alive before it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        return torch.cuda.max_memory_allocated(device) - before
    return _peak_of_cpu_allocator(function)


def _peak_of_cpu_allocator(function: Callable[[], object]) -> int:
    """From torch's own trace of allocations; what a library allocates behind its back is not in it."""
    from torch.profiler import ProfilerActivity, profile

    with native_stderr_silenced(), TemporaryDirectory() as folder:
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
