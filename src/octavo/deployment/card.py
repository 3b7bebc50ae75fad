"""The model card: what the model is, its measured accuracy, and what is unknown.

After Mitchell et al. 2019, "Model Cards for Model Reporting". The card states only what Octavo has measured, and marks
everything else as unknown.
"""

from __future__ import annotations

from collections.abc import Sequence

from octavo.analysis.evaluation import ClassScore, Evaluation, ModelScore
from octavo.base.units import milliseconds
from octavo.data.preprocess import Preprocess
from octavo.data.summary import DataSummary
from octavo.deployment.evaluated import Evaluated
from octavo.tflite.graph import Graph
from octavo.tflite.op_table import macs


def model_card(
    graph: Graph,
    preprocess: Preprocess,
    classes: Sequence[str],
    digest: str,
    bare: str,
    evaluation: Evaluation | Evaluated | None,
    data: DataSummary | None,
) -> str:
    """The card as Markdown.

    Args:
        graph: The int8 model, with its metadata.
        preprocess: The preprocessing of images.
        classes: The class names.
        digest: Its SHA-256.
        bare: The SHA-256 of the model without its metadata.
        evaluation: A run's ``evaluation.json``, or what was measured of a model that came as a file.
        data: A run's ``data.json``, likewise.
    """
    return "\n\n".join(
        [
            f"# Image classifier of {len(classes)} classes",
            *_what(graph, preprocess, classes, digest, bare),
            *_trained(data),
            *_measured(evaluation),
            *_limits(evaluation, classes),
            "Written by Octavo. The figures were measured on one machine.\n",
        ]
    )


def _what(graph: Graph, preprocess: Preprocess, classes: Sequence[str], digest: str, bare: str) -> list[str]:
    ports = [graph.tensors[index] for index in (graph.inputs[0], graph.outputs[0])]
    rows = [
        f"- `model.tflite`: {len(graph.content):,} bytes, {macs(graph):,} multiply-accumulates an image, for LiteRT",
        f"- SHA-256 `{digest}`; without its metadata, as `model_data.cc` has it, `{bare}`",
        f"- input {ports[0].dtype} {list(ports[0].shape)}, output {ports[1].dtype} {list(ports[1].shape)}",
        f"- images: {preprocess.describe()}; the proportions of an image are not kept",
        f"- {len(classes)} classes: {', '.join(classes)}",
    ]
    return ["## What it is", "\n".join(rows)]


def _trained(data: DataSummary | None) -> list[str]:
    if data is None:
        return ["## Trained on", "Not known to Octavo: the model was given as a file. Ask whoever trained it."]
    train = data.train
    return [
        "## Trained on",
        f"{train.images:,} images of {len(data.classes)} classes (digest `{train.digest[:16]}`). The initial "
        "weights may have been trained on others.",
    ]


def _measured(evaluation: Evaluation | Evaluated | None) -> list[str]:
    if evaluation is None:
        return ["## Accuracy", "Not measured: run `octavo evaluate` on labelled images that were not used to train it."]
    metric = evaluation.metric
    title = f"## {metric.heading}"
    if isinstance(evaluation, Evaluated):
        if evaluation.score is None:
            return [title, "Not measured: the samples have no labels."]
        return [
            title,
            f"{metric.between(evaluation.score)} on {evaluation.images:,} labelled images of `{evaluation.data}`, "
            f"{evaluation.kernels}. Whether the model was trained on some of them is unknown to Octavo.",
            *_by_class(evaluation),
        ]
    before, after = (evaluation.models[name] for name in ("float", "int8"))
    gap, time = evaluation.comparison.difference, after.latency
    if before.score is None or after.score is None or gap is None:
        return [title, "Not measured: the run's samples have no labels."]
    return [
        title,
        f"{metric.between(after.score)} on {evaluation.images:,} held-out images, {evaluation.kernels}. The float "
        f"model it was made from: {metric.between(before.score)}; int8 minus float on the same images: "
        f"{metric.change(gap.value)} (95% interval {metric.number(gap.low)} to {metric.number(gap.high)}).",
        *_by_class(after),
        f"Latency on the measuring machine: median {milliseconds(time.median_ms)} an image, one thread, {time.runs} "
        "runs.",
    ]


def _by_class(model: ModelScore) -> list[str]:
    return [] if model.table is None else [_per_class([row for row in model.table.per_class if row.images])]


def _per_class(rows: Sequence[ClassScore]) -> str:
    head = "| class | images | recall | precision |\n|---|---:|---:|---:|\n"
    return head + "\n".join(f"| {row.name} | {row.images} | {row.recall:.1%} | {row.precision:.1%} |" for row in rows)


def _limits(evaluation: Evaluation | Evaluated | None, classes: Sequence[str]) -> list[str]:
    lines = [
        f"- It always gives one of its {len(classes)} classes, also for an image of something else.",
        "- Its probabilities were not calibrated: 90% does not mean right nine times in ten.",
        "- Another kernel family than the one measured can give slightly different outputs.",
    ]
    if evaluation is not None:
        table = (evaluation if isinstance(evaluation, Evaluated) else evaluation.models["int8"]).table
        rows = [] if table is None else table.per_class
        if (worst := min((row for row in rows if row.images), key=lambda row: row.recall, default=None)) is not None:
            lines.insert(0, f"- It finds {worst.name} least often: {worst.recall:.1%} of {worst.images} images.")
        if unseen := sum(not row.images for row in rows):
            lines.append(f"- {unseen} of its classes had no images, and nothing is known of them.")
        lines.append("- The figures hold for images like those of the test set.")
    return [
        "## Limits",
        "\n".join(lines),
        "## Intended use",
        "Classifying images like those it was trained on, on edge devices. Not for decisions about people, nor where "
        "a wrong answer does harm, unless it has been evaluated for that.",
    ]
