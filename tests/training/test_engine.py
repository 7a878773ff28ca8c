"""The same step in other ways: in parts, in another layout, in half precision, compiled; and memory that runs out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_training import plan, small_vgg, trainer
from tiny_models import CPU, steady

from gfla_cli.errors import GflaError, UsageError
from gfla_cli.inference.device import Placement
from gfla_cli.training.learner import Engine
from gfla_cli.training.recipe import LossWeights
from gfla_cli.training.run import RunOptions, run_training


def trained(open_data, folder, **how):
    run = trainer(plan(flow=1, joint=2), open_data, folder, small_vgg(), **how)
    seen = []
    run.run(seen.append)
    return run, seen


def settle(discriminators):
    """Lets the estimates of spectral norms converge: how often a discriminator looks changes little afterwards."""
    for network in discriminators.values():
        for _ in range(30):
            with torch.no_grad():
                network(torch.zeros(1, 3, 64, 64))


def test_a_batch_in_parts_takes_the_same_step(open_data, tmp_path):
    recipe = replace(plan(), model=steady(), stages=(replace(plan().stages[1], steps=1),))
    seen, networks = [], []
    for parts in (1, 3):
        run = trainer(recipe, open_data, tmp_path / str(parts), small_vgg(), engine=Engine(accumulate=parts))
        settle(run.learner.discriminators)
        run.run(lambda progress: seen.append(progress.losses))
        networks.append((run.learner.generator, run.learner.discriminators))
    # Nearly: spectral norms are estimated anew whenever a discriminator looks at a part.
    assert seen[0] == pytest.approx(seen[1], rel=1e-3)
    for one, other, most in zip(*networks, (1e-3, 0.03), strict=True):
        whole, parts = (torch.cat([p.grad.flatten() for p in network.parameters()]) for network in (one, other))
        assert (whole - parts).norm() < most * whole.norm()


def test_channels_last_changes_nothing_but_the_memory(open_data, tmp_path):
    _, seen = trained(open_data, tmp_path / "usual")
    run, seen_last = trained(open_data, tmp_path / "last", engine=Engine(channels_last=True))
    assert seen[-1].losses == pytest.approx(seen_last[-1].losses, rel=1e-2, abs=1e-4)
    big = next(p for p in run.learner.generator.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[-1] > 1)
    assert big.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("before", [False, True])
def test_a_run_continues_in_the_other_layout(open_data, tmp_path, before):
    """Fused Adam, which trains on CUDA, refuses moments that lie in memory unlike their weights."""
    recipe = plan(flow=1, joint=2)
    run = trainer(recipe, open_data, tmp_path, small_vgg(), engine=Engine(channels_last=before))
    steps = []
    run.run(steps.append, stop=lambda: len(steps) == 2)  # in the middle of the second stage; saved
    again = trainer(recipe, open_data, tmp_path, small_vgg(), engine=Engine(channels_last=not before))
    again.resume()
    for name in ("optimiser", "discriminator_optimiser"):
        old, new = (getattr(one.learner, name) for one in (run, again))
        assert len(new.state) == len(old.state) > 0
        for (weight, moments), kept in zip(new.state.items(), old.state.values(), strict=True):
            for moment in ("exp_avg", "exp_avg_sq"):
                assert moments[moment].stride() == weight.stride()
                assert torch.equal(moments[moment], kept[moment])


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
@pytest.mark.parametrize(
    ("flags", "expected"),
    [("bf16", True), ("fp32", False), ("bf16 --no-channels-last", False), ("fp32 --channels-last", True)],
)
def test_bf16_training_lays_channels_last_unless_told_otherwise(gfla, monkeypatch, tmp_path, flags, expected, device):
    if device == "mps" and flags == "bf16":  # torch has errors in it there
        expected = False
    engines = []
    monkeypatch.setattr(
        "gfla_cli.inference.device.choose_own_device",
        lambda launch, name, precision: Placement(
            torch.device(device), torch.bfloat16 if precision == "bf16" else torch.float32, "test"
        ),
    )
    monkeypatch.setattr(
        "gfla_cli.training.run.run_training",
        lambda plan, root, *, options, **rest: engines.append(options.engine) or tmp_path,
    )
    result = gfla(*f"train --dataset chairs -o run --accumulate 2 --device {device} --precision {flags}".split())
    assert result.exit_code == 0, result.output
    assert engines == [Engine(accumulate=2, channels_last=expected)]


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
    assert run.learner.generator.flow_estimator in compiled
    assert not any("_orig_mod" in name for name in run.learner.generator.state_dict())


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
