"""A soft shadow at a person's feet goes where the feet go. Anything else on the floor stays as it is."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from drawn_landmarks import drawn_body
from paths import ANNA, BEN

from gfla_cli.geometry.crop import Crop
from gfla_cli.person.pose import Pose
from gfla_cli.pipelines import shadows, subjects
from gfla_cli.pipelines.canvas import Canvas
from gfla_cli.pipelines.compositing import composed
from gfla_cli.pipelines.frame_layers import Layers
from gfla_cli.pipelines.inpainting import without_subject
from gfla_cli.pipelines.pose_transfer import PoseTransfer
from gfla_cli.pipelines.shadows import ANKLES, Shadow
from gfla_cli.pipelines.subjects import BodySubject, DrawnFrame

HEIGHT, WIDTH = SIZE = (420, 640)
EVERYWHERE = slice(0, HEIGHT), slice(0, WIDTH)
Y, X = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
FLOOR = np.stack([205 - X / 40, 200 - Y / 30, 190 + X / 60], axis=-1)
STILL = (0, 0), (0, 0)


def person(steps=STILL):
    """A pose whose feet have moved by steps x, y, and its cover: a trunk and two legs with feet."""
    points = drawn_body((256, 256)) * (1.2, 1.2, 1) + (166, 40, 0)
    points[ANKLES, :2] += steps
    cover = np.zeros(SIZE, np.uint8)
    cv2.rectangle(cover, (285, 100), (350, 200), 1, -1)
    for hip, (x, y) in zip(((300, 200), (338, 200)), np.rint(points[ANKLES, :2]).astype(int).tolist(), strict=True):
        cv2.line(cover, hip, (x, y), 1, 13)
        cv2.ellipse(cover, (x, y + 8), (9, 12), 0, 0, 360, 1, -1)
    return Pose(points.astype(np.float32), SIZE), cv2.GaussianBlur(cover.astype(np.float32), (0, 0), 0.8)


def shadow_of(pose, depth=0.2, sigma=(26, 9)):
    """(H, W, 1) the light that soft shadows at both ankles leave."""
    deep = (
        np.exp(-(np.square((X - x) / sigma[0]) + np.square((Y - y - 16) / sigma[1])) / 2)
        for x, y in pose.points[ANKLES, :2]
    )
    return 1 - depth * np.maximum(*deep)[..., None]


def seen(floor, light, cover=None):
    """A person in blue on a floor (H, W, 3), with the grain of a photograph."""
    cover = person()[1] if cover is None else cover
    grain = np.random.default_rng(0).normal(0, 1.5, floor.shape)
    shown = (floor * light + grain) * (1 - cover[..., None]) + cover[..., None] * (60, 60, 150)
    return shown.clip(0, 255).astype(np.uint8)


def found(photograph, pose=None, cover=None):
    """The shadow, and the background."""
    pose, cover = person()[0] if pose is None else pose, person()[1] if cover is None else cover
    background = without_subject(photograph, cover)
    return Shadow.of(photograph, cover, background, pose), background


def moved(shadow, background, steps):
    pose, cover = person(steps)
    return shadow.moved(background, cover, EVERYWHERE, pose.points[ANKLES, :2]), pose, cover


@pytest.mark.parametrize(
    ("steps", "most"),
    [
        pytest.param(((50, 0), (50, 0)), 4, id="aside"),
        pytest.param(((-35, -22), (40, -22)), 7, id="apart"),  # what is between both shadows stays half with each
        pytest.param(((110, 8), (110, 8)), 4, id="far"),
    ],
)
def test_a_shadow_goes_along_with_the_feet(steps, most):
    shadow, background = found(seen(FLOOR, shadow_of(person()[0])))
    result, pose, cover = moved(shadow, background, steps)
    old, new = shadow_of(person()[0]), shadow_of(pose)
    result = cv2.GaussianBlur(result.astype(np.float32), (0, 0), 2)  # without its grain
    clear = (cv2.dilate(cover, np.ones((15, 15))) < 0.1) & (Y > 270)
    left = clear & (old[..., 0] < 0.95) & (new[..., 0] > 0.99)
    lies = clear & (new[..., 0] < 0.95)
    assert left.sum() > 200
    assert np.abs(result - FLOOR)[left].mean() < 2
    assert np.abs(result - FLOOR)[left].max() < 7
    assert np.abs(result - FLOOR * new)[lies].mean() < most
    assert (FLOOR - result)[lies].mean() > 0.6 * (FLOOR - FLOOR * new)[lies].mean()
    far = np.abs(X - 320) > 300
    np.testing.assert_array_equal(result[far], cv2.GaussianBlur(background.astype(np.float32), (0, 0), 2)[far])


@pytest.mark.parametrize("steps", [STILL, ((1, -1), (0, 2))])
def test_the_shadow_of_feet_that_stay_is_left_alone(steps):
    shadow, background = found(seen(FLOOR, shadow_of(person()[0])))
    np.testing.assert_array_equal(moved(shadow, background, steps)[0], background)


def test_feet_that_change_sides_leave_the_shadow_alone():
    right, left = person()[0].points[ANKLES, :2]
    shadow, background = found(seen(FLOOR, shadow_of(person()[0])))
    np.testing.assert_array_equal(moved(shadow, background, (left - right, right - left))[0], background)


def test_in_a_clip_each_foot_keeps_its_shadow():
    """Feet that pass each other would exchange them in one frame, and back in another."""
    pose, _ = person()
    right, left = pose.points[ANKLES, :2]
    long = 1 - 0.2 * np.exp(-(np.square((X - 240) / 18) + np.square((Y - right[1] - 12) / 6)) / 2)[..., None]
    shadow, background = found(seen(FLOOR, shadow_of(pose) * long))
    middle = (left - right) / 2
    places = []
    for way in (0.8, 0.95, 1.05, 1.2):  # they pass each other at 1
        new, cover = person((way * middle - (0, 30), -way * middle))
        image = shadow.moved(background, cover, EVERYWHERE, new.points[ANKLES, :2], exchange=False)
        dark = (FLOOR - cv2.GaussianBlur(image.astype(np.float32), (0, 0), 3))[260:, :275].mean(axis=2).clip(2) - 2
        places.append(float((dark * Y[260:, :275]).sum() / dark.sum()))
    assert np.ptp(places) < 6, places


def test_a_long_shadow_stays_in_one_piece():
    pose, _ = person()
    y = pose.points[ANKLES, 1].mean() + 12
    long = 1 - 0.2 * np.exp(-(np.square((X - 240) / 18) + np.square((Y - y) / 6)) / 2)[..., None]
    shadow, background = found(seen(FLOOR, shadow_of(pose) * long))
    result = moved(shadow, background, ((0, -26), (0, 6)))[0].astype(np.float32)
    before, after = (cv2.blur(FLOOR - image, (9, 5))[:, 238].mean(axis=1) for image in (background, result))
    assert abs(after.max() - before.max()) < 4
    assert after.argmax() - before.argmax() == pytest.approx(-26, abs=4)
    assert after[before.argmax()] < 8


def test_of_two_pieces_each_belongs_to_the_foot_beside_it():
    soles = np.float32([(50, 60), (150, 50)])
    y, x = np.mgrid[:80, :200].astype(np.float32)
    places = soles.astype(int) - (26, 24)
    dark = sum(0.2 * np.exp(-(np.square(x - left) + np.square(y - top)) / 50) for left, top in places)
    parts = shadows._of_feet(np.repeat(dark[..., None], 3, axis=2).astype(np.float32), soles, torso=56)
    for part, (left, top) in zip(parts, places, strict=True):
        assert part[top, left].min() > 0.18


def test_a_foot_in_the_air_has_no_shadow():
    shadow, background = found(seen(FLOOR, shadow_of(person()[0])))
    result, pose, _ = moved(shadow, background, ((0, 0), (45, -75)))
    old, new = (np.rint(one.points[ANKLES[1], :2]).astype(int) for one in (person()[0], pose))
    for x, y in np.add([old, new], (28, 14)):
        assert np.abs(result[y - 3 : y + 4, x - 3 : x + 4].mean(axis=(0, 1)) - FLOOR[y, x]).max() < 8
    x, y = np.rint(person()[0].points[ANKLES[0], :2]).astype(int) - (28, -14)
    np.testing.assert_allclose(result[y, x].astype(int), background[y, x], atol=4)


def stripes():
    return FLOOR - 25 * ((X + Y) % 16 < 5)[..., None]


@pytest.mark.parametrize(
    ("floor", "light"),
    [
        pytest.param(FLOOR, 1, id="no shadow"),
        pytest.param(FLOOR, shadow_of(person()[0], depth=0.02), id="next to none"),
        pytest.param(stripes(), shadow_of(person()[0]), id="busy floor"),
        pytest.param(
            FLOOR + 20 * np.random.default_rng(1).normal(0, 1, (*SIZE, 1)), shadow_of(person()[0]), id="gravel"
        ),
        pytest.param(FLOOR - 40.0 * (Y > 280)[..., None], shadow_of(person()[0]), id="edge of a wall"),
        pytest.param(FLOOR, 1 - (1 - shadow_of(person()[0], 0.3)) * (0.2, 0.6, 1.6), id="coloured"),
        pytest.param(FLOOR, np.where(shadow_of(person()[0]) < 0.9, 0.7, 1), id="hard"),
        pytest.param(FLOOR, shadow_of(person()[0], sigma=(150, 9)), id="too long"),
        pytest.param(FLOOR, shadow_of(person()[0], sigma=(60, 50)), id="too large"),
        pytest.param(FLOOR, shadow_of(person()[0]) - 0.3 * (np.hypot(X - 440, Y - 320) < 20)[..., None], id="stain"),
    ],
)
def test_only_what_is_surely_a_shadow_moves(floor, light):
    assert found(seen(floor, light))[0] is None


def test_feet_that_are_cut_off_or_hidden_have_no_shadow():
    pose, cover = person()
    photograph = seen(FLOOR, shadow_of(pose))
    cut = int(pose.points[ANKLES, 1].max()) + 12
    assert found(photograph[:cut], Pose(pose.points, (cut, WIDTH)), cover[:cut])[0] is None
    points = pose.points.copy()
    points[ANKLES[0]] = -1, -1, 0
    assert found(photograph, Pose(points, SIZE))[0] is None
    assert found(photograph, cover=np.zeros(SIZE, np.float32))[0] is None


def test_another_person_beside_the_feet_keeps_the_shadow_where_it_is():
    pose, cover = person()
    other = np.roll(cover, 75, axis=1)
    photograph = seen(FLOOR, shadow_of(pose), np.maximum(cover, other))
    assert found(photograph, pose, cover)[0] is None


@pytest.mark.parametrize("pose", [Pose(np.full((18, 3), 1, np.float32), SIZE), Pose(-np.ones((18, 3)), SIZE)])
def test_poses_without_a_size_have_no_shadow(pose):
    assert found(seen(FLOOR, shadow_of(person()[0])), pose)[0] is None


def test_a_shadow_may_leave_the_image():
    pose, _ = person()
    shadow, background = found(seen(FLOOR, shadow_of(pose)))
    for steps in ((-330, 0), (900, 0), (0, 90), (0, 900), (30_000, -30_000)):
        result = moved(shadow, background, (steps, steps))[0]
        x, y = np.rint(pose.points[ANKLES[0], :2]).astype(int) - (28, -14)
        assert np.abs(result[y, x] - FLOOR[y, x]).max() < 8


def test_large_images_are_changed_in_bands_and_on_a_small_map(monkeypatch):
    shadow, background = found(seen(FLOOR, shadow_of(person()[0])))
    whole = moved(shadow, background, ((50, 0), (50, 0)))[0]
    monkeypatch.setattr(shadows, "_BAND", 7)
    banded = moved(shadow, background, ((50, 0), (50, 0)))[0]
    assert np.abs(whole.astype(int) - banded).max() <= 1
    size = 8 * HEIGHT, 8 * WIDTH
    larger = [cv2.resize(image, size[::-1]) for image in (seen(FLOOR, shadow_of(person()[0])), background)]
    large = Shadow.of(larger[0], cv2.resize(person()[1], size[::-1]), larger[1], person()[0].scaled(size))
    assert max(large.floor.size) < 400
    np.testing.assert_allclose(large.soles, shadow.soles, atol=1)


@pytest.fixture(scope="module")
def transfer():
    return PoseTransfer(device="cpu")


def lacking(image, place, floor):
    """Grey levels that a place of an image lacks to the floor."""
    x, y = np.rint(place).astype(int)
    return float(floor - image[y - 2 : y + 3, x - 2 : x + 3].mean())


def test_the_shadow_of_a_photograph_moves_with_its_person(transfer):
    result = transfer.transfer(BEN, ANNA)  # the right foot goes up by 37 pixels
    old, new = (pose[ANKLES[0], :2] + (-35, 8) for pose in (result.source_pose, result.target_pose))
    assert lacking(result.source_image, old, 254) > 25
    assert lacking(result.image, new, 254) > 25
    below = old + np.array([0, 30])  # where the shadow at its new place has ended
    assert lacking(result.image, below, 254) < 3
    assert lacking(result.source_image, below, 254) > 40


def test_in_a_frame_of_the_photograph_the_shadow_is_the_same(transfer):
    pose = transfer.transfer(BEN, ANNA).target_pose  # it was moved into the image, which a frame does not need
    whole, frame = (transfer.transfer(BEN, pose, crop=crop, align="placed") for crop in (None, True))
    x, y = np.rint(frame.target_pose[ANKLES[0], :2] - whole.target_pose[ANKLES[0], :2]).astype(int)
    region = Crop((x, y, x + 480, y + 640), (640, 480)).region(frame.image.shape)
    ours, theirs = frame.image[region], whole.image[region[0].start - y : region[0].stop - y]
    difference = np.abs(ours[-200:].astype(int) - theirs[-200:, region[1].start - x : region[1].stop - x])
    assert difference.mean() < 0.2


@pytest.mark.parametrize("background", ["white", "transparent"])
def test_no_shadow_is_laid_on_another_background(transfer, background):
    prepared = transfer.prepare(BEN, ANNA, background=background)
    assert prepared.canvas.shadow is None
    image = transfer.generate([prepared])[0].image
    assert (image[..., -1] == (255 if background == "white" else 0)).mean() > 0.6


@pytest.mark.parametrize("place", [(0, 0), (900, 0)], ids=["without feet", "a person who has left"])
def test_the_shadow_of_feet_that_are_seen_no_more_does_not_come_back(place):
    """It stays where the feet were seen last, or goes with them."""
    pose, cover = person()
    photograph = seen(FLOOR, shadow_of(pose))
    shadow, background = found(photograph)
    frame = Crop((place[0], place[1], place[0] + WIDTH, place[1] + HEIGHT), SIZE)
    whole = Crop.whole(SIZE, SIZE)
    canvas = Canvas(photograph, whole, whole, whole, photograph, background, cover, shadow=shadow)
    flat = np.zeros((*SIZE, 3), np.float32)
    nobody = Layers(flat, flat[..., 0], flat, flat[..., :2], flat[..., 0])
    points = pose.points.copy()
    points[ANKLES] = (-1, -1, 0)
    poses = pose, Pose(points, SIZE)
    last = pose.points[ANKLES, :2] + (110, 8)
    image = composed(canvas, nobody, place=frame, poses=poses, ankles=last)
    old, new = (at.mean(axis=0).astype(int) + np.array([0, 16]) for at in (pose.points[ANKLES, :2], last))
    assert lacking(image, old, FLOOR[old[1], old[0]].mean()) < 3
    assert lacking(image, new, FLOOR[new[1], new[0]].mean()) > 15


def test_a_clip_of_a_body_remembers_where_its_feet_were_seen(monkeypatch):
    stood = []
    monkeypatch.setattr(subjects, "composed", lambda *_, ankles, **__: stood.append(ankles))
    subject = object.__new__(BodySubject)
    whole = Crop.whole(SIZE, SIZE)
    subject.canvas = SimpleNamespace(place=whole)
    subject._ankles = None
    pose, cover = person()
    hidden = pose.points.copy()
    hidden[ANKLES[0]] = (-1, -1, 0)
    layers = SimpleNamespace(matte=cover)
    for points in (hidden, pose.points, hidden):
        subject.compose(DrawnFrame(layers, poses=(pose, Pose(points, SIZE))))
    before, seen_then, after = stood
    assert before is None
    np.testing.assert_allclose(seen_then, pose.points[ANKLES, :2], atol=0.01)
    np.testing.assert_array_equal(after, seen_then)
