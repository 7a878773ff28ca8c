"""Results as large as the photograph: size, place, background, and what is refused."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from drawn_landmarks import drawn_body
from tiny_models import save_tiny, tiny

from gfla_cli.errors import UsageError
from gfla_cli.geometry.crop import Crop
from gfla_cli.io.image import from_planes, read_image, write_image
from gfla_cli.person.body import body_crop
from gfla_cli.person.pose import MISSING, Pose
from gfla_cli.pipelines.canvas import Canvas
from gfla_cli.pipelines.frame_layers import Layers, body_without_pattern
from gfla_cli.pipelines.framing import LARGEST_FRAME, parse_background, parse_size
from gfla_cli.pipelines.pose_transfer import PoseTransfer

SIZE = (600, 500)


def body(shift=(0, 0)):
    points = drawn_body((256, 256), 32.0)
    points[:, :2] = points[:, :2] * 1.6 + (40 + shift[0], 100 + shift[1])
    return Pose(points, SIZE)


class Found(PoseTransfer):
    """Always finds the same person, in the same pixels."""

    def _people(self, source, image=None):
        return [body()]

    def _cover(self, image, scale, pose, others):
        if not self.session.config.pixel_blend:
            return None
        pose = pose.cropped(scale)
        cover = np.zeros(image.shape[:2], np.float32)
        left, top, right, bottom = (round(side) for side in pose.box)
        cover[top:bottom, left:right] = 1
        return cover


class Counting(Found):
    """Knows what is in a file, and counts how often a person is cut out."""

    def __init__(self, *arguments, **execution):
        super().__init__(*arguments, **execution)
        self.people, self.covered = [body()], 0

    def _people(self, source, image=None):
        return self.people

    def _cover(self, *arguments):
        self.covered += 1
        return super()._cover(*arguments)


@pytest.fixture(scope="module")
def photograph():
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = save_tiny(tmp_path_factory.mktemp("models") / "blend", tiny())
    return Found(folder, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A model that does not tell its people from the background."""
    folder = save_tiny(tmp_path_factory.mktemp("models") / "plain", tiny(pixel_blend=False))
    return Found(folder, device="cpu", precision="fp32")


def test_the_result_is_the_whole_photograph_with_the_joints_in_its_pixels(model, photograph):
    target = body(shift=(15, 0))
    result = model.transfer(photograph, target, align=False, crop=None)
    assert result.frame.image.shape == (64, 64, 3)
    result = model.transfer(photograph, target)
    assert result.image.shape == result.source_image.shape == photograph.shape
    np.testing.assert_array_equal(result.source_image, photograph)
    np.testing.assert_allclose(result.source_pose[:, :2], body().points[:, :2], atol=0.01)
    assert (result.image != photograph).any()


def test_bodies_have_no_pattern_and_heads_keep_their_detail(model, plain, photograph):
    for which, smoothed in ((model, True), (plain, False)):
        one = which.prepare(photograph, body(shift=(15, 0)))
        inputs = which._inputs([one])
        (image,), (planes,) = which.session.image_and_layers(*inputs)
        wanted = body_without_pattern(image, Layers.unpacked(planes))[0] if smoothed else image
        (result,) = which.generate([one])
        np.testing.assert_array_equal(result.frame.drawn, from_planes(wanted[None]))
        assert (from_planes(wanted[None]) != from_planes(image[None])).any() == smoothed
        if result.frame.head is not None:
            head, drawn = result.frame.head
            np.testing.assert_array_equal(drawn, from_planes(which.session.image(*which._inputs([head]))))
    assert result.frame.head is not None


def test_the_person_of_a_file_is_cut_out_once_for_all_poses(tmp_path, photograph):
    model = Counting(save_tiny(tmp_path / "model", tiny()), device="cpu", precision="fp32")
    file, other = tmp_path / "source.png", tmp_path / "other.png"
    for path, image in ((file, photograph), (other, photograph[::-1])):
        write_image(path, np.ascontiguousarray(image))
    poses = [body((shift, 0)) for shift in (0, 15, 30)]
    made = [model.transfer(file, pose).image for pose in poses]
    assert model.covered == 1
    fresh = Counting(save_tiny(tmp_path / "fresh", tiny()), device="cpu", precision="fp32")
    np.testing.assert_array_equal(fresh.transfer(file, poses[1]).image, made[1])
    # Another size, person or image, a file that changed, and an array, whose pixels may have changed.
    model.transfer(file, poses[0], size=300)
    assert model.covered == 2
    model.people = [body()]
    model.transfer(file, poses[0], size=300)
    assert model.covered == 3
    flipped = model.transfer(other, poses[0]).image
    assert model.covered == 4
    write_image(file, np.ascontiguousarray(photograph[::-1, ::-1]), overwrite=True)
    model.transfer(file, poses[0])
    assert model.covered == 5
    for _ in range(2):
        np.testing.assert_array_equal(model.transfer(np.ascontiguousarray(photograph[::-1]), poses[0]).image, flipped)
    assert model.covered == 7


def test_a_model_that_nobody_uses_is_freed_at_once(tmp_path, photograph):
    """Networks are large. In a cycle of references they would stay until Python looks for cycles."""
    model = Found(save_tiny(tmp_path / "model", tiny()), device="cpu", precision="fp32")
    write_image(tmp_path / "source.png", photograph)
    model.transfer(tmp_path / "source.png", body())
    session = weakref.ref(model.session)
    gc.disable()
    try:
        del model
        assert session() is None
    finally:
        gc.enable()


def test_far_from_the_person_nothing_changes(model, photograph):
    result = model.transfer(photograph, body()).image
    np.testing.assert_array_equal(result[:, :20], photograph[:, :20])
    np.testing.assert_array_equal(result[:20], photograph[:20])


def test_the_frame_alone_is_as_large_as_the_source_shows_it(model, photograph):
    whole = model.prepare(photograph, body()).canvas
    left, top, right, bottom = whole.place.box
    frame = model.transfer(photograph, body(), crop=True)
    assert frame.image.shape[0] - (bottom - top) < 2
    assert frame.image.shape[1] - (right - left) < 2


@pytest.mark.parametrize("size", [64, 200])
def test_a_size_scales_the_frame_and_with_it_the_photograph(model, photograph, size):
    frame = model.transfer(photograph, body(), crop=True, size=size).image
    assert abs(max(frame.shape) - size) <= 1
    _, top, _, bottom = model.prepare(photograph, body()).canvas.place.box
    whole = model.transfer(photograph, body(), size=size).image
    assert abs(whole.shape[0] - SIZE[0] * size / (bottom - top)) <= 1


@pytest.mark.parametrize(
    ("factor", "size", "said"),
    [
        (1, "source", None),
        (1, 200, None),
        (1, 1000, "enlarges the source 2.4 times; that adds no detail"),
        (0.1, "source", "shows the person in 42 pixels, so the result is small; --size 64 enlarges it"),
        (0.1, 64, "enlarges the source 1.5 times"),
    ],
)
def test_a_source_with_less_detail_than_the_result_is_said(model, photograph, monkeypatch, factor, size, said):
    scale = Crop.whole(photograph.shape, (round(SIZE[0] * factor), round(SIZE[1] * factor)))
    small = body().cropped(scale)
    monkeypatch.setattr(model, "_people", lambda source, image: [small])
    notes = model.prepare(scale.image(photograph), small, size=size).notes
    assert [note for note in notes if "enlarges" in note] == [note for note in notes if said and said in note]
    assert any("enlarges" in note for note in notes) is (said is not None)


def test_of_a_source_that_is_cut_and_a_whole_pose_only_the_source_is_named(model, photograph, monkeypatch):
    half = body().points.copy()
    half[[9, 10, 12, 13]] = MISSING
    monkeypatch.setattr(model, "_people", lambda source, image=None: [Pose(half, SIZE)])
    said = [note for note in model.prepare(photograph, body()).notes if "no feet" in note]
    assert said == ["the source shows no feet, so the result is cut there, too"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [({}, True), ({"crop": False}, False), ({"background": "white"}, False), ({"size": None}, False)],
)
def test_a_background_that_is_drawn_is_said(model, photograph, settings, said):
    notes = model.prepare(photograph, body((40, 0)), align=False, **settings).notes
    line = "with --no-align the background is drawn, too; --background white sets a clean one"
    assert (line in notes) is said
    assert line not in model.prepare(photograph, body((40, 0))).notes


def test_a_pose_for_which_the_source_has_no_room_is_said(model, photograph, monkeypatch):
    narrow = photograph[:, 90:310]
    source = Pose(body().points - np.float32((90, 0, 0)), narrow.shape[:2])
    spread = source.points.copy()
    spread[[3, 4, 6, 7], 1] = spread[2, 1]
    spread[[3, 4, 6, 7], 0] = spread[2, 0] - 54, spread[2, 0] - 106, spread[5, 0] + 54, spread[5, 0] + 106
    monkeypatch.setattr(model, "_people", lambda image, loaded=None: [source])
    said = "the source has too little room for this pose, so the person is cut off; --crop shows all of it"
    for crop, pose, expected in ((None, spread, [said]), (True, spread, []), (None, source.points, [])):
        notes = model.prepare(narrow, Pose(pose, source.size), crop=crop).notes
        assert [note for note in notes if "room" in note] == expected


def test_without_a_size_the_result_is_the_networks_frame(model, photograph):
    result = model.transfer(photograph, body(), size=None)
    np.testing.assert_array_equal(result.image, result.frame.image)
    assert result.image.shape == (64, 64, 3)


def test_a_large_source_is_reduced_to_the_largest_frame(model):
    factor = 6
    points = body().points.copy()
    points[:, :2] *= factor
    large = Pose(points, (SIZE[0] * factor, SIZE[1] * factor))
    crop = body_crop([large], (64, 64), 1.0)
    photograph = np.zeros((*large.size, 3), np.uint8)
    canvas = Canvas.of(photograph, crop, crop, "source", whole=True, cover=lambda image, scale: None)
    left, top, right, bottom = canvas.place.box
    assert abs(max(right - left, bottom - top) - LARGEST_FRAME) <= 1
    assert canvas.background.shape[0] < large.size[0]


def test_backgrounds(model, photograph):
    white = model.transfer(photograph, body(), background="white").image
    assert (white[:20] == 255).all()
    clear = model.transfer(photograph, body(), background="transparent").image
    assert clear.shape == (*SIZE, 4)
    assert (clear[:20, :, 3] == 0).all()
    assert clear[..., 3].max() > 0
    share = clear[..., 3:].astype(float) / 255
    np.testing.assert_allclose(share * clear[..., :3] + (1 - share) * 255, white, atol=2)  # white is mixed in once
    other = np.full((300, 250, 3), (10, 200, 30), np.uint8)
    assert (model.transfer(photograph, body(), background=other).image[:20] == (10, 200, 30)).all()


def test_backgrounds_of_a_pose_that_stays_where_it_is(model, photograph):
    """Its frame belongs to another image, so there is no background to keep, but any other may be given."""

    def made(background):
        return model.transfer(photograph, body((40, 0)), align=False, background=background).image

    alpha = made("transparent")[..., 3:]
    assert alpha.min() < 128
    black = made(np.zeros((8, 8, 3), np.uint8))
    np.testing.assert_allclose(made("white").astype(float) - black, np.broadcast_to(255.0 - alpha, black.shape), atol=2)


@pytest.mark.parametrize("background", ["white", "transparent", np.zeros((8, 8, 3), np.uint8)])
def test_a_model_that_cannot_separate_people_says_so(plain, photograph, background):
    with pytest.raises(UsageError, match="does not separate"):
        plain.transfer(photograph, body(), background=background)


def test_a_model_without_a_matte_fades_its_frame_into_the_photograph(plain, photograph):
    result = plain.transfer(photograph, body()).image
    assert result.shape == photograph.shape
    np.testing.assert_array_equal(result[:, :5], photograph[:, :5])
    assert (result != photograph).any()


def test_a_target_of_another_image_has_a_frame_of_its_own(model, photograph):
    result = model.transfer(photograph, body(shift=(10, 5)), align=False)
    assert result.image.shape[0] > 64
    assert result.image.shape == result.source_image.shape


@pytest.mark.parametrize("text", ["0", "31", "4096", "-1", "large", "1e3", ""])
def test_sizes_that_are_none_are_refused(text):
    with pytest.raises(UsageError, match="not a size"):
        parse_size(text)
    assert parse_size("source") == "source"
    assert parse_size("512") == 512


def test_transparency_needs_a_format_that_has_it(tmp_path, photograph):
    with pytest.raises(UsageError, match="no transparency"):
        parse_background("transparent", tmp_path / "x.jpg")
    assert parse_background("transparent", tmp_path / "x.png") == "transparent"
    write_image(tmp_path / "wall.png", photograph)
    np.testing.assert_array_equal(parse_background(str(tmp_path / "wall.png"), None), photograph)
    clear = np.dstack([photograph, photograph[..., 0]])
    write_image(tmp_path / "clear.png", clear)
    assert read_image(tmp_path / "clear.png").shape == photograph.shape
    with pytest.raises(UsageError, match="no transparency"):
        write_image(tmp_path / "clear.jpg", clear)
