"""The flow prior "volume": its cameras are those of the renderer, and flows follow from where the object is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from chairs import TINY
from tiny_models import fresh

from gfla_cli.conditioning.view_code import ViewAngles, view_code
from gfla_cli.config import preset
from gfla_cli.errors import ConfigError
from gfla_cli.geometry.volume import USUAL_DISTANCE
from gfla_cli.losses.flow import middle_loss, ray_loss
from gfla_cli.networks.priors import volume as prior
from gfla_cli.networks.priors.volume import DEPTHS, Volume, camera_rotation, project_volume, slice_of
from gfla_cli.synth.renderer.camera import Camera, view_rotation

SIDE = 64


def code(azimuth, elevation=10, between="nearest"):
    return torch.from_numpy(view_code(ViewAngles(azimuth, elevation), between))[None, :, None, None]


def camera(azimuth, elevation):
    """The usual camera of a volume, for an image of SIDE pixels."""
    distance = USUAL_DISTANCE
    return Camera(view_rotation(azimuth, elevation), np.zeros(3), distance, distance * SIDE / 2, (SIDE / 2,) * 2, SIDE)


def volume_of(density, image=None):
    matter = torch.nn.functional.softplus(density)
    image = torch.zeros(1, 3, SIDE, SIDE) if image is None else image
    return Volume(density, torch.exp(matter - matter.cumsum(dim=1)), torch.zeros(1, 3, 1, 1), image)


def spot(pixel_x, pixel_y, z):
    """A volume that is empty but for a spot at the pixel, at the depth z."""
    number = float(slice_of(torch.tensor(z)))
    k, y, x = np.meshgrid(np.arange(DEPTHS), np.arange(SIDE) + 0.5, np.arange(SIDE) + 0.5, indexing="ij")
    away = ((x - pixel_x) / 2) ** 2 + ((y - pixel_y) / 2) ** 2 + ((k - number) / 1.5) ** 2
    return volume_of(torch.from_numpy(14 * np.exp(-away / 2) - 8).float()[None])


@pytest.mark.parametrize(("azimuth", "elevation"), [(0, 0), (40, 10), (180, 20), (340, 20)])
def test_cameras_are_those_of_the_renderer(azimuth, elevation):
    np.testing.assert_allclose(
        camera_rotation(code(azimuth, elevation))[0], view_rotation(azimuth, elevation), atol=1e-6
    )


def test_blended_codes_are_the_angles_in_between():
    np.testing.assert_allclose(camera_rotation(code(350, 5, "blend"))[0], view_rotation(350, 5), atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_a_point_is_seen_where_the_renderer_sees_it_and_its_flow_leads_back(seed):
    rng = np.random.default_rng(seed)
    source, target = ((int(rng.integers(18)) * 20, int(rng.integers(3)) * 10) for _ in range(2))
    point = rng.uniform(-0.5, 0.5, (1, 3))
    (x, y, away), (wanted_x, wanted_y, _) = (camera(*angles).project(point)[0] for angles in (source, target))
    seen = project_volume(spot(x, y, USUAL_DISTANCE - away), code(*source), code(*target))
    row, column = divmod(int(seen.opacity.argmax()), SIDE)
    assert abs(column + 0.5 - wanted_x) < 1.5
    assert abs(row + 0.5 - wanted_y) < 1.5
    leads_to = seen.offset_at(SIDE, SIDE)[0, :, row, column].numpy() + np.array([column + 0.5, row + 0.5])
    assert np.abs(leads_to - (x, y)).max() < 1.5


def test_the_source_view_itself_moves_nothing_and_shows_the_source():
    image = torch.rand(1, 3, SIDE, SIDE)
    density = torch.full((1, DEPTHS, SIDE, SIDE), -9.0)
    density[:, 10:14, 16:48, 16:48] = 6
    seen = project_volume(volume_of(density, image), code(60), code(60))
    inside = (slice(None), slice(None), slice(18, 46), slice(18, 46))
    assert seen.offset_at(SIDE, SIDE)[inside].abs().max() < 1e-3
    assert seen.opacity[inside].min() > 0.99
    assert seen.opacity[..., :8, :].max() < 0.01
    torch.testing.assert_close(seen.maps[:, 6:][inside], image[inside], atol=0.05, rtol=0)


def test_exported_samples_are_those_of_torch(monkeypatch):
    density, place = torch.randn(2, 5, 6, 7), torch.rand(2, 3, 4, 8, 3) * 2.6 - 1.3
    expected = prior._sampled(density, place)
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    torch.testing.assert_close(prior._sampled(density, place), expected, atol=1e-5, rtol=0)


def test_rays_are_wanted_to_end_at_the_surface():
    depth = torch.full((1, 1, SIDE, SIDE), -torch.inf)
    depth[..., 20:40, 20:40] = 0.3
    right, wrong, nothing = (torch.full((1, DEPTHS, SIDE, SIDE), -9.0) for _ in range(3))
    near = int(slice_of(torch.tensor(0.3)).round())
    right[:, near, 20:40, 20:40] = 6
    wrong[:, near + 5, 20:40, 20:40] = 6
    losses = [float(ray_loss(volume_of(density).hit(), depth)) for density in (right, wrong, nothing)]
    assert losses[0] < 0.3
    assert min(losses[1:]) > 3 * losses[0]
    assert ray_loss(volume_of(wrong).hit(), torch.full_like(depth, torch.nan)) == 0


def test_an_unknown_middle_is_no_error():
    found = torch.tensor([[0.1, 0.0], [0.3, 0.3]])
    assert middle_loss(found, torch.tensor([[0.2, 0.0], [torch.nan] * 2])) == pytest.approx(0.05)
    assert middle_loss(found, torch.full((2, 2), torch.nan)) == 0


def test_all_views_of_a_turntable_share_one_volume():
    network = fresh(TINY).eval()
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    encoded = network.encode_source(image)
    network.flow_estimator.volume.register_forward_hook(lambda *_: pytest.fail("the volume was estimated again"))
    for azimuth in (0, 60):
        assert network(image, code(0), code(azimuth), encoded).image.shape == image.shape


def test_the_prior_is_for_view_models_only():
    with pytest.raises(ConfigError, match="view models"):
        replace(preset("face"), flow_prior="volume")
