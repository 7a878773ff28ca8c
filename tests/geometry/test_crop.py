"""A mark that is drawn on an image is found where `Crop.points` says, however the image is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gfla_cli.geometry.crop import Crop

HEIGHT, WIDTH = 90, 120
SIDE = 64


def drawn(x: float, y: float, sigma: float, dtype=np.uint8) -> np.ndarray:
    """(90, 120, 3) a bright, soft mark at (x, y)."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    mark = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return np.repeat(mark[..., None], 3, axis=2).round().astype(dtype)


def middle(image: np.ndarray) -> np.ndarray:
    """x, y of the mark: the centre of gravity of its bright part."""
    weight = np.clip(image[..., 0].astype(np.float64) - 25, 0, None)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()


turns = st.one_of(st.sampled_from([0.0, 90.0, 180.0, -90.0]), st.floats(-180, 180))


@st.composite
def crops(draw):
    """A crop whose middle lies in the image, and a point of the image that it shows."""
    width, height = draw(st.floats(30, 200)), draw(st.floats(30, 200))
    size = draw(st.integers(32, 160)), draw(st.integers(32, 160))
    x, y = draw(st.floats(30, 90)), draw(st.floats(25, 65))
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return Crop(box, size, draw(turns), draw(st.booleans()))


def shows(crop, place, radius):
    """Whether a crop shows all that is nearer than `radius` to a point."""
    ring = np.array([[np.cos(angle), np.sin(angle)] for angle in np.linspace(0, 2 * np.pi, 24)])
    there = crop.points(np.array(place) + radius * ring)
    return bool((there > 0).all() and (there < np.array(crop.size[::-1]) - 1).all())


def least_scale(crop):
    left, top, right, bottom = crop.box
    return min(crop.size[1] / (right - left), crop.size[0] / (bottom - top))


@settings(deadline=None, max_examples=150)
@given(crops(), st.floats(-8, 8), st.floats(-8, 8))
def test_a_mark_is_found_where_points_says(crop, right, down):
    place = ((crop.box[0] + crop.box[2]) / 2 + right, (crop.box[1] + crop.box[3]) / 2 + down)
    assume(least_scale(crop) > 0.35)
    assume(shows(crop, place, 11))
    said = crop.points(np.array([place]))[0]
    assert middle(crop.image(drawn(*place, 3.0))) == pytest.approx(said, abs=0.05)
    assert crop.points_back(said[None])[0] == pytest.approx(place, abs=1e-4)


def test_what_is_empty_is_refused():
    for box in ((0, 0, 0, 5), (4, 0, 2, 5), (0, 0, float("nan"), 5), (0, 0, float("inf"), 5)):
        with pytest.raises(ValueError, match="is empty"):
            Crop(box, (64, 64))


def pasted(crop, image, part):
    """A copy of the image with the part in the crop's place."""
    whole, region = image.copy(), crop.region(image.shape)
    cover = crop.uncropped(np.ones(part.shape[:2], np.float32), region, beyond=0)[..., None]
    whole[region] = (cover * crop.uncropped(part, region) + (1 - cover) * whole[region]).round()
    return whole


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.filter_too_much])
@given(crops(), st.floats(-6, 6), st.floats(-6, 6))
def test_crop_and_paste_give_the_image_back(crop, right, down):
    assume(least_scale(crop) > 0.8)
    place = ((crop.box[0] + crop.box[2]) / 2 + right, (crop.box[1] + crop.box[3]) / 2 + down)
    image = drawn(*place, 5.0)
    assert np.abs(pasted(crop, image, crop.image(image)).astype(int) - image).max() <= 8
    # On another image only the crop's own place changes, and there the mark is where it was.
    dark = np.zeros_like(image)
    moved = pasted(crop, dark, crop.image(image))
    assume(shows(crop, place, 18))
    assert middle(moved) == pytest.approx(place, abs=0.1)  # twice 0.05: cut, and pasted


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", [False, True])
def test_whole_pixels_are_copied_exactly(turn, flip):
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    crop = Crop((10, 20, 58, 68), (48, 48), turn, flip)
    part = np.rot90(image[20:68, 10:58], -turn // 90)
    part = part[:, ::-1] if flip else part
    assert np.array_equal(crop.image(image), part)
    assert np.array_equal(pasted(crop, image, crop.image(image)), image)
    assert np.array_equal(pasted(crop, np.zeros_like(image), crop.image(image))[20:68, 10:58], image[20:68, 10:58])


def test_beyond_the_image_its_background_goes_on_without_what_stands_before_it():
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    image[:, :40] = 30
    image[:60, 70:80] = 250  # somebody, cut by the upper border
    part = Crop((0, -30, 120, 90), (120, 120)).image(image)
    assert set(np.unique(part[:30])) <= set(range(30, 91))
    assert np.array_equal(part[30:], image)
    edge = Crop((0, -30, 120, 90), (120, 120)).image(image, beyond="edge")
    assert edge[0, 75, 0] == 250
    colour = Crop((0, -30, 120, 90), (120, 120)).image(image, beyond=(1, 2, 3))
    assert colour[0, 75].tolist() == [1, 2, 3]


@pytest.mark.parametrize("turn", [0.0, 30.0])
@pytest.mark.parametrize("beyond", ["background", "edge", 0, (7, 8, 9)])
def test_a_crop_outside_of_the_image_is_plain(turn, beyond):
    image = np.full((20, 30, 3), 50, np.uint8)
    crop = Crop((100, 100, 140, 140), (16, 16), turn)
    value = 50 if isinstance(beyond, str) else beyond
    assert np.array_equal(crop.image(image, beyond=beyond), np.full((16, 16, 3), value, np.uint8))
    assert crop.region(image.shape) is None


def test_weights_stay_within_their_range_and_say_what_is_seen():
    weight = np.zeros((8, 8), np.float32)
    weight[2:6, 2:6] = 1
    crop = Crop((4.0, 4.0, 36.0, 36.0), (64, 64))
    region = crop.region((40, 40))
    assert region == (slice(4, 36), slice(4, 36))
    placed = crop.uncropped(weight, region, beyond=0)
    assert (placed.min(), placed[16, 16], placed.max()) == (0, 1, 1)
    mask = crop.image(np.pad(np.ones((20, 20), np.float32), 10))
    assert mask.min() == 0
    assert mask.max() == 1


def test_a_reduced_image_does_not_alias():
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    for turn in (0.0, 33.0):
        part = Crop((100.3, 100.3, 300.3, 300.3), (32, 32), turn).image(stripes)
        assert np.abs(part.astype(int) - 127).max() < 6
