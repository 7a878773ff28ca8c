"""MakeHuman's files: meshes, targets, clothes, rigs and poses, read and taken apart."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_images import png
from tiny_makehuman import (
    BASE_VERTICES,
    CUBE,
    FIRST_CUBE,
    write_clothing,
    write_text,
)

from gfla_cli.errors import DataError
from gfla_cli.synth.makehuman.build import _read_colour
from gfla_cli.synth.makehuman.clothing import connected_parts, outfit_items, read_clothing, trimmed
from gfla_cli.synth.makehuman.figure import KEPT_BONES, read_rig, read_target, select_targets, strongest_bones
from gfla_cli.synth.makehuman.files import SKELETON, WEIGHTS, MakeHumanFiles, bvh, read_obj
from gfla_cli.synth.makehuman.mocap import distinct, joint_positions
from gfla_cli.synth.makehuman.poses import read_bvh, rotation_between
from gfla_cli.synth.renderer.camera import rotation_matrix


def test_polygons_become_triangles_with_groups_and_corners(tmp_path):
    write_text(
        tmp_path / "a.obj",
        ["v 0 0 0", "v 1 0 0", "v 1 1 0", "v 0 1 0", "vt .5 1", "f 1 2 3", "g top", "f 1//2 2/1/3 3 4"],
    )
    mesh = read_obj(tmp_path / "a.obj")
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 3]]
    assert mesh.group.tolist() == ["", "top", "top"]
    assert mesh.corner_uv.shape == (3, 3, 2)


@pytest.mark.parametrize("line", ["v 0 zero 0", "f 1 2 9", "f 1 2 x", "vt 1"])
def test_a_damaged_mesh_is_named(tmp_path, line):
    write_text(tmp_path / "a.obj", ["v 0 0 0", "v 1 0 0", "v 1 1 0", "vt 0 0", line])
    with pytest.raises(DataError, match=r"a\.obj: not a Wavefront mesh"):
        read_obj(tmp_path / "a.obj")


def test_a_target_may_be_empty(tmp_path):
    write_text(tmp_path / "a.target", ["3 .5 0 -1e-2", "12 0 0 1"])
    index, delta = read_target(tmp_path / "a.target")
    assert index.tolist() == [3, 12]
    assert delta.tolist() == [[0.5, 0, -0.01], [0, 0, 1]]
    write_text(tmp_path / "b.target", [])
    assert [len(part) for part in read_target(tmp_path / "b.target")] == [0, 0]


def test_targets_are_those_of_adults_with_both_sides_in_one(tmp_path):
    wanted = [
        "armslegs/l-lowerarm-fat-incr",
        "armslegs/r-lowerarm-fat-incr",
        "asym/asym-brown-1-l",
        "expression/units/asian/mouth-open",
        "macrodetails/height/male-young-averagemuscle-averageweight-minheight",
        "macrodetails/universal-male-old-maxmuscle-minweight",
        "nose/nose-hump-decr",
    ]
    unwanted = [
        "armslegs/l-foot-scale-incr",
        "asym/asym-temple-1-l",
        "breast/breast-point-incr",
        "head/head-trans-up",
        "macrodetails/asian-male-baby",
        "macrodetails/height/male-old-averagemuscle-averageweight-minheight",
        "measure/measure-neck-circ-incr",
    ]
    for name in wanted + unwanted:
        write_text(tmp_path / f"{name}.target", [])
    selected = select_targets(tmp_path)
    assert [str(path.relative_to(tmp_path))[:-7] for paths in selected.values() for path in paths] == wanted
    assert list(selected)[:3] == ["armslegs/lowerarm-fat-incr", "asym/asym-brown-1-l", "expression/asian/mouth-open"]


def test_clothing_follows_the_body(tmp_path):
    write_clothing(tmp_path / "suit.mhclo")
    suit = read_clothing(tmp_path / "suit.mhclo", BASE_VERTICES)
    assert suit.covered.tolist() == [FIRST_CUBE + k for k in (0, 1, 2, 3, 7)]
    assert suit.scale_vertices[0].tolist() == [FIRST_CUBE, FIRST_CUBE + 4]
    base = np.zeros((BASE_VERTICES, 3))
    base[FIRST_CUBE : FIRST_CUBE + 8] = np.array(CUBE) * 3
    fitted = suit.fit(base)
    np.testing.assert_array_equal(fitted[:8], base[FIRST_CUBE : FIRST_CUBE + 8])
    np.testing.assert_allclose(fitted[8], base[FIRST_CUBE] + [3, -4, 0])  # thrice as wide as it was made for


@pytest.mark.parametrize("line", ["19158", " 1 2 3 .5", "1 2 x 0 0 0"])
def test_damaged_clothing_is_named(tmp_path, line):
    write_clothing(tmp_path / "suit.mhclo", parts=1)
    text = (tmp_path / "suit.mhclo").read_text("latin-1")
    (tmp_path / "suit.mhclo").write_text(text.replace(f"\n{FIRST_CUBE}\n", f"\n{line}\n", 1), "latin-1")
    with pytest.raises(DataError, match=r"suit\.mhclo: not a piece of clothing"):
        read_clothing(tmp_path / "suit.mhclo", BASE_VERTICES)


@pytest.mark.usefixtures("ascii_opencv")
def test_images_may_lie_anywhere_and_damaged_ones_are_named(tmp_path):
    path = tmp_path / "Häuser.png"
    path.write_bytes(png(32, 32, (b"\0" + bytes([200, 90, 80]) * 32) * 32))
    assert _read_colour(path)[0, 0].tolist() == [80, 90, 200]
    for content in (b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"Häuser\.png: not a colour image"):
            _read_colour(path)


def test_parts_of_a_mesh_are_found_the_largest_first():
    faces = np.array([[0, 1, 2], [5, 6, 7], [7, 8, 5], [8, 9, 3]])
    part, sizes = connected_parts(faces, 10)
    assert part.tolist() == [1, 1, 1, 0, 2, 0, 0, 0, 0, 0]
    assert sizes.tolist() == [6, 3, 1]


def test_an_outfit_is_taken_apart(tmp_path):
    write_clothing(tmp_path / "suit.mhclo")
    base = np.zeros((BASE_VERTICES, 3))
    base[FIRST_CUBE : FIRST_CUBE + 8] = np.array(CUBE) * 3
    items = outfit_items("suit", read_clothing(tmp_path / "suit.mhclo", BASE_VERTICES), "bt", base)
    assert list(items) == ["top:suit", "bottom:suit"]
    assert [len(item.faces) for item in items.values()] == [10, 12]
    assert [len(item.reference) for item in items.values()] == [8, 8]
    assert sum(len(item.covered) for item in items.values()) == 5
    assert items["top:suit"].faces.max() == 7


def test_a_fringe_is_cut_above_the_eyes(tmp_path):
    write_clothing(tmp_path / "bob.mhclo", parts=1)
    bob = read_clothing(tmp_path / "bob.mhclo", BASE_VERTICES)
    base = np.zeros((BASE_VERTICES, 3))
    base[FIRST_CUBE : FIRST_CUBE + 8] = np.array(CUBE) * [0.5, 0.5, 1] + [0, 8, 0]  # reaches below the brows
    cut = trimmed(bob, base)
    assert (cut.barycentric.sum(1) == 1).all()
    hung = (cut.barycentric[..., None] * base[cut.reference]).sum(1) + cut.offset * bob.size(base)
    assert hung[hung[:, 2] == 1, 1].min() == pytest.approx(7.62)
    assert hung[hung[:, 2] == -1, 1].min() == pytest.approx(7.5)


def test_bones_that_are_left_out_give_their_weights_to_the_next_above(makehuman):
    files = MakeHumanFiles(makehuman)
    rig = read_rig(files.path(SKELETON), files.path(WEIGHTS), BASE_VERTICES)
    assert set(rig.bones) == KEPT_BONES
    assert rig.kept_parent("upperleg01.L") == "root"
    assert rig.weight[FIRST_CUBE, rig.bones.index("jaw")] == 0.75
    assert rig.weight[FIRST_CUBE, rig.bones.index("root")] == 0.25
    np.testing.assert_allclose(rig.weight.sum(1), 1)
    assert rig.repeated_joint_vertices().shape == (59, 48)
    assert (rig.parents()[1:] < np.arange(1, 59)).all()


def test_the_four_strongest_bones_are_kept():
    bone, share = strongest_bones(np.array([[0.1, 0.0, 0.4, 0.2, 0.05, 0.25]]))
    assert bone.tolist() == [[2, 5, 3, 0]]
    assert share.sum() == pytest.approx(1, abs=1e-3)


def test_static_poses_stand_upright_and_bend_through_bones_left_out(makehuman):
    path = MakeHumanFiles(makehuman).path(bvh("sit01"))
    rotation = read_bvh(path)
    np.testing.assert_allclose(rotation["root"], np.eye(3))
    np.testing.assert_allclose(rotation["pelvis.L"], rotation_matrix([np.radians(30), 0, 0]), atol=1e-12)


def test_a_limb_turns_the_shortest_way():
    for end in ([0, 1, 0], [1, 0, 0], [-1, 1e-6, 0], [0.3, -2, 1]):
        turned = rotation_between(np.array([2.0, 0, 0]), np.array(end)) @ [1, 0, 0]
        np.testing.assert_allclose(turned, np.array(end) / np.linalg.norm(end), atol=1e-5)


def test_captured_frames_count_once_while_the_pose_is_the_same():
    direction = np.zeros((6, 30))
    direction[2:, 0] = 1
    direction[4, 0] = 2
    assert distinct(direction).tolist() == [0, 2, 4]


def test_captured_joints_hang_together():
    clip = np.random.default_rng(0).normal(0, 0.4, (3, 117))
    knee, ankle = joint_positions(clip)[:, 3], joint_positions(clip)[:, 4]
    np.testing.assert_allclose(np.linalg.norm(ankle - knee, axis=1), np.hypot(2.49236, 6.8477))
