"""Counting a study: shares, intervals, and answers that do not count."""

from __future__ import annotations

import json
import re

import pytest
from study_answers import OTHER, STUDY, answer, fooled_in, result_of

from gfla_cli.errors import DataError
from gfla_cli.study.results import bootstrap_over_raters, parse_result, wilson_interval


@pytest.fixture
def put(tmp_path):
    folder = tmp_path / "answers"
    folder.mkdir()

    def write(name, *arguments, **options):
        (folder / name).write_text(json.dumps(result_of(*arguments, **options)))

    return write


def test_the_share_taken_for_real_of_every_model(put, gfla_study):
    put("a.json", fooled_in(10, 3) + fooled_in(10, 1, "theirs"), session=1, rater=1)
    put("b.json", fooled_in(10, 5), session=2, rater=2, sitting=2)
    put("c.json", fooled_in(10, 4), session=3, rater=2, sitting=3)
    report = json.loads(gfla_study("tally", "answers", "--json").stdout)
    assert (report["study"], report["raters"], report["sittings"]) == (STUDY, 2, 3)
    ours, theirs = report["models"]
    assert (ours["model"], ours["answers"], ours["fooled"], ours["share"]) == ("ours", 30, 12, 0.4)
    assert (ours["pairs"], ours["raters"]) == (10, 2)
    assert ours["wilson"] == pytest.approx([0.2459, 0.5768], abs=1e-4)
    assert ours["over_raters"] == pytest.approx([0.3, 0.45])  # either rater alone
    assert (theirs["share"], theirs["raters"], theirs["over_raters"]) == (0.1, 1, None)
    table = gfla_study("tally", "answers")
    assert "40.00%" in table.stdout
    assert "raters: 2, sittings: 3, files left out: 0" in table.stdout


def test_wilson_intervals_agree_with_published_values():
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for successes, count, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611),
                                        (1, 29, 0.0061, 0.1718)):  # fmt: skip
        assert wilson_interval(successes, count) == pytest.approx((low, high), abs=5e-5)


def test_raters_who_differ_widen_the_interval_over_raters_only():
    alike, unlike = [[True, False] * 10] * 8, [[True] * 20] * 4 + [[False] * 20] * 4
    assert bootstrap_over_raters(alike) == pytest.approx((0.5, 0.5))
    low, high = bootstrap_over_raters(unlike)
    assert low < 0.25
    assert high > 0.75
    assert bootstrap_over_raters(alike[:1]) is None


def test_what_does_not_count_is_named_with_the_reason(put, gfla_study, tmp_path):
    put("good.json", fooled_in(10, 3), session=1, rater=1)
    put("early.json", fooled_in(4, 0), session=1, rater=1)  # saved before the sitting was over
    put("again.json", fooled_in(10, 9), session=2, rater=1, started="2025-01-02")
    put("other.json", fooled_in(10, 9), session=3, rater=3, study=OTHER)
    asleep = [answer("c0", True, "", "catch"), answer("c1", False, "", "catch")]
    put("asleep.json", fooled_in(10, 9) + asleep, session=4, rater=4)
    awake = [answer(f"c{number}", number == 0, "", "catch") for number in range(4)]
    put("awake.json", fooled_in(10, 3) + awake, session=5, rater=5)
    (tmp_path / "answers" / "cut.json").write_text('{"format": "gfla-study-result", "vers')
    (tmp_path / "answers" / "notes.json").write_text("[1, 2, 3]")
    (tmp_path / "answers" / "photo.json").write_bytes(b"\x89PNG\xff")
    result = gfla_study("tally", "answers", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["models"][0]["answers"], report["models"][0]["fooled"]) == (20, 6)
    why = {entry["file"].split("/")[-1]: entry["why"] for entry in report["excluded"]}
    assert why == {
        "early.json": "the same session as good.json",
        "again.json": "the same rater did set 1 in good.json already",
        "other.json": f"belongs to study {OTHER}",
        "asleep.json": "failed 1 of 2 catch trials",
    }
    assert len(report["unreadable"]) == 3
    for name in (*why, "cut.json", "notes.json", "photo.json"):
        assert name in result.stderr


def test_a_tally_of_nothing_is_refused(put, gfla_study, tmp_path):
    assert "no result files" in gfla_study("tally", "answers").stderr
    assert "nowhere: no such file" in gfla_study("tally", "nowhere").stderr
    (tmp_path / "answers" / "notes.json").write_text("{}")
    assert "none of 1 files is a readable result" in gfla_study("tally", "answers").stderr
    put("a.json", fooled_in(3, 1))
    put("b.json", fooled_in(3, 1), study=OTHER, session=2)
    both = gfla_study("tally", "answers")
    assert (both.exit_code, both.stdout) == (1, "")
    assert f"several studies: {STUDY} and {OTHER}" in both.stderr
    assert gfla_study("tally", "answers", "--study", OTHER).exit_code == 0
    assert "no answers to study" in gfla_study("tally", "answers", "--study", "f" * 16).stderr


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"study": "../../etc"}, "study should be"),
        ({"rater": "A" * 32}, "rater should be"),
        ({"session": 7}, "session should be"),
        ({"sitting": True}, "sitting should be"),
        ({"sitting": 1.5}, "sitting should be"),
        ({"version": 2}, "version 2"),
        ({"format": "other"}, "not a result"),
        ({"answers": {}}, "no list of answers"),
        ({"answers": [answer("a", True), 3]}, "answer 2: not a JSON object"),
        ({"answers": [answer("a", True) | {"chosen": "up"}]}, "answer 1: chosen should be left or right"),
        ({"answers": [answer("a" * 301, True)]}, "answer 1: picture should be"),
        ({"answers": [answer("a\x1b[2J", True)]}, "answer 1: picture should be"),
        ({"answers": [answer("a", True) | {"ms": -1}]}, "answer 1: ms should be"),
    ],
)
def test_results_are_checked_field_by_field(change, what):
    with pytest.raises(DataError, match=re.escape(what)):
        parse_result(json.dumps(result_of([]) | change))


@pytest.mark.parametrize("text", ["", "[" * 100_000, "null", "NaN", b"\xff\xfe", '{"sitting": ' + "1" * 5000 + "}"])
def test_texts_that_are_no_results_are_refused(text):
    with pytest.raises(DataError):
        parse_result(text)
