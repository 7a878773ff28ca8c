"""What a person hides is filled from around: a wall stays a wall, and a busy background stays busy."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from gfla_cli.pipelines import inpainting
from gfla_cli.pipelines.inpainting import without_subject


@pytest.fixture
def photograph():
    """Fine texture everywhere."""
    return np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)


@pytest.fixture
def bricks():
    """(600, 450, 3) a wall of bricks with its grain."""
    wall = np.full((600, 450, 3), 150, np.uint8)
    for row, y in enumerate(range(0, 600, 30)):
        cv2.line(wall, (0, y), (450, y), (90, 80, 80), 3)
        for x in range(row % 2 * 30, 450, 60):
            cv2.line(wall, (x, y), (x, y + 30), (90, 80, 80), 3)
    return (wall + np.random.default_rng(0).normal(0, 6, wall.shape)).clip(0, 255).astype(np.uint8)


def ellipse(height, width):
    cover = np.zeros((height, width), np.uint8)
    cv2.ellipse(cover, (width * 4 // 9, height // 2), (width // 8, height // 3), 10, 0, 360, 1, -1)
    return cover.astype(np.float32)


@pytest.mark.parametrize("bottom", [380, 400])  # within the image, and cut by its border
def test_a_smooth_wall_stays_a_wall(bottom):
    y, x = np.mgrid[:400, :300]
    wall = np.stack([120 + x / 6, 100 + y / 8, 140 - x / 8], axis=-1)
    noise = np.random.default_rng(0).normal(0, 2, wall.shape)
    clean = (wall + noise).clip(0, 255).astype(np.uint8)
    person = np.zeros((400, 300), np.float32)
    person[80:bottom, 110:190] = 1
    seen = np.where(person[..., None] > 0, np.uint8([20, 20, 200]), clean).astype(np.uint8)
    filled = without_subject(seen, person)
    hole = person > 0
    assert np.abs(filled[hole].mean(axis=0) - wall[hole].mean(axis=0)).max() < 4
    assert np.abs(filled.astype(int) - wall)[hole].mean() < 6
    assert 0.5 < (filled - wall)[150:350, 130:170].std() / 2 < 2  # grain as around it
    np.testing.assert_array_equal(filled[:, :80], seen[:, :80])


def test_a_floor_that_gets_darker_towards_its_border_has_no_light_spot_where_feet_were():
    y = np.arange(400.0)[:, None, None]
    floor = np.broadcast_to(210 - 150 * ((y - 360) / 40).clip(0, 1), (400, 300, 3)).astype(np.uint8)
    feet = np.zeros((400, 300), np.float32)
    feet[60:396, 90:120] = feet[60:396, 160:190] = 1
    filled = without_subject(np.where(feet[..., None] > 0, np.uint8([20, 20, 200]), floor), feet)
    assert np.abs(filled.astype(int) - floor).max() < 40  # of 150


def test_without_a_subject_the_background_is_the_image(photograph):
    np.testing.assert_array_equal(without_subject(photograph, np.zeros((600, 600), np.float32)), photograph)


def test_a_subject_that_fills_the_image_leaves_it_as_it_is(photograph):
    np.testing.assert_array_equal(without_subject(photograph, np.ones((600, 600), np.float32)), photograph)


def test_a_wall_of_bricks_is_continued_brick_by_brick(bricks, monkeypatch):
    person = ellipse(600, 450)
    seen = np.where(person[..., None] > 0, np.uint8([20, 20, 200]), bricks)
    filled = without_subject(seen, person)
    monkeypatch.setattr(inpainting, "_patch_shifts", lambda image, hole: None)
    smooth = without_subject(seen, person)

    def error(image):
        rows = image[:, :, 1].astype(float)[200:400, 170:230].mean(axis=1)  # where the joints between bricks lie
        return np.abs(rows - bricks[200:400, 170:230, 1].mean(axis=1)).mean()

    assert error(filled) < 0.4 * error(smooth)
    assert not (filled[..., 2] > 190).any()  # nothing of the person
    np.testing.assert_array_equal(filled[:, :100], seen[:, :100])


def tone_off(filled, truth, person):
    """Mean difference of blurred colours along the inside of a person's outline."""
    inside = (person > 0) & (cv2.erode(person, np.ones((25, 25), np.uint8)) == 0)
    blurred = [cv2.blur(image.astype(np.float32), (31, 31)) for image in (filled, truth)]
    return np.abs(blurred[0] - blurred[1])[inside].mean()


def test_the_old_outline_does_not_show_in_front_of_a_blurred_thing_that_is_nowhere_else(bricks):
    """A purple poster far behind the person, of which a little shows: patches of the wall take on its tone."""
    person = ellipse(600, 450)
    poster = cv2.GaussianBlur(cv2.dilate(person, np.ones((45, 45), np.uint8)), (0, 0), 6)[..., None]
    wall = (cv2.GaussianBlur(bricks, (0, 0), 4) * (1 - poster * (0.2, 0.7, 0.1))).astype(np.uint8)
    filled = without_subject(np.where(person[..., None] > 0, np.uint8([20, 20, 200]), wall), person)
    assert tone_off(filled, wall, person) < 6  # 42 without it


def test_in_front_of_a_texture_patches_keep_the_colours_that_they_have():
    """Books on a shelf have any colour: a mean of those around would be a haze in the old outline."""
    rng, x, shelf = np.random.default_rng(0), 0, np.zeros((600, 450, 3), np.uint8)
    while x < 450:
        x += (width := int(rng.integers(8, 20)))
        shelf[:, x - width : x] = rng.integers(20, 235, 3)
    shelf[::75] = shelf[1::75] = shelf[2::75] = 90, 60, 40
    person = ellipse(600, 450)
    filled = without_subject(np.where(person[..., None] > 0, np.uint8([20, 20, 200]), shelf), person)
    known = np.unique(shelf[person == 0].reshape(-1, 3), axis=0).astype(np.float32)
    inside = filled[cv2.erode(person, np.ones((25, 25), np.uint8)) > 0][::7].astype(np.float32)
    distance = np.linalg.norm(inside[:, None] - known, axis=2).min(axis=1)
    assert np.mean(distance < 12) > 0.8  # 0.06 with a haze


def test_the_same_image_is_filled_the_same_way(bricks):
    person = ellipse(600, 450)
    np.testing.assert_array_equal(without_subject(bricks, person), without_subject(bricks, person))


def test_large_images_are_filled_in_bands(bricks, monkeypatch):
    person = ellipse(600, 450)
    whole = without_subject(bricks, person)
    monkeypatch.setattr(inpainting, "_BAND", 37)
    assert np.abs(whole.astype(int) - without_subject(bricks, person)).max() <= 2


def test_where_too_little_is_known_the_filling_is_smooth(photograph):
    cover = np.ones((600, 600), np.float32)
    cover[:30] = cover[-30:] = 0
    filled = without_subject(photograph, cover)
    assert cv2.blur(filled, (9, 9))[200:400, 200:400].std() < 20
    np.testing.assert_array_equal(filled[:10], photograph[:10])


def with_gap(background, scrap):
    """A person with a gap beside an arm, in which a part of the person was missed, and its cover."""
    cover = np.zeros(background.shape[:2], np.float32)
    cover[80:340, 100:190] = 1
    cover[180:230, 150:176] = 0
    seen = np.where(cover[..., None] > 0, np.uint8([20, 20, 200]), background).astype(np.uint8)
    seen[184:226, 160:166] = background[184:226, 160:166] if scrap is None else scrap
    return seen, cover


def grey_wall():
    wall = np.broadcast_to(np.linspace(120, 160, 400)[:, None, None], (400, 300, 3))
    return (wall + np.random.default_rng(0).normal(0, 1, wall.shape)).astype(np.uint8)


def test_hair_that_is_missed_in_a_gap_leaves_no_spot_on_a_calm_wall():
    wall = grey_wall()
    filled = without_subject(*with_gap(wall, (30, 20, 15)))
    assert np.abs(filled.astype(int) - wall).max() < 12


def between_legs(colour):
    """A person whose legs, 40 pixels apart, have something between them, its cover, and the wall."""
    wall = grey_wall()
    cover = np.zeros(wall.shape[:2], np.float32)
    cover[80:220, 100:200] = cover[220:340, 110:130] = cover[220:340, 170:190] = 1
    seen = wall.copy()
    seen[220:250, 130:170] = colour
    return np.where(cover[..., None] > 0, np.uint8([20, 20, 200]), seen).astype(np.uint8), cover, wall


def test_the_inside_of_a_skirt_leaves_no_spot_on_a_calm_wall():
    seen, cover, wall = between_legs((10, 20, 110))
    assert np.abs(without_subject(seen, cover).astype(int) - wall).max() < 12


@pytest.mark.parametrize("rows", [slice(220, 400), slice(300, 380)], ids=["a pole", "a ball"])
def test_a_thing_behind_two_legs_stays_whole(rows):
    """It goes on below the feet."""
    seen, cover, wall = between_legs((80, 80, 80))
    seen[:, 130:170] = np.where(cover[:, 130:170, None] > 0, seen[:, 130:170], wall[:, 130:170])
    seen[rows, 142:158] = 190, 60, 20
    filled = without_subject(seen, cover)
    between = slice(max(rows.start, 230), rows.stop), slice(145, 155)
    np.testing.assert_array_equal(filled[between], seen[between])


def test_a_shadow_between_two_legs_stays():
    seen, cover, _ = between_legs((80, 80, 80))
    filled = without_subject(seen, cover)
    np.testing.assert_array_equal(filled[230:240, 145:155], seen[230:240, 145:155])


def test_a_thing_beside_the_person_stays():
    seen, cover, _ = between_legs((80, 80, 80))
    seen[260:300, 200:240] = 190, 20, 20
    filled = without_subject(seen, cover)
    np.testing.assert_array_equal(filled[270:290, 210:230], seen[270:290, 210:230])


def test_a_gap_that_shows_the_wall_stays_as_it_is():
    wall = grey_wall()
    seen, cover = with_gap(wall, None)
    filled = without_subject(seen, cover)
    np.testing.assert_array_equal(filled[196:214, 161:165], seen[196:214, 161:165])


def test_what_is_seen_in_a_gap_on_a_busy_background_stays(bricks):
    seen, cover = with_gap(bricks[:400, :300], (30, 20, 15))
    filled = without_subject(seen, cover)
    np.testing.assert_array_equal(filled[196:214, 161:165], seen[196:214, 161:165])
