"""View synthesis: one image in, views, turntables and contact sheets out, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from chairs import draw_chair
from commands import names_in, refused
from PIL import Image

from gfla_cli import ViewSynthesizer
from gfla_cli.conditioning.view_code import AZIMUTHS
from gfla_cli.errors import DetectionError, MediaError
from gfla_cli.io.image import read_image, write_image
from gfla_cli.io.video import probe
from gfla_cli.pipelines import view_synthesis


@pytest.fixture
def gfla(gfla, view_shelf, monkeypatch, tmp_path):
    """Runs a command in a folder with one image of a chair, and returns its result."""
    monkeypatch.setenv("GFLA_MODELS", str(view_shelf))
    write_image(tmp_path / "chair.png", draw_chair())
    return gfla


@pytest.fixture
def synthesis(gfla):
    return lambda *arguments: gfla("view-synthesis", *arguments, "--model", "tiny-view")


def test_one_image_in_several_views_out(synthesis, tmp_path):
    result = synthesis("chair.png", "--azimuth", "60", "-o", "out.png")
    assert result.exit_code == 0, result.output
    assert result.stdout == "out.png\n"
    assert read_image(tmp_path / "out.png").shape == (64, 64, 3)
    assert "seems to be taken from azimuth" in result.stderr
    many = synthesis("chair.png", "--azimuth", "60", "--azimuth", "120", "--quiet")
    assert many.stdout == "chair--60.png\nchair--120.png\n"
    assert many.stderr == ""
    folder = synthesis("chair.png", "--azimuth", "60", "--azimuth", "-20", "-o", "views", "--quiet")
    assert folder.stdout == "views/chair--60.png\nviews/chair---20.png\n"


def test_turntable_and_contact_sheet(synthesis, tmp_path):
    result = synthesis("chair.png", "--turntable", "turn.mp4", "--grid", "sheet.png", "--source-azimuth", "40")
    assert result.exit_code == 0, result.output
    assert result.stdout == "turn.mp4\nsheet.png\n"
    assert read_image(tmp_path / "sheet.png").shape == (3 * 64, 6 * 64, 3)
    info = probe(tmp_path / "turn.mp4")
    assert info.size == (64, 64)
    assert float(info.fps) == pytest.approx(6)
    assert synthesis("chair.png", "--turntable", "turn.gif", "--between", "blend").exit_code == 0
    with Image.open(tmp_path / "turn.gif") as gif:
        assert gif.n_frames == 36


def test_angles_between_the_trained_ones_are_reported_or_blended(synthesis):
    result = synthesis("chair.png", "--azimuth", "50", "-o", "a.png", "--source-azimuth", "0", "--elevation", "7")
    assert "azimuth 50 became 40" in result.stderr
    assert "elevation 7 became 10" in result.stderr
    blended = synthesis("chair.png", "--azimuth", "50", "-o", "b.png", "--source-azimuth", "0", "--between", "blend")
    assert "became" not in blended.stderr


def test_the_report_says_where_the_source_was_seen_from(synthesis):
    known = ("--source-azimuth", "-40", "--source-elevation", "20")
    result = synthesis("chair.png", "--azimuth", "60", "--json", *known)
    assert json.loads(result.stdout) == {
        "written": ["chair--60.png"],
        "source_view": {"azimuth": 320.0, "elevation": 20.0, "estimated": False},
        "size": 64,
        "notes": [],
    }


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--azimuth", "400"), 2, ["azimuth 400", "-360 to 360"]),
        (("--azimuth", "nan"), 2, ["azimuth nan"]),
        (("--azimuth", "60", "--elevation", "25"), 2, ["elevation 25", "0 to 20"]),
        (("--azimuth", "60", "--source-elevation", "-3"), 2, ["elevation -3"]),
        (("--azimuth", "60", "--source-azimuth", "999"), 2, ["azimuth 999"]),
        ((), 2, ["which views?", "--turntable"]),
        (("-o", "x.png"), 2, ["x.png", "--azimuth"]),
        (("--azimuth", "60", "-o", "x.xyz"), 2, ["x.xyz", ".png"]),
        (("--azimuth", "60", "--azimuth", "80", "-o", "x.png"), 2, ["2 views", "folder"]),
        (("--turntable", "turn.xyz"), 2, ["turn.xyz", ".mp4"]),
        (("--grid", "chair.png"), 2, ["chair.png is an input, too"]),
        (("--grid", "a.png", "--azimuth", "0", "-o", "a.png"), 2, ["named twice"]),
        (("--grid", "chair.png/a.png"), 2, ["chair.png is a file, not a folder"]),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(synthesis, tmp_path, arguments, code, words):
    assert refused(synthesis("chair.png", *arguments), code, *words)
    assert names_in(tmp_path) == ["chair.png"]


def test_an_azimuth_that_is_no_number_is_a_usage_error(synthesis, tmp_path):
    result = synthesis("chair.png", "--azimuth", "sideways")
    assert result.exit_code == 2
    assert "azimuth" in result.stderr
    assert names_in(tmp_path) == ["chair.png"]


def bad_pictures():
    """Name, image, and words that its message has."""
    texture = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    framed = np.full((200, 200, 3), 250, np.uint8)
    framed[:, 60:140] = framed[60:140] = 120, 60, 30  # a cross from border to border
    return {
        "paper": (np.full((200, 200, 3), 230, np.uint8), ["no object"]),
        "tiny": (draw_chair(40), ["40x40", "too small"]),
        "strip": (draw_chair(200)[60:77], ["200x17", "too narrow"]),
        "speck": (draw_chair(400, at=(0.5, 0.5, 0.54, 0.55)), ["object is only"]),
        "cross": (framed, ["all four borders"]),
        "noise": (texture, []),
    }


@pytest.mark.parametrize("name", [name for name in bad_pictures() if name != "noise"])
def test_images_without_a_usable_object_are_refused(gfla, tmp_path, name):
    picture, words = bad_pictures()[name]
    if name == "cross":  # its paper is visible in the corners only, which no border rule could tell from an object
        alpha = np.where((picture == 250).all(axis=2), 0, 255).astype(np.uint8)
        Image.fromarray(np.dstack([picture, alpha])).save(tmp_path / "bad.png")
    else:
        write_image(tmp_path / "bad.png", picture)
    result = gfla("view-synthesis", "bad.png", "--azimuth", "60", "-o", "out.png", "--model", "tiny-view")
    lines = [line for line in result.stderr.splitlines() if not line.startswith("gfla: tiny-view on ")]
    assert result.exit_code == 1
    assert len(lines) == 2
    assert all(word in lines[0] for word in ["bad.png", *words])
    assert names_in(tmp_path) == ["bad.png", "chair.png"]


def test_a_busy_image_is_warned_about_or_refused(gfla, tmp_path):
    write_image(tmp_path / "noise.png", bad_pictures()["noise"][0])
    result = gfla("view-synthesis", "noise.png", "--azimuth", "60", "-o", "out.png", "--model", "tiny-view")
    assert "busy" in result.stderr if result.exit_code == 0 else "no object" in result.stderr


def test_missing_files_folders_and_models(synthesis, gfla, tmp_path):
    assert refused(synthesis("nothing.png", "--azimuth", "60"), 1, "nothing.png", "no such file")
    (tmp_path / "text.png").write_text("dear diary")
    result = synthesis("text.png", "--azimuth", "60")
    assert result.exit_code == 1
    assert "text.png holds text" in result.stderr
    run = lambda model: gfla("view-synthesis", "chair.png", "--azimuth", "60", "--model", model)  # noqa: E731
    assert refused(run("nobody"), 1, "unknown model: nobody")
    assert refused(run("tiny-pose"), 1, "for the task pose", "--task view")
    assert "chair--60.png" not in names_in(tmp_path)


def test_a_model_without_a_view_estimator_asks_for_the_view(gfla):
    for model in ("tiny-authors", "tiny-pixels"):
        run = ("view-synthesis", "chair.png", "--azimuth", "60", "--model", model, "-o", f"{model}.png")
        result = gfla(*run)
        assert result.exit_code == 2
        assert "--source-azimuth" in result.stderr
        run += ("--source-azimuth", "20", "--source-elevation", "0")
        assert refused(gfla(*run, "--symmetric"), 2, "--symmetric", "view-chairs")
        assert gfla(*run).exit_code == 0


def test_the_library_renders_from_an_array_and_says_what_it_did(view_shelf):
    model = ViewSynthesizer(view_shelf / "tiny-view", device="cpu", precision="fp32")
    result = model.render(draw_chair(), [0, 50], source_azimuth=20)
    assert [image.shape for image in result.images] == [(64, 64, 3)] * 2
    assert result.views[1] == (40, result.source_view.angles.elevation)
    assert result.source_view.angles.azimuth == 20
    assert result.source_view.estimated  # the elevation was
    assert result.source_image.shape == (64, 64, 3)
    turn = model.render(draw_chair(), AZIMUTHS, 20, 0).images
    assert len(turn) == 18
    assert not np.array_equal(turn[0], turn[9])
    with pytest.raises(MediaError, match="uint8 RGB"):
        model.render(np.zeros((64, 64), np.uint8), [0])
    with pytest.raises(DetectionError, match="no object"):
        model.render(np.full((100, 100, 3), 200, np.uint8), [0])


def test_a_symmetric_object_is_also_seen_in_the_mirrored_image(view_shelf, synthesis, tmp_path, monkeypatch):
    monkeypatch.setattr(view_synthesis, "_SEARCHED", 0)  # the volumes of an untrained network agree anywhere
    model, chair = ViewSynthesizer(view_shelf / "tiny-view", device="cpu", precision="fp32"), draw_chair()
    for size in (None, 100):
        images = [model.render(chair, [320, 60], 60, 0, size=size, symmetric=told).images for told in (False, True)]
        assert not np.array_equal(images[0][0], images[1][0])
        # The mirrored image from the other side says the same.
        other = model.render(chair[:, ::-1].copy(), [320, 60], 300, 0, size=size, symmetric=True).images
        for one, same in zip(images[1], other, strict=True):
            assert np.abs(one.astype(int) - same).max() <= 2
    known = ("chair.png", "--azimuth", "320", "--source-azimuth", "60", "--source-elevation", "0", "--quiet")
    for option in ("--symmetric", "--no-symmetric"):
        assert synthesis(*known, option, "-o", f"{option}.png").exit_code == 0
    alone, both = (read_image(tmp_path / f"{option}.png") for option in ("--no-symmetric", "--symmetric"))
    assert not np.array_equal(alone, both)


def test_views_of_any_size(synthesis, view_shelf, tmp_path):
    result = synthesis("chair.png", "--azimuth", "60", "-o", "large.png", "--size", "100", "--json")
    assert json.loads(result.stdout)["size"] == 100
    assert read_image(tmp_path / "large.png").shape == (100, 100, 3)
    assert refused(synthesis("chair.png", "--azimuth", "60", "-o", "x.png", "--size", "5"), 2, "--size 5", "source")
    model = ViewSynthesizer(view_shelf / "tiny-view", device="cpu", precision="fp32")
    chair = draw_chair(400)
    own, same, native = (model.render(chair, [60], 20, 0, size=size).images[0] for size in (None, 64, "source"))
    assert same.shape == own.shape
    assert np.abs(same.astype(int) - own).mean() < 15  # with the finest detail of the source, without the pattern
    assert native.shape[0] == native.shape[1] == round(model.frame(chair, []).side)


@pytest.mark.parametrize("option", ["-o", "--grid", "--turntable"])
def test_no_result_replaces_the_image(synthesis, tmp_path, option):
    name = "chair.gif" if option == "--turntable" else "chair.png"
    if option == "--turntable":
        (tmp_path / name).write_bytes((tmp_path / "chair.png").read_bytes())
    before = (tmp_path / name).read_bytes()
    assert refused(synthesis(name, "--azimuth", "60", option, name, "--overwrite"), 2, "is an input, too")
    assert (tmp_path / name).read_bytes() == before
