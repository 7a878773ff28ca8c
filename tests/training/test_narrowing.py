"""Narrowing: a renderer with fewer channels inside its blocks that gives the same images."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from drawn_clips import Drawn, clip_plan
from small_training import plan
from test_view_training import TwoViews
from test_view_training import plan as view_plan
from tiny_models import CPU, fresh, save_tiny, tiny
from torch import nn
from torch.utils.data import Dataset, default_collate
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.bundles.bundle import is_flow_tensor, load_bundle, save_bundle
from gfla_cli.errors import DataError, MediaError, UsageError
from gfla_cli.networks.blocks import DecoderBlock, EncoderBlock, ResidualBlock
from gfla_cli.networks.samplers import BilinearSampling, LocalAttention
from gfla_cli.training.narrowing import FIRST_SEEN, NarrowingTask, narrow_by_least_squares
from gfla_cli.training.recipe import RECIPES, narrowing_recipe
from gfla_cli.training.run import RunOptions, run_training
from gfla_cli.training.tasks.clip import SequenceTask
from gfla_cli.training.tasks.pose import PoseTask
from gfla_cli.training.tasks.view import ViewTask
from gfla_cli.training.trainer import Trainer

WIDE = {"width": 32, "max_width": 64, "up_kernel": 4}
SECOND = {EncoderBlock: "conv", ResidualBlock: "conv2", DecoderBlock: "up"}


def with_needless_channels(network):
    """Every second channel inside its blocks has no effect."""
    for block in network.modules():
        if type(block) in SECOND:
            convolution = getattr(block, SECOND[type(block)])
            inputs = 0 if isinstance(convolution, nn.ConvTranspose2d) else 1
            convolution.weight.data.transpose(0, inputs)[1::2] = 0
    return network


def training_of(kind, open_data, **changes):
    """A plan whose model has channels to spare, and what makes a task of a recipe."""
    if kind == "pose":
        wide, task = plan(), lambda recipe: PoseTask(recipe, open_data, None)
    elif kind == "face":
        wide, task = clip_plan("face"), lambda recipe: SequenceTask(recipe, lambda stage: Drawn("face"), None)
    else:
        wide, task = view_plan(), lambda recipe: ViewTask(recipe, lambda stage: TwoViews(), None)
    return replace(wide, model=replace(wide.model, **WIDE | changes)), task


def narrowing(wide, bundle, bottleneck=2, attended=None, **changes):
    """The recipe that makes the model of a bundle narrower, in small frames."""
    recipe = narrowing_recipe(wide, bundle, bottleneck, attended)
    stage = replace(recipe.stages[0], image_size=wide.stages[0].image_size, batch=2, **changes)
    return replace(recipe, stages=(stage,))


def narrowed(recipe, task_of, tmp_path):
    """The run of a recipe that makes the bundle "wide" narrower, before the first step."""
    task = NarrowingTask(task_of(recipe), load_bundle(tmp_path / "wide").network)
    run = Trainer(recipe, task, tmp_path / "run", CPU, workers=0)
    narrow_by_least_squares(run.learner, task, run.stage)
    return run


def check_equal_images(run):
    """Before the first step, the narrow network gives the images of the wide one."""
    task = run.task
    sample = default_collate([task.dataset(run.stage)[FIRST_SEEN + i] for i in range(2)])
    batch = next(iter(task.batches(sample, CPU.device)))
    with torch.no_grad():
        loss = task.forward(run.learner.generator, batch, run.stage).terms["imitation"]
        shown, wanted = (task.rows(network, batch) for network in (run.learner.average, task.teacher))
    assert loss < 1e-3
    torch.testing.assert_close(shown, wanted, atol=2e-3, rtol=0)


@pytest.mark.parametrize("up_kernel", [3, 4])
@pytest.mark.parametrize("kind", ["pose", "face", "view"])
def test_channels_without_effect_go_and_the_images_stay(open_data, tmp_path, kind, up_kernel):
    wide, task_of = training_of(kind, open_data, up_kernel=up_kernel)
    teacher = with_needless_channels(fresh(wide.model))
    save_bundle(tmp_path / "wide", wide.model, teacher.state_dict(), dtype=torch.float32)
    recipe = narrowing(wide, tmp_path / "wide")
    run = narrowed(recipe, task_of, tmp_path)
    check_equal_images(run)
    inside = [
        network.decoder.levels["8"].residual.conv1.out_channels for network in (run.task.teacher, run.learner.generator)
    ]
    assert inside == [64, 32]


def test_a_narrow_model_learns_to_equal_the_wide_one_and_keeps_its_flows(small_set, open_data, tmp_path):
    wide, task_of = training_of("pose", open_data)
    save_tiny(tmp_path / "wide", wide.model)
    recipe = narrowing(wide, tmp_path / "wide", steps=40, learning_rate=2e-3)
    run, seen = narrowed(recipe, task_of, tmp_path), []
    run.run(seen.append)
    assert set(seen[0].losses) == {"imitation", "total"}
    assert seen[-1].losses["imitation"] < 0.8 * seen[0].losses["imitation"]
    made, before = run.learner.average.state_dict(), run.task.teacher.state_dict()
    flow = [name for name in before if is_flow_tensor(name)]
    assert flow
    assert all(torch.equal(made[name], before[name]) for name in flow)


def looking_at_one_pixel(network):
    """Local attention takes the middle of each patch alone."""
    for sampler in network.modules():
        if isinstance(sampler, LocalAttention):
            sampler.score.weight.data.zero_()
            sampler.score.bias.data.fill_(-50)
            sampler.score.bias.data[len(sampler.score.bias) // 2] = 50
    return network


@pytest.mark.parametrize("kind", ["pose", "face", "view"])
def test_attention_without_effect_goes_and_the_images_stay(open_data, tmp_path, kind):
    wide, task_of = training_of(kind, open_data)
    teacher = looking_at_one_pixel(fresh(wide.model))
    save_bundle(tmp_path / "wide", wide.model, teacher.state_dict(), dtype=torch.float32)
    recipe = narrowing(wide, tmp_path / "wide", None, attended=1)
    run = narrowed(recipe, task_of, tmp_path)
    check_equal_images(run)
    kinds = {
        stride: {type(sampler) for sampler in level.samplers}
        for stride, level in run.learner.generator.decoder.levels.items()
    }
    assert kinds == {"8": {LocalAttention}, "4": {BilinearSampling}, "2": {BilinearSampling}}


def test_a_renderer_learns_to_do_without_attention(small_set, open_data, tmp_path):
    wide, task_of = training_of("pose", open_data)
    save_tiny(tmp_path / "wide", wide.model)
    recipe = narrowing(wide, tmp_path / "wide", None, attended=0, steps=40, learning_rate=2e-3)
    run, seen = narrowed(recipe, task_of, tmp_path), []
    run.run(seen.append)
    assert seen[-1].losses["imitation"] < 0.8 * seen[0].losses["imitation"]


def test_narrowing_ends_in_a_bundle_and_can_be_resumed(small_set, tmp_path):
    wide = replace(plan(), model=tiny(**WIDE), average_decay=0.0)
    save_tiny(tmp_path / "wide", wide.model)
    recipe = narrowing(wide, tmp_path / "wide", steps=2)
    how = {"vgg": None, "cache": None, "placement": CPU, "options": RunOptions(workers=0, narrow=tmp_path / "wide")}
    bundle = run_training(recipe, small_set, output=tmp_path / "run", resume=False, **how)
    assert load_bundle(bundle).config == replace(wide.model, bottleneck=2)
    first = load_bundle(bundle).network.state_dict()
    assert run_training(recipe, small_set, output=tmp_path / "run", resume=True, **how) == bundle
    again = load_bundle(bundle).network.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())


def test_a_narrowing_is_not_continued_as_a_common_training(small_set, tmp_path):
    """Before anything else is opened: the common recipe would ask for VGG19 first."""
    wide = replace(plan(), model=tiny(**WIDE))
    save_tiny(tmp_path / "wide", wide.model)
    recipe = narrowing(wide, tmp_path / "wide", steps=1)
    how = {"cache": None, "placement": CPU, "output": tmp_path / "run"}
    options = RunOptions(workers=0, narrow=tmp_path / "wide")
    run_training(recipe, small_set, resume=False, vgg=None, options=options, **how)
    with pytest.raises(DataError, match="made with another model: bottleneck 2 instead of 1; the stages narrow, not"):
        run_training(wide, small_set, resume=True, vgg=tmp_path / "missing.npz", options=RunOptions(workers=0), **how)


def test_a_recipe_that_is_as_wide_as_the_model_is_refused(small_set, tmp_path):
    wide = replace(plan(), model=tiny(**WIDE))
    save_tiny(tmp_path / "wide", wide.model)
    recipe = replace(narrowing(wide, tmp_path / "wide"), model=wide.model)
    how = {"vgg": None, "cache": None, "placement": CPU, "options": RunOptions(workers=0, narrow=tmp_path / "wide")}
    with pytest.raises(UsageError, match="not narrower than"):
        run_training(recipe, small_set, output=tmp_path / "run", resume=False, **how)


def test_a_recipe_that_does_not_fit_the_model_is_refused(small_set, tmp_path):
    wide = replace(plan(), model=tiny(**WIDE))
    save_tiny(tmp_path / "wide", wide.model)
    save_tiny(tmp_path / "other", tiny(width=32, max_width=32))
    larger = tuple(replace(level, patch=level.patch + 2) for level in wide.model.levels)
    recipe = narrowing(wide, tmp_path / "wide")
    for wrong, model, said in (
        (recipe, None, "imitates a wider model"),
        (wide, "wide", "a stage that does not imitate"),
        (replace(recipe, stages=(replace(recipe.stages[0], train="flow"),)), "wide", "a stage that does not imitate"),
        (recipe, "other", "in more than the bottleneck and the attention"),
        (replace(recipe, model=replace(wide.model, levels=larger)), "wide", "not narrower than"),
    ):
        how = {"vgg": None, "cache": None, "placement": CPU}
        how["options"] = RunOptions(workers=0, narrow=None if model is None else tmp_path / model)
        with pytest.raises(UsageError, match=said):
            run_training(wrong, small_set, output=tmp_path / "run", resume=False, **how)


class Unreadable(Dataset):
    """Every image of it is damaged."""

    def __getitem__(self, index):
        raise MediaError(f"{index}.jpg: damaged")


def test_training_data_that_cannot_be_read_is_named(open_data, tmp_path):
    wide, task_of = training_of("pose", open_data)
    save_tiny(tmp_path / "wide", wide.model)
    recipe = narrowing(wide, tmp_path / "wide")
    task = NarrowingTask(task_of(recipe), load_bundle(tmp_path / "wide").network)
    run = Trainer(recipe, task, tmp_path / "run", CPU, workers=0)
    task.dataset = lambda stage: Unreadable()
    with pytest.raises(DataError, match="20 samples in a row cannot be read; the first: 100000000"):
        narrow_by_least_squares(run.learner, task, run.stage)


def test_a_model_that_cannot_become_narrower_is_refused(tmp_path):
    save_tiny(tmp_path / "narrow", tiny(**WIDE, bottleneck=2))
    with pytest.raises(UsageError, match="as narrow already"):
        narrowing_recipe(RECIPES["people"], tmp_path / "narrow", 2)
    with pytest.raises(UsageError, match="as narrow already"):  # it would get more channels
        narrowing_recipe(RECIPES["people"], tmp_path / "narrow", 1, attended=1)
    with pytest.raises(UsageError, match="as narrow already"):
        narrowing_recipe(RECIPES["people"], tmp_path / "narrow", attended=3)
    save_tiny(tmp_path / "global", tiny(**WIDE, sampler="global"))
    with pytest.raises(UsageError, match="has no flow"):
        narrowing_recipe(RECIPES["people"], tmp_path / "global", 2)
    with pytest.raises(UsageError, match="a model for the task pose, not for view"):
        narrowing_recipe(RECIPES["chairs"], tmp_path / "narrow", 4)


def test_without_attention_a_model_keeps_its_channels_unless_they_are_named():
    def model(*options):
        command = ["train", "--dataset", "people", "--narrow", "pose-people", "--show"]
        result = CliRunner().invoke(app, [*command, *options])
        return json.loads(result.stdout)["model"]

    shown = model("--attention", "0")
    assert (shown["bottleneck"], [level["patch"] for level in shown["levels"]]) == (2, [1, 1, 1])
    shown = model("--bottleneck", "4", "--attention", "1")
    assert (shown["bottleneck"], [level["patch"] for level in shown["levels"]]) == (4, [3, 1, 1])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--bottleneck", "4"], "--bottleneck: it is for --narrow"),
        (["--attention", "1"], "--attention: it is for --narrow"),
        (["--narrow", "pose-people", "--init", "pose-people"], "--init: --narrow starts from pose-people"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, said):
    result = CliRunner().invoke(app, ["train", "--dataset", "people", "--show", *options])
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
