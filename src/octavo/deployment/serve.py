"""`octavo serve`: serves the web demo of a deployed folder on 127.0.0.1."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from octavo.base.errors import OctavoError
from octavo.base.files import sha256

_HOST = "127.0.0.1"
_PORT = 8000
# The page is isolated: nothing from other sites, and a clock resolution of 5 instead of 100 microseconds.
_HEADERS = {
    # File dates have a resolution of seconds, so a folder that was just deployed again would look unchanged.
    "Cache-Control": "no-store",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class WebServer(ThreadingHTTPServer):
    """Serves a folder on 127.0.0.1.

    Args:
        web: The folder of a page; see `web_of`.
        port: The port; 8000, or else any free port, when left out.

    Raises:
        OctavoError: The port is in use.
    """

    # On systems other than POSIX, it would share the port with another server.
    allow_reuse_address = os.name == "posix"

    def __init__(self, web: Path, port: int | None = None) -> None:
        self.web = web
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
        """Answers one request from the folder."""
        _Handler(request, client_address, self, directory=str(self.web))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores a browser that closes the connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(SimpleHTTPRequestHandler):
    # The system's own table can be wrong, and browsers do not run a module of another type than JavaScript.
    extensions_map = {  # noqa: RUF012
        "": "application/octet-stream",
        ".css": "text/css; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".svg": "image/svg+xml",
        ".txt": "text/plain; charset=utf-8",
        ".wasm": "application/wasm",
    }

    def send_head(self) -> Any:
        # Refuses other host names, with which another site could reach this server (DNS rebinding).
        if self.headers.get("Host", "").partition(":")[0] not in (_HOST, "localhost"):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> Any:
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing: the page shows errors."""


def web_of(folder: Path) -> Path:
    """The `web/` of a deployed folder, after checking all its files against `SHA256SUMS`.

    Raises:
        OctavoError: It is no such folder, has no demo, or a file is missing or another one.
    """
    sums = folder / "SHA256SUMS"
    if not sums.is_file() or not (folder / "model.tflite").is_file():
        raise OctavoError(f"'{folder}' is not a folder that `octavo deploy` wrote.", "Give its --out folder.")
    known = [line.partition("  ") for line in sums.read_text("utf-8", "replace").splitlines()]
    demo = {name: digest for digest, _, name in known if name.startswith("web/")}
    if "web/index.html" not in demo:
        raise OctavoError(f"'{folder}' holds no web demo.", "Deploy it again, with --web.")
    for name, digest in demo.items():
        if not (folder / name).is_file() or sha256(folder / name) != digest:
            raise OctavoError(f"'{folder / name}' is missing, damaged or was replaced.", "Deploy it again.")
    return folder / "web"


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
