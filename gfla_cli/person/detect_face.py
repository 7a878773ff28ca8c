"""Finds faces in an image with MediaPipe: several of them, and small ones too."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from gfla_cli.arrays import Float32Array, Image
from gfla_cli.errors import DetectionError
from gfla_cli.geometry.crop import Box, box_of
from gfla_cli.io.background import Closeable, ProcessLock
from gfla_cli.io.image import check_image
from gfla_cli.person.body import has_feet
from gfla_cli.person.detect import PersonDetector, TurnedFaces, turned, turned_back
from gfla_cli.person.face import POINTS, face_size, from_mesh
from gfla_cli.person.mediapipe import (
    LARGEST_SIDE,
    LOOK_SIDE,
    MOST_FACES,
    MOST_SQUARES,
    Network,
    Window,
    around,
    face_box_network,
    face_mesh_network,
    faces_in,
    squares,
    whole,
)
from gfla_cli.person.pose import extent
from gfla_cli.person.track_files import Kind

_SMALLEST = 12.0  # pixels of a face
_CUT_SIDE = 512  # pixels of a cut-out; the network inside sees 192
_MARGIN = 0.5  # around a face's box: a window of twice its size
_CLOSE = 0.25  # of the image; a larger face needs no closer look
_SAME_FACE = 0.5  # of a face's size; closer faces are one face found twice
_LARGE_FACE = 0.16  # of the image's longer side; an image with a larger face shows a face, not a body
_SMALL_FACE = 0.07  # of the longer side; an image with a smaller face shows a body, even without feet


def meshes_in(network: Network, image: Image, window: Window, longest: int) -> list[Float32Array]:
    """(478, 3) meshes, in pixels of the image, of the faces in the window.

    The network sees the window reduced to at most `longest` pixels.
    """
    pixels, factor = window.cut(image, longest)
    height, width = (side / factor for side in pixels.shape[:2])
    meshes = []
    for face in network.process(pixels).face_landmarks:
        mesh = np.array([(mark.x, mark.y, mark.z) for mark in face], np.float32)
        mesh *= np.array([width, height, width], np.float32)  # z is in units of the width
        mesh[:, :2] += (window.left, window.top)
        if np.isfinite(mesh).all() and face_size(from_mesh(mesh)) > _SMALLEST:
            meshes.append(mesh)
    return meshes


@dataclass(frozen=True, eq=False)
class Face:
    """One face found in an image, in pixels of the image."""

    mesh: Float32Array = field(repr=False)  # (478, 3): x, y, and z as in face.py

    @cached_property
    def points(self) -> Float32Array:
        """(70, 3): the iBUG landmarks and the irises."""
        return from_mesh(self.mesh)

    @property
    def box(self) -> Box:
        """Left, top, right, bottom of the landmarks."""
        return box_of(self.points)

    @property
    def prominence(self) -> float:
        """Its size in pixels, see `choose_person`."""
        return extent(self.box)


def face_of(mesh: Float32Array) -> Face:
    """The face of a mesh (478, 3) from MediaPipe.

    MediaPipe counts pixels from the image's edge, this package from the centre of the first pixel.
    """
    return Face(mesh - np.array([0.5, 0.5, 0], np.float32))


class FaceDetector(Closeable):
    """Finds faces. Keep it for many images: loading takes half a second.

    A context manager. Threads may share it: they take turns. For forks see `Network`.
    """

    def __init__(self) -> None:
        self._lock = ProcessLock()
        self._mesh_network = face_mesh_network(tracking=False, most=4)
        self._box_network = face_box_network()

    def close(self) -> None:
        """Frees the networks. The next `detect` loads them again."""
        with self._lock:
            for network in (self._mesh_network, self._box_network):
                network.close()

    def detect(self, image: Image) -> list[Face]:
        """The faces in (H, W, 3) uint8 RGB, largest first; an empty list when there are none."""
        check_image(image)
        pixels, factor = whole(image).cut(image, LARGEST_SIDE)
        with self._lock:
            faces = TurnedFaces(self._box_network, pixels)
            turns = faces.upright_turns()
            meshes = self._search(turned(pixels, turns), faces.boxes(turns))
            found = [turned_back(mesh, turns, pixels.shape) for mesh in meshes]
            if turns and not found:
                found = self._search(pixels, faces.boxes(0))
        placed = [face_of(mesh / np.float32(factor)) for mesh in found]
        return sorted(placed, key=lambda face: face_size(face.points), reverse=True)

    def _search(self, image: Image, boxes: list[Box]) -> list[Float32Array]:
        """The meshes of all faces: in the whole image, around the boxes of small faces, in squares side by side."""
        found: list[Float32Array] = []
        for mesh in self._meshes(image, whole(image), LOOK_SIDE):
            box = box_of(from_mesh(mesh))
            is_large = max(box[2] - box[0], box[3] - box[1]) > _CLOSE * max(image.shape[:2])
            # The mesh of a small face may be distorted, so it is searched again in a smaller window.
            _add(found, [mesh] if is_large else self._closely(image, box))
        for box in boxes:
            if not any(_holds(box, mesh) for mesh in found):
                _add(found, self._closely(image, box))
        if not found:
            for window in squares(image, max(64, round(0.6 * min(image.shape[:2]))))[:MOST_SQUARES]:
                for _, box in faces_in(self._box_network, image, window):
                    _add(found, self._closely(image, box))
        return found[:MOST_FACES]

    def _closely(self, image: Image, box: Box) -> list[Float32Array]:
        return self._meshes(image, around(box, _MARGIN), _CUT_SIDE)[:1]

    def _meshes(self, image: Image, window: Window, longest: int) -> list[Float32Array]:
        return meshes_in(self._mesh_network, image, window, longest)


def no_face(where: str) -> DetectionError:
    """The error for an image or video without a face."""
    hint = "use an image in which a face looks at the camera and is at least 60 px wide"
    return DetectionError(f"{where}: no face found", hint=hint)


def _add(found: list[Float32Array], meshes: list[Float32Array]) -> None:
    """Adds the meshes of faces that are not in `found` yet."""
    for mesh in meshes:
        if all(faces_apart(from_mesh(mesh), from_mesh(known)) > _SAME_FACE for known in found):
            found.append(mesh)


def _holds(box: Box, mesh: Float32Array) -> bool:
    """Whether the tip of the mesh's nose is in the box."""
    x, y = mesh[4, :2]
    return bool(box[0] < x < box[2] and box[1] < y < box[3])


def faces_apart(one: Float32Array, other: Float32Array) -> float:
    """Distance of the middles of two faces in sizes of the larger one."""
    distance = float(np.linalg.norm(one[:POINTS, :2].mean(axis=0) - other[:POINTS, :2].mean(axis=0)))
    return distance / max(face_size(one), face_size(other))


def kind_of_image(image: Image, where: str) -> Kind:
    """Whether (H, W, 3) shows a face or a body. Raises DetectionError when it shows neither.

    A person with feet is a body. Half a person is a face, unless the face is small.
    """
    with FaceDetector() as detector:
        faces = detector.detect(image)
    share = face_size(faces[0].points) / max(image.shape[:2]) if faces else 0.0
    if share > _LARGE_FACE:
        return "face"
    with PersonDetector() as people_detector:
        people = people_detector.detect(image)
    if people and (share < _SMALL_FACE or has_feet(people[0].pose)):
        return "body"
    if not faces:
        what = f"{where}: neither a face nor a person found"
        raise DetectionError(what, hint="use a portrait, or an image that shows most of a person")
    return "face"
