"""The HTTP interface of `gfla app`: results are those of the pipelines, errors those of the commands."""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from socket import create_server

import numpy as np
import pytest
from paths import ANNA, BEN, ROOT
from PIL import Image
from tiny_models import save_tiny, tiny
from webapp import TOKEN, serving

pytest.importorskip("starlette")  # of the extra app
from starlette.testclient import TestClient

from gfla_cli.errors import UsageError
from gfla_cli.io.ffmpeg import probe
from gfla_cli.io.image import read_image, write_image
from gfla_cli.person.keypoint_files import read_pose
from gfla_cli.pipelines.animation import Animator
from gfla_cli.pipelines.pose_transfer import PoseTransfer
from gfla_cli.pipelines.subjects import FaceSubject
from gfla_cli.webapp.jobs import BusyError, ClientGoneError, Expression, FaceModel, Worker, with_expression
from gfla_cli.webapp.server import LARGEST_BODY, Server
from gfla_cli.webapp.uploads import Uploads

pytestmark = pytest.mark.usefixtures("detections_remembered")
HERE = "http://127.0.0.1:8765"
EVE, CHAIR, FINN = (ROOT / "assets" / name for name in ("eve.jpg", "armchair.jpg", "finn.mp4"))


@pytest.fixture(scope="module")
def server(little_models):
    return Server(little_models)


@pytest.fixture(scope="module")
def client(server):
    with TestClient(server.app(TOKEN, 8765), HERE, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client


def post(client, path, status=200, **fields):
    """Sends paths as files and everything else as text."""
    files = {name: (value.name, value.read_bytes()) for name, value in fields.items() if isinstance(value, Path)}
    data = {name: str(value) for name, value in fields.items() if not isinstance(value, Path)}
    answer = client.post(path, files=files or {"unused": b""}, data=data)
    assert answer.status_code == status, answer.text
    return answer


def pixels(answer):
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))


@pytest.fixture(scope="module")
def anna(client):
    return post(client, "/uploads", file=ANNA).json()["id"]


@pytest.fixture(scope="module")
def pose(client, anna):
    """Ben's pose at Anna's size and place, as JSON."""
    return post(client, "/detect", source=BEN, onto=anna).text


def test_a_result_is_the_pipelines_own(client, little_models):
    made = post(client, "/pose-transfer", source=ANNA, pose=BEN)
    result = PoseTransfer(little_models.pose).transfer(ANNA, BEN)
    assert made.headers["Content-Type"] == "image/png"
    assert np.array_equal(pixels(made), result.image)
    assert json.loads(made.headers["Gfla-Report"]) == {"notes": result.notes}


def test_the_page_draws_with_a_pose_that_is_placed_already(client, anna, pose, tmp_path):
    (tmp_path / "pose.json").write_text(pose)
    assert read_pose(tmp_path / "pose.json").depths is not None
    whole = post(client, "/pose-transfer", source=anna, pose=pose, placed=1)
    again = post(client, "/pose-transfer", source=anna, pose=tmp_path / "pose.json", placed=1)
    assert np.array_equal(pixels(whole), pixels(again))
    assert np.abs(pixels(whole).astype(int) - pixels(post(client, "/pose-transfer", source=ANNA, pose=BEN))).max() <= 2
    clear = post(client, "/pose-transfer", source=anna, pose=pose, placed=1, background="transparent", size=128)
    assert Image.open(io.BytesIO(clear.content)).mode == "RGBA"
    refused = post(client, "/pose-transfer", 400, source=anna, pose=pose, background="/etc/hostname").json()
    assert "not kept" in refused["error"]  # no path of this machine is read
    preview = post(client, "/pose-transfer", source=anna, pose=pose, placed=1, preview=1)
    assert preview.headers["Content-Type"] == "image/jpeg"
    assert max(pixels(preview).shape) == 640


def test_faces_get_expressions_and_videos(client, tmp_path):
    eve = post(client, "/uploads", file=EVE).json()["id"]
    assert pixels(post(client, "/animate", source=eve, expression='{"turn": 10}')).shape == read_image(EVE).shape
    (tmp_path / "made.mp4").write_bytes(post(client, "/animate", source=eve, driving=FINN).content)
    assert probe(tmp_path / "made.mp4").size == read_image(EVE).shape[:2]
    wrong = post(client, "/animate", 400, source=eve, expression='{"turn": 90}').json()
    assert wrong == {"error": "turn is 90", "hint": "turn goes from -30 to 30"}
    assert "known: turn, nod" in post(client, "/animate", 400, source=eve, expression='{"smile": 1}').json()["hint"]


def test_eyes_look_elsewhere(client):
    assert client.get("/models.json").json() == {"face": {"gaze": True}}
    eve = post(client, "/uploads", file=EVE).json()["id"]
    ahead = pixels(post(client, "/animate", source=eve, expression='{"gaze_x": 0, "gaze_y": 0}'))
    for gaze in ('{"gaze_x": 1}', '{"gaze_y": -1}'):
        assert not np.array_equal(pixels(post(client, "/animate", source=eve, expression=gaze)), ahead)
    wrong = post(client, "/animate", 400, source=eve, expression='{"gaze_x": 1.5}').json()
    assert wrong == {"error": "gaze_x is 1.5", "hint": "gaze_x goes from -1 to 1"}


def test_a_model_that_sees_no_irises_has_no_gaze(little_models, tmp_path):
    save_tiny(tmp_path / "blind", tiny("face-people", structure_channels=16))
    models = replace(little_models, face=str(tmp_path / "blind"))
    with TestClient(Server(models).app(TOKEN, 8765), HERE, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        assert client.get("/models.json").json() == {"face": {"gaze": False}}
        refused = post(client, "/animate", 400, source=EVE, expression='{"turn": 5, "gaze_y": 0.5}').json()
        assert refused["error"] == "blind sees no irises, so its eyes cannot look elsewhere"
        assert "--face-model" in refused["hint"]
        post(client, "/animate", source=EVE, expression='{"turn": 5, "gaze_y": 0}')


def test_a_face_follows_the_frames_of_a_camera(client, tmp_path):
    eve = post(client, "/uploads", file=EVE).json()["id"]
    face = read_image(EVE)
    write_image(tmp_path / "first.png", face)
    write_image(tmp_path / "next.png", np.roll(face, 30, axis=1))
    first = pixels(post(client, "/animate", source=eve, frame=tmp_path / "first.png", first=1))
    moved = pixels(post(client, "/animate", source=eve, frame=tmp_path / "next.png"))
    assert first.shape == moved.shape == face.shape
    assert not np.array_equal(first, moved)
    write_image(tmp_path / "wall.png", np.full_like(face, 180))
    refused = post(client, "/animate", 400, source=eve, frame=tmp_path / "wall.png").json()
    assert refused["error"].startswith("the camera: no face found")


def test_objects_turn(client, tmp_path):
    fields = {"source": CHAIR, "source_azimuth": 40, "elevation": 10}
    view = post(client, "/view-synthesis", azimuth=60, **fields)
    grid = pixels(post(client, "/view-synthesis", output="grid", **fields))
    side = len(pixels(view))
    assert grid.shape == (3 * side, 6 * side, 3)
    assert np.array_equal(grid[:side, 3 * side : 4 * side], pixels(view))
    assert json.loads(view.headers["Gfla-Report"])["source_azimuth"] == 40
    (tmp_path / "turn.mp4").write_bytes(post(client, "/view-synthesis", output="turntable", **fields).content)
    assert probe(tmp_path / "turn.mp4").size == (side, side)
    assert post(client, "/view-synthesis", 400, output="film", **fields).json()["error"] == "unknown output: film"


def test_errors_are_the_lines_of_the_commands(client, gfla, tmp_path, anna):
    (tmp_path / "notes.jpg").write_text("no image")
    said = post(client, "/pose-transfer", 400, source=tmp_path / "notes.jpg", pose=BEN).json()
    line, hint = gfla("pose-transfer", "notes.jpg", "--pose", BEN, "--model", "pose-people").stderr.splitlines()[-2:]
    assert f"gfla: {said['error']}" == line.strip()
    assert said["hint"] == hint.strip()
    assert "no field pose" in post(client, "/pose-transfer", 400, source=anna).json()["error"]
    assert "broken JSON" in post(client, "/pose-transfer", 400, source=anna, pose="{").json()["error"]
    assert "not kept" in post(client, "/pose-transfer", 400, source="0" * 16, pose=BEN).json()["error"]
    assert "kept already" in post(client, "/uploads", 400, file=anna).json()["error"]
    assert post(client, "/nothing", 404).json()["hint"]
    assert client.get("/page/../server.py").status_code == 404
    refused = client.get("/pose-transfer")
    assert (refused.status_code, refused.json()["error"]) == (405, "/pose-transfer takes POST, not GET")
    assert post(client, "/models.json", 405).json()["error"] == "/models.json takes GET and HEAD, not POST"


def test_strangers_and_other_sites_are_kept_out(server):
    client = TestClient(server.app(TOKEN, 8765), HERE, follow_redirects=False)
    assert client.get("/").status_code == 401
    assert client.get("/?token=wrong").status_code == 401
    assert client.post("/uploads", files={"file": b"x"}).status_code == 401
    entry = client.get(f"/?token={TOKEN}")
    assert (entry.status_code, entry.headers["Location"]) == (303, "/")
    assert "HttpOnly" in entry.headers["Set-Cookie"]
    page = client.get("/")  # by the cookie
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert client.get("/", headers={"Host": "evil.example:8765"}).status_code == 403
    assert client.post("/uploads", headers={"Origin": "http://evil.example"}, files={"file": b"x"}).status_code == 403
    assert client.post("/uploads", content=iter([b"x"])).status_code == 411
    assert client.post("/uploads", headers={"Content-Length": str(LARGEST_BODY + 1)}).status_code == 413


def test_uploads_go_with_the_request_or_with_the_server(little_models):
    server = Server(little_models)
    with TestClient(server.app(TOKEN, 8765), f"{HERE}", headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        kept = post(client, "/uploads", file=ANNA).json()["id"]
        post(client, "/detect", source=BEN)
        folder = server.uploads.find(kept).parents[1]
        assert [path.name for path in folder.iterdir()] == [kept]
    assert not folder.exists()


def test_names_of_uploads_stay_in_their_folder():
    with Uploads() as uploads:
        for name in ("../../x.jpg", "C:\\x.jpg", "/etc/x.jpg", "x\0.jpg", "..", "", "a" * 300 + ".jpg"):
            path = uploads.store(name, io.BytesIO(b"1"))
            assert path.resolve().parents[1] == path.parents[1].resolve()
            assert len(path.name) <= 100
            assert uploads.without_folder(f"{path}: no person found") == f"{path.name}: no person found"
        first = uploads.keep(path)
        for _ in range(32):
            uploads.keep(uploads.store("x.jpg", io.BytesIO(b"1")))
        with pytest.raises(UsageError, match="not kept"):
            uploads.find(first)
        assert not path.exists()


async def stays():
    return False


async def goes():
    return True


def test_a_worker_drops_jobs_whose_client_goes():
    async def run():
        worker = Worker(lambda: "model")
        begun, done, go_on = [], [], threading.Event()

        def work(number, gone):
            begun.append(number)
            assert go_on.wait(10)
            done.append((number, gone.is_set()))

        first = asyncio.create_task(worker.run(lambda model, gone: work(1, gone), stays))
        await asyncio.sleep(0)
        with pytest.raises(ClientGoneError):
            await worker.run(lambda model, gone: work(2, gone), goes)
        go_on.set()
        await first
        assert await worker.run(lambda model, gone: model, stays) == "model"
        assert (begun, done) == ([1], [(1, False)])
        worker.close()

    asyncio.run(run())


def test_a_video_that_nobody_waits_for_is_left_and_nothing_is_written(little_models, tmp_path):
    gone = threading.Event()
    gone.set()
    with pytest.raises(ClientGoneError):
        FaceModel(Animator(little_models.face)).animate(EVE, FINN, tmp_path / "made.mp4", gone)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_refuses_jobs_when_too_many_wait():
    async def run():
        worker, go_on = Worker(lambda: None), threading.Event()
        waiting = [asyncio.create_task(worker.run(lambda model, gone: go_on.wait(10), stays)) for _ in range(16)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="16 jobs"):
            await worker.run(lambda model, gone: None, stays)
        go_on.set()
        assert all(await asyncio.gather(*waiting))
        worker.close()

    asyncio.run(run())


def test_an_expression_moves_what_its_name_says(anna_face):
    def moved(**changes):
        return with_expression(anna_face, Expression(**changes)) - anna_face

    assert np.abs(moved()).max() < 1e-3
    assert moved(mouth=1)[57, 1] > 0.3 * moved(mouth=1)[8, 1] > 0
    assert np.abs(moved(mouth=1)[:4]).max() < 1e-3
    assert (moved(brows=1)[17:27, 1] < 0).all()
    shut = anna_face + moved(eyes=-1)
    assert np.abs(shut[37] - shut[41]).max() < 1e-3
    aside, down = moved(gaze_x=1), moved(gaze_y=1)
    width = anna_face[39, 0] - anna_face[36, 0]
    assert 0.1 * width < aside[68:, 0].min() <= aside[68:, 0].max() < 0.25 * width  # the irises stay inside the eyes
    assert np.abs(aside[:68]).max() < 1e-3
    assert (down[68:, 1] > 0).all()
    assert (down[[37, 38, 43, 44], 1] > 0).all()  # upper lids follow
    assert (moved(gaze_y=-1)[68:, 1] < 0).all()
    assert moved(turn=20)[30, 0] > 0  # the tip of the nose goes to the right of the image,
    assert moved(nod=20)[30, 1] > 0  # and down
    assert moved(tilt=20)[8, 0] < 0 < moved(tilt=20)[27, 0]  # clockwise: the chin goes left


def test_a_face_goes_all_the_way_that_its_sliders_say(little_models, anna_face, monkeypatch):
    """Also where the moved face looks much like the source: heads that tilt or nod have the same expression."""
    wanted, condition = [], FaceSubject.condition

    def noticed(subject, points, missing):
        asked = condition(subject, points, missing)
        wanted.append(subject.crop.points_back(asked.face))
        return asked

    monkeypatch.setattr(FaceSubject, "condition", noticed)
    model = FaceModel(Animator(little_models.face))
    for change in ({}, {"tilt": 12}, {"nod": 8}, {"gaze_x": 0.7}, {"brows": 0.4}):
        expression = Expression(**change)
        model.express(EVE, expression)
        np.testing.assert_allclose(wanted.pop(), with_expression(anna_face, expression)[:, :2], atol=0.5)


@pytest.fixture(scope="module")
def anna_face():
    from gfla_cli.person.detect_face import FaceDetector

    with FaceDetector() as detector:
        return detector.detect(read_image(EVE))[0].points


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory from /proc")
def test_fifty_requests_keep_the_memory_flat(client, anna, pose):
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for number in range(60):
        if number == 10:
            before = resident()
        post(client, "/pose-transfer", source=anna, pose=pose, placed=1, preview=1)
    assert resident() - before < 20e6


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_commands_of_the_page_about_it_run(little_models, tmp_path):
    text = (ROOT / "assets" / "pages" / "app.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ (curl .*)$", text, re.MULTILINE)
    assert len(commands) == 7
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    with serving(little_models) as address:
        for command in commands:
            arguments = shlex.split(command.replace("$TOKEN", TOKEN).replace(HERE, address))
            subprocess.run(arguments, cwd=tmp_path, check=True, timeout=120)
            assert (tmp_path / arguments[-1]).stat().st_size > 100
    described = json.loads((tmp_path / "openapi.json").read_text())
    jobs = {"/uploads", "/detect", "/pose-transfer", "/animate", "/view-synthesis"}
    assert set(described["paths"]) == jobs | {"/models.json"}


def test_the_description_names_every_field_of_a_pose_transfer():
    described = json.loads((ROOT / "gfla_cli" / "webapp" / "page" / "openapi.json").read_text(encoding="utf-8"))
    form = described["paths"]["/pose-transfer"]["post"]["requestBody"]["content"]["multipart/form-data"]
    read = re.findall(r'form\.\w+\("(\w+)"', inspect.getsource(Server._transfer))
    assert set(form["schema"]["properties"]) == {*read, "background"}


def test_two_clients_at_once_get_their_own_results(client):
    alone = [post(client, "/detect", source=name).json() for name in (ANNA, BEN)]
    with ThreadPoolExecutor(4) as clients:
        answers = clients.map(lambda name: post(client, "/detect", source=name).json(), (ANNA, BEN) * 2)
        assert list(answers) == alone * 2


def test_a_taken_port_and_a_missing_extra_are_said(gfla, monkeypatch):
    with create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = gfla("app", "--port", port, "--no-browser")
    assert refused.exit_code == 2
    assert f"port {port} cannot be used" in refused.stderr
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "gfla_cli.webapp.server")
    missing = gfla("app")
    assert 'pip install "gfla[app]"' in missing.stderr


def test_the_command_prints_its_address_and_ends_with_ctrl_c(little_models):
    command = [sys.executable, "-m", "gfla_cli", "app", "--no-browser", "--pose-model", little_models.pose]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as running:
        address = running.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}", address)
        base, token = address.split("/?token=")
        for _ in range(100):
            try:
                described = urllib.request.urlopen(f"{base}/openapi.json?token={token}").read()
                break
            except OSError:
                time.sleep(0.1)
        assert json.loads(described)["openapi"]
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 0
        assert running.stderr.read() == "gfla: ended\n"
