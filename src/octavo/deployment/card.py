"""The model card: what the model is, its measured accuracy, and what is unknown.

After Mitchell et al. 2019, "Model Cards for Model Reporting". The card states only what Octavo has measured, and marks
everything else as unknown.
"""

from __future__ import annotations

from collections.abc import Sequence

from octavo.analysis.evaluation import ClassScore, Evaluation
from octavo.base.stats import Interval
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
            "Written by Octavo; the figures are of the machine that measured them.\n",
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
        return ["## Trained on", "Unknown to Octavo: the model came as a file. Ask whoever trained it."]
    train = data.train
    return [
        "## Trained on",
        f"{train.images:,} images of {len(data.classes)} classes (digest `{train.digest[:16]}`). Weights it "
        "started from may have seen others.",
    ]


def _measured(evaluation: Evaluation | Evaluated | None) -> list[str]:
    if evaluation is None:
        return ["## Accuracy", "Not measured: run `octavo evaluate` on labelled images that it was not trained on."]
    if isinstance(evaluation, Evaluated):
        return [
            "## Accuracy",
            f"{_share(evaluation.accuracy)} on {evaluation.images:,} labelled images of `{evaluation.data}`, "
            f"{evaluation.kernels}. Whether the model was trained on some of them is unknown to Octavo.",
            _per_class([row for row in evaluation.per_class if row.images]),
        ]
    before, after, time = evaluation.models["float"], evaluation.models["int8"], evaluation.models["int8"].latency
    return [
        "## Accuracy",
        f"{_share(after.accuracy)} on {evaluation.images:,} held-out images, {evaluation.kernels}. The float model it "
        f"was made from: {_share(before.accuracy)}; int8 minus float on the same images: "
        f"{_points(evaluation.comparison.difference)}.",
        _per_class(after.per_class),
        f"Latency where it was measured: median {time.median_ms:.2f} ms an image, one thread, {time.runs} runs.",
    ]


def _per_class(rows: Sequence[ClassScore]) -> str:
    head = "| class | images | recall | precision |\n|---|---:|---:|---:|\n"
    return head + "\n".join(f"| {row.name} | {row.images} | {row.recall:.1%} | {row.precision:.1%} |" for row in rows)


def _limits(evaluation: Evaluation | Evaluated | None, classes: Sequence[str]) -> list[str]:
    lines = [
        f"- It always names one of its {len(classes)} classes, also for a picture of something else.",
        "- Its probabilities were not calibrated: 90% does not mean right nine times in ten.",
        "- Another kernel family than the one measured can give slightly different outputs.",
    ]
    if evaluation is not None:
        rows = evaluation.per_class if isinstance(evaluation, Evaluated) else evaluation.models["int8"].per_class
        worst = min((row for row in rows if row.images), key=lambda row: row.recall)
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


def _share(interval: Interval) -> str:
    return f"{interval.value:.2%} (95% interval {interval.low:.2%} to {interval.high:.2%})"


def _points(interval: Interval) -> str:
    value, low, high = (100 * share for share in (interval.value, interval.low, interval.high))
    return f"{value:+.2f} points (95% interval {low:+.2f} to {high:+.2f})"
