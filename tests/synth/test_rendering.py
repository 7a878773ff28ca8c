"""The renderer: its kernels on triangles and squares with known results, and procedural textures."""

import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
from paths import ROOT

from gfla_cli.synth.people.mesh import clip_mesh, merge_references
from gfla_cli.synth.renderer.camera import Camera, rotation_matrix, rotation_vector
from gfla_cli.synth.renderer.procedural import (
    BackgroundKind,
    FabricKind,
    background,
    choose,
    fabric,
    seamless_noise,
    strands,
)
from gfla_cli.synth.renderer.rasterizer import (
    ALPHA_TEST,
    CULL_BACK,
    Material,
    build_mesh,
    empty_samples,
    interpolate_on_surface,
    mip_chain,
    plain,
    rasterize,
)
from gfla_cli.synth.renderer.render import Light, Scene, render


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
    image = np.full((16, 16, 4), 255, np.uint8)
    image[:, :8, 3] = 0
    _, samples = rasterized(HALF, texture=mip_chain(image), flags=ALPHA_TEST)
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
    interpolate_on_surface(mesh, np.array(receding, np.float32), flat, np.eye(3, dtype=np.float32), 0, 1, seen)
    np.testing.assert_allclose(seen[7, :, 1], true.barycentric[7, :, 0], rtol=1e-5)
    assert np.isnan(seen[0, 7]).all()


def test_a_rendered_square_is_lit_masked_and_located():
    corners = np.array([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)], np.float32)
    mesh = triangle_mesh(texture=plain(255, 255, 255), faces=((0, 1, 2), (0, 2, 3)))
    camera = Camera(np.eye(3), np.zeros(3), distance=10.0, focal_px=80.0, centre_px=(16.0, 16.0), size=32)
    light = Light(np.array([0, 0, 1.0]), key=np.full(3, 0.5), ambient=np.full(3, 0.3), floor=False)
    scene = Scene(np.full((32, 32, 3), 90, np.uint8), light)
    rendered = render(mesh, corners, np.tile(np.float32([0, 0, 1]), (4, 1)), corners, camera, scene, perspective=True)

    inside = np.zeros((32, 32), bool)
    inside[8:24, 8:24] = True
    np.testing.assert_array_equal(rendered.mask, np.where(inside, 255, 0))
    np.testing.assert_array_equal(rendered.image[~inside], 90)
    expected = 255 * np.sqrt(0.3 * 0.78 + 0.5)  # ambient light on an upright surface, and the key light in its face
    assert np.abs(rendered.image[inside].astype(float) - expected).max() < 3
    x, y = (2 * np.arange(16) + 0.75 - 16) / 8, -(2 * np.arange(16) + 0.75 - 16) / 8  # 8 px per unit of length
    np.testing.assert_allclose(rendered.surface[4:12, 4:12, 0], np.tile(x[4:12], (8, 1)), atol=1e-5)
    np.testing.assert_allclose(rendered.surface[4:12, 4:12, 1].T, np.tile(y[4:12], (8, 1)), atol=1e-5)
    np.testing.assert_array_equal(np.isnan(rendered.surface[..., 0]), ~inside[::2, ::2])


def test_clipping_a_square_cuts_its_edges_where_the_field_is_zero():
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    uv = np.zeros((2, 3, 2), np.float32)
    low, high, share, kept, kept_uv = clip_mesh(faces, uv, np.array([1.0, 1.0, -1.0, -3.0]))
    cuts = {(int(a), int(b)): float(w) for a, b, w in zip(low, high, share, strict=True)}
    assert cuts == {(1, 2): 0.5, (0, 2): 0.5, (0, 3): 0.25}
    assert len(kept) == len(kept_uv) == 3


def test_merged_references_keep_their_weight():
    reference, weight = np.array([[4, 7, 9, 7, 4, 4]], np.int32), np.array([[0.2, 0.3, 0, 0.1, 0.4, 0]], np.float32)
    merged, merged_weight = merge_references(reference, weight)
    np.testing.assert_array_equal(merged, [[4, 7, 4]])
    np.testing.assert_allclose(merged_weight, [[0.6, 0.4, 0]])


def test_mip_chain_halves_down_to_sixteen_and_keeps_the_mean():
    image = np.random.default_rng(0).integers(0, 256, (128, 128, 4), np.uint8)
    chain = mip_chain(image)
    assert (chain.side, chain.levels) == (128, 4)
    assert len(chain.texels) == 4 * (128**2 + 64**2 + 32**2 + 16**2)
    for level, start in enumerate(chain.offsets):
        texels = chain.texels[start : start + 4 * (128 >> level) ** 2]
        assert abs(texels.mean() - image.mean()) < 1


@pytest.mark.parametrize("kind", get_args(FabricKind))
def test_fabrics_are_a_pure_function_of_the_generator(kind):
    first, again, other = (fabric(np.random.default_rng(seed), kind, side=128) for seed in (5, 5, 6))
    assert first.shape == (128, 128, 4)
    assert (first[..., 3] == 255).all()
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("kind", get_args(BackgroundKind))
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
    matrices = rotation_matrix(vectors)
    np.testing.assert_allclose(matrices @ matrices.transpose(0, 2, 1), np.tile(np.eye(3), (5, 1, 1)), atol=1e-12)
    np.testing.assert_allclose([rotation_vector(matrix) for matrix in matrices], vectors, atol=1e-9)


def test_choices_follow_their_shares():
    rng = np.random.default_rng(0)
    drawn = [choose(rng, {"often": 3.0, "never": 0.0, "seldom": 1.0}) for _ in range(400)]
    assert "never" not in drawn
    assert 0.6 < drawn.count("often") / 400 < 0.9


def test_without_numba_the_extra_is_named():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "from gfla_cli.errors import MissingExtraError\n"
        "try:\n    import gfla_cli.synth.people.people\n"
        "except MissingExtraError as error:\n    sys.exit(error.hint != 'pip install \"gfla[render]\"')\n"
        "sys.exit(2)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0
