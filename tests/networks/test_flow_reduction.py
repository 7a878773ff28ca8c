"""Flow estimators that see a reduced frame: the flows of a small frame, on the grids of the full one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from drawn_clips import Drawn, clip_plan
from drawn_landmarks import drawn_face
from tiny_models import CPU, fresh, tiny

from gfla_cli.bundles.bundle import save_bundle
from gfla_cli.conditioning.face_map import face_structure
from gfla_cli.inference.export import TOLERANCE, export_onnx
from gfla_cli.networks.build import build, initialise
from gfla_cli.networks.flow import FlowEstimator, downsample_face_map
from gfla_cli.training.tasks.clip import SequenceTask
from gfla_cli.training.trainer import Trainer


@pytest.fixture
def estimators():
    """The same weights, once for reduced frames."""
    torch.manual_seed(0)
    config = tiny(image_size=(128, 128), flow_prior="none")
    full, reduced = (FlowEstimator(replace(config, flow_reduction=factor), 7).eval() for factor in (1, 2))
    initialise(full, "kaiming")
    reduced.load_state_dict(full.state_dict())
    return full, reduced


def test_flows_of_a_reduced_frame_are_upsampled_flows_of_a_small_frame(estimators):
    full, reduced = estimators
    inputs = [torch.rand(2, 3, 128, 192), torch.rand(2, 4, 128, 192)]
    with torch.inference_mode():
        small = full([F.avg_pool2d(x, 2) for x in inputs])
        large = reduced(inputs)
        own = full(inputs)
    for (expected,), (found,), (grid,) in zip(small, large, own, strict=True):
        assert found.offset.shape == grid.offset.shape
        assert found.mask.shape == grid.mask.shape
        torch.testing.assert_close(F.avg_pool2d(found.offset, 2)[..., 1:-1, 1:-1] / 2,
                                   blurred(expected.offset)[..., 1:-1, 1:-1])  # fmt: skip
        assert 0 <= found.mask.min() <= found.mask.max() <= 1


def blurred(x):
    """What enlarging bilinearly to twice the size and averaging two by two makes of a map, in each direction."""
    for shape in ((3, 1), (1, 3)):
        kernel = torch.tensor([1.0, 6.0, 1.0]).div(8).view(1, 1, *shape).repeat(x.shape[1], 1, 1, 1)
        x = F.conv2d(x, kernel, padding=tuple(n // 2 for n in shape), groups=x.shape[1])
    return x


def test_a_downsampled_face_map_is_close_to_a_face_map_drawn_small():
    points = drawn_face() * 0.8 + (128, 120)
    large = torch.from_numpy(face_structure(points))[None]
    small = face_structure(points / 2, (128, 128))
    reduced = downsample_face_map(large, 2)[0].numpy()
    assert reduced.shape == small.shape
    assert np.abs(reduced[1:15] - small[1:15]).mean() < 0.01
    assert (reduced[15] == small[15]).mean() > 0.97
    assert reduced[0].sum() == pytest.approx(small[0].sum(), rel=0.3)


def test_training_on_smaller_frames_does_not_reduce_them_further(tmp_path):
    plan = clip_plan("face")
    plan = replace(plan, model=replace(plan.model, image_size=(128, 128), flow_reduction=2))
    plan = replace(plan, stages=tuple(replace(stage, image_size=(64, 64)) for stage in plan.stages))
    trainer = Trainer(plan, SequenceTask(plan, lambda stage: Drawn("face"), None), tmp_path, CPU, workers=0)
    assert trainer.learner.generator.flow_estimator.reduction == 1
    assert build(plan.model).flow_estimator.reduction == 2
    trainer.learner.start_stage(replace(plan.stages[0], image_size=plan.model.image_size))
    assert trainer.learner.generator.flow_estimator.reduction == 2


def test_models_with_a_reduction_are_exported_with_it(tmp_path):
    """Of faces; a command of the README exports pose-people, which has one, too."""
    config = tiny("face-people", image_size=(128, 128), flow_reduction=2)
    torch.manual_seed(3)
    save_bundle(tmp_path / "model", config, fresh(config).state_dict(), dtype=torch.float32)
    report = export_onnx(tmp_path / "model", tmp_path / "model.onnx")
    assert [check.height for check in report.checks] == [128, 128, 192]
    assert all(check.largest_difference < TOLERANCE["fp32"] for check in report.checks)
