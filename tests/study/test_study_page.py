"""The study's page in a real browser: a rater's way through it, reloads, another screen, and the server behind it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter

import numpy as np
import pytest
from browser import Browser, find_chromium

from gfla_cli.io.image import write_image
from gfla_cli.study.make import StudyOptions, make_study
from gfla_cli.study.results import find_results, tally
from gfla_cli.study.serve import ServedStudy, StudyServer

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="the browser is driven over pipes 3 and 4"),
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium here; GFLA_CHROMIUM names one"),
]
SHOWN = "current && performance.now() - current.since > HASTY_MS"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    for name in ("p0", "p1", "p2", "p3", "p4"):
        for kind, colour in (("real", (200, 40, 40)), ("ours", (40, 40, 200))):
            (folder / kind).mkdir(exist_ok=True)
            write_image(folder / kind / f"{name}.png", np.full((32, 48, 3), colour, np.uint8))
    return folder


@pytest.fixture(scope="module")
def browser(folder):
    browser = Browser(find_chromium(), folder / "profile", folder / "downloads")
    yield browser
    browser.close()


@pytest.fixture
def page(folder, browser):
    """Three pairs, one for practice and a catch trial; the browser is a desktop's and remembers nothing."""
    options = StudyOptions(trials=3, repeats=1, seconds=0.2, practice=3, catch=1)
    make_study(folder / "real", {"ours": folder / "ours"}, folder / "page.html", options, overwrite=True)
    browser.forget()
    browser.screen(1280, 800)
    return folder / "page.html"


def red(browser, side):
    """How red the picture on that side is: the real ones are (200, 40, 40), the generated ones the other way round."""
    return browser.evaluate(
        "(image => { const canvas = document.createElement('canvas').getContext('2d'); canvas.drawImage(image, 0, 0);"
        f" return canvas.getImageData(9, 9, 1, 1).data[0]; }})(document.querySelector('#{side} img'))"
    )


def enter(browser, address):
    browser.open(address)
    browser.until("!get('welcome').hidden")


def practise(browser):
    browser.click("#begin")
    browser.until(SHOWN)
    browser.press("a")
    browser.until("!get('next').hidden")
    assert browser.evaluate("get('verdict').textContent").endswith(("is real.", "one is real."))
    browser.press("Enter")  # the button has the focus
    browser.until("!get('ready').hidden")
    browser.click("#go")


def test_a_rater_goes_through_reloads_and_saves_what_tally_reads(page, browser, folder):
    enter(browser, page.as_uri())
    assert "4 pairs, after 1 for practice" in browser.evaluate("get('length').textContent")
    practise(browser)
    for number in range(4):
        browser.until(SHOWN)
        if number == 1:  # the pictures go after their time, the question stays
            browser.until("get('stage').dataset.phase === 'covered'")
            assert browser.evaluate("getComputedStyle(document.querySelector('#left img')).visibility") == "hidden"
        if number == 2:  # a phone's browser drops the page in the middle
            for _ in range(60):  # the browser passes what is stored to its next process when it finds the time
                browser.open(page.as_uri())
                browser.until("!get('welcome').hidden")
                if browser.evaluate("get('length').textContent").startswith("Welcome back: 2 of 4"):
                    break
                time.sleep(0.5)
            assert browser.evaluate("get('length').textContent").startswith("Welcome back: 2 of 4")
            browser.click("#begin")
            browser.until(SHOWN)
        kind, real = browser.evaluate("[current.kind, current.real]")
        if kind == "pair":
            real = "left" if red(browser, "left") > red(browser, "right") else "right"
        fooled = kind == "pair" and browser.evaluate("current.pair") == 0
        side = {"left": "right", "right": "left"}[real] if fooled else real
        if number < 2:
            browser.click(f"#{side}")
        else:
            browser.press({"left": "ArrowLeft", "right": "l"}[side])
        browser.until(f"memory.session.answers.length === {number + 1}")
    browser.until("!get('end').hidden")
    browser.click("#save")
    file = folder / "downloads" / browser.evaluate("get('save').download")
    for _ in range(200):
        if file.is_file():
            break
        time.sleep(0.02)
    answers = json.loads(file.read_text())["answers"]
    assert sorted(answer["kind"] for answer in answers) == ["catch", "pair", "pair", "pair"]
    assert all(100 < answer["ms"] < 20_000 for answer in answers)
    assert Counter(answer["real"] for answer in answers) == {"left": 2, "right": 2}
    (model,) = tally([file]).models
    assert (model.model, model.answers, model.fooled, model.pairs) == ("ours", 3, 1, 3)
    assert browser.problems == []  # nothing was thrown, and the page's own policy stopped nothing


def test_every_pair_is_compared_with_every_model_as_often_as_asked(page, browser):
    enter(browser, page.as_uri())
    study = {"id": "x", "pairs": 11, "models": 2, "trials": 4, "repeats": 3, "catch": 2, "practice": 3}
    sittings = browser.evaluate(
        f"(s => Array.from({{length: 3 * 2 * 3}}, (_, n) => planSitting(s, n + 1)))({json.dumps(study)})"
    )
    times = Counter((t["pair"], t["model"]) for trials in sittings for t in trials if t["kind"] == "pair")
    assert times == {(pair, model): 3 for pair in range(11) for model in range(2)}
    for trials in sittings:
        pairs = [trial["pair"] for trial in trials if trial["kind"] == "pair"]
        assert len(set(pairs)) == len(pairs) <= 4
        assert [trial["kind"] for trial in trials].count("catch") == 2
        sides = Counter(trial["real"] for trial in trials)
        assert abs(sides["left"] - sides["right"]) <= 1
    assert len({tuple(t["real"] for t in trials) for trials in sittings}) > 5  # another order of sides every time


def test_on_a_phone_nothing_is_cut_off_and_the_sides_have_other_names(page, browser):
    browser.screen(360, 640, phone=True, dark=True)
    enter(browser, page.as_uri())
    browser.evaluate("memory.practised = study.practice")
    browser.click("#begin")
    browser.until(SHOWN)
    width, height = browser.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert (width, height) == (360, 640)  # a trial needs no scrolling
    assert browser.evaluate("sides.left.getAttribute('aria-label')") == "Upper image"
    upper, lower = browser.evaluate("Object.values(sides).map(b => [b.offsetTop, b.offsetHeight])")
    assert upper[0] + upper[1] <= lower[0]
    assert upper[1] > 150


def test_a_served_page_sends_the_answers_and_takes_its_set_from_the_server(page, browser, folder):
    with StudyServer(ServedStudy(page, folder / "answers"), 0, lambda path, result: None) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            enter(browser, f"http://127.0.0.1:{server.server_port}/")
            browser.evaluate("memory.practised = study.practice")
            browser.click("#begin")
            browser.until(SHOWN)
            browser.press("a")
            browser.until("current === null && memory.session.answers.length === 1")
            browser.click("#stop")
            browser.until("get('delivery').textContent.startsWith('Your answers have arrived')")
            assert not browser.evaluate("get('resume').hidden")
        finally:
            server.shutdown()
            thread.join()
    (file,) = find_results([folder / "answers"])
    assert len(json.loads(file.read_text())["answers"]) == 1
    assert browser.problems == []
