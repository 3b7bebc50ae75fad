"""LiteRT.js, copied into a folder during deployment, so that the page needs no network.

The packages come from npm's client, with the registry that it is set to, or from a folder with packed archives.
Versions are pinned, and the SHA-512 of each archive is checked before it is opened.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from octavo.base.errors import MissingDependencyError, OctavoError

VERSION = "2.5.3"
_WASM = ("litert_wasm_internal", "litert_wasm_compat_internal")
_PATIENCE = 600
_NOTICE = """LiteRT.js, unchanged: the compiled files of these npm packages, which are under the Apache License 2.0
(LICENSE.txt beside this folder), copyright Google LLC; source: https://github.com/google-ai-edge/LiteRT

"""


@dataclass(frozen=True)
class Package:
    """An npm package, and the files that are taken from it.

    Args:
        name: Its name in the registry.
        integrity: SHA-512 of its archive, in base64, as the registry and lock files have it.
        files: Paths inside the archive, and the names that they get.
        version: Its version.
    """

    name: str
    integrity: str
    files: Mapping[str, str] = field(default_factory=dict)
    version: str = VERSION

    @property
    def archive(self) -> str:
        """The name that `npm pack` gives to its archive.

        Example:
            >>> Package("@litertjs/core", "").archive
            'litertjs-core-2.5.3.tgz'
        """
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


PACKAGES = (
    Package(
        "@litertjs/core",
        "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
        # With relaxed SIMD, and without it for browsers that lack it. The threaded build needs headers that a plain
        # server does not send, and one thread is what a phone can spare.
        {"package/dist/index.js": "index.js"}
        | {f"package/wasm/{name}.{kind}": f"{name}.{kind}" for name in _WASM for kind in ("js", "wasm")},
    ),
    Package(
        "@litertjs/wasm-utils",
        "4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
        {"package/dist/index.js": "wasm-utils.js"},
    ),
)


def vendor(folder: Path, packed: Path | None = None, offline: bool = False) -> None:
    """Writes LiteRT.js into a folder.

    Args:
        folder: Where to; it is made.
        packed: A folder with the archives, as `npm pack` writes them; downloaded with npm by default.
        offline: Let npm use only its cache.

    Raises:
        MissingDependencyError: npm is not installed.
        OctavoError: An archive is missing or not the pinned one, or npm could not get it.
    """
    with tempfile.TemporaryDirectory() as temporary:
        if packed is None:
            packed = Path(temporary)
            _pack(packed, offline)
        folder.mkdir(parents=True)
        for package in PACKAGES:
            _extract(package, packed / package.archive, folder)
    named = [f"{package.name} {package.version} sha512-{package.integrity}\n" for package in PACKAGES]
    (folder / "NOTICE.txt").write_text(_NOTICE + "".join(named), "utf-8", newline="\n")


def by_hand() -> str:
    """The command that gets the archives.

    Example:
        >>> by_hand()
        'npm pack @litertjs/core@2.5.3 @litertjs/wasm-utils@2.5.3'
    """
    return "npm pack " + " ".join(f"{package.name}@{package.version}" for package in PACKAGES)


def _pack(folder: Path, offline: bool) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise MissingDependencyError(
            "The web demo needs LiteRT.js from npm, but npm is not installed.",
            f"Install Node.js with npm, or run `{by_hand()}` where npm is, and give that folder with --litertjs.",
        )
    patience = ["--offline" if offline else "--prefer-offline", "--fetch-retries=1", "--fetch-timeout=120000"]
    command = [npm, *by_hand().split()[1:], "--pack-destination", str(folder), "--ignore-scripts", *patience]
    try:
        # npm runs in the folder that it writes to, because it uses an .npmrc of the folder in which it starts.
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE, cwd=folder)
        cause = next((line for line in done.stderr.splitlines() if "error" in line.lower()), "npm gave no reason")
    except subprocess.TimeoutExpired:
        done, cause = None, f"no answer in {_PATIENCE // 60} minutes"
    if done is None or done.returncode:
        raise OctavoError(
            f"npm could not get LiteRT.js: {cause.strip()}.",
            f"Check the network, or run `{by_hand()}` where there is one, and give that folder with --litertjs.",
        )


def _extract(package: Package, archive: Path, folder: Path) -> None:
    if not archive.is_file():
        raise OctavoError(
            f"There is no {archive.name} in '{archive.parent}'.", f"Run `{by_hand()}` there, or leave --litertjs out."
        )
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != package.integrity:
        raise OctavoError(
            f"{archive.name} is not {package.name} {package.version}: its SHA-512 is not the pinned one.",
            f"Get it again with `{by_hand()}`.",
        )
    with tarfile.open(archive) as opened:
        for member, name in package.files.items():
            content = opened.extractfile(member)
            assert content is not None
            (folder / name).write_bytes(content.read())
