"""`gfla doctor`: a description of this machine and installation for bug reports."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import typer

from gfla_cli import __version__
from gfla_cli.commands.options import AsJson, print_json
from gfla_cli.errors import import_failed

_PACKAGES = ("torch", "numpy", "mediapipe", "onnxruntime-gpu", "onnxruntime", "pillow", "typer")
_OPENCV = tuple(f"opencv-{kind}" for kind in ("python", "contrib-python", "python-headless", "contrib-python-headless"))
_OPTIONAL = ("triton", "numba", "onnx", "torchmetrics", "h5py")
# Their values hold paths and numbers, and no secrets.
_SETTINGS = ("GFLA_MODELS", "GFLA_CACHE", "GFLA_DEBUG", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE")


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    value: str
    fine: bool = True  # False: some commands will fail


def doctor(as_json: AsJson = False) -> None:
    """Describe this installation, paste-ready for a bug report: versions, devices, models; no secrets, no home folder.

    Exit code 1 when something that every command needs is broken.

    Example: gfla doctor
    """
    findings = _examine()
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            typer.echo(f"{finding.name:<{width}}  {'' if finding.fine else 'BROKEN: '}{finding.value}")
    if not all(finding.fine for finding in findings):
        raise typer.Exit(1)


def _examine() -> list[Finding]:
    """All findings, in the order of the report. A check that fails becomes a finding; nothing is raised."""
    settings = [_anonymous(f"{name}={os.environ[name]}") for name in _SETTINGS if name in os.environ]
    return [
        Finding("gfla", f"{__version__}, Python {platform.python_version()} ({sys.implementation.name})"),
        Finding("system", f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores"),
        Finding("packages", _versions(_PACKAGES)),
        Finding("extras", _versions(_OPTIONAL) or "none"),
        _checked("opencv", _opencv),
        _checked("torch", _torch),
        _checked("onnxruntime", _onnxruntime),
        _checked("person detector", _detector),
        _checked("ffmpeg", _ffmpeg),
        *_models(),
        _checked("cache", _cache),
        Finding("settings", ", ".join(settings) or "none"),
    ]


def _checked(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, check())
    except Exception as error:  # a broken library must not end the report
        return _broken(name, error)


def _broken(name: str, error: Exception) -> Finding:
    hint = import_failed(error).hint if isinstance(error, ImportError) else getattr(error, "hint", "")
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    return Finding(name, _anonymous(f"{what} ({hint})" if hint else what), fine=False)


def _anonymous(text: str) -> str:
    """The text with ~ for the user's home folder, which may hold a name."""
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text


def _versions(packages: tuple[str, ...]) -> str:
    import importlib.metadata  # slow to load, and --help loads this module

    found = []
    for name in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return ", ".join(found)


def _opencv() -> str:
    import cv2

    # Several wheels provide the same module; the one that was installed last is used.
    return f"{cv2.__version__} ({_versions(_OPENCV) or 'no wheel'})"


def _torch() -> str:
    import torch

    from gfla_cli.inference.device import choose_device

    graphics = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{choose_device()}, {torch.get_num_threads()} threads{graphics}"


def _onnxruntime() -> str:
    import onnxruntime

    # The GPU build lists providers that this machine may lack; a bug report should name the build.
    names = [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
    return f"built for {', '.join(names)}"


def _detector() -> str:
    import numpy as np

    from gfla_cli.person.detect import PersonDetector

    with PersonDetector() as detector:
        detector.detect(np.full((64, 64, 3), 255, np.uint8))
    return "works"


def _ffmpeg() -> str:
    from gfla_cli.io.ffmpeg import executable

    said = subprocess.run([executable(), "-version"], capture_output=True, text=True, timeout=20, check=True)
    return said.stdout.split(" Copyright")[0]


def _models() -> list[Finding]:
    try:
        from gfla_cli.bundles.bundle import load_bundle
        from gfla_cli.bundles.shelf import bundle_names

        names = bundle_names()
    except Exception as error:
        return [_broken("models", error)]

    def described(name: str) -> str:
        config = load_bundle(name).config
        return f"{config.task}, {config.image_size[1]}x{config.image_size[0]}, weights as their hash says"

    found = [_checked(f"model {name}", partial(described, name)) for name in names]
    return found or [Finding("models", "none", fine=False)]


def _cache() -> str:
    from gfla_cli.io.files import cache_folder

    folder = cache_folder()
    place = folder if folder.exists() else next(parent for parent in folder.parents if parent.exists())
    if not os.access(place, os.W_OK):
        raise PermissionError(f"{folder} cannot be written; set GFLA_CACHE to another folder")
    return _anonymous(str(folder))
