"""Serving a study: the page, the sittings in turn, and answers that are none. In a browser: `test_study_page.py`."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from study_answers import OTHER, fooled_in, result_of

from gfla_cli.study.make import StudyOptions, make_study
from gfla_cli.study.results import LARGEST_FILE, find_results, tally
from gfla_cli.study.serve import ServedStudy, StudyServer


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
def server(study_folders):
    """A running server, its results folder, and a function that asks it something."""
    options = StudyOptions(trials=4, repeats=2)
    made = make_study(study_folders / "real", {"ours": study_folders / "ours"}, study_folders / "s.html", options)
    with serving(study_folders / "s.html", study_folders / "answers") as (running, saved):

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


def test_the_server_gives_the_page_and_the_sittings_in_turn(server, study_folders):
    status, headers, body = server.ask("GET", "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert body == (study_folders / "s.html").read_bytes()
    assert (headers["X-Content-Type-Options"], headers["X-Frame-Options"]) == ("nosniff", "DENY")
    assert server.server.server_address[0] == "127.0.0.1"
    given = [json.loads(server.ask("GET", "/sitting")[2])["sitting"] for _ in range(5)]
    assert given == [1, 2, 3, 4, 1]


def test_answers_become_one_file_a_session_that_tally_reads(server, study_folders):
    study = server.study
    assert server.post(result_of(fooled_in(2, 1), study=study)) == 201
    assert server.post(result_of(fooled_in(4, 1), study=study)) == 201  # the rater went on
    assert server.post(result_of(fooled_in(3, 3), study=study)) == 201  # an older request, come late
    assert server.post(result_of(fooled_in(4, 2), study=study, session=2, rater=2, sitting=2)) == 201
    assert sorted(set(server.saved)) == sorted(path.name for path in (study_folders / "answers").glob("*"))
    (model,) = tally(find_results([study_folders / "answers"])).models
    assert (model.answers, model.fooled, model.raters) == (8, 3, 2)
    # Sittings that are on disk count as done for the next server.
    assert ServedStudy(study_folders / "s.html", study_folders / "answers").next_sitting() == 3


def test_what_is_no_answer_to_this_study_is_refused(server, study_folders):
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
    assert list((study_folders / "answers").iterdir()) == []
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


def test_a_damaged_file_in_the_results_folder_stops_nobody(server, study_folders):
    result = result_of(fooled_in(2, 1), study=server.study)
    (study_folders / "answers" / f"{result['rater']}-{result['session']}.json").write_text("{")
    assert server.post(result) == 201
    assert tally(find_results([study_folders / "answers"])).models[0].answers == 2


def test_serving_what_is_no_study_or_on_a_taken_port_is_refused(server, gfla_study, study_folders):
    (study_folders / "x.html").write_text("<html></html>")
    assert "x.html is not a study page" in gfla_study("serve", "x.html").stderr
    assert "no.html cannot be read" in gfla_study("serve", "no.html").stderr
    taken = gfla_study("serve", "s.html", "--port", server.server.server_port, "--results", "elsewhere")
    assert taken.exit_code == 2
    assert f"port {server.server.server_port} cannot be used" in taken.stderr
    assert "--port 0" in taken.stderr


def test_ctrl_c_ends_the_server_politely(gfla_study, study_folders, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(StudyServer, "serve_forever", interrupted)
    result = gfla_study("make", "real", "ours", "-o", "s.html", "--serve", "--port", 0)
    assert result.exit_code == 0, result.output
    page, address = result.stdout.splitlines()
    assert page == "s.html"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
    assert "answers go to s-results" in result.stderr
    assert "ended; 0 sittings in s-results" in result.stderr
