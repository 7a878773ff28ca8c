"""Picture files: every kind a camera or an editor writes is read as people see it, damaged ones are refused."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from gfla_cli.errors import GflaError, MediaError, UsageError
from gfla_cli.media.atomic import atomic_folder, atomic_path
from gfla_cli.media.image import (
    READABLE,
    WRITABLE,
    find_images,
    is_animated,
    read_image,
    to_tensor,
    to_uint8,
    write_image,
)

RAMP = np.linspace(0, 255, 64, dtype=np.uint8)[None].repeat(48, axis=0)  # (48, 64), black left, white right
PICTURE = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 90)], axis=2)  # (48, 64, 3)


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def refusal(path: Path | str, **options) -> GflaError:
    """The error of reading `path`: one line, a hint, and not one warning on the way."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MediaError) as caught:
            read_image(path, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


# --- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "tolerance"), [(".png", 0), (".bmp", 0), (".tif", 0), (".ppm", 0), (".jpg", 8), (".webp", 12)]
)
def test_colours_survive_every_format(tmp_path, suffix, tolerance):
    read = read_image(saved(tmp_path / f"a{suffix}", Image.fromarray(PICTURE)))
    assert read.dtype == np.uint8
    assert read.flags.writeable
    assert np.abs(read.astype(int) - PICTURE).max() <= tolerance


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_turn_is_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", Image.fromarray(PICTURE), exif=exif)
    with Image.open(path) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    np.testing.assert_array_equal(read_image(path), expected)
    assert max(read_image(path, max_side=32).shape) == 32


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_shows_white_paper(tmp_path, mode):
    alpha = Image.fromarray(np.where(np.arange(64) < 32, 0, 255).astype(np.uint8)[None].repeat(48, axis=0))
    picture = Image.fromarray(np.zeros((48, 64), np.uint8)).convert("RGBA")
    picture.putalpha(alpha)
    path = saved(tmp_path / "a.png", picture if mode == "RGBA" else picture.convert("LA"))
    read = read_image(path)
    assert (read[:, :32] == 255).all()
    assert (read[:, 32:] == 0).all()


def test_half_transparent_is_half_white(tmp_path):
    read = read_image(saved(tmp_path / "a.png", Image.new("RGBA", (20, 20), (0, 0, 0, 128))))
    assert abs(int(read[0, 0, 0]) - 127) <= 1


def test_a_transparent_palette_colour_is_white(tmp_path):
    picture = Image.fromarray(PICTURE).quantize(16)
    path = saved(tmp_path / "a.gif", picture, transparency=int(np.asarray(picture)[0, 0]))
    assert (read_image(path)[0, 0] == 255).all()


def test_cmyk_photographs_keep_their_colours(tmp_path):
    path = saved(tmp_path / "a.jpg", Image.fromarray(PICTURE).convert("CMYK"), quality=95)
    assert np.abs(read_image(path).astype(int) - PICTURE).mean() < 4


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path, suffix):
    path = saved(tmp_path / f"a{suffix}", Image.fromarray(RAMP.astype(np.uint16) * 257))
    np.testing.assert_array_equal(read_image(path)[..., 0], RAMP)


@pytest.mark.parametrize("scale", [1 / 255, 1.0])
def test_float_grey_is_taken_as_0_to_1_or_0_to_255(tmp_path, scale):
    path = saved(tmp_path / "a.tif", Image.fromarray(RAMP.astype(np.float32) * np.float32(scale)))
    np.testing.assert_array_equal(read_image(path)[..., 1], RAMP)


def test_wide_integers_are_scaled_by_their_range(tmp_path):
    path = saved(tmp_path / "a.tif", Image.fromarray(RAMP.astype(np.int32) * 257))
    np.testing.assert_array_equal(read_image(path)[..., 2], RAMP)


def test_black_and_white_and_grey_become_rgb(tmp_path):
    one_bit = Image.fromarray(RAMP).convert("1")
    assert set(np.unique(read_image(saved(tmp_path / "a.png", one_bit)))) == {0, 255}
    np.testing.assert_array_equal(read_image(saved(tmp_path / "b.png", Image.fromarray(RAMP)))[..., 2], RAMP)


def test_the_first_frame_of_an_animation_is_taken_without_a_word(tmp_path):
    first, second = Image.fromarray(PICTURE), Image.new("RGB", (64, 48), (255, 0, 0))
    path = saved(tmp_path / "a.webp", first, save_all=True, append_images=[second], lossless=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.abs(read_image(path).astype(int) - PICTURE).max() <= 2
    assert is_animated(path)
    assert not is_animated(saved(tmp_path / "b.png", first))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("size", [(1900, 700), (500, 1301), (100, 60)])
def test_max_side_bounds_the_longer_side_and_never_enlarges(tmp_path, suffix, size):
    ramp = np.linspace(0, 255, size[0], dtype=np.uint8)[None].repeat(size[1], axis=0)
    path = saved(tmp_path / f"a{suffix}", Image.fromarray(ramp).convert("RGB"), quality=95)
    small = read_image(path, max_side=256)
    expected = min(1.0, 256 / max(size))
    assert small.shape[:2] == (round(size[1] * expected), round(size[0] * expected))
    ideal = np.asarray(Image.fromarray(ramp).resize(small.shape[1::-1], Image.Resampling.BOX))
    assert np.abs(small[..., 0].astype(int) - ideal).mean() < 3


def test_a_wide_picture_is_read_strip_by_strip_without_seams(tmp_path, monkeypatch):
    monkeypatch.setattr("gfla_cli.media.decoding._STRIP_AREA", 700)
    path = saved(tmp_path / "a.png", Image.fromarray(PICTURE))
    np.testing.assert_array_equal(read_image(path), PICTURE)
    assert read_image(path, max_side=20).shape == (15, 20, 3)


# --- refusing ----------------------------------------------------------------------------------------------------


def test_files_that_are_no_pictures_are_named_for_what_they_are(tmp_path):
    contents = {
        "no such file": None,
        "empty": b"",
        "text": b"<!DOCTYPE html>\n<html>404</html>\n",
        "PDF": b"%PDF-1.7\n\0\0",
        "SVG": b'<?xml version="1.0"?><svg xmlns="x"></svg>',
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
        "video": b"\0\0\0\x18ftypisom\0\0\0\0isomiso2" + bytes(100),
        "not a picture": bytes(range(1, 200)) * 3,
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


def test_the_size_is_checked_before_anything_is_decoded(tmp_path):
    # A header that promises 60000 x 60000 pixels and a file of 100 bytes: decoding would take 10 GB.
    encoded = io.BytesIO()
    Image.new("1", (16, 16)).save(encoded, "BMP")
    bomb = bytearray(encoded.getvalue())
    bomb[18:26] = (60_000).to_bytes(4, "little") * 2
    (tmp_path / "bomb.bmp").write_bytes(bytes(bomb))
    assert "3600 megapixels" in str(refusal(tmp_path / "bomb.bmp"))
    assert "12x300 is too small" in str(refusal(saved(tmp_path / "thin.png", Image.new("RGB", (12, 300)))))


def test_pillow_keeps_its_own_settings(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    read_image(saved(tmp_path / "a.png", Image.fromarray(PICTURE)))
    refusal(tmp_path / "missing.png")
    assert before == Image.MAX_IMAGE_PIXELS


# --- writing -----------------------------------------------------------------------------------------------------


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
    for name in ("a.xyz", "a", "missing/a.png"):
        with pytest.raises(UsageError) as caught:
            write_image(tmp_path / name, PICTURE)
        assert caught.value.hint
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError, match="folder"):
        write_image(tmp_path / "folder.png", PICTURE, overwrite=True)
    with pytest.raises(UsageError, match="too long"):
        write_image(tmp_path / ("n" * 300 + ".png"), PICTURE)


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="no devices on this system")
def test_a_device_is_never_replaced_by_a_file():
    with pytest.raises(UsageError, match="device"), atomic_path("/dev/null", overwrite=True):
        pass


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
    with pytest.raises(MediaError) as caught:
        write_image(tmp_path / "a.png", PICTURE)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs file size limits")
def test_a_disk_that_fills_up_while_writing_leaves_nothing_behind(tmp_path):
    code = f"""
import resource, numpy as np
from gfla_cli.media.image import write_image
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_image({str(tmp_path / "a.png")!r}, np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
except Exception as error:
    print(type(error).__name__)
"""
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert (done.stdout.strip(), done.stderr) == ("MediaError", "")
    assert list(tmp_path.iterdir()) == []


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


# --- folders and tensors -----------------------------------------------------------------------------------------


def test_pictures_of_a_folder_come_sorted_and_without_strangers(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.png", "a.JPG", "._a.jpg", ".hidden.png", "notes.txt", "sub/c.webp"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in find_images(tmp_path)] == ["a.JPG", "b.png"]
    assert [path.name for path in find_images(tmp_path, recursive=True)] == ["a.JPG", "b.png", "c.webp"]
    assert set(WRITABLE) <= set(READABLE)


def test_a_folder_without_pictures_is_an_error(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(MediaError) as caught:
            find_images(folder)
        assert caught.value.hint


def test_tensors_hold_minus_one_to_one_and_come_back_exactly():
    tensor = to_tensor(PICTURE)
    assert tensor.shape == (1, 3, 48, 64)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert (tensor.min(), tensor.max()) == (-1, 1)
    every_value = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    np.testing.assert_array_equal(to_uint8(to_tensor(every_value)), every_value)
    np.testing.assert_array_equal(to_uint8(to_tensor(every_value)[0]), every_value)


def test_tensors_out_of_range_are_clipped_and_rounded():
    values = torch.tensor([-3.0, -0.0001, 7.0]).view(1, 3, 1, 1).requires_grad_()
    assert to_uint8(values).ravel().tolist() == [0, 127, 255]
    assert to_uint8(values.bfloat16()).ravel().tolist() == [0, 127, 255]


def test_read_only_arrays_are_no_reason_to_warn():
    frozen = np.asarray(Image.fromarray(PICTURE))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_tensor(frozen[:, ::-1])


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (1, 8, 8, 3)])
def test_only_rgb_pictures_are_converted(tmp_path, shape):
    with pytest.raises(ValueError, match=r"\(H, W, 3\)"):
        to_tensor(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match=r"\(H, W, 3\)"):
        write_image(tmp_path / "a.png", np.zeros(shape, np.uint8))


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


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that takes no files")
def test_a_folder_that_takes_no_files_is_named():
    with pytest.raises(MediaError, match="takes no files"), atomic_path("/proc/a.png"):
        pass
