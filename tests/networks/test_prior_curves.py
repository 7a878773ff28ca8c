"""Flow prior "curves": exact for rigid motion of a face; lids, lips and chin move with their curves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from drawn_landmarks import drawn_face, with_closed_eyes, with_open_mouth
from tiny_models import tiny

from gfla_cli.conditioning.face_map import face_structure
from gfla_cli.config import preset
from gfla_cli.errors import ConfigError
from gfla_cli.networks.flow import FlowEstimator
from gfla_cli.networks.priors import PRIOR_STRIDE
from gfla_cli.networks.priors.curves import curve_priors, read_face
from gfla_cli.person.face import EYES

FACE = drawn_face() * 0.55 + (128, 110)
UPPER_LIDS, LOWER_LIDS, LOWER_LIP, CHIN = [37, 38, 43, 44], [40, 41, 46, 47], [56, 57, 58], [8]


def moved(x, y):
    return FACE + np.array([x, y])


def maps(*faces, size=(256, 256)):
    channels = 16 + (faces[0].shape[0] == 70)
    return torch.from_numpy(np.stack([face_structure(face, size, None, channels) for face in faces]))


def looking(x, y, face=FACE):
    """The face with irises that are x, y pixels away from the middles of its eyes."""
    middles = np.array([face[list(eye)].mean(axis=0) for eye in EYES])
    return np.concatenate([face, middles + np.array([x, y])])


def priors(sources, target):
    return curve_priors([read_face(source) for source in sources], read_face(target), target)


def curve_flow(source, target):
    (guess,) = priors([source], target)
    return guess.flow


def at(flow, place):
    x, y = (int(v // PRIOR_STRIDE) for v in place)
    return flow[:, y, x].numpy()


@pytest.mark.parametrize(("scale", "angle", "shift"), [(1, 0, (20, -12)), (0.8, 0, (0, 0)), (1, 0.3, (-6, 4))])
def test_similarity_transforms_of_a_face_are_found(scale, angle, shift):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([128, 128])
    target = (FACE - middle) @ turn.T + middle + shift
    flow = curve_flow(maps(FACE), maps(target))[0]
    assert flow.shape == (2, 128, 128)
    for point in range(17, 68):
        centre = target[point] // PRIOR_STRIDE * PRIOR_STRIDE + 0.5
        origin = (centre - middle - shift) @ np.linalg.inv(turn).T + middle
        np.testing.assert_allclose(centre + at(flow, centre), origin, atol=1.5)


def test_closed_lids_come_from_open_lids():
    wide = FACE.copy()
    for upper, lower in zip(UPPER_LIDS, (41, 40, 47, 46), strict=True):
        wide[upper, 1] -= 4
        wide[lower, 1] += 2
    shut = with_closed_eyes(wide)
    flow = curve_flow(maps(wide), maps(shut))[0]
    way = np.mean(wide[UPPER_LIDS, 1] - shut[UPPER_LIDS, 1])
    skin = np.mean([at(flow, shut[point] - (0, 3))[1] for point in UPPER_LIDS])  # just above the line of the shut eye
    assert skin < 0.6 * way < -5
    brows = [at(flow, shut[point]) for point in range(18, 21)]
    np.testing.assert_allclose(brows, 0, atol=1)


def test_lower_lip_and_chin_move_with_an_opening_mouth():
    opened = with_open_mouth(FACE, 24)
    flow = curve_flow(maps(FACE), maps(opened))[0]
    for point in (*LOWER_LIP, *CHIN):
        assert -28 < at(flow, opened[point] - (0, 2))[1] < -12
    np.testing.assert_allclose([at(flow, opened[point]) for point in UPPER_LIDS], 0, atol=1.5)


def test_lips_come_from_lips_along_their_whole_length():
    opened = FACE.copy()
    opened[55:60, 1] += np.array([4, 7, 8, 7, 4])
    flow = curve_flow(maps(FACE), maps(opened))[0]
    for place in np.linspace(-0.8, 0.8, 17):
        x = FACE[57, 0] + place * (FACE[54, 0] - FACE[57, 0])
        lip, shut = (np.interp(x, *face[[48, 59, 58, 57, 56, 55, 54]].T) for face in (opened, FACE))
        assert at(flow, (x, lip))[1] == pytest.approx(shut - lip, abs=3.5)  # curves are read as parabolas


def test_the_whole_head_moves_with_a_turned_face():
    middle = FACE.mean(axis=0)
    aside = (FACE - middle) * (0.3, 1) + middle  # the eyes of a head in half profile are close to each other
    flow = curve_flow(maps(aside), maps(aside + np.array([12, 0])))[0]
    np.testing.assert_allclose(at(flow, middle + np.array([40, 0])), (-12, 0), atol=2)


def test_priors_of_two_sources_are_independent():
    target = maps(with_open_mouth(FACE, 10))
    together = priors([maps(FACE), maps(moved(9, 2))], target)
    for guess, face in zip(together, (FACE, moved(9, 2)), strict=True):
        torch.testing.assert_close(guess.flow, curve_flow(maps(face), target))


def test_eyes_and_mouth_that_open_further_than_in_the_source_are_not_visible():
    opened, ajar = with_open_mouth(FACE, 24), with_open_mouth(FACE, 14)
    asleep = with_closed_eyes(FACE)
    mouth, eye = (opened[[62, 66]].mean(axis=0), FACE[[37, 41]].mean(axis=0))
    for source, target, place, least, most in (
        (FACE, opened, mouth, 0.2, 0.55),
        (ajar, opened, mouth, 0.9, 1),
        (opened, opened, mouth, 1, 1),
        (opened, FACE, FACE[62], 1, 1),
        (asleep, FACE, eye, 0.2, 0.75),
        (FACE, FACE, eye, 1, 1),
        (FACE, opened, opened[30], 1, 1),  # the nose
        (FACE, opened, opened[57], 1, 1),  # the lip itself
    ):
        (guess,) = priors([maps(source)], maps(target))
        x, y = place.round().astype(int)
        assert least <= guess.visibility[0, 0, y, x].item() <= most
    nobody = torch.ones(1, 16, 256, 256)
    assert priors([nobody], maps(opened))[0].visibility.min() == 1


def test_the_flow_is_zero_far_from_the_face_and_without_a_face():
    flow = curve_flow(maps(FACE), maps(moved(10, 0)))[0]
    np.testing.assert_allclose(flow[:, -1, 0], 0, atol=0.1)
    nothing = torch.ones(1, 16, 256, 256)
    for source, target in ((maps(FACE), nothing), (nothing, maps(FACE)), (nothing, nothing)):
        assert curve_flow(source, target).abs().max() == 0


def test_faces_outside_the_frame_and_degenerate_faces_give_finite_offsets():
    for other in (moved(200, 0), FACE * 0 + (100, 100), FACE * (0.02, 1) + (100, 0)):
        for source, target in ((FACE, other), (other, FACE)):
            assert curve_flow(maps(source), maps(target)).isfinite().all()


def test_autocast_does_not_change_the_prior():
    exact = curve_flow(maps(FACE), maps(FACE + 3.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(curve_flow(maps(FACE), maps(FACE + 3.0)), exact)


def test_samples_of_a_batch_are_independent():
    first, second = moved(12, 5), with_open_mouth(FACE, 10)
    together = curve_flow(maps(first, second), maps(FACE, FACE))
    torch.testing.assert_close(together[:1], curve_flow(maps(first), maps(FACE)), atol=1e-3, rtol=0)


@pytest.mark.parametrize("channels", [16, 17])
@pytest.mark.parametrize("reduction", [1, 2])
def test_an_estimator_with_zero_corrections_gives_both_priors_at_every_level(reduction, channels):
    config = tiny("face-people", image_size=(256, 256), flow_reduction=reduction, structure_channels=channels)
    estimator = FlowEstimator(config, 6 + 3 * channels, references=2).eval()
    for head in estimator.offset_head.values():
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    previous, reference, target = (
        maps(face if channels == 16 else looking(3, 1, face)) for face in (moved(6, 0), FACE * 0.9, FACE)
    )
    with torch.inference_mode():
        levels = estimator([target, torch.rand(1, 3, 256, 256), previous, torch.rand(1, 3, 256, 256), reference])
    for sides, stride in zip(levels, (8, 4, 2), strict=True):
        for flow, source in zip(sides, (previous, reference), strict=True):
            expected = F.avg_pool2d(curve_flow(source, target), stride // PRIOR_STRIDE) / stride
            assert expected.abs().max() > 0.5
            torch.testing.assert_close(flow.offset, expected)


def test_masks_do_not_exceed_visibility():
    config = tiny("face-people", image_size=(256, 256), flow_reduction=2, structure_channels=16)
    estimator = FlowEstimator(config, 6 + 3 * 16, references=2).eval()
    for head in estimator.mask_head.values():
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    opened = with_open_mouth(FACE, 24)
    previous, reference, target = maps(opened), maps(FACE), maps(opened)
    picture = torch.rand(1, 3, 256, 256)
    with torch.inference_mode():
        levels = estimator([target, picture, previous, picture, reference])
    for sides, stride in zip(levels, (8, 4, 2), strict=True):
        for flow, guess in zip(sides, priors([previous, reference], target), strict=True):
            torch.testing.assert_close(flow.mask, 0.5 * F.avg_pool2d(guess.visibility, stride))
        assert sides[0].mask.min() == 0.5
        assert sides[1].mask.min() < 0.28


def test_irises_are_read_where_they_are_drawn():
    target = looking(2.3, -1.2)
    for face in (target, looking(-3, 1, moved(20, 9)), looking(0, 0, FACE * 0.8)):
        irises = read_face(maps(face)).irises[0].numpy()
        np.testing.assert_allclose(irises[:, :2], face[68:], atol=0.1)
        np.testing.assert_array_equal(irises[:, 2], 1)
    assert read_face(maps(FACE)).irises is None


@pytest.mark.parametrize("scale", [1, 0.7])
def test_each_iris_comes_from_that_of_the_source(scale):
    source, target = looking(-3, 1, FACE * scale + (12, 5)), looking(4, -1)
    flow = curve_flow(maps(source), maps(target))[0]
    for iris in (68, 69):
        np.testing.assert_allclose(at(flow, target[iris]), source[iris] - target[iris], atol=0.7)
    head_alone = curve_flow(maps(source[:68]), maps(target[:68]))[0]
    assert np.abs(at(head_alone, target[68]) - (source[68] - target[68])).max() > 4
    changed = (flow - head_alone).abs().amax(dim=0)
    xs, ys = target[36:48].T / PRIOR_STRIDE
    outside = changed.clone()
    for eye in (slice(0, 6), slice(6, 12)):
        box = [(int(v[eye].min()) - 1, int(v[eye].max()) + 2) for v in (ys, xs)]
        outside[box[0][0] : box[0][1], box[1][0] : box[1][1]] = 0
    assert outside.max() == 0  # nothing but the inside of the eyes
    corners = [at(changed[None], target[point])[0] for point in (36, 39, 42, 45)]
    assert max(corners) < 2


def test_an_iris_that_one_image_does_not_show_changes_nothing():
    unknown = looking(np.nan, np.nan)
    asleep = np.concatenate([with_closed_eyes(FACE), looking(3, 0)[68:]])
    plain = curve_flow(maps(FACE), maps(FACE))
    for source, target in ((unknown, looking(3, 0)), (looking(3, 0), unknown), (unknown, unknown)):
        torch.testing.assert_close(curve_flow(maps(source), maps(target)), plain, atol=0, rtol=0)
    shut = curve_flow(maps(asleep[:68]), maps(FACE))
    torch.testing.assert_close(curve_flow(maps(asleep), maps(looking(3, 0))), shut, atol=0, rtol=0)
    nothing = torch.ones(1, 17, 256, 256)
    assert curve_flow(nothing, maps(looking(3, 0))).abs().max() == 0


def test_irises_of_a_batch_are_independent():
    sources, targets = (looking(-3, 1), looking(4, 0, moved(9, 3))), (looking(2, -1), looking(-2, 0))
    together = curve_flow(maps(*sources), maps(*targets))
    for k in range(2):
        alone = curve_flow(maps(sources[k]), maps(targets[k]))
        torch.testing.assert_close(together[k : k + 1], alone, atol=1e-3, rtol=0)


def test_graphs_and_gpus_take_all_positions_and_give_the_same(monkeypatch):
    sources, targets = maps(looking(-3, 1), looking(4, 0)), maps(looking(2, -1, moved(9, 3)), looking(-2, 0))
    chosen = curve_flow(sources, targets)
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    torch.testing.assert_close(curve_flow(sources, targets), chosen, atol=1e-3, rtol=0)


def test_strange_irises_give_finite_offsets():
    for x, y in ((500, 0), (0, -80), (30, 30)):
        for source, target in ((looking(x, y), looking(0, 0)), (looking(0, 0), looking(x, y))):
            assert curve_flow(maps(source), maps(target)).isfinite().all()
    line = looking(0, 0, FACE * (0.02, 1) + (100, 0))
    assert curve_flow(maps(line), maps(looking(2, 0))).isfinite().all()
    assert curve_flow(maps(looking(2, 0)), maps(line)).isfinite().all()


def test_other_than_face_models_are_refused():
    with pytest.raises(ConfigError, match="face models"):
        replace(preset("pose-people"), flow_prior="curves")
