"""MediaPipe's solutions, each loaded by itself: its package imports all of them, and matplotlib, for half a second."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from threading import Lock
from types import ModuleType
from typing import Any

from gfla_cli.errors import GflaError

_PACKAGES = ("mediapipe", "mediapipe.python.solutions")
_hollow: dict[str, ModuleType] = {}  # packages whose own code has not run
_one_at_a_time = Lock()


def solution(name: str) -> Any:
    """One of MediaPipe's solutions, such as "pose"; raises GflaError when MediaPipe cannot be loaded."""
    try:
        with _one_at_a_time, _packages_hollow():
            return import_module(f"mediapipe.python.solutions.{name}")
    except Exception as error:  # a clash of protobuf or cv2 versions comes as any type
        raise GflaError(f"mediapipe cannot be loaded: {error}", hint="gfla doctor shows the versions") from error


@contextmanager
def _packages_hollow() -> Iterator[None]:
    """Meanwhile only modules of the packages are found in them; what else they offer is there when asked for later."""
    for name in _PACKAGES:
        if name not in sys.modules:
            spec = find_spec(name)
            if spec is None:
                raise ImportError(f"No module named {name!r}")
            sys.modules[name] = _hollow[name] = module_from_spec(spec)
    for package in _hollow.values():
        vars(package).pop("__getattr__", None)
    try:
        yield
    finally:
        for package in _hollow.values():
            vars(package)["__getattr__"] = _Completion(package)


class _Completion:
    """Runs a package's own code at the first question for something that is not there."""

    def __init__(self, package: ModuleType) -> None:
        self._package = package

    def __call__(self, attribute: str) -> Any:
        package, spec = self._package, self._package.__spec__
        if attribute.startswith("__") or spec is None or spec.loader is None:  # the import system looks for these
            raise AttributeError(f"module {package.__name__!r} has no attribute {attribute!r}")
        del vars(package)["__getattr__"]
        _hollow.pop(package.__name__, None)
        spec.loader.exec_module(package)
        return getattr(package, attribute)
