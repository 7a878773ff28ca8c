"""Pictures written: whole or not at all, and over nothing unasked."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT
from tiny_images import PICTURE

from gfla_cli.errors import MediaError, UsageError
from gfla_cli.io.image import (
    WRITABLE,
    is_result,
    read_image,
    write_image,
)


@pytest.mark.parametrize("suffix", [*WRITABLE, ".PNG"])
def test_what_is_written_reads_back(tmp_path, suffix):
    write_image(tmp_path / f"a{suffix}", PICTURE)
    assert np.abs(read_image(tmp_path / f"a{suffix}").astype(int) - PICTURE).mean() < 4
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_an_existing_file_is_replaced_only_on_request(tmp_path):
    write_image(tmp_path / "a.png", PICTURE)
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(UsageError) as caught:
        write_image(tmp_path / "a.png", PICTURE[::-1])
    assert "--overwrite" in caught.value.hint
    assert (tmp_path / "a.png").read_bytes() == before
    write_image(tmp_path / "a.png", PICTURE[::-1], overwrite=True)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PICTURE[::-1])


def test_names_that_cannot_be_written_are_refused(tmp_path):
    for name in ("a.xyz", "a"):
        with pytest.raises(UsageError) as caught:
            write_image(tmp_path / name, PICTURE)
        assert caught.value.hint
    write_image(tmp_path / "missing" / "a.png", PICTURE)
    assert (tmp_path / "missing" / "a.png").is_file()
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError, match="folder"):
        write_image(tmp_path / "folder.png", PICTURE, overwrite=True)
    with pytest.raises(UsageError, match="too long"):
        write_image(tmp_path / ("n" * 300 + ".png"), PICTURE)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to("real.png")
    write_image(tmp_path / "link.png", PICTURE, overwrite=True)
    assert (tmp_path / "link.png").is_symlink()
    np.testing.assert_array_equal(read_image(tmp_path / "real.png"), PICTURE)


@pytest.mark.parametrize("trouble", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_refusing_disk_is_explained_and_leaves_nothing_behind(tmp_path, monkeypatch, trouble):
    def refuse(self, data):
        raise OSError(trouble, os.strerror(trouble))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    with pytest.raises(MediaError) as caught:
        write_image(tmp_path / "a.png", PICTURE)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []
    cycle = [caught]
    cycle.append(cycle)
    del caught, cycle
    gc.collect()
    assert complaints == []  # since Python 3.14, of a buffer that is closed while it is in use


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs file size limits")
def test_a_disk_that_fills_up_while_writing_leaves_nothing_behind(tmp_path):
    code = f"""
import resource, numpy as np
from gfla_cli.io.image import write_image
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_image({str(tmp_path / "a.png")!r}, np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
except Exception as error:
    print(type(error).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.stdout.strip(), done.stderr) == ("MediaError", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [suffix for suffix in WRITABLE if suffix != ".bmp"])
def test_a_result_says_that_it_is_one_and_other_images_do_not(tmp_path, suffix):
    write_image(tmp_path / f"result{suffix}", PICTURE, result=True)
    write_image(tmp_path / f"image{suffix}", PICTURE)
    assert is_result(tmp_path / f"result{suffix}")
    assert not is_result(tmp_path / f"image{suffix}")
    (tmp_path / f"cut{suffix}").write_bytes((tmp_path / f"result{suffix}").read_bytes()[:10])
    assert not is_result(tmp_path / f"cut{suffix}")
    assert not is_result(tmp_path / f"none{suffix}")
