"""Whether a picture is one of a face or of a body."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gfla_cli.errors import DetectionError
from gfla_cli.landmarks.detector import PersonDetector
from gfla_cli.landmarks.face_detector import FaceDetector
from gfla_cli.landmarks.face_points import face_size
from gfla_cli.landmarks.tracks import Kind

_LARGE_FACE = 0.16  # of the picture's longer side: nobody takes such a picture for the body in it
_HIPS = (8, 11)


def kind_of_picture(picture: NDArray[np.uint8], where: str) -> Kind:
    """What (H, W, 3) mostly shows. Raises DetectionError when that is neither.

    A large face is a portrait, also when shoulders are in it; a person with hips is a body.
    """
    with FaceDetector() as detector:
        faces = detector.detect(picture)
    if faces and face_size(faces[0].points) > _LARGE_FACE * max(picture.shape[:2]):
        return "face"
    with PersonDetector() as people_detector:
        people = people_detector.detect(picture)
    if people and (not faces or people[0].pose.present[list(_HIPS)].any()):
        return "body"
    if not faces:
        what = f"{where}: neither a face nor a person found"
        raise DetectionError(what, hint="use a portrait, or a picture that shows most of a person")
    return "face"
