"""The people in a folder of photos: names, pairs, and the two splits."""

from __future__ import annotations

from pathlib import PurePath

import pytest

from gfla_cli.datasets.build import identities, pairs_of, picture_names, split_people
from gfla_cli.errors import UsageError


def test_people_added_later_move_no_others():
    people = [f"person {k}" for k in range(200)]
    before, after = split_people(people[:150], 0.1, 0), split_people(people, 0.1, 0)
    assert all(after[person] == side for person, side in before.items())
    assert 8 <= sum(side == "test" for side in after.values()) <= 32
    assert sorted(split_people(["a", "b"], 0.1, 0).values()) == ["test", "train"]
    assert set(split_people(people, 0, 0).values()) == {"train"}


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
def test_a_path_names_the_person(rule, photo, person):
    assert identities(rule, [PurePath(photo), PurePath("x/y.jpg")])(PurePath(photo)) == person


def test_rules_that_name_no_person_are_refused():
    for rule in ("[", "anna"):
        with pytest.raises(UsageError, match="--identity"):
            identities(rule, [])


def test_names_are_unique_and_fit_into_the_tables():
    photos = [PurePath(p) for p in ("a/1.jpg", "a/1.png", "A/2.jpg", "a/2.jpg", "b:c/x,y.jpg", "ø/1.jpg")]
    names = picture_names(photos)
    assert len({name.lower() for name in names.values()}) == len(photos)
    assert names[PurePath("b:c/x,y.jpg")] == "b-c--x-y.jpg"
    assert names[PurePath("ø/1.jpg")] == "ø--1.jpg"


def test_names_fit_on_a_disk():
    deep = [PurePath(*["ж" * 60] * 3, name) for name in ("1.jpg", "2.jpg")]
    names = picture_names([*deep, PurePath("a/1.jpg")])
    assert len(set(names.values())) == 3
    assert all(len(name.encode()) < 210 for name in names.values())
    assert names[PurePath("a/1.jpg")] == "a--1.jpg"
    assert picture_names(deep[:1])[deep[0]] == names[deep[0]]


def test_pairs_go_both_ways_and_films_do_not_drown_the_rest():
    assert pairs_of({"a": ["1", "2"]}, 100, 0) == [("1", "2"), ("2", "1")]
    many = pairs_of({"a": [str(k) for k in range(50)]}, 100, 0)
    assert len(set(many)) == 100
    assert all(source != target for source, target in many)
    assert many == pairs_of({"a": [str(k) for k in range(50)]}, 100, 0)


def test_the_test_never_gets_more_people_than_the_training():
    for seed in range(300):
        sides = list(split_people(["anna", "ben", "cleo", "dan", "eve"], 0.5, seed).values())
        assert 1 <= sides.count("test") <= sides.count("train"), seed
    assert list(split_people(["anna", "ben", "cleo", "dan"], 0.9, 0).values()).count("test") >= 2  # asked for
