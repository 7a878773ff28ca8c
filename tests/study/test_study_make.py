"""Making a study: a page that holds everything, tells nothing, and is the same for the same pictures."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
from commands import names_in
from PIL import Image
from study_answers import draw_picture

from gfla_cli.errors import DataError, MediaError, UsageError
from gfla_cli.study.make import StudyOptions, as_data_uri, draw, find_pairs, make_study, parse_models


def contents(page):
    """Settings, key and pictures of a page, as its script reads them."""
    settings = json.loads(re.search(r'<script type="application/json" id="study">(.*?)</script>', page)[1])
    key = json.loads(base64.b64decode(re.search(r'id="key">(.*?)</script>', page)[1]))
    pictures = dict(re.findall(r'<script type="text/plain" id="p(\d+)">(.*?)</script>', page))
    return settings, key, pictures


def test_a_page_holds_every_picture_once_and_loads_nothing(study_folders):
    models = {"ours": study_folders / "ours", "theirs": study_folders / "theirs"}
    report = make_study(
        study_folders / "real", models, study_folders / "s.html", StudyOptions(trials=3, practice=2, catch=1)
    )
    page = (study_folders / "s.html").read_text()
    settings, key, pictures = contents(page)
    assert (settings["pairs"], settings["practice"], settings["catch"]) == (7, 2, 1)
    assert settings["sittings"] == 3 * 2 * 5  # 7 pairs in sittings of at most 3, two models, five answers
    assert report.bytes == (study_folders / "s.html").stat().st_size
    names = [name for part in ("pairs", "practice", "catch") for name, _ in key[part]]
    assert sorted(names) == sorted(f"p{number}" for number in range(10))
    numbers = {
        str(n) for part in ("pairs", "practice", "catch") for _, some in key[part] for pair in some for n in pair
    }
    assert numbers == set(pictures)
    assert len(pictures) == 9 * 3 + 2
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in pictures.values())
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "http://" not in page.replace("http-equiv", "")
    assert "https://" not in page


def test_the_source_of_a_page_does_not_tell_what_is_real(study_folders):
    make_study(study_folders / "real", {"ours": study_folders / "ours"}, study_folders / "s.html", StudyOptions())
    page = (study_folders / "s.html").read_text()
    _, key, pictures = contents(page)
    assert not re.search(r"\bp\d\.(jpg|png)|ours", page)
    real = [some[0][0] for _, some in key["pairs"]]
    places = [list(pictures).index(str(number)) for number in real]
    assert {place % 2 for place in places} == {0, 1}  # not simply every second one


def test_the_same_pictures_and_seed_give_the_same_page_and_others_another_study(study_folders):
    made = [
        make_study(
            study_folders / "real",
            {"ours": study_folders / "ours"},
            study_folders / f"{name}.html",
            StudyOptions(seed=seed),
        )
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert (study_folders / "a.html").read_bytes() == (study_folders / "b.html").read_bytes()
    assert made[0].settings.id != made[2].settings.id
    draw_picture(study_folders / "new" / "p0.png", 7)
    for number in range(1, 10):
        (study_folders / "new" / f"p{number}.png").write_bytes((study_folders / "ours" / f"p{number}.png").read_bytes())
    other = make_study(
        study_folders / "real", {"ours": study_folders / "new"}, study_folders / "d.html", StudyOptions()
    )
    assert other.settings.id != made[0].settings.id


def test_a_title_is_text_whatever_it_holds(study_folders):
    title = '</script><script>alert("{{key}}")</script>'
    make_study(
        study_folders / "real", {"ours": study_folders / "ours"}, study_folders / "s.html", StudyOptions(title=title)
    )
    page = (study_folders / "s.html").read_text()
    assert contents(page)[0]["title"] == title
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(&quot;{{key}}&quot;)" in page


def test_pictures_are_paired_by_name_and_by_the_target_of_a_transfer(tmp_path):
    for name in ("a", "b--c", "d"):
        draw_picture(tmp_path / "real" / f"{name}.jpg")
    for name in ("a", "x--b--c", "y--b--c", "d--e"):
        draw_picture(tmp_path / "made" / f"{name}.png")
    pairs, left_out = find_pairs(tmp_path / "real", {"made": tmp_path / "made"})
    assert [(pair.name, pair.real.name) for pair in pairs] == [("a", "a.jpg"), ("x--b--c", "b--c.jpg")]
    assert left_out == 2  # the second of b--c, and e, which is not there
    (tmp_path / "real" / "a.png").write_bytes((tmp_path / "made" / "a.png").read_bytes())
    with pytest.raises(DataError, match=r"a\.jpg and a\.png have one name"):
        find_pairs(tmp_path / "real", {"made": tmp_path / "made"})


def test_folders_without_a_common_name_are_refused(study_folders):
    draw_picture(study_folders / "strange" / "q.png")
    with pytest.raises(DataError, match=r"no file name in .*strange matches one in .*real"):
        find_pairs(study_folders / "real", {"strange": study_folders / "strange"})


def test_models_are_named_after_their_folders_or_as_one_says(tmp_path):
    (tmp_path / "a=b").mkdir()
    assert parse_models(["runs/ours", "theirs=x/y", str(tmp_path / "a=b")]) == {
        "ours": tmp_path.__class__("runs/ours"), "theirs": tmp_path.__class__("x/y"), "a=b": tmp_path / "a=b",
    }  # fmt: skip
    with pytest.raises(UsageError, match="two models are called ours"):
        parse_models(["a/ours", "b/ours"])
    with pytest.raises(UsageError, match="no name"):
        parse_models(["=b/ours"])


def test_practice_and_catch_trials_have_pictures_of_their_own(study_folders):
    pairs, _ = find_pairs(study_folders / "real", {"ours": study_folders / "ours"})
    drawn = draw(pairs, 5, practice=3, catch=2, seed=4)
    assert [len(some) for some in (drawn.pairs, drawn.practice, drawn.catch)] == [5, 2, 2]
    assert len({pair.name for pair in [*drawn.pairs, *drawn.practice, *drawn.catch]}) == 9
    assert draw(pairs, 5, practice=3, catch=2, seed=4) == drawn
    assert draw(pairs, 5, practice=3, catch=2, seed=5) != drawn
    with pytest.raises(UsageError, match="3 catch trials need 15 pairs, here are 10"):
        draw(pairs, 5, practice=3, catch=3, seed=4)


def decoded(uri, path):
    path.write_bytes(base64.b64decode(uri.partition(",")[2]))
    return Image.open(path)


def test_small_plain_jpegs_go_in_as_they_are_and_nothing_else_does(tmp_path):
    picture = Image.fromarray(np.full((32, 48, 3), (200, 60, 90), np.uint8))
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    for name, options in {"plain": {}, "exif": {"exif": exif}, "profile": {"icc_profile": b"0" * 128}}.items():
        picture.save(tmp_path / f"{name}.jpg", quality=80, **options)
        uri = as_data_uri(tmp_path / f"{name}.jpg", (48, 32))
        inside = base64.b64decode(uri.partition(",")[2])
        assert (inside == (tmp_path / f"{name}.jpg").read_bytes()) == (name == "plain")
        assert not {"exif", "icc_profile"} & set(decoded(uri, tmp_path / "out.jpg").info)
    noise = np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.jpg", quality=100, subsampling=0)
    assert (tmp_path / "large.jpg").stat().st_size > 1.5 * 32 * 48
    large = base64.b64decode(as_data_uri(tmp_path / "large.jpg", (48, 32)).partition(",")[2])
    assert large != (tmp_path / "large.jpg").read_bytes()


def test_the_real_picture_takes_the_size_of_the_generated_one_but_never_its_shape(tmp_path):
    draw_picture(tmp_path / "large.png", size=(96, 64))
    assert decoded(as_data_uri(tmp_path / "large.png", (48, 32)), tmp_path / "out.jpg").size == (48, 32)
    with pytest.raises(DataError, match="96x64, but the generated image is 48x48"):
        as_data_uri(tmp_path / "large.png", (48, 48))
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "out.jpg").read_bytes()[:300])
    with pytest.raises(MediaError, match=r"cut\.jpg"):
        as_data_uri(tmp_path / "cut.jpg", (48, 32))


def test_make_says_what_it_made_and_refuses_without_leaving_anything(gfla_study, study_folders):
    result = gfla_study("make", "real", "ours", "Theirs=theirs", "-o", "s.html", "--trials", 4, "--repeats", 2)
    assert result.exit_code == 0, result.output
    assert result.stdout == "s.html\n"
    assert "8 pairs of 2 models, 8 sittings for 2 answers each" in result.stderr
    assert "MB, study " in result.stderr
    again = gfla_study("make", "real", "ours", "-o", "s.html")
    assert (again.exit_code, again.stdout) == (2, "")
    (study_folders / "theirs" / "p3.png").unlink()
    draw_picture(study_folders / "theirs" / "p3.png", size=(32, 32))
    broken = gfla_study("make", "real", "theirs", "-o", "t.html")
    assert broken.exit_code == 1
    assert "p3.jpg is 48x32, but the generated image is 32x32" in broken.stderr
    assert gfla_study("make", "real", "nowhere", "-o", "t.html").exit_code == 1
    assert names_in(study_folders) == ["ours", "real", "s.html", "theirs"]


def test_the_page_replaces_none_of_the_images(gfla_study, study_folders):
    before = (study_folders / "real" / "p0.jpg").read_bytes()
    result = gfla_study("make", "real", "ours", "-o", "real/p0.jpg", "--overwrite")
    assert result.exit_code == 2
    assert "real/p0.jpg is an input, too" in result.stderr
    assert (study_folders / "real" / "p0.jpg").read_bytes() == before
