"""Folders of frames with landmarks, in FaceForensics' layout."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from drawn_clips import clip_plan
from drawn_landmarks import drawn_face
from torch.utils.data import default_collate

from gfla_cli.datasets.face_folders import FaceFolders, find_clips, read_landmarks, write_landmarks
from gfla_cli.errors import DataError
from gfla_cli.io.image import write_image
from gfla_cli.person.face import with_irises
from gfla_cli.training.data import open_training_data
from gfla_cli.training.recipe import recipe
from gfla_cli.training.tasks.clip import sequence_batches


@pytest.fixture
def folders(tmp_path):
    """Two clips of five frames, a disc with a face's landmarks, in the layout of FaceForensics."""
    for clip in ("a", "b"):
        (tmp_path / clip).mkdir()
        for k in range(5):
            image = np.full((120, 160, 3), 90, np.uint8)
            cv2.circle(image, (80 + k, 60), 30, (200, 150, 120), -1)
            write_image(tmp_path / clip / f"{k:05d}.png", image)
            write_landmarks(tmp_path / clip / f"{k:05d}.txt", drawn_face() * 0.3 + (80 + k, 60))
    return tmp_path


def test_folders_of_frames_make_clips_of_any_length(folders):
    sample = FaceFolders(folders, 64, 12)[7]
    assert sample.images.shape == (13, 64, 64, 3)
    assert sample.points.shape == (13, 70, 2)
    assert sample.edges.shape == (13, 64, 64)
    assert (sample.points[:, :68].min(), sample.points[:, :68].max()) > (-8, 20)
    assert np.isnan(sample.points[:, 68:]).all()
    again = FaceFolders(folders, 64, 12)[7]
    np.testing.assert_array_equal(sample.images, again.images)
    next(sequence_batches(default_collate([sample]), clip_plan("face").model, 6, torch.device("cpu")))


def test_pictures_and_landmarks_may_lie_apart(folders, tmp_path):
    for name, suffix in (("train_img", ".png"), ("train_keypoints", ".txt")):
        (tmp_path / "apart" / name / "a").mkdir(parents=True)
        for file in (folders / "a").glob(f"*{suffix}"):
            file.rename(tmp_path / "apart" / name / "a" / file.name)
    assert len(find_clips(tmp_path / "apart")[0]) == 5


def test_landmarks_come_back_as_they_were_written(tmp_path):
    write_landmarks(tmp_path / "a.txt", drawn_face())
    np.testing.assert_allclose(read_landmarks(tmp_path / "a.txt"), drawn_face(), atol=0.006)
    seen = np.concatenate([drawn_face(), [[-45, -22], [45, -22]]])
    write_landmarks(tmp_path / "a.txt", seen)
    np.testing.assert_allclose(read_landmarks(tmp_path / "a.txt"), seen, atol=0.006)
    write_landmarks(tmp_path / "a.txt", with_irises(drawn_face()))
    np.testing.assert_allclose(read_landmarks(tmp_path / "a.txt"), drawn_face(), atol=0.006)


@pytest.mark.parametrize(
    "text",
    ["", "1,2\n" * 67, "1,2\n" * 60_000, "1,2,3\n" * 68, "1,x\n" * 68, "nan,1\n" * 68, "1e400,1\n" * 68, "\x00"],
)
def test_landmarks_that_are_none_are_named_with_their_file(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DataError, match=r"a\.txt"):
        read_landmarks(tmp_path / "a.txt")


def test_an_empty_folder_of_clips_says_what_is_expected(tmp_path):
    with pytest.raises(DataError, match="no clip") as caught:
        open_training_data(recipe("faces"), tmp_path, tmp_path)
    assert "00000.txt" in caught.value.hint
