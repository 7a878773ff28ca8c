"""Packs of synthetic people: built from a tiny folder of MakeHuman's files, loaded, and refused if damaged."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from paths import SHARED
from tiny_images import png
from tiny_makehuman import (
    CUBE,
    CUBE_FACES,
    joint_of,
    write_mesh,
)
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.errors import DataError, UsageError
from gfla_cli.synth.makehuman.build import build_pack
from gfla_cli.synth.makehuman.figure import KEYPOINTS, LANDMARKS
from gfla_cli.synth.makehuman.files import BASE_MESH, MakeHumanFiles
from gfla_cli.synth.makehuman.poses import CATALOGUE_POSES, PoseSolver, catalogue_pose
from gfla_cli.synth.pack import _REQUIRED_TEXTURES, Pack, Textures
from gfla_cli.synth.people.body import PoseLibrary, Skeleton
from gfla_cli.synth.people.people import person_clip, random_views


@pytest.fixture
def merged(makehuman, tmp_path):
    """A checkout of makehuman with the assets copied into it, as its own scripts do."""
    folder = tmp_path / "merged"
    shutil.copytree(makehuman / "makehuman", folder)
    shutil.copytree(makehuman / "makehuman-assets/base", folder / "makehuman/data", dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def pack(makehuman, tmp_path_factory):
    """The folder of a pack without motion capture."""
    out = tmp_path_factory.mktemp("pack")
    build_pack(MakeHumanFiles(makehuman), out)
    return out


def test_a_pack_is_built_and_can_be_loaded(pack):
    loaded = Pack.load(pack)
    prefixes = ("top:", "bottom:", "full:", "shoes:", "hair:", "brows:")
    assert [sum(name.startswith(prefix) for name in loaded.items) for prefix in prefixes] == [10, 10, 1, 3, 10, 5]
    assert {"hat:fedora", "eyes:high-poly", "lashes:eyelashes01", "tights", "skirt", "teeth"} < set(loaded.items)
    assert len(loaded.items["tights"].neutral.faces) == 4 * 12
    assert loaded.shapes.targets["nose/nose-wide"].delta.tolist() == [[0.5, -0.25, pytest.approx(1e-5, abs=1e-6)]] * 2
    assert loaded.shapes.expression_units == ("mouth-open",)
    np.testing.assert_allclose(
        loaded.skeleton.joints(loaded.base.rest)[loaded.skeleton.index["wrist.R"]], joint_of("wrist.R"), atol=1e-6
    )
    assert len(loaded.textures["skin_male2_head"].texels)


def test_without_motion_capture_there_are_still_poses(pack):
    poses = Pack.load(pack).poses
    rng = np.random.default_rng(0)
    assert len(poses.pose) == len(poses.distinct) == 42
    assert {poses.sample(rng, catalogue=share).shape for share in (0, 1)} == {(26, 3)}
    assert poses.sample_still(rng, ["mh_sit01"]).shape == (26, 3)
    assert poses.pose[poses.still["mh_sit01"], poses.index["upperleg01.L"], 0] == pytest.approx(
        np.radians(60), abs=1e-3
    )
    with pytest.raises(UsageError, match="no motion capture") as caught:
        poses.sample_clip(rng, 4)
    assert "--mocap" in caught.value.hint


def test_motion_capture_becomes_clips(makehuman, tmp_path):
    rng = np.random.default_rng(0)
    still = np.zeros((60, 117))
    turning = still + 0
    turning[:, 4] = np.linspace(0, 1, 60)  # the hips about y
    clips = {f"S1__walking_extra_{k}": still for k in (1, 2, 3)} | {"S5__turn": turning, "S5__short": still[:20]}
    np.savez(tmp_path / "mocap.npz", **clips)
    (tmp_path / "pack").mkdir()
    build_pack(MakeHumanFiles(makehuman), tmp_path / "pack", mocap=tmp_path / "mocap.npz")
    poses = Pack.load(tmp_path / "pack").poses
    assert poses.clips.tolist() == [[0, 30], [30, 30]]
    assert len(poses.pose) == 60 + 42
    assert np.ptp(poses.heading[30:60]) == pytest.approx(58 / 59, abs=1e-3)
    np.testing.assert_allclose(poses.pose[59], poses.pose[30], atol=2e-3)  # the heading is taken out
    assert len(poses.distinct) < 50
    assert len(poses.sample_clip(rng, 30)) == 30


@pytest.mark.parametrize("array", [np.zeros((20, 99)), np.full((20, 117), np.nan)])
def test_other_arrays_are_no_motion_capture(makehuman, tmp_path, array):
    np.savez(tmp_path / "mocap.npz", clip=array)
    with pytest.raises(DataError, match=r"mocap\.npz: clip of shape"):
        build_pack(MakeHumanFiles(makehuman), tmp_path, mocap=tmp_path / "mocap.npz")


def test_the_command_builds_a_pack_or_leaves_nothing(makehuman, tmp_path):
    runner = CliRunner()
    (tmp_path / "mocap.npz").write_text("no archive")
    out = tmp_path / "pack"
    spoiled = runner.invoke(
        app, ["data", "humans", str(makehuman), "-o", str(out), "--mocap", str(tmp_path / "mocap.npz")]
    )
    assert spoiled.exit_code == 1
    assert "no motion capture" in spoiled.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mocap.npz"]
    done = runner.invoke(app, ["data", "humans", str(makehuman), "-o", str(out)])
    assert (done.exit_code, done.stdout.strip()) == (0, str(out))
    assert sorted(path.name for path in out.iterdir()) == ["humans.npz", "poses.npz", "textures"]


def test_everything_that_is_missing_is_named_at_once(merged, tmp_path):
    for name in ("clothes/shoes01/shoes01.obj", "clothes/shoes01/shoes01_diffuse.png", "poses/sit01.bvh"):
        (merged / "makehuman/data" / name).unlink()
    shutil.rmtree(merged / "makehuman/data/targets/nose")
    result = CliRunner().invoke(app, ["data", "humans", str(merged), "-o", str(tmp_path / "pack")])
    assert result.exit_code == 1
    missing = "clothes/shoes01/{shoes01.obj, shoes01_diffuse.png}, poses/sit01.bvh, targets/nose/*.target"
    assert f"4 files are missing: {missing}" in result.stderr
    assert "github.com/makehumancommunity/makehuman-assets" in result.stderr


def test_the_layouts_that_people_have(makehuman, merged, tmp_path):
    data, assets = makehuman / "makehuman/makehuman/data", makehuman / "makehuman-assets/base"
    with pytest.raises(DataError, match="no assets of MakeHuman here"):
        MakeHumanFiles(data / "targets").check()
    with pytest.raises(DataError, match=r"files are missing: 3dobjs/base\.obj, eyes/high-poly/"):
        MakeHumanFiles(assets).check()
    with pytest.raises(DataError, match="files are missing: clothes/"):
        MakeHumanFiles(makehuman / "makehuman").check()
    MakeHumanFiles(makehuman).check()
    MakeHumanFiles(merged).check()
    MakeHumanFiles(merged / "makehuman").check()
    MakeHumanFiles(merged / "makehuman/data").check()

    flat = tmp_path / "flat"  # both without their outer folders, images in a folder of their own
    shutil.copytree(data, flat / "makehuman")
    shutil.copytree(assets, flat / "makehuman_assets")
    (flat / "makehuman_assets/skins/textures").rename(flat / "textures")
    MakeHumanFiles(flat).check()


def test_pointers_of_git_lfs_are_no_images(merged):
    image = merged / "makehuman/data/clothes/shoes01/shoes01_diffuse.png"
    image.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(DataError, match=r"1 file is still in Git LFS: clothes/shoes01/shoes01_diffuse\.png") as caught:
        MakeHumanFiles(merged).check()
    assert "git lfs pull" in caught.value.hint


def test_another_base_mesh_is_refused(merged, tmp_path):
    write_mesh(merged / "makehuman/data" / BASE_MESH, CUBE, CUBE_FACES)
    with pytest.raises(DataError, match="19158 vertices"):
        build_pack(MakeHumanFiles(merged), tmp_path)


@pytest.mark.shared
def test_landmarks_are_those_of_the_shared_pack():
    with np.load(SHARED / "humans/humans.npz") as humans:
        original = humans["original_index"]
        assert tuple(original[humans["landmark68"]]) == LANDMARKS
        assert tuple(map(tuple, original[humans["keypoint_vertex"]])) == KEYPOINTS


@pytest.mark.shared
def test_catalogue_poses_are_those_of_the_shared_pack():
    with np.load(SHARED / "humans/humans.npz") as humans, np.load(SHARED / "humans/poses.npz") as archive:
        skeleton, poses, rest = Skeleton.from_arrays(humans), dict(archive), humans["rest"]
    bones = [str(name) for name in poses["bone_name"]]
    names = list(skeleton.index)
    at = dict(zip(names, skeleton.joints(rest), strict=True))
    at |= {f"toe2-1.{side}": at[f"foot.{side}"] + [0, -0.4, 1] for side in "LR"}  # the pack does not know the toes
    ends = {"upperleg01": "lowerleg01", "lowerleg01": "foot", "foot": "toe2-1"}
    ends |= {"upperarm01": "lowerarm01", "lowerarm01": "wrist"}
    solver = PoseSolver(
        parent_of={bone: names[skeleton.parent[skeleton.index[bone]]] if bone != "root" else None for bone in bones},
        limb={f"{a}.{side}": at[f"{b}.{side}"] - at[f"{a}.{side}"] for a, b in ends.items() for side in "LR"},
        neck=at["head"] - at["neck01"],
    )
    without_feet = [k for k, bone in enumerate(bones) if not bone.startswith("foot")]
    library = PoseLibrary.from_arrays(poses, skeleton)
    for name, made in CATALOGUE_POSES.items():
        theirs = library.pose[library.still[name], without_feet].astype(float)
        np.testing.assert_allclose(catalogue_pose(made, solver)[without_feet], theirs, atol=1e-3)


@pytest.mark.shared
def test_people_without_motion_capture_can_be_photographed(tmp_path):
    for name in ("humans.npz", "textures"):
        (tmp_path / name).symlink_to(SHARED / "humans" / name)
    with np.load(SHARED / "humans/poses.npz") as archive:
        poses = dict(archive)
    clips = poses["clip_group"] != 0
    rows = poses["clip_start"][clips]
    poses |= {key: poses[key][clips] for key in ("clip_length", "clip_name", "clip_group")}
    poses |= {"pose": poses["pose"][rows], "root_yaw": poses["root_yaw"][rows]}
    poses |= {"clip_start": np.arange(len(rows)), "unique": np.arange(len(rows))}
    np.savez(tmp_path / "poses.npz", **poses)
    pack = Pack.load(tmp_path)
    views = random_views(pack, np.random.default_rng(0), count=2, size=64)
    assert all(view.mask.any() for view in views)
    with pytest.raises(UsageError, match="no motion capture"):
        person_clip(pack, np.random.default_rng(0), frames=4, size=64)


def test_a_folder_that_is_no_pack_is_refused_with_a_hint(tmp_path):
    with pytest.raises(DataError, match=r"no humans\.npz and no poses\.npz and no textures") as missing:
        Pack.load(tmp_path)
    assert "gfla data humans builds one" in missing.value.hint

    (tmp_path / "textures").mkdir()
    (tmp_path / "poses.npz").touch()
    (tmp_path / "humans.npz").write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(DataError, match="damaged"):
        Pack.load(tmp_path)

    for name in ("humans.npz", "poses.npz"):
        np.savez(tmp_path / name, something=np.zeros(3))
    with pytest.raises(DataError, match="not a pack"):
        Pack.load(tmp_path)


@pytest.mark.shared
@pytest.mark.parametrize("table", ["weight_index", "hat:fedora/ref", "hat:fedora/faces"])
def test_an_index_beyond_its_table_is_refused_before_compiled_code_follows_it(tmp_path, table):
    with np.load(SHARED / "humans" / "humans.npz") as archive:
        arrays = dict(archive)
    arrays[table].flat[3] = np.iinfo(arrays[table].dtype).max
    np.savez(tmp_path / "humans.npz", **arrays)
    shutil.copy(SHARED / "humans" / "poses.npz", tmp_path)
    with pytest.raises(DataError, match="not a pack"):
        Pack.load(tmp_path)


@pytest.mark.usefixtures("ascii_opencv")
def test_a_pack_may_lie_anywhere(tmp_path):
    folder = tmp_path / "Köpfe"
    folder.mkdir()
    for name in _REQUIRED_TEXTURES:
        (folder / f"{name}.png").touch()
    (folder / "tongue01.png").write_bytes(png(32, 32, (b"\0" + bytes([200, 90, 80]) * 32) * 32))
    texels = Textures(folder)["tongue01"].texels
    assert texels.reshape(-1, 4)[0].tolist() == [200, 90, 80, 255]
