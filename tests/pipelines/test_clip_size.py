"""Clips as large as the image: size, background, and a frame that holds the whole body in all of them."""

from __future__ import annotations

import json
from contextlib import nullcontext
from fractions import Fraction
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from commands import in_this_process, names_in, refused
from drawn_landmarks import drawn_body

from gfla_cli.errors import UsageError
from gfla_cli.geometry.crop import Crop
from gfla_cli.io.image import read_image, write_image
from gfla_cli.io.video import probe, read_frames
from gfla_cli.person.body import body_extent, image_limits
from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.pose import MISSING
from gfla_cli.person.track_files import Track, write_track
from gfla_cli.pipelines.animation import Animator
from gfla_cli.pipelines.compositing import composed
from gfla_cli.pipelines.driver import Shot, open_driver
from gfla_cli.pipelines.frame_layers import Layers
from gfla_cli.pipelines.subjects import AnimationSettings, BodySubject, FaceSubject, canvas_of

FPS = Fraction(25)
SIZE = (640, 640)
BODY = drawn_body(SIZE, 32.0)


def moved(x=0.0, y=0.0, *, arms_up=False):
    points = BODY.copy()
    points[:, :2] += (x, y)
    if arms_up:
        for elbow, wrist, shoulder in ((3, 4, 2), (6, 7, 5)):
            points[elbow, 1], points[wrist, 1] = points[shoulder, 1] - 80, points[shoulder, 1] - 150
    return points


@pytest.fixture(scope="module")
def image(head_videos, dance):
    """A person, (256, 256, 3)."""
    return read_image(head_videos / "body.png")


@pytest.fixture(scope="module")
def bodies(animators):
    return Animator(animators / "tiny-pose", precision="fp32")


@pytest.fixture(scope="module")
def found(image):
    """A detector that has looked at the image once, for all tests."""
    detector = PersonDetector()
    people = detector.detect(image)
    cover = detector.cover(image, people[0].pose)
    sized = lambda picture, pose, others: cv2.resize(cover, picture.shape[1::-1])  # noqa: E731
    return lambda: nullcontext(SimpleNamespace(detect=lambda picture: people, cover=sized))


@pytest.fixture
def subject(bodies, image, found, monkeypatch):
    monkeypatch.setattr("gfla_cli.pipelines.subjects.PersonDetector", found)

    def make(clip=(BODY,), notes=None, model=bodies, driver=SIZE, **settings):
        notes = [] if notes is None else notes
        made = BodySubject(model.session, image, "the image", AnimationSettings(**settings), notes)
        made.start([clip[0]], driver, FPS, [Shot([clip[0]], clip)])
        return made

    return make


def drawn_by(subject, points):
    condition = subject.condition(points, 0)
    return subject.draw(condition, subject.structure(condition))


def frame_of(subject, points):
    return subject.compose(drawn_by(subject, points))


def test_a_frame_is_the_whole_image_and_far_from_the_person_nothing_changes(subject, image):
    made = subject()
    frame = frame_of(made, BODY)
    assert frame.shape == image.shape
    np.testing.assert_array_equal(made.canvas.original, image)
    np.testing.assert_array_equal(frame[:, :40], image[:, :40])
    np.testing.assert_array_equal(frame[:, -40:], image[:, -40:])
    assert (frame != image).any()


def test_hands_are_looked_for_where_the_frame_has_them(subject, monkeypatch):
    """The poses of the source and of each frame go with its layers."""
    asked = []
    monkeypatch.setattr(
        "gfla_cli.pipelines.compositing.with_whole_hands", lambda layers, source, *poses: asked.append(poses) or layers
    )
    made = subject([moved(), moved(30)], absolute=False)
    for points in (moved(), moved(30)):
        frame_of(made, points)
    (first, second), (source, third) = asked
    np.testing.assert_array_equal(source.points, first.points)
    assert source.size == (64, 64)
    wrists = [4, 7]
    np.testing.assert_allclose(first.points[wrists], made.pose.cropped(made.crop).points[wrists], atol=1e-3)
    assert (third.points[wrists, 0] > second.points[wrists, 0] + 2).all()


def assert_filled(canvas, frame, there):
    """A frame shows the background in some places, without the shadow that has left with the feet."""
    rows, columns = canvas.shadow.floor.region(frame.shape)
    floor = np.zeros_like(there)
    floor[rows, columns] = True
    np.testing.assert_array_equal(frame[there & ~floor], canvas.background[there & ~floor])
    lighter = frame[there & floor].astype(int) - canvas.background[there & floor]
    assert lighter.min() >= -2
    assert lighter.max() > 5


def test_where_the_person_stood_the_background_is_filled(subject, image):
    """A person that has walked away leaves no copy behind."""
    made = subject([moved(), moved(400)], absolute=False)
    frame = frame_of(made, moved(400))
    cover = made.canvas.source_cover > 0.9
    left = cover & (np.arange(256) < 110)
    assert_filled(made.canvas, frame, left)
    assert np.abs(frame[left].astype(int) - image[left]).mean() > 20


@pytest.mark.parametrize("size", [64, 300])
def test_a_size_is_that_of_the_frame(subject, size):
    assert frame_of(subject(size=size, paste_back=False), BODY).shape == (size, size, 3)
    whole = subject(size=size)
    left, _, right, _ = whole.crop.box
    assert abs(frame_of(whole, BODY).shape[0] - 256 * size / (right - left)) <= 1


def test_no_video_gets_larger_than_its_largest_side():
    notes = []
    wide, crop = np.zeros((100, 1000, 3), np.uint8), Crop((0, 0, 100, 100), (64, 64))
    canvas = canvas_of(wide, crop, AnimationSettings(size=512), lambda *_: None, notes)
    assert canvas.background.shape == (192, 1920, 3)
    assert notes == ["--size 512 became 192: a video has at most 1920 pixels a side"]


def test_other_backgrounds(subject, image):
    assert (frame_of(subject(background="white"), BODY)[:, :30] == 255).all()
    wall = np.full((90, 60, 3), (10, 200, 30), np.uint8)
    assert (frame_of(subject(background=wall), BODY)[:, :30] == (10, 200, 30)).all()


def test_a_model_that_cannot_separate_people_refuses_a_background(animators, face_animator, portrait, subject):
    plain = Animator(animators / "tiny-body", precision="fp32")
    with pytest.raises(UsageError, match="does not separate people"):
        subject(model=plain, background="white")
    with pytest.raises(UsageError, match="does not separate people"):
        FaceSubject(face_animator.session, portrait, "x", AnimationSettings(background="white"), [])


@pytest.mark.parametrize("model", ["tiny-pose", "tiny-body"])
@pytest.mark.parametrize("paste_back", [True, False])
def test_no_hand_head_or_foot_leaves_the_frame(subject, animators, model, paste_back):
    """Also after the first seconds, which were all that was known before the first frame."""
    clip = [*[moved()] * 3, moved(arms_up=True), moved(40, -60), moved(-60)]
    made = subject(clip, model=Animator(animators / model, precision="fp32"), paste_back=paste_back)
    for points in clip:
        body = made.condition(points, 0).body
        joints = body.points[body.present, :2]
        assert (joints >= 0).all()
        assert (joints <= 63).all()


def test_the_body_stays_inside_of_the_image_and_what_does_not_fit_is_said(subject):
    notes = []
    jump = subject([moved(), moved(y=-60)], notes, smooth=False)
    highest = image_limits(jump.pose)[0][1]
    assert body_extent(jump._posed(moved(y=-60), 0))[1] == pytest.approx(highest, abs=0.5)
    assert notes == []
    far = subject([moved(), moved(900)], notes)
    left, _, right, _ = body_extent(far._posed(moved(), 0))
    assert left > -3
    assert right < 259  # it begins inside
    assert [("in 1 of 2 frames" in note, "does not fit" in note) for note in notes] == [(True, True)]


def test_the_frame_follows_one_who_walks_and_stays_while_it_can(subject):
    made = subject([moved(), moved(20), moved(500), moved(900)])
    places = [made.condition(points, 0).place for points in (moved(), moved(10), moved(500), moved(900), moved(900))]
    starts = [made.canvas.place.box[0] if place is None else place.box[0] for place in places]
    assert starts[0] == pytest.approx(starts[1], abs=2)
    assert starts[2] > starts[1] + 50
    assert starts[3] > starts[2] + 50
    assert_filled(made.canvas, frame_of(made, moved(900)), np.ones((256, 256), np.bool_))  # it has left the image


def test_few_frames_without_feet_do_not_cut_the_others(subject):
    footless = BODY.copy()
    footless[[9, 10, 12, 13]] = MISSING
    assert not subject([*[BODY] * 19, footless]).cut_below
    assert subject([*[BODY] * 5, *[footless] * 20]).cut_below


def test_a_cut_body_fades_into_what_the_source_shows(subject, image):
    footless = BODY.copy()
    footless[[9, 10, 12, 13]] = MISSING
    made = subject([footless], driver=(400, 640))
    bottom = int(made.crop.box[3])
    assert bottom < 240
    frame = frame_of(made, footless)
    np.testing.assert_array_equal(frame[bottom + 1 :], image[bottom + 1 :])
    np.testing.assert_array_equal(made.canvas.background[bottom + 1 :], image[bottom + 1 :])


def test_a_face_that_does_not_move_is_the_image_itself(face_animator, portrait, head_track):
    subject = FaceSubject(face_animator.session, portrait, "x", AnimationSettings(), [])
    driver = open_driver(head_track, "face")
    subject.start(driver.preview(), driver.size, driver.fps)
    still = np.zeros((10, 64, 64), np.float32)
    still[3], still[9] = 1, 1  # all from the source
    np.testing.assert_array_equal(composed(subject.canvas, Layers.unpacked(still)), portrait)
    drawn = drawn_by(subject, driver.preview()[0]).layers
    assert drawn.share.max() > 0.01


def test_the_driver_of_a_body_is_tracked_once(head_videos, dance, monkeypatch):
    driver = open_driver(head_videos / dance, "body")
    shots = driver.survey()
    monkeypatch.setattr(driver, "_track", lambda *_: pytest.fail("tracked again"))
    frames = [frame.points for frame in driver.frames()]
    assert [len(shot.points) for shot in shots] == [len(frames)]
    np.testing.assert_array_equal(shots[0].points, frames)


def test_the_command_writes_the_whole_image_in_any_size(animate, head_videos, dance, tmp_path):
    write_track(head_videos / "step.json", Track("body", FPS, SIZE, [moved(), moved(20)]), overwrite=True)
    write_image(tmp_path / "wall.png", np.full((64, 64, 3), (10, 200, 30), np.uint8))
    run = lambda name, *options: animate(  # noqa: E731
        "step.json", "-o", name, *options, source="body.png", model="tiny-pose"
    )
    report = json.loads(run("a.mp4", "--background", "wall.png", "--json").stdout)
    assert (report["width"], report["height"]) == (256, 256)
    green = next(read_frames(tmp_path / "a.mp4"))[:, :20].reshape(-1, 3).mean(axis=0)
    assert np.abs(green - (10, 200, 30)).max() < 12
    report = json.loads(run("b.mp4", "--size", "100", "--no-paste-back", "--json").stdout)
    assert (report["width"], report["height"]) == probe(tmp_path / "b.mp4").size == (100, 100)
    assert refused(run("c.mp4", "--size", "huge"), 2, "--size huge: not a size", "source")
    assert refused(run("c.mp4", "--background", "transparent"), 2, "no transparency", "white")
    assert refused(run("c.mp4", "--background", "nowhere.png"), 1, "nowhere.png")
    assert refused(run("wall.png", "--background", "wall.png"), 2)
    assert names_in(tmp_path) == ["a.mp4", "b.mp4", "wall.png"]


def test_the_benchmark_takes_a_size(gfla, animators, head_videos, monkeypatch):
    monkeypatch.setattr("gfla_cli.benchmark.measure.subprocess.run", in_this_process(gfla))
    clip = head_videos / "face.png", head_videos / "film.mp4"
    result = gfla("benchmark", "animate", *clip, "--model", animators / "tiny-face", "--size", "64", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["frames"] == 8
