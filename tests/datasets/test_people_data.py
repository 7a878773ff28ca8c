"""Rendered pairs: correspondences, the detector's convention, the render cache."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from drawn_people import drawn_sample

from gfla_cli.conditioning.structure import heatmap_batch, heatmaps
from gfla_cli.datasets.augment import as_detected, misdetected
from gfla_cli.datasets.correspondence import correspond
from gfla_cli.datasets.people import HeadRenderPlan, PeoplePairs, RenderedPeople, RenderPlan
from gfla_cli.datasets.render_cache import RenderCache
from gfla_cli.person.body import head_box, torso_length
from gfla_cli.person.pose import Pose
from gfla_cli.training.batch import GroundTruthFlow
from gfla_cli.training.data import open_training_data
from gfla_cli.training.recipe import recipe
from gfla_cli.training.tasks.pose import PoseBatch


def patch_of_body(n, left, top, width=16, height=32):
    """A surface map that shows a flat body: rest x, y in decimetres, 0.25 dm a pixel."""
    surface = np.full((n, n, 3), np.nan, np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / 4
    surface[top : top + height, left : left + width] = np.stack([x - 2, y, np.zeros_like(x)], axis=-1)
    return surface


def test_a_moved_body_is_found_where_it_was():
    known = correspond(patch_of_body(64, 10, 16), patch_of_body(64, 30, 20), grid=32)
    body = known.visible[0] == 1
    inner = np.zeros_like(body)
    inner[11:25, 16:22] = True  # well inside the target's body
    assert body[inner].all()
    np.testing.assert_allclose(known.offset[0][inner], -20 / 64, atol=1 / 64)
    np.testing.assert_allclose(known.offset[1][inner], -4 / 64, atol=1 / 64)
    assert (known.weight[0][inner] == 1).all()


def test_background_corresponds_to_itself_unless_the_source_hides_it():
    known = correspond(patch_of_body(64, 10, 16), patch_of_body(64, 30, 20), grid=32)
    assert known.visible[0, 2, 2] == 1
    assert known.weight[0, 2, 2] > 0
    assert (known.offset[:, 2, 2] == 0).all()
    assert known.visible[0, 12, 6] == 0  # the source's body stands there
    assert known.weight[0, 12, 6] == 0


def test_a_hidden_part_takes_the_nearest_seen_one_with_less_weight():
    source = patch_of_body(64, 10, 16)
    source[32:] = np.nan  # the lower half is outside of the image
    known = correspond(source, patch_of_body(64, 10, 16), grid=32)
    hidden = known.visible[0] == -1
    assert hidden[18:24, 5:12].all()
    assert known.weight[0][hidden].min() > 0
    assert known.weight[0][hidden].max() < 1


def test_a_source_without_a_person_gives_no_correspondence():
    empty = np.full((64, 64, 3), np.nan, np.float32)
    known = correspond(empty, patch_of_body(64, 10, 16), grid=32)
    assert np.isfinite(known.offset).all()
    assert (known.weight[0, 10:20, 6:12] == 0).all()


def test_known_offsets_are_pooled_by_weight():
    offset = torch.zeros(1, 2, 4, 4)
    offset[..., 0, 0] = 0.5
    weight = torch.zeros(1, 1, 4, 4)
    weight[..., 0, 0] = 1
    visible = torch.full((1, 1, 4, 4), 1.0)
    visible[..., 3, 3] = -1
    pooled, pooled_weight, seen = GroundTruthFlow(offset, weight, visible).at(2, 2)
    assert pooled[0, :, 0, 0].tolist() == [1, 1]  # half the frame is one pixel of two
    assert pooled_weight[0, 0].tolist() == [[0.25, 0], [0, 0]]
    assert seen[0, 0].tolist() == [[1, 1], [1, -1]]


def test_the_window_follows_the_person():
    mask = torch.zeros(2, 1, 16, 32)
    mask[0, :, :, 20:26] = 1
    picture = torch.arange(32.0).expand(2, 3, 16, 32)
    empty = torch.zeros(2, 3, 16, 32)
    batch = PoseBatch(picture, picture, *[empty] * 4, mask, *[empty] * 2, GroundTruthFlow(empty, empty, empty))
    (window,) = batch.crop_around_person(0.5, picture)
    assert window.shape == (2, 3, 16, 16)
    assert window[0, 0, 0, 0] <= 20
    assert window[0, 0, 0, -1] >= 25
    assert window[1].isfinite().all()  # no person: any window


def test_heat_maps_equal_the_released_ones(golden):
    expected = golden("heatmaps")
    market = expected["points_128x64_yx"][:, ::-1].astype(np.float32)
    made = heatmaps(market, (128, 64))
    np.testing.assert_allclose(made[:, ::4, ::4], expected["heatmaps_128x64_every_fourth_pixel"], rtol=2e-7, atol=1e-9)
    fashion = expected["points_256x176_yx"][:, ::-1].astype(np.float32)
    fashion[:, 0] = np.where(fashion[:, 0] >= 0, fashion[:, 0] * 256 / 176, -1)
    found = heatmaps(fashion, (256, 256))
    wanted = expected["heatmaps_256x256_every_eighth_pixel"]
    np.testing.assert_allclose(found[:, ::8, ::8], wanted, rtol=2e-7, atol=1e-9)
    assert not ((found > 0) & (found < np.finfo(np.float32).tiny)).any()  # slow numbers
    batch = heatmap_batch(torch.from_numpy(fashion)[None], (256, 256))[0]
    torch.testing.assert_close(batch, torch.from_numpy(found), atol=1e-6, rtol=0)


def test_a_detector_sees_shoulders_above_the_joints_and_missing_stays_missing():
    points = np.zeros((18, 3), np.float32)
    points[:, 2] = 1
    points[[1, 2, 5], :2] = (100, 100), (60, 100), (140, 100)
    points[[8, 11], :2] = (80, 200), (120, 200)
    points[3] = -1, -1, 0
    moved = as_detected(points)
    assert moved[1].tolist() == pytest.approx([100, 93, 1])
    assert moved[2, 0] > 60
    assert moved[2, 1] == pytest.approx(93)
    assert moved[3].tolist() == [-1, -1, 0]
    assert np.array_equal(as_detected(points, 0), points)


@pytest.mark.shared
def test_people_are_rendered_once_and_read_back(shared, tmp_path):
    pytest.importorskip("numba")
    plan = RenderPlan(characters=2, views=2, size=128)
    people = RenderedPeople(shared / "humans", tmp_path, plan)
    first = people.view(0, 1)
    (file,) = people.cache.folder.iterdir()
    written = file.stat().st_mtime_ns
    again = RenderedPeople(shared / "humans", tmp_path, plan).view(0, 1)
    assert np.array_equal(first.view.image, again.view.image)
    assert file.stat().st_mtime_ns == written
    assert first.view.image.shape == (128, 128, 3)
    assert first.view.surface.shape == (64, 64, 3)
    assert (first.view.mask > 0).any()
    pairs = PeoplePairs(shared / "humans", tmp_path, plan, size=64, grid=32)
    pair = pickle.loads(pickle.dumps(pairs))[5]  # as a worker gets it
    assert pair.source_image.shape == pair.target_image.shape == (64, 64, 3)
    assert pair.correspondence.offset.shape == (2, 32, 32)
    assert (pair.correspondence.weight[0] == 1).any()


@pytest.mark.parametrize(
    "harm",
    [lambda whole: b"", lambda whole: whole[:-400], lambda whole: b"PK" + bytes(300),
     lambda whole: whole[:200] + bytes(300) + whole[500:]],
    ids=["empty", "cut off", "zeros", "a hole"],
)  # fmt: skip
def test_a_damaged_sample_is_rendered_again(tmp_path, harm):
    rendered = []
    cache = RenderCache(
        tmp_path, "albums", RenderPlan(), 6, lambda number: rendered.append(number) or drawn_sample(number)
    )
    before, _ = cache.read(3, 0)
    (file,) = cache.folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(harm(whole))
    again, rows = cache.read(3, 0)
    assert np.array_equal(before.image, again.image)
    assert rows["points"].shape == (18, 3)
    assert rendered == [3, 3]
    assert cache.read(3, 1)
    assert len(rendered) == 2


@pytest.mark.shared
def test_joints_behind_the_body_are_trained_on_as_detectors_give_them(shared, tmp_path):
    plan = RenderPlan(characters=2, views=3)
    data = PeoplePairs(shared / "humans", tmp_path, plan, size=64, grid=16)
    pairs = [data[i] for i in range(12)]
    body = [joint for joint in range(18) if joint not in (0, 14, 15, 16, 17)]
    hidden = 0
    for sample, view in ((a, v) for a in range(2) for v in range(3)):
        stored = data.people.view(sample, view).points[body]
        hidden += int(((stored[:, 0] >= 0) & (stored[:, 2] == 0)).sum())
    assert hidden  # the renderer knows them, marked as not seen
    # Shaking loses one in a hundred, the border of the image some more.
    inside = [pair.target_points[body, 0] >= 0 for pair in pairs]
    assert np.mean(inside) > 0.85


@pytest.mark.shared
def test_a_share_of_the_pairs_shows_heads_from_near(shared, tmp_path):
    plan = RenderPlan(characters=1, views=2, size=128)
    near = PeoplePairs(shared / "humans", tmp_path, plan, size=128, grid=16, heads=1.0)
    near.head_crops = RenderedPeople(shared / "humans", tmp_path, HeadRenderPlan(characters=2, views=2, size=128))
    pairs = [near[i] for i in range(8)]
    sharp = [cv2.Laplacian(pair.source_image, cv2.CV_32F).std() for pair in pairs]
    assert max(sharp) > 2 * min(sharp)  # some sources are as coarse as heads in small images
    assert not list(tmp_path.glob("albums-*"))
    shown = np.concatenate([pair.target_points for pair in pairs])
    assert (shown.reshape(-1, 18, 3)[:, [9, 10, 12, 13], 0] < 0).all()  # no knees, no ankles
    poses = [Pose(pair.target_points, (128, 128)) for pair in pairs]
    boxes = [head_box(pose, torso_length(pose)) for pose in poses]
    sides = [box[3] - box[1] for box in boxes if box is not None]
    assert len(sides) > 4
    assert np.median(sides) == pytest.approx(128, rel=0.25)  # what it is at inference, and in training


@pytest.mark.shared
def test_a_share_of_the_pairs_shows_halves_from_near(shared, tmp_path):
    plan = RenderPlan(characters=2, views=3, size=256)
    near, far = (
        PeoplePairs(shared / "humans", tmp_path, plan, size=128, grid=32, halves=share, depth=True) for share in (1, 0)
    )
    pairs, whole = ([data[i] for i in range(16)] for data in (near, far))
    assert len(list(tmp_path.iterdir())) == 1  # the same rendered images serve both
    for pair in pairs:
        assert pair.source_image.shape == pair.target_image.shape == (128, 128, 3)
        assert pair.correspondence.offset.shape == (2, 32, 32)
        assert pair.target_points.shape == (18, 4)
    torsos = [[torso_length(Pose(pair.target_points[:, :3], (128, 128))) for pair in kind] for kind in (pairs, whole)]
    assert np.median(torsos[0]) > 1.3 * np.median(torsos[1])
    # A joint lies on the body that the image shows.
    on_body = [
        pair.target_mask[int(y), int(x)] > 0 for pair in pairs for x, y, seen, _ in pair.target_points if seen > 0
    ]
    assert np.mean(on_body) > 0.85


@pytest.mark.shared
def test_halves_are_trained_on_from_images_of_twice_the_size(shared, tmp_path):
    trained = recipe("people")
    for halves, size in ((0.5, 512), (0.0, 256)):
        stage = trained.stages[-1]
        data = open_training_data(replace(trained, halves=halves), shared / "humans", tmp_path)(stage)
        assert data.people.plan.size == size
        assert data.size == 256
        assert data.head_crops.plan.size == 256  # as before, so that the cache of an older training serves


def test_head_crops_have_a_folder_of_their_own():
    assert RenderedPeople(Path("pack"), Path("cache"), HeadRenderPlan()).cache.folder.name.startswith("heads-1200x6-")


def test_depths_move_along_with_joints():
    points = np.zeros((18, 4), np.float32)
    points[:, 2] = 1
    points[[1, 8, 11], :2] = (100, 100), (80, 200), (120, 200)
    points[[1, 8, 11], 3] = -10, 0, 0
    moved = as_detected(points)
    assert moved[1].tolist() == pytest.approx([100, 93, 1, -10.7])
    assert np.array_equal(moved[:, :3], as_detected(points[:, :3]))


def test_joints_are_as_wrong_as_a_detector_has_them():
    rng = np.random.default_rng(0)
    points = np.zeros((18, 4), np.float32)
    points[:] = 100, 100, 1, 0
    points[[2, 5], 0] = 80, 120  # facing the camera
    points[17] = -1, -1, 0, 0
    wrong = np.stack([misdetected(points, 50, 1.0, rng) for _ in range(500)])
    assert (wrong[:, 17, :2] == -1).all()  # what is missing stays missing
    errors = (wrong - points)[:, :, [0, 1, 3]] / 50
    assert np.abs(errors[:, 1, 2]).max() == 0  # the neck, from which depths count
    spread = errors.std(axis=0)
    assert spread[2, 2] < spread[3, 2] < spread[4, 2]  # shoulder, elbow, wrist
    assert 0.15 < spread[4, 2] < 0.35
    assert 0.02 < spread[2, 0] < 0.06
    assert np.corrcoef(errors[:, 3, 2], errors[:, 4, 2])[0, 1] > 0.4  # a wrist is wrong with its elbow
    assert np.array_equal(misdetected(points, 50, 0.0, rng), points)


@pytest.mark.shared
def test_joints_come_with_depths_for_those_who_ask(shared, tmp_path):
    plan = RenderPlan(characters=2, views=3, size=128)
    plain = PeoplePairs(shared / "humans", tmp_path, plan, size=64, grid=16)
    deep = PeoplePairs(shared / "humans", tmp_path, plan, size=64, grid=16, depth=True)
    pairs = [deep[i] for i in range(24)]
    assert plain[3].source_points.shape == (18, 3)
    assert np.array_equal(plain[3].source_image, pairs[3].source_image)
    assert np.array_equal(plain[3].source_points, pairs[3].source_points[:, :3])
    depths = np.concatenate([[pair.source_points[:, 3], pair.target_points[:, 3]] for pair in pairs])
    unknown = np.isnan(depths)
    assert (unknown.all(axis=1) == unknown.any(axis=1)).all()  # of all joints or of none
    assert 0 < unknown.mean() < 0.4
    known = depths[~unknown.any(axis=1)]
    assert 2 < np.abs(known - known[:, 1:2]).mean() < 12  # pixels of a frame of 64
