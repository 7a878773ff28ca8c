"""MediaPipe's networks: loading and running them, and the windows of an image that they are run on.

The networks run in MediaPipe's Tasks API. Its packages contain no models, so `bundles` holds them. They give the same
results with mediapipe 0.10.14 and 0.10.31.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any, NamedTuple
from weakref import WeakSet, finalize

import numpy as np

from gfla_cli.arrays import Image
from gfla_cli.errors import GflaError, import_failed
from gfla_cli.geometry.crop import Box
from gfla_cli.io.background import (
    ProcessLock,
    native_stderr_silenced,
    never_freed,
    python_warnings_silenced,
    tell_of_forks,
)

# Packages whose own code imports every task, and looks for a sound library: this takes half a second.
_PACKAGES = ("mediapipe", "mediapipe.tasks.python", "mediapipe.tasks.python.vision")
_hollow: dict[str, ModuleType] = {}  # packages whose own code has not run
_one_at_a_time = ProcessLock()
_BUNDLES = Path(__file__).with_name("bundles")
_EMPTY = np.zeros((64, 64, 3), np.uint8)
_GREY = 128  # outside of the image

LARGEST_SIDE = 2560  # pixels of the copy that is searched; a person of a fifth of its height is still sharp
LOOK_SIDE = 1280  # pixels of the whole image in one look
MOST_FACES = 8  # that count: those with most confidence
MOST_SQUARES = 12

# Time between two frames of a tracking network, in ms. MediaPipe smooths the landmarks of one person by time: less when
# the time is longer. At these values, the landmarks are as restless as without smoothing.
_BODY_STEP_MS = 10_000
_FACE_STEP_MS = 100_000_000


def task_module(name: str) -> Any:
    """The module of one of MediaPipe's vision tasks, such as "pose_landmarker".

    Each is loaded alone: see `_PACKAGES`. Raises GflaError when MediaPipe cannot be loaded.
    """
    return _module(f"mediapipe.tasks.python.vision.{name}")


def _module(name: str) -> Any:
    try:
        with _one_at_a_time, _packages_hollow():
            return import_module(name)
    except ImportError as error:
        known = import_failed(error)
        raise GflaError(f"mediapipe cannot be loaded: {error}".splitlines()[0], hint=known.hint) from error
    except Exception as error:  # a damaged installation raises any type
        raise GflaError(f"mediapipe cannot be loaded: {error}", hint="gfla doctor shows the versions") from error


@contextmanager
def _packages_hollow() -> Iterator[None]:
    """In this block the packages only provide their modules. Their own code runs at the first access to it."""
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
    """Runs the packages' own code at the first access to a missing attribute of one of them."""

    def __init__(self, package: ModuleType) -> None:
        self._package = package

    def __call__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # the import system looks for these
            raise AttributeError(f"module {self._package.__name__!r} has no attribute {attribute!r}")
        # The innermost first: mediapipe's own code gives the name mediapipe.tasks to another package.
        packages = [_hollow.pop(name) for name in reversed(_PACKAGES) if name in _hollow]
        for package in packages:
            vars(package).pop("__getattr__", None)
        for package in packages:
            if package.__spec__ is not None and package.__spec__.loader is not None:
                package.__spec__.loader.exec_module(package)
        return getattr(self._package, attribute)


class _Task:
    """A running MediaPipe task. Not safe for use from several threads."""

    def __init__(self, task: Any, step_ms: int) -> None:
        """`step_ms`: the time between frames for a task in video mode, 0 for one in image mode."""
        self._task = task
        self._step_ms = step_ms
        self._time_ms = 0
        self._images = _image_module()
        self._is_new = True  # it has found nothing yet
        _open_tasks.add(task)
        # MediaPipe closes a task in a thread, and waits forever if the garbage collector has already ended that
        # thread. So MediaPipe's own object outlives this one, and is closed later.
        self._orphaned = finalize(self, _orphans.append, task)
        self._orphaned.atexit = False

    def process(self, pixels: Image) -> Any:
        """The task's result for (H, W, 3) uint8 RGB."""
        # MediaPipe ignores the strides of an array.
        image = self._images.Image(image_format=self._images.ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
        if not self._is_new:
            return self._result(image)
        with native_stderr_silenced:  # the last part of the graph starts, and logs, at the first person or face
            result = self._result(image)
        self._is_new = not any(vars(result).values())
        return result

    def _result(self, image: Any) -> Any:
        with _protobuf_silenced():
            if not self._step_ms:
                return self._task.detect(image)
            self._time_ms += self._step_ms
            return self._task.detect_for_video(image, self._time_ms)

    def abandon(self) -> None:
        """Never closes the task: in a forked process its threads are not there."""
        self._orphaned.detach()
        _open_tasks.discard(self._task)

    def close(self) -> None:
        """Frees the task."""
        self._orphaned.detach()
        self._task.close()


_open_tasks: WeakSet[Any] = WeakSet()
_orphans: list[Any] = []  # tasks of networks that were collected without being closed


def _close_orphans() -> None:
    while _orphans:
        _orphans.pop().close()


@atexit.register
def _abandon_open_tasks() -> None:
    """Leaves open tasks to the operating system: no thread can start any more, so closing would print a traceback."""
    for task in _open_tasks:
        task._handle = None


def _image_module() -> Any:
    """The module with MediaPipe's Image and ImageFormat."""
    return _module("mediapipe.python" if _is_old() else "mediapipe.tasks.python.vision.core.image")


def _is_old() -> bool:
    """Whether the loaded tasks are those of 0.10.14, the last mediapipe with a wheel for Linux on aarch64."""
    return "mediapipe.python" in sys.modules


def _protobuf_silenced() -> Any:
    """mediapipe 0.10.14 makes a call for every image that protobuf warns about. Later versions use no protobuf."""
    return python_warnings_silenced if _is_old() else nullcontext()


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
    """One of MediaPipe's networks, which starts when it is first used. Threads may share it: they take turns.

    A child that was forked before the first network started can start its own; later ones raise GflaError.
    """

    def __init__(self, module: str, kind: str, bundle: str, step_ms: int, **options: Any) -> None:
        """`module`, `kind`: a task's module and class, which takes the `options`; `bundle`: the file of its model.

        `step_ms`: the time between frames for a network that tracks, 0 for one that does not.
        """
        self._module, self._kind, self._bundle, self._step_ms, self._options = module, kind, bundle, step_ms, options
        self._lock = ProcessLock()
        self._graph: _Task | None = None
        tell_of_forks(self)

    def start_in_background(self) -> None:
        """Starts it in a thread, unless it has started. An error there is raised by `process`, which tries again.

        A process that ends waits for the thread: MediaPipe crashes when it is interrupted.
        """

        def start() -> None:
            with self._lock, suppress(Exception):  # of any type
                self._graph = self._graph or self._started()

        if self._graph is None:
            Thread(target=start).start()

    def process(self, pixels: Image) -> Any:
        """MediaPipe's result for (H, W, 3) uint8 RGB. Raises GflaError when MediaPipe fails."""
        with self._lock:
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
            self._graph.abandon()
            self._graph = None

    def _started(self) -> _Task:
        """A task that has seen an empty image: its graph starts, and logs, at the first image."""
        if _fork.unusable:
            hint = 'fork before the first image, or start processes with multiprocessing.get_context("spawn")'
            raise GflaError("mediapipe cannot run in a process that was forked after mediapipe was used", hint=hint)
        _fork.started = True
        _close_orphans()
        with native_stderr_silenced:
            tasks = task_module(self._module)
            mode = _module("mediapipe.tasks.python.vision.core.vision_task_running_mode").VisionTaskRunningMode
            base = _module("mediapipe.tasks.python.core.base_options").BaseOptions
            path = _BUNDLES / self._bundle
            if os.name == "posix" and str(path).isascii():
                model = base(model_asset_path=str(path))  # is mapped, not copied
            else:  # MediaPipe does not open every path on Windows
                model = base(model_asset_buffer=path.read_bytes())
            running_mode = mode.VIDEO if self._step_ms else mode.IMAGE
            options = getattr(tasks, f"{self._kind}Options")(
                base_options=model, running_mode=running_mode, **self._options
            )
            task = _Task(getattr(tasks, self._kind).create_from_options(options), self._step_ms)
            task.process(_EMPTY)
        return task


def body_network(*, tracking: bool, segmentation: bool = False) -> Network:
    """33 landmarks of one person, and with `segmentation` which pixels show it.

    With `tracking` it looks near the person's place in the last image.
    """
    options = {"min_pose_detection_confidence": 0.4, "output_segmentation_masks": segmentation}
    step_ms = _BODY_STEP_MS if tracking else 0
    return Network("pose_landmarker", "PoseLandmarker", "pose_landmarker_full.task", step_ms, **options)


def face_mesh_network(*, tracking: bool, most: int) -> Network:
    """478 points per face. With `tracking` it looks near the face's place in the last image."""
    step_ms = _FACE_STEP_MS if tracking else 0
    return Network("face_landmarker", "FaceLandmarker", "face_landmarker.task", step_ms, num_faces=most)


def face_box_network() -> Network:
    """A box per face, small faces included: MediaPipe's model for faces beyond 2 metres."""
    return Network("face_detector", "FaceDetector", "face_detector_far.tflite", 0)


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

    def cut(self, image: Image, longest: int) -> tuple[Image, float]:
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


def whole(image: Image) -> Window:
    return Window(0, 0, image.shape[1], image.shape[0])


def around_body_of(face: Box, heads: float) -> Window:
    """A square `heads` times as high as the face, with the face at its top centre, as in a standing body."""
    side = max(16, round(heads * (face[3] - face[1])))
    return Window(round((face[0] + face[2]) / 2 - side / 2), round(face[1] - 0.12 * side), side, side)


def around(box: Box, margin: float) -> Window:
    """The square around a box with `margin` (of its longer side) on every side."""
    side = max(16, round(max(box[2] - box[0], box[3] - box[1]) * (1 + 2 * margin)))
    return Window(round((box[0] + box[2] - side) / 2), round((box[1] + box[3] - side) / 2), side, side)


def squares(image: Image, side: int) -> list[Window]:
    """Squares of `side` that cover the image and overlap by half or more."""
    height, width = image.shape[:2]
    return [Window(left, top, side, side) for top in _steps(height, side) for left in _steps(width, side)]


def _steps(length: int, side: int) -> list[int]:
    """Evenly spaced starts, at most half a side apart."""
    count = max(1, -(-2 * (length - side) // side) + 1)
    return [round(start) for start in np.linspace(0, max(0, length - side), count)]


def faces_in(network: Network, image: Image, window: Window) -> list[tuple[float, Box]]:
    """Confidence in [0, 1] and box, in pixels of the image, of the faces in the window, most confident first."""
    pixels, factor = window.cut(image, LOOK_SIDE)
    faces = []
    for found in (network.process(pixels).detections or [])[:MOST_FACES]:
        box = found.bounding_box
        left, top = window.left + box.origin_x / factor, window.top + box.origin_y / factor
        faces.append((found.categories[0].score, (left, top, left + box.width / factor, top + box.height / factor)))
    return faces
