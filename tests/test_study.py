"""The human study: making pages, collecting answers, counting them. In a browser: `test_study_page.py`."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gfla_cli.app import app
from gfla_cli.errors import DataError, MediaError, UsageError
from gfla_cli.media.image import write_image
from gfla_cli.study.answers import LARGEST_FILE, parse_result
from gfla_cli.study.make import StudyOptions, make_study
from gfla_cli.study.pairs import draw, find_pairs, parse_models
from gfla_cli.study.pictures import as_data_uri
from gfla_cli.study.serve import ServedStudy, StudyServer
from gfla_cli.study.tally import bootstrap_over_raters, find_results, tally, wilson_interval

STUDY, OTHER = "a" * 16, "b" * 16


def draw_picture(path, seed=0, size=(48, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    write_image(path, np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)))


@pytest.fixture
def folders(tmp_path):
    """Ten real pictures and what two models made of them."""
    for number in range(10):
        draw_picture(tmp_path / "real" / f"p{number}.jpg", number)
        draw_picture(tmp_path / "ours" / f"p{number}.png", 100 + number)
        draw_picture(tmp_path / "theirs" / f"p{number}.png", 200 + number)
    return tmp_path


@pytest.fixture
def gfla(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, ["study", *map(str, arguments)])


def contents(page):
    """Settings, key and pictures of a page, as its script reads them."""
    settings = json.loads(re.search(r'<script type="application/json" id="study">(.*?)</script>', page)[1])
    key = json.loads(base64.b64decode(re.search(r'id="key">(.*?)</script>', page)[1]))
    pictures = dict(re.findall(r'<script type="text/plain" id="p(\d+)">(.*?)</script>', page))
    return settings, key, pictures


# ---- the page ----


def test_a_page_holds_every_picture_once_and_loads_nothing(folders):
    models = {"ours": folders / "ours", "theirs": folders / "theirs"}
    report = make_study(folders / "real", models, folders / "s.html", StudyOptions(trials=3, practice=2, catch=1))
    page = (folders / "s.html").read_text()
    settings, key, pictures = contents(page)
    assert (settings["pairs"], settings["practice"], settings["catch"]) == (7, 2, 1)
    assert settings["sittings"] == 3 * 2 * 5  # 7 pairs in sittings of at most 3, two models, five answers
    assert report.bytes == (folders / "s.html").stat().st_size
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


def test_the_source_of_a_page_does_not_tell_what_is_real(folders):
    make_study(folders / "real", {"ours": folders / "ours"}, folders / "s.html", StudyOptions())
    page = (folders / "s.html").read_text()
    _, key, pictures = contents(page)
    assert not re.search(r"\bp\d\.(jpg|png)|ours", page)
    real = [some[0][0] for _, some in key["pairs"]]
    places = [list(pictures).index(str(number)) for number in real]
    assert {place % 2 for place in places} == {0, 1}  # not simply every second one


def test_the_same_pictures_and_seed_give_the_same_page_and_others_another_study(folders):
    made = [
        make_study(folders / "real", {"ours": folders / "ours"}, folders / f"{name}.html", StudyOptions(seed=seed))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert (folders / "a.html").read_bytes() == (folders / "b.html").read_bytes()
    assert made[0].settings.id != made[2].settings.id
    draw_picture(folders / "new" / "p0.png", 7)
    for number in range(1, 10):
        (folders / "new" / f"p{number}.png").write_bytes((folders / "ours" / f"p{number}.png").read_bytes())
    other = make_study(folders / "real", {"ours": folders / "new"}, folders / "d.html", StudyOptions())
    assert other.settings.id != made[0].settings.id


def test_a_title_is_text_whatever_it_holds(folders):
    title = '</script><script>alert("{{key}}")</script>'
    make_study(folders / "real", {"ours": folders / "ours"}, folders / "s.html", StudyOptions(title=title))
    page = (folders / "s.html").read_text()
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


def test_folders_without_a_common_name_are_refused(folders):
    draw_picture(folders / "strange" / "q.png")
    with pytest.raises(DataError, match=r"no file name in .*strange matches one in .*real"):
        find_pairs(folders / "real", {"strange": folders / "strange"})


def test_models_are_named_after_their_folders_or_as_one_says(tmp_path):
    (tmp_path / "a=b").mkdir()
    assert parse_models(["runs/ours", "theirs=x/y", str(tmp_path / "a=b")]) == {
        "ours": tmp_path.__class__("runs/ours"), "theirs": tmp_path.__class__("x/y"), "a=b": tmp_path / "a=b",
    }  # fmt: skip
    with pytest.raises(UsageError, match="two models are called ours"):
        parse_models(["a/ours", "b/ours"])
    with pytest.raises(UsageError, match="no name"):
        parse_models(["=b/ours"])


def test_practice_and_catch_trials_have_pictures_of_their_own(folders):
    pairs, _ = find_pairs(folders / "real", {"ours": folders / "ours"})
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
    with pytest.raises(DataError, match="96x64, but the generated picture is 48x48"):
        as_data_uri(tmp_path / "large.png", (48, 48))
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "out.jpg").read_bytes()[:300])
    with pytest.raises(MediaError, match=r"cut\.jpg"):
        as_data_uri(tmp_path / "cut.jpg", (48, 32))


def test_make_says_what_it_made_and_refuses_without_leaving_anything(gfla, folders):
    result = gfla("make", "real", "ours", "Theirs=theirs", "-o", "s.html", "--trials", 4, "--repeats", 2)
    assert result.exit_code == 0, result.output
    assert result.stdout == "s.html\n"
    assert "8 pairs of 2 models, 8 sittings for 2 answers each" in result.stderr
    assert "MB, study " in result.stderr
    again = gfla("make", "real", "ours", "-o", "s.html")
    assert (again.exit_code, again.stdout) == (2, "")
    (folders / "theirs" / "p3.png").unlink()
    draw_picture(folders / "theirs" / "p3.png", size=(32, 32))
    broken = gfla("make", "real", "theirs", "-o", "t.html")
    assert broken.exit_code == 1
    assert "p3.jpg is 48x32, but the generated picture is 32x32" in broken.stderr
    assert gfla("make", "real", "nowhere", "-o", "t.html").exit_code == 1
    assert sorted(path.name for path in folders.iterdir()) == ["ours", "real", "s.html", "theirs"]


# ---- results ----


def answer(picture, fooled, model="ours", kind="pair"):
    return {"kind": kind, "picture": picture, "model": model, "real": "left", "ms": 900,
            "chosen": "right" if fooled else "left"}  # fmt: skip


def result_of(answers, *, study=STUDY, session=1, rater=1, sitting=1, started="2025-01-01T00:00:00.000Z"):
    return {"format": "gfla-study-result", "version": 1, "study": study, "session": f"{session:032x}",
            "rater": f"{rater:032x}", "sitting": sitting, "started": started, "finished": started, "complete": True,
            "answers": answers}  # fmt: skip


@pytest.fixture
def put(tmp_path):
    folder = tmp_path / "answers"
    folder.mkdir()

    def write(name, *arguments, **options):
        (folder / name).write_text(json.dumps(result_of(*arguments, **options)))

    return write


def fooled_in(total, fooled, model="ours"):
    return [answer(f"p{number}", number < fooled, model) for number in range(total)]


def test_the_share_taken_for_real_of_every_model(put, gfla):
    put("a.json", fooled_in(10, 3) + fooled_in(10, 1, "theirs"), session=1, rater=1)
    put("b.json", fooled_in(10, 5), session=2, rater=2, sitting=2)
    put("c.json", fooled_in(10, 4), session=3, rater=2, sitting=3)
    report = json.loads(gfla("tally", "answers", "--json").stdout)
    assert (report["study"], report["raters"], report["sittings"]) == (STUDY, 2, 3)
    ours, theirs = report["models"]
    assert (ours["model"], ours["answers"], ours["fooled"], ours["share"]) == ("ours", 30, 12, 0.4)
    assert (ours["pairs"], ours["raters"]) == (10, 2)
    assert ours["wilson"] == pytest.approx([0.2459, 0.5768], abs=1e-4)
    assert ours["over_raters"] == pytest.approx([0.3, 0.45])  # either rater alone
    assert (theirs["share"], theirs["raters"], theirs["over_raters"]) == (0.1, 1, None)
    table = gfla("tally", "answers")
    assert "40.00%" in table.stdout
    assert "raters: 2, sittings: 3, files left out: 0" in table.stdout


def test_wilson_intervals_agree_with_published_values():
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for successes, count, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611),
                                        (1, 29, 0.0061, 0.1718)):  # fmt: skip
        assert wilson_interval(successes, count) == pytest.approx((low, high), abs=5e-5)


def test_raters_who_differ_widen_the_interval_over_raters_only():
    alike, unlike = [[True, False] * 10] * 8, [[True] * 20] * 4 + [[False] * 20] * 4
    assert bootstrap_over_raters(alike) == pytest.approx((0.5, 0.5))
    low, high = bootstrap_over_raters(unlike)
    assert low < 0.25
    assert high > 0.75
    assert bootstrap_over_raters(alike[:1]) is None


def test_what_does_not_count_is_named_with_the_reason(put, gfla, tmp_path):
    put("good.json", fooled_in(10, 3), session=1, rater=1)
    put("early.json", fooled_in(4, 0), session=1, rater=1)  # saved before the sitting was over
    put("again.json", fooled_in(10, 9), session=2, rater=1, started="2025-01-02")
    put("other.json", fooled_in(10, 9), session=3, rater=3, study=OTHER)
    asleep = [answer("c0", True, "", "catch"), answer("c1", False, "", "catch")]
    put("asleep.json", fooled_in(10, 9) + asleep, session=4, rater=4)
    awake = [answer(f"c{number}", number == 0, "", "catch") for number in range(4)]
    put("awake.json", fooled_in(10, 3) + awake, session=5, rater=5)
    (tmp_path / "answers" / "cut.json").write_text('{"format": "gfla-study-result", "vers')
    (tmp_path / "answers" / "notes.json").write_text("[1, 2, 3]")
    (tmp_path / "answers" / "photo.json").write_bytes(b"\x89PNG\xff")
    result = gfla("tally", "answers", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["models"][0]["answers"], report["models"][0]["fooled"]) == (20, 6)
    why = {entry["file"].split("/")[-1]: entry["why"] for entry in report["excluded"]}
    assert why == {
        "early.json": "the same session as good.json",
        "again.json": "the same rater did set 1 in good.json already",
        "other.json": f"belongs to study {OTHER}",
        "asleep.json": "failed 1 of 2 catch trials",
    }
    assert len(report["unreadable"]) == 3
    for name in (*why, "cut.json", "notes.json", "photo.json"):
        assert name in result.stderr


def test_a_tally_of_nothing_is_refused(put, gfla, tmp_path):
    assert "no result files" in gfla("tally", "answers").stderr
    assert "nowhere: no such file" in gfla("tally", "nowhere").stderr
    (tmp_path / "answers" / "notes.json").write_text("{}")
    assert "none of 1 files is a readable result" in gfla("tally", "answers").stderr
    put("a.json", fooled_in(3, 1))
    put("b.json", fooled_in(3, 1), study=OTHER, session=2)
    both = gfla("tally", "answers")
    assert (both.exit_code, both.stdout) == (1, "")
    assert f"several studies: {STUDY} and {OTHER}" in both.stderr
    assert gfla("tally", "answers", "--study", OTHER).exit_code == 0
    assert "no answers to study" in gfla("tally", "answers", "--study", "f" * 16).stderr


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"study": "../../etc"}, "study should be"),
        ({"rater": "A" * 32}, "rater should be"),
        ({"session": 7}, "session should be"),
        ({"sitting": True}, "sitting should be"),
        ({"sitting": 1.5}, "sitting should be"),
        ({"version": 2}, "version 2"),
        ({"format": "other"}, "not a result"),
        ({"answers": {}}, "no list of answers"),
        ({"answers": [answer("a", True), 3]}, "answer 2: not a JSON object"),
        ({"answers": [answer("a", True) | {"chosen": "up"}]}, "answer 1: chosen should be left or right"),
        ({"answers": [answer("a" * 301, True)]}, "answer 1: picture should be"),
        ({"answers": [answer("a\x1b[2J", True)]}, "answer 1: picture should be"),
        ({"answers": [answer("a", True) | {"ms": -1}]}, "answer 1: ms should be"),
    ],
)
def test_results_are_checked_field_by_field(change, what):
    with pytest.raises(DataError, match=re.escape(what)):
        parse_result(json.dumps(result_of([]) | change))


@pytest.mark.parametrize("text", ["", "[" * 100_000, "null", "NaN", b"\xff\xfe", '{"sitting": ' + "1" * 5000 + "}"])
def test_texts_that_are_no_results_are_refused(text):
    with pytest.raises(DataError):
        parse_result(text)


# ---- the server ----


@contextmanager
def serving(page, results):
    saved = []
    with StudyServer(ServedStudy(page, results), 0, lambda path, result: saved.append(path.name)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server, saved
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server(folders):
    """A running server, its results folder, and a function that asks it something."""
    options = StudyOptions(trials=4, repeats=2)
    made = make_study(folders / "real", {"ours": folders / "ours"}, folders / "s.html", options)
    with serving(folders / "s.html", folders / "answers") as (running, saved):

        def ask(method, path, body=None, **headers):
            connection = http.client.HTTPConnection("127.0.0.1", running.server_port, timeout=5)
            try:
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                return response.status, response.headers, response.read()
            finally:
                connection.close()

        def post(result, path="/results", **headers):
            return ask("POST", path, json.dumps(result), **{"Content-Type": "application/json", **headers})[0]

        yield SimpleNamespace(ask=ask, post=post, saved=saved, study=made.settings.id, server=running)


def test_the_server_gives_the_page_and_the_sittings_in_turn(server, folders):
    status, headers, body = server.ask("GET", "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert body == (folders / "s.html").read_bytes()
    assert (headers["X-Content-Type-Options"], headers["X-Frame-Options"]) == ("nosniff", "DENY")
    assert server.server.server_address[0] == "127.0.0.1"
    given = [json.loads(server.ask("GET", "/sitting")[2])["sitting"] for _ in range(5)]
    assert given == [1, 2, 3, 4, 1]


def test_answers_become_one_file_a_session_that_tally_reads(server, folders):
    study = server.study
    assert server.post(result_of(fooled_in(2, 1), study=study)) == 201
    assert server.post(result_of(fooled_in(4, 1), study=study)) == 201  # the rater went on
    assert server.post(result_of(fooled_in(3, 3), study=study)) == 201  # an older request, come late
    assert server.post(result_of(fooled_in(4, 2), study=study, session=2, rater=2, sitting=2)) == 201
    assert sorted(set(server.saved)) == sorted(path.name for path in (folders / "answers").glob("*"))
    (model,) = tally(find_results([folders / "answers"])).models
    assert (model.answers, model.fooled, model.raters) == (8, 3, 2)
    # Sittings that are on disk count as done for the next server.
    assert [ServedStudy(folders / "s.html", folders / "answers").next_sitting() for _ in range(1)] == [3]


def test_what_is_no_answer_to_this_study_is_refused(server, folders):
    good = result_of(fooled_in(2, 1), study=server.study)
    assert server.post(good | {"study": OTHER}) == 400
    assert server.post(good | {"sitting": 5}) == 400
    assert server.post(good | {"session": "../../../tmp/x"}) == 400
    assert server.post(good, "/results/../x") == 404
    assert server.post(good, **{"Content-Type": "text/plain"}) == 415
    assert server.post(good, Host="evil.example:80") == 403
    assert server.ask("GET", "/", Host="evil.example")[0] == 403
    for path in ("/s.html", "/../s.html", "/answers", "/?x", "/%2e%2e/s.html"):
        assert server.ask("GET", path)[0] == 404, path
    assert server.ask("PUT", "/results", "{}")[0] == 501
    assert list((folders / "answers").iterdir()) == []
    assert server.saved == []


@pytest.mark.parametrize(
    ("length", "status"),
    [(str(LARGEST_FILE + 1), 413), ("9" * 400, 413), ("-1", 411), ("1e3", 411), ("²", 411), (None, 411)],
)
def test_bodies_of_unknown_or_great_length_are_refused_unread(server, length, status):
    head = (
        f"POST /results HTTP/1.1\r\nHost: localhost:{server.server.server_port}\r\nContent-Type: application/json\r\n"
    )
    head += "" if length is None else f"Content-Length: {length}\r\n"
    with socket.create_connection(("127.0.0.1", server.server.server_port), timeout=5) as connection:
        connection.sendall(f"{head}\r\n".encode("latin-1"))  # and no body: an answer shows that none was waited for
        assert connection.recv(100).startswith(f"HTTP/1.0 {status} ".encode())


def test_a_damaged_file_in_the_results_folder_stops_nobody(server, folders):
    result = result_of(fooled_in(2, 1), study=server.study)
    (folders / "answers" / f"{result['rater']}-{result['session']}.json").write_text("{")
    assert server.post(result) == 201
    assert tally(find_results([folders / "answers"])).models[0].answers == 2


def test_serving_what_is_no_study_or_on_a_taken_port_is_refused(server, gfla, folders):
    (folders / "x.html").write_text("<html></html>")
    assert "x.html is not a study page" in gfla("serve", "x.html").stderr
    assert "no.html cannot be read" in gfla("serve", "no.html").stderr
    taken = gfla("serve", "s.html", "--port", server.server.server_port, "--results", "elsewhere")
    assert taken.exit_code == 2
    assert f"port {server.server.server_port} cannot be used" in taken.stderr
    assert "--port 0" in taken.stderr


def test_ctrl_c_ends_the_server_politely(gfla, folders, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(StudyServer, "serve_forever", interrupted)
    result = gfla("make", "real", "ours", "-o", "s.html", "--serve", "--port", 0)
    assert result.exit_code == 0, result.output
    page, address = result.stdout.splitlines()
    assert page == "s.html"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
    assert "answers go to s-results" in result.stderr
    assert "ended; 0 sittings in s-results" in result.stderr
