"""What holds for any keypoint file, any model description and any crop, whatever the numbers are."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gfla_cli.config import PRESETS, Level, ModelConfig, preset
from gfla_cli.errors import ConfigError, DetectionError, LandmarkError
from gfla_cli.geometry.crop import Crop
from gfla_cli.networks.build import build
from gfla_cli.person.body import body_crop
from gfla_cli.person.body_motion import aligned
from gfla_cli.person.keypoint_files import read_pose, read_poses, write_pose
from gfla_cli.person.pose import Pose

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)

number = st.one_of(st.integers(-(10**20), 10**20), st.floats(), st.sampled_from([10**400, -1, 0, 1, 1e400, 0.5]))
tree = st.recursive(
    st.one_of(st.none(), st.booleans(), number, st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=20,
)
side = st.integers(1, 30_000)


def poses(reach):
    """Poses with at least one joint, in pixels up to `reach`, missing joints among them."""
    joint = st.tuples(
        st.floats(-reach, reach, width=32), st.floats(-reach, reach, width=32), st.sampled_from([0, 0.5, 1])
    )
    joints = st.lists(joint, min_size=18, max_size=18).filter(lambda found: any(c for _, _, c in found))
    return st.builds(
        lambda found, height, width: Pose(np.array(found, np.float32), (height, width)), joints, side, side
    )


def outcome(call, expected):
    """What a call returns, or nothing and the one line that an expected error says."""
    try:
        return call(), ""
    except expected as error:
        return None, str(error)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("poses") / "pose.json"


@settings(quick, max_examples=25)
@given(pose=poses(20_000))
def test_a_pose_comes_back_exactly_from_its_file_or_is_named_as_impossible(file, pose):
    write_pose(file, pose, overwrite=True)
    back, said = outcome(lambda: read_pose(file), LandmarkError)
    if back is None:  # joints far outside of their image, for instance
        assert said.startswith(str(file))
    elif np.abs(pose.points[pose.present, :2]).max() > 2:  # else they may be shares of the image
        np.testing.assert_array_equal(back.points, pose.points)
        assert back.size == pose.size


KEYS = ("people", "points", "keypoints", "annotations", "pose_keypoints_2d", "size", "format", "version", "images")


@quick
@given(
    content=st.one_of(
        tree,
        st.fixed_dictionaries({}, optional={key: tree for key in KEYS}),
        st.fixed_dictionaries({"people": st.lists(st.fixed_dictionaries({"pose_keypoints_2d": tree}), max_size=3)}),
        st.fixed_dictionaries({"keypoints": st.lists(number, min_size=51, max_size=51)}),
        st.fixed_dictionaries(
            {"format": st.just("gfla-pose"), "version": st.just(1), "size": st.lists(number, max_size=3),
             "points": st.lists(st.lists(number, min_size=3, max_size=3), min_size=18, max_size=18)}
        ),
    )
)  # fmt: skip
def test_any_json_is_poses_or_an_error_of_one_line(file, content):
    file.write_text(json.dumps(content))
    found, said = outcome(lambda: read_poses(file, frame=(256, 256)), LandmarkError)
    assert bool(said) != bool(found)
    assert "\n" not in said
    assert all(np.isfinite(pose.points).all() and pose.present.any() for pose in found or ())


@quick
@given(text=st.text(alphabet=st.sampled_from('0123456789.,-:[]e naN\n\r"a/\x00é'), max_size=200))
def test_any_table_is_poses_or_an_error_of_one_line(file, text):
    table = file.with_suffix(".csv")
    table.write_text(f"name:keypoints_y:keypoints_x\n{text}", encoding="utf-8")
    found, said = outcome(lambda: read_poses(table), LandmarkError)
    assert bool(said) != bool(found)
    assert "\n" not in said


@quick
@given(
    name=st.sampled_from(sorted(PRESETS)),
    changes=st.dictionaries(st.sampled_from([f.name for f in fields(ModelConfig)]), tree, max_size=2),
)
def test_any_description_is_a_network_or_an_error(name, changes):
    content = json.loads(json.dumps({**preset(name).to_json(), **changes}))
    config, said = outcome(lambda: ModelConfig.from_json(content), ConfigError)
    if config is None:
        assert said
        return
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    with torch.device("meta"):
        build(config)


levels = st.sampled_from([(8, 4, 2), (8, 4), (8,), (4,), (2,), (8, 2)])


@settings(quick, max_examples=12)
@given(
    sampler=st.sampled_from(["none", "bilinear", "global", "local"]),
    strides=levels,
    patch=st.sampled_from([1, 3, 5]),
    width=st.integers(4, 9),
    norms=st.tuples(st.booleans(), st.booleans()),
    size=st.sampled_from([(64, 32), (32, 96), (64, 64)]),
)
def test_every_small_network_draws_at_its_size(sampler, strides, patch, width, norms, size):
    config = replace(
        preset("pose-fashion"), sampler=sampler, width=width, max_width=2 * width, flow_width=width,
        flow_max_width=2 * width, flow_reduction=1, source_norm=norms[0], structure_norm=norms[1], image_size=size,
        refines_heads=False,
        refines_halves=False,
        levels=tuple(Level(stride=stride, patch=patch) for stride in strides),
    )  # fmt: skip
    with torch.inference_mode():
        made = build(config).eval()(torch.rand(1, 3, *size), *torch.rand(2, 1, 18, *size)).image
    assert made.shape == (1, 3, *size)
    assert torch.isfinite(made).all()


@settings(quick, max_examples=25)
@given(
    source=poses(300), target=st.one_of(poses(300), poses(1e5)), aspect=st.sampled_from([1.0, 0.5, 176 / 256]),
    picture=st.tuples(st.integers(1, 200), st.integers(1, 200)), align=st.booleans(),
)  # fmt: skip
def test_any_two_people_are_framed_or_refused(source, target, aspect, picture, align):
    source = Pose(source.points, picture)
    together = [source, aligned(target, source)] if align else [source]
    frame, said = outcome(lambda: body_crop(together, (64, 64), aspect), DetectionError)
    if frame is None:
        assert "frame of" in said
        return
    assert frame.image(np.zeros((*picture, 3), np.uint8)).shape == (64, 64, 3)
    for pose in together:
        points = pose.cropped(frame).within_frame().points
        assert np.isfinite(points).all()
        assert (points[points[:, 2] > 0, :2] <= 63).all()


@quick
@given(
    corner=st.tuples(*[st.integers(-300, 300)] * 2), extent=st.tuples(*[st.integers(1, 600)] * 2),
    size=st.tuples(*[st.sampled_from([32, 64])] * 2),
    picture=st.tuples(st.integers(2, 120), st.integers(2, 120)), grey=st.integers(0, 255),
)  # fmt: skip
def test_any_crop_has_the_frame_s_size_and_a_plain_image_stays_plain(corner, extent, size, picture, grey):
    left, top = corner
    cut = Crop((left, top, left + extent[0], top + extent[1]), size).image(np.full((*picture, 3), grey, np.uint8))
    assert cut.shape == (*size, 3)
    assert (cut == grey).all()


@quick
@given(picture=st.tuples(st.integers(1, 5000), st.integers(1, 5000)), place=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_joint_stays_where_it_was_seen_in_a_whole_image(picture, place):
    points = np.full((18, 3), -1, np.float32)
    points[:, 2] = 0
    points[0] = (place[0] * (picture[1] - 1), place[1] * (picture[0] - 1), 1)
    x, y, _ = Pose(points, picture).scaled((128, 64)).within_frame().points[0]
    assert x == pytest.approx(np.clip((points[0, 0] + 0.5) * 64 / picture[1] - 0.5, 0, 63), abs=0.01)
    assert y == pytest.approx(np.clip((points[0, 1] + 0.5) * 128 / picture[0] - 0.5, 0, 127), abs=0.01)
