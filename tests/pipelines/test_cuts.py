"""Cuts and zooms in a driver: they are noticed, and the driver is fitted to the source anew."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
from drawn_landmarks import drawn_body, drawn_face
from films import film
from paths import ANNA

from gfla_cli.io.image import read_image
from gfla_cli.person.face import face_size
from gfla_cli.person.pose import MISSING
from gfla_cli.person.track_files import Track, write_track
from gfla_cli.pipelines.animation import Animator
from gfla_cli.pipelines.compositing import composed
from gfla_cli.pipelines.driver import DrivenFrame, open_driver, shots
from gfla_cli.pipelines.frame_layers import Layers
from gfla_cli.pipelines.subjects import AnimationSettings, BodySubject, FaceSubject, canvas_of

pytestmark = pytest.mark.usefixtures("detections_remembered")

FPS = Fraction(25)
FACE, BODY = drawn_face(depth=True).astype(np.float32) + 300, drawn_body((640, 640), 32.0)


def _scaled(points, scale, x=0.0, y=0.0):
    moved = points.copy()
    moved[:, :2] = moved[:, :2] * scale + (x, y)
    return moved


def _found(frames):
    """The numbers of the frames at which a shot begins, and the lengths of their landmarks."""
    driven = [one if isinstance(one, DrivenFrame) else DrivenFrame(i, one, None) for i, one in enumerate(frames)]
    result = list(shots(driven, FPS))
    assert [one.number for one, _ in result] == list(range(len(driven)))
    return [(one.number, len(shot)) for one, shot in result if shot is not None]


@pytest.mark.parametrize("points", [FACE, BODY], ids=["face", "body"])
@pytest.mark.parametrize("change", [(0.5, 0, 0), (1.8, 0, 0), (1, 250, 0), (1, 0, -250)])
def test_a_jump_in_size_or_place_begins_a_shot(points, change):
    moving = [_scaled(points, 1, 2 * k) for k in range(10)]
    assert _found([*moving, *(_scaled(one, *change) for one in moving)]) == [(10, 10)]


@pytest.mark.parametrize("points", [FACE, BODY], ids=["face", "body"])
def test_fast_motion_is_no_cut(points):
    """Two sizes in a second to the side, and twice as large in the same time."""
    size = 0.3 * np.ptp(points[:, 1])
    assert _found([_scaled(points, 1 + k / 25, 2 * size * k / 25) for k in range(25)]) == []


@pytest.mark.parametrize("points", [FACE, BODY], ids=["face", "body"])
def test_wrong_landmarks_in_one_frame_are_no_cut(points):
    assert _found([*[points] * 5, _scaled(points, 0.4), *[points] * 5]) == []


def test_a_cut_in_a_gap_is_found_after_it_and_a_pause_alone_is_none():
    assert _found([FACE, FACE, None, None, _scaled(FACE, 0.4), _scaled(FACE, 0.4)]) == [(4, 2)]
    assert _found([FACE, FACE, None, None, FACE, FACE]) == []
    assert _found([None, None, FACE, FACE]) == []


def test_a_cut_at_the_same_place_shows_in_the_image_and_a_flash_is_none():
    steady = [DrivenFrame(i, FACE, None, cut=i == 4) for i in range(8)]
    assert _found(steady) == [(4, 4)]
    flash = [DrivenFrame(i, FACE, None, cut=i in (4, 5)) for i in range(8)]
    assert _found(flash) == []


def _views(image, *views):
    """Ten frames for each view (scale, x, y): 400 x 400 pixels around that place of the image, which moves a little."""
    for scale, x, y in views:
        for k in range(10):
            move = np.array([[scale, 0, 200 - scale * x + k], [0, scale, 200 - scale * y]])
            yield cv2.warpAffine(image, move, (400, 400), borderMode=cv2.BORDER_REPLICATE, flags=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def cut_videos(tmp_path_factory):
    folder, image = tmp_path_factory.mktemp("cuts"), read_image(ANNA)
    film(folder / "face.mp4", _views(image, (1.4, 275, 110), (0.8, 275, 110)), fps=25)
    film(folder / "body.mp4", _views(image, (0.56, 240, 320), (0.31, 240, 320), (0.56, 400, 320)), fps=25)
    return folder


@pytest.mark.parametrize(("kind", "cuts"), [("face", [10]), ("body", [10, 20])])
def test_cuts_and_zooms_in_a_video_are_found_and_end_the_preview(cut_videos, kind, cuts):
    driver = open_driver(cut_videos / f"{kind}.mp4", kind)
    assert len(driver.preview()) == 10
    frames = list(driver.frames())
    assert [one.number for one, shot in shots(frames, FPS) if shot is not None] == cuts


def test_after_a_cut_the_face_is_as_large_as_before(cut_videos, face_animator, portrait):
    subject = FaceSubject(face_animator.session, portrait, "the image", AnimationSettings(), [])
    driver = open_driver(cut_videos / "face.mp4", "face")
    subject.start(driver.preview(), driver.size, driver.fps)
    sizes = []
    for driven, shot in shots(driver.frames(), driver.fps):
        if shot is not None:
            subject.restart(shot)
        sizes.append(face_size(subject._motion(driven.points)))
    assert sizes[10:] == pytest.approx(sizes[:10], rel=0.06)


def test_one_note_names_the_times(cut_videos, animators, face_animator, head_videos, dance):
    with face_animator.animate(head_videos / "face.png", cut_videos / "face.mp4") as animation:
        assert sum(1 for _ in animation) == 20
    assert [note for note in animation.notes if "cut" in note] == [
        f"{cut_videos / 'face.mp4'}: a cut or jump at 0.40 s; the motion was fitted to the image anew there"
    ]
    body = Animator(animators / "tiny-body", precision="fp32")
    with body.animate(head_videos / "body.png", cut_videos / "body.mp4") as animation:
        assert sum(1 for _ in animation) == 30
    assert ["0.40 s, 0.80 s" in note for note in animation.notes if "cut" in note] == [True]


def test_landmarks_files_have_cuts_too(tmp_path, face_animator, head_videos):
    path = tmp_path / "cut.json"
    write_track(path, Track("face", FPS, (640, 640), [*[FACE] * 4, *[_scaled(FACE, 0.5)] * 4]))
    with face_animator.animate(head_videos / "face.png", path) as animation:
        assert sum(1 for _ in animation) == 8
    assert any("0.16 s" in note for note in animation.notes)


def test_after_a_cut_the_body_stands_where_the_source_stands(animators, head_videos, dance, monkeypatch):
    body = Animator(animators / "tiny-body", precision="fp32")
    image = read_image(head_videos / "body.png")
    subject = BodySubject(body.session, image, "the image", AnimationSettings(), [])
    near = _scaled(BODY, 1.7, -100, -150)
    subject.start([BODY] * 3, (640, 640), FPS)
    monkeypatch.setattr(subject._clip, "prepare", lambda structure: structure)
    before = subject.structure(subject.condition(BODY, 0))
    subject.restart([near] * 3)
    after = subject.structure(subject.condition(near, 0))
    assert np.abs(after - before).max() < 0.02


@pytest.mark.parametrize("feet", [True, False])
def test_a_driver_without_feet_is_said_and_fades_into_the_source(animators, head_videos, dance, feet):
    body = Animator(animators / "tiny-body", precision="fp32")
    image, notes = read_image(head_videos / "body.png"), []
    subject = BodySubject(body.session, image, "the image", AnimationSettings(), notes)
    driving = BODY.copy()
    if not feet:
        driving[[9, 10, 12, 13]] = MISSING
    subject.start([driving] * 3, (640 if feet else 400, 640), FPS)
    assert subject.cut_below is not feet
    assert ["no feet" in note for note in notes] == [True] * (not feet)

    white = np.full_like(image, 255)
    canvas = canvas_of(white, subject.crop, AnimationSettings(), lambda *_: None, [], cut_below=subject.cut_below)
    black = Layers.unpacked(np.full((10, 64, 64), [[[-1.0]]] * 3 + [[[0.0]]] * 7, np.float32))
    column = composed(canvas, black)[:, int(sum(subject.crop.box[::2]) / 2), 0].astype(int)
    bottom = min(len(column), int(subject.crop.box[3]))
    height = subject.crop.box[3] - subject.crop.box[1]
    assert column[int(bottom - 0.3 * height)] == 0
    assert bool(column[int(bottom - 0.1 * height)] > 60) is not feet
    if not feet:
        assert np.abs(np.diff(column[int(bottom - 0.3 * height) :])).max() < 30  # no line
