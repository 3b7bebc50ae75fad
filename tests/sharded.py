"""An image folder written as shards: `.tar` files as WebDataset writes them, or Parquet files as `datasets` does."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np

SHARDS = 3


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    """A `.tar` that is not compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def _parts(photos: Path, split: str) -> list[list[Path]]:
    files = sorted((photos / split).rglob("*.png"))
    return [list(part) for part in np.array_split(np.array(files, dtype=object), SHARDS)]


def tars(photos: Path, out: Path, classes: tuple[str, ...], split: str) -> Path:
    """``out/SPLIT-000000.tar`` and so on, with the images of ``photos/SPLIT/CLASS`` in the order of their paths."""
    for place, part in enumerate(_parts(photos, split)):
        files: dict[str, bytes] = {}
        for path in part:
            key = f"{path.parent.name}-{path.stem}"
            files[f"{key}.png"] = path.read_bytes()
            files[f"{key}.cls"] = str(classes.index(path.parent.name)).encode()
        write_tar(out / f"{split}-{place:06}.tar", files)
    return out


def parquets(photos: Path, out: Path, classes: tuple[str, ...], split: str) -> Path:
    """``out/SPLIT-00000-of-00003.parquet`` and so on, as `tars`; in row groups of 7."""
    import pyarrow
    from pyarrow import parquet

    out.mkdir(parents=True, exist_ok=True)
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(classes)}}
    for place, part in enumerate(_parts(photos, split)):
        columns = {
            "image": [{"bytes": path.read_bytes(), "path": path.name} for path in part],
            "label": [classes.index(path.parent.name) for path in part],
        }
        table = pyarrow.table(columns).replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
        name = f"{split}-{place:05}-of-{SHARDS:05}.parquet"
        parquet.write_table(table, out / name, row_group_size=7)
    return out
