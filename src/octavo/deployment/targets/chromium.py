"""A headless Chromium, driven by its DevTools protocol over a pipe; this needs no package and opens no port."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from typing import Any, Self

from octavo.base import child
from octavo.base.errors import OctavoError

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Chromium reads commands from file 3 and answers on file 4; the pipe's own file numbers can be 3 or 4 too.
_WIRE = """
import os, sys
ends = [os.dup(os.dup(os.dup(int(end)))) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
_OPTIONS = (
    "--headless",
    # Its sandbox needs rights that containers seldom give; the page is Octavo's own.
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-pipe",
)


class BrowserError(OctavoError):
    """A browser ended, or does not do what it is told."""


class PageError(BrowserError):
    """What a page threw."""


def command() -> str | None:
    """The path of an installed Chromium; None if there is none, or if pipes cannot drive it."""
    if os.name != "posix":
        return None
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Chromium:
    """One browser with one page, until `close`; also a context manager.

    Args:
        path: Of the program, as `command` finds it.
        options: More command-line options.

    Raises:
        BrowserError: It does not start.
    """

    def __init__(self, path: str, *options: str) -> None:
        self._profile = tempfile.TemporaryDirectory()
        there_in, self._out = os.pipe()
        self._in, there_out = os.pipe()
        browser = [path, *_OPTIONS, f"--user-data-dir={self._profile.name}", *options, "about:blank"]
        self._process = subprocess.Popen(
            child.code_command(_WIRE, there_in, there_out, *browser),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(there_in, there_out),
        )
        os.close(there_in)
        os.close(there_out)
        self._rest = b""
        self._count = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def _attach(self) -> None:
        self.version = str(self.send("Browser.getVersion")["product"])
        page = next(item for item in self.send("Target.getTargets")["targetInfos"] if item["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def close(self) -> None:
        """Ends the browser and removes its profile."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)
        # Its child processes may still be writing the profile.
        with contextlib.suppress(OSError):
            self._profile.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, method: str, seconds: float = 120, **parameters: Any) -> dict[str, Any]:
        """Sends one command of the protocol and returns its answer; messages in between are kept in `events`.

        Args:
            method: Such as ``Page.navigate``.
            seconds: How long an answer may take.
            parameters: The command's own.

        Raises:
            BrowserError: It refused the command, ended, or does not answer.
        """
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        end = time.monotonic() + seconds
        try:
            content = memoryview(json.dumps(message).encode() + b"\0")
            while content:
                content = content[os.write(self._out, content) :]
            while (found := self._read(end)).get("id") != self._count:
                self.events.append(found)
        except BrokenPipeError as error:
            raise BrowserError("Chromium ended.") from error
        if "error" in found:
            raise BrowserError(f"Chromium refused {method}: {found['error']}")
        return dict(found["result"])

    def _read(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._in], [], [], max(0.0, end - time.monotonic()))[0]:
                raise BrowserError("Chromium does not answer.")
            part = os.read(self._in, 1 << 20)
            if not part:
                raise BrowserError("Chromium ended.")
            self._rest += part
        first, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(first))

    def evaluate(self, expression: str, seconds: float = 120) -> Any:
        """The JSON value of an expression in the page, after waiting for a promise.

        Raises:
            PageError: The expression threw.
        """
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
            raise PageError(details.get("exception", {}).get("description") or details["text"])
        return found["result"].get("value")

    def until(self, expression: str, seconds: float = 60) -> Any:
        """The value of an expression as soon as it is true.

        Raises:
            BrowserError: It does not become true in time.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.evaluate(expression):
                return value
            time.sleep(0.05)
        raise BrowserError(f"{expression} never was true; the page says: {self.evaluate('document.body.innerText')}")

    def go(self, url: str, before: str = "") -> None:
        """Opens a page, and does not wait for it.

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
