"""A headless Chromium, driven through its DevTools protocol over a pipe: needs no package and no open port."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

COMMAND = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

# Chromium reads its orders from file 3 and answers on file 4; either number can be one of those that came.
_WIRE = """
import os, sys
ends = [os.dup(os.dup(os.dup(int(end)))) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Chromium:
    """One browser with one page. Use it in a `with` block.

    Args:
        options: More command-line options.
    """

    def __init__(self, *options: str) -> None:
        assert COMMAND is not None
        self._profile = tempfile.TemporaryDirectory()
        there_in, self._out = os.pipe()
        self._in, there_out = os.pipe()
        browser = [
            COMMAND,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--remote-debugging-pipe",
            f"--user-data-dir={self._profile.name}",
            *options,
            "about:blank",
        ]
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", _WIRE, str(there_in), str(there_out), *browser],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(there_in, there_out),
        )
        os.close(there_in)
        os.close(there_out)
        self._rest = b""
        self._count = 0
        self.events: list[dict[str, Any]] = []
        self._session: str | None = None
        page = next(item for item in self.send("Target.getTargets")["targetInfos"] if item["type"] == "page")
        found = self.send("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    def send(self, method: str, seconds: float = 120, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its answer."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        content = memoryview(json.dumps(message).encode() + b"\0")
        while content:
            content = content[os.write(self._out, content) :]
        end = time.monotonic() + seconds
        while True:
            found = self._read(end)
            if found.get("id") == self._count:
                if "error" in found:
                    raise AssertionError(f"{method}: {found['error']}")
                return dict(found["result"])
            self.events.append(found)

    def _read(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._in], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError("Chromium does not answer")
            part = os.read(self._in, 1 << 20)
            assert part, "Chromium ended"
            self._rest += part
        first, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(first))

    def go(self, url: str, before: str = "") -> None:
        """Opens a page afresh; it is not waited for.

        Args:
            url: Its address.
            before: A script that runs in it before its own.
        """
        self.send("Page.navigate", url="about:blank")
        self.until("location.href === 'about:blank'")
        self.events.clear()
        added = self.send("Page.addScriptToEvaluateOnNewDocument", source=before)
        self.send("Page.navigate", url=url)
        self.until("location.href !== 'about:blank'")
        self.send("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])

    def evaluate(self, expression: str, seconds: float = 120) -> Any:
        """The JSON value of an expression, or of what it promises."""
        found = self.send(
            "Runtime.evaluate",
            seconds,
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise AssertionError(details.get("exception", {}).get("description") or details["text"])
        return found["result"].get("value")

    def until(self, expression: str, seconds: float = 60) -> Any:
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.evaluate(expression):
                return value
            time.sleep(0.05)
        raise TimeoutError(f"{expression} never was true; the page says: {self.evaluate('document.body.innerText')}")

    def choose(self, selector: str, *files: Path) -> None:
        """Puts files into a file input, as a user's choice does."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def size(self, width: int, height: int, scale: float = 1) -> None:
        """Sets the size of the window, in CSS pixels."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )

    def screenshot(self, path: Path) -> None:
        """Writes a PNG of what the window shows."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def complaints(self) -> list[str]:
        """What the console and the network complained of since the page was opened."""
        self.evaluate("1")
        found = []
        for event in self.events:
            parameters = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(str(parameters["exceptionDetails"]))
            elif event.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
                found.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
            elif event.get("method") == "Runtime.consoleAPICalled" and parameters["type"] == "error":
                found.append(str([item.get("value") for item in parameters["args"]]))
        return found

    def addresses(self) -> list[str]:
        """Every address that the page asked for."""
        sent = [event["params"] for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [item["request"]["url"] for item in sent]
