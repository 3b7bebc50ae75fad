"""TensorBoard: event files, written by tensorboardX, which needs no TensorFlow."""

from __future__ import annotations

import tempfile
from pathlib import Path

from octavo.base import backend
from octavo.reports.tracking.record import Record

# The end of every event file of a record, before its key: only such files are ever replaced.
_END = ".octavo-"


def write(record: Record) -> str | None:
    """Writes event files into the record's folder, in place of those of an earlier record.

    Every training has a folder of its own, so that TensorBoard draws the same figure of all of them in one chart. The
    parameters and the final figures are in the folder itself, for TensorBoard's table of hyperparameters.

    Args:
        record: What is logged.

    Returns:
        The folder; None if it holds this record.
    """
    folder = record.folder
    if any(folder.glob(f"*{_END}{record.key}")):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new", dir=folder) as made:
        _write(record, Path(made))
        for former in folder.rglob(f"events.out.tfevents.*{_END}*"):
            if Path(made) not in former.parents:
                former.unlink()
        # The folder's own file, which shows that all are there, comes last.
        for path in sorted(Path(made).rglob("events.*"), key=lambda path: path.parent == Path(made)):
            there = folder / path.relative_to(made)
            there.parent.mkdir(exist_ok=True)
            path.replace(there)
    return str(folder)


def _write(record: Record, folder: Path) -> None:
    tensorboard = backend.load("tensorboardX")
    end = f"{_END}{record.key}"
    for model in record.curves:
        with tensorboard.SummaryWriter(str(folder / model), filename_suffix=end) as writer:
            for other, figure, epoch, value in record.points:
                if other == model:
                    writer.add_scalar(figure, value, epoch)
    with tensorboard.SummaryWriter(str(folder), filename_suffix=end) as writer:
        for summary in tensorboard.summary.hparams(dict(record.parameters), dict(record.results)):
            writer.file_writer.add_summary(summary)
        for name, value in record.results.items():
            writer.add_scalar(name, value)
        writer.add_text("results", record.table)
        writer.add_text("files", "\n".join(f"- `{path}`" for path in record.files))
