"""A drawn chair, images in ShapeNet's layout, and small untrained models for view synthesis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_models import save_tiny, tiny

TINY = tiny("view-chairs", view_width=4)


def draw_chair(size=256, ground=(255, 255, 255), at=(0.3, 0.2, 0.7, 0.85)):
    """A brown L on a ground: back, seat, two legs."""
    picture = np.empty((size, size, 3), np.uint8)
    picture[:] = ground
    left, top, right, bottom = (round(share * size) for share in at)
    thick, middle = max(size // 20, 2), (top + bottom) // 2
    for box in (
        (left, top, left + thick, bottom),
        (left, middle, right, middle + thick),
        (right - thick, middle, right, bottom),
    ):
        picture[box[1] : box[3], box[0] : box[2]] = 120, 70, 40
    return picture


def write_shapenet(root, *, azimuths=(0, 2, 4), pose=None, drop=None, group="{name}_{azimuth}_{elevation}"):
    h5py = pytest.importorskip("h5py")
    root.mkdir(exist_ok=True)
    with h5py.File(root / "data_chair.hdf5", "w") as file:
        for name in ("a1", "b2"):
            for azimuth in azimuths:
                for elevation in (0, 1):
                    entry = file.create_group(group.format(name=name, azimuth=azimuth, elevation=elevation))
                    entry["image"] = np.full((256, 256, 3), 40 * azimuth + elevation, np.uint8)
                    entry["pose"] = np.array(pose or [azimuth, 10 * elevation])
                    if drop:
                        del entry[drop]
    (root / "id_chair_train.txt").write_text("a1\n")
    (root / "id_chair_test.txt").write_text("b2_0_0\nb2_2_0\n")
    return root / "data_chair.hdf5"


@pytest.fixture(scope="session")
def view_shelf(tmp_path_factory):
    """A folder of small untrained models: three for view synthesis, one for pose transfer."""
    folder = tmp_path_factory.mktemp("views")
    save_tiny(folder / "tiny-view", TINY, license="MIT")
    save_tiny(folder / "tiny-pixels", replace(TINY, sampler="pixels", view_width=0, pixel_blend=False))
    save_tiny(folder / "tiny-authors", tiny("view-chair"))
    save_tiny(folder / "tiny-pose", tiny())
    return folder
