"""The record of a run or of a training, as it is logged: parameters, curves, results and files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octavo.analysis.evaluation import Evaluation
from octavo.base.metric import Metric
from octavo.base.provenance import Provenance
from octavo.quantization.proof import Proof
from octavo.reports.facts import RECIPE, Facts, gap_of
from octavo.reports.tables import Table, tables
from octavo.reports.wording import count, size
from octavo.reports.write import cell
from octavo.source.sidecar import path_of
from octavo.training.history import History

# Files of a run beside those that its stages made.
_WRITTEN = (RECIPE, Provenance.file, "report.html", "report.md", "report.json")
Value = bool | int | float | str


@dataclass(frozen=True)
class Record:
    """What is logged.

    Args:
        name: The name of the run.
        key: Tells it from every other: the same parameters and results have the same key.
        parameters: The parameters by dotted name.
        curves: The epochs of every training, by the name of its model: figures by name, and ``epoch``.
        results: The final figures by name.
        table: The final figures for people, as Markdown.
        files: The files that were made.
        folder: Where files of a log can lie.
    """

    name: str
    key: str
    parameters: Mapping[str, Value]
    curves: Mapping[str, Sequence[Mapping[str, Any]]]
    results: Mapping[str, float]
    table: str
    files: Sequence[Path]
    folder: Path

    @property
    def points(self) -> list[tuple[str, str, int, float]]:
        """Every point of the curves: model, figure, epoch, value. A figure that was not measured has none."""
        return [
            (model, figure, int(row["epoch"]), float(value))
            for model, rows in self.curves.items()
            for row in rows
            for figure, value in row.items()
            if figure != "epoch" and value is not None
        ]


def of_run(folder: Path, facts: Facts) -> Record:
    """The record of a finished run.

    Args:
        folder: Its directory.
        facts: What the directory holds.
    """
    recipe = {key: value for key, value in facts.recipe.to_json().items() if key != "log"}
    made = {file: digest for stage in facts.manifest.stages.values() for file, digest in stage.outputs.items()}
    trainings = {"float": facts.history, "control": facts.controlled, "int8": facts.trained}
    shown = tables(facts)
    return Record(
        name=facts.recipe.name,
        key=key_of({"recipe": recipe, "files": made}),
        parameters=flat(recipe),
        curves={name: [row.model_dump() for row in found.epochs] for name, found in trainings.items() if found},
        results=_results(facts),
        table="\n\n".join(markdown(shown[name]) for name in ("results", "side_by_side") if name in shown),
        files=[path for name in (*_WRITTEN, *made) if (path := folder / name).is_file()],
        folder=folder / "tensorboard",
    )


def of_training(out: Path, given: Mapping[str, Any], history: History, proof: Proof) -> Record:
    """The record of a training for int8 without a run.

    Args:
        out: The int8 `.tflite`, with its sidecar beside it.
        given: What the training was given, by name.
        history: Its epochs.
        proof: The proof of the int8 file.
    """
    passed = sum(check.passed for check in proof.checks)
    results = {
        "size/int8_bytes": float(proof.bytes),
        "proof/checks_passed": float(passed),
        "proof/checks": float(len(proof.checks)),
    }
    rows = [["Model size", size(proof.bytes)], ["Proof", f"{passed} of {count(len(proof.checks), 'check')} passed"]]
    if history.best_epoch is not None:
        rows.append(["Best epoch", str(history.best_epoch)])
        results["best_epoch"] = float(history.best_epoch)
    return Record(
        name=out.stem,
        key=key_of({"given": given, "sha256": proof.sha256}),
        parameters=flat(given),
        curves={"int8": history.epochs},
        results=results,
        table=markdown(Table(rows, ("", "int8"))),
        files=[out, path_of(out)],
        folder=out.with_name(f"{out.name}.tensorboard"),
    )


def _results(facts: Facts) -> dict[str, float]:
    evaluation, files = facts.evaluation, facts.size.files
    made = {
        "size/float_bytes": float(files.float_tflite),
        "size/int8_bytes": float(files.int8_tflite),
        "size/ratio": facts.ratio,
        "latency/float_ms": facts.latencies[0].median_ms,
        "latency/int8_ms": facts.latencies[1].median_ms,
        "latency/speedup": facts.speedup,
        f"int8_against_float/{evaluation.likeness.name}": facts.compared.agreement,
        "proof/checks_passed": float(sum(check.passed for check in facts.proof.checks)),
        "proof/checks": float(len(facts.proof.checks)),
    }
    return made | _scores(evaluation, evaluation.metric) if facts.known else made


def _scores(evaluation: Evaluation, metric: Metric) -> dict[str, float]:
    """The figures of every model, and the paired difference of int8 and float."""
    made = {}
    for name, model in evaluation.models.items():
        if model.score is not None:
            made[f"{name}/{metric.name}"] = model.score.value
        made |= {f"{name}/{figure}": value for figure, value in model.figures.items()}
    gap = gap_of(evaluation.comparison)
    made |= {f"int8_minus_float/{name}": value for name, value in vars(gap).items()}
    return {**made, "int8_minus_float/non_inferior": float(bool(evaluation.comparison.non_inferior))}


def key_of(value: Any) -> str:
    """The key of a JSON value.

    Example:
        >>> key_of({"a": 1}) == key_of({"a": 1}), len(key_of([]))
        (True, 16)
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Nested values by dotted name; a list is text, and what is not set is left out.

    Example:
        >>> flat({"train": {"epochs": 3, "weights": None}, "scale": [-1, 1]})
        {'train.epochs': 3, 'scale': '-1, 1'}
    """
    made: dict[str, Value] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            made |= flat(item, f"{prefix}{key}.")
        elif isinstance(item, list | tuple):
            made[f"{prefix}{key}"] = ", ".join(map(str, item))
        elif item is not None:
            made[f"{prefix}{key}"] = item if isinstance(item, bool | int | float) else str(item)
    return made


def markdown(table: Table) -> str:
    """A table as Markdown.

    Example:
        >>> print(markdown(Table([["size", "4 kB"]], ("", "int8"))))
        |  | int8 |
        |---|---|
        | size | 4 kB |
    """
    first, *others = (f"| {' | '.join(map(cell, row))} |" for row in (table.head, *table.rows))
    return "\n".join([first, f"|{'---|' * len(table.head)}", *others])
