"""GLB files and folders of them: objects are read with places and colours; damaged and hostile files are refused."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_glb import glb_bytes, packed
from tiny_images import png

pytest.importorskip("numba")
pytest.importorskip("scipy")
from gfla_cli.errors import DataError
from gfla_cli.synth.objects.glb import read_glb
from gfla_cli.synth.objects.objects import ObjectFolder, photograph_object
from gfla_cli.synth.renderer.render import Light


def rng(*seed):
    return np.random.default_rng(list(seed) or [0])


LIGHT = Light(np.array([0.2, 0.9, 0.3]), np.full(3, 0.3), np.full(3, 0.7), floor=False)


PLACED = {
    "nodes": [{"mesh": 0, "translation": [0, 2, 0], "rotation": [0, 1, 0, 0], "scale": [2, 2, 2]}],
    "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "material": 0}]}],
    "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1]}}],
}
POINTS, CORNERS = ({"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
                   {"bufferView": 1, "componentType": 5120, "count": 3, "type": "SCALAR"})  # fmt: skip
WITH_NORMALS = {
    "binary": np.tile(np.array([0, 0, 1], "<f4"), (3, 1)).tobytes(),
    "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "NORMAL": 2}, "indices": 1, "material": 0}]}],
    "accessors": [POINTS, CORNERS, {**POINTS, "bufferView": 2}],
}


@pytest.mark.parametrize("more", [{}, WITH_NORMALS], ids=["no normals", "normals"])
def test_a_glb_file_is_read_with_its_places_and_colours(tmp_path, more):
    (tmp_path / "a.glb").write_bytes(glb_bytes(**PLACED | more))
    (part,) = read_glb(tmp_path / "a.glb")
    # Half a turn about y, twice the size, two units up.
    np.testing.assert_allclose(part.shape.vertices, [[0, 2, 0], [-2, 2, 0], [0, 4, -1]], atol=1e-6)
    assert part.finish.material.tint.tolist() == [1, 0, 0]
    assert not part.textured
    np.testing.assert_allclose(np.linalg.norm(part.shape.normals, axis=1), 1, atol=1e-6)
    assert (part.shape.normals[:, 2] < 0).all()


TWICE = [{"children": [i + 1, i + 1]} for i in range(40)] + [{"mesh": 0}]
TEXTURED = {
    **PLACED,
    "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
    "textures": [{"source": 0}],
    "images": [{"bufferView": 2, "mimeType": "image/png"}],
}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (glb_bytes()[:60], "cut off"),
        (glb_bytes()[:3], "not a GLB"),
        (packed([1]), "damaged"),
        (glb_bytes(buffers=[{"uri": "file:///etc/passwd", "byteLength": 40}]), "another file"),
        (glb_bytes(bufferViews=[{"buffer": 0, "byteLength": -1}] * 3), "cut off"),
        (glb_bytes(accessors=[{**POINTS, "count": 99}, CORNERS]), "cut off"),
        (glb_bytes(accessors=[{**POINTS, "count": 10**12}] * 2), "cut off"),
        (glb_bytes(accessors=[{**POINTS, "count": 1.5}] * 2), "damaged"),
        (glb_bytes(accessors=[{**POINTS, "byteOffset": -8}] * 2), "cut off"),
        (glb_bytes(accessors=[POINTS, {**CORNERS, "count": 2}]), "damaged"),
        (glb_bytes(nodes=[{"children": [0]}]), "contain themselves"),
        (glb_bytes(nodes=TWICE), "contain themselves"),
        (glb_bytes(nodes=[{}]), "no triangles"),
        (glb_bytes(nodes=[{"mesh": 0, "scale": [1e400, 1, 1]}]), "not numbers"),
        (glb_bytes(nodes={"0": 1}), "damaged"),
        (glb_bytes(scenes="none"), "damaged"),
        (glb_bytes(extensionsRequired=["KHR_draco_mesh_compression"]), "draco"),
        (glb_bytes(png(60_000, 60_000), **TEXTURED), "damaged"),
        (glb_bytes(**{**TEXTURED, "images": [{"uri": "../../secret.png"}]}), "another file"),
        (glb_bytes().replace(b"\0\1\2\0", b"\xff\1\2\0"), "beyond the vertices"),
    ],
    ids=lambda part: part if isinstance(part, str) else "file",
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_damaged_and_hostile_glb_files_are_named(tmp_path, content, said):
    (tmp_path / "bad.glb").write_bytes(content)
    with pytest.raises(DataError, match=rf"bad\.glb.*{said}") as caught:
        read_glb(tmp_path / "bad.glb")
    assert caught.value.hint


def test_objects_of_a_folder_get_random_materials_and_face_the_front(tmp_path):
    (tmp_path / "a.glb").write_bytes(glb_bytes(**PLACED))
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


@pytest.mark.parametrize("facing", ['{"a": NaN}', '{"a": 1e400}', '{"a": [1]}', "[1]", "[" * 100_000, '{"a": "x"}'])
def test_facing_angles_that_are_no_numbers_are_refused(tmp_path, facing):
    (tmp_path / "a.glb").write_bytes(glb_bytes())
    (tmp_path / "facing.json").write_text(facing)
    with pytest.raises(DataError, match=r"facing\.json"):
        ObjectFolder(tmp_path)


@pytest.mark.shared
def test_all_shared_objects_can_be_drawn(shared):
    folder = ObjectFolder(shared / "objects")
    assert len(folder) == 48
    for seed in range(6):
        assert (photograph_object(folder.sample(rng(seed)), 40, 10, LIGHT, 64).mask > 0).any()
