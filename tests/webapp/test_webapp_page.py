"""The page of `gfla app` in a real browser: drop, drag, and the image that the pipeline makes of the same pose."""

from __future__ import annotations

import base64
import json
import os

import numpy as np
import pytest
from browser import Browser, find_chromium
from paths import ANNA, BEN, ROOT
from webapp import TOKEN, serving

pytest.importorskip("starlette")  # of the extra app

from gfla_cli.person.keypoint_files import read_pose
from gfla_cli.pipelines.pose_transfer import PoseTransfer

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="the browser is driven over pipes 3 and 4"),
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium here; GFLA_CHROMIUM names one"),
]
RIGHT_WRIST, RIGHT_ELBOW, RIGHT_SHOULDER = 4, 3, 2


@pytest.fixture(scope="module")
def address(little_models):
    with serving(little_models) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    browser = Browser(find_chromium(), folder / "profile", folder / "downloads", patience=60)
    yield browser
    browser.close()


@pytest.fixture
def page(browser, address):
    browser.screen(1280, 800)
    browser.open(f"{address}/?token={TOKEN}")
    browser.until("'ready' in document.documentElement.dataset")
    assert browser.evaluate("location.search") == ""  # the token is not left in the address
    browser.problems.clear()
    yield browser
    assert browser.problems == []  # nothing was thrown, and the page's own policy stopped nothing


def drop(page, place, path):
    """Drops a file on an element."""
    content = base64.b64encode(path.read_bytes()).decode()
    page.evaluate(
        f"""(() => {{
          const bytes = Uint8Array.from(atob("{content}"), (c) => c.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([bytes], "{path.name}"));
          document.querySelector("{place}").dispatchEvent(new DragEvent("drop", {{ dataTransfer, cancelable: true }}));
        }})()"""
    )


def drop_anna(page):
    drop(page, "#pose .stage", ANNA)
    page.until("document.querySelectorAll('#pose g.joint').length > 10")


def where(page, joint):
    """The place of a joint on the screen."""
    return page.evaluate(
        f"(b => [b.x + b.width / 2, b.y + b.height / 2])(document.querySelector('g[data-joint=\"{joint}\"] .dot')"
        ".getBoundingClientRect())"
    )


def drag(page, start, end, steps=5):
    def mouse(kind, x, y, held):
        page("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=held, clickCount=1)

    mouse("mousePressed", *start, 1)
    for step in range(1, steps + 1):
        mouse("mouseMoved", *(a + (b - a) * step / steps for a, b in zip(start, end, strict=True)), 1)
    mouse("mouseReleased", *end, 0)


def copied(page, folder):
    """The pose that "Copy as JSON" gives."""
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.click("#copy")
    page.until("window.copied")
    (folder / "copied.json").write_text(page.evaluate("window.copied"))
    return read_pose(folder / "copied.json")


def result(page):
    """(H, W, 3) the image that can be downloaded, waited for."""
    page.until("!document.querySelector('#pose .save').hidden && !document.querySelector('#pose .stage.busy')")
    width, height, pixels = page.evaluate(
        """(() => {
          const image = document.querySelector("#pose .after");
          const [width, height] = [image.naturalWidth, image.naturalHeight];
          const canvas = new OffscreenCanvas(width, height).getContext("2d");
          canvas.drawImage(image, 0, 0);
          let text = "";
          for (const value of canvas.getImageData(0, 0, width, height).data) text += String.fromCharCode(value);
          return [width, height, btoa(text)];
        })()"""
    )
    return np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(height, width, 4)[..., :3]


def test_a_dragged_wrist_gives_the_image_that_the_pipeline_makes(page, little_models, tmp_path):
    drop_anna(page)
    before = {joint: where(page, joint) for joint in (RIGHT_WRIST, RIGHT_ELBOW, RIGHT_SHOULDER)}
    x, y = before[RIGHT_WRIST]
    drag(page, (x, y), (x - 60, y - 60))
    after = {joint: where(page, joint) for joint in before}
    assert np.abs(np.subtract(after[RIGHT_WRIST], (x - 60, y - 60))).max() < 2

    def lengths(places):
        wrist, elbow, shoulder = (np.array(places[joint]) for joint in (RIGHT_WRIST, RIGHT_ELBOW, RIGHT_SHOULDER))
        return np.linalg.norm(wrist - elbow), np.linalg.norm(elbow - shoulder)

    assert lengths(after) == pytest.approx(lengths(before), abs=1.0)
    made = result(page)
    pose = copied(page, tmp_path)
    wanted = PoseTransfer(little_models.pose).transfer(ANNA, pose, align="placed")
    assert np.array_equal(made, wanted.image)
    page.click("#undo")
    page.until("document.querySelector('#undo').disabled")
    assert where(page, RIGHT_WRIST) == pytest.approx(before[RIGHT_WRIST], abs=0.5)


def test_depth_shortens_a_bone_and_mirror_and_reset_lead_back(page, tmp_path):
    drop_anna(page)
    own = copied(page, tmp_path)
    x, y = where(page, RIGHT_WRIST)
    for _ in range(8):
        page("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-100)
        x, y = where(page, RIGHT_WRIST)
    page.evaluate("delete window.copied")
    nearer = copied(page, tmp_path)

    def bone(pose):
        return pose.deep_points[RIGHT_WRIST, [0, 1, 3]] - pose.deep_points[RIGHT_ELBOW, [0, 1, 3]]

    assert bone(nearer)[2] < bone(own)[2] - 10
    assert np.linalg.norm(bone(nearer)) == pytest.approx(np.linalg.norm(bone(own)), rel=0.01)
    assert np.linalg.norm(bone(nearer)[:2]) < np.linalg.norm(bone(own)[:2])
    page.click("#reset")
    for _ in range(2):
        page.click("#mirror")
    page.evaluate("delete window.copied")
    assert np.allclose(copied(page, tmp_path).points, own.points, atol=0.02)


def test_poses_come_from_photographs_and_from_the_page_and_keys_move_joints(page, tmp_path):
    drop_anna(page)
    assert page.evaluate("document.querySelectorAll('#poses button').length") == 12
    page.click("#poses button:nth-child(4)")
    page.until("!document.querySelector('#pose .save').hidden")
    wrists = [where(page, joint)[1] for joint in (4, 7)]
    assert max(wrists) < where(page, 8)[1] - 50  # arms out: far above the hips
    drop(page, "#pose aside", BEN)
    page.until(f"document.querySelector('#pose .status').textContent === '' && {json.dumps(wrists[0])} + 50 <"
               " document.querySelector('g[data-joint=\"4\"] .dot').getBoundingClientRect().y")  # fmt: skip
    page.evaluate("document.querySelector('g[data-joint=\"1\"]').focus()")
    neck = where(page, 1)
    for _ in range(3):
        page.press("ArrowLeft")
    assert where(page, 1)[0] < neck[0] - 5
    assert where(page, 1)[1] == pytest.approx(neck[1], abs=0.5)


def test_a_wrong_file_is_said_in_one_line(page, tmp_path):
    (tmp_path / "notes.jpg").write_text("no image")
    drop(page, "#pose .stage", tmp_path / "notes.jpg")
    page.until("document.querySelector('#pose .status.wrong')")
    assert "notes.jpg" in page.evaluate("document.querySelector('#pose .status').textContent")
    drop(page, "#pose .stage", ROOT / "assets" / "armchair.jpg")
    page.until("document.querySelector('#pose .status').textContent.includes('armchair.jpg: no person found')")
    assert all("400 (Bad Request)" in problem for problem in page.problems)  # the browser logs them
    page.problems.clear()


def test_touch_and_all_tabs_work_on_a_phone_in_the_dark(page):
    page.screen(360, 740, phone=True, dark=True)
    drop_anna(page)
    x, y = where(page, RIGHT_WRIST)
    for kind, points in (
        ("touchStart", [{"x": x, "y": y}]),
        ("touchMove", [{"x": x - 30, "y": y - 30}]),
        ("touchEnd", []),
    ):
        page("Input.dispatchTouchEvent", type=kind, touchPoints=points)
    page.until("!document.querySelector('#pose .save').hidden")
    assert where(page, RIGHT_WRIST) == pytest.approx((x - 30, y - 30), abs=2)
    page.click("#tab-face")
    drop(page, "#face .stage", ROOT / "assets" / "eve.jpg")
    page.until("!document.getElementById('slider-turn').disabled")
    page.until("!document.getElementById('slider-gaze_x').parentElement.hidden")
    page.evaluate("document.getElementById('slider-turn').focus()")
    page.press("ArrowRight")
    page.until("!document.querySelector('#face .save').hidden")
    page.click("#tab-object")
    drop(page, "#object .stage", ROOT / "assets" / "armchair.jpg")
    page.until("!document.querySelector('#object .save').hidden")
    views = [page.evaluate("document.querySelector('#object .after').src")]
    page.evaluate("document.getElementById('ring').focus()")
    page.press("ArrowRight")
    page.until(f"document.querySelector('#object .after').src !== '{views[0]}'")
    for tab in ("pose", "face", "object"):
        page.click(f"#tab-{tab}")
        assert page.evaluate("document.documentElement.scrollWidth") == 360  # nothing reaches over the edge
