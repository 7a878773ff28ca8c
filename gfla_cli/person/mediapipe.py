"""MediaPipe's solutions, each loaded by itself: its package imports all of them, and matplotlib, for half a second."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.errors import GflaError
from gfla_cli.io.background import native_stderr_silenced

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


# MediaPipe's networks ("solutions"), started and asked without a word on stderr.


_NOTHING = np.zeros((64, 64, 3), np.uint8)


def body_network(*, tracking: bool, segmentation: bool = False) -> Any:
    """33 points of one person; one that tracks looks for the person near where it was in the last picture.

    With `segmentation` it also tells which pixels are the person.
    """
    # Complexity 1 is the only one whose network is inside the wheel. Its own smoothing would depend on the time
    # that passes between calls.
    options = {"static_image_mode": not tracking, "model_complexity": 1, "smooth_landmarks": False}
    options |= {"enable_segmentation": segmentation, "smooth_segmentation": False}
    return _started("pose", "Pose", min_detection_confidence=0.4, **options)


def face_mesh_network(*, tracking: bool, most: int) -> Any:
    """478 points a face; one that tracks looks for a face near where it was in the last picture."""
    options = {"static_image_mode": not tracking, "max_num_faces": most, "refine_landmarks": True}
    return _started("face_mesh", "FaceMesh", min_detection_confidence=0.5, **options)


def face_box_network() -> Any:
    """A box a face, of small faces too: MediaPipe's model for faces beyond 2 metres."""
    return _started("face_detection", "FaceDetection", min_detection_confidence=0.5, model_selection=1)


def ask(network: Any, pixels: NDArray[np.uint8]) -> Any:
    """What a network sees in (H, W, 3) uint8 RGB."""
    with _python_warnings_silenced():
        return network.process(pixels)


def forget(network: Any) -> None:
    """Makes a network that tracks look for everybody anew: an empty picture, cheaper and quieter than a restart."""
    ask(network, _NOTHING)


def _started(module: str, kind: str, **options: Any) -> Any:
    with native_stderr_silenced(), _python_warnings_silenced():
        network = getattr(solution(module), kind)(**options)
        network.process(_NOTHING)  # the graph starts, and talks, at the first picture
    return network


@contextmanager
def _python_warnings_silenced() -> Iterator[None]:
    """protobuf deprecates a call that this mediapipe makes for every picture."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
