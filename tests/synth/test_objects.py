"""Objects: their shapes are closed, every kind of chair can be built, and views show the right side."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import cv2
import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")
from gfla_cli.datasets.correspondence import correspond
from gfla_cli.synth.objects.chair_backs import BackPlane, BackStyle, back
from gfla_cli.synth.objects.chairs import Family, sample_chair
from gfla_cli.synth.objects.finishes import FinishKind, finish
from gfla_cli.synth.objects.objects import build_object, object_camera, photograph_object, sample_object_light
from gfla_cli.synth.objects.shapes import box, joined, lathe, surface_patch, tube
from gfla_cli.synth.renderer.camera import rotation_matrix
from gfla_cli.synth.renderer.render import Light

LIGHT = Light(np.array([0.2, 0.9, 0.3]), np.full(3, 0.3), np.full(3, 0.7), floor=False)


def rng(*seed):
    return np.random.default_rng(list(seed) or [0])


def curved_patch():
    u, v = np.meshgrid(np.linspace(-1, 1, 6), np.linspace(0, 1, 5), indexing="ij")
    return surface_patch(np.stack([u, v, -0.2 * u * u], -1), 0.1)


RING = np.stack([np.cos(np.arange(0, 6, 0.5)), np.zeros(12), np.sin(np.arange(0, 6, 0.5))], axis=1)
SHAPES = {
    "box": (box(2, 3, 4), 24),
    "round box": (box(2, 3, 4, 0.3, rounds=3, cells=3), 23.3),
    "tube": (tube([[0, 0, 0], [0, 4, 0]], 0.5, sides=32), np.pi),
    "square bar": (tube([[0, 0, 0], [0, 4, 0]], 0.5, square=True), 4),
    "flat bar": (tube([[0, 0, 0], [0, 4, 0]], 0.5, square=True, flat=0.5), 2),
    "bent tube": (tube([[0, 0, 0], [0, 2, 0], [1, 3, 0]], [0.2, 0.2, 0.1]), None),
    "ring": (tube(RING, 0.1, closed=True), None),
    "turned": (lathe([(0, 0), (1, 0), (1, 2), (0, 2)], sides=64), 2 * np.pi),
    "turned outline": (lathe([(0, 0), (1, 0), (1, 2), (0, 2)], [(1, 1), (1, -1), (-1, -1), (-1, 1)]), 8),
    "surface patch": (curved_patch(), None),
    "bent": (box(2, 3, 0.4, 0.1, cells=5).deformed(lambda p: p + [0, 0, 1] * p[:, :1] ** 2 * 0.2), 2.34),
    "mirrored": (tube([[0, 0, 0], [0, 2, 0], [1, 3, 0]], 0.2).mirrored(), None),
    "turned around": (box(2, 3, 4).rotated(rotation_matrix([0.3, 1, 0.2])), 24),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_closed_and_turn_the_way_their_normals_point(name):
    shape, volume = SHAPES[name]
    corners = shape.vertices[shape.faces]
    turn = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(turn, axis=1)
    alike = (turn * shape.normals[shape.faces].mean(axis=1)).sum(axis=1)[area > 1e-8] / area[area > 1e-8]
    assert alike.min() > 0.7
    np.testing.assert_allclose(np.linalg.norm(shape.normals, axis=1), 1, atol=1e-6)
    enclosed = (corners[:, 0] * np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert enclosed > 0
    if volume is not None:
        assert enclosed == pytest.approx(volume, rel=0.01)


def test_joined_shapes_keep_their_faces():
    both = joined([box(1, 1, 1), box(1, 1, 1).moved(x=5)])
    assert both.vertices[both.faces][..., 0].max() == pytest.approx(5.5)
    assert len(both.uv) == len(both.faces) == 2 * len(box(1, 1, 1).faces)


@pytest.mark.parametrize("family", get_args(Family))
def test_every_family_gives_chairs_that_fill_the_frame_and_stay_in_it(family):
    for seed in range(3):
        chair = sample_chair(rng(seed), family)
        assert np.isfinite(chair.vertices).all()
        drawn = chair.vertices[chair.mesh.drawn]
        for azimuth in (0, 50, 120):
            seen = object_camera(chair, azimuth, 20, 1).project(drawn)[:, :2]
            assert seen.min() > 0.03
            assert seen.max() < 0.97
        assert np.ptp(seen, axis=0).max() > 0.5


@pytest.mark.parametrize("style", get_args(BackStyle))
def test_every_back_can_be_built(style):
    plane = BackPlane(bottom=4.5, top=9, width=4, flare=1.1, z=-2, recline=0.2, wrap=0.3)
    points = joined([shape for shape, _ in back(rng(), style, plane, "frame", 0.3)]).vertices
    assert np.isfinite(points).all()
    assert 3.5 < points[:, 1].min() < 7.5
    assert 8 < points[:, 1].max() < 10


@pytest.mark.parametrize("kind", get_args(FinishKind))
def test_every_finish_is_a_texture_with_contrast_enough_to_follow(kind):
    made = finish(rng(), kind)
    finest = made.material.texture.texels[: made.material.texture.side**2 * 4].reshape(-1, 4)
    assert made.tile > 0
    assert finest[:, :3].std(axis=0).max() > 0.3


def test_a_chair_is_a_function_of_its_generator():
    one, same, other = (sample_chair(rng(seed)) for seed in (4, 4, 5))
    assert np.array_equal(one.vertices, same.vertices)
    assert np.array_equal(one.mesh.materials.texels, same.mesh.materials.texels)
    assert one.vertices.shape != other.vertices.shape or not np.array_equal(one.vertices, other.vertices)


def arrow():
    """A grey box with a red block on its front and a blue one on its left."""
    paint = [replace(finish(rng(k), "paint"), tile=4.0) for k in range(3)]
    colours = np.array([[0.5, 0.5, 0.5], [1, 0, 0], [0, 0, 1]])
    white = finish(rng(), "dark").material.texture
    done = [
        replace(p, material=replace(p.material, tint=c * 40, texture=white))
        for p, c in zip(paint, colours, strict=True)
    ]
    return build_object(
        [(box(4, 4, 4), done[0]), (box(2, 2, 1).moved(z=2.5), done[1]), (box(1, 2, 2).moved(x=2.5), done[2])]
    )


def test_azimuth_0_is_the_front_and_90_the_left_side():
    item = arrow()
    front, left, behind = (photograph_object(item, a, 10, LIGHT, 64).image[32, 32].astype(int) for a in (0, 90, 180))
    assert front[0] > front[2] + 50
    assert left[2] > left[0] + 50
    assert abs(behind[0] - behind[2]) < 20
    # At 40 degrees the front turns to the left of the image.
    row = photograph_object(item, 40, 10, LIGHT, 64).image[32].astype(int)
    assert np.argmax(row[:, 0] - row[:, 2]) < np.argmax(row[:, 2] - row[:, 0])


def test_a_view_has_a_white_background_a_mask_and_its_surface():
    view = photograph_object(sample_chair(rng(1)), 40, 10, LIGHT, 64)
    assert view.image.shape == (64, 64, 3)
    assert (view.image[view.mask == 0] == 255).all()
    assert (view.image[0] == 255).all()
    assert view.surface.shape == (32, 32, 3)
    seen = ~np.isnan(view.surface[..., 0])
    assert 0.8 < seen.sum() / (view.mask[::2, ::2] > 127).sum() < 1.2


def test_a_contact_shadow_is_there_only_when_asked_for():
    chair, light = sample_chair(rng(1)), sample_object_light(rng(2))
    without, shadowed = (photograph_object(chair, 40, 20, replace(light, floor=f), 64) for f in (False, True))
    paper = without.mask == 0
    assert (without.image[paper] == 255).all()
    assert shadowed.image[paper].min() < 230


def test_correspondences_of_two_views_lead_to_the_same_colours():
    errors, hidden = [], 0
    for seed in range(4):
        draw = rng(8, seed)
        chair, light = sample_chair(draw, "armchair"), sample_object_light(draw)
        source, target = (photograph_object(chair, a, 10, light, 128) for a in (20, 60))
        known = correspond(source.surface, target.surface, 32, 0.15)
        inside = cv2.erode((target.mask == 255).astype(np.uint8), np.ones((5, 5))) > 0
        place = (np.arange(32) * 4 + 2.75).astype(np.float32)
        x, y = np.meshgrid(place, place)
        moved = x + known.offset[0] * 128, y + known.offset[1] * 128
        here = cv2.remap(target.image, x, y, cv2.INTER_LINEAR).astype(float)
        there = cv2.remap(source.image, *(m.astype(np.float32) for m in moved), cv2.INTER_LINEAR).astype(float)
        seen = (known.visible[0] == 1) & inside[(y.astype(int), x.astype(int))]
        errors.append(np.abs(here - there).mean(axis=-1)[seen])
        hidden += int((known.visible[0] == -1).sum())
    assert np.median(np.concatenate(errors)) < 8
    assert hidden > 20  # some of what the target shows, the source does not


def test_the_two_sides_of_a_thin_board_are_different_points():
    board = build_object([(box(4, 4, 0.05), finish(rng(), "plastic"))])
    front, behind = (photograph_object(board, a, 0, LIGHT, 64) for a in (0, 180))
    known = correspond(front.surface, behind.surface, 16, 0.15)
    assert (known.visible[0][6:10, 6:10] != 1).all()
