"""A standing person, and keypoint files of many programs with that pose."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gfla_cli.errors import LandmarkError
from gfla_cli.person.keypoint_files import read_pose

# A person who stands in a 176x256 (width x height) image: x, y of our 18 joints.
STANDING = np.array(
    [
        [88, 30], [88, 55], [70, 56], [62, 88], [58, 118], [106, 56], [114, 88], [118, 118], [77, 115],
        [76, 170], [75, 228], [99, 115], [100, 170], [101, 228], [84, 26], [92, 26], [79, 28], [97, 28],
    ],
    np.float32,
)  # fmt: skip
SIZE = (256, 176)
COCO = [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10]  # our index of each of COCO's 17


def points(places=STANDING, confidence=0.5):
    return np.concatenate([places, np.full((len(places), 1), confidence, np.float32)], axis=1)


def flat(values):
    return [float(value) for value in np.asarray(values).ravel()]


def openpose(*people):
    return {"version": 1.3, "people": [{"pose_keypoints_2d": flat(person)} for person in people]}


def table(names_and_places, header="name:keypoints_y:keypoints_x"):
    rows = [header] if header else []
    for name, places in names_and_places:
        lists = [[round(float(value)) for value in places[:, axis]] for axis in (1, 0)]
        rows.append(f"{name}: {lists[0]}: {lists[1]}")
    return "\n".join(rows) + "\n"


@pytest.fixture
def pose_file(tmp_path):
    """Writes a keypoint file."""

    def to_file(content, name="poses.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return to_file


def refusal(path, **options):
    with pytest.raises(LandmarkError) as caught:
        read_pose(path, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return str(caught.value)
