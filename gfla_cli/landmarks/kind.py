"""Whether a picture is one of a face or of a body."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gfla_cli.errors import DetectionError
from gfla_cli.landmarks.body_size import has_feet
from gfla_cli.landmarks.detector import PersonDetector
from gfla_cli.landmarks.face_detector import FaceDetector
from gfla_cli.landmarks.face_points import face_size
from gfla_cli.landmarks.tracks import Kind

_LARGE_FACE = 0.16  # of the picture's longer side: nobody takes such a picture for the body in it
_SMALL_FACE = 0.07  # below it there is little of a face to see, even where no feet are


def kind_of_picture(picture: NDArray[np.uint8], where: str) -> Kind:
    """What (H, W, 3) mostly shows. Raises DetectionError when that is neither.

    Somebody down to the feet is a body; half a person is a portrait, unless the face is small.
    """
    with FaceDetector() as detector:
        faces = detector.detect(picture)
    share = face_size(faces[0].points) / max(picture.shape[:2]) if faces else 0.0
    if share > _LARGE_FACE:
        return "face"
    with PersonDetector() as people_detector:
        people = people_detector.detect(picture)
    if people and (share < _SMALL_FACE or has_feet(people[0].pose)):
        return "body"
    if not faces:
        what = f"{where}: neither a face nor a person found"
        raise DetectionError(what, hint="use a portrait, or a picture that shows most of a person")
    return "face"
