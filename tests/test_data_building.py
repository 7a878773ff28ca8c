"""Pose sets: built from one's own photos, checked row by row, sorted from DeepFashion's pictures, read for training."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path, PurePath

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image, ImageOps
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.data.check import check_set
from gfla_cli.data.deepfashion import DEEPFASHION, SQUARE, BenchmarkPairs
from gfla_cli.data.identity import identities, pairs_of, picture_names, split_people
from gfla_cli.data.img_highres import sort_img_highres
from gfla_cli.data.open import open_training_data
from gfla_cli.data.order import ShuffledPairs, jitter
from gfla_cli.errors import DataError, MediaError, UsageError
from gfla_cli.landmarks.detector import Person
from gfla_cli.landmarks.pose import Pose
from gfla_cli.media.image import read_image, write_image
from gfla_cli.media.lock import sole_writer
from gfla_cli.pipelines.build_data import BuildOptions, build_set
from gfla_cli.training.recipe import recipe

# A standing body, in fractions of the picture.
BODY = np.array(
    [[.5, .15], [.5, .25], [.4, .25], [.37, .4], [.36, .52], [.6, .25], [.63, .4], [.64, .52], [.44, .55], [.44, .72],
     [.44, .9], [.56, .55], [.56, .72], [.56, .9], [.48, .13], [.52, .13], [.46, .14], [.54, .14]]
)  # fmt: skip
OPTIONS = BuildOptions(height=64, test_share=0.3)


class Finder:
    """Finds one body in every picture; in dark ones nobody, in red ones two."""

    def __init__(self):
        self.looks = 0

    def detect(self, image):
        self.looks += 1
        colour = image.reshape(-1, 3).mean(axis=0)
        if colour.max() < 20:
            return []
        size = image.shape[:2]
        points = np.concatenate([BODY * (size[1], size[0]), np.ones((18, 1))], axis=1).astype(np.float32)
        person = Person(Pose(points, size), np.zeros((33, 4), np.float32))
        return [person, person] if colour[0] > 200 > colour[1] else [person]


def draw(path, seed=0, colour=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(60, 190, (300, 200, 3), dtype=np.uint8)
    write_image(path, pixels if colour is None else np.full_like(pixels, colour))


@pytest.fixture
def photos(tmp_path):
    """Five people with three photos each."""
    root = tmp_path / "photos"
    for person in range(5):
        for view in range(3):
            draw(root / f"person{person}" / f"{view}.png", 10 * person + view)
    return root


def left_out(folder):
    with (folder / "left-out.csv").open() as file:
        return {row["photo"]: row["why"] for row in csv.DictReader(file)}


def everything_in(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def test_photos_become_a_set_that_is_whole_and_can_be_trained_on(photos, tmp_path):
    report = build_set(photos, tmp_path / "set", OPTIONS, finder=Finder())
    assert (report.photos, report.left_out) == (15, {})
    assert report.people["train"] + report.people["test"] == 5
    assert report.pairs == {split: 6 * report.people[split] for split in ("train", "test")}
    assert check_set(tmp_path / "set", DEEPFASHION, decode=True) == []
    pair = open_training_data(recipe("fashion"), tmp_path / "set", tmp_path)(recipe("fashion").stages[0])[0]
    assert pair.source_image.shape == (256, 256, 3)
    assert (pair.source_points[:, 2] == 1).all()
    height = pair.source_points[10, 1] - pair.source_points[0, 1]
    assert 150 < height < 230  # the body fills most of the frame


def test_nobody_is_in_both_splits(photos, tmp_path):
    build_set(photos, tmp_path / "set", OPTIONS, finder=Finder())
    people = [
        {line.split("--")[0] for line in (tmp_path / "set" / f"{split}.lst").read_text().split()}
        for split in ("train", "test")
    ]
    assert people[0]
    assert people[1]
    assert not people[0] & people[1]


def test_photos_added_later_move_nobody():
    people = [f"person {k}" for k in range(200)]
    before, after = split_people(people[:150], 0.1, 0), split_people(people, 0.1, 0)
    assert all(after[person] == side for person, side in before.items())
    assert 8 <= sum(side == "test" for side in after.values()) <= 32
    assert sorted(split_people(["a", "b"], 0.1, 0).values()) == ["test", "train"]
    assert set(split_people(people, 0, 0).values()) == {"train"}


def test_a_killed_build_goes_on_where_it_was_and_ends_the_same(photos, tmp_path):
    class Killed(Finder):
        def detect(self, image):
            if self.looks == 7:
                raise KeyboardInterrupt
            return super().detect(image)

    with pytest.raises(KeyboardInterrupt):
        build_set(photos, tmp_path / "broken", OPTIONS, finder=Killed())
    with (tmp_path / "broken" / "found.jsonl").open("a") as file:
        file.write('{"photo": "person4/2.png", "sta')  # what a power cut leaves
    finder = Finder()
    report = build_set(photos, tmp_path / "broken", OPTIONS, finder=finder)
    assert finder.looks == report.looked_at == 15 - 7
    build_set(photos, tmp_path / "whole", OPTIONS, finder=Finder())
    assert everything_in(tmp_path / "broken") == everything_in(tmp_path / "whole")


def test_a_second_call_looks_at_what_changed_only(photos, tmp_path):
    build_set(photos, tmp_path / "set", OPTIONS, finder=Finder())
    draw(photos / "person0" / "3.png", 77)
    draw_again = photos / "person1" / "0.png"
    draw_again.unlink()
    draw(draw_again, 78)
    os.utime(draw_again, (1, 1))
    (photos / "person2" / "0.png").unlink()
    finder = Finder()
    report = build_set(photos, tmp_path / "set", OPTIONS, finder=finder)
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
    report = build_set(photos, tmp_path / "set", OPTIONS, finder=Finder())
    assert left_out(tmp_path / "set") == {
        "person0/dark.png": "no person found",
        "person0/two.png": "several people",
        "person0/cut.jpg": "not readable",
        "alone/one.png": "the only picture of somebody",
        "loose.png": "nobody's",
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

    build_set(photos, tmp_path / "set", OPTIONS, finder=Partial())
    reasons = left_out(tmp_path / "set")
    assert (reasons["person0/0.png"], reasons["person0/1.png"]) == ("too little of the body", "too small")


def test_a_set_inside_its_own_photos_does_not_eat_itself(photos):
    build_set(photos, photos / "set", OPTIONS, finder=Finder())
    assert build_set(photos, photos / "set", OPTIONS, finder=Finder()).photos == 15


def test_nobody_to_pair_and_other_options_are_refused(photos, tmp_path):
    with pytest.raises(DataError, match="nothing to train on") as raised:
        build_set(photos, tmp_path / "none", replace(OPTIONS, identity=r"(\w+/\d)"), finder=Finder())
    assert "the only picture of somebody" in raised.value.hint
    build_set(photos, tmp_path / "set", OPTIONS, finder=Finder())
    with pytest.raises(DataError, match="another height"):
        build_set(photos, tmp_path / "set", replace(OPTIONS, height=32), finder=Finder())
    with sole_writer(tmp_path / "set"), pytest.raises(DataError, match="another run is writing"):
        build_set(photos, tmp_path / "set", OPTIONS, finder=Finder())
    with pytest.raises(MediaError, match="no such folder"):
        build_set(tmp_path / "nowhere", tmp_path / "new", OPTIONS, finder=Finder())


@pytest.mark.parametrize(
    ("rule", "photo", "person"),
    [
        ("auto", "anna/red dress/1.jpg", "anna/red dress"),
        ("folder", "1.jpg", None),
        ("name", "anna_01.jpg", "anna"),
        ("name", "anna-maria-back.jpg", "anna-maria"),
        ("name", "anna2.jpg", "anna"),
        ("name", "x/anna 2.jpg", "x/anna"),
        ("name", "anna.jpg", "anna"),
        (r"^(\d+)_c", "0002_c1s1_000451_03.jpg", "0002"),
        (r"^(\d+)_c", "readme.jpg", None),
    ],
)
def test_who_is_who(rule, photo, person):
    assert identities(rule, [PurePath(photo), PurePath("x/y.jpg")])(PurePath(photo)) == person


def test_rules_that_name_nobody_are_refused():
    for rule in ("[", "anna"):
        with pytest.raises(UsageError, match="--identity"):
            identities(rule, [])


def test_names_are_unique_and_fit_into_the_tables():
    photos = [PurePath(p) for p in ("a/1.jpg", "a/1.png", "A/2.jpg", "a/2.jpg", "b:c/x,y.jpg", "ø/1.jpg")]
    names = picture_names(photos)
    assert len({name.lower() for name in names.values()}) == len(photos)
    assert names[PurePath("b:c/x,y.jpg")] == "b-c--x-y.jpg"
    assert names[PurePath("ø/1.jpg")] == "ø--1.jpg"


def test_pairs_go_both_ways_and_films_do_not_drown_the_rest():
    assert pairs_of({"a": ["1", "2"]}, 100, 0) == [("1", "2"), ("2", "1")]
    many = pairs_of({"a": [str(k) for k in range(50)]}, 100, 0)
    assert len(set(many)) == 100
    assert all(source != target for source, target in many)
    assert many == pairs_of({"a": [str(k) for k in range(50)]}, 100, 0)


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


# --- gfla data check


@pytest.fixture
def good_set(photos, tmp_path):
    build_set(photos, tmp_path / "set", OPTIONS, finder=Finder())
    return tmp_path / "set"


def edit(path, change):
    lines = path.read_text().splitlines()
    path.write_text("\n".join(change(lines)) + "\n")


Y18, X18 = list(range(20, 200, 10)), list(range(60, 96, 2))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (f"a.jpg: {Y18[:17]}: {X18[:17]}", "17 joints instead of 18 (COCO"),
        (f"a.jpg: {Y18[:17]}: {X18}", "17 and 18 joints"),
        (f"a.jpg: {X18}: {Y18}", "none if x and y change places"),
        (f"a.jpg: {[300, *Y18[1:]]}: {X18}", "outside the frame of 176x256"),
        (f"a.jpg: {Y18}", "2 columns instead of 3"),
        (f"a.jpg: {Y18}: [1, 2", "keypoints_x is no list of numbers"),
        (f"a.jpg: {[-1, *Y18[1:]]}: {X18}", "only one of x and y is missing"),
        (f"a.jpg: {[-1] * 18}: {[-1] * 18}", "not one joint"),
        (f"a.jpg: {Y18}: {X18}", "a.jpg is missing"),
        (f"../a.jpg: {Y18}: {X18}", "leads out of"),
    ],
)
def test_a_broken_row_is_named_with_its_line(good_set, row, said):
    table = good_set / "fasion-annotation-train.csv"
    edit(table, lambda lines: [*lines[:2], row, *lines[2:]])
    found = [f for f in check_set(good_set, DEEPFASHION) if said in f.what]
    assert [(f.file, f.line, f.broken) for f in found] == [(table.name, 3, True)], found


def test_doubles_are_named_with_both_lines(good_set):
    table = good_set / "fasion-annotation-train.csv"
    edit(table, lambda lines: [*lines, lines[1]])
    last = len(table.read_text().splitlines())
    assert any(f.line == last and "line 2 already" in f.what and f.broken for f in check_set(good_set, DEEPFASHION))


def test_a_picture_of_training_is_not_for_testing(good_set):
    first = (good_set / "fasion-annotation-train.csv").read_text().splitlines()[1]
    edit(good_set / "fasion-annotation-test.csv", lambda lines: [*lines, first])
    assert any("is in train already" in f.what and f.broken for f in check_set(good_set, DEEPFASHION))


def test_marks_and_line_ends_of_spreadsheets_are_named_and_harmless(good_set):
    for table in ("annotation", "pairs"):
        path = good_set / f"fasion-{table}-train.csv"
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    found = check_set(good_set, DEEPFASHION)
    assert [("BOM" in f.what, "Windows" in f.what, f.line, f.broken) for f in found] == 2 * [
        (True, False, 1, False),
        (False, True, 1, False),
    ]
    assert len(BenchmarkPairs(good_set, "train", DEEPFASHION, (64, 64))) > 0


@pytest.mark.parametrize(
    ("table", "header", "said"),
    [
        ("annotation", "name:keypoints_y", "the column keypoints_x is missing"),
        ("annotation", "name:keypoints_x:keypoints_y", "another order"),
        ("pairs", "source,target", "the column from and to is missing"),
    ],
)
def test_a_wrong_header_is_named(good_set, table, header, said):
    path = good_set / f"fasion-{table}-test.csv"
    edit(path, lambda lines: [header, *lines[1:]])
    assert any((f.file, f.line) == (path.name, 1) and said in f.what for f in check_set(good_set, DEEPFASHION))


def test_pictures_that_do_not_decode_are_found(good_set):
    picture = next((good_set / "train").iterdir())
    picture.write_bytes(picture.read_bytes()[:-2000])
    assert check_set(good_set, DEEPFASHION) == []
    (found,) = check_set(good_set, DEEPFASHION, decode=True)
    assert picture.name in found.what
    assert str(good_set) not in found.what
    picture.write_bytes(b"")
    assert check_set(good_set, DEEPFASHION)[0].line == found.line


def test_exchanged_axes_in_a_square_frame_are_noticed_by_everybody_lying(good_set):
    for split in ("train", "test"):
        for path in good_set.glob(f"fasion-annotation-{split}.csv"):
            rows = [line.split(":") for line in path.read_text().splitlines()]
            path.write_text("\n".join([":".join(rows[0]), *(f"{n}:{x}:{y}" for n, y, x in rows[1:])]) + "\n")
    broken = [f for f in check_set(good_set, SQUARE) if f.broken]
    assert len(broken) == 2
    assert all("x and y are exchanged" in f.what for f in broken)


def test_pairs_without_keypoints_are_named(good_set):
    edit(good_set / "fasion-pairs-train.csv", lambda lines: [*lines[:4], "x.jpg,y.jpg", *lines[4:], lines[1]])
    found = check_set(good_set, DEEPFASHION)
    assert [(f.line, f.what) for f in found[:2]] == [(5, "x.jpg has no keypoints"), (5, "y.jpg has no keypoints")]
    assert found[2].what == "the pair of line 2 again"
    assert not found[2].broken


def test_the_check_command_prints_and_exits(good_set, tmp_path):
    edit(good_set / "fasion-pairs-train.csv", lambda lines: [*lines, "x.jpg"])
    result = CliRunner().invoke(app, ["data", "check", str(good_set)])
    assert result.exit_code == 1
    assert "1 columns instead of 2" in result.stdout
    assert json.loads(CliRunner().invoke(app, ["data", "check", str(good_set), "--json"]).stdout)[0]["broken"]
    result = CliRunner().invoke(app, ["data", "check", str(tmp_path)])
    assert result.exit_code == 1
    assert "looked for fasion-annotation-train.csv" in result.stderr


# --- DeepFashion's own pictures


@pytest.fixture
def highres(tmp_path):
    """Three pictures as the archive has them, and lists and tables as they are published."""
    root = tmp_path / "img_highres"
    for name in ("WOMEN/Tees_Tanks/id_00000395/01_7_additional", "MEN/Denim/id_00000080/01_1_front"):
        draw(root / f"{name}.jpg", 1)
    draw(root / "WOMEN/Dresses/id_00002629/02_1_front.jpg", 2)
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "train.lst").write_text("fashionWOMENTees_Tanksid0000039501_7additional.jpg\n")
    (lists / "test.lst").write_bytes(b"fashionMENDenimid0000008001_1front.jpg\r\n")
    (lists / "fasion-pairs-train.csv").write_text("from,to\n")
    return root, lists


def test_listed_pictures_are_sorted_and_the_others_left(highres, tmp_path):
    root, lists = highres
    report = sort_img_highres(root, lists, tmp_path / "fashion")
    assert (report.written, report.existed, report.missing) == (2, 0, [])
    assert (tmp_path / "fashion/train/fashionWOMENTees_Tanksid0000039501_7additional.jpg").is_file()
    assert [path.name for path in (tmp_path / "fashion/test").iterdir()] == ["fashionMENDenimid0000008001_1front.jpg"]
    assert (tmp_path / "fashion/fasion-pairs-train.csv").is_file()
    assert "fasion-annotation-train.csv" in report.tables
    assert sort_img_highres(root, tmp_path / "fashion", tmp_path / "fashion").existed == 2


def test_listed_pictures_can_be_linked(highres, tmp_path):
    root, lists = highres
    sort_img_highres(root, lists, tmp_path / "fashion", link=True)
    (test,) = (tmp_path / "fashion/test").iterdir()
    assert test.samefile(root / "MEN/Denim/id_00000080/01_1_front.jpg")


def test_missing_pictures_and_lists_are_named(highres, tmp_path):
    root, lists = highres
    with (lists / "train.lst").open("a") as file:
        file.write("fashionWOMENDressesid0000000001_1front.jpg\n")
    result = CliRunner().invoke(
        app, ["data", "fashion", str(root), "--lists", str(lists), "-o", str(tmp_path / "fashion")]
    )
    assert result.exit_code == 1
    assert "2 sorted, 0 were there, 1 missing" in result.stderr
    assert "missing: fashionWOMENDressesid0000000001_1front.jpg" in result.stderr
    with pytest.raises(DataError, match=r"train\.lst: not found"):
        sort_img_highres(root, tmp_path, tmp_path / "other")
    with pytest.raises(DataError, match="none of the 3 listed"):
        sort_img_highres(root / "WOMEN" / "Dresses", lists, tmp_path / "other")
    (lists / "test.lst").write_text("../../escape.jpg\n")
    with pytest.raises(DataError, match="no file name"):
        sort_img_highres(root, lists, tmp_path / "other")
    assert not (tmp_path / "other").exists()


# --- what training sees


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


def test_pictures_of_the_set_have_the_layout_s_shape(photos, tmp_path):
    build_set(photos, tmp_path / "tall", replace(OPTIONS, height=128), finder=Finder())
    build_set(photos, tmp_path / "square", replace(OPTIONS, layout=SQUARE), finder=Finder())
    shapes = [read_image(next((tmp_path / s / "train").iterdir())).shape for s in ("tall", "square")]
    assert shapes == [(128, 88, 3), (64, 64, 3)]
    assert check_set(tmp_path / "square", SQUARE) == []
    assert Path(tmp_path / "square" / "build.json").is_file()
