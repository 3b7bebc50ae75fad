"""Octavo's own driver of Chromium, with what only tests do: files, sizes, and what the page complained of."""

from __future__ import annotations

from pathlib import Path

from octavo.deployment.targets.chromium import Chromium, command

COMMAND = command()


class Page(Chromium):
    """One browser with one page."""

    def choose(self, selector: str, *files: Path) -> None:
        """Puts files into a file input, as a user's choice does."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def press(self, key: str, code: int, text: str = "") -> None:
        """Presses and lets go of a key."""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)

    def size(self, width: int, height: int) -> None:
        """Sets the size of the window, in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **size)

    def scheme(self, name: str) -> None:
        """Sets what the reader prefers: ``light`` or ``dark``."""
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def open_file(self, path: Path) -> None:
        """Opens a file, and waits until it is shown."""
        self.go(path.resolve().as_uri())
        self.until("document.readyState === 'complete'")

    def sticking_out(self) -> list[str]:
        """What is wider than the window, but for what lies in a box that scrolls by itself."""
        return list(
            self.evaluate(
                """[...document.body.querySelectorAll("*")]
                .filter((item) => item.getBoundingClientRect().right > innerWidth + 1)
                .filter((item) => {
                  for (let box = item.parentElement; box; box = box.parentElement)
                    if (getComputedStyle(box).overflowX !== "visible") return false;
                  return true;
                })
                .map((item) => `${item.tagName} ${item.className} ${item.textContent.slice(0, 40)}`)"""
            )
        )

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
