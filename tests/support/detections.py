"""Detections of images that several tests show to the detectors."""

from __future__ import annotations

import hashlib
import pickle
from functools import wraps

import pytest

from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.detect_face import FaceDetector
from gfla_cli.person.mediapipe import Network

_found: dict[tuple[object, ...], bytes] = {}


@pytest.fixture
def detections_remembered(monkeypatch):
    """What a detector found in an image before it finds again without its networks. For tests of other things."""
    for detector, name in ((PersonDetector, "_search_turned"), (PersonDetector, "cover"), (FaceDetector, "detect")):
        monkeypatch.setattr(detector, name, _remembering(getattr(detector, name)))
    monkeypatch.setattr(Network, "start_in_background", lambda network: None)  # it may not be needed


def _remembering(look):
    @wraps(look)
    def remembered(self, image, *rest):
        content = hashlib.blake2b(image.tobytes()).digest()
        key = (look.__qualname__, image.shape, image.dtype, content, pickle.dumps(rest))
        if key not in _found:
            _found[key] = pickle.dumps(look(self, image, *rest))
        return pickle.loads(_found[key])

    return remembered
