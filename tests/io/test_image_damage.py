"""Files that are damaged or no images are refused in one line, before anything large is decoded."""

from __future__ import annotations

import io
import os
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_images import PICTURE, RAMP, png, saved

from gfla_cli.errors import GflaError, MediaError
from gfla_cli.io.image import (
    read_image,
)


def refusal(path: Path | str, **options) -> GflaError:
    """The error of reading `path`: one line, a hint, and not one warning on the way."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MediaError) as caught:
            read_image(path, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


def test_files_that_are_no_images_are_named_for_what_they_are(tmp_path):
    contents = {
        "no such file": None,
        "empty": b"",
        "text": b"<!DOCTYPE html>\n<html>404</html>\n",
        "PDF": b"%PDF-1.7\n\0\0",
        "SVG": b'<?xml version="1.0"?><svg xmlns="x"></svg>',
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
        "video": b"\0\0\0\x18ftypisom\0\0\0\0isomiso2" + bytes(100),
        "not an image": bytes(range(1, 200)) * 3,
    }
    for word, data in contents.items():
        path = tmp_path / f"{word.replace(' ', '-')}.jpg"
        if data is not None:
            path.write_bytes(data)
        assert word in str(refusal(path)), word
    assert "folder" in str(refusal(tmp_path))
    refusal("a\0b.png")
    assert "cannot be read" in str(refusal("n" * 5000 + ".png"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    assert "pipe" in str(refusal(tmp_path / "a.png"))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".gif", ".tif", ".bmp"])
def test_cut_off_files_are_refused_wherever_they_end(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = saved(tmp_path / f"whole{suffix}", Image.fromarray(noise)).read_bytes()
    for share in (0.01, 0.2, 0.5, 0.9):
        path = tmp_path / f"cut{suffix}"
        path.write_bytes(whole[: int(len(whole) * share)])
        refusal(path)


def test_damaged_bytes_raise_nothing_but_media_errors(tmp_path):
    rng = np.random.default_rng(1)
    for suffix in (".jpg", ".png", ".webp", ".gif", ".tif", ".bmp", ".avif"):
        whole = np.frombuffer(saved(tmp_path / f"whole{suffix}", Image.fromarray(PICTURE)).read_bytes(), np.uint8)
        for _ in range(25):
            damaged = whole.copy()
            damaged[rng.integers(0, len(whole), 8)] = rng.integers(0, 256, 8)
            path = tmp_path / f"damaged{suffix}"
            path.write_bytes(damaged.tobytes())
            with suppress(MediaError):  # anything else fails the test
                assert read_image(path).shape[2] == 3


def test_damaged_fax_pages_say_nothing_on_stderr(tmp_path, capfd):
    path = saved(tmp_path / "a.tif", Image.fromarray(RAMP).convert("1"), compression="group4")
    data = bytearray(path.read_bytes())
    data[12:60] = b"\x55" * 48
    path.write_bytes(bytes(data))
    with suppress(MediaError):
        read_image(path)
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("little_memory")
def test_the_size_is_checked_before_anything_is_decoded(tmp_path):
    # Headers that promise 60000 x 60000 pixels and files of 100 bytes: decoding would take 10 GB.
    encoded = io.BytesIO()
    Image.new("1", (16, 16)).save(encoded, "BMP")
    bomb = bytearray(encoded.getvalue())
    bomb[18:26] = (60_000).to_bytes(4, "little") * 2
    (tmp_path / "bomb.bmp").write_bytes(bytes(bomb))
    (tmp_path / "bomb.png").write_bytes(png(60_000, 60_000))
    for name in ("bomb.bmp", "bomb.png"):
        assert "60000x60000 is 3600 megapixels" in str(refusal(tmp_path / name))
    assert "12x300 is too small" in str(refusal(saved(tmp_path / "thin.png", Image.new("RGB", (12, 300)))))


def test_pillow_keeps_its_own_settings(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    read_image(saved(tmp_path / "a.png", Image.fromarray(PICTURE)))
    refusal(tmp_path / "missing.png")
    assert before == Image.MAX_IMAGE_PIXELS
