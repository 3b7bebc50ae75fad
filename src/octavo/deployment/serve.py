"""`octavo serve`: serves the web demo of a deployed folder on 127.0.0.1.

Only files that `SHA256SUMS` lists are served, and no links are followed: a folder may come from a stranger.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from octavo.base.errors import OctavoError
from octavo.base.files import sha256

_HOST = "127.0.0.1"
_PORT = 8000
# Seconds that a connection may stay silent, and that it may last in all.
_SILENT, _LONGEST = 10.0, 120.0
# The page is isolated: nothing from other sites, and a clock resolution of 5 instead of 100 microseconds.
_HEADERS = {
    # File dates have a resolution of seconds, so a folder that was just deployed again would look unchanged.
    "Cache-Control": "no-store",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


# The system's own table can be wrong, and browsers do not run a module of another type than JavaScript.
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}


class WebServer(ThreadingHTTPServer):
    """Serves the files of a web demo on 127.0.0.1.

    Args:
        files: The files, by their path in the address; see `web_of`.
        port: The port; 8000, or else any free port, when left out.

    Raises:
        OctavoError: The port is in use.
    """

    # On systems other than POSIX, it would share the port with another server.
    allow_reuse_address = os.name == "posix"

    def __init__(self, files: Mapping[str, Path], port: int | None = None) -> None:
        self.files = files
        try:
            super().__init__((_HOST, _PORT if port is None else port), _Handler)
        except OSError as error:
            if port is None and error.errno == errno.EADDRINUSE:
                super().__init__((_HOST, 0), _Handler)
                return
            raise OctavoError(
                f"Port {port} cannot be used: {error.strerror}.", "Set `port` to another, or leave it out."
            ) from error

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{_HOST}:{self.server_port}/"

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Answers one request, in limited time."""
        limit = threading.Timer(_LONGEST, _hang_up, [request])
        limit.daemon = True
        limit.start()
        try:
            _Handler(request, client_address, self)
        finally:
            limit.cancel()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores a connection that the browser closed or that lasted too long."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    # Of each read and each write; the end of a silent connection is no error.
    timeout = _SILENT

    def do_GET(self) -> None:
        self._answer(True)

    def do_HEAD(self) -> None:
        self._answer(False)

    def _answer(self, body: bool) -> None:
        # Refuses other host names, with which another site could reach this server (DNS rebinding).
        if self.headers.get("Host", "").partition(":")[0].lower() not in (_HOST, "localhost"):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        assert isinstance(self.server, WebServer)
        file = self.server.files.get(_name_in(self.path))
        if file is None or not _is_own(file):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            stream = file.open("rb")
        except OSError:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with stream:
            self._send(stream, _TYPES.get(file.suffix, "application/octet-stream"), body)

    def _send(self, stream: BinaryIO, kind: str, body: bool) -> None:
        size = os.fstat(stream.fileno()).st_size
        # No answer has a validator, so no condition of `If-Range` holds.
        asked = None if "If-Range" in self.headers else self.headers.get("Range")
        part = range(size) if asked is None else part_of(asked, size)
        if part is None:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        whole = len(part) == size
        self.send_response(HTTPStatus.OK if whole else HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-type", kind)
        self.send_header("Content-Length", str(len(part)))
        if not whole:
            self.send_header("Content-Range", f"bytes {part.start}-{part.stop - 1}/{size}")
        self.end_headers()
        if body:
            stream.seek(part.start)
            _copy(stream, self.wfile, len(part))

    def end_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing: the page shows errors."""


def part_of(asked: str, size: int) -> range | None:
    """The bytes that a `Range` header asks for; all of them if it is not one range of bytes.

    Args:
        asked: The value of the header.
        size: How many bytes there are.

    Returns:
        The places of the bytes, or None if the file has none of them.

    Example:
        >>> part_of("bytes=2-3", 10), part_of("bytes=8-", 10), part_of("bytes=-3", 10), part_of("bytes=1-2,4-5", 10)
        (range(2, 4), range(8, 10), range(7, 10), range(0, 10))
        >>> part_of("bytes=10-", 10) is None
        True
    """
    found = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", asked.strip(), re.ASCII | re.IGNORECASE)
    if found is None or found[1] + found[2] == "":
        return range(size)
    if found[1] == "":
        part = range(max(0, size - int(found[2])), size)
    else:
        first, last = int(found[1]), int(found[2] or size - 1)
        if found[2] and last < first:
            return range(size)
        part = range(first, min(last + 1, size))
    return part or None


def _copy(source: BinaryIO, target: Any, count: int) -> None:
    while count > 0 and (chunk := source.read(min(count, 1 << 16))):
        target.write(chunk)
        count -= len(chunk)


def _name_in(address: str) -> str:
    """The name of the file that an address is of."""
    try:
        path = urlsplit(address).path
    except ValueError:
        return ""
    return unquote(path, errors="surrogateescape").removeprefix("/") or "index.html"


def _is_own(file: Path) -> bool:
    """Whether a path leads to a regular file without a link in it.

    Args:
        file: A path whose folder has no link in it.
    """
    try:
        return os.path.realpath(file) == str(file) and file.is_file()
    except (OSError, ValueError):
        # A name that no file can have.
        return False


def web_of(folder: Path) -> dict[str, Path]:
    """The files of a deployed folder's web demo, by their path in `web/`, after checking them against `SHA256SUMS`.

    Raises:
        OctavoError: It is no such folder, has no demo, or a file is missing, a link, or another one.
    """
    sums = folder / "SHA256SUMS"
    if not sums.is_file() or not (folder / "model.tflite").is_file():
        raise OctavoError(f"'{folder}' is not a folder that `octavo deploy` wrote.", "Give its --out folder.")
    known = [line.partition("  ") for line in sums.read_text("utf-8", "replace").splitlines()]
    demo = {name: digest for digest, _, name in known if name.startswith("web/")}
    if "web/index.html" not in demo:
        raise OctavoError(f"'{folder}' holds no web demo.", "Deploy it again, with --web.")
    whole, files = folder.resolve(), {}
    for name, digest in demo.items():
        file = whole / name
        if not _is_own(file) or sha256(file) != digest:
            raise OctavoError(f"'{folder / name}' is missing, a link, damaged or was replaced.", "Deploy it again.")
        files[name.removeprefix("web/")] = file
    return files


def serve(folder: Path | str, port: int | None = None, ready: Callable[[str], object] = print) -> None:
    """Serves the web demo of a deployed folder, on this machine and for this machine only, until Ctrl-C.

    Args:
        folder: A folder that `octavo deploy --web` wrote.
        port: The port; 8000 or else any that is free, when left out.
        ready: Called with the demo's address when it answers; prints it, when left out.

    Raises:
        OctavoError: It is no such folder, has no demo, or a file is missing or another one; or the port is taken.

    Example:
        >>> import octavo
        >>> def stop(url):
        ...     print(url.startswith("http://127.0.0.1:"))
        ...     raise KeyboardInterrupt  # as Ctrl-C does
        >>> octavo.serve("digits-model", ready=stop)
        True
    """
    with WebServer(web_of(Path(folder)), port) as server:
        try:
            ready(server.url)
            server.serve_forever()
        except KeyboardInterrupt:
            pass
