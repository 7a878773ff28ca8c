"""Pose sets built from one's own photos: complete, resumed after an interruption, and photos that are left out."""

from __future__ import annotations

import csv
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from paths import ROOT
from photographs import OPTIONS, Finder, build_set_with, draw
from PIL import Image, ImageOps
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.datasets.check import check_set
from gfla_cli.datasets.photos import Found, add_found
from gfla_cli.datasets.tables import DEEPFASHION, SQUARE
from gfla_cli.errors import DataError, MediaError
from gfla_cli.io.files import sole_writer
from gfla_cli.io.image import read_image
from gfla_cli.person.detect import Person
from gfla_cli.person.pose import Pose
from gfla_cli.training.data import open_training_data
from gfla_cli.training.recipe import recipe


def left_out(folder):
    with (folder / "left-out.csv").open() as file:
        return {row["photo"]: row["why"] for row in csv.DictReader(file)}


def everything_in(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.mark.parametrize(("dataset", "layout"), [("photos", SQUARE), ("fashion", DEEPFASHION)])
def test_photos_become_a_set_that_is_whole_and_can_be_trained_on(photos, tmp_path, dataset, layout):
    report = build_set_with(Finder(), photos, tmp_path / "set", replace(OPTIONS, layout=layout))
    assert (report.photos, report.left_out) == (15, {})
    assert report.people["train"] + report.people["test"] == 5
    assert report.pairs == {split: 6 * report.people[split] for split in ("train", "test")}
    assert check_set(tmp_path / "set", layout, decode=True) == []
    plan = recipe(dataset)
    pair = open_training_data(plan, tmp_path / "set", tmp_path)(replace(plan.stages[0], image_size=(256, 256)))[0]
    assert pair.source_image.shape == (256, 256, 3)
    assert (pair.source_points[:, 2] == 1).all()
    height = pair.source_points[10, 1] - pair.source_points[0, 1]
    assert 150 < height < 230  # the body fills most of the frame


def test_no_person_is_in_both_splits(photos, tmp_path):
    build_set_with(Finder(), photos, tmp_path / "set", OPTIONS)
    people = [
        {line.split("--")[0] for line in (tmp_path / "set" / f"{split}.lst").read_text().split()}
        for split in ("train", "test")
    ]
    assert people[0]
    assert people[1]
    assert not people[0] & people[1]


def test_a_killed_build_goes_on_where_it_was_and_ends_the_same(photos, tmp_path):
    class Killed(Finder):
        def detect(self, image):
            if self.looks == 7:
                raise KeyboardInterrupt
            return super().detect(image)

    with pytest.raises(KeyboardInterrupt):
        build_set_with(Killed(), photos, tmp_path / "broken", OPTIONS)
    with (tmp_path / "broken" / "found.jsonl").open("a") as file:
        file.write('{"photo": "person4/2.png", "sta')  # what a power cut leaves
    finder = Finder()
    report = build_set_with(finder, photos, tmp_path / "broken", OPTIONS)
    assert finder.looks == report.looked_at == 15 - 7
    build_set_with(Finder(), photos, tmp_path / "whole", OPTIONS)
    assert everything_in(tmp_path / "broken") == everything_in(tmp_path / "whole")


def test_a_second_call_looks_at_what_changed_only(photos, tmp_path):
    build_set_with(Finder(), photos, tmp_path / "set", OPTIONS)
    draw(photos / "person0" / "3.png", 77)
    draw_again = photos / "person1" / "0.png"
    draw_again.unlink()
    draw(draw_again, 78)
    os.utime(draw_again, (1, 1))
    (photos / "person2" / "0.png").unlink()
    finder = Finder()
    report = build_set_with(finder, photos, tmp_path / "set", OPTIONS)
    assert finder.looks == 2
    assert sum(report.pictures.values()) == 15
    assert check_set(tmp_path / "set", DEEPFASHION) == []
    names = [path.name for split in ("train", "test") for path in (tmp_path / "set" / split).iterdir()]
    assert len(names) == 15
    assert "person2--0.jpg" not in names


def test_every_photo_that_is_left_out_has_a_reason(photos, tmp_path):
    draw(photos / "person0" / "dark.png", colour=0)
    draw(photos / "person0" / "two.png", colour=(250, 100, 100))
    draw(photos / "person0" / "cut.jpg", 3)
    (photos / "person0" / "cut.jpg").write_bytes((photos / "person0" / "cut.jpg").read_bytes()[:9000])
    draw(photos / "alone" / "one.png", 99)
    draw(photos / "loose.png", 98)
    draw(photos / ".thumbnails" / "x.png", 97)
    (photos / "person1" / "again.png").write_bytes((photos / "person1" / "0.png").read_bytes())
    report = build_set_with(Finder(), photos, tmp_path / "set", OPTIONS)
    assert left_out(tmp_path / "set") == {
        "person0/dark.png": "no person found",
        "person0/two.png": "several people",
        "person0/cut.jpg": "not readable",
        "alone/one.png": "the only image of a person",
        "loose.png": "unknown person",
        "person1/again.png": "the same file twice",
    }
    assert sum(report.pictures.values()) == 15
    assert sum(report.reasons.values()) == 6


def test_small_and_cropped_people_are_left_out(photos, tmp_path):
    class Partial(Finder):
        def detect(self, image):
            (person,) = super().detect(image)
            points = person.pose.points.copy()
            if self.looks == 1:
                points[3:] = -1, -1, 0
            if self.looks == 2:
                points[:, :2] = points[:, :2] * 0.2 + 50
            return [Person(Pose(points, person.pose.size), person.landmarks)]

    build_set_with(Partial(), photos, tmp_path / "set", OPTIONS)
    reasons = left_out(tmp_path / "set")
    assert (reasons["person0/0.png"], reasons["person0/1.png"]) == ("too little of the body", "too small")


def test_a_set_inside_its_own_photos_does_not_eat_itself(photos):
    build_set_with(Finder(), photos, photos / "set", OPTIONS)
    assert build_set_with(Finder(), photos, photos / "set", OPTIONS).photos == 15


def test_nobody_to_pair_and_other_options_are_refused(photos, tmp_path):
    with pytest.raises(DataError, match="nothing to train on") as raised:
        build_set_with(Finder(), photos, tmp_path / "none", replace(OPTIONS, identity=r"(\w+/\d)"))
    assert "the only image of a person" in raised.value.hint
    build_set_with(Finder(), photos, tmp_path / "set", OPTIONS)
    with pytest.raises(DataError, match="another height"):
        build_set_with(Finder(), photos, tmp_path / "set", replace(OPTIONS, height=32))
    with sole_writer(tmp_path / "set"), pytest.raises(DataError, match="another run is writing"):
        build_set_with(Finder(), photos, tmp_path / "set", OPTIONS)
    with pytest.raises(MediaError, match="no such folder"):
        build_set_with(Finder(), tmp_path / "nowhere", tmp_path / "new", OPTIONS)


def test_the_command_finds_real_people(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("anna", "ben"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        with Image.open(ROOT / "assets" / f"{name}.jpg") as photo:
            photo.save(f"photos/{name}/1.jpg")
            ImageOps.mirror(photo).save(f"photos/{name}/2.jpg")
    result = CliRunner().invoke(app, ["data", "build", "photos", "-o", "set", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["people"] == {"train": 1, "test": 1}
    result = CliRunner().invoke(app, ["data", "check", "set"])
    assert (result.exit_code, result.stdout) == (0, ""), result.output


def test_a_set_is_not_read_in_another_frame_than_it_was_built_in(photos, tmp_path):
    """Its joints would all be in the wrong place."""
    built = tmp_path / "set"
    build_set_with(Finder(), photos, built, replace(OPTIONS, layout=DEEPFASHION))
    with pytest.raises(DataError, match="built with --layout fashion, not square") as refused:
        open_training_data(recipe("photos"), built, tmp_path)
    assert "--layout square" in refused.value.hint
    assert CliRunner().invoke(app, ["data", "check", str(built)]).exit_code == 0


def test_pictures_of_the_set_have_the_layout_s_shape(photos, tmp_path):
    build_set_with(Finder(), photos, tmp_path / "tall", replace(OPTIONS, layout=DEEPFASHION, height=128))
    build_set_with(Finder(), photos, tmp_path / "square", OPTIONS)
    shapes = [read_image(next((tmp_path / s / "train").iterdir())).shape for s in ("tall", "square")]
    assert shapes == [(128, 88, 3), (64, 64, 3)]
    assert check_set(tmp_path / "square", SQUARE) == []
    assert Path(tmp_path / "square" / "build.json").is_file()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="all names are text there")
def test_photos_and_folders_may_have_names_that_are_no_text(photos, tmp_path):
    (photos / "person0").rename(photos / os.fsdecode(b"caf\xe9"))
    (photos / "person1" / "0.png").rename(photos / "person1" / os.fsdecode(b"\xff.png"))
    draw(photos / "person2" / os.fsdecode(b"dark\xe9.png"), colour=0)
    for looked_at in (16, 0):
        report = build_set_with(Finder(), photos, tmp_path / "set", OPTIONS)
        assert (report.looked_at, sum(report.pictures.values())) == (looked_at, 15)
    assert left_out(tmp_path / "set") == {"person2/dark\\udce9.png": "no person found"}
    assert check_set(tmp_path / "set", SQUARE) == []


def test_photos_may_lie_deep(photos, tmp_path):
    deep = photos.joinpath(*(40 * letter for letter in "жизнь"))
    deep.mkdir(parents=True)
    (photos / "person0").rename(deep / "person0")
    found = tmp_path / "set" / "found.jsonl"
    found.parent.mkdir()
    found.write_text('{"photo": "a.png", "stamp": [1, 2], "digest": "", "name": "%s.jpg"}\n' % ("a" * 300))
    report = build_set_with(Finder(), photos, tmp_path / "set", OPTIONS)
    assert (report.left_out, sum(report.pictures.values())) == ({}, 15)
    assert check_set(tmp_path / "set", SQUARE) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_full_disk_is_said(tmp_path):
    (tmp_path / "found.jsonl").symlink_to("/dev/full")
    with pytest.raises(MediaError, match=r"found\.jsonl cannot be written: the disk is full"):
        add_found(tmp_path / "found.jsonl", Found(photo="a.png", stamp=[1, 2], digest="", name="a.jpg"))
