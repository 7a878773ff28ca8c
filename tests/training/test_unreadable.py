"""Pictures that cannot be read while training: skipped and named while they are few."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_training import plan, small_vgg, trainer
from torch.utils.data import Dataset

from gfla_cli.errors import DataError, MediaError


class Damaged(Dataset):
    """The small set, as often as wanted; some of its pictures are damaged."""

    def __init__(self, pairs, damaged, pictures, error=MediaError):
        self.pairs, self.damaged, self.image_count, self.error = pairs, damaged, pictures, error

    def __getitem__(self, index):
        if index % self.image_count in self.damaged:
            raise self.error(f"{index % self.image_count}.jpg: cut off", hint="export it again")
        return self.pairs[index]


@pytest.mark.parametrize("workers", [0, 1])
def test_damaged_pictures_are_skipped_counted_and_named(open_data, tmp_path, workers):
    seen = []
    data = lambda stage: Damaged(open_data(stage), {2, 9}, 200)  # noqa: E731
    recipe = plan(flow=4, joint=1)
    stages = recipe.stages[: 2 - workers]  # every stage would start its worker
    trainer(replace(recipe, stages=stages), data, tmp_path, small_vgg(), workers=workers).run(seen.append)
    found = [("2.jpg: cut off",), (), ("9.jpg: cut off",), (), ()]
    assert [p.unreadable for p in seen] == found[: 5 - workers]
    assert (tmp_path / "unreadable.csv").read_text().split() == ["what", "2.jpg:", "cut", "off", "9.jpg:", "cut", "off"]


def test_more_than_one_damaged_picture_in_a_hundred_is_an_error(open_data, tmp_path):
    data = lambda stage: Damaged(open_data(stage), {2, 9, 11}, 200)  # noqa: E731
    with pytest.raises(DataError, match=r"3 of 200 images cannot be read, more than 1 %; the last: 11\.jpg"):
        trainer(plan(flow=4), data, tmp_path, None).run(lambda progress: None)
    data = lambda stage: Damaged(open_data(stage), set(range(200)), 200)  # noqa: E731
    with pytest.raises(DataError, match="20 samples in a row"):
        trainer(plan(flow=4), data, tmp_path / "all", None).run(lambda progress: None)


def test_what_goes_wrong_in_a_worker_is_said_in_one_line(open_data, tmp_path):
    data = lambda stage: Damaged(open_data(stage), {2}, 200, error=DataError)  # noqa: E731
    with pytest.raises(DataError) as raised:
        trainer(plan(), data, tmp_path, None, workers=1).run(lambda progress: None)
    assert (str(raised.value), raised.value.hint) == ("2.jpg: cut off", "export it again")
