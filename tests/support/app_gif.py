"""Records assets/app.gif, the dragged arm of the README: python tests/support/app_gif.py assets/app.gif"""

from __future__ import annotations

import base64
import math
import sys
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from browser import Browser, find_chromium
from paths import ANNA
from PIL import Image
from webapp import TOKEN, serving

from gfla_cli.webapp.server import Models

WIDTH, STEPS, TURN_RAD, COLOURS = 264, 14, 1.9, 80
IDLE = "!document.querySelector('#pose .stage.busy')"


def place(browser, joint):
    return browser.evaluate(
        f"(b => [b.x + b.width / 2, b.y + b.height / 2])"
        f"(document.querySelector('g[data-joint=\"{joint}\"] .dot').getBoundingClientRect())"
    )


def mouse(browser, kind, x, y):
    browser("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)


def frame(browser):
    """The canvas of the page as it is now."""
    browser.until(IDLE)
    box = browser.evaluate(
        "(b => ({x: b.x, y: b.y, width: b.width, height: b.height, scale: 1}))"
        "(document.querySelector('#pose .canvas').getBoundingClientRect())"
    )
    content = browser("Page.captureScreenshot", clip=box)["data"]
    image = Image.open(BytesIO(base64.b64decode(content))).convert("RGB")
    return image.resize((WIDTH, round(WIDTH * image.height / image.width)), Image.Resampling.LANCZOS)


def record(browser, address):
    browser.screen(1280, 900)
    browser.open(f"{address}/?token={TOKEN}")
    browser.until("'ready' in document.documentElement.dataset")
    content = base64.b64encode(ANNA.read_bytes()).decode()
    browser.evaluate(
        f"""(() => {{
          const files = new DataTransfer();
          files.items.add(new File([Uint8Array.from(atob("{content}"), (c) => c.charCodeAt(0))], "anna.jpg"));
          const input = document.querySelector("#pose .drop input");
          input.files = files.files;
          input.dispatchEvent(new Event("change"));
        }})()"""
    )
    browser.until("document.querySelectorAll('#pose g.joint').length")
    frames = [frame(browser)]
    (root_x, root_y), (x, y) = place(browser, 2), place(browser, 4)
    reach, start = math.hypot(x - root_x, y - root_y), math.atan2(y - root_y, x - root_x)
    mouse(browser, "mousePressed", x, y)
    for step in range(1, STEPS + 1):
        angle = start + TURN_RAD * step / STEPS
        x, y = root_x + 0.97 * reach * math.cos(angle), root_y + 0.97 * reach * math.sin(angle)
        mouse(browser, "mouseMoved", x, y)
        browser.until(IDLE)
        frames.append(frame(browser))
    mouse(browser, "mouseReleased", x, y)
    browser.until("!document.querySelector('#pose .save').hidden")
    frames.append(frame(browser))
    browser.click("#show")
    return [*frames, frame(browser)]


if __name__ == "__main__":
    with TemporaryDirectory() as folder, serving(Models()) as address:
        browser = Browser(find_chromium(), Path(folder) / "profile", folder, patience=120)
        try:
            frames = record(browser, address)
        finally:
            browser.close()
    palette = Image.new("RGB", (3 * WIDTH, frames[0].height))
    for column, image in enumerate((frames[0], frames[STEPS // 2], frames[-1])):
        palette.paste(image, (column * WIDTH, 0))
    palette = palette.quantize(COLOURS)
    first, *others = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in frames]
    durations = [700, *[120] * STEPS, 900, 1200]
    first.save(sys.argv[1], save_all=True, append_images=others, duration=durations, loop=0)
