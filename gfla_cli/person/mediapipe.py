"""MediaPipe's networks ("solutions"): loading and running them, and the windows of an image that they are run on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gfla_cli.errors import GflaError, import_failed
from gfla_cli.geometry.crop import Box
from gfla_cli.io.background import (
    ProcessLock,
    native_stderr_silenced,
    never_freed,
    python_warnings_silenced,
    tell_of_forks,
)

_PACKAGES = ("mediapipe", "mediapipe.python.solutions")
_hollow: dict[str, ModuleType] = {}  # packages whose own code has not run
_one_at_a_time = ProcessLock()
_EMPTY = np.zeros((64, 64, 3), np.uint8)
_GREY = 128  # outside of the image


def solution(name: str) -> Any:
    """One of MediaPipe's solutions, such as "pose". Raises GflaError when MediaPipe cannot be loaded.

    Each is loaded alone: MediaPipe's package imports all of them, and matplotlib, which takes half a second.
    """
    try:
        with _one_at_a_time, _packages_hollow():
            return import_module(f"mediapipe.python.solutions.{name}")
    except ImportError as error:
        known = import_failed(error)
        raise GflaError(f"mediapipe cannot be loaded: {error}".splitlines()[0], hint=known.hint) from error
    except Exception as error:  # a clash of protobuf or cv2 versions comes as any type
        raise GflaError(f"mediapipe cannot be loaded: {error}", hint="gfla doctor shows the versions") from error


@contextmanager
def _packages_hollow() -> Iterator[None]:
    """Meanwhile the packages only provide their modules; their own code runs later, at the first access to it."""
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
    """Runs a package's own code at the first access to a missing attribute."""

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


class _Fork:
    """Whether this process was forked from one that had started networks. MediaPipe crashes in such a process."""

    def __init__(self) -> None:
        self.started = self.unusable = False
        tell_of_forks(self)

    def forked(self) -> None:
        """See `tell_of_forks`."""
        self.unusable = self.started


_fork = _Fork()


class Network:
    """One of MediaPipe's networks. Threads may share it: they take turns.

    A child that was forked before the first network started can start its own; later ones raise GflaError.
    """

    def __init__(self, module: str, kind: str, **options: Any) -> None:
        """`module` and `kind`: the names of a solution and of its class, which takes the `options`."""
        self._module, self._kind, self._options = module, kind, options
        self._lock = ProcessLock()
        self._graph: Any = self._started()
        tell_of_forks(self)

    def process(self, pixels: NDArray[np.uint8]) -> Any:
        """MediaPipe's result for (H, W, 3) uint8 RGB. Raises GflaError when MediaPipe fails."""
        with self._lock, python_warnings_silenced:  # protobuf warns about a call that this MediaPipe makes every time
            if self._graph is None:
                self._graph = self._started()
            try:
                return self._graph.process(pixels)
            except Exception as error:  # any type; a graph that has failed once fails always
                self.close()
                raise GflaError(f"mediapipe failed: {error}".splitlines()[0], hint="try again") from error

    def close(self) -> None:
        """Frees the network. The next `process` starts it again."""
        with self._lock:
            graph, self._graph = self._graph, None
            if graph is not None:
                with suppress(Exception):  # a graph that failed reports its failure once more
                    graph.close()

    def forked(self) -> None:
        """See `tell_of_forks`. The parent's threads, without which the graph does not run, are not in this process."""
        if self._graph is not None:
            never_freed(self._graph)
            self._graph = None

    def _started(self) -> Any:
        if _fork.unusable:
            hint = 'fork before the first image, or start processes with multiprocessing.get_context("spawn")'
            raise GflaError("mediapipe cannot run in a process that was forked after mediapipe was used", hint=hint)
        _fork.started = True
        with native_stderr_silenced(), python_warnings_silenced:
            graph = getattr(solution(self._module), self._kind)(**self._options)
            graph.process(_EMPTY)  # the graph starts, and logs, at the first image
        return graph


def body_network(*, tracking: bool, segmentation: bool = False) -> Network:
    """33 landmarks of one person, and with `segmentation` which pixels show it.

    With `tracking` it looks near the person's place in the last image.
    """
    # The wheel contains complexity 1 only. MediaPipe's smoothing depends on the time between calls, so it is off.
    options = {"static_image_mode": not tracking, "model_complexity": 1, "smooth_landmarks": False}
    options |= {"enable_segmentation": segmentation, "smooth_segmentation": False}
    return Network("pose", "Pose", min_detection_confidence=0.4, **options)


def face_mesh_network(*, tracking: bool, most: int) -> Network:
    """478 points per face. With `tracking` it looks near the face's place in the last image."""
    options = {"static_image_mode": not tracking, "max_num_faces": most, "refine_landmarks": True}
    return Network("face_mesh", "FaceMesh", min_detection_confidence=0.5, **options)


def face_box_network() -> Network:
    """A box per face, small faces included: MediaPipe's model for faces beyond 2 metres."""
    return Network("face_detection", "FaceDetection", min_detection_confidence=0.5, model_selection=1)


def reset_tracking(network: Network) -> None:
    """Makes a tracking network detect again: an empty image is cheaper and quieter than a restart."""
    network.process(_EMPTY)


class Window(NamedTuple):
    """A rectangle in pixels of an image. It may reach beyond the image."""

    left: int
    top: int
    width: int
    height: int

    @property
    def longest(self) -> int:
        return max(self.width, self.height)

    def holds(self, box: Box, room: float) -> bool:
        """Whether a box lies inside with more than `room` pixels on every side."""
        left, top, right, bottom = box
        across = self.left < left - room and right + room < self.left + self.width
        return across and self.top < top - room and bottom + room < self.top + self.height

    def cut(self, image: NDArray[np.uint8], longest: int) -> tuple[NDArray[np.uint8], float]:
        """The window's pixels, grey beyond the image, reduced to at most `longest` px, and the factor of reduction."""
        import cv2

        height, width = image.shape[:2]
        left, top = max(0, self.left), max(0, self.top)
        right, bottom = min(width, self.left + self.width), min(height, self.top + self.height)
        factor = min(1.0, longest / self.longest)
        # Reduced before it is padded: a body window of a face near the border is mostly border.
        piece = image[top:bottom, left:right]
        if factor < 1:
            size = max(1, round((right - left) * factor)), max(1, round((bottom - top) * factor))
            piece = cv2.resize(piece, size, interpolation=cv2.INTER_AREA)
        canvas_size = max(1, round(self.height * factor)), max(1, round(self.width * factor))
        if piece.shape[:2] == canvas_size:
            return np.ascontiguousarray(piece), factor
        canvas = np.full((*canvas_size, 3), _GREY, np.uint8)
        y, x = round((top - self.top) * factor), round((left - self.left) * factor)
        rows, columns = min(piece.shape[0], canvas_size[0] - y), min(piece.shape[1], canvas_size[1] - x)
        canvas[y : y + rows, x : x + columns] = piece[:rows, :columns]
        return canvas, factor


def whole(image: NDArray[np.uint8]) -> Window:
    return Window(0, 0, image.shape[1], image.shape[0])


def around_body_of(face: Box, heads: float) -> Window:
    """A square `heads` times as high as the face, with the face at its top centre, as in a standing body."""
    side = max(16, round(heads * (face[3] - face[1])))
    return Window(round((face[0] + face[2]) / 2 - side / 2), round(face[1] - 0.12 * side), side, side)


def around(box: Box, margin: float) -> Window:
    """The square around a box with `margin` (of its longer side) on every side."""
    side = max(16, round(max(box[2] - box[0], box[3] - box[1]) * (1 + 2 * margin)))
    return Window(round((box[0] + box[2] - side) / 2), round((box[1] + box[3] - side) / 2), side, side)


def squares(image: NDArray[np.uint8], side: int) -> list[Window]:
    """Squares of `side` that cover the image and overlap by half or more."""
    height, width = image.shape[:2]
    return [Window(left, top, side, side) for top in _steps(height, side) for left in _steps(width, side)]


def _steps(length: int, side: int) -> list[int]:
    """Evenly spaced starts, at most half a side apart."""
    count = max(1, -(-2 * (length - side) // side) + 1)
    return [round(start) for start in np.linspace(0, max(0, length - side), count)]


def boxes_in(network: Network, image: NDArray[np.uint8], window: Window, longest: int, most: int) -> list[Box]:
    """Boxes of faces in the window, most confident first, in pixels of the image."""
    pixels, factor = window.cut(image, longest)
    height, width = (side / factor for side in pixels.shape[:2])
    answers = network.process(pixels).detections or []
    boxes = [answer.location_data.relative_bounding_box for answer in answers[:most]]
    places = [(window.left + box.xmin * width, window.top + box.ymin * height) for box in boxes]
    return [
        (left, top, left + box.width * width, top + box.height * height)
        for (left, top), box in zip(places, boxes, strict=True)
    ]
