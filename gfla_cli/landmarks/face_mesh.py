"""What MediaPipe's face networks see in one window of a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gfla_cli.landmarks.face_points import face_size, from_mesh
from gfla_cli.landmarks.pose import Box
from gfla_cli.landmarks.solutions import ask
from gfla_cli.landmarks.windows import Window

_SMALLEST = 12.0  # pixels of a face


def meshes_in(network: Any, image: NDArray[np.uint8], window: Window, longest: int) -> list[NDArray[np.float32]]:
    """(478, 3) meshes, in the picture's pixels, of the faces in the window,
    which is shown to the network at no more than `longest` pixels."""
    pixels, factor = window.cut(image, longest)
    height, width = (side / factor for side in pixels.shape[:2])
    meshes = []
    found = ask(network, pixels).multi_face_landmarks or []
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
    answers = ask(network, pixels).detections or []
    boxes = [answer.location_data.relative_bounding_box for answer in answers[:most]]
    places = [(window.left + box.xmin * width, window.top + box.ymin * height) for box in boxes]
    return [
        (left, top, left + box.width * width, top + box.height * height)
        for (left, top), box in zip(places, boxes, strict=True)
    ]
