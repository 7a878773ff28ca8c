"""MediaPipe's networks ("solutions"), started and asked without a word on stderr."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.landmarks.mediapipe_loading import solution
from gfla_cli.media.quiet import native_stderr_silenced

_NOTHING = np.zeros((64, 64, 3), np.uint8)


def body_network(*, tracking: bool) -> Any:
    """33 points of one person; one that tracks looks for the person near where it was in the last picture."""
    # Complexity 1 is the only one whose network is inside the wheel. Its own smoothing would depend on the time
    # that passes between calls.
    options = {"static_image_mode": not tracking, "model_complexity": 1, "smooth_landmarks": False}
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
