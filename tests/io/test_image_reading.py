"""Image files of every kind that cameras and editors write are read upright and in the right colours."""

from __future__ import annotations

import sys
import warnings
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from tiny_images import GREEN_D50, PICTURE, RAMP, RED_D50, cmyk_profile, grey_profile, rgb_profile, saved

from gfla_cli.errors import MediaError
from gfla_cli.io.cutout import read_cutout
from gfla_cli.io.image import (
    READABLE,
    WRITABLE,
    find_images,
    is_animated,
    read_image,
    to_tensor,
    to_uint8,
    write_image,
)


@pytest.mark.parametrize(
    ("suffix", "tolerance"), [(".png", 0), (".bmp", 0), (".tif", 0), (".ppm", 0), (".jpg", 8), (".webp", 12)]
)
def test_colours_survive_every_format(tmp_path, suffix, tolerance):
    read = read_image(saved(tmp_path / f"a{suffix}", Image.fromarray(PICTURE)))
    assert read.dtype == np.uint8
    assert read.flags.writeable
    assert np.abs(read.astype(int) - PICTURE).max() <= tolerance


TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270"}
TURNS |= {7: "TRANSVERSE", 8: "ROTATE_90"}  # orientation tag -> what makes the stored image upright


def upright(picture, orientation):
    """The array of an image that was stored with an orientation tag."""
    return np.asarray(picture.transpose(Image.Transpose[TURNS[orientation]]) if orientation > 1 else picture)


JPEG = {"quality": 98, "subsampling": 0}
TURNED_FILES = [(".png", mode, {}) for mode in ("RGB", "L", "RGBA")]
TURNED_FILES += [(".jpg", mode, JPEG) for mode in ("RGB", "L", "CMYK")] + [(".mpo", "RGB", JPEG)]
TURNED_FILES += [(".webp", mode, {"lossless": True}) for mode in ("RGB", "RGBA")]
TURNED_FILES += [(".avif", mode, {"quality": 98}) for mode in ("RGB", "RGBA")]
TURNED_FILES += [(".tif", mode, {}) for mode in ("RGB", "L", "RGBA", "CMYK")]  # uncompressed
TURNED_FILES += [(".tif", mode, {"compression": "tiff_lzw"}) for mode in ("RGB", "RGBA")]
TURNED_FILES += [(".tif", "RGB", {"compression": "jpeg", "quality": 98})]


@pytest.mark.parametrize(("suffix", "mode", "options"), TURNED_FILES)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_tag_is_applied_once(tmp_path, orientation, suffix, mode, options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    asymmetric = PICTURE.copy()
    asymmetric[:16, :20] = (255, 0, 0)
    picture = Image.fromarray(asymmetric).convert(mode)
    path = saved(tmp_path / f"a{suffix}", picture, exif=exif, **options)
    expected = upright(picture.convert("RGB"), orientation).astype(int)
    read = read_image(path)
    assert read.shape == expected.shape
    assert np.abs(read - expected).mean() < 6
    assert max(read_image(path, max_side=32).shape) == 32


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_transparency_is_turned_with_its_image(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    alpha = np.zeros(PICTURE.shape[:2], np.uint8)
    alpha[5:20, 8:50] = 255
    picture = Image.fromarray(np.dstack([PICTURE, alpha]))
    path = saved(tmp_path / f"a{suffix}", picture, exif=exif)
    cover = read_cutout(path).cover
    expected = upright(Image.fromarray(alpha), orientation).astype(int)
    assert cover.shape == expected.shape
    assert np.abs(cover - expected).mean() < 4


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_shows_white_paper(tmp_path, mode):
    alpha = Image.fromarray(np.where(np.arange(64) < 32, 0, 255).astype(np.uint8)[None].repeat(48, axis=0))
    picture = Image.fromarray(np.zeros((48, 64), np.uint8)).convert("RGBA")
    picture.putalpha(alpha)
    path = saved(tmp_path / "a.png", picture.convert(mode))
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
    monkeypatch.setattr("gfla_cli.io.image_decoding._STRIP_AREA", 700)
    path = saved(tmp_path / "a.png", Image.fromarray(PICTURE))
    np.testing.assert_array_equal(read_image(path), PICTURE)
    assert read_image(path, max_side=20).shape == (15, 20, 3)


def test_images_of_a_folder_are_sorted_and_other_files_left_out(tmp_path):
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
    if shape != (8, 8, 4):  # which is written with its alpha channel
        with pytest.raises(ValueError, match=r"\(H, W, 3\)"):
            write_image(tmp_path / "a.png", np.zeros(shape, np.uint8))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".avif"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_are_brought_to_srgb_by_the_embedded_profile(tmp_path, suffix, mode):
    if mode == "RGBA" and suffix == ".jpg":
        pytest.skip("JPEG has no transparency")
    swapped = rgb_profile(red=GREEN_D50, green=RED_D50)
    picture = Image.fromarray(PICTURE).convert(mode)
    options = {"quality": 95, "subsampling": 0} if suffix == ".jpg" else {"quality": 95}
    read = read_image(saved(tmp_path / f"a{suffix}", picture, icc_profile=swapped, **options))
    assert np.abs(read.astype(int) - PICTURE[..., [1, 0, 2]]).mean() < 5
    assert (
        np.abs(read_image(tmp_path / f"a{suffix}", max_side=32).astype(int)[12, 3:-3, 0] - read[24, 6:-6:2, 0]).max()
        < 9
    )


def test_palettes_and_grey_have_profiles_too(tmp_path):
    swapped = rgb_profile(red=GREEN_D50, green=RED_D50)
    palette = Image.fromarray(PICTURE).quantize(64)
    read = read_image(saved(tmp_path / "a.png", palette, icc_profile=swapped)).astype(int)
    assert np.abs(read - np.asarray(palette.convert("RGB"), int)[..., [1, 0, 2]]).mean() < 5
    expected = 255 * np.clip(1.055 * (RAMP / 255) ** (1 / 2.4) - 0.055, 0, 1)  # the file's numbers are linear
    grey, wide = Image.fromarray(RAMP), Image.fromarray(RAMP.astype(np.uint16) * 257)
    for number, picture in enumerate((grey, grey.convert("LA"), wide)):
        read = read_image(saved(tmp_path / f"{number}.png", picture, icc_profile=grey_profile(1.0)))
        assert np.abs(read[..., 0] - expected)[:, 4:].max() < 2.5
        assert (np.ptp(read, axis=2) <= 1).all()


def test_cmyk_is_printed_as_its_profile_says(tmp_path):
    red, green = (54, 80, 70), (88, -86, 83)
    press = cmyk_profile([red, green, (60, 0, 0), (0, 0, 0)])
    for ink, expected in (((255, 0, 0, 0), (255, 0, 0)), ((0, 255, 0, 0), (0, 255, 0)), ((0, 0, 0, 0), (255,) * 3)):
        path = saved(tmp_path / "a.tif", Image.new("CMYK", (64, 48), ink), icc_profile=press)
        assert np.abs(read_image(path)[5, 5].astype(int) - expected).max() < 12, ink


def test_lab_files_are_read(tmp_path):
    path = saved(tmp_path / "a.tif", Image.new("LAB", (64, 48), (138, 208, 198)))
    assert np.abs(read_image(path)[5, 5].astype(int) - (255, 0, 0)).max() < 16


def test_a_camera_may_say_adobe_rgb_in_exif_alone(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    picture = Image.new("RGB", (64, 48), (100, 150, 200))
    path = saved(tmp_path / "a.jpg", picture, exif=exif, quality=98, subsampling=0)
    assert np.abs(read_image(path)[5, 5].astype(int) - (65, 151, 203)).max() <= 3
    exif.get_ifd(0x8769)[0xA005] = {1: "R98"}
    path = saved(tmp_path / "b.jpg", picture, exif=exif, quality=98, subsampling=0)
    assert np.abs(read_image(path)[5, 5].astype(int) - (100, 150, 200)).max() <= 2


@pytest.mark.parametrize(
    "profile", [b"", b"no profile", rgb_profile()[:200], grey_profile(1.0), cmyk_profile([(0, 0, 0)] * 4)]
)
def test_a_profile_that_is_damaged_or_of_another_kind_does_not_count(tmp_path, profile):
    path = saved(tmp_path / "a.png", Image.fromarray(PICTURE), icc_profile=profile)
    np.testing.assert_array_equal(read_image(path), PICTURE)


@pytest.mark.parametrize("suffix", [suffix for suffix in WRITABLE if suffix != ".bmp"])
def test_what_is_written_is_tagged_as_srgb_and_reads_back_unchanged(tmp_path, suffix):
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}{suffix}", PICTURE)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    with Image.open(tmp_path / f"a{suffix}") as written:
        assert written.info.get("icc_profile") or written.info["srgb"] == 1
        plain = np.asarray(written.convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), plain)


def test_heic_needs_a_package_that_is_named_and_is_never_passed_over(tmp_path, monkeypatch):
    heic = tmp_path / "photo.HEIC"
    heic.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    assert find_images(tmp_path) == [heic]
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MediaError, match=r"photo\.HEIC: HEIC images need the package pillow-heif") as caught:
        read_image(heic)
    assert "pip install pillow-heif" in caught.value.hint


def test_heic_is_read_when_the_package_is_there(tmp_path, monkeypatch):
    class Heif(PngImagePlugin.PngImageFile):
        format = "HEIF"

        def _open(self):
            self.fp = BytesIO(self.fp.read()[24:])
            super()._open()

    def register():
        Image.register_open("HEIF", Heif, lambda head: head[4:12] == b"ftypheic")

    monkeypatch.setattr(Image, "ID", list(Image.ID))
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register))
    encoded = BytesIO()
    Image.fromarray(PICTURE).save(encoded, format="PNG")
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + encoded.getvalue())
    np.testing.assert_array_equal(read_image(tmp_path / "a.heic"), PICTURE)
