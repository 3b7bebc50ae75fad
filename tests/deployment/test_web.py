"""The web demo: what is written, what is refused, and that a real browser says what Python says, bit for bit."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from chromium import COMMAND, Page
from oneop import convert, weights
from PIL import Image
from shell import octavo, refused
from test_deploy import model_file, run_folder
from test_page import needs_node, node
from tiny import CLASSES, SIZE, tiny_int8, tiny_tflite

from octavo.base.errors import MissingDependencyError, ModelError, OctavoError
from octavo.data.preprocess import Preprocess
from octavo.deployment import litertjs
from octavo.deployment import serve as serving
from octavo.deployment.folder import deploy
from octavo.deployment.serve import WebServer, web_of
from octavo.deployment.web import Web, browser_twin
from octavo.quantization.calibrate import calibrate
from octavo.quantization.quantize import quantize
from octavo.rewrite import equality
from octavo.rewrite.raw_pixels import unsigned
from octavo.runtime.litert import interpreter
from octavo.source.sidecar import Sidecar
from octavo.tflite.graph import Graph

SMALL = Preprocess((SIZE, SIZE))


def float_file(folder: Path, preprocess: Preprocess = SMALL, softmax: bool = True) -> Path:
    path = folder / "float.tflite"
    path.write_bytes(tiny_tflite(softmax))
    Sidecar(preprocess, CLASSES).write(path)
    return path


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Archives that stand for LiteRT.js, with the pins of their own content."""
    folder = tmp_path / "packed"
    folder.mkdir()
    pinned = []
    for package in litertjs.PACKAGES:
        with tarfile.open(folder / package.archive, "w:gz") as archive:
            for member in (*package.files, "package/../../outside"):
                entry = tarfile.TarInfo(member)
                entry.size = len(member)
                archive.addfile(entry, io.BytesIO(member.encode()))
        digest = hashlib.sha512((folder / package.archive).read_bytes()).digest()
        pinned.append(replace(package, integrity=base64.b64encode(digest).decode()))
    monkeypatch.setattr(litertjs, "PACKAGES", tuple(pinned))
    return folder


@pytest.fixture
def demo(tmp_path: Path, packed: Path) -> Path:
    """A deployed folder whose LiteRT.js is not the real one."""
    model = model_file(tmp_path / "here", tiny_int8(), SMALL)
    return deploy(model, tmp_path / "out", web=Web(float_file(tmp_path / "here"), packed)).folder


def test_the_demo_is_whole_and_summed(demo: Path) -> None:
    lines = dict(reversed(line.split("  ")) for line in (demo / "SHA256SUMS").read_text().splitlines())
    files = {path.relative_to(demo).as_posix() for path in demo.rglob("*") if path.is_file()}
    assert set(lines) == files - {"SHA256SUMS"}
    assert all(hashlib.sha256((demo / name).read_bytes()).hexdigest() == digest for name, digest in lines.items())
    assert {"web/index.html", "web/int8.tflite", "web/float32.tflite", "web/litert/index.js"} <= files
    assert litertjs.PACKAGES[0].integrity in (demo / "web" / "litert" / "NOTICE.txt").read_text()
    assert not (demo.parent / "outside").exists()
    listed = json.loads((demo / "sbom.json").read_text("utf-8"))["components"]
    assert [row["purl"] for row in listed] == [
        f"pkg:npm/%40litertjs/{name}@{litertjs.VERSION}" for name in ("core", "wasm-utils")
    ]
    content = (demo.parent / "packed" / litertjs.PACKAGES[0].archive).read_bytes()
    assert listed[0]["hashes"] == [{"alg": "SHA-512", "content": hashlib.sha512(content).hexdigest()}]


def test_every_pixels_code_is_octavos_own(demo: Path) -> None:
    facts = json.loads((demo / "web" / "model.json").read_text("utf-8"))
    assert facts["labels"] == list(CLASSES) and facts["output"] == "probabilities"
    quantized, float_ = facts["models"]
    real = np.arange(256, dtype=np.float32) / np.float32(127.5) - 1
    assert np.array_equal(np.float32(float_["inputs"]), real)
    detail = interpreter((demo / "model.tflite").read_bytes()).get_input_details()[0]
    scale, zero_point = detail["quantization"]
    codes = np.clip(np.round(real / np.float64(scale)) + zero_point, -128, 127)
    # Ties may fall either way; they are half of the pixels at [-1, 1].
    assert np.abs(np.array(quantized["inputs"]) - 128 - codes).max() <= 1
    assert quantized["inputs"] == sorted(quantized["inputs"]) and len(set(quantized["inputs"])) > 250
    for item in facts["models"]:
        assert item["sha256"] == hashlib.sha256((demo / "web" / item["file"]).read_bytes()).hexdigest()


def test_twins_have_the_ports_that_litertjs_takes() -> None:
    for graph in (tiny_int8(), unsigned(tiny_int8()), Graph(tiny_tflite())):
        twin = browser_twin(graph)
        assert {twin.tensors[i].dtype for i in (*twin.inputs, *twin.outputs)} <= {"uint8", "float32"}
    assert browser_twin(Graph(tiny_tflite())).content == tiny_tflite()


def test_an_open_batch_is_fixed() -> None:
    import tensorflow as tf

    function = tf.function(
        lambda x: tf.nn.softmax(tf.reduce_mean(x, [1, 2])), input_signature=[tf.TensorSpec([None, 4, 4, 3], tf.float32)]
    )
    content = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()]).convert()
    assert Graph(bytes(content)).tensors[0].shape[0] == -1
    twin = browser_twin(Graph(bytes(content)))
    assert all(-1 not in tensor.shape for tensor in twin.tensors)


def test_a_runs_figures_stand_beside_the_files_they_are_of(tmp_path: Path, packed: Path) -> None:
    run = run_folder(tmp_path / "run")
    beside = float_file(run)
    evaluation = json.loads((run / "evaluation.json").read_text())
    evaluation["models"]["float"]["sha256"] = hashlib.sha256(beside.read_bytes()).hexdigest()
    (run / "evaluation.json").write_text(json.dumps(evaluation))

    def shown(name: str, web: Web) -> list[str | None]:
        folder = deploy(run, tmp_path / name, web=web).folder
        return [item["accuracy"] for item in json.loads((folder / "web" / "model.json").read_text())["models"]]

    text = "80.0% of 18 test images right"
    assert shown("own", Web(packed=packed)) == [text, text]
    other = tmp_path / "other.tflite"
    other.write_bytes(beside.read_bytes() + b"\0" * 16)
    Sidecar(SMALL, CLASSES).write(other)
    assert shown("other", Web(other, packed)) == [text, None]
    beside.write_bytes(other.read_bytes())
    with pytest.raises(ModelError, match=r"evaluated with another float\.tflite"):
        deploy(run, tmp_path / "changed", web=Web(packed=packed))


def test_models_that_do_not_belong_together(tmp_path: Path, packed: Path) -> None:
    model = model_file(tmp_path / "here", tiny_int8(), SMALL)
    other = float_file(tmp_path / "here", Preprocess((SIZE, SIZE), "nearest"))
    with pytest.raises(ModelError, match="do not have the same input images"):
        deploy(model, tmp_path / "out", web=Web(other, packed))
    with pytest.raises(ModelError, match="gives logits, and the other probabilities"):
        deploy(model, tmp_path / "out", web=Web(float_file(tmp_path / "here", softmax=False), packed))
    with pytest.raises(ModelError, match="not a float"):
        deploy(model, tmp_path / "out", web=Web(model, packed))
    assert not (tmp_path / "out").exists()


def test_litertjs_must_be_the_pinned_one(tmp_path: Path, packed: Path) -> None:
    model = model_file(tmp_path / "here", tiny_int8(), SMALL)
    archive = packed / litertjs.PACKAGES[1].archive
    archive.write_bytes(archive.read_bytes() + b" ")
    with pytest.raises(OctavoError, match="not the pinned one"):
        deploy(model, tmp_path / "out", web=Web(packed=packed))
    archive.unlink()
    with pytest.raises(OctavoError, match=r"There is no litertjs-wasm-utils-.*npm pack @litertjs/core@"):
        deploy(model, tmp_path / "out", web=Web(packed=packed))
    assert not (tmp_path / "out").exists()


def test_npm_is_missing_or_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(MissingDependencyError, match=r"npm is not installed\. Install Node\.js with npm"):
        litertjs.vendor(tmp_path / "litert")
    (tools / "npm").write_text("#!/bin/sh\necho 'npm error network down' >&2\nexit 1\n")
    (tools / "npm").chmod(0o755)
    with pytest.raises(OctavoError, match=r"could not get LiteRT\.js: npm error network down"):
        litertjs.vendor(tmp_path / "litert")


def answer(url: str, host: str | None = None) -> tuple[int, dict[str, str]]:
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as found:
            return found.status, dict(found.headers)
    except urllib.error.HTTPError as error:
        return error.code, {}


def test_the_server_serves_the_demo_and_nothing_else(demo: Path) -> None:
    with WebServer(web_of(demo)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert server.server_address[0] == "127.0.0.1"
        assert answer(server.url)[0] == 200
        kinds = {"litert/litert_wasm_internal.wasm": "application/wasm", "page.js": "text/javascript; charset=utf-8"}
        for name, kind in kinds.items():
            status, headers = answer(server.url + name)
            assert (status, headers["Content-type"]) == (200, kind)
            assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert answer(server.url + "../model.tflite")[0] == 404
        assert answer(server.url + "%2e%2e/model.tflite")[0] == 404
        assert answer(server.url + "litert/")[0] == 404
        assert answer(server.url, "evil.example:80")[0] == 421
        with pytest.raises(OctavoError, match=f"Port {server.server_port} cannot be used"):
            WebServer(web_of(demo), server.server_port)
        server.shutdown()


def raw(port: int, request: bytes) -> bytes:
    """The answer to a request as it is sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_the_server_follows_no_link_and_serves_only_what_is_listed(
    demo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret").write_text("secret")
    (demo / "web" / "secret.txt").symlink_to(tmp_path / "secret")
    (demo / "web" / "unlisted.txt").write_text("unlisted")
    with WebServer(web_of(demo)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_port
        listed = "litert/index.js"
        assert answer(server.url + listed)[0] == 200
        for name in (
            "secret.txt",
            "unlisted.txt",
            "%00",
            "a%00b",
            "..%2fmodel.tflite",
            "x" * 3000,
            "%ff",
            listed + "/",
        ):
            assert answer(server.url + name)[0] == 404, name
        # What becomes a link or a pipe later is not followed, either.
        (demo / "web" / "page.js").unlink()
        (demo / "web" / "page.js").symlink_to(tmp_path / "secret")
        (demo / "web" / "style.css").unlink()
        os.mkfifo(demo / "web" / "style.css")
        (demo / "web" / "litert").rename(demo / "moved")
        (demo / "web" / "litert").symlink_to(demo / "moved")
        for name in ("page.js", "style.css", listed):
            assert answer(server.url + name)[0] == 404, name
        for host in ("LOCALHOST", "LocalHost:80", f"127.0.0.1:{port}"):
            assert answer(server.url, host)[0] == 200
        for host in ("localhost.evil.example", "evil.example", "[::1]"):
            assert answer(server.url, host)[0] == 421
        assert raw(port, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 421")
        assert raw(port, b"GET http://[bad HTTP/1.0\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.0 ")
        for nonsense in (b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"", b"PUT / HTTP/1.0\r\nHost: localhost\r\n\r\n"):
            assert b" 200 " not in raw(port, nonsense)
        server.shutdown()
    assert capfd.readouterr().err == ""


def test_names_in_the_sums_do_not_lead_out_of_the_folder(demo: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    digest = hashlib.sha256(b"secret").hexdigest()
    (demo / "web" / "link").symlink_to(tmp_path / "secret")
    sums = (demo / "SHA256SUMS").read_text()
    for name in ("web/../../secret", "web/link", "web/a\0b", "web/" + "x" * 300, "web//index.html"):
        (demo / "SHA256SUMS").write_text(f"{sums}{digest}  {name}\n")
        with pytest.raises(OctavoError, match="missing, a link, damaged or was replaced"):
            web_of(demo)


def test_parts_of_a_file(demo: Path) -> None:
    content = (demo / "web" / "int8.tflite").read_bytes()
    size = len(content)
    with WebServer(web_of(demo)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def part(asked: str, **more: str) -> tuple[int, str | None, bytes]:
            request = urllib.request.Request(server.url + "int8.tflite", headers={"Range": asked, **more})
            try:
                with urllib.request.urlopen(request, timeout=10) as found:
                    return found.status, found.headers["Content-Range"], found.read()
            except urllib.error.HTTPError as error:
                return error.code, error.headers["Content-Range"], error.read()

        for asked, wanted in (
            ("0-0", content[:1]),
            ("5-9", content[5:10]),
            ("-7", content[-7:]),
            ("100-", content[100:]),
        ):
            start = size - 7 if asked == "-7" else int(asked.split("-")[0])
            said = f"bytes {start}-{start + len(wanted) - 1}/{size}"
            assert part(f"bytes={asked}") == (206, said, wanted)
        assert part(f"bytes={size - 2}-{10 * size}") == (206, f"bytes {size - 2}-{size - 1}/{size}", content[-2:])
        for asked in (f"bytes={size}-", f"bytes={size + 9}-{size + 10}", "bytes=-0"):
            assert part(asked) == (416, f"bytes */{size}", b"")
        # Other forms are ignored, as RFC 9110 has it, and so is a part of a file that may be another one.
        for asked in (
            "bytes=9-5",
            "bytes=0-1,4-5",
            "lines=1-2",
            "bytes=-",
            "bytes=a-b",
            "bytes=٣-٤".encode().decode("latin1"),
        ):
            assert part(asked) == (200, None, content)
        assert part("bytes=0-1", **{"If-Range": '"an etag"'}) == (200, None, content)
        request = urllib.request.Request(server.url + "int8.tflite", method="HEAD")
        with urllib.request.urlopen(request, timeout=10) as found:
            assert found.headers["Content-Length"] == str(size) and found.read() == b""
        server.shutdown()


def test_a_silent_connection_and_a_slow_one_end(
    demo: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serving._Handler, "timeout", 0.2)
    monkeypatch.setattr(serving, "_LONGEST", 0.6)
    with WebServer(web_of(demo)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = ("127.0.0.1", server.server_port)
        with socket.create_connection(address, timeout=20) as silent:
            assert silent.recv(1) == b""
        with socket.create_connection(address, timeout=20) as slow:
            try:
                for _ in range(1000):
                    slow.sendall(b"a")
                    time.sleep(0.05)
            except ConnectionError:
                ended = True
            assert ended
        assert answer(server.url)[0] == 200
        server.shutdown()
    assert capfd.readouterr().err == ""


def test_what_can_not_be_served_says_why(demo: Path, tmp_path: Path) -> None:
    assert "is not a folder that `octavo deploy` wrote" in refused(octavo("serve", tmp_path))
    plain = deploy(tmp_path / "here" / "int8.tflite", tmp_path / "plain").folder
    assert "holds no web demo. Deploy it again, with --web." in refused(octavo("serve", plain))
    (demo / "web" / "page.js").write_text("changed")
    assert "page.js' is missing, a link, damaged or was replaced" in refused(octavo("serve", demo))
    assert "belong to the web demo" in refused(
        octavo("deploy", demo, "--out", tmp_path / "new", "--litertjs", tmp_path)
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing there")
def test_ctrl_c_ends_the_command_cleanly(demo: Path) -> None:
    command = [sys.executable, "-m", "octavo.cli", "serve", str(demo), "--json"]
    # A shell's background jobs ignore Ctrl-C, and what they start would, too.
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=heed) as running:
        try:
            assert running.stdout is not None
            text = ""
            while "}" not in text:
                text += running.stdout.readline()
            assert answer(json.loads(text)["url"])[0] == 200
            running.send_signal(signal.SIGINT)
            _, errors = running.communicate(timeout=20)
        finally:
            running.kill()
    assert (running.returncode, errors) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing there")
def test_no_browser_to_open_is_said(demo: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "octavo.cli", "serve", str(demo), "--open"]
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    environment = {name: value for name, value in os.environ.items() if name not in ("BROWSER", "DISPLAY")}
    environment["PATH"] = str(tmp_path)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=heed, env=environment) as running:
        try:
            assert running.stderr is not None
            said = running.stderr.readline()
            running.send_signal(signal.SIGINT)
            _, errors = running.communicate(timeout=20)
        finally:
            running.kill()
    assert "no browser was found. Open http://127.0.0.1:" in said
    assert (running.returncode, errors) == (0, "")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_names_no_address_outside_of_it() -> None:
    folder = Path(litertjs.__file__).with_name("page")
    for path in (path for path in folder.iterdir() if path.suffix != ".txt"):
        found = re.findall(r"https?://[^\s\"'<>)]+", path.read_text("utf-8"))
        assert set(found) <= {"http://www.w3.org/2000/svg"}, path
    page = _Tags()
    page.feed((folder / "index.html").read_text("utf-8"))
    named = {attributes["for"] for tag, attributes in page.tags if tag == "label"}
    assert named == {attributes["id"] for tag, attributes in page.tags if tag == "input"}


# From here on with the real LiteRT.js, in a real browser.


PREPROCESS = Preprocess((32, 32))


@functools.cache
def network() -> tuple[Graph, Graph]:
    """Float and int8 of what MobileNetV2 is made of: a padded stride, residuals, a dense head; it gives logits."""
    import tensorflow as tf

    def build(x: tf.Tensor) -> tf.Tensor:
        x = tf.nn.relu6(tf.nn.conv2d(x, weights(3, 3, 3, 16, seed=1), 2, "SAME") + weights(16, seed=2))
        for block in range(3):
            y = tf.nn.relu6(tf.nn.conv2d(x, weights(1, 1, 16, 48, seed=10 + block), 1, "SAME") + weights(48, seed=3))
            y = tf.nn.relu6(tf.nn.depthwise_conv2d(y, weights(3, 3, 48, 1, seed=20 + block), [1, 1, 1, 1], "SAME"))
            x = x + tf.nn.conv2d(y, weights(1, 1, 48, 16, seed=30 + block, scale=0.1), 1, "SAME")
        # Weighted so that each class wins somewhere.
        return tf.matmul(tf.reduce_mean(x, [1, 2]), 0.4 * weights(16, 3, seed=5)) + np.float32([1.2, -1.2, 1.6])

    graph = Graph(convert(build, (1, 32, 32, 3)))
    images = PREPROCESS.normalize(equality.pictures((32, 32, 3), 16, seed=1))
    return graph, Graph(quantize(graph, calibrate(graph, images)).content)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with the real LiteRT.js, moved elsewhere, and where it is served."""
    if shutil.which("npm") is None:
        pytest.skip("npm, which has LiteRT.js, is not installed")
    root = tmp_path_factory.mktemp("real")
    graph, int8 = network()
    model = model_file(root / "here", int8, PREPROCESS)
    (root / "here" / "float.tflite").write_bytes(graph.content)
    Sidecar(PREPROCESS, CLASSES).write(root / "here" / "float.tflite")
    try:
        made = deploy(model, root / "out", web=Web(root / "here" / "float.tflite"))
    except OctavoError as error:
        if "npm could not get" in str(error):
            pytest.skip(f"LiteRT.js is not to be had: {error}")
        raise
    folder = root / "else where"
    shutil.move(made.folder, folder)
    with WebServer(web_of(folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, server.url
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    if COMMAND is None:
        pytest.skip("Chromium is not installed")
    with Page(COMMAND, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream") as made:
        yield made


READY = "document.getElementById('status')?.textContent.startsWith('Ready')"
# The page's own modules on bytes of images: raw outputs of every model.
RAW = """
(async () => {
  const { Classifier, facts } = await import("./classifier.js");
  const about = await facts();
  const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const found = [];
  for (const model of about.models) {
    const made = await Classifier.load(model, about);
    const rows = [];
    for (const text of IMAGES) {
      const { raw } = await made.run(bytes(text));
      rows.push([Array.from(raw), made.probabilities(raw)]);
    }
    found.push(rows);
  }
  return found;
})()
"""
# The browser without relaxed SIMD takes the other build of LiteRT.js.
OLD = """
const instantiate = WebAssembly.instantiate;
WebAssembly.instantiate = (content, ...rest) =>
  content.length < 100 ? Promise.reject(new Error("not here")) : instantiate(content, ...rest);
"""


def some_images() -> list[np.ndarray]:
    return [
        *(np.full((32, 32, 3), value, np.uint8) for value in (0, 127, 128, 255)),
        *equality.pictures((32, 32, 3), 16),
    ]


def said_by_xnnpack(folder: Path, images: list[np.ndarray]) -> tuple[np.ndarray, tuple[float, int]]:
    """The deployed model's own output codes on LiteRT, and their scale and zero point."""
    model = interpreter((folder / "model.tflite").read_bytes())
    entry, exit_ = model.get_input_details()[0], model.get_output_details()[0]
    table = np.array(json.loads((folder / "web" / "model.json").read_text())["models"][0]["inputs"]) - 128
    said = []
    for image in images:
        model.set_tensor(entry["index"], table[image][None].astype(np.int8))
        model.invoke()
        said.append(model.get_tensor(exit_["index"])[0])
    return np.array(said, np.int64), exit_["quantization"]


@pytest.mark.browser
@pytest.mark.parametrize("build", ["litert_wasm_internal", "litert_wasm_compat_internal"])
def test_the_browser_says_what_xnnpack_says_bit_for_bit(real: tuple[Path, str], browser: Page, build: str) -> None:
    folder, url = real
    images = some_images()
    browser.go(url, OLD if "compat" in build else "")
    browser.until(READY)
    given = json.dumps([base64.b64encode(image.tobytes()).decode() for image in images])
    quantized, float_ = browser.evaluate(RAW.replace("IMAGES", given))
    assert any(address.endswith(f"{build}.wasm") for address in browser.addresses())
    codes, (scale, zero_point) = said_by_xnnpack(folder, images)
    assert len(np.unique(codes, axis=0)) > 10 and len(set(codes.argmax(1))) == 3
    assert np.array_equal([raw for raw, _ in quantized], codes + 128)
    logits = ((codes - zero_point) * scale).astype(np.float32).astype(np.float64)
    wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.allclose([row for _, row in quantized], wanted, rtol=1e-6)
    reference = interpreter((folder / "web" / "float32.tflite").read_bytes())
    for image, (raw, _) in zip(images, float_, strict=True):
        reference.set_tensor(reference.get_input_details()[0]["index"], (image[None] / np.float32(127.5) - 1))
        reference.invoke()
        assert np.allclose(raw, reference.get_tensor(reference.get_output_details()[0]["index"])[0], atol=1e-5)


# What LiteRT.js expects of a browser, as far as it computes on the CPU.
IN_NODE = """
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { runInThisContext } from "node:vm";

Object.assign(globalThis, {
  self: globalThis,
  navigator: {},
  require: createRequire(given.web + "/"),
  __dirname: given.web + "/litert",
  __filename: given.web + "/litert/index.js",
  importScripts: (path) => runInThisContext(readFileSync(path, "utf8"), path),
});
console.warn = console.info = console.error = () => {};
const { Classifier, start } = await import(given.web + "/classifier.js");
const { loadAndCompile } = await import(given.web + "/litert/index.js");
await start(given.web + "/litert/");
const facts = JSON.parse(readFileSync(given.web + "/model.json", "utf8"));
const compiled = await loadAndCompile(readFileSync(given.web + "/int8.tflite"), { accelerator: "wasm" });
const made = new Classifier(compiled, 0, facts.models[0], facts);
const found = [];
for (const text of given.images) found.push(Array.from((await made.run(Buffer.from(text, "base64"))).raw));
process.stdout.write(JSON.stringify(found));
process.exit(0);
"""


@pytest.mark.browser
@needs_node
def test_node_says_so_too(real: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = real
    web = tmp_path / "web"
    shutil.copytree(folder / "web", web)
    # Node finds the second package by its own rules, a browser by the page's import map.
    utils = web / "node_modules" / "@litertjs" / "wasm-utils"
    utils.mkdir(parents=True)
    shutil.copy(web / "litert" / "wasm-utils.js", utils / "index.js")
    for package in (web, utils):
        (package / "package.json").write_text('{"type": "module"}')
    images = some_images()
    given = {"web": str(web), "images": [base64.b64encode(image.tobytes()).decode() for image in images]}
    assert np.array_equal(node(IN_NODE, given), said_by_xnnpack(folder, images)[0] + 128)


@pytest.mark.browser
def test_a_user_sees_what_predict_says_and_nothing_is_asked_of_the_network(
    real: tuple[Path, str], browser: Page, tmp_path: Path
) -> None:
    folder, url = real
    rng = np.random.default_rng(1)
    picture = tmp_path / "a <b>picture.png"
    noise = rng.integers(0, 256, (9, 13, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((260, 90), Image.Resampling.NEAREST).save(picture)
    words = tmp_path / "words.txt"
    words.write_text("words")
    command = [sys.executable, "-I", str(folder / "predict.py"), str(picture), "--top", "3", "--json"]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)[0]["classes"]
    browser.size(390, 844)
    browser.go(url)
    browser.until(READY)
    browser.choose("#file", words)
    problem = browser.until("document.getElementById('problem').textContent")
    assert problem == "words.txt: this browser cannot read it as a picture."
    browser.choose("#file", picture)
    browser.until("document.getElementById('ratio').textContent")
    rows = browser.evaluate(
        "Array.from(document.querySelectorAll('#scores tbody tr'),"
        " (row) => Array.from(row.cells, (cell) => cell.textContent))"
    )
    assert [row[:2] for row in rows] == [[item["class"], f"{item['probability']:.1%}"] for item in said]
    assert browser.evaluate("document.getElementById('problem').textContent") == ""
    status = browser.evaluate("document.getElementById('status').textContent")
    assert re.match(f"(Both say|int8 says): {said[0]['class']}", status)
    times = browser.evaluate("Array.from(document.querySelectorAll('.time'), (one) => one.textContent)")
    assert len(times) == 2 and all(re.fullmatch(r"\d+\.\d+ ms", text) for text in times)
    assert browser.evaluate("document.documentElement.scrollWidth") == 390
    assert {address.split("/")[2] for address in browser.addresses() if "//" in address} == {url.split("/")[2]}
    ours = [text for text in browser.complaints() if not re.search(r"INFO:|WARNING:", text)]
    assert ours == []


@pytest.mark.browser
def test_the_page_refuses_a_damaged_model(real: tuple[Path, str], browser: Page) -> None:
    folder, url = real
    path = folder / "web" / "int8.tflite"
    whole = path.read_bytes()
    content = bytearray(whole)
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    try:
        browser.go(url)
        assert "int8.tflite is damaged" in browser.until("document.getElementById('problem')?.textContent")
        assert browser.evaluate("document.getElementById('file').disabled")
    finally:
        path.write_bytes(whole)


@pytest.mark.browser
def test_the_camera_and_the_keyboard(real: tuple[Path, str], browser: Page) -> None:
    _, url = real
    browser.go(url)
    browser.until(READY)
    seen = []
    for _ in range(2):
        browser.press("Tab", 9)
        seen.append(browser.evaluate("document.activeElement.id"))
    assert seen == ["file", "camera"]
    browser.evaluate("document.getElementById('camera').focus()")
    browser.press("Enter", 13, "\r")
    browser.until("!document.getElementById('video').hidden && document.getElementById('ratio').textContent")
    assert browser.evaluate("document.getElementById('camera').textContent") == "Stop camera"
    browser.evaluate("document.getElementById('camera').click()")
    browser.until("!document.getElementById('picture').hidden")
    assert browser.evaluate("document.getElementById('camera').textContent") == "Use camera"
    assert browser.evaluate("document.getElementById('video').srcObject") is None


@pytest.mark.browser
def test_a_browser_without_a_camera_says_so(real: tuple[Path, str], browser: Page) -> None:
    _, url = real
    browser.go(url)
    browser.until(READY)
    browser.evaluate(
        "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotFoundError'));"
        "document.getElementById('camera').click()"
    )
    assert browser.until("document.getElementById('problem').textContent") == "No camera: there is none."
