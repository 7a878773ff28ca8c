"""Objects are cut out of their background and framed as in training."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from chairs import draw_chair
from PIL import Image

from gfla_cli.io.cutout import cut_out, read_cutout
from gfla_cli.pipelines.view_synthesis import frame_object


@pytest.mark.parametrize("ground", [(255, 255, 255), (140, 150, 160), (30, 30, 30)])
def test_an_object_on_plain_paper_is_cut_out_middle_and_gaps(ground):
    picture = draw_chair(ground=ground).astype(float) + np.random.default_rng(0).normal(0, 2, (256, 256, 3))
    shade = np.linspace(1, 0.85, 256)[:, None, None]
    cutout = cut_out((picture * shade).clip(0, 255).astype(np.uint8))
    true = (draw_chair() != 255).any(axis=2)
    found = cutout.cover > 127
    assert (found & true).sum() / (found | true).sum() > 0.8
    assert not cutout.guessed
    assert (cutout.on_white[~cv2.dilate(true.astype(np.uint8), np.ones((7, 7))).astype(bool)] == 255).all()


def test_a_soft_shadow_goes_with_the_background_and_so_do_wall_and_floor():
    picture = np.full((256, 256, 3), 225.0)
    y, x = np.mgrid[:256, :256]
    picture -= 60 * np.exp(-(((x - 128) / 60) ** 2 + ((y - 215) / 14) ** 2))[..., None]
    true = (draw_chair() != 255).any(axis=2)
    for scene in (picture, np.where(y[..., None] < 150, 225, (150, 120, 90))):
        pasted = np.where(true[..., None], draw_chair(), scene).astype(np.uint8)
        found = cut_out(pasted).cover > 127
        assert (found & true).sum() / (found | true).sum() > 0.75


def test_transparency_is_used_and_turned_with_the_image(tmp_path):
    alpha = np.zeros((80, 100), np.uint8)
    alpha[10:30, 20:90] = 255
    colour = np.full((80, 100, 3), 90, np.uint8)
    image = Image.fromarray(np.dstack([colour, alpha]))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    image.save(tmp_path / "turned.png", exif=exif)
    cutout = read_cutout(tmp_path / "turned.png")
    assert cutout.cover.shape == (100, 80)
    assert cutout.cover[20:90, 50:70].min() == 255
    assert cutout.cover[:15].max() == 0
    assert (cutout.on_white[cutout.cover == 0] == 255).all()
    opaque = Image.fromarray(np.dstack([draw_chair(), np.full((256, 256), 255, np.uint8)]))
    opaque.save(tmp_path / "opaque.png")
    assert 0.02 < (read_cutout(tmp_path / "opaque.png").cover > 127).mean() < 0.3


def test_the_object_is_framed_as_training_pictures_are():
    notes = []
    framed = frame_object(cut_out(draw_chair(400, at=(0.05, 0.1, 0.3, 0.5))), (128, 128), "chair", notes).image()
    ys, xs = np.nonzero((framed < 200).any(axis=2))
    assert notes == []
    assert 0.7 < max(np.ptp(ys), np.ptp(xs)) / 128 < 0.8
    assert abs((ys.min() + ys.max()) / 2 - 63.5) < 2
    assert abs((xs.min() + xs.max()) / 2 - 63.5) < 2


def test_a_cut_off_object_and_a_busy_background_are_said():
    notes = []
    frame_object(cut_out(draw_chair(at=(0.3, 0.4, 0.7, 1.0))), (64, 64), "chair", notes)
    assert "cut off at the bottom" in notes[0]
    busy = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    busy = cv2.resize(busy, (256, 256), interpolation=cv2.INTER_NEAREST)
    true = (draw_chair() != 255).any(axis=2)
    assert cut_out(np.where(true[..., None], draw_chair(), busy)).guessed
