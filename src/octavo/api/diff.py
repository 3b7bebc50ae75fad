"""`octavo diff`: what changed between two model files."""

from __future__ import annotations

from pathlib import Path

from octavo.analysis.diff import Described, Diff
from octavo.analysis.diff import diff as changes
from octavo.base.errors import ModelError
from octavo.rewrite.canonical.signature import choose
from octavo.source.load import load_model
from octavo.tflite.graph import Graph


def diff(
    before: Path | str, after: Path | str, signature: str | None = None, size: tuple[int, int] | None = None
) -> Diff:
    """Finds what changed between two `.tflite` files, without images: see `octavo.analysis.diff`.

    Both are read as they are. As with every stranger's model, they run in a child process first.

    Args:
        before: The first file, of any converter.
        after: The second.
        signature: The signature to read from files with several.
        size: Height and width of the images, for the first run of files that leave them open.

    Raises:
        ModelError: A file cannot be read, or is no `.tflite` file.

    Example:
        >>> import octavo
        >>> found = octavo.diff("float.tflite", "int8.tflite")
        >>> found.equal, len(found.added), [change.after for change in found.ops[0].changes]  # its op version
        (False, 0, [3])
        >>> octavo.diff("int8.tflite", "int8.tflite")
        Diff(no difference between int8.tflite and int8.tflite)
    """
    return changes(_described(Path(before), signature, size), _described(Path(after), signature, size))


def _described(path: Path, signature: str | None, size: tuple[int, int] | None) -> Described:
    if path.exists() and path.suffix != ".tflite":
        raise ModelError(f"'{path}' is not a .tflite file.", "Export it first, or compare models on images: compare.")
    loaded = load_model(path, signature, size)
    # As it is in the file, not with the sizes that running needs.
    graph = Graph(choose(loaded.content, f"'{path}'", signature).content, f"'{path}'")
    return Described(str(path), loaded.content, graph, loaded.sidecar)
