"""Volumes along the rays of a camera: two of one object become one, and say whether they show the same object."""

from __future__ import annotations

import numpy as np
import pytest

from gfla_cli.geometry.volume import NEAREST, USUAL_DISTANCE, RayVolume, agreement, fused
from gfla_cli.synth.renderer.camera import view_rotation

DEPTHS, SIDE = 24, 32
EMPTY, SOLID = -8.0, 8.0


def seen(points, azimuth, elevation=10.0, hidden=None):
    """The volume of an object of balls at points (n, 3), by a camera that looks at it.

    `hidden` (n,): balls that this camera does not see, as something stands in front of them.
    """
    z = NEAREST * (1 - 2 * (np.arange(DEPTHS) + 0.5) / DEPTHS)[:, None, None]
    away = (USUAL_DISTANCE - z) / USUAL_DISTANCE
    across = (np.arange(SIDE) + 0.5) * 2 / SIDE - 1
    place = np.stack(np.broadcast_arrays(across * away, -across[:, None] * away, z), axis=-1)
    density, clear = np.full(place.shape[:3], EMPTY), np.ones(place.shape[:3])
    for number, point in enumerate(points @ view_rotation(azimuth, elevation).T):
        near = np.linalg.norm(place - point, axis=-1) < 0.2
        unseen = hidden is not None and hidden[number]
        density[near], clear[near] = (EMPTY, 0) if unseen else (SOLID, 1)
    return RayVolume(density.astype(np.float32), clear.astype(np.float32), np.zeros(3, np.float32))


def turn(source, target, elevation=10.0):
    return view_rotation(target, elevation) @ view_rotation(source, elevation).T


@pytest.fixture
def points():
    return np.array([[0.5, 0.2, 0.1], [-0.5, 0.2, 0.1], [0.0, -0.4, 0.3], [0.1, 0.5, -0.4]])


def test_what_one_camera_does_not_see_comes_from_the_other(points):
    whole = seen(points, 40)
    partly = seen(points, 40, hidden=[False, True, False, False])
    joined = fused(partly, seen(points, 320), turn(40, 320))
    core = whole.density > 0
    assert (partly.density[core] > 0).mean() < 0.8
    assert (joined.density[core] > 0).mean() > 0.9
    assert (joined.density[~core] > 0).mean() < 0.02
    assert joined.density.dtype == joined.clear.dtype == np.float32


def test_a_volume_and_itself_stay_as_they_were(points):
    own = seen(points, 60)
    joined = fused(own, own, np.eye(3))
    np.testing.assert_allclose(joined.density, own.density, atol=0.5)  # it is made a little denser
    assert agreement(own, own, np.eye(3)) == pytest.approx(1, abs=0.01)


def test_rays_end_at_the_surface(points):
    joined = fused(seen(points, 40), seen(points, 320), turn(40, 320))
    assert np.all(np.diff(joined.clear, axis=0) <= 1e-6)
    behind = np.cumsum(joined.density > SOLID / 2, axis=0) > 1
    assert joined.clear[behind].max() < 0.05


def test_volumes_agree_most_from_the_right_angle(points):
    own, other = seen(points, 40), seen(points, 320)
    found = {offset: agreement(own, other, turn(40, 320 + offset)) for offset in (-40, -20, 0, 20, 40)}
    assert max(found, key=found.get) == 0
    assert found[0] > 0.7
    assert max(found[-20], found[20]) < found[0] - 0.2
    assert agreement(own, seen(points * [1, -1, 1], 320), turn(40, 320)) < found[0] - 0.2


def test_the_outline_of_the_first_camera_stays(points):
    """The other camera looks through the first ball, which the first camera sees."""
    own = seen(points, 40)
    joined = fused(own, seen(points[1:], 320), turn(40, 320))
    outline = (own.density > 0).any(axis=0)
    assert ((joined.density > 0).any(axis=0)[outline]).mean() > 0.9


@pytest.mark.filterwarnings("error")
def test_a_volume_that_is_the_same_everywhere_agrees_with_none(points):
    own = seen(points, 40)
    flat = own._replace(density=np.full_like(own.density, EMPTY))
    assert agreement(flat, own, turn(40, 320)) == 0
