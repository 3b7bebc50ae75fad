"""Small images, and trees of them in every container."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Tree = dict[str, bytes]


def encode(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def picture(seed: int, size: tuple[int, int] = (6, 5)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def tree(per_class: int = 4, splits: tuple[str, ...] = ("train/", "test/"), classes: str = "ab") -> Tree:
    """Paths and encoded images, each image different."""
    names = [f"{split}{name}/{index:04}.png" for split in splits for name in classes for index in range(per_class)]
    return {name: encode(picture(seed)) for seed, name in enumerate(names)}


def write_folder(root: Path, files: Tree) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def write_tar(path: Path, files: Tree, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_zip(path: Path, files: Tree) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


Writer = Callable[[Path, Tree], Path]

WRITERS: dict[str, Writer] = {
    "folder": lambda path, files: write_folder(path / "photos", files),
    "tar": lambda path, files: write_tar(path / "photos.tar", files, "w:"),
    "tar.gz": lambda path, files: write_tar(path / "photos.tar.gz", files),
    "zip": lambda path, files: write_zip(path / "photos.zip", files),
}
