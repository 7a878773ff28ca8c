"""MediaPipe's face networks: started without a word, and one look at one window of a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.landmarks.face_points import face_size, from_mesh
from gfla_cli.landmarks.pose import Box
from gfla_cli.landmarks.solutions import silenced, solution
from gfla_cli.landmarks.windows import Window

NOTHING = np.zeros((64, 64, 3), np.uint8)
_SMALLEST = 12.0  # pixels of a face


def mesh_network(*, tracking: bool, most: int) -> Any:
    """478 points a face; one that tracks looks for a face near where it was in the last picture."""
    options = {"static_image_mode": not tracking, "max_num_faces": most, "refine_landmarks": True}
    return _started("face_mesh", "FaceMesh", **options)


def box_network() -> Any:
    """A box a face, of small faces too: MediaPipe's model for faces beyond 2 metres."""
    return _started("face_detection", "FaceDetection", model_selection=1)


def meshes_in(network: Any, image: NDArray[np.uint8], window: Window, longest: int) -> list[NDArray[np.float32]]:
    """(478, 3) meshes, in the picture's pixels, of the faces in the window,
    which is shown to the network at no more than `longest` pixels."""
    pixels, factor = window.cut(image, longest)
    height, width = (side / factor for side in pixels.shape[:2])
    meshes = []
    with silenced():
        found = network.process(pixels).multi_face_landmarks or []
    for face in found:
        mesh = np.array([(mark.x, mark.y, mark.z) for mark in face.landmark], np.float32)
        mesh *= np.array([width, height, width], np.float32)  # z is in units of the width
        mesh[:, :2] += (window.left, window.top)
        if np.isfinite(mesh).all() and face_size(from_mesh(mesh)) > _SMALLEST:
            meshes.append(mesh)
    return meshes


def boxes_in(network: Any, image: NDArray[np.uint8], window: Window, longest: int, most: int) -> list[Box]:
    """Boxes of faces in the window, surest first, in the picture's pixels."""
    pixels, factor = window.cut(image, longest)
    height, width = (side / factor for side in pixels.shape[:2])
    with silenced():
        answers = network.process(pixels).detections or []
    boxes = [answer.location_data.relative_bounding_box for answer in answers[:most]]
    places = [(window.left + box.xmin * width, window.top + box.ymin * height) for box in boxes]
    return [
        (left, top, left + box.width * width, top + box.height * height)
        for (left, top), box in zip(places, boxes, strict=True)
    ]


def forget(network: Any) -> None:
    """Makes a network that tracks look for the face anew: an empty picture, cheaper and quieter than a restart."""
    with silenced():
        network.process(NOTHING)


def _started(module: str, kind: str, **options: Any) -> Any:
    """One of MediaPipe's solutions, started, which it comments on stderr, with a first empty picture."""
    with silenced(native=True):
        network = getattr(solution(module), kind)(min_detection_confidence=0.5, **options)
        network.process(NOTHING)
    return network
