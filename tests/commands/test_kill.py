"""A process that is killed while it writes leaves old or new results, never half of one (more: support/kill.py)."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from gfla_cli.io.image import read_image
from gfla_cli.person.keypoint_files import read_pose

WRITER = """
import sys
import numpy as np
from gfla_cli.person.keypoint_files import write_pose
from gfla_cli.person.pose import Pose
from gfla_cli.io.image import write_image
rng = np.random.default_rng(0)
for number in range(10_000):
    write_image("out.png", np.full((400, 400, 3), rng.integers(256), np.uint8), overwrite=True)
    points = rng.uniform(2, 99, (18, 3)).astype(np.float32)
    points[:, 2] = 1
    write_pose("out.json", Pose(points, (100, 100)), overwrite=True)
"""


@pytest.mark.parametrize("seed", range(3))
def test_a_writer_that_is_killed_leaves_whole_files(tmp_path, seed):
    with subprocess.Popen([sys.executable, "-c", WRITER], cwd=tmp_path) as process:
        while not (tmp_path / "out.json").exists() and process.poll() is None:
            time.sleep(0.002)
        time.sleep(np.random.default_rng(seed).uniform(0, 0.1))
        assert process.poll() is None
        process.kill()
    picture = read_image(tmp_path / "out.png")
    assert picture.shape == (400, 400, 3)
    assert (picture == picture[0, 0]).all()
    assert read_pose(tmp_path / "out.json").present.all()
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith(".gfla-")} == {"out.png", "out.json"}
