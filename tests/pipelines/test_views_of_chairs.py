"""Views of rendered chairs that no training sees, by the shipped model: holes, against the renderer's views."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")
pytest.importorskip("torchmetrics")
from gfla_cli import ViewSynthesizer
from gfla_cli.conditioning.view_code import AZIMUTHS, ELEVATIONS
from gfla_cli.datasets.render_cache import TEST_SEED
from gfla_cli.evaluation.metrics import hole_share
from gfla_cli.geometry.crop import Crop
from gfla_cli.pipelines.view_synthesis import FramedObject
from gfla_cli.synth.objects.chairs import sample_chair
from gfla_cli.synth.objects.objects import photograph_object, sample_object_light

pytestmark = pytest.mark.slow
CHAIRS, VIEWS, SIDE = 5, AZIMUTHS[::2], 256
MOST_WITH_HOLES = 6  # of 45 views; 5 were measured at the network's size, 6 with --size
MOST_L1 = 0.09  # 0.0867 and 0.0869 were measured, on [-1, 1]
FAR = 60  # of 255, mean difference of a pixel that shows something else


class AsRendered(ViewSynthesizer):
    """Leaves the object where the renderer puts it, so that views can be compared with the renderer's."""

    def frame(self, image, notes):
        return FramedObject(image, Crop.whole(image.shape, self.session.config.image_size))


@pytest.fixture(scope="module")
def turned():
    """For every view: the renderer's, the generated one, and the one of the same size by way of --size."""
    model, found = AsRendered(device="cpu", images=CHAIRS * len(VIEWS)), []
    for number in range(CHAIRS):
        rng = np.random.default_rng([TEST_SEED, number])
        chair, light = sample_chair(rng), sample_object_light(rng)
        source, elevation = float(rng.choice(AZIMUTHS)), float(rng.choice(ELEVATIONS))
        image = photograph_object(chair, source, elevation, light, SIDE).image
        azimuths = [(source + turn) % 360 for turn in VIEWS]
        own, sized = (model.render(image, azimuths, source, elevation, size=size).images for size in (None, SIDE))
        real = [photograph_object(chair, azimuth, elevation, light, SIDE) for azimuth in azimuths]
        found += zip(real, own, sized, strict=True)
    return found


@pytest.mark.parametrize("way", [1, 2], ids=["own size", "given size"])
def test_few_views_of_unseen_chairs_have_a_hole(turned, way):
    """Background that object encloses, where the renderer's view shows object. Gaps of the real chair are none."""
    assert len(turned) == CHAIRS * len(VIEWS)
    holed = [hole_share(views[way], views[0].image, views[0].mask) > 0 for views in turned]
    assert sum(holed) <= MOST_WITH_HOLES
    errors = [np.abs(views[way].astype(float) - views[0].image).mean() / 127.5 for views in turned]
    assert np.mean(errors) < MOST_L1


def test_a_given_size_changes_the_size_alone(turned):
    """No pieces of the source beside the turned object, where its flow is zero."""
    for _, own, sized in turned:
        assert (np.abs(own.astype(int) - sized).mean(axis=2) > FAR).mean() < 0.001
