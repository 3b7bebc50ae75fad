"""A browser: runs the model on LiteRT.js in a headless Chromium, and compares outputs with XNNPACK's bit for bit.

Nothing is downloaded: LiteRT.js has to be in npm's cache, where `octavo deploy --web` puts it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from octavo.base.errors import OctavoError
from octavo.deployment import litertjs
from octavo.deployment.serve import WebServer
from octavo.deployment.targets.chromium import Chromium, PageError, command
from octavo.deployment.targets.target import Answer, Trial, agreement, timed
from octavo.deployment.web import browser_twin, copy_modules
from octavo.runtime.litert import Latency, Model
from octavo.tflite.graph import Graph, as_stored

_INSTALL = "apt install chromium"
_NO_BROWSER = Answer(None, f"Chromium is not installed, or cannot be controlled here: {_INSTALL}")
_PAGE = """<!doctype html><title>Octavo</title><body>
<script type="importmap">{"imports":{"@litertjs/wasm-utils":"./litert/wasm-utils.js"}}</script>
"""
# Bytes go in unchanged: the uint8 copy's byte is the int8 code plus 128.
_LOAD = """
(async () => {
  const { Classifier, start } = await import("./classifier.js");
  const { loadAndCompile } = await import("./litert/index.js");
  await start();
  const content = new Uint8Array(await (await fetch("model.tflite")).arrayBuffer());
  const compiled = await loadAndCompile(content, { accelerator: "wasm" });
  const model = { inputs: Array.from({ length: 256 }, (_, code) => code), quantized: {} };
  const made = new Classifier(compiled, content.length, model, FACTS);
  globalThis.run = async (text) => {
    const { raw, milliseconds } = await made.run(Uint8Array.from(atob(text), (one) => one.charCodeAt(0)));
    return [Array.from(raw), milliseconds];
  };
})()
"""
_RUNS = 25


class Browser:
    """LiteRT.js in Chromium, on one thread."""

    id = "browser"
    name = "Browser, LiteRT.js in Chromium"

    def __init__(self) -> None:
        self._times: dict[Path, list[float]] = {}

    def lacks(self) -> str:
        """The command that installs Chromium or LiteRT.js, whichever is missing first, or nothing."""
        if command() is None:
            return _INSTALL
        try:
            with tempfile.TemporaryDirectory() as folder:
                _from_cache(Path(folder) / "litert")
        except OctavoError:
            return litertjs.by_hand()
        return ""

    def takes(self, trial: Trial) -> Answer:
        """Whether LiteRT.js supports the input and output types of the model or of its uint8 copy."""
        if command() is None:
            return _NO_BROWSER
        if len(trial.graph.inputs) > 1:
            return Answer(
                None, f"only models with one input are tried here, and this one has {len(trial.graph.inputs)}"
            )
        kinds = [trial.graph.tensors[index].dtype for index in (trial.graph.inputs[0], trial.graph.outputs[0])]
        if kinds[0] not in ("int8", "uint8"):
            return Answer(None, f"only int8 and uint8 inputs are tried here, and this one is {kinds[0]}")
        if "int8" in kinds:
            return Answer(
                True, "LiteRT.js does not support int8: a copy with two QUANTIZE ops has uint8 input and output"
            )
        return Answer(True, "LiteRT.js supports its input and output types")

    def runs(self, trial: Trial) -> Answer:
        """Runs every image, and compares its first output with XNNPACK's."""
        path = command()
        assert path is not None
        signed = trial.graph.tensors[trial.graph.inputs[0]].dtype == "int8"
        given = np.concatenate([trial.fed(place)[0] for place in range(len(trial.inputs))])
        inputs = as_stored(given, "uint8") if signed else given
        twin = browser_twin(trial.graph)
        try:
            with _page(path, twin) as page:
                codes = [_run(page, item)[0] for item in inputs]
                self._times[trial.path] = [_run(page, inputs[place % len(inputs)])[1] for place in range(_RUNS)]
                version = page.version
        except PageError as error:
            return Answer(False, f"LiteRT.js {litertjs.VERSION} failed: {str(error).splitlines()[0]}")
        except OctavoError as error:
            return Answer(None, str(error).splitlines()[0])
        model = Model(twin, workers=1)
        outputs = model.outputs[0].decode(np.array(codes, model.outputs[0].dtype))
        same = int(np.all(outputs == model.run(inputs).reshape(outputs.shape), axis=1).sum())
        about, facts = agreement(trial, [outputs])
        facts |= {"bit_equal": same, "browser": version, "runtime": f"LiteRT.js {litertjs.VERSION}"}
        return Answer(True, f"{about}, bit-equal on {same}; {version}", facts)

    def costs(self, trial: Trial) -> Answer:
        """Milliseconds of a run."""
        if trial.path not in self._times:
            return Answer(None, "it did not run")
        return timed(Latency.of(np.array(self._times[trial.path])))


@contextlib.contextmanager
def _page(path: str, graph: Graph) -> Iterator[Chromium]:
    """A browser that has compiled a model.

    Raises:
        PageError: LiteRT.js cannot compile or run it.
        OctavoError: LiteRT.js is not in npm's cache, or the browser does not work.
    """
    shape = graph.tensors[graph.inputs[0]].shape
    facts = {
        "preprocess": {"size": [abs(side) for side in shape[1:3]], "channels": "gray" if shape[3] == 1 else "rgb"},
        "output": "probabilities",
    }
    with tempfile.TemporaryDirectory() as folder:
        web = Path(folder).resolve()
        _from_cache(web / "litert")
        copy_modules(web)
        (web / "index.html").write_text(_PAGE, "utf-8")
        (web / "model.tflite").write_bytes(graph.content)
        files = {file.relative_to(web).as_posix(): file for file in web.rglob("*") if file.is_file()}
        with WebServer(files) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                with Chromium(path) as page:
                    page.go(server.url)
                    page.until("document.readyState === 'complete'")
                    page.evaluate(_LOAD.replace("FACTS", json.dumps(facts)))
                    yield page
            finally:
                server.shutdown()


def _from_cache(folder: Path) -> None:
    try:
        litertjs.vendor(folder, offline=True)
    except OctavoError as error:
        raise OctavoError(f"LiteRT.js is not in npm's cache; to add it, run {litertjs.by_hand()}") from error


def _run(page: Chromium, item: Any) -> tuple[list[float], float]:
    raw, milliseconds = page.evaluate(f"run('{base64.b64encode(item.tobytes()).decode()}')")
    return raw, milliseconds
