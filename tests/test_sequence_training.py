"""Training of animation: clips, their structures and correspondences, and a task that goes on from its own frames."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from drawn_landmarks import drawn_body, drawn_face
from test_training import CPU, small_vgg
from torch.utils.data import Dataset, default_collate

from gfla_cli.config import preset
from gfla_cli.data.body_clips import BodyClips, MotionPlan
from gfla_cli.data.clips import ClipFrames, clip_correspondences, unknown_correspondences
from gfla_cli.data.detected_faces import as_detected_face
from gfla_cli.data.face_clips import FaceClips, PortraitPlan
from gfla_cli.data.faces import FaceFolders, find_clips, read_landmarks, write_landmarks
from gfla_cli.data.open import open_training_data
from gfla_cli.data.sample import ClipSample
from gfla_cli.errors import DataError
from gfla_cli.landmarks import pose
from gfla_cli.landmarks.face_points import MIRRORED, face_size
from gfla_cli.landmarks.framing import Frame
from gfla_cli.media.image import write_image
from gfla_cli.networks.build import build
from gfla_cli.networks.discriminator import ClipDiscriminator
from gfla_cli.structure.body import CHANNELS, body_structure, skeleton
from gfla_cli.structure.heatmap import heatmaps
from gfla_cli.training.recipe import LossWeights, Recipe, Stage, recipe
from gfla_cli.training.sequence import SequenceTask
from gfla_cli.training.sequence_batch import picture_batches, sequence_batches
from gfla_cli.training.trainer import Trainer

SIDE, FRAMES, PER_STEP = 32, 6, 3


class Drawn(Dataset):
    """A disc that wanders over white; its landmarks wander with it."""

    def __init__(self, task):
        self.face = task == "face"

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        colour, start = rng.integers(0, 255, 3).tolist(), rng.integers(8, 24)
        images, points = [], []
        for k in range(1 + FRAMES):
            image = np.full((SIDE, SIDE, 3), 240, np.uint8)
            x = int(start + k) % SIDE
            cv2.circle(image, (x, 16), 8, colour, -1)
            images.append(image)
            points.append(drawn_face() * 0.08 + (x, 16) if self.face else drawn_body((SIDE, SIDE), float(x * 2)))
        known = unknown_correspondences(FRAMES)
        side = SIDE if self.face else 0
        return ClipSample(
            images=np.stack(images),
            points=np.stack(points).astype(np.float32),
            masks=np.full((1 + FRAMES, SIDE, SIDE), 255, np.uint8),
            edges=np.zeros((1 + FRAMES, side, side), np.bool_),
            to_previous=known[0],
            to_reference=known[1],
        )


def plan(task, *, flow=2, joint=3, weights=None):
    frame = (2 * SIDE, 2 * SIDE)  # the training pictures are smaller
    model = replace(
        preset(f"{task}-people"), image_size=frame, width=8, flow_width=8, flow_max_width=16, heatmap_sigma=3.0
    )
    known = LossWeights(affine=0.1, correspondence=1, visibility=0.1)
    stage = Stage(name="flow", train="flow", steps=flow, image_size=(SIDE, SIDE), batch=2, weights=known)
    every = LossWeights(l1=5, content=0.5, style=10, adversarial=1, affine=0.001, person=1)
    fast = {"learning_rate": 2e-3, "betas": (0.9, 0.999)}
    joint_stage = replace(stage, name="joint", train="joint", steps=joint, weights=weights or every, **fast)
    return Recipe(
        dataset="people-faces",
        model=model,
        stages=(stage, joint_stage) if flow else (joint_stage,),
        initial="kaiming",
        content_layers=("relu1_1", "relu2_1"),
        style_layers=("relu2_2",),
        discriminator_blocks=3,
        frames=FRAMES,
        frames_per_step=PER_STEP,
        perceptual_frames=2,
    )


def trainer(recipe, folder, vgg):
    data = Drawn(recipe.model.task)
    return Trainer(recipe, SequenceTask(recipe, lambda stage: data, vgg), folder, CPU, workers=0)


# --- the task ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["face", "body"])
def test_both_stages_run_and_every_loss_is_there(task, tmp_path):
    seen = []
    run = trainer(plan(task), tmp_path, small_vgg())
    run.run(seen.append)
    assert [p.stage.name for p in seen] == ["flow"] * 2 + ["joint"] * 3
    assert set(seen[0].losses) == {"affine", "correspondence", "visibility", "total"}
    assert set(seen[-1].losses) >= {"l1", "content", "style", "adversarial", "discriminator", "affine", "total"}
    assert all(np.isfinite(list(p.losses.values())).all() for p in seen)


def test_a_few_steps_learn_what_the_reference_shows(tmp_path):
    seen = []
    trainer(plan("face", flow=0, joint=16, weights=LossWeights(l1=5)), tmp_path, None).run(seen.append)
    first, last = (np.mean([p.losses["l1"] for p in part]) for part in (seen[:2], seen[-4:]))
    assert last < 0.7 * first


def test_a_step_goes_on_from_the_frame_that_the_one_before_made(tmp_path):
    run = trainer(plan("face", flow=0, joint=4), tmp_path, small_vgg())
    went_on_from, made = [], []
    forward = run.task.forward

    def watched(generator, batch, stage):
        went_on_from.append(batch.carried)
        outcome = forward(generator, batch, stage)
        made.append(outcome.carried)
        return outcome

    run.task.forward = watched
    run.run(lambda progress: None)
    assert FRAMES // PER_STEP == 2  # every second step is the second of its clip
    assert [carried is None for carried in went_on_from] == [True, False, True, False]
    assert torch.equal(went_on_from[1], made[0])
    assert not went_on_from[1].requires_grad


@pytest.mark.parametrize("stop_at", [2, 3])
def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path, stop_at):
    """Also when it was interrupted in the middle of a clip."""
    recipe = plan("face", flow=1, joint=4, weights=LossWeights(l1=5))
    whole = trainer(recipe, tmp_path / "whole", None)
    whole.run(lambda progress: None)

    class StoppedError(Exception):
        pass

    def stop(progress):
        if (progress.stage.name, progress.step) == ("joint", stop_at):
            raise StoppedError

    broken = trainer(recipe, tmp_path / "broken", None)
    with pytest.raises(StoppedError):
        broken.run(stop)
    broken.save()
    resumed = trainer(recipe, tmp_path / "broken", None)
    resumed.resume()
    resumed.run(lambda progress: None)
    for name, tensor in whole.weights().items():
        assert torch.equal(tensor, resumed.weights()[name]), name


def test_a_flow_stage_of_bodies_trains_both_estimators():
    recipe = plan("body")
    network = build(recipe.model)
    modules = SequenceTask(recipe, lambda stage: Drawn("body"), None).flow_modules(network)
    assert modules == [network.previous_flow, network.reference_flow]
    recipe = plan("face")
    network = build(recipe.model)
    assert SequenceTask(recipe, lambda stage: Drawn("face"), None).flow_modules(network) == [network.flow_estimator]


def test_motion_is_judged_by_two_differences_or_by_the_whole_clip():
    frames = torch.randn(2, 3, 4, 32, 32)
    assert ClipDiscriminator(blocks=3)(frames).shape == (2, 1, 4, 4, 4)
    recipe = plan("face", flow=0)
    task = SequenceTask(recipe, lambda stage: Drawn("face"), small_vgg())
    batch = next(task.batches(default_collate([Drawn("face")[0], Drawn("face")[1]]), torch.device("cpu")))
    judged = task.forward(build(recipe.model), batch, recipe.stages[0]).judged
    assert judged["motion"].real.shape == (2 * (PER_STEP - 2), 6, SIDE, SIDE)
    assert judged["image"].fake.shape == (2 * PER_STEP, 3, SIDE, SIDE)


def test_a_row_to_look_at_shows_reference_structure_result_and_truth():
    for task in ("face", "body"):
        recipe = plan(task)
        sequence = SequenceTask(recipe, lambda stage: None, None)
        batch = next(sequence.batches(default_collate([Drawn(task)[0], Drawn(task)[1]]), torch.device("cpu")))
        row = sequence.rows(build(recipe.model), batch)
        assert row.shape == (2, 3, SIDE, 4 * SIDE)
        assert torch.equal(row[..., 3 * SIDE :], batch.images[:, -1])


def test_the_steps_of_a_clip_follow_one_another():
    sample = default_collate([Drawn("face")[3], Drawn("face")[4]])
    config = plan("face").model
    first, second = sequence_batches(sample, config, PER_STEP, torch.device("cpu"))
    pictures = picture_batches(sample.images, torch.device("cpu"))
    assert torch.equal(first.before_image, pictures[:, 0])  # the reference is the frame before the first
    assert torch.equal(second.before_image, first.images[:, -1])
    assert torch.equal(second.before_structure, first.structures[:, -1])
    assert torch.equal(second.images[:, -1], pictures[:, -1])
    assert first.structures.shape == (2, PER_STEP, 16, SIDE, SIDE)
    weight = first.pixel_weight(3, "face")
    assert torch.allclose(weight.mean(dim=(3, 4)), torch.ones(2, PER_STEP, 1))


def test_recipes_of_the_paper_and_of_rendered_clips():
    authors, ours, bodies = recipe("faces"), recipe("people-faces"), recipe("bodies")
    assert (authors.frames_per_step, authors.perceptual_frames) == (6, 6)
    assert (authors.stages[1].weights.l1, authors.stages[1].weights.style) == (5, 500)
    assert ours.model.task == "face"
    assert bodies.model.structure_channels == CHANNELS
    for one in (authors, ours, bodies):
        assert one.frames % one.frames_per_step == 0
        assert Recipe.from_json(one.to_json()) == one


# --- structures --------------------------------------------------------------------------------------------------


def test_body_structure_is_17_heat_maps_and_a_coloured_skeleton():
    points = drawn_body()
    structure = body_structure(points, (64, 64), 2.0)
    assert structure.shape == (CHANNELS, 64, 64)
    np.testing.assert_array_equal(structure[0], heatmaps(points[:1], (64, 64), 2.0)[0])
    np.testing.assert_array_equal(structure[1], heatmaps(points[2:3], (64, 64), 2.0)[0])  # the neck is left out
    assert structure.min() >= 0
    assert structure.max() <= 1
    assert structure[17:, 38, 28].max() > 0.5  # the right thigh
    assert (structure[17:, 2, 2] == 0).all()


def test_limbs_of_missing_joints_are_not_drawn_and_the_neck_follows_from_the_shoulders():
    points = drawn_body()
    points[9] = pose.MISSING
    drawn = skeleton(points, (64, 64))
    assert (drawn[38, 28] == 0).all()
    assert (body_structure(points, (64, 64))[8] == 0).all()
    without_neck = drawn_body()
    without_neck[1] = pose.MISSING
    np.testing.assert_array_equal(skeleton(without_neck, (64, 64)), skeleton(drawn_body(), (64, 64)))


# --- clips -------------------------------------------------------------------------------------------------------


def film(points, frames=3, side=64):
    rng = np.random.default_rng(0)
    surfaces = np.full((frames, side // 2, side // 2, 3), np.nan, np.float32)
    surfaces[:, 8:24, 8:24] = rng.normal(0, 3, (16, 16, 3))
    images = rng.integers(0, 255, (frames, side, side, 3), dtype=np.uint8)
    return ClipFrames(images, np.zeros((frames, side, side), np.uint8), np.stack([points] * frames), surfaces)


def test_a_clip_is_cut_with_its_points_and_surfaces():
    points = np.zeros((68, 2), np.float32)
    points[0] = 16, 24
    clip = film(points)
    cut = clip.cut(Frame((16, 24, 48, 56), (32, 32)), grid=8)
    assert cut.images.shape == (3, 32, 32, 3)
    np.testing.assert_array_equal(cut.images, clip.images[:, 24:56, 16:48])
    np.testing.assert_allclose(cut.points[0, 0], 0, atol=1e-5)
    assert cut.surfaces.shape == (3, 16, 16, 3)
    np.testing.assert_array_equal(cut.surfaces[0, 0, 0], clip.surfaces[0, 12, 8])


@pytest.mark.parametrize(("points", "order"), [(drawn_face(), MIRRORED), (drawn_body(), pose.MIRRORED)])
def test_a_clip_in_a_mirror_twice_is_the_clip(points, order):
    points = points.astype(np.float32)
    if points.shape[1] == 3:
        points[4] = pose.MISSING
    clip = film(points)
    twice = clip.mirrored(order).mirrored(order)
    np.testing.assert_array_equal(twice.images, clip.images)
    np.testing.assert_allclose(twice.points, clip.points, atol=1e-4)
    np.testing.assert_array_equal(twice.surfaces, clip.surfaces)
    if points.shape[1] == 3:
        assert clip.mirrored(order).points[0, 7].tolist() == list(pose.MISSING)


def test_the_frame_before_the_first_is_the_reference():
    clip = film(drawn_body(), frames=4)
    to_previous, to_reference = clip_correspondences(clip.surfaces, 8, 0.3)
    assert to_previous.offset.shape == to_reference.offset.shape == (3, 2, 8, 8)
    np.testing.assert_array_equal(to_previous.offset[0], to_reference.offset[0])


def test_rendered_landmarks_move_a_little_and_the_same_way_on_both_sides():
    face = drawn_face().astype(np.float32)
    mirror = np.array([-1, 1])
    moved = as_detected_face(face)
    shift = np.linalg.norm(moved - face, axis=1) / face_size(face)
    assert 0.001 < shift.mean() < 0.05
    mirrored = (face * mirror)[list(MIRRORED)]
    np.testing.assert_allclose(as_detected_face(mirrored), (moved * mirror)[list(MIRRORED)], atol=0.5)
    np.testing.assert_array_equal(as_detected_face(face, 0.0), face)


# --- folders of frames -------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path):
    """Two clips of five frames, a disc with a face's landmarks, in the layout of FaceForensics."""
    for clip in ("a", "b"):
        (tmp_path / clip).mkdir()
        for k in range(5):
            image = np.full((120, 160, 3), 90, np.uint8)
            cv2.circle(image, (80 + k, 60), 30, (200, 150, 120), -1)
            write_image(tmp_path / clip / f"{k:05d}.png", image)
            write_landmarks(tmp_path / clip / f"{k:05d}.txt", drawn_face() * 0.3 + (80 + k, 60))
    return tmp_path


def test_folders_of_frames_make_clips_of_any_length(folders):
    sample = FaceFolders(folders, 64, 12)[7]
    assert sample.images.shape == (13, 64, 64, 3)
    assert sample.points.shape == (13, 68, 2)
    assert sample.edges.shape == (13, 64, 64)
    assert (sample.points.min(), sample.points.max()) > (-8, 20)
    again = FaceFolders(folders, 64, 12)[7]
    np.testing.assert_array_equal(sample.images, again.images)
    next(sequence_batches(default_collate([sample]), replace(plan("face").model), 6, torch.device("cpu")))


def test_pictures_and_landmarks_may_lie_apart(folders, tmp_path):
    for name, suffix in (("train_img", ".png"), ("train_keypoints", ".txt")):
        (tmp_path / "apart" / name / "a").mkdir(parents=True)
        for file in (folders / "a").glob(f"*{suffix}"):
            file.rename(tmp_path / "apart" / name / "a" / file.name)
    assert len(find_clips(tmp_path / "apart")[0]) == 5


def test_landmarks_come_back_as_they_were_written(tmp_path):
    write_landmarks(tmp_path / "a.txt", drawn_face())
    np.testing.assert_allclose(read_landmarks(tmp_path / "a.txt"), drawn_face(), atol=0.006)


@pytest.mark.parametrize(
    "text",
    ["", "1,2\n" * 67, "1,2\n" * 60_000, "1,2,3\n" * 68, "1,x\n" * 68, "nan,1\n" * 68, "1e400,1\n" * 68, "\x00"],
)
def test_landmarks_that_are_none_are_named_with_their_file(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DataError, match=r"a\.txt"):
        read_landmarks(tmp_path / "a.txt")


def test_an_empty_folder_of_clips_says_what_is_expected(tmp_path):
    with pytest.raises(DataError, match="no clip") as caught:
        open_training_data(recipe("faces"), tmp_path, tmp_path)
    assert "00000.txt" in caught.value.hint


# --- with the pack of people -------------------------------------------------------------------------------------


@pytest.mark.shared
def test_rendered_faces_talk_and_are_known_exactly(shared, tmp_path):
    clips = FaceClips(shared / "humans", tmp_path, PortraitPlan(clips=1, frames=3, stills=1, size=96), size=64, grid=16)
    sample = clips[0]
    assert sample.images.shape == (4, 64, 64, 3)
    assert sample.to_previous.offset.shape == (3, 2, 16, 16)
    assert (sample.to_previous.visible == 1).mean() > 0.5
    assert (sample.masks > 0).mean() > 0.2
    inside = sample.points[1].round().astype(int).clip(0, 63)
    assert (sample.masks[1][inside[:, 1], inside[:, 0]] > 0).mean() > 0.9
    np.testing.assert_array_equal(clips[0].images, sample.images)


@pytest.mark.shared
def test_rendered_bodies_keep_the_joints_that_they_hide_themselves(shared, tmp_path):
    clips = BodyClips(shared / "humans", tmp_path, MotionPlan(clips=1, frames=3, size=96), size=64, grid=16)
    sample = clips[0]
    assert sample.images.shape == (4, 64, 64, 3)
    assert sample.edges.shape == (4, 0, 0)
    body = [joint for joint in range(18) if joint not in pose.FACE]
    present = sample.points[:, body, 2] > 0
    assert present.mean() > 0.9  # a detector names them too; now and then one is lost
    assert (present == (sample.points[:, body, 0] >= 0)).all()
