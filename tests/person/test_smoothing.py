"""Smoothed landmarks: trembling goes, motion and blinks stay."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_landmarks import drawn_face, with_closed_eyes

from gfla_cli.person.face import (
    eye_openings,
)
from gfla_cli.person.track import OneEuro, Smoothing


def smoothed(track, size=200.0, fps=30, **settings):
    smooth = OneEuro(fps, Smoothing(**settings))
    return np.array([smooth(points, size) for points in track])


def test_a_still_face_stops_trembling():
    face = drawn_face(depth=True)
    noise = np.random.default_rng(0).normal(0, 0.0017 * 200, (90, 68, 3))  # what MediaPipe's points do
    raw, calm = face + noise, smoothed(face + noise)

    def tremble(track):
        return np.abs(np.diff(track[10:], axis=0)).mean()

    assert tremble(calm) < 0.4 * tremble(raw)
    assert np.abs(calm[30:].mean(axis=0) - face).max() < 0.25  # and stays where it is


@pytest.mark.parametrize(("speed", "frames"), [(0.2, 0.8), (1.0, 0.35), (3.0, 0.2)])
def test_a_moving_face_lags_less_than_a_frame(speed, frames):
    way = np.clip(np.arange(60) / 30 - 0.5, 0, None) * speed * 200  # sizes a second
    track = drawn_face() + np.stack([way, 0 * way], axis=1)[:, None]
    lag = (track - smoothed(track))[45, :, 0] / (speed * 200 / 30)
    assert lag.max() < frames


def test_a_blink_is_not_smoothed_away():
    depth = np.zeros(30)
    depth[12:18] = (0.5, 1, 1, 1, 0.5, 0)
    track = np.array([with_closed_eyes(drawn_face(), 1 - part) for part in depth])
    assert min(min(eye_openings(face)) for face in smoothed(track)) < 0.06


def test_smoothing_does_not_depend_on_the_size_of_the_image():
    track = np.cumsum(np.random.default_rng(1).normal(0, 1, (40, 68, 2)), axis=0)
    np.testing.assert_allclose(smoothed(track * 7, size=7 * 50), 7 * smoothed(track, size=50), rtol=1e-4)


def test_smoothing_starts_anew_after_a_cut_and_bridges_missing_frames():
    smooth = OneEuro(30)
    first, second = drawn_face(), drawn_face() + 300
    np.testing.assert_allclose(smooth(first, 200), first, rtol=1e-6)
    smooth.reset()
    np.testing.assert_allclose(smooth(second, 200), second, rtol=1e-6)
    after_one, after_many = OneEuro(30), OneEuro(30)
    for one in (after_one, after_many):
        one(first, 200)
    near, far = after_one(first + 5, 200), after_many(first + 5, 200, missing=20)
    assert np.abs(far - first - 5).mean() < np.abs(near - first - 5).mean()
