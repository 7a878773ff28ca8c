"""ShapeNet's files: pairs of views out of them, and whatever says something else is named."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from chairs import write_shapenet

from gfla_cli.datasets.shapenet import ShapeNetPairs, find_file
from gfla_cli.errors import DataError, UsageError

h5py = pytest.importorskip("h5py")


def test_shapenet_pairs_share_object_and_elevation(tmp_path):
    file = write_shapenet(tmp_path / "set")
    assert find_file(tmp_path / "set") == file
    pairs = ShapeNetPairs(file, "train", (128, 128))
    assert len(pairs) == 2 * 3 * 2
    for pair in (pairs[i] for i in range(20)):
        assert pair.source_image.shape == (128, 128, 3)
        source, target = pair.source_code, pair.target_code
        assert source[18:].argmax() == target[18:].argmax() == pair.source_image[0, 0, 0] % 40
        assert source[:18].argmax() * 2 == pair.source_image[0, 0, 0] // 40
        assert source[:18].argmax() != target[:18].argmax()
    pickle.loads(pickle.dumps(pairs))[0]  # as a worker gets it
    assert {name for name, _ in ShapeNetPairs(file, "test", (64, 64)).keys} == {"b2"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"group": "object-{name}/{azimuth}-{elevation}"}, "no group such as a1_0_1"),
        ({"azimuths": (0,)}, "no group such as"),
        ({"drop": "pose"}, "no `pose`"),
        ({"drop": "image"}, "no `image`"),
        ({"pose": [3, 10]}, "`pose` of a1_0_0"),
        ({"pose": [2, 15]}, "`pose` of a1_0_0"),
    ],
)
def test_hdf5_files_that_say_something_else_are_named_with_what_was_looked_for(tmp_path, options, said):
    file = write_shapenet(tmp_path, **options)
    with pytest.raises(DataError, match=said) as caught:
        ShapeNetPairs(file, "train", (64, 64))
    assert "data_chair.hdf5" in str(caught.value)
    assert "expected" in caught.value.hint


def test_missing_and_ambiguous_shapenet_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no \.hdf5"):
        find_file(tmp_path)
    file = write_shapenet(tmp_path)
    (tmp_path / "id_chair_train.txt").unlink()
    with pytest.raises(DataError, match=r"id_chair_train\.txt: not found"):
        ShapeNetPairs(file, "train", (64, 64))
    other = tmp_path / "data_car.hdf5"
    other.write_bytes(b"not hdf5")
    with pytest.raises(UsageError, match="several HDF5 files"):
        find_file(tmp_path)
    (tmp_path / "id_car_train.txt").write_text("x\n")
    with pytest.raises(DataError, match="not a readable HDF5"):
        ShapeNetPairs(other, "train", (64, 64))
    (tmp_path / "id_chair_train.txt").write_text("x\n")
    with pytest.raises(UsageError, match="chairs or cars"):
        ShapeNetPairs(other.rename(tmp_path / "data.hdf5"), "train", (64, 64))


def linked_elsewhere(file, other):
    del file["a_0_1"]["image"]
    file["a_0_1"]["image"] = h5py.ExternalLink(str(other), "image")


def linked_group(file, other):
    del file["a_0_1"]
    file["a_0_1"] = h5py.ExternalLink(str(other), "/")


def stored_elsewhere(file, other):
    del file["a_0_1"]["image"]
    file["a_0_1"].create_dataset("image", (8, 8, 3), np.uint8, external=[(str(other), 0, 192)])


def virtual(file, other):
    del file["a_0_1"]["image"]
    layout = h5py.VirtualLayout((8, 8, 3), np.uint8)
    layout[:] = h5py.VirtualSource(str(other), "image", (8, 8, 3))
    file["a_0_1"].create_virtual_dataset("image", layout)


def huge(file, other):
    del file["a_0_1"]["image"]
    file["a_0_1"].create_dataset("image", (10**6, 10**6, 3), np.uint8, chunks=(64, 64, 3))


def not_a_set(file, other):
    del file["a_0_1"]["image"]
    file["a_0_1"].create_group("image")


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("harm", [linked_elsewhere, linked_group, stored_elsewhere, virtual, huge, not_a_set])
def test_an_hdf5_file_keeps_to_itself_and_to_the_size_of_pictures(tmp_path, harm):
    with h5py.File(tmp_path / "secret.hdf5", "w") as file:
        file["image"], file["pose"] = np.zeros((8, 8, 3), np.uint8), [0, 10]
    with h5py.File(tmp_path / "data_chair.hdf5", "w") as file:
        for azimuth in (0, 2):
            group = file.create_group(f"a_{azimuth}_1")
            group["image"], group["pose"] = np.zeros((8, 8, 3), np.uint8), [azimuth, 10]
    (tmp_path / "id_chair_test.txt").write_text("a\n")
    ShapeNetPairs(tmp_path / "data_chair.hdf5", "test", (8, 8))
    with h5py.File(tmp_path / "data_chair.hdf5", "a") as file:
        harm(file, tmp_path / "secret.hdf5")
    with pytest.raises(DataError, match="a_0_1"):
        ShapeNetPairs(tmp_path / "data_chair.hdf5", "test", (8, 8))
