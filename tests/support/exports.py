"""Small models of every kind, their ONNX exports, and commands that must not import torch."""

from __future__ import annotations

import functools
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from filelock import FileLock
from tiny_models import tiny

from gfla_cli.bundles.bundle import save_bundle
from gfla_cli.networks.build import build


def small(kind):
    """The configuration of a small network of the preset, as "preset" or "preset:sampler"."""
    name, _, sampler = kind.partition(":")
    config = tiny(name, sampler=sampler) if sampler else tiny(name)
    return replace(config, view_width=4 if config.view_width and sampler != "pixels" else 0)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A function from a kind of model to its bundle and its export report.

    Each kind is exported once, even if several test processes need it.
    """
    from gfla_cli.inference.export import export_onnx  # needs onnx

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "exported"
    folder.mkdir(exist_ok=True)

    def save(bundle, kind):
        torch.manual_seed(3)
        network = build(small(kind))
        for name, parameter in network.named_parameters():
            if "offset_head" in name:
                parameter.data *= 8
        save_bundle(bundle, small(kind), network.state_dict(), dtype=torch.float32, license="MIT")

    @functools.cache
    def export(kind, half=False):
        bundle = folder / kind.replace(":", "-")
        place = folder / f"{bundle.name}-{'half' if half else 'whole'}"
        with FileLock(folder / f"{bundle.name}.lock"):
            if not bundle.exists():
                save(bundle, kind)
            if not (place / "report").exists():
                place.mkdir()
                report = export_onnx(bundle, place / f"{bundle.name}.onnx", half=half)
                (place / "report").write_bytes(pickle.dumps(report))
            return bundle, pickle.loads((place / "report").read_bytes())

    return export


@pytest.fixture(scope="session")
def tiny_bundle(exported):
    """The bundle of a pose model."""
    return exported("pose-people")[0]


@pytest.fixture(scope="session")
def tiny_export(exported):
    """The export report of the pose model."""
    return exported("pose-people")[1]


def inputs(batch, height, width):
    """Random input for the pose model."""
    rng = np.random.default_rng(batch * height + width)
    channels = 3, *[tiny().structure_channels] * 2
    return [rng.random((batch, count, height, width), np.float32) for count in channels]


def command_without_torch(folder, *arguments):
    """Runs a command in a new process, which must not import torch. Returns stdout and the lines of stderr."""
    code = (
        "import sys\nfrom gfla_cli.app import app\n"
        f"try:\n    app({[str(argument) for argument in arguments]!r})\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "assert 'onnxruntime' in sys.modules and not {'torch', 'onnx'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout, result.stderr.splitlines()
