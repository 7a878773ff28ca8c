"""One object in several threads, and in forked processes."""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from paths import ROOT
from tiny_models import save_tiny, tiny

from gfla_cli import Animator, PoseTransfer, ViewSynthesizer
from gfla_cli.errors import GflaError
from gfla_cli.io.image import read_image
from gfla_cli.person.detect import PersonDetector
from gfla_cli.person.detect_face import FaceDetector
from gfla_cli.person.keypoint_files import read_pose, write_pose

ASSETS = ROOT / "assets"
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def in_threads(work, threads=4, calls=8):
    """`work(number)` called in several threads that start together; the results in order."""
    together = Barrier(threads)

    def several(thread):
        together.wait(60)
        return [work(thread + call) for call in range(calls)]

    with ThreadPoolExecutor(threads) as pool:
        return [result for results in pool.map(several, range(threads)) for result in results]


def same(results, alone, threads=4, calls=8):
    numbers = [thread + call for thread in range(threads) for call in range(calls)]
    for number, result in zip(numbers, results, strict=True):
        np.testing.assert_array_equal(result, alone[number % len(alone)])


@pytest.fixture(scope="module")
def images():
    return [read_image(ASSETS / name, 320) for name in ("anna.jpg", "cleo.jpg")]


def test_four_threads_share_a_pose_transfer(images, tmp_path):
    model = PoseTransfer(save_tiny(tmp_path / "pose", tiny()))
    ben = ASSETS / "ben.jpg"

    def work(number):
        return model.transfer(images[number % 2], ben, refine_head=False).image

    same(in_threads(work), [work(0), work(1)])


def test_four_threads_share_detectors(images):
    with PersonDetector() as people, FaceDetector() as faces:

        def work(number):
            image = images[number % 2]
            found = people.detect(image)[0].pose.points, faces.detect(image)[0].points
            return np.concatenate([part[:18] for part in found])

        same(in_threads(work), [work(0), work(1)])


def test_four_threads_share_a_view_synthesizer(tmp_path):
    model = ViewSynthesizer(save_tiny(tmp_path / "view", tiny("view-chairs")))
    chair = read_image(ASSETS / "armchair.jpg", 200)

    def work(number):
        return model.render(chair, [40 * (number % 2)], source_azimuth=0, source_elevation=0).images[0]

    same(in_threads(work), [work(0), work(1)])


def test_four_threads_share_an_animator(images, tmp_path):
    model = Animator(save_tiny(tmp_path / "face", tiny("face-people")))

    def work(number):
        with model.animate(images[number % 2], ASSETS / "eve.jpg") as animation:
            return next(animation).image

    same(in_threads(work, calls=2), [work(0), work(1)], calls=2)


_shared = {}


def _generate(_):
    model, prepared = _shared["model"], _shared["prepared"]
    return model.generate([prepared])[0].image


def _detect(_):
    try:
        return len(_shared["detector"].detect(_shared["image"]))
    except GflaError as error:
        return str(error)


def forked(work):
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.map_async(work, [0]).get(60)[0]


@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_network_goes_on_in_a_forked_child(tmp_path, images):
    pose = tmp_path / "pose.json"
    model = PoseTransfer(save_tiny(tmp_path / "pose", tiny()))
    write_pose(pose, model.pose_of(images[0]))
    prepared = model.prepare(images[0], read_pose(pose), size=None, refine_head=False)
    _shared.update(model=model, prepared=prepared)
    alone = _generate(0)
    np.testing.assert_allclose(forked(_generate).astype(int), alone.astype(int), atol=1)


@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_detector_that_was_used_before_the_fork_is_refused_at_once(images):
    with PersonDetector() as detector:
        _shared.update(detector=detector, image=images[0])
        assert _detect(0) == 1
        assert "forked" in forked(_detect)
        assert _detect(0) == 1


@forks
def test_a_child_that_is_forked_before_the_first_image_detects(tmp_path):
    import subprocess

    code = f"""
import multiprocessing, warnings
warnings.simplefilter("ignore")
from gfla_cli.io.image import read_image
from gfla_cli.person.detect import PersonDetector
detector, image = PersonDetector(), read_image({str(ASSETS / "anna.jpg")!r}, 320)
def work(_):
    return len(detector.detect(image))
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.map_async(work, [0]).get(60)[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_exported_model_goes_on_in_a_forked_child(tiny_export):
    from gfla_cli.inference.export import example_inputs
    from gfla_cli.inference.onnx_backend import open_exported

    session = open_exported(tiny_export.path, "cpu")
    inputs = [tensor.numpy() for tensor in example_inputs(session.config, 1, 64, 64).values()]
    alone = session.image(*inputs)
    _shared.update(session=session, inputs=inputs)
    np.testing.assert_allclose(forked(_run_exported), alone, atol=1e-4)


def _run_exported(_):
    return _shared["session"].image(*_shared["inputs"])
