"""Views of rendered chairs that no training sees, by the shipped model: holes, against the renderer's views."""

from __future__ import annotations

import functools
from unittest.mock import patch

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")
pytest.importorskip("torchmetrics")
from gfla_cli import ViewSynthesizer
from gfla_cli.arrays import Image
from gfla_cli.conditioning.view_code import AZIMUTHS, ELEVATIONS
from gfla_cli.datasets.render_cache import TEST_SEED
from gfla_cli.evaluation.metrics import hole_share
from gfla_cli.geometry.crop import Crop
from gfla_cli.pipelines.view_synthesis import EncodedObject, FramedObject
from gfla_cli.synth.objects.chairs import sample_chair
from gfla_cli.synth.objects.objects import photograph_object, sample_object_light

pytestmark = pytest.mark.slow
CHAIRS, VIEWS, SIDE = 5, AZIMUTHS[::2], 256
ALONE = slice(None, None, 3)  # views of each chair that are also made of the image alone
MOST_WITH_HOLES = 4  # of 45 views; 3 were measured at the network's size, 4 with --size
MOST_L1 = 0.066  # 0.0626 and 0.0629 were measured, on [-1, 1]
LEAST_GAIN = 0.005  # of l1, by the mirrored image
FAR = 60  # of 255, mean difference of a pixel that shows something else


class AsRendered(ViewSynthesizer):
    """Leaves the object where the renderer puts it, so that views can be compared with the renderer's."""

    def frame(self, image, notes):
        return FramedObject(image, Crop.whole(image.shape, self.session.config.image_size))


def once():
    """`EncodedObject`, but the network runs once for each view: those of another size are made of the same layers."""
    objects = {}

    class Remembered(EncodedObject):
        _seen = functools.cache(EncodedObject._seen)

    def encoded(session, image, *how, **options):
        key = (image.tobytes(), how, *options.items())
        if key not in objects:
            objects[key] = Remembered(session, image, *how, **options)
        return objects[key]

    return encoded


@pytest.fixture(scope="module")
def turned():
    """For every view: the renderer's, the generated one, that by way of --size, and that of the image alone."""
    with patch("gfla_cli.pipelines.view_synthesis.EncodedObject", once()):
        return views_of_chairs()


def views_of_chairs():
    model, found = AsRendered(device="cpu", images=CHAIRS * len(VIEWS)), []
    for number in range(CHAIRS):
        rng = np.random.default_rng([TEST_SEED, number])
        chair, light = sample_chair(rng), sample_object_light(rng)
        source, elevation = float(rng.choice(AZIMUTHS)), float(rng.choice(ELEVATIONS))
        image = photograph_object(chair, source, elevation, light, SIDE).image
        azimuths = [(source + turn) % 360 for turn in VIEWS]
        own, sized = (model.render(image, azimuths, source, elevation, size=size).images for size in (None, SIDE))
        alone: list[Image | None] = [None] * len(VIEWS)
        alone[ALONE] = model.render(image, azimuths[ALONE], source, elevation, symmetric=False).images
        real = [photograph_object(chair, azimuth, elevation, light, SIDE) for azimuth in azimuths]
        found += zip(real, own, sized, alone, strict=True)
    return found


def error(turned, way):
    """Mean absolute difference from the renderer's views, of values in [-1, 1]."""
    return np.mean([np.abs(views[way].astype(float) - views[0].image).mean() / 127.5 for views in turned])


def test_the_mirrored_image_of_a_symmetric_chair_helps(turned):
    some = [views for views in turned if views[3] is not None]
    assert error(some, 1) < error(some, 3) - LEAST_GAIN


@pytest.mark.parametrize("turn", [0, 10])
def test_a_chair_whose_azimuth_is_rounded_is_symmetric_where_it_stands(turn):
    """The true azimuth is that of the source and `turn`; the views follow."""
    rng = np.random.default_rng([TEST_SEED, 53])
    chair, light = sample_chair(rng), sample_object_light(rng)
    image = photograph_object(chair, 60 + turn, 10, light, SIDE).image
    model, azimuths = AsRendered(device="cpu", images=20), (260, 280, 300, 320)
    real = [photograph_object(chair, azimuth + turn, 10, light, SIDE).image for azimuth in azimuths]
    both, alone = (model.render(image, azimuths, 60, 10, symmetric=told).images for told in (True, False))
    errors = [np.abs(np.asarray(made, float) - real).mean() / 127.5 for made in (both, alone)]
    assert errors[0] < errors[1] - LEAST_GAIN


def test_an_image_from_the_front_shows_that_an_object_is_not_symmetric():
    rng = np.random.default_rng([TEST_SEED, 53])
    image = photograph_object(sample_chair(rng), 0, 10, sample_object_light(rng), SIDE).image
    model = AsRendered(device="cpu")
    half = image.copy()
    half[: SIDE // 2, SIDE // 2 :] = 255
    for shown, symmetric in ((image, True), (half, False)):
        chosen, told = (model.render(shown, [60], 0, 10, symmetric=way).images[0] for way in (None, symmetric))
        np.testing.assert_array_equal(chosen, told)
        other = model.render(shown, [60], 0, 10, symmetric=not symmetric).images[0]
        assert not np.array_equal(chosen, other)


@pytest.mark.parametrize("way", [1, 2], ids=["own size", "given size"])
def test_few_views_of_unseen_chairs_have_a_hole(turned, way):
    """Background that object encloses, where the renderer's view shows object. Gaps of the real chair are none."""
    assert len(turned) == CHAIRS * len(VIEWS)
    holed = [hole_share(views[way], views[0].image, views[0].mask) > 0 for views in turned]
    assert sum(holed) <= MOST_WITH_HOLES
    assert error(turned, way) < MOST_L1


def test_a_given_size_changes_the_size_alone(turned):
    """No pieces of the source beside the turned object, where its flow is zero."""
    for _, own, sized, _ in turned:
        assert (np.abs(own.astype(int) - sized).mean(axis=2) > FAR).mean() < 0.001
