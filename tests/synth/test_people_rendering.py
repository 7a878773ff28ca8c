"""Rendered people: the images equal those of the prototype; data sets of them."""

import importlib.util
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import cv2
import numba
import numpy as np
import pytest
from paths import SHARED
from prototype_people import face_clip, person_pair
from scipy.spatial import cKDTree

from gfla_cli.datasets.people_sets import write_people_hard, write_people_mini, write_split
from gfla_cli.errors import UsageError
from gfla_cli.synth.pack import Pack
from gfla_cli.synth.people.body import Expression
from gfla_cli.synth.people.character import sample_character
from gfla_cli.synth.people.people import person_clip, portrait, random_views
from gfla_cli.synth.people.views import Shot, aim_camera, photograph, pose_character
from gfla_cli.synth.renderer.render import Light, Scene, render


@pytest.fixture(scope="session")
def pack():
    folder = SHARED / "humans"
    if not folder.is_dir():
        pytest.skip("no ../shared/humans beside the checkout")
    cv2.setNumThreads(1)
    return Pack.load(folder)


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


def assert_same_image(ours, theirs, share=1e-3):
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < share


def without_mouth(image, view):
    """The prototype has other teeth, another tongue, and skin in the mouth. Everything else is drawn as it does."""
    low, high = (edge(view.landmarks[48:68], axis=0) for edge in (np.min, np.max))
    (left, top), (right, bottom) = np.floor(low - 1).astype(int).clip(0), np.ceil(high + 2).astype(int).clip(0)
    blank = image.copy()
    blank[top:bottom, left:right] = 0
    return blank


def triangles_of(mesh):
    return np.sort(np.asarray(mesh, np.int64) @ (1 << np.array([40, 20, 0])))


def assert_same_state(ours, theirs):
    assert ours.bit_generator.state == theirs.bit_generator.state


def centred(keypoints):
    """The prototype counts from the image's edge, we count from the centre of the first pixel."""
    places = np.where(keypoints[:, :2] >= 0, (keypoints[:, :2] - 0.5).clip(0), -1)
    return np.column_stack([places, keypoints[:, 2]])


@pytest.mark.shared
@pytest.mark.parametrize("seed", range(12))
def test_pairs_are_those_of_the_prototype(pack, prototype, seed):
    our_rng, their_rng = np.random.default_rng(seed), np.random.default_rng(seed)
    (character, views), theirs = person_pair(pack, our_rng, 256), prototype.person_pair(their_rng, 256)
    assert_same_state(our_rng, their_rng)
    np.testing.assert_array_equal(character.body.vertices, theirs["character"]["V"])
    np.testing.assert_array_equal(triangles_of(character.mesh.triangles), triangles_of(theirs["character"]["tris"]))
    for name, view in zip(("source", "target"), views, strict=True):
        assert_same_image(*(without_mouth(image, view) for image in (view.image, theirs[name])))
        assert_same_image(view.mask, theirs[f"{name}_mask"])
        np.testing.assert_allclose(view.keypoints, centred(theirs[f"{name}_keypoints"]), atol=1e-3)


@pytest.mark.shared
@pytest.mark.parametrize(("clip", "points"), [(face_clip, "landmarks"), (person_clip, "keypoints")])
@pytest.mark.parametrize("seed", range(3))
def test_clips_are_those_of_the_prototype(pack, prototype, clip, points, seed):
    our_rng, their_rng = np.random.default_rng(seed), np.random.default_rng(seed)
    ours, theirs = clip(pack, our_rng, 4, 128), getattr(prototype, clip.__name__)(their_rng, 4, 128)
    assert_same_state(our_rng, their_rng)
    for k, view in enumerate(ours.frames):
        pair = (without_mouth(image, view) for image in (view.image, theirs["images"][k]))
        assert_same_image(*pair, share=5e-3)  # teeth shade the lips
        assert_same_image(view.mask, theirs["masks"][k])
        wanted = theirs[points][k]
        wanted = centred(wanted) if points == "keypoints" else wanted - 0.5
        np.testing.assert_allclose(getattr(view, points), wanted, atol=1e-3)


@pytest.mark.shared
def test_no_motion_is_longer_than_those_of_the_pack(pack):
    with pytest.raises(UsageError):
        person_clip(pack, np.random.default_rng(0), frames=100_000)


@pytest.mark.shared
def test_surfaces_lie_under_the_pixels_that_show_them(pack):
    rng = np.random.default_rng(3)
    character = sample_character(rng, pack)
    posed = pose_character(pack, character, pack.poses.sample(rng))
    camera = aim_camera(pack.skeleton, character, posed, Shot("full", yaw_deg=30, distance=40), 128)
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
def test_irises_are_where_the_eyes_show_them(pack):
    """The pixels that show an iris lie around its middle, wherever the eyes look."""
    for seed in (1, 3):
        clip = portrait(pack, np.random.default_rng(seed), 1, 2, 512, glances=np.random.default_rng(seed))
        middles = clip.character.irises.on(clip.character.rest)
        assert middles[0, 0] < -0.2 < 0.2 < middles[1, 0]  # the right one first
        shown = 0
        for view in (*clip.frames, *clip.stills):
            for iris, middle in zip(view.irises, middles, strict=True):
                away = np.nan_to_num(np.linalg.norm(view.surface - middle, axis=2), nan=9)
                if away.min() < 0.012:
                    row, column = np.unravel_index(away.argmin(), away.shape)
                    np.testing.assert_allclose(iris, (2 * column + 0.5, 2 * row + 0.5), atol=2.5)
                    shown += 1
        assert shown >= 3


@pytest.mark.shared
def test_equal_surfaces_of_two_views_have_equal_colours(pack):
    mix = {"crops": {"full": 1}, "directions": {"front": 1}, "backgrounds": {"white": 1}}
    first, second = random_views(pack, np.random.default_rng(1), 2, 256, **mix)
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
def test_random_views_are_a_pure_function_of_the_generator(pack):
    drawn = [random_views(pack, np.random.default_rng(7), 3, 64) for _ in range(2)]
    for first, again in zip(*drawn, strict=True):
        assert first.image.shape == (64, 64, 3)
        assert first.mask.shape == first.inverse_depth.shape == (64, 64)
        assert first.keypoints.shape == (18, 3)
        assert first.landmarks.shape == (68, 2)
        assert first.surface.shape == (32, 32, 3)
        assert first.irises.shape == (2, 2)
        for name in ("image", "mask", "keypoints", "landmarks", "irises", "surface", "inverse_depth"):
            np.testing.assert_array_equal(getattr(first, name), getattr(again, name))


@pytest.mark.shared
def test_random_views_show_what_their_mix_asks_for(pack):
    heads = random_views(pack, np.random.default_rng(0), 4, 64, crops={"head": 1}, directions={"front": 1})
    assert all((view.landmarks > -1).all() and (view.landmarks < 65).all() for view in heads)
    assert all((view.keypoints[[10, 13]] == [-1, -1, 0]).all() for view in heads)

    backs = random_views(pack, np.random.default_rng(0), 4, 64, crops={"full": 1}, directions={"back": 1})
    assert sum(view.keypoints[0, 2] for view in backs) == 0  # no nose is seen from behind
    assert all((view.keypoints[[10, 13], :2] >= 0).all() for view in backs)


@pytest.mark.usefixtures("ascii_opencv")
def test_a_set_may_lie_anywhere(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    view = SimpleNamespace(image=image, keypoints=np.full((18, 3), 9, np.float32))
    write_split(tmp_path / "Leute-é", "train", [(7, [view])], lambda names: [])
    (path,) = (tmp_path / "Leute-é" / "train").iterdir()
    written = path.read_bytes()
    assert written == cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


def talking(pack, jaw):
    """A face from the front with the mouth so far open, radians, and the middle of its inner lips."""
    rng = np.random.default_rng(6)
    character = sample_character(rng, pack)
    posed = pose_character(pack, character, pack.poses.standing(), Expression({}, jaw))
    light = Light(np.array([0.2, 0.4, 1]), np.full(3, 0.8), np.full(3, 0.4), floor=False)
    scene = Scene(np.full((256, 256, 3), 128, np.uint8), light)
    camera = aim_camera(pack.skeleton, character, posed, Shot(crop="head", yaw_deg=0, distance=15), 256)
    view = photograph(pack, character, posed, camera, scene)
    x, y = view.landmarks[60:68].mean(axis=0).round().astype(int)
    return view, view.image[:, x].astype(int), y


@pytest.mark.shared
def test_an_open_mouth_shows_teeth_before_a_dark_cavity(pack):
    view, column, middle = talking(pack, 0.4)
    lip, chin = int(view.landmarks[62, 1]), int(view.landmarks[66, 1])
    inside = column[lip + 1 : chin]
    brightness = inside.sum(axis=1)
    teeth, cavity = brightness[: len(inside) // 3].max(), brightness[len(inside) // 3 :].min()
    assert teeth > 300  # of 765
    assert cavity < 120
    upper = inside[brightness[: len(inside) // 3].argmax()]
    assert np.ptp(upper) < 60  # white, not red
    shut, column, middle = talking(pack, 0.0)
    assert np.abs(shut.landmarks[62] - shut.landmarks[66]).max() < 3
    red, green, _ = column[middle]
    assert red > green + 20  # lips


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
        # Mouths differ from the prototype's, and with them a few blocks of the JPEG file.
        assert (np.abs(ours.astype(int) - theirs.astype(int)).max(axis=2) > 1).mean() < 0.01
    for table in ("fasion-annotation-train.csv", "fasion-pairs-train.csv"):
        rows = (tmp_path / table).read_text().splitlines()
        assert rows == (shared / table).read_text().splitlines()[: len(rows)]


@pytest.mark.shared
def test_the_hard_set_is_fixed_and_busy(tmp_path):
    for name in ("first", "second"):
        write_people_hard(SHARED / "humans", tmp_path / name, characters=2, size=128)
    images = sorted((tmp_path / "first" / "test").iterdir())
    assert len(images) == 10
    for image in images:
        assert image.read_bytes() == (tmp_path / "second" / "test" / image.name).read_bytes()
    pairs = (tmp_path / "first" / "fasion-pairs-test.csv").read_text().splitlines()
    assert len(pairs) == 1 + 2 * 8
    assert "syn00001_0.jpg,syn00001_3.jpg" in pairs
    assert "syn00001_3.jpg,syn00001_0.jpg" in pairs
    rows = (tmp_path / "first" / "fasion-annotation-test.csv").read_text().splitlines()
    nose = [int(row.split(":")[2].split(",")[0].strip(" [")) for row in rows[1:]]
    assert nose[1] == nose[6] == -1  # the second image of everybody is a back
    assert nose[0] >= 0
    assert nose[5] >= 0
