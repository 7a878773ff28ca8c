"""Frames of a face that are mixed from their neighbours: where they lie, when the network draws them, and who asks."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
from drawn_landmarks import drawn_face

from gfla_cli.person.face import POINTS, face_size
from gfla_cli.person.track_files import Track, read_track, write_track
from gfla_cli.pipelines.animation import AnimationSettings
from gfla_cli.pipelines.frame_layers import Layers
from gfla_cli.pipelines.inbetween import between, lies_between

SIDE = 128
MIDDLE = (slice(48, 80), slice(48, 80))  # of the face
CORNER = (slice(0, 12), slice(0, 12))  # of the wall behind it


def _face():
    """A face in the middle of the frame, (70, 2)."""
    points = drawn_face().astype(np.float32)[:, :2]
    points = (points - points.mean(axis=0)) * (60 / face_size(points)) + SIDE / 2
    irises = np.stack([points[36:42].mean(axis=0), points[42:48].mean(axis=0)])
    return np.concatenate([points[:POINTS], irises])


FACE = _face()


def _changed(rows, x, y):
    face = FACE.copy()
    face[rows] += np.float32([x, y])
    return face


def test_a_frame_lies_between_two_when_its_landmarks_are_half_way():
    size = face_size(FACE)
    assert lies_between(FACE - 2, FACE, FACE + 2)
    assert lies_between(FACE - 2, FACE + 0.01 * size, FACE + 2)
    assert lies_between(FACE - 2, FACE, (FACE + 2)[:POINTS])  # one frame without irises


def test_a_frame_lies_between_two_when_its_landmarks_are_a_third_of_the_way():
    way = 0.06 * face_size(FACE)
    assert lies_between(FACE - way, FACE, FACE + 2 * way, 1 / 3)
    assert not lies_between(FACE - way, FACE, FACE + 2 * way, 2 / 3)


@pytest.mark.parametrize(
    ("rows", "x", "y"),
    [
        pytest.param(slice(55, 60), 0, 0.06, id="the lower lip goes down and comes back"),
        pytest.param([37, 38], 0, 0.06, id="a lid"),
        pytest.param([68, 69], 0.05, 0, id="the eyes look aside"),
        pytest.param(slice(0, 70), 0.1, 0, id="the head"),
    ],
)
def test_a_frame_that_its_neighbours_do_not_show_is_left_to_the_network(rows, x, y):
    size = face_size(FACE)
    assert not lies_between(FACE, _changed(rows, x * size, y * size), FACE)


def test_a_head_that_moves_fast_is_left_to_the_network():
    way = 0.2 * face_size(FACE)
    assert lies_between(FACE - way / 10, FACE, FACE + way / 10)
    assert not lies_between(FACE - way, FACE, FACE + way)


def _texture():
    """(SIDE, SIDE, 3) in [-1, 1]: stripes of eight pixels, so that a shift by four is the opposite."""
    x = np.arange(SIDE, dtype=np.float32)
    stripes = np.sin(x * np.pi / 4)[None] + np.zeros((SIDE, 1), np.float32)
    return np.repeat(stripes[..., None], 3, axis=2).astype(np.float32) * 0.8


def _frame(shift):
    """The layers of a frame whose head, with its texture, has moved to the right by `shift` pixels. The wall stays."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    on_head = np.hypot(x - SIDE / 2 - shift, y - SIDE / 2) < 45
    moved = cv2.warpAffine(_texture(), np.float32([[1, 0, shift], [0, 1, 0]]), (SIDE, SIDE), borderMode=cv2.BORDER_WRAP)
    offset = np.zeros((SIDE, SIDE, 2), np.float32)
    offset[on_head, 0] = -shift / SIDE
    drawn = np.where(on_head[..., None], moved, _texture()).astype(np.float32)
    share = np.full((SIDE, SIDE), 0.25, np.float32)
    return Layers(drawn, share, np.zeros_like(drawn), offset, np.ones_like(share))


def test_what_moves_with_the_face_is_between_its_places_and_the_wall_stays_sharp():
    """Frames four pixels apart, in which the mean of both, as they are, would have no stripes left."""
    layers = _frame(-2), _frame(2)
    step = np.float32([2, 0])
    made = between(layers, (FACE - step, FACE, FACE + step))
    wanted, mean = _frame(0), (layers[0].drawn + layers[1].drawn) / 2
    assert np.abs(mean - wanted.drawn)[MIDDLE].mean() > 0.4
    assert np.abs(made.drawn - wanted.drawn)[MIDDLE].mean() < 0.02
    assert np.abs(made.offset[MIDDLE]).max() * SIDE < 0.1
    assert np.abs(made.drawn - wanted.drawn)[CORNER].max() < 0.01
    assert np.abs(made.share - 0.25).max() < 1e-4
    assert (made.matte == 1).all()


def test_a_frame_nearer_to_one_neighbour_takes_more_of_it():
    layers = _frame(-1), _frame(3)
    near, far = (part._replace(share=np.full_like(part.share, k)) for part, k in zip(layers, (0.2, 0.8), strict=True))
    step = np.float32([1, 0])
    made = between((near, far), (FACE - step, FACE, FACE + 3 * step), 0.25)
    assert np.abs(made.drawn - _frame(0).drawn)[MIDDLE].mean() < 0.02
    assert np.abs(made.share - (0.75 * 0.2 + 0.25 * 0.8)).max() < 1e-4


def test_equal_neighbours_give_the_same_frame():
    still = _frame(0)
    for part, same in zip(between((still, still), (FACE, FACE, FACE)), still, strict=True):
        np.testing.assert_allclose(part, same, atol=1e-4)


@pytest.fixture
def network(face_animator, monkeypatch):
    """The structures that are prepared for the network, in order."""
    seen = []

    def start(*reference):
        clip = type(face_animator.session).start(face_animator.session, *reference)
        prepare = clip.prepare
        clip.prepare = lambda structure: seen.append(structure) or prepare(structure)
        return clip

    monkeypatch.setattr(face_animator.session, "start", start, raising=False)
    return seen


@pytest.fixture(scope="module")
def steady(head_track, tmp_path_factory):
    """By frames a second, the landmarks of a head that moves to the right by a pixel in each of eight frames."""
    track = read_track(head_track)
    frames = [track.frames[0] + np.float32([k, 0, 0]) for k in range(8)]
    folder = tmp_path_factory.mktemp("steady")
    paths = {fps: folder / f"{fps}.json" for fps in (20, 25)}
    for fps, path in paths.items():
        write_track(path, Track("face", Fraction(fps), track.size, frames))
    return paths


def _made(animator, head_videos, driving, **settings):
    fps = settings.pop("fps", None)
    choices = AnimationSettings(**settings)
    with animator.animate(head_videos / "face.png", driving, settings=choices, fps=fps) as clip:
        return list(clip)


@pytest.mark.parametrize(("fps", "drawn"), [(20, (0, 2, 4, 6, 7)), (25, (0, 3, 6, 7))])
def test_the_network_draws_every_second_or_third_frame(fps, drawn, face_animator, head_videos, steady, network):
    """Of eight frames none follows the last, so it is drawn, too."""
    frames = _made(face_animator, head_videos, steady[fps])
    assert [frame.number for frame in frames] == list(range(8))
    assert len(network) == len(drawn)
    structures = list(network)
    network.clear()
    every = _made(face_animator, head_videos, steady[fps], every_frame=True)
    assert len(network) == 8
    np.testing.assert_array_equal(structures, [network[k] for k in drawn])
    np.testing.assert_array_equal(frames[0].image, every[0].image)
    # The head moves on in each frame: one that is mixed is no copy of its neighbours.
    for number in set(range(8)) - set(drawn):
        assert not np.array_equal(frames[number].image, frames[number - 1].image)
        assert not np.array_equal(frames[number].image, frames[number + 1].image)
    apart = np.abs(frames[1].image.astype(int) - every[1].image).mean()
    assert apart < np.abs(frames[0].image.astype(int) - every[2].image).mean()


def test_the_network_draws_every_frame_of_a_slow_video(face_animator, head_videos, steady, network):
    frames = _made(face_animator, head_videos, steady[20], fps=15)
    assert len(network) == len(frames)


def test_frames_beside_a_gap_are_drawn_by_the_network(face_animator, head_videos, network):
    """Two frames, two without a face, two frames."""
    frames = _made(face_animator, head_videos, head_videos / "gaps.mp4")
    assert [frame.held for frame in frames] == [False, False, True, True, False, False]
    assert len(network) == 4


@pytest.mark.parametrize("options", [[], ["--every-frame"]])
def test_the_option_of_the_command(animate, steady, monkeypatch, options):
    mixed = []
    monkeypatch.setattr("gfla_cli.pipelines.animation.between", lambda layers, *faces: mixed.append(faces) or layers[0])
    assert animate(steady[25], "-o", "out.mp4", *options).exit_code == 0
    assert bool(mixed) != bool(options)
