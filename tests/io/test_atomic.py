"""Files and folders that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from gfla_cli.errors import MediaError, UsageError
from gfla_cli.io.files import atomic_folder, atomic_path


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


def test_a_folder_in_use_is_not_replaced(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(UsageError, match="exists already"), atomic_folder(tmp_path):
        pass
    with pytest.raises(UsageError, match="does not exist"), atomic_folder(tmp_path / "no" / "set"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
