"""The renderer of synthetic people: kernels by hand, and the pictures of the prototype it was taken over from."""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numba
import numpy as np
import pytest
from scipy.spatial import cKDTree

from gfla_cli.errors import DataError, UsageError
from gfla_cli.rendering import AlbumMix, Pack, People, rotations, write_people_hard, write_people_mini
from gfla_cli.rendering.backgrounds import BACKGROUNDS, background
from gfla_cli.rendering.camera import Camera
from gfla_cli.rendering.chance import choose
from gfla_cli.rendering.character import sample_character
from gfla_cli.rendering.fabrics import FABRICS, fabric, strands
from gfla_cli.rendering.framing import Shot, frame
from gfla_cli.rendering.light import Light, Scene
from gfla_cli.rendering.materials import Material, build_mesh
from gfla_cli.rendering.meshes import clip, merge_references
from gfla_cli.rendering.posing import bend
from gfla_cli.rendering.rasterizer import ALPHA_TEST, CULL_BACK, empty_samples, rasterize, surface_values
from gfla_cli.rendering.render import render
from gfla_cli.rendering.textures import mip_chain, plain, seamless_noise

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def triangle_mesh(texture=None, flags=0, faces=((0, 1, 2),)):
    faces = np.array(faces, np.int32)
    uv = np.tile(np.array([[0, 0], [1, 0], [0, 1]], np.float32), (len(faces), 1, 1))
    return build_mesh([faces], [uv], [Material(texture or plain(200, 100, 50), np.ones(3), flags=flags)])


def rasterized(screen, perspective=False, side=8, **kwargs):
    mesh = triangle_mesh(**kwargs)
    samples = empty_samples(side, len(mesh.triangles))
    rasterize(mesh, np.array(screen, np.float32), perspective, samples)
    return mesh, samples


# Corners of the lower left half of 8 x 8 samples; counter-clockwise to the eye, with y down, as front faces are.
HALF = [(0, 8, 10), (8, 8, 10), (0, 0, 10)]


def test_a_triangle_covers_the_samples_whose_centres_it_contains():
    _, samples = rasterized(HALF)
    rows, columns = np.mgrid[:8, :8]
    np.testing.assert_array_equal(samples.triangle >= 0, columns <= rows)
    np.testing.assert_allclose(samples.inverse_depth[samples.triangle >= 0], 0.1, rtol=1e-6)
    np.testing.assert_allclose(samples.barycentric[7, 0], [0.5 / 8, 0.5 / 8])


def test_the_nearest_triangle_is_seen():
    near, far = HALF, [(x, y, 20) for x, y, _ in HALF]
    for order, seen in ((near + far, 0), (far + near, 1)):
        _, samples = rasterized(order, faces=((0, 1, 2), (3, 4, 5)))
        assert set(np.unique(samples.triangle)) == {-1, seen}


def test_back_faces_are_drawn_unless_culled():
    back = [HALF[0], HALF[2], HALF[1]]
    assert (rasterized(back)[1].triangle >= 0).any()
    assert not (rasterized(back, flags=CULL_BACK)[1].triangle >= 0).any()


def test_transparent_texels_are_holes():
    picture = np.full((16, 16, 4), 255, np.uint8)
    picture[:, :8, 3] = 0
    _, samples = rasterized(HALF, texture=mip_chain(picture), flags=ALPHA_TEST)
    assert not (samples.triangle[:, :4] >= 0).any()
    assert (samples.triangle[7, 4:] >= 0).all()


def test_perspective_weights_are_those_on_the_surface():
    receding = [(0, 8, 1), (8, 8, 4), (0, 0, 1)]
    _, flat = rasterized(receding)
    mesh, true = rasterized(receding, perspective=True)
    share = (np.arange(8) + 0.5) / 8  # of the way on the screen; on the surface w * (1/4) / ((1 - w) + w/4)
    np.testing.assert_allclose(flat.barycentric[7, :, 0], share, rtol=1e-5)
    np.testing.assert_allclose(true.barycentric[7, :, 0], share / 4 / (1 - share + share / 4), rtol=1e-5)

    seen = np.empty((8, 8, 3), np.float32)
    surface_values(mesh, np.array(receding, np.float32), flat, np.eye(3, dtype=np.float32), 0, 1, seen)
    np.testing.assert_allclose(seen[7, :, 1], true.barycentric[7, :, 0], rtol=1e-5)
    assert np.isnan(seen[0, 7]).all()


def test_a_rendered_square_is_lit_masked_and_located():
    corners = np.array([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)], np.float32)
    mesh = triangle_mesh(texture=plain(255, 255, 255), faces=((0, 1, 2), (0, 2, 3)))
    camera = Camera(np.eye(3), np.zeros(3), distance=10.0, focal_px=80.0, centre_px=(16.0, 16.0), size=32)
    light = Light(np.array([0, 0, 1.0]), key=np.full(3, 0.5), ambient=np.full(3, 0.3), floor=False)
    scene = Scene(np.full((32, 32, 3), 90, np.uint8), light)
    picture = render(mesh, corners, np.tile(np.float32([0, 0, 1]), (4, 1)), corners, camera, scene, perspective=True)

    inside = np.zeros((32, 32), bool)
    inside[8:24, 8:24] = True
    np.testing.assert_array_equal(picture.mask, np.where(inside, 255, 0))
    np.testing.assert_array_equal(picture.image[~inside], 90)
    expected = 255 * np.sqrt(0.3 * 0.78 + 0.5)  # ambient light on an upright surface, and the key light in its face
    assert np.abs(picture.image[inside].astype(float) - expected).max() < 3
    x, y = (2 * np.arange(16) + 0.75 - 16) / 8, -(2 * np.arange(16) + 0.75 - 16) / 8  # 8 px per unit of length
    np.testing.assert_allclose(picture.surface[4:12, 4:12, 0], np.tile(x[4:12], (8, 1)), atol=1e-5)
    np.testing.assert_allclose(picture.surface[4:12, 4:12, 1].T, np.tile(y[4:12], (8, 1)), atol=1e-5)
    np.testing.assert_array_equal(np.isnan(picture.surface[..., 0]), ~inside[::2, ::2])


def test_clipping_a_square_cuts_its_edges_where_the_field_is_zero():
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    uv = np.zeros((2, 3, 2), np.float32)
    low, high, share, kept, kept_uv = clip(faces, uv, np.array([1.0, 1.0, -1.0, -3.0]))
    cuts = {(int(a), int(b)): float(w) for a, b, w in zip(low, high, share, strict=True)}
    assert cuts == {(1, 2): 0.5, (0, 2): 0.5, (0, 3): 0.25}
    assert len(kept) == len(kept_uv) == 3


def test_merged_references_keep_their_weight():
    reference, weight = np.array([[4, 7, 9, 7, 4, 4]], np.int32), np.array([[0.2, 0.3, 0, 0.1, 0.4, 0]], np.float32)
    merged, merged_weight = merge_references(reference, weight)
    np.testing.assert_array_equal(merged, [[4, 7, 4]])
    np.testing.assert_allclose(merged_weight, [[0.6, 0.4, 0]])


def test_mip_chain_halves_down_to_sixteen_and_keeps_the_mean():
    picture = np.random.default_rng(0).integers(0, 256, (128, 128, 4), np.uint8)
    chain = mip_chain(picture)
    assert (chain.side, chain.levels) == (128, 4)
    assert len(chain.texels) == 4 * (128**2 + 64**2 + 32**2 + 16**2)
    for level, start in enumerate(chain.offsets):
        texels = chain.texels[start : start + 4 * (128 >> level) ** 2]
        assert abs(texels.mean() - picture.mean()) < 1


@pytest.mark.parametrize("kind", FABRICS)
def test_fabrics_are_a_pure_function_of_the_generator(kind):
    first, again, other = (fabric(np.random.default_rng(seed), kind, side=128) for seed in (5, 5, 6))
    assert first.shape == (128, 128, 4)
    assert (first[..., 3] == 255).all()
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_backgrounds_are_a_pure_function_of_the_generator(kind):
    first, again, other = (background(np.random.default_rng(seed), 64, kind) for seed in (5, 5, 6))
    assert first.shape == (64, 64, 3)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_seamless_noise_continues_across_its_border():
    noise = seamless_noise(np.random.default_rng(0), 128, 32)
    steps = np.abs(np.diff(noise, axis=1)).max()
    assert np.abs(noise[:, 0] - noise[:, -1]).max() <= steps


def test_hair_ends_in_transparent_tips():
    alpha = strands(np.random.default_rng(0), 128)[..., 3]
    assert (alpha[:64] == 255).all()
    assert (alpha[-1] == 0).all()


def test_rotations_turn_back():
    vectors = np.random.default_rng(0).normal(size=(5, 3))
    matrices = rotations.to_matrix(vectors)
    np.testing.assert_allclose(matrices @ matrices.transpose(0, 2, 1), np.tile(np.eye(3), (5, 1, 1)), atol=1e-12)
    np.testing.assert_allclose([rotations.to_axis_angle(matrix) for matrix in matrices], vectors, atol=1e-9)


def test_choices_follow_their_shares():
    rng = np.random.default_rng(0)
    drawn = [choose(rng, {"often": 3.0, "never": 0.0, "seldom": 1.0}) for _ in range(400)]
    assert "never" not in drawn
    assert 0.6 < drawn.count("often") / 400 < 0.9


@pytest.mark.parametrize(
    "wrong",
    [
        {"crops": {"elbow": 1.0}},
        {"crops": {}},
        {"directions": {"front": -1.0}},
        {"backgrounds": {"white": 0.0}},
        {"catalogue": 1.5},
    ],
)
def test_an_impossible_mix_is_refused(wrong):
    with pytest.raises(UsageError):
        AlbumMix(**wrong)


def test_without_numba_the_extra_is_named():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "from gfla_cli.errors import MissingExtraError\n"
        "try:\n    import gfla_cli.rendering\n"
        "except MissingExtraError as error:\n    sys.exit(error.hint != 'pip install \"gfla[render]\"')\n"
        "sys.exit(2)"
    )
    root = Path(__file__).resolve().parents[1]
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == 0


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


# ----------------------------------------------------------------------------------------------- with the pack


@pytest.fixture(scope="session")
def pack():
    folder = SHARED / "humans"
    if not folder.is_dir():
        pytest.skip("no ../shared/humans beside the checkout")
    cv2.setNumThreads(1)
    return Pack.load(folder)


@pytest.fixture(scope="session")
def people(pack):
    return People(pack)


@pytest.fixture(scope="session")
def prototype(pack):
    """The renderer of the pack; its folder may be read-only, so the compiler's cache goes elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setattr(numba.config, "CACHE_DIR", str(Path(tempfile.gettempdir()) / "gfla-prototype-kernels"))
        spec = importlib.util.spec_from_file_location("humans_prototype", SHARED / "humans" / "renderer.py")
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, spec.name, module)  # numba imports the module of a cached kernel by name
        spec.loader.exec_module(module)
        yield module.Humans(str(SHARED / "humans"))


def assert_same_picture(ours, theirs):
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def assert_same_state(ours, theirs):
    assert ours.bit_generator.state == theirs.bit_generator.state


@pytest.mark.shared
@pytest.mark.parametrize("seed", range(12))
def test_pairs_are_those_of_the_prototype(people, prototype, seed):
    our_rng, their_rng = np.random.default_rng(seed), np.random.default_rng(seed)
    ours, theirs = people.person_pair(our_rng, 256), prototype.person_pair(their_rng, 256)
    assert_same_state(our_rng, their_rng)
    np.testing.assert_array_equal(ours.character.body.vertices, theirs["character"]["V"])
    np.testing.assert_array_equal(ours.character.mesh.triangles, theirs["character"]["tris"])
    np.testing.assert_array_equal(ours.character.mesh.materials.texels, theirs["character"]["texbuf"])
    for name, view in (("source", ours.source), ("target", ours.target)):
        assert_same_picture(view.image, theirs[name])
        assert_same_picture(view.mask, theirs[f"{name}_mask"])
        np.testing.assert_allclose(view.keypoints, theirs[f"{name}_keypoints"], atol=1e-3)


@pytest.mark.shared
@pytest.mark.parametrize("seed", range(3))
def test_face_clips_are_those_of_the_prototype(people, prototype, seed):
    our_rng, their_rng = np.random.default_rng(seed), np.random.default_rng(seed)
    ours, theirs = people.face_clip(our_rng, 4, 128), prototype.face_clip(their_rng, 4, 128)
    assert_same_state(our_rng, their_rng)
    for k, view in enumerate(ours.frames):
        assert_same_picture(view.image, theirs["images"][k])
        assert_same_picture(view.mask, theirs["masks"][k])
        np.testing.assert_allclose(view.landmarks, theirs["landmarks"][k], atol=1e-3)


@pytest.mark.shared
@pytest.mark.parametrize("seed", range(3))
def test_person_clips_are_those_of_the_prototype(people, prototype, seed):
    our_rng, their_rng = np.random.default_rng(seed), np.random.default_rng(seed)
    ours, theirs = people.person_clip(our_rng, 4, 128), prototype.person_clip(their_rng, 4, 128)
    assert_same_state(our_rng, their_rng)
    for k, view in enumerate(ours.frames):
        assert_same_picture(view.image, theirs["images"][k])
        assert_same_picture(view.mask, theirs["masks"][k])
        np.testing.assert_allclose(view.keypoints, theirs["keypoints"][k], atol=1e-3)


@pytest.mark.shared
def test_no_motion_is_longer_than_those_of_the_pack(people):
    with pytest.raises(UsageError):
        people.person_clip(np.random.default_rng(0), frames=100_000)


@pytest.mark.shared
def test_surfaces_lie_under_the_pixels_that_show_them(pack):
    rng = np.random.default_rng(3)
    character = sample_character(rng, pack)
    posed = bend(pack, character, pack.poses.sample(rng))
    camera = frame(pack.skeleton, character, posed, Shot("full", yaw_deg=30, distance=40), 128)
    light = Light(np.array([0, 1.0, 1]), key=np.ones(3), ambient=np.ones(3), floor=True)
    scene = Scene(np.zeros((128, 128, 3), np.uint8), light)
    world = render(character.mesh, posed.vertices, posed.normals, posed.vertices, camera, scene).surface
    seen = ~np.isnan(world[..., 0])
    assert seen.mean() > 0.05
    rows, columns = np.nonzero(seen)
    np.testing.assert_allclose(camera.project(world[seen])[:, 0], 2 * columns + 0.75, atol=2e-3)
    np.testing.assert_allclose(camera.project(world[seen])[:, 1], 2 * rows + 0.75, atol=2e-3)

    rest = render(character.mesh, posed.vertices, posed.normals, character.rest, camera, scene).surface
    np.testing.assert_array_equal(np.isnan(rest), np.isnan(world))
    low, high = character.rest.min(0), character.rest.max(0)
    assert ((rest[seen] > low - 1e-3) & (rest[seen] < high + 1e-3)).all()


@pytest.mark.shared
def test_equal_surfaces_of_two_views_have_equal_colours(people):
    mix = AlbumMix(crops={"full": 1}, directions={"front": 1}, backgrounds={"white": 1})
    first, second = people.album(np.random.default_rng(1), 2, 256, mix)
    colours, places = [], []
    for view in (first, second):
        seen = ~np.isnan(view.surface[..., 0])
        places.append(view.surface[seen])
        colours.append(view.image[::2, ::2][seen].astype(float))
    distance, match = cKDTree(places[0]).query(places[1])
    close = distance < 0.05
    assert close.mean() > 0.2
    same = np.abs(colours[0][match[close]] - colours[1][close]).mean()
    shuffled = np.abs(colours[0][np.random.default_rng(0).permutation(match[close])] - colours[1][close]).mean()
    assert same < shuffled / 2


@pytest.mark.shared
def test_an_album_is_a_pure_function_of_its_generator(people):
    albums = [people.album(np.random.default_rng(7), 3, 64) for _ in range(2)]
    for first, again in zip(*albums, strict=True):
        assert first.image.shape == (64, 64, 3)
        assert first.mask.shape == first.inverse_depth.shape == (64, 64)
        assert first.keypoints.shape == (18, 3)
        assert first.landmarks.shape == (68, 2)
        assert first.surface.shape == (32, 32, 3)
        for name in ("image", "mask", "keypoints", "landmarks", "surface", "inverse_depth"):
            np.testing.assert_array_equal(getattr(first, name), getattr(again, name))


@pytest.mark.shared
def test_an_album_shows_what_its_mix_asks_for(people):
    heads = people.album(np.random.default_rng(0), 4, 64, AlbumMix(crops={"head": 1}, directions={"front": 1}))
    assert all((view.landmarks > -1).all() and (view.landmarks < 65).all() for view in heads)
    assert all((view.keypoints[[10, 13]] == [-1, -1, 0]).all() for view in heads)

    backs = people.album(np.random.default_rng(0), 4, 64, AlbumMix(crops={"full": 1}, directions={"back": 1}))
    assert sum(view.keypoints[0, 2] for view in backs) == 0  # no nose is seen from behind
    assert all((view.keypoints[[10, 13], :2] >= 0).all() for view in backs)


@pytest.mark.shared
def test_people_mini_is_the_shared_one(tmp_path):
    shared = SHARED / "people-mini"
    if not shared.is_dir():
        pytest.skip("no ../shared/people-mini beside the checkout")
    write_people_mini(SHARED / "humans", tmp_path, train=2, test=0)
    names = (tmp_path / "train.lst").read_text().splitlines()
    assert names == [f"syn{identity:05d}_{k}.jpg" for identity in range(2) for k in range(5)]
    for name in names:
        ours, theirs = (cv2.imread(str(folder / "train" / name)) for folder in (tmp_path, shared))
        assert_same_picture(ours, theirs)
    for table in ("fasion-annotation-train.csv", "fasion-pairs-train.csv"):
        rows = (tmp_path / table).read_text().splitlines()
        assert rows == (shared / table).read_text().splitlines()[: len(rows)]


@pytest.mark.shared
def test_the_hard_set_is_fixed_and_busy(tmp_path):
    for name in ("first", "second"):
        write_people_hard(SHARED / "humans", tmp_path / name, characters=2, size=128)
    pictures = sorted((tmp_path / "first" / "test").iterdir())
    assert len(pictures) == 10
    for picture in pictures:
        assert picture.read_bytes() == (tmp_path / "second" / "test" / picture.name).read_bytes()
    pairs = (tmp_path / "first" / "fasion-pairs-test.csv").read_text().splitlines()
    assert len(pairs) == 1 + 2 * 8
    assert "syn00001_0.jpg,syn00001_3.jpg" in pairs
    assert "syn00001_3.jpg,syn00001_0.jpg" in pairs
    rows = (tmp_path / "first" / "fasion-annotation-test.csv").read_text().splitlines()
    nose = [int(row.split(":")[2].split(",")[0].strip(" [")) for row in rows[1:]]
    assert nose[1] == nose[6] == -1  # the second picture of everybody is a back
    assert nose[0] >= 0
    assert nose[5] >= 0
