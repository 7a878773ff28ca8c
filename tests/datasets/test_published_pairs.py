"""Pairs of a published set as training sees them, and sets that are refused with what was looked for."""

from __future__ import annotations

import numpy as np
import pytest
from photographs import X18, Y18, edit
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.datasets.deepfashion import BenchmarkPairs, ShuffledPairs, jitter
from gfla_cli.datasets.tables import DEEPFASHION, SQUARE
from gfla_cli.errors import DataError
from gfla_cli.training.data import open_training_data
from gfla_cli.training.recipe import recipe


def test_every_pass_sees_every_pair_once_in_another_order(good_set):
    pairs = BenchmarkPairs(good_set, "train", DEEPFASHION, (32, 32))
    shuffled = ShuffledPairs(pairs, seed=3)
    passes = [[shuffled[k].source_image.tobytes() for k in range(e * len(pairs), (e + 1) * len(pairs))] for e in (0, 1)]
    in_order = [pairs[k].source_image.tobytes() for k in range(len(pairs))]
    assert sorted(passes[0]) == sorted(passes[1]) == sorted(in_order)
    assert passes[0] != passes[1]
    assert passes[0] != in_order
    assert ShuffledPairs(pairs, seed=3)[5].source_image.tobytes() == passes[0][5]


def test_jitter_moves_joints_with_the_picture(good_set):
    pair = BenchmarkPairs(good_set, "train", DEEPFASHION, (128, 64))[0]
    image = np.zeros((128, 64, 3), np.uint8)
    image[60:63, 30:33] = 255
    points = np.full((18, 3), (31, 61, 1), np.float32)
    points[3] = -1, -1, 0
    points[4] = 0, 0, 1
    pair = pair._replace(source_image=image, source_points=points, target_image=image, target_points=points)
    gone = 0
    for seed in range(20):
        moved = jitter(pair, np.random.default_rng(seed))
        for picture, joints in ((moved.source_image, moved.source_points), (moved.target_image, moved.target_points)):
            picture = np.where(picture[..., 0] == 128, 0, picture[..., 0]).astype(float)
            y, x = np.indices(picture.shape)
            inner = (slice(40, 85), slice(12, 52))  # the spot, without what interpolation leaves at the border
            weight = picture[inner]
            centre = (x[inner] * weight).sum() / weight.sum(), (y[inner] * weight).sum() / weight.sum()
            np.testing.assert_allclose(joints[0, :2], centre, atol=0.1)
            assert joints[3].tolist() == [-1, -1, 0]
            gone += joints[4, 2] == 0
        assert np.abs(moved.source_points[0, :2] - 31).max() <= 36
    assert 0 < gone < 40


def test_keypoints_that_contradict_themselves_and_missing_folders_are_refused(good_set):
    table = good_set / "fasion-annotation-train.csv"
    name = table.read_text().splitlines()[1].split(":")[0]
    edit(table, lambda lines: [*lines, f"{name}: {Y18}: {X18}"])
    with pytest.raises(DataError, match=rf"line {len(table.read_text().splitlines())}: {name} had other keypoints"):
        BenchmarkPairs(good_set, "train", DEEPFASHION, (64, 64))
    (good_set / "test").rename(good_set / "tests")
    with pytest.raises(DataError, match="no such folder"):
        BenchmarkPairs(good_set, "test", DEEPFASHION, (64, 64))


@pytest.mark.parametrize(
    ("table", "header", "said"),
    [
        ("annotation", "name:keypoints_y", "it begins with name:keypoints_y"),
        ("pairs", "to,from", "it begins with to,from"),
        ("pairs", "", "it begins with nothing"),
    ],
)
def test_training_refuses_another_header_and_says_what_it_found(good_set, table, header, said):
    path = good_set / f"fasion-{table}-train.csv"
    edit(path, lambda lines: [header, *lines[1:]])
    with pytest.raises(DataError, match=rf"{path.name}: should begin with the line (name|from)") as raised:
        BenchmarkPairs(good_set, "train", DEEPFASHION, (64, 64))
    assert said in raised.value.hint


def test_a_pair_without_its_second_name_is_refused_with_its_line(good_set):
    edit(good_set / "fasion-pairs-train.csv", lambda lines: [*lines[:2], "alone.jpg", *lines[2:]])
    with pytest.raises(DataError, match=r"fasion-pairs-train\.csv, line 3: fewer than 2 columns"):
        BenchmarkPairs(good_set, "train", DEEPFASHION, (64, 64))


@pytest.mark.parametrize(
    ("dataset", "names"),
    [
        ("fashion", ["fasion-annotation-train.csv", "fasion-pairs-train.csv", "train/"]),
        ("market", ["market-annotation-train.csv", "market-pairs-train.csv", "train/"]),
        ("faces", ["CLIP/00000.jpg", "train_keypoints/"]),
        ("shapenet", [".hdf5"]),
        ("people", ["humans.npz", "poses.npz", "textures"]),
        ("people-faces", ["humans.npz", "poses.npz", "textures"]),
        ("objects", [".glb"]),
        ("bodies", ["humans.npz", "poses.npz", "textures"]),
    ],
)
def test_a_folder_without_the_set_is_refused_with_the_files_that_were_looked_for(tmp_path, dataset, names):
    """Before VGG19 is fetched or anything is written."""
    (tmp_path / "root").mkdir()
    arguments = ["train", "--dataset", dataset, "--data-root", str(tmp_path / "root"), "-o", str(tmp_path / "run")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert f"{tmp_path / 'root'}: " in result.stderr
    for name in names:
        assert name in result.stderr
    assert not (tmp_path / "run").exists()


def test_rendered_pictures_can_be_trained_on_without_the_pack(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "cache" / "albums-6000x6").mkdir(parents=True)
    open_training_data(recipe("people"), tmp_path / "root", tmp_path / "cache")
    (tmp_path / "cache" / "albums-6000x6").rmdir()
    with pytest.raises(DataError, match=r"no humans\.npz and no poses\.npz and no textures"):
        open_training_data(recipe("people"), tmp_path / "root", tmp_path / "cache")


def test_annotated_points_are_stretched_with_the_picture(small_set):
    square = BenchmarkPairs(small_set, "train", SQUARE, (64, 64))[0]
    narrow = BenchmarkPairs(small_set, "train", DEEPFASHION, (64, 64))[0]
    np.testing.assert_allclose(square.source_points[0], [15, 12, 1])
    np.testing.assert_allclose(narrow.source_points[0], [15 * 256 / 176, 12, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("fasion-annotation-train.csv", "name;y;x\n", "should begin with"),
        ("fasion-annotation-train.csv", "name:keypoints_y:keypoints_x\na.png: [1, 2]: [3]\n", "line 2"),
        ("fasion-pairs-train.csv", "from,to\n", "no pairs"),
        ("fasion-pairs-train.csv", "from,to\nx.png,y.png\n", "has no keypoints"),
    ],
)
def test_a_broken_set_is_named_with_file_and_line(small_set, tmp_path, file, text, said):
    for name in ("fasion-annotation-train.csv", "fasion-pairs-train.csv"):
        (tmp_path / name).write_text((small_set / name).read_text())
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=said):
        BenchmarkPairs(tmp_path, "train", SQUARE, (64, 64))


def test_a_missing_set_says_which_file_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"no fasion set to train on"):
        BenchmarkPairs(tmp_path, "train", SQUARE, (64, 64))
