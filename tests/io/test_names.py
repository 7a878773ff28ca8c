"""Names of results: one for each input, short enough for a disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gfla_cli.io.files import LONGEST, distinct_names, names_of_results, with_digest


def test_results_are_called_after_their_sources_and_keep_the_suffix_where_that_is_not_enough():
    found = names_of_results([Path(f"in/{name}") for name in ("a.jpg", "b.jpg", "b.mp4", "b.mp4.png")])
    assert list(found.values()) == ["a", "b.jpg", "b.mp4", "b.mp4.png"]


@pytest.mark.parametrize("letter", ["x", "ж", "\udce9"])
def test_long_names_are_cut_and_stay_different(letter):
    wanted = {k: 300 * letter + str(k) for k in range(3)}
    found = distinct_names(wanted, wanted).values()
    assert len(set(found)) == 3
    assert all(len(os.fsencode(name)) <= LONGEST for name in found)
    assert with_digest("a", "b/a.jpg") != with_digest("a", "c/a.jpg")
