"""Training: a run on a small set that the test draws, its losses, its resume, its bundle."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.bundles.bundle import FLOW_ONLY, is_flow_tensor, load_bundle, save_bundle
from gfla_cli.config import preset
from gfla_cli.data.augment import mirror_points, relight, shake_points
from gfla_cli.data.deepfashion import DEEPFASHION, SQUARE, BenchmarkPairs
from gfla_cli.errors import BundleError, DataError, GflaError, MediaError, MissingExtraError, UsageError
from gfla_cli.losses.vgg import Vgg19
from gfla_cli.media.lock import sole_writer
from gfla_cli.networks.build import build
from gfla_cli.pipelines.interrupt import Interruption
from gfla_cli.pipelines.train import RunOptions, run_training
from gfla_cli.pipelines.train_progress import status_line
from gfla_cli.runtime.device import Placement, choose_device
from gfla_cli.training.checkpoint import load_checkpoint
from gfla_cli.training.engine import Engine
from gfla_cli.training.pose import PoseTask
from gfla_cli.training.recipe import LossWeights, Recipe, Stage, recipe, with_sampler
from gfla_cli.training.standing import Standing
from gfla_cli.training.start import without_flow_stage
from gfla_cli.training.task import Outcome
from gfla_cli.training.trainer import Pace, Progress, Trainer

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


def trainer(recipe, open_data, folder, vgg, *, placement=CPU, workers=0, engine=None):
    return Trainer(recipe, PoseTask(recipe, open_data, vgg), folder, placement, workers, engine)


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


def test_a_head_is_learnt_and_judged_by_itself(open_data, tmp_path):
    weights = LossWeights(l1=5, head=1, adversarial=1)
    run = trainer(plan(flow=1, weights=weights), open_data, tmp_path, small_vgg())
    seen = []
    run.run(lambda progress: seen.append(progress.losses))
    assert seen[-1]["head"] > 0
    assert "content" not in seen[-1]
    assert set(run.learner.discriminators) == {"image", "head"}


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
        placement=CPU,
        options=RunOptions(workers=0),
    )
    assert load_bundle(bundle).config == TINY
    with pytest.raises(DataError, match="there is a run already"):
        run_training(plan(), small_set, output=tmp_path / "run", resume=False, vgg=vgg, cache=None, placement=CPU)


def test_a_run_may_start_from_the_flow_estimator_of_a_bundle(small_set, tmp_path):
    torch.manual_seed(5)
    theirs = {name: tensor for name, tensor in build(TINY).state_dict().items() if is_flow_tensor(name)}
    save_bundle(tmp_path / "flow", TINY, theirs, dtype=torch.float32, part=FLOW_ONLY)
    recipe = without_flow_stage(plan(joint=1, weights=LossWeights(l1=5), average_decay=0.9))
    assert [stage.train for stage in recipe.stages] == ["joint"]
    still = replace(recipe, stages=tuple(replace(stage, learning_rate=0.0) for stage in recipe.stages))
    options = {"resume": False, "vgg": None, "cache": None, "placement": CPU}
    start = RunOptions(workers=0, flow=tmp_path / "flow")
    bundle = run_training(still, small_set, output=tmp_path / "run", options=start, **options)
    made = load_bundle(bundle).network.state_dict()
    assert all(torch.equal(made[name], tensor.half().float()) for name, tensor in theirs.items())
    other = replace(still, model=replace(TINY, flow_width=12))
    with pytest.raises(BundleError, match="not that of the recipe"):
        run_training(other, small_set, output=tmp_path / "other", options=start, **options)
    with pytest.raises(UsageError, match="has no flow estimator"):
        without_flow_stage(with_sampler(plan(), "none"))


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


def test_a_checkpoint_of_another_recipe_says_what_differs(open_data, tmp_path):
    trainer(plan(), open_data, tmp_path, None).save()
    for other, said in (
        (replace(plan(), model=replace(TINY, width=16)), "width 8 instead of 16"),
        (replace(plan(), dataset="people"), "--dataset fashion, not people"),
        (replace(plan(), seed=3), "--seed 0, not 3"),
        (replace(plan(), stages=plan().stages[1:]), "the stages flow, joint, not joint"),
    ):
        with pytest.raises(DataError, match=said):
            trainer(other, open_data, tmp_path, None).resume()
    trainer(plan(joint=9), open_data, tmp_path, None).resume()  # going on for longer is no other recipe


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
    with pytest.raises(DataError, match=r"no fasion set to train on"):
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


def test_a_data_set_for_another_task_is_refused_with_those_for_it():
    runner = CliRunner()
    assert runner.invoke(app, ["train", "--dataset", "chairs", "--task", "view", "--show"]).exit_code == 0
    result = runner.invoke(app, ["train", "--dataset", "people", "--task", "view", "--show"])
    assert result.exit_code == 2
    assert "for view: chairs, shapenet" in result.stderr


def test_recipes_of_the_paper_have_its_weights():
    flow, joint = recipe("fashion").stages
    assert (flow.weights.correctness, flow.weights.affine) == (20, 0.01)
    assert (joint.weights.l1, joint.weights.content, joint.weights.style, joint.weights.adversarial) == (5, 0.5, 500, 2)
    assert (joint.learning_rate, joint.discriminator_rate, joint.betas) == (1e-4, 1e-5, (0.0, 0.999))


# --- runs that are stopped

STOPPABLE = LossWeights(l1=5, adversarial=1, affine=0.001)
PACE = Pace(log=1, save=3, sample=1000)


def noisy(forward):
    """The same losses times random numbers: a run whose generator is not put back shows it."""

    def changed(self, generator, batch, stage):
        outcome = forward(self, generator, batch, stage)
        return outcome._replace(terms={n: t * (1 + 0.1 * torch.rand(())) for n, t in outcome.terms.items()})

    return changed


def train_noisily(root, folder, *, resume=False, report=None, workers=0):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PoseTask, "forward", noisy(PoseTask.forward))
        if report is not None:
            run = Trainer.run
            patch.setattr(Trainer, "run", lambda s, show, *rest: run(s, lambda p: (show(p), report(p)), *rest))
        return run_training(
            plan(flow=4, joint=9, weights=STOPPABLE, average_decay=0.9),
            Path(root),
            output=Path(folder),
            resume=resume,
            vgg=None,
            cache=None,
            placement=CPU,
            options=RunOptions(workers=workers, pace=PACE),
        )


def child(root, folder, threads, workers):
    """What the process does that is stopped: says every step, and takes its time after the fifth of the last stage."""
    torch.set_num_threads(int(threads))

    def report(progress):
        sys.stdout.write(f"{progress.stage.name} {progress.step}\n")
        sys.stdout.flush()
        if (progress.stage.name, progress.step) >= ("joint", 5):
            time.sleep(2)

    train_noisily(root, folder, report=report, workers=int(workers))


@pytest.fixture(scope="module")
def unbroken(small_set, tmp_path_factory):
    """The folder of a run that nobody stopped."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    train_noisily(small_set, folder)
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize(("name", "code", "workers"), [("SIGKILL", -9, 0), ("SIGTERM", 143, 1), ("SIGINT", 1, 1)])
def test_the_losses_of_a_stopped_and_resumed_run_are_those_of_an_unbroken_one(
    small_set, unbroken, tmp_path, name, code, workers
):
    number = signal.Signals[name]
    here = Path(__file__).parent
    command = f"import sys; sys.path.insert(0, {str(here)!r}); import test_training; test_training.child(*sys.argv[1:])"
    arguments = [str(small_set), str(tmp_path / "run"), str(torch.get_num_threads()), str(workers)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", command, *arguments], **pipes, start_new_session=True) as process:
        for line in process.stdout:
            if line == "joint 5\n":
                os.killpg(process.pid, number)  # as terminals and schedulers do: the workers, too
                break
        _, errors = process.communicate()
    assert process.returncode in (code, -number), errors
    state = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert state["position"][:2] == [1, 3 if number == signal.SIGKILL else 5]
    assert not (tmp_path / "run" / "bundle").exists()
    train_noisily(small_set, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "losses.csv").read_text() == (unbroken / "losses.csv").read_text()
    assert (tmp_path / "run" / "recipe.json").read_text() == (unbroken / "recipe.json").read_text()
    whole, resumed = (load_checkpoint(folder / "checkpoint.pt") for folder in (unbroken, tmp_path / "run"))
    for part in ("generator", "discriminators", "average"):
        assert all(torch.equal(tensor, resumed[part][name]) for name, tensor in whole[part].items()), part
    assert torch.equal(whole["random"], resumed["random"])


@pytest.fixture
def python_handles_interrupts():
    """A process that was started in the background may have inherited that Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("python_handles_interrupts")
def test_a_second_signal_ends_at_once():
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGTERM)
        assert interruption.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):  # Ctrl-C is Python's own again
        signal.raise_signal(signal.SIGINT)


def test_two_runs_in_one_folder_are_refused_and_leftovers_go(small_set, tmp_path):
    leftover = tmp_path / "run" / ".gfla-0123456789ab.pt"
    leftover.parent.mkdir()
    leftover.touch()
    with sole_writer(tmp_path / "run"), pytest.raises(DataError, match="another run is writing there"):
        train_noisily(small_set, tmp_path / "run")
    train_noisily(small_set, tmp_path / "run")
    assert not leftover.exists()


def test_a_finished_run_resumes_to_its_bundle(small_set, tmp_path):
    bundle = train_noisily(small_set, tmp_path / "run")
    (bundle / "config.json").unlink()
    assert train_noisily(small_set, tmp_path / "run", resume=True) == bundle
    assert load_bundle(bundle).config == TINY


def test_the_command_trains_keeps_refuses_and_resumes(small_set, tmp_path, monkeypatch):
    small = plan(flow=1, joint=3, weights=STOPPABLE)
    monkeypatch.setattr("gfla_cli.training.recipe.recipe", lambda name: replace(small, dataset=name))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "losses.csv").write_text("step,stage,samples,loss,value\n20,flow,160,affine,0.5\n")

    def train(*more):
        arguments = f"train --data-root {small_set} -o {tmp_path / 'run'} --workers 0 --device cpu --save-every 1"
        return CliRunner().invoke(app, [*arguments.split(), *more])

    result = train("--dataset", "fashion", "--keep", "2", "--accumulate", "2", "--channels-last")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "run" / "bundle")
    assert "joint 3/3" in result.stderr
    assert "images/s" in result.stderr
    assert len(list((tmp_path / "run").glob("checkpoint-0*.pt"))) == 2
    assert (tmp_path / "run" / "losses.csv").read_text() == "step,stage,samples,loss,value\n"
    again = train("--dataset", "fashion")
    assert again.exit_code == 1
    assert "--resume goes on with it" in again.stderr
    assert train("--dataset", "fashion", "--resume").exit_code == 0
    other = train("--dataset", "market", "--resume")
    assert other.exit_code == 1
    assert "looked for market-annotation-train.csv" in other.stderr
    other = train("--dataset", "fashion", "--resume", "--seed", "4")
    assert other.exit_code == 1
    assert "--seed 0, not 4" in other.stderr


def test_the_newest_and_the_best_checkpoints_stay(open_data, tmp_path, monkeypatch):
    run = trainer(plan(flow=1, joint=10, weights=LossWeights(l1=5)), open_data, tmp_path, None)
    values = iter([9, *[5, 4], *[3, 1], *[7, 8], *[2, 6], *[9, 9]])
    step = run.learner.step

    def told(*arguments):
        result = step(*arguments)
        return result._replace(losses=result.losses | {"l1": float(next(values))})

    monkeypatch.setattr(run.learner, "step", told)
    run.run(lambda progress: None, Pace(save=2, keep=3))
    names = sorted(path.name for path in tmp_path.glob("*.pt"))
    assert names == [f"checkpoint-{n}.pt" for n in ("0000007", "0000009", "0000011", "best")] + ["checkpoint.pt"]
    assert load_checkpoint(tmp_path / "checkpoint-best.pt")["position"][:2] == [1, 4]
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(DataError, match="damaged") as raised:
        run.resume()
    assert "copy checkpoint-0000011.pt over it" in raised.value.hint


def test_a_journal_goes_back_to_the_checkpoint(open_data, tmp_path):
    journal = trainer(plan(), open_data, tmp_path, None).journal
    for step in (20, 40, 60):
        journal.losses(step, "joint", 8 * step, {"l1": 0.5})
    with (tmp_path / "losses.csv").open("a") as file:
        file.write("80,joi")
    journal.rewind(40)
    assert (
        tmp_path / "losses.csv"
    ).read_text() == "step,stage,samples,loss,value\n20,joint,160,l1,0.5\n40,joint,320,l1,0.5\n"


# --- the same step in other ways


def trained(open_data, folder, **how):
    run = trainer(plan(flow=1, joint=2), open_data, folder, small_vgg(), **how)
    seen = []
    run.run(seen.append)
    return run, seen


def test_a_batch_in_parts_takes_the_same_step(open_data, tmp_path):
    recipe = replace(plan(), stages=(replace(plan().stages[1], steps=1),))
    seen, networks = [], []
    for parts in (1, 3):
        run = trainer(recipe, open_data, tmp_path / str(parts), small_vgg(), engine=Engine(accumulate=parts))
        run.run(lambda progress: seen.append(progress.losses))
        networks.append((run.generator, run.learner.discriminators))
    # Nearly: spectral norms are estimated anew whenever a discriminator looks at a part.
    assert seen[0] == pytest.approx(seen[1], rel=1e-3)
    for one, other, most in zip(*networks, (1e-3, 0.03), strict=True):
        whole, parts = (torch.cat([p.grad.flatten() for p in network.parameters()]) for network in (one, other))
        assert (whole - parts).norm() < most * whole.norm()


def test_channels_last_changes_nothing_but_the_memory(open_data, tmp_path):
    _, seen = trained(open_data, tmp_path / "usual")
    run, seen_last = trained(open_data, tmp_path / "last", engine=Engine(channels_last=True))
    assert seen[-1].losses == pytest.approx(seen_last[-1].losses, rel=1e-2, abs=1e-4)
    big = next(p for p in run.generator.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[-1] > 1)
    assert big.is_contiguous(memory_format=torch.channels_last)


def test_float16_gradients_are_scaled_and_the_scale_is_kept(open_data, tmp_path):
    half = Placement(torch.device("cpu"), torch.float16, "test")
    recipe = plan(flow=1, joint=1, weights=LossWeights(l1=5, adversarial=1))
    run = trainer(recipe, open_data, tmp_path, None, placement=half)
    seen = []
    run.run(seen.append)
    assert all(np.isfinite(p.losses["total"]) for p in seen)
    run.learner.scaler.update(512.0)
    run.save()
    again = trainer(recipe, open_data, tmp_path, None, placement=half)
    again.resume()
    assert again.learner.scaler.get_scale() == 512


def test_compiling_for_the_cpu_is_refused_before_anything_is_written(small_set, tmp_path):
    with pytest.raises(UsageError, match="--compile is for CUDA"):
        run_training(
            plan(),
            small_set,
            output=tmp_path / "run",
            resume=False,
            vgg=None,
            cache=None,
            placement=CPU,
            options=RunOptions(engine=Engine(compile=True)),
        )
    assert not (tmp_path / "run").exists()


def test_compiled_parts_keep_the_names_of_their_weights(open_data, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(self))
    run = trainer(plan(), open_data, tmp_path, None, engine=Engine(compile=True))
    assert run.generator.flow_estimator in compiled
    assert not any("_orig_mod" in name for name in run.generator.state_dict())


@pytest.mark.parametrize(
    ("error", "accumulate", "hint"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), 1, "--accumulate 2"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            2,
            "--accumulate 4",
        ),
        (torch.OutOfMemoryError("CUDA out of memory"), 4, "--precision bf16"),
    ],
)
def test_a_batch_too_large_for_memory_names_the_flag_that_helps(
    open_data, tmp_path, monkeypatch, error, accumulate, hint
):
    run = trainer(plan(), open_data, tmp_path, None, engine=Engine(accumulate=accumulate))

    def forward(*_):
        raise error

    monkeypatch.setattr(run.task, "forward", forward)
    with pytest.raises(GflaError, match=r"a batch of 4 at 64x64.* too large for the memory of cpu") as raised:
        run.run(lambda progress: None)
    assert hint in raised.value.hint


def test_other_errors_of_a_step_are_not_taken_for_memory(open_data, tmp_path, monkeypatch):
    run = trainer(plan(), open_data, tmp_path, None)

    def forward(*_):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(run.task, "forward", forward)
    with pytest.raises(RuntimeError, match="shapes differ"):
        run.run(lambda progress: None)


# --- pictures that cannot be read


class Damaged(torch.utils.data.Dataset):
    """The small set, as often as wanted; some of its pictures are damaged."""

    def __init__(self, pairs, damaged, pictures, error=MediaError):
        self.pairs, self.damaged, self.pictures, self.error = pairs, damaged, pictures, error

    def __getitem__(self, index):
        if index % self.pictures in self.damaged:
            raise self.error(f"{index % self.pictures}.jpg: cut off", hint="export it again")
        return self.pairs[index]


@pytest.mark.parametrize("workers", [0, 1])
def test_damaged_pictures_are_skipped_counted_and_named(open_data, tmp_path, workers):
    seen = []
    data = lambda stage: Damaged(open_data(stage), {2, 9}, 200)  # noqa: E731
    trainer(plan(flow=4, joint=1), data, tmp_path, small_vgg(), workers=workers).run(seen.append)
    assert len(seen) == 5
    assert [p.unreadable for p in seen] == [("2.jpg: cut off",), (), ("9.jpg: cut off",), (), ()]
    assert (tmp_path / "unreadable.csv").read_text().split() == ["what", "2.jpg:", "cut", "off", "9.jpg:", "cut", "off"]


def test_more_than_one_damaged_picture_in_a_hundred_is_an_error(open_data, tmp_path):
    data = lambda stage: Damaged(open_data(stage), {2, 9, 11}, 200)  # noqa: E731
    with pytest.raises(DataError, match=r"3 of 200 pictures cannot be read, more than 1 %; the last: 11\.jpg"):
        trainer(plan(flow=4), data, tmp_path, None).run(lambda progress: None)
    data = lambda stage: Damaged(open_data(stage), set(range(200)), 200)  # noqa: E731
    with pytest.raises(DataError, match="20 samples in a row"):
        trainer(plan(flow=4), data, tmp_path / "all", None).run(lambda progress: None)


def test_what_goes_wrong_in_a_worker_is_said_in_one_line(open_data, tmp_path):
    data = lambda stage: Damaged(open_data(stage), {2}, 200, error=DataError)  # noqa: E731
    with pytest.raises(DataError) as raised:
        trainer(plan(), data, tmp_path, None, workers=1).run(lambda progress: None)
    assert (str(raised.value), raised.value.hint) == ("2.jpg: cut off", "export it again")


# --- how a run stands


def test_speed_counts_the_waiting_and_the_time_left_follows():
    standing = Standing()
    assert standing.rate(4, 10.0) == 0
    assert standing.rate(4, 12.0) == 2
    progress = Progress(plan(joint=30).stages[1], 1, 10, 60, {"l1": 0.25}, 2.0)
    assert status_line(progress) == "joint 10/30  2.0 images/s  0:00:40 left  l1 0.250"


def test_tensorboard_is_an_extra(open_data, tmp_path):
    recipe = plan()
    start = lambda: Trainer(recipe, PoseTask(recipe, open_data, None), tmp_path, CPU, 0, tensorboard=True)  # noqa: E731
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError) as raised:
            start()
        assert "gfla[tensorboard]" in raised.value.hint
        return
    run = start()
    run.journal.losses(1, "joint", 4, {"l1": 0.5})
    run.journal.close()
    assert list((tmp_path / "tensorboard").glob("events*"))
