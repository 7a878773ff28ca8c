"""A headless Chromium for tests, driven over two pipes (DevTools protocol), without any package."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_chromium():
    """The program, or None; GFLA_CHROMIUM names another one."""
    return os.environ.get("GFLA_CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)


class Browser:
    """One page in a fresh profile. Every method waits for the browser's answer; none waits longer than `patience`."""

    def __init__(self, program, profile, downloads, patience=20):
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()

        def as_3_and_4():  # the numbers that Chromium expects; by way of high ones, as these may be 3 or 4 already
            high = os.dup2(to_browser, 103, inheritable=False), os.dup2(from_browser, 104, inheritable=False)
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self._process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-extensions", "--disable-background-networking", "--hide-scrollbars",
             "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=as_3_and_4, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._numbers, self._patience, self._rest = itertools.count(1), patience, b""
        self._downloads, self._context, self._session = str(downloads), None, None
        self.problems = []  # uncaught errors, and whatever the page's content policy refused
        try:
            self.forget()
        except BaseException:
            self.close()
            raise

    def forget(self):
        """Closes the page and opens an empty one, which shares nothing with it: no storage, no settings of a screen."""
        self._session = None
        if self._context:
            self("Target.disposeBrowserContext", browserContextId=self._context)
        self._context = self("Target.createBrowserContext")["browserContextId"]
        page = self("Target.createTarget", url="about:blank", browserContextId=self._context)
        self._session = self("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self(f"{domain}.enable")
        where = {"downloadPath": self._downloads, "browserContextId": self._context}
        self("Browser.setDownloadBehavior", behavior="allow", **where)
        self.problems.clear()

    def __call__(self, method, **params):
        """Sends one command and gives its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + self._patience
        while True:
            answer = self._message(end)
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            if answer.get("method") == "Runtime.exceptionThrown":
                self.problems.append(answer["params"]["exceptionDetails"])
            if answer.get("method") == "Log.entryAdded" and answer["params"]["entry"]["level"] == "error":
                self.problems.append(answer["params"]["entry"]["text"])

    def _message(self, end):
        while b"\0" not in self._rest:
            assert select.select([self._in], [], [], max(0, end - time.monotonic()))[0], "the browser does not answer"
            piece = os.read(self._in, 1 << 20)
            assert piece, "the browser is gone"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def open(self, address):
        self("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def evaluate(self, expression):
        """The value of a JavaScript expression."""
        answer = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition):
        """Waits for a JavaScript expression to be true."""
        end = time.monotonic() + self._patience
        while not self.evaluate(f"Boolean({condition})"):
            assert time.monotonic() < end, f"{condition}: never"
            time.sleep(0.02)

    def press(self, key):
        code = key if len(key) > 1 else f"Key{key.upper()}"
        enter = {"text": "\r", "windowsVirtualKeyCode": 13} if key == "Enter" else {}  # else it presses no button
        for kind in ("keyDown", "keyUp"):
            self("Input.dispatchKeyEvent", type=kind, key=key, code=code, **enter)

    def click(self, selector):
        """A click in the middle of the element, as far as it can be seen."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"{element}.scrollIntoView({{block: 'nearest'}})")
        x, y, width, height = self.evaluate(f"(b => [b.x, b.y, b.width, b.height])({element}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self("Input.dispatchMouseEvent", type=kind, x=x + width / 2, y=y + height / 2, button="left", clickCount=1)

    def screen(self, width, height, *, phone=False, dark=False):
        scale = 2 if phone else 1
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone)
        self("Emulation.setTouchEmulationEnabled", enabled=phone)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path):
        Path(path).write_bytes(base64.b64decode(self("Page.captureScreenshot")["data"]))

    def close(self):
        self._process.terminate()
        self._process.wait(10)
        os.close(self._out)
        os.close(self._in)
