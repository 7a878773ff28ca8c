"""Files and folders that appear whole or not at all, folders with one writer, and names of results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

from gfla_cli.errors import DataError, MediaError, UsageError
from gfla_cli.io.files import (
    LONGEST,
    InputFiles,
    atomic_folder,
    atomic_path,
    distinct_names,
    names_of_results,
    refuse_output,
    sole_writer,
    with_digest,
)


def test_an_interrupted_writer_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a.json").write_text("old")

    def interrupted():
        with atomic_path(tmp_path / "a.json", overwrite=True) as temporary:
            assert temporary.suffix == ".json"
            temporary.write_text("half of the new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_errors_of_the_writer_itself_pass_through(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.json"):
        (tmp_path / "another file").read_text()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="no devices on this system")
def test_a_device_is_never_replaced_by_a_file():
    with pytest.raises(UsageError, match="device"), atomic_path("/dev/null", overwrite=True):
        pass


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that takes no files")
def test_a_folder_that_takes_no_files_is_named():
    with pytest.raises(MediaError, match="takes no files"), atomic_path("/proc/a.png"):
        pass


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with atomic_folder(tmp_path / "set") as folder:
        (folder / "a.txt").write_text("a")
        assert not (tmp_path / "set").exists()
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["a.txt"]


def test_an_interrupted_folder_leaves_nothing(tmp_path):
    def interrupted():
        with atomic_folder(tmp_path / "set") as folder:
            (folder / "a.txt").write_text("a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_name_is_too_long_is_refused_before_the_work(tmp_path):
    with pytest.raises(OSError, match="too long"), atomic_folder(tmp_path / ("n" * 300)):
        pytest.fail("the work has begun")


def test_a_folder_in_use_is_not_replaced(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(UsageError, match="exists already"), atomic_folder(tmp_path):
        pass
    with pytest.raises(UsageError, match="does not exist"), atomic_folder(tmp_path / "no" / "set"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_has_one_writer_until_its_process_ends(tmp_path):
    folder = tmp_path / "run"
    code = f"""
import os
from pathlib import Path
from gfla_cli.io.files import sole_writer
with sole_writer(Path({str(folder)!r})):
    print(os.getpid(), flush=True)
    input()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as other:
        assert other.stdout is not None
        number = other.stdout.readline().strip()
        who = "" if os.name == "nt" else rf" \(process {number}\)"
        with pytest.raises(DataError, match="another run is writing there" + who), sole_writer(folder):
            pass
        other.kill()
    with sole_writer(folder), pytest.raises(DataError, match="another run"), sole_writer(folder):
        pass
    with sole_writer(folder):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"), sole_writer(tmp_path / "file" / "run"):
        pass


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


def test_an_input_is_no_output_by_any_of_its_names(tmp_path):
    photograph, link, copy = tmp_path / "a.jpg", tmp_path / "link.jpg", tmp_path / "copy.jpg"
    photograph.write_text("a")
    copy.write_text("a")
    link.symlink_to(photograph)
    inputs = InputFiles([photograph, "pose-people", tmp_path])
    for name in (photograph, link, tmp_path / "." / "a.jpg", os.path.relpath(photograph)):
        with pytest.raises(UsageError, match="is an input, too"):
            inputs.refuse(name)
    for name in (copy, tmp_path, tmp_path / "b.jpg", "pose-people"):
        inputs.refuse(name)
    with pytest.raises(UsageError, match="is an input, too"):
        refuse_output(link, overwrite=True, inputs=[photograph])


def test_missing_folders_are_made_for_a_file_and_only_for_a_whole_one(tmp_path):
    target = tmp_path / "new" / "folder" / "a.txt"
    refuse_output(target)
    assert list(tmp_path.iterdir()) == []

    def interrupted():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    with pytest.raises(UsageError, match="is a file, not a folder"):
        refuse_output(target / "b" / "c.txt")
