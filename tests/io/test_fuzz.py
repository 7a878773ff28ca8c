"""Damaged files are read or refused in one line: a little of support/fuzz.py, and every case of it that once failed."""

from __future__ import annotations

from fuzz import ONCE_FAILED, run

_A_FEW = range(9_000, 9_120)


def test_damaged_files_are_read_or_refused_whatever_is_wrong_with_them():
    outcomes = {number: outcome for number, _, _, outcome, _ in run([*ONCE_FAILED, *_A_FEW])}
    assert outcomes.keys() == {*ONCE_FAILED, *_A_FEW}
    assert {number: outcome for number, outcome in outcomes.items() if outcome not in ("read", "refused")} == {}
    assert {"read", "refused"} <= set(outcomes.values())


def test_a_reader_that_fails_is_found_out(tmp_path):
    from fuzz import Case, judge

    def forgetful(path):
        (path.parent / "left.tmp").touch()

    def careless(path):
        return {}["missing"]

    assert "KeyError" in judge(Case("json", "a.json", b"{}", careless), tmp_path)
    assert judge(Case("json", "a.json", b"{}", forgetful), tmp_path) == "left left.tmp"
