"""The model card: what the model is, its measured accuracy, and what is unknown.

After Mitchell et al. 2019, "Model Cards for Model Reporting". The card states only what Octavo has measured, and marks
everything else as unknown.
"""

from __future__ import annotations

from collections.abc import Sequence

from octavo.analysis.evaluation import ClassScore, Evaluation, ModelScore
from octavo.analysis.tasks.choose import task_named
from octavo.base.metric import Metric
from octavo.base.units import milliseconds
from octavo.data.preprocess import Preprocess, described
from octavo.data.summary import DataSummary
from octavo.deployment.evaluated import Evaluated
from octavo.deployment.words import filled, title, words_of
from octavo.recipe.choices import TaskName
from octavo.runtime.litert import Port, inputs_of, outputs_of
from octavo.source.sidecar import Sidecar
from octavo.tflite.graph import Graph
from octavo.tflite.op_table import macs


def model_card(
    graph: Graph,
    sidecar: Sidecar,
    digest: str,
    bare: str,
    evaluation: Evaluation | Evaluated | None,
    data: DataSummary | None,
) -> str:
    """The card as Markdown.

    Args:
        graph: The int8 model, with its metadata.
        sidecar: Its preprocessing, classes and task.
        digest: Its SHA-256.
        bare: The SHA-256 of the model without its metadata.
        evaluation: A run's ``evaluation.json``, or what was measured of a model that came as a file.
        data: A run's ``data.json``, likewise.
    """
    sample = filled("{sample}", sidecar)
    return "\n\n".join(
        [
            f"# {title(sidecar)}",
            *_what(graph, sidecar, digest, bare),
            *_trained(data, sample),
            *_measured(evaluation, sidecar.task, sample),
            *_limits(evaluation, sidecar),
            "Written by Octavo. The figures were measured on one machine.\n",
        ]
    )


def _what(graph: Graph, sidecar: Sidecar, digest: str, bare: str) -> list[str]:
    preprocess, classes = sidecar.preprocess, sidecar.classes
    sample = filled("a {sample}", sidecar)
    rows = [
        f"- `model.tflite`: {len(graph.content):,} bytes, {macs(graph):,} multiply-accumulates {sample}, for LiteRT",
        f"- SHA-256 `{digest}`; without its metadata, as `model_data.cc` has it, `{bare}`",
        f"- {_ports('input', inputs_of(graph))}, {_ports('output', outputs_of(graph))}",
    ]
    if preprocess is None:
        rows.append("- inputs: the model's own numbers, without preprocessing; for `predict.py` as .npy or .npz files")
        if sidecar.windows is not None:
            rows.append(f"- longer recordings are cut into {sidecar.windows.describe()}, and each window is answered")
    else:
        rows.append(f"- images: {described(preprocess)}; the proportions of an image are not kept")
    if preprocess is not None and not isinstance(preprocess, Preprocess):
        rows.append(
            "- other inputs: the model's own numbers; `predict.py` takes the inputs of a sample in one .npz file"
        )
    if classes:
        what = "labels" if sidecar.task == "multi-label" else "classes"
        rows.append(f"- {len(classes)} {what}: {', '.join(classes)}")
    return ["## What it is", "\n".join(rows)]


def _ports(what: str, ports: Sequence[Port]) -> str:
    """Inputs or outputs with their types and shapes; with their names if there are several."""
    if len(ports) == 1:
        return f"{what} {ports[0].dtype} {list(ports[0].shape)}"
    return f"{what}s {', '.join(f'`{port.label}` {port.dtype} {list(port.shape)}' for port in ports)}"


def _trained(data: DataSummary | None, sample: str) -> list[str]:
    if data is None:
        return ["## Trained on", "Not known to Octavo: the model was given as a file. Ask whoever trained it."]
    train = data.train
    of = f" of {len(data.classes)} classes" if data.classes else ""
    return [
        "## Trained on",
        f"{train.images:,} {sample}s{of} (digest `{train.digest[:16]}`). The initial "
        "weights may have been trained on others.",
    ]


def _measured(evaluation: Evaluation | Evaluated | None, task: TaskName | None, sample: str) -> list[str]:
    if evaluation is None:
        metric = task_named(task or "outputs").scores.metric
        if task == "outputs":
            return [
                "## Accuracy",
                "Not measured, since nothing says what is right: `octavo compare` compares it with its float model.",
            ]
        return [
            f"## {metric.heading}",
            f"Not measured: run `octavo evaluate` on labelled {sample}s that were not used to train it.",
        ]
    metric = evaluation.metric
    heading = f"## {metric.heading}"
    if isinstance(evaluation, Evaluated):
        if evaluation.score is None:
            return [heading, "Not measured: the samples have no labels."]
        return [
            heading,
            f"{metric.between(evaluation.score)} on {evaluation.images:,} labelled {sample}s of `{evaluation.data}`, "
            f"{evaluation.kernels}. Whether the model was trained on some of them is unknown to Octavo.",
            *_more(evaluation, evaluation.task, metric),
        ]
    before, after = (evaluation.models[name] for name in ("float", "int8"))
    gap, time = evaluation.comparison.difference, after.latency
    if before.score is None or after.score is None or gap is None:
        return [heading, "Not measured: the run's samples have no labels."]
    return [
        heading,
        f"{metric.between(after.score)} on {evaluation.images:,} held-out {sample}s, {evaluation.kernels}. The float "
        f"model it was made from: {metric.between(before.score)}; int8 minus float on the same {sample}s: "
        f"{metric.change(gap.value)} (95% interval {metric.number(gap.low)} to {metric.number(gap.high)}).",
        *_more(after, evaluation.task, metric),
        f"Latency on the measuring machine: median {milliseconds(time.median_ms)} a run, one thread, {time.runs} runs.",
    ]


def _more(model: ModelScore, task: str, metric: Metric) -> list[str]:
    """The task's other figures, and the score of every class."""
    others = [other for other in task_named(task).scores.others if other.name in model.figures]
    parts = [f"{other.heading}: {other.text(model.figures[other.name])}." for other in others]
    if model.by_class:
        rows = "\n".join(f"| {name} | {metric.text(value)} |" for name, value in model.by_class.items())
        parts.append(f"| class | {metric.title} |\n|---|---:|\n{rows}")
    if model.table is not None:
        parts.append(_per_class([row for row in model.table.per_class if row.images]))
    return parts


def _per_class(rows: Sequence[ClassScore]) -> str:
    head = "| class | images | recall | precision |\n|---|---:|---:|---:|\n"
    return head + "\n".join(f"| {row.name} | {row.images} | {row.recall:.1%} | {row.precision:.1%} |" for row in rows)


def _limits(evaluation: Evaluation | Evaluated | None, sidecar: Sidecar) -> list[str]:
    words, sample = words_of(sidecar), filled("{sample}", sidecar)
    lines = [
        *(f"- {filled(limit, sidecar)}" for limit in words.limits),
        "- Another kernel family than the one measured can give slightly different outputs.",
    ]
    if evaluation is not None:
        table = (evaluation if isinstance(evaluation, Evaluated) else evaluation.models["int8"]).table
        rows = [] if table is None else table.per_class
        if (worst := min((row for row in rows if row.images), key=lambda row: row.recall, default=None)) is not None:
            lines.insert(0, f"- It finds {worst.name} least often: {worst.recall:.1%} of {worst.images} {sample}s.")
        if unseen := sum(not row.images for row in rows):
            lines.append(f"- {unseen} of its classes had no {sample}s, and nothing is known of them.")
        lines.append(f"- The figures hold for {sample}s like those of the test set.")
    return [
        "## Limits",
        "\n".join(lines),
        "## Intended use",
        f"{filled(words.use, sidecar)} like those it was trained on, on edge devices. Not for decisions about people, "
        "nor where a wrong answer does harm, unless it has been evaluated for that.",
    ]
