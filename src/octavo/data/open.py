"""Opens a source of images: by name, or by a path whose kind is detected from its content."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from octavo.base.address import Address, address, is_pattern
from octavo.base.border import border
from octavo.base.errors import DataError
from octavo.base.jobs import Jobs
from octavo.data import cifar
from octavo.data.archive import Tar, Zip
from octavo.data.dataset import Dataset
from octavo.data.decode import Files
from octavo.data.digits import digits
from octavo.data.folder import Folder
from octavo.data.given import given
from octavo.data.layout import LAYOUTS, image_folder
from octavo.data.npz import npz
from octavo.data.parquet import MAGIC
from octavo.data.shards import are_shards, shards
from octavo.data.tar_shard import is_shard
from octavo.recipe import options
from octavo.runtime.litert import Port

Source = Literal["digits", "cifar10", "path"]


def open_dataset(source: Source, path: Address | None = None, jobs: Jobs | None = None) -> Dataset:
    """Opens a source; images are decoded later, when they are read.

    Args:
        source: `digits` (bundled with scikit-learn), `cifar10` (downloaded by Keras unless `path` is given), or
            `path`.
        path: A folder, `.tar`, `.tar.gz`, `.zip` or `.npz`, told apart by content. Official CIFAR-10 archives and
            folders are recognized as such. Or shards (docs/scaling.md): `.tar` or Parquet files, a folder of them, a
            pattern as in ``train-{000..012}.tar``, or URLs of any of these.
        jobs: The processes that look into shards; this one alone when left out.

    Raises:
        DataError: The path is missing, wrong, empty, damaged, refused, or not what the source says.
        MissingDependencyError: CIFAR-10 is to be downloaded and Keras is not installed.

    Example:
        >>> len(open_dataset("digits").splits["all"])
        1797
    """
    if source == "digits":
        if path is not None:
            raise DataError(
                f"The digits come with scikit-learn and need no path, but '{path}' was given.",
                "Leave the path out, or set data.source to `path`.",
            )
        return digits()
    if source == "cifar10":
        return cifar.check_classes(_open(address(path), jobs or Jobs())) if path is not None else cifar.download()
    if path is None:
        raise DataError("The images have no path.", "Set `data` to a folder, an archive or an .npz.")
    return _open(address(path), jobs or Jobs())


def open_data(
    data: options.Source | None, ports: Sequence[Port] = (), tests: bool = False, jobs: Jobs | None = None
) -> Dataset:
    """The dataset of a path, or of samples that Python code gives.

    Args:
        data: Where the samples come from.
        ports: The inputs of the model; none where it depends on the samples, and takes images.
        tests: Whether samples from Python code are to be evaluated; else all of them may calibrate and train.
        jobs: As for `open_dataset`.

    Raises:
        DataError: As `open_dataset` and `octavo.data.given.given`.
    """
    if data is None or isinstance(data, Path | str):
        return open_dataset("path", data, jobs)
    return given(data, ports, "test" if tests else "given")


def is_there(place: Address) -> bool:
    """Whether data are there, as far as a look without opening them tells: it does not for URLs and patterns."""
    if isinstance(place, str) or is_pattern(place):
        return True
    with border(f"'{place}' cannot be found", "Give the path without '~'.", DataError):
        return place.expanduser().exists()


def _open(place: Address, jobs: Jobs) -> Dataset:
    source = f"'{place}'"
    return shards(place, source, jobs) if isinstance(place, str) else _open_path(place, source, jobs)


def _open_path(path: Path, source: str, jobs: Jobs) -> Dataset:
    with border(f"'{path}' cannot be found", "Give the path without '~'.", DataError):
        path = path.expanduser()
    if not path.exists():
        if is_pattern(path):
            return shards(path.resolve(), source, jobs)
        raise DataError(f"There is no file or folder '{path}'.", "Check the path of the images.")
    if _is_npz(path):
        return npz(path, source)
    files = None if _is_parquet(path) else _files(path)
    if files is None or _is_sharded(files):
        return shards(path.resolve(), source, jobs)
    if cifar.is_official(files.names):
        return cifar.official(files, source)
    return image_folder(files, path.resolve().name.split(".")[0] or "images", source)


def _is_npz(path: Path) -> bool:
    if not (path.is_file() and zipfile.is_zipfile(path)):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # zipfile raises nearly anything on a damaged file. Who reads the file next says what is wrong.
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _is_parquet(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def _is_sharded(files: Files) -> bool:
    return are_shards(files.names) if isinstance(files, Folder) else isinstance(files, Tar) and is_shard(files.names)


def _files(path: Path) -> Files:
    if path.is_dir():
        return Folder(path)
    if not path.is_file():
        raise DataError(f"'{path}' is neither a file nor a folder.", "Give a folder, an archive or an .npz.")
    with path.open("rb") as stream:
        head = stream.read(tarfile.BLOCKSIZE)
    if not head:
        raise DataError(f"'{path}' is an empty file.", "Give a folder, a .tar, .tar.gz or .zip, or an .npz.")
    if head.startswith(b"PK"):
        return Zip(path)
    # Old tar files have no magic number, so the name decides if the content does not.
    if head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar" or path.suffix == ".tar":
        return Tar(path)
    raise DataError(
        f"'{path}' is a file, but its content is neither a .tar, .tar.gz, .zip nor .npz.",
        f"Give one of these, or a folder. {LAYOUTS}",
    )
