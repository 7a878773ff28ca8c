"""Training: a run on a small set that the test draws, its losses, its resume, its bundle."""

from __future__ import annotations

import csv
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from gfla_cli.bundles.bundle import load_bundle
from gfla_cli.config import preset
from gfla_cli.data.augment import mirror_points, relight, shake_points
from gfla_cli.data.deepfashion import DEEPFASHION, SQUARE, BenchmarkPairs
from gfla_cli.errors import DataError, GflaError, UsageError
from gfla_cli.losses.vgg import Vgg19
from gfla_cli.pipelines.train import run_training
from gfla_cli.runtime.device import Placement, choose_device
from gfla_cli.training.pose import PoseTask
from gfla_cli.training.recipe import LossWeights, Recipe, Stage, recipe
from gfla_cli.training.task import Outcome
from gfla_cli.training.trainer import Trainer

CPU = Placement(torch.device("cpu"), torch.float32, "test")
TINY = replace(preset("pose-people"), image_size=(64, 64), width=8, flow_width=8, heatmap_sigma=2.0)


def draw_person(x, y, colour):
    """A 64x64 stick of a person at (x, y) and its 18 joints."""
    image = np.full((64, 64, 3), 220, np.uint8)
    joints = np.array([[x, y + 3 * k % 40] for k in range(18)])
    cv2.rectangle(image, (x - 5, y), (x + 5, y + 40), colour, -1)
    return image, joints


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    """Four people, two pictures each, in the layout of the published sets."""
    root = tmp_path_factory.mktemp("set")
    (root / "train").mkdir()
    rows, pairs = ["name:keypoints_y:keypoints_x"], ["from,to"]
    for person, colour in enumerate([(200, 30, 30), (30, 160, 30), (40, 40, 200), (20, 20, 20)]):
        for view, x in enumerate((15, 45)):
            image, joints = draw_person(x, 12 + 2 * person, colour)
            name = f"p{person}_{view}.png"
            cv2.imwrite(str(root / "train" / name), image[..., ::-1])
            rows.append(f"{name}: {(joints[:, 1] * 4).tolist()}: {(joints[:, 0] * 4).tolist()}")
        pairs += [f"p{person}_0.png,p{person}_1.png", f"p{person}_1.png,p{person}_0.png"]
    (root / "fasion-annotation-train.csv").write_text("\n".join(rows) + "\n")
    (root / "fasion-pairs-train.csv").write_text("\n".join(pairs) + "\n")
    return root


@pytest.fixture
def open_data(small_set):
    return lambda stage: BenchmarkPairs(small_set, "train", SQUARE, stage.image_size)


def small_vgg():
    torch.manual_seed(1)
    shapes = {0: (8, 3), 2: (8, 8), 5: (16, 8), 7: (16, 16), 10: (16, 16)}
    state = {f"features.{n}.weight": torch.randn(*shape, 3, 3) * 0.2 for n, shape in shapes.items()}
    return Vgg19(state | {f"features.{n}.bias": torch.zeros(shape[0]) for n, shape in shapes.items()})


def trainer(recipe, open_data, folder, vgg):
    return Trainer(recipe, PoseTask(recipe, open_data, vgg), folder, CPU, workers=0)


def plan(*, flow=2, joint=3, weights=None, **changes):
    stage = Stage(name="flow", train="flow", steps=flow, image_size=(64, 64), batch=4, weights=LossWeights(affine=0.1))
    joint_weights = weights or LossWeights(l1=5, content=0.5, style=10, adversarial=1, affine=0.001, person=1)
    fast = {"learning_rate": 2e-3, "betas": (0.9, 0.999)}
    stages = (stage, replace(stage, name="joint", train="joint", steps=joint, weights=joint_weights, **fast))
    layers = {"content_layers": ("relu1_1", "relu2_1"), "style_layers": ("relu2_2",)}
    return Recipe(dataset="fashion", model=TINY, stages=stages, initial="kaiming", **layers, **changes)


def test_both_stages_run_and_leave_a_journal(open_data, tmp_path):
    seen = []
    trainer(plan(), open_data, tmp_path, small_vgg()).run(seen.append)
    assert [(p.stage.name, p.step) for p in seen] == [
        ("flow", 1),
        ("flow", 2),
        ("joint", 1),
        ("joint", 2),
        ("joint", 3),
    ]
    assert set(seen[0].losses) == {"affine", "total"}
    assert set(seen[-1].losses) >= {"l1", "content", "style", "adversarial", "discriminator", "affine", "total"}
    assert seen[-1].samples == 20


def test_a_few_steps_learn_a_small_set(open_data, tmp_path):
    seen = []
    simple = plan(flow=1, joint=60, weights=LossWeights(l1=5))
    trainer(simple, open_data, tmp_path, None).run(seen.append)
    first, last = (np.mean([p.losses["l1"] for p in part]) for part in (seen[1:6], seen[-5:]))
    assert last < 0.5 * first


def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(open_data, tmp_path):
    recipe = plan(flow=3, joint=3, average_decay=0.9)
    whole = trainer(recipe, open_data, tmp_path / "whole", small_vgg())
    whole.run(lambda progress: None)

    class StoppedError(Exception):
        pass

    def stop(progress):
        if (progress.stage.name, progress.step) == ("joint", 2):
            raise StoppedError

    broken = trainer(recipe, open_data, tmp_path / "broken", small_vgg())
    with pytest.raises(StoppedError):
        broken.run(stop)
    broken.save()
    resumed = trainer(recipe, open_data, tmp_path / "broken", small_vgg())
    resumed.resume()
    assert (resumed.stage_index, resumed.step) == (1, 2)
    resumed.run(lambda progress: None)
    for name, tensor in whole.weights().items():
        assert torch.equal(tensor, resumed.weights()[name]), name


def test_the_pipeline_ends_in_a_bundle_that_loads(small_set, tmp_path):
    vgg = tmp_path / "vgg.npz"
    state = {k.replace("convs.relu", ""): v for k, v in small_vgg().state_dict().items()}
    numbers = {"1_1": 0, "1_2": 2, "2_1": 5, "2_2": 7, "3_1": 10}
    arrays = {f"features.{numbers[k.split('.')[0]]}.{k.split('.')[1]}": v.numpy() for k, v in state.items()}
    np.savez(vgg, **arrays)
    bundle = run_training(
        plan(flow=1, joint=1),
        small_set,
        output=tmp_path / "run",
        resume=False,
        vgg=vgg,
        cache=None,
        workers=0,
        placement=CPU,
    )
    assert load_bundle(bundle).config == TINY
    with pytest.raises(DataError, match="there is a run already"):
        run_training(
            plan(), small_set, output=tmp_path / "run", resume=False, vgg=vgg, cache=None, workers=0, placement=CPU
        )


def test_losses_are_written_as_csv(open_data, tmp_path):
    run = trainer(plan(), open_data, tmp_path, small_vgg())
    run.journal.losses(20, "joint", 160, {"l1": 0.5})
    with (tmp_path / "losses.csv").open() as file:
        assert list(csv.DictReader(file)) == [
            {"step": "20", "stage": "joint", "samples": "160", "loss": "l1", "value": "0.5"}
        ]


def test_a_loss_that_is_not_a_number_is_survived_and_then_named(open_data, tmp_path, monkeypatch):
    run = trainer(plan(flow=1, joint=30), open_data, tmp_path, small_vgg())
    before = {name: tensor.clone() for name, tensor in run.generator.state_dict().items()}
    nan = {"l1": torch.tensor(float("nan"), requires_grad=True)}
    monkeypatch.setattr(run.task, "forward", lambda *_: Outcome(dict(nan), {}))
    with pytest.raises(GflaError, match="not a number"):
        run.run(lambda progress: None)
    assert all(torch.equal(before[name], tensor) for name, tensor in run.generator.state_dict().items())


def test_a_checkpoint_of_another_model_is_refused(open_data, tmp_path):
    trainer(plan(), open_data, tmp_path, None).save()
    other = replace(plan(), model=replace(TINY, width=16))
    with pytest.raises(DataError, match="another model"):
        trainer(other, open_data, tmp_path, None).resume()


def test_a_cut_checkpoint_is_named(open_data, tmp_path):
    run = trainer(plan(), open_data, tmp_path, None)
    run.checkpoint.write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(DataError, match="damaged"):
        run.resume()


def test_annotated_points_are_stretched_with_the_picture(small_set):
    square = BenchmarkPairs(small_set, "train", SQUARE, (64, 64))[0]
    narrow = BenchmarkPairs(small_set, "train", DEEPFASHION, (64, 64))[0]
    np.testing.assert_allclose(square.source_points[0], [15, 12, 1])
    np.testing.assert_allclose(narrow.source_points[0], [15 * 256 / 176, 12, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("fasion-annotation-train.csv", "name;y;x\n", "should begin with"),
        ("fasion-annotation-train.csv", "name:keypoints_y:keypoints_x\na.png: [1, 2]: [3]\n", "line 2"),
        ("fasion-pairs-train.csv", "from,to\n", "no pairs"),
        ("fasion-pairs-train.csv", "from,to\nx.png,y.png\n", "has no keypoints"),
    ],
)
def test_a_broken_set_is_named_with_file_and_line(small_set, tmp_path, file, text, said):
    for name in ("fasion-annotation-train.csv", "fasion-pairs-train.csv"):
        (tmp_path / name).write_text((small_set / name).read_text())
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=said):
        BenchmarkPairs(tmp_path, "train", SQUARE, (64, 64))


def test_a_missing_set_says_which_file_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"fasion-annotation-train\.csv: not found"):
        BenchmarkPairs(tmp_path, "train", SQUARE, (64, 64))


def test_mirroring_twice_gives_the_same_joints():
    points = np.random.default_rng(0).uniform(0, 64, (18, 3)).astype(np.float32)
    points[3] = -1, -1, 0
    np.testing.assert_allclose(mirror_points(mirror_points(points, 64), 64), points, atol=1e-5)
    assert mirror_points(points, 64)[6].tolist() == [-1, -1, 0]  # the right elbow is missing, so its mirror is


def test_shaken_joints_stay_in_the_frame_and_missing_ones_missing():
    points = np.full((18, 3), 1, np.float32)
    points[5] = -1, -1, 0
    shaken = shake_points(points, np.random.default_rng(0), 2.0)
    assert shaken[5].tolist() == [-1, -1, 0]
    assert (shaken[shaken[:, 2] > 0, :2] >= 0).all()
    assert np.abs(shaken - points).max() > 0.1


def test_relighting_changes_both_pictures_alike():
    image = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    first, second = relight([image, image], np.random.default_rng(3))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, image)


def test_devices_that_are_not_there_are_named():
    assert choose_device("cpu").device.type == "cpu"
    assert choose_device("auto").reason
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="cuda"):
            choose_device("cuda")
    with pytest.raises(UsageError, match="fp16"):
        choose_device("cpu", "fp16")


def test_recipes_of_the_paper_have_its_weights():
    flow, joint = recipe("fashion").stages
    assert (flow.weights.correctness, flow.weights.affine) == (20, 0.01)
    assert (joint.weights.l1, joint.weights.content, joint.weights.style, joint.weights.adversarial) == (5, 0.5, 500, 2)
    assert (joint.learning_rate, joint.discriminator_rate, joint.betas) == (1e-4, 1e-5, (0.0, 0.999))
