"""Fixtures that several test files share: golden files, seeded tensors, and the training material when it is there."""

from __future__ import annotations

import functools
import gc
import json
import os
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach for the network

import numpy as np
import pytest
import torch
from hypothesis import settings
from paths import GOLDEN, SHARED

import gfla_cli.inference.runtime
import gfla_cli.io.background

gc.disable()  # until the tests are imported, see pytest_collection_finish

settings.register_profile("repeatable", derandomize=True)  # a run tells about the change, not about luck
settings.load_profile("repeatable")

# Of a command's process this saves time; in one that runs every test it would only ever grow.
gfla_cli.inference.runtime.keep_freed_memory = lambda: None

# Whether a step takes more than a second is up to the machine, and tests compare whole messages.
gfla_cli.io.background.SLOW_S = 10_000.0

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread for each of several test processes
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported; its kernels then run as plain Python

# Modules of tests/support that hold fixtures, those that others import first.
pytest_plugins = (
    "commands",
    "films",
    "animation",
    "chairs",
    "keypoints",
    "photographs",
    "detections",
    "compared_pictures",
    "exports",
    "small_training",
    "study_answers",
    "webapp",
)


# Files that take most of the time: they start processes, train, export or run a browser. -m "not slow" leaves them out.
SLOW = {
    "test_animate.py", "test_animate_refusals.py", "test_benchmark_flows.py", "test_benchmark_pose_transfer.py",
    "test_benchmark_training.py", "test_cuda_autocast.py", "test_cuts.py", "test_extract.py",
    "test_flow_reduction.py", "test_graphs.py", "test_infer.py", "test_kill.py", "test_loading.py",
    "test_onnx_files.py", "test_onnx_tasks.py", "test_pose_transfer_command.py", "test_readme.py",
    "test_sequence_training.py", "test_several_processes.py", "test_stopped_training.py", "test_study_page.py",
    "test_threads.py", "test_torchrun.py", "test_training.py", "test_training_time.py", "test_triton.py",
    "test_unreadable.py", "test_video_read.py", "test_view_training.py", "test_webapp_page.py",
    "test_webapp_server.py",
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks slow tests, and skips what this machine cannot run, with the reason."""
    without_shared = pytest.mark.skip(reason="no training material beside the checkout")
    without_cuda = pytest.mark.skip(reason="no CUDA device")
    for item in items:
        if item.path.name in SLOW:
            item.add_marker(pytest.mark.slow)
        if "shared" in item.keywords and not SHARED.is_dir():
            item.add_marker(without_shared)
        if "cuda" in item.keywords and not torch.cuda.is_available():
            item.add_marker(without_cuda)


def pytest_collection_finish() -> None:
    """What was imported stays: from now on the garbage collector leaves it out."""
    gc.freeze()
    gc.enable()


class Seeded:
    """The seeded tensors that the golden outputs were computed from: each is a function of its name alone."""

    seed = 20200303

    def _rng(self, name: str) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self.seed, zlib.crc32(name.encode())]))

    def normal(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.from_numpy(self._rng(name).standard_normal(shape, dtype=np.float32))

    def uniform(self, name: str, shape: tuple[int, ...], low: float, high: float) -> torch.Tensor:
        values = low + (high - low) * self._rng(name).random(shape, dtype=np.float32)
        return torch.from_numpy(values.astype(np.float32))

    def weight(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        x = self._rng(name).standard_normal(shape, dtype=np.float32)
        if len(shape) >= 2:
            x = x / np.sqrt(np.prod(shape[1:]))
            if ".output" in name and name.endswith(".weight") and "flow_net" in name:
                x = x * 8  # so that flows reach several pixels
        else:
            x = 1 + 0.1 * x if name.endswith(".weight") else 0.1 * x
        return torch.from_numpy(x.astype(np.float32))

    def state(self, task: str) -> dict[str, torch.Tensor]:
        """A released checkpoint of `task` with seeded values, under the authors' names."""
        return {name: tensor.clone() for name, tensor in self._state(task).items()}

    @functools.cache  # noqa: B019  there is one for all tests
    def _state(self, task: str) -> dict[str, torch.Tensor]:
        shapes = json.loads((GOLDEN / f"{task}.tensors.json").read_text())
        return {name: self.weight(name, tuple(shape)) for name, shape in shapes}


@pytest.fixture(scope="session")
def seeded() -> Seeded:
    return Seeded()


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    return lambda name: dict(np.load(GOLDEN / f"{name}.npz"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with training material; tests that use it are marked `shared`."""
    return SHARED


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> None:
    torch.manual_seed(0)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Fails the test when it ever held more than 200 MB more than before; numpy reports its arrays."""
    tracemalloc.start()
    yield
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 200e6


@pytest.fixture
def ascii_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV as on Windows, where it neither finds nor writes a file whose path is not ASCII."""
    import cv2

    read, write = cv2.imread, cv2.imwrite
    monkeypatch.setattr(cv2, "imread", lambda path, *rest: read(path, *rest) if path.isascii() else None)
    monkeypatch.setattr(cv2, "imwrite", lambda path, *rest: path.isascii() and write(path, *rest))


@pytest.fixture(scope="session")
def makehuman(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkouts of makehuman and makehuman-assets side by side, with next to nothing in them; not to be changed."""
    from tiny_makehuman import write_checkouts  # brings numba

    folder = tmp_path_factory.mktemp("checkouts")
    write_checkouts(folder)
    return folder
