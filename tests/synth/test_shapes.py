"""Shapes that objects are built from: closed, with normals that point outwards."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")
from gfla_cli.synth.objects.shapes import box, joined, lathe, surface_patch, tube
from gfla_cli.synth.renderer.camera import rotation_matrix


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
