"""Rendered chairs and other objects: shapes, views, correspondences, GLB files, albums, pairs."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

from gfla_cli.data.albums import AlbumPlan, Albums
from gfla_cli.data.chairs import ChairAlbums, ChairPairs, ChairPlan, plan_with
from gfla_cli.data.correspondence import correspond
from gfla_cli.data.unseen_chairs import UnseenChairs
from gfla_cli.errors import DataError
from gfla_cli.rendering.chair_backs import BACKS, BackPlane, back
from gfla_cli.rendering.chairs import FAMILIES, sample_chair
from gfla_cli.rendering.finishes import FINISHES, finish
from gfla_cli.rendering.glb import read_glb
from gfla_cli.rendering.object_folder import ObjectFolder
from gfla_cli.rendering.objects import ObjectLight, camera, photograph_object, sample_object_light, solid
from gfla_cli.rendering.rotations import to_matrix
from gfla_cli.rendering.shapes import box, joined, sheet, tube, turned
from gfla_cli.structure.view import AZIMUTHS, CODE_LENGTH

LIGHT = ObjectLight(np.array([0.2, 0.9, 0.3]), key=0.3, ambient=0.7)
TINY_PLAN = ChairPlan(objects=2, elevations=2, azimuths=3, size=64)


def rng(*seed):
    return np.random.default_rng(list(seed) or [0])


def curved_sheet():
    u, v = np.meshgrid(np.linspace(-1, 1, 6), np.linspace(0, 1, 5), indexing="ij")
    return sheet(np.stack([u, v, -0.2 * u * u], -1), 0.1)


RING = np.stack([np.cos(np.arange(0, 6, 0.5)), np.zeros(12), np.sin(np.arange(0, 6, 0.5))], axis=1)
SHAPES = {
    "box": (box(2, 3, 4), 24),
    "round box": (box(2, 3, 4, 0.3, rounds=3, cells=3), 23.3),
    "tube": (tube([[0, 0, 0], [0, 4, 0]], 0.5, sides=32), np.pi),
    "square bar": (tube([[0, 0, 0], [0, 4, 0]], 0.5, square=True), 4),
    "flat bar": (tube([[0, 0, 0], [0, 4, 0]], 0.5, square=True, flat=0.5), 2),
    "bent tube": (tube([[0, 0, 0], [0, 2, 0], [1, 3, 0]], [0.2, 0.2, 0.1]), None),
    "ring": (tube(RING, 0.1, closed=True), None),
    "turned": (turned([(0, 0), (1, 0), (1, 2), (0, 2)], sides=64), 2 * np.pi),
    "turned outline": (turned([(0, 0), (1, 0), (1, 2), (0, 2)], [(1, 1), (1, -1), (-1, -1), (-1, 1)]), 8),
    "sheet": (curved_sheet(), None),
    "bent": (box(2, 3, 0.4, 0.1, cells=5).deformed(lambda p: p + [0, 0, 1] * p[:, :1] ** 2 * 0.2), 2.34),
    "mirrored": (tube([[0, 0, 0], [0, 2, 0], [1, 3, 0]], 0.2).mirrored(), None),
    "turned around": (box(2, 3, 4).turned(to_matrix([0.3, 1, 0.2])), 24),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_closed_and_turn_the_way_their_normals_point(name):
    shape, volume = SHAPES[name]
    corners = shape.vertices[shape.faces]
    turn = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(turn, axis=1)
    alike = (turn * shape.normals[shape.faces].mean(axis=1)).sum(axis=1)[area > 1e-8] / area[area > 1e-8]
    assert alike.min() > 0.7
    np.testing.assert_allclose(np.linalg.norm(shape.normals, axis=1), 1, atol=1e-6)
    enclosed = (corners[:, 0] * np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert enclosed > 0
    if volume is not None:
        assert enclosed == pytest.approx(volume, rel=0.01)


def test_joined_shapes_keep_their_faces():
    both = joined([box(1, 1, 1), box(1, 1, 1).moved(x=5)])
    assert both.vertices[both.faces][..., 0].max() == pytest.approx(5.5)
    assert len(both.uv) == len(both.faces) == 2 * len(box(1, 1, 1).faces)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_chairs_that_fill_the_frame_and_stay_in_it(family):
    for seed in range(3):
        chair = sample_chair(rng(seed), family)
        assert np.isfinite(chair.vertices).all()
        drawn = chair.vertices[chair.mesh.drawn]
        for azimuth in (0, 50, 120):
            seen = camera(chair, azimuth, 20, 1).project(drawn)[:, :2]
            assert seen.min() > 0.03
            assert seen.max() < 0.97
        assert np.ptp(seen, axis=0).max() > 0.5


@pytest.mark.parametrize("style", BACKS)
def test_every_back_can_be_built(style):
    plane = BackPlane(bottom=4.5, top=9, width=4, flare=1.1, z=-2, recline=0.2, wrap=0.3)
    points = joined([shape for shape, _ in back(rng(), style, plane, "frame", 0.3)]).vertices
    assert np.isfinite(points).all()
    assert 3.5 < points[:, 1].min() < 7.5
    assert 8 < points[:, 1].max() < 10


@pytest.mark.parametrize("kind", FINISHES)
def test_every_finish_is_a_texture_with_contrast_enough_to_follow(kind):
    made = finish(rng(), kind)
    finest = made.material.texture.texels[: made.material.texture.side**2 * 4].reshape(-1, 4)
    assert made.tile > 0
    assert finest[:, :3].std(axis=0).max() > 0.3


def test_a_chair_is_a_function_of_its_generator():
    one, same, other = (sample_chair(rng(seed)) for seed in (4, 4, 5))
    assert np.array_equal(one.vertices, same.vertices)
    assert np.array_equal(one.mesh.materials.texels, same.mesh.materials.texels)
    assert one.vertices.shape != other.vertices.shape or not np.array_equal(one.vertices, other.vertices)


def arrow():
    """A grey box with a red block on its front and a blue one on its left."""
    paint = [replace(finish(rng(k), "paint"), tile=4.0) for k in range(3)]
    colours = np.array([[0.5, 0.5, 0.5], [1, 0, 0], [0, 0, 1]])
    white = finish(rng(), "dark").material.texture
    done = [
        replace(p, material=replace(p.material, tint=c * 40, texture=white))
        for p, c in zip(paint, colours, strict=True)
    ]
    return solid([(box(4, 4, 4), done[0]), (box(2, 2, 1).moved(z=2.5), done[1]), (box(1, 2, 2).moved(x=2.5), done[2])])


def test_azimuth_0_is_the_front_and_90_the_left_side():
    item = arrow()
    front, left, behind = (photograph_object(item, a, 10, LIGHT, 64).image[32, 32].astype(int) for a in (0, 90, 180))
    assert front[0] > front[2] + 50
    assert left[2] > left[0] + 50
    assert abs(behind[0] - behind[2]) < 20
    # At 40 degrees the front turns to the left of the picture.
    row = photograph_object(item, 40, 10, LIGHT, 64).image[32].astype(int)
    assert np.argmax(row[:, 0] - row[:, 2]) < np.argmax(row[:, 2] - row[:, 0])


def test_a_view_has_a_white_background_a_mask_and_its_surface():
    view = photograph_object(sample_chair(rng(1)), 40, 10, LIGHT, 64)
    assert view.image.shape == (64, 64, 3)
    assert (view.image[view.mask == 0] == 255).all()
    assert (view.image[0] == 255).all()
    assert view.surface.shape == (32, 32, 3)
    seen = ~np.isnan(view.surface[..., 0])
    assert 0.8 < seen.sum() / (view.mask[::2, ::2] > 127).sum() < 1.2


def test_a_contact_shadow_is_there_only_when_asked_for():
    chair, light = sample_chair(rng(1)), sample_object_light(rng(2))
    without, shadowed = (photograph_object(chair, 40, 20, replace(light, floor=f), 64) for f in (False, True))
    paper = without.mask == 0
    assert (without.image[paper] == 255).all()
    assert shadowed.image[paper].min() < 230


def test_correspondences_of_two_views_lead_to_the_same_colours():
    errors, hidden = [], 0
    for seed in range(4):
        draw = rng(8, seed)
        chair, light = sample_chair(draw, "armchair"), sample_object_light(draw)
        source, target = (photograph_object(chair, a, 10, light, 128) for a in (20, 60))
        known = correspond(source.surface, target.surface, 32, 0.15)
        inside = cv2.erode((target.mask == 255).astype(np.uint8), np.ones((5, 5))) > 0
        place = (np.arange(32) * 4 + 2.75).astype(np.float32)
        x, y = np.meshgrid(place, place)
        moved = x + known.offset[0] * 128, y + known.offset[1] * 128
        here = cv2.remap(target.image, x, y, cv2.INTER_LINEAR).astype(float)
        there = cv2.remap(source.image, *(m.astype(np.float32) for m in moved), cv2.INTER_LINEAR).astype(float)
        seen = (known.visible[0] == 1) & inside[(y.astype(int), x.astype(int))]
        errors.append(np.abs(here - there).mean(axis=-1)[seen])
        hidden += int((known.visible[0] == -1).sum())
    assert np.median(np.concatenate(errors)) < 8
    assert hidden > 20  # some of what the target shows, the source does not


def test_the_two_sides_of_a_thin_board_are_different_points():
    board = solid([(box(4, 4, 0.05), finish(rng(), "plastic"))])
    front, behind = (photograph_object(board, a, 0, LIGHT, 64) for a in (0, 180))
    known = correspond(front.surface, behind.surface, 16, 0.15)
    assert (known.visible[0][6:10, 6:10] != 1).all()


def triangle_glb(path, *, change=lambda d: d, cut=None, normals=True):
    """A file with one red triangle, its description passed through `change`."""
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.5]], np.float32)
    index, normal = np.array([0, 1, 2], np.uint16), np.tile(np.float32([0, 0, 1]), (3, 1))
    binary = points.tobytes() + normal.tobytes() + index.tobytes() + b"\0\0"
    attributes = {"POSITION": 0} | ({"NORMAL": 1} if normals else {})
    description = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "translation": [0, 2, 0], "rotation": [0, 1, 0, 0], "scale": [2, 2, 2]}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 2, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1]}}],
        "buffers": [{"byteLength": len(binary)}],
        "bufferViews": [{"buffer": 0, "byteOffset": o, "byteLength": n} for o, n in ((0, 36), (36, 36), (72, 6))],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5126, "count": 3, "type": "VEC3"},
            {"bufferView": 2, "componentType": 5123, "count": 3, "type": "SCALAR"},
        ],
    }
    text = json.dumps(change(description)).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    path.write_bytes((b"glTF" + struct.pack("<II", 2, 12 + len(body)) + body)[:cut])
    return path


@pytest.mark.parametrize("normals", [True, False])
def test_a_glb_file_is_read_with_its_places_and_colours(tmp_path, normals):
    (part,) = read_glb(triangle_glb(tmp_path / "a.glb", normals=normals))
    # Half a turn about y, twice the size, two units up.
    np.testing.assert_allclose(part.shape.vertices, [[0, 2, 0], [-2, 2, 0], [0, 4, -1]], atol=1e-6)
    assert part.finish.material.tint.tolist() == [1, 0, 0]
    assert not part.textured
    np.testing.assert_allclose(np.linalg.norm(part.shape.normals, axis=1), 1, atol=1e-6)
    assert (part.shape.normals[:, 2] < 0).all()


def _changed(*path, value):
    def change(description):
        at = description
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = value
        return description

    return change


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cut": 60}, "cut off"),
        ({"cut": 3}, "not a GLB"),
        ({"change": _changed("buffers", 0, "uri", value="other.bin")}, "another file"),
        ({"change": _changed("accessors", 0, "count", value=99)}, "cut off"),
        ({"change": _changed("accessors", 2, "count", value=2)}, "damaged"),
        ({"change": _changed("nodes", 0, value={"children": [0]})}, "contain themselves"),
        ({"change": _changed("nodes", 0, value={})}, "no triangles"),
        ({"change": _changed("extensionsRequired", value=["KHR_draco_mesh_compression"])}, "draco"),
        ({"change": lambda d: [1]}, "damaged"),
    ],
)
def test_broken_glb_files_are_named(tmp_path, options, said):
    path = triangle_glb(tmp_path / "bad.glb", **options)
    with pytest.raises(DataError, match=said) as caught:
        read_glb(path)
    assert "bad.glb" in str(caught.value)
    assert caught.value.hint


def test_a_folder_of_objects_gives_them_in_many_dresses_and_turned_to_the_front(tmp_path):
    triangle_glb(tmp_path / "a.glb")
    first, second = (ObjectFolder(tmp_path).sample(rng(k)) for k in (0, 1))
    assert not np.array_equal(first.vertices, second.vertices)
    (tmp_path / "facing.json").write_text('{"a": 180}')
    turned_around = ObjectFolder(tmp_path).sample(rng(0))
    np.testing.assert_allclose(turned_around.vertices[:, [0, 2]], -first.vertices[:, [0, 2]], atol=1e-4)
    (tmp_path / "facing.json").write_text("[]")
    with pytest.raises(DataError, match=r"facing\.json"):
        ObjectFolder(tmp_path)
    with pytest.raises(DataError, match=r"no \.glb files"):
        ObjectFolder(tmp_path / "nothing")


@pytest.mark.shared
def test_all_shared_objects_can_be_drawn(shared):
    folder = ObjectFolder(shared / "objects")
    assert len(folder) == 48
    for seed in range(6):
        assert (photograph_object(folder.sample(rng(seed)), 40, 10, LIGHT, 64).mask > 0).any()


def test_albums_are_rendered_once_and_read_back(tmp_path):
    albums = ChairAlbums(tmp_path, TINY_PLAN)
    first = albums.view(1, 1, 2)
    (file,) = albums.folder.iterdir()
    written = file.stat().st_mtime_ns
    again = ChairAlbums(tmp_path, TINY_PLAN).view(1, 1, 2)
    assert np.array_equal(first.picture.image, again.picture.image)
    assert first.angles == again.angles
    assert file.stat().st_mtime_ns == written
    assert ChairAlbums(tmp_path, replace(TINY_PLAN, seed=1)).folder != albums.folder


def test_the_albums_of_people_keep_their_name():
    # Trainings go on with the pictures they have; another digest would render them all again.
    assert Albums(Path("pack"), Path("cache"), AlbumPlan()).folder == Path("cache/albums-6000x6-f3b49846")


def test_pairs_share_object_and_mostly_elevation_and_end_never(tmp_path):
    pairs = ChairPairs(ChairAlbums(tmp_path, TINY_PLAN), size=32, grid=16)
    many = [pairs[i] for i in (*range(30), 10**9)]
    for pair in many:
        assert pair.source_image.shape == pair.target_image.shape == (32, 32, 3)
        assert pair.source_code.shape == (CODE_LENGTH,)
        assert pair.source_code.sum() == 2
        assert (pair.target_image[pair.target_mask == 0] == 255).all()
        assert pair.correspondence.offset.shape == (2, 16, 16)
        assert np.isfinite(pair.correspondence.offset).all()
    azimuths = [
        pair.source_code[: len(AZIMUTHS)].argmax() != pair.target_code[: len(AZIMUTHS)].argmax() for pair in many
    ]
    elevations = [np.array_equal(pair.source_code[18:], pair.target_code[18:]) for pair in many]
    assert np.mean(azimuths) > 0.7
    assert np.mean(elevations) > 0.7
    again = pairs[3]
    assert all(np.array_equal(a, b) for a, b in zip(many[3][:5], again[:5], strict=True))


def test_extra_objects_mix_in_and_change_the_plan(tmp_path):
    (tmp_path / "extras").mkdir()
    triangle_glb(tmp_path / "extras" / "a.glb")
    plan = replace(plan_with(tmp_path / "extras"), objects=1, elevations=1, azimuths=2, size=64, extra_share=1.0)
    assert plan.extras
    view = ChairAlbums(tmp_path / "cache", plan, tmp_path / "extras").view(0, 0, 1)
    assert (view.picture.mask > 0).any()
    assert plan_with(None).extras == ""
    triangle_glb(tmp_path / "extras" / "b.glb", cut=50)
    with pytest.raises(DataError, match=r"b\.glb"):
        plan_with(tmp_path / "extras")


def test_unseen_chairs_turn_by_every_angle():
    data = UnseenChairs(32)
    turned_by = []
    for pair in (data[i] for i in range(9)):
        source, target = (int(code[:18].argmax()) * 20 for code in (pair.source_code, pair.target_code))
        turned_by.append(min((source - target) % 360, (target - source) % 360))
    assert turned_by == list(range(20, 181, 20))
    assert np.array_equal(data[0].source_image, data[8].source_image)
