"""The report's tables: HTML and Markdown show the same rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from octavo.analysis.answers import LEAST_SQNR
from octavo.base.formats import DEFAULT, FORMATS
from octavo.base.units import milliseconds
from octavo.data.preprocess import Preprocess
from octavo.deployment.targets.survey import MEASURED, YES_OR_NO
from octavo.deployment.targets.target import Answer
from octavo.quantization.proof import Port
from octavo.recipe.choices import OBSERVERS, PASSES, TASKS, titled
from octavo.recipe.schema import APPLICATIONS, LITE, MOBILENET, ModelRecipe, Recipe
from octavo.reports.facts import Facts, score_of
from octavo.reports.wording import (
    Figures,
    count,
    decibels,
    interval,
    number,
    percent,
    points,
    ratio,
    size,
    tensor,
    times,
)
from octavo.runtime.benchmark import Timing

BACKBONES = {MOBILENET: "MobileNetV2", **{f"{LITE}{number}": f"EfficientNet-Lite{number}" for number in range(5)}}


# What fits side by side on a phone: so many columns, and in a column of text so many letters.
MOST_COLUMNS, MOST_LETTERS = 5, 16


class Code(str):
    """Text that the report sets as code: a hash, a command."""


@dataclass(frozen=True)
class Table:
    """Rows of text; the first cell of a row names it.

    Args:
        rows: The cells.
        head: Column titles; none for a list of properties.
        caption: What it shows.
        numbers: Whether all columns except the first hold numbers.
    """

    rows: list[list[str]]
    head: tuple[str, ...] = ()
    caption: str = ""
    numbers: bool = False

    @property
    def kind(self) -> str:
        """How a page lays it out: ``numbers``, text in ``columns``, or a list of ``properties``."""
        return "numbers" if self.numbers else "columns" if self.head else "properties"

    @property
    def narrow(self) -> str:
        """How a page lays it out on a phone: ``wide`` scrolls, ``fold`` has each row as a block; else it fits."""
        if len(self.head) > MOST_COLUMNS:
            return "wide"
        long = any(len(cell) > MOST_LETTERS for row in self.rows for cell in row[1:])
        return "fold" if self.kind == "columns" and long else ""


def tables(facts: Facts) -> dict[str, Table]:
    """All tables of the report that have rows, by name."""
    made = {
        "results": _results(facts),
        "side_by_side": _side_by_side(facts),
        "architecture": _architecture(facts),
        "method": _method(facts),
        "tuning": _tuning(facts),
        "left": _left(facts),
        "sizes": _sizes(facts),
        "classes": _classes(facts),
        "disagreements": _disagreements(facts),
        "checks": _checks(facts),
        "answers": _answers(facts),
        "implementation": _implementation(facts),
        "benchmark": _benchmark(facts),
        "targets": _targets(facts),
        "provenance": _provenance(facts),
        "stages": _stages(facts),
    }
    return {name: table for name, table in made.items() if table.rows}


def _results(facts: Facts) -> Table:
    compared, files, likeness = facts.compared, facts.size.files, facts.evaluation.likeness
    rows = [*_scores(facts)]
    rows += [
        ["Model size", size(files.float_tflite), size(files.int8_tflite), f"{times(facts.ratio)} smaller"],
        ["Format", ".tflite, float32", f".tflite, int8{' with float parts' if facts.proof.kept_in_float else ''}", ""],
        [
            "Latency of one sample, median",
            *(milliseconds(latency.median_ms) for latency in facts.latencies),
            f"{times(facts.speedup)} faster" if facts.speedup >= 1 else f"{times(1 / facts.speedup)} slower",
        ],
        ["Agreement", "", "", f"{Figures(likeness).value(compared.agreement)}, {likeness.title}"]
        if not likeness.percent
        else ["Agreement", "", "", f"{percent(compared.agreement)} {likeness.title}"],
    ]
    return Table(
        rows,
        ("", "Baseline (float32)", "Quantized (INT8)", "Change"),
        f"Both models on the same {count(facts.evaluation.images, 'held-out sample')}, {facts.evaluation.kernels}; "
        "latency on one thread.",
    )


def _scores(facts: Facts) -> Iterator[list[str]]:
    """The scores of both models: a row for each figure."""
    if not facts.known:
        return
    words, (before, after) = facts.words, facts.scores
    title = words.metric.heading
    yield [
        f"{title} ({facts.compared.confidence:.0%} interval)",
        f"{words.value(before.value)} ({words.interval(before)})",
        f"{words.value(after.value)} ({words.interval(after)})",
        f"{words.change(facts.gap.value)} ({words.span(facts.gap)})",
    ]
    if facts.by_class is not None and (one := facts.by_class[0].top5) and (two := facts.by_class[1].top5):
        yield [
            "Top-5 accuracy",
            f"{percent(one.value)} ({interval(one)})",
            f"{percent(two.value)} ({interval(two)})",
            f"{points(two.value - one.value)} points",
        ]
    for metric in facts.evaluation.others:
        figures, shown = [model.figures[metric.name] for model in (facts.before, facts.after)], Figures(metric)
        title = metric.heading
        yield [title, *(shown.value(figure) for figure in figures), shown.change(figures[1] - figures[0])]


def _side_by_side(facts: Facts) -> Table:
    """Int8 after QAT, with float, the control and post-training quantization."""
    if facts.trained is None or not facts.known:
        return Table([])
    words = facts.words
    in_points = " in points" if words.metric.percent else ""
    models, shown = facts.evaluation.models, facts.evaluation

    def against(before: str, after: str) -> str:
        gap = facts.compared.difference if (before, after) == ("float", "int8") else None
        pair = shown.pair(before, after)
        found = gap or (pair.difference if pair else None)
        return f"{words.bare(found.value)} ({words.span(found)})" if found else ""

    named = [
        ("float", "float", models["float"]),
        ("control", "float, control", models.get("control")),
        ("ptq", "int8, post-training", models.get("ptq")),
        ("int8", "int8, trained", models["int8"]),
    ]
    return Table(
        [
            [
                title,
                f"{words.value(score_of(model).value)} ({words.interval(score_of(model))})",
                against("float", name),
                against("control", name),
                against("ptq", name),
            ]
            for name, title, model in named
            if model is not None
        ],
        (
            "",
            words.metric.heading,
            "Minus float",
            "Minus control",
            "Minus post-training",
        ),
        f"All on the same {count(shown.images, 'held-out sample')}; differences{in_points} with paired "
        f"{facts.compared.confidence:.0%} intervals. The control is the float model, trained for the same epochs on "
        f"the same {facts.sample}s in the same order: it shows the effect of longer training alone.",
        numbers=True,
    )


def _architecture(facts: Facts) -> Table:
    data, classes = facts.data, facts.evaluation.classes
    more = f" and {len(classes) - 20} more" if len(classes) > 20 else ""
    samples = [f"{data.train.images:,} training", f"{data.test.images:,} test"]
    if data.validation is not None:
        samples.insert(1, f"{data.validation.images:,} validation")
    return Table(
        [
            ["Base model", _base_model(facts)],
            *(["Note on the model", text] for text in (facts.model.notes if facts.model else [])),
            ["Task", titled(TASKS, facts.evaluation.task)],
            ["Input shape", " × ".join(str(side) for side in facts.proof.input.shape)],
            *([["Classes", f"{len(classes)}: {', '.join(classes[:20])}{more}"]] if classes else []),
            ["Samples", ", ".join(samples)],
            ["Source", f"{data.source}; samples{_by(data.input_shape)}"],
            ["Preprocessing", preprocessing(facts)],
            ["Parameters", f"{facts.proof.parameters:,}"],
            ["Multiply-accumulates", f"{facts.proof.macs:,} per sample"],
        ]
    )


def _base_model(facts: Facts) -> str:
    """The network that the run trained, or the model that it started from."""
    model, own = facts.recipe.model, facts.model
    if own is not None:
        return f"{own.name} ({size(own.bytes)}), trained before this run"
    if facts.history is None:
        return "the model file that the run started from"
    made = backbone(model)
    if model.architecture == MOBILENET:
        made += f", width {model.alpha:g}, output stride {model.output_stride}"
    return made if model.parameters is None else f"{made}, pruned to at most {model.parameters:,} parameters"


def backbone(model: ModelRecipe) -> str:
    """The name of the network that a run trains."""
    return BACKBONES.get(model.architecture, model.architecture.removeprefix(APPLICATIONS))


def _by(shape: list[int]) -> str:
    """The shape of one sample; empty for samples of several arrays."""
    return f" of {' × '.join(str(side) for side in shape)}" if shape else ""


def preprocessing(facts: Facts) -> str:
    """The preprocessing, in words."""
    chosen = facts.preprocess
    if chosen is None:
        return "none: the samples are the model's inputs"
    if not isinstance(chosen, Preprocess):
        return "; ".join(f"'{name}': {_image(one)}" for name, one in chosen.items())
    return _image(chosen)


def _image(chosen: Preprocess) -> str:
    """How an image becomes an input, in words.

    Example:
        >>> _image(Preprocess((8, 8)))
        'bicubic resize to 8 × 8, pixels scaled to [−1, 1], rgb order'
    """
    (height, width), (low, high) = chosen.size, (number(value) for value in chosen.scale)
    return (
        f"{chosen.interpolation} resize to {height} × {width}, pixels scaled to [{low}, {high}], "
        f"{chosen.channels} order"
    )


def _method(facts: Facts) -> Table:
    proof, ranges = facts.proof, facts.ranges
    kinds = ", ".join(f"{many} {kind}" for kind, many in proof.ops.items())
    if ranges is None:
        made = [["Type", f"{Path(str(facts.recipe.quantize.path)).name}, made before this run; how is not known"]]
        return Table([*made, ["Ops", kinds], ["Input", _port(proof.input)], ["Output", _port(proof.output)]])
    observer = titled(OBSERVERS, ranges.observer if facts.choice is None else facts.choice.chosen)
    type_ = "quantization-aware training" if facts.trained else "post-training"
    whole = "integer with float parts" if proof.kept_in_float else "full integer"
    return Table(
        [
            [
                "Type",
                f"{type_}, {whole}: int8 weights per channel, int8 activations per tensor, int32 biases",
            ],
            [
                "Calibration samples",
                f"{ranges.images:,} training {facts.sample}s, {observer}, {count(len(ranges.tensors), 'tensor')}",
            ],
            *(["Calibration warning", text] for text in ranges.warnings),
            *_training(facts),
            *_precision(facts),
            ["Target ops", f"TFLITE_BUILTINS_INT8: {kinds}"],
            ["Input", _port(proof.input)],
            ["Output", _port(proof.output)],
        ]
    )


def _tuning(facts: Facts) -> Table:
    """The tuning passes: what each changed, and what it could not change."""
    steps = facts.tuning.steps if facts.tuning and facts.ranges else []
    images = facts.ranges.images if facts.ranges else 0
    return Table(
        [[titled(PASSES, s.name), s.summary, "; ".join(s.unchanged) or "none", f"{s.seconds:.1f} s"] for s in steps],
        ("Tuning pass", "What it changed", "Not changed", "Time"),
        f"Tuning passes applied before post-training quantization, in this order, on the {images:,} "
        f"calibration {facts.sample}s. None uses labels.",
    )


def _training(facts: Facts) -> list[list[str]]:
    """How the int8 model was trained (QAT)."""
    if facts.trained is None:
        return []
    recipe, history = facts.recipe.qat, facts.trained
    rate = recipe.learning_rate or history.peak_rate
    said = [
        f"{count(len(history.epochs), 'epoch')} in {history.seconds:,.0f} s",
        f"batches of {recipe.batch}",
        f"Adam, peak rate {rate:g}{' (found by trial)' if recipe.learning_rate is None else ''}, cosine decay",
        f"ranges trained, and frozen for the last {recipe.freeze_ranges:.0%} of the steps"
        if recipe.range_rate
        else "ranges as calibrated",
    ]
    if recipe.weight_averaging:
        said.append(f"weights averaged ({recipe.weight_averaging:g})")
    if not history.labelled:
        said.append("without labels: the loss is the distance to the float model's outputs")
    elif recipe.distill:
        said.append(f"{recipe.distill:.0%} of the loss is the distance to the float model's outputs")
    return [["Training", ", ".join(said)]]


def _precision(facts: Facts) -> list[list[str]]:
    """How many ops have another precision than int8, as the recipe asks."""
    given = Counter(facts.proof.precision.values())
    said = [
        f"{count(given[name], 'op')}: {found.meaning}"
        for name, found in FORMATS.items()
        if name != DEFAULT and given[name]
    ]
    return [["Other precisions", "; ".join(said)]] if said else []


def _port(port: Port) -> str:
    if port.scale is None:
        return f"{port.dtype}, not quantized"
    return f"{port.dtype}, scale {port.scale:.8g}, zero point {number(port.zero_point or 0)}"


def _left(facts: Facts) -> Table:
    return Table(
        [[item.op, tensor(item.tensor), item.reason] for item in facts.proof.kept_in_float],
        ("Op", "Tensor", "Why"),
        "Ops that stay in float, and why.",
    )


def _sizes(facts: Facts) -> Table:
    files, held = facts.size.files, facts.size.breakdown
    blank = ["", "", "", ""]
    rows = []
    if facts.model is not None:
        rows.append([facts.model.name, size(facts.model.bytes), *blank])
    if files.keras_with_optimizer:
        rows.append([".keras with optimizer state", size(files.keras_with_optimizer), *blank])
    if files.keras:
        rows.append([".keras without", size(files.keras), *blank])
    for label, total, parts in (
        ("float .tflite", files.float_tflite, held.float_tflite),
        ("int8 .tflite", files.int8_tflite, held.int8_tflite),
    ):
        rows.append([label, *(size(v) for v in (total, parts.weights, parts.quantization, parts.names, parts.rest))])
    own = facts.model.bytes if facts.model else None
    sizes = (own, files.keras_with_optimizer, files.keras, files.float_tflite, files.int8_tflite)
    for row, total in zip(rows, [total for total in sizes if total], strict=True):
        row.append(times(total / files.int8_tflite))
    head = ("File", "Size", "Weights", "Scales, zero points", "Names", "Rest", "Times int8")
    return Table(rows, head, "Every file of the model, and the parts of the .tflite files.", numbers=True)


def _classes(facts: Facts) -> Table:
    if facts.by_class is None:
        return _figure_by_class(facts)
    rows = [
        [
            a.name,
            f"{a.images:,}",
            percent(a.recall),
            percent(b.recall),
            points(b.recall - a.recall),
            percent(a.precision),
            percent(b.precision),
            f"{a.f1:.3f}",
            f"{b.f1:.3f}",
        ]
        for a, b in zip(*(table.per_class for table in facts.by_class), strict=True)
    ]
    pairs = ("Recall float", "int8", "Change", "Precision float", "int8", "F1 float", "int8")
    return Table(
        rows,
        ("Class", "Samples", *pairs),
        "Recall: the share of the class's samples that the model recognizes. Precision: the share of the model's "
        "answers for this class that are right.",
        numbers=True,
    )


def _figure_by_class(facts: Facts) -> Table:
    """The deciding figure of each class, for tasks that have it."""
    words, before, after = facts.words, facts.before.by_class, facts.after.by_class
    rows = [
        [
            name,
            *("" if name not in found else words.value(found[name]) for found in (before, after)),
            words.change(after[name] - before[name]) if name in before and name in after else "",
        ]
        for name in dict.fromkeys([*before, *after])
    ]
    return Table(rows, ("Class", "Float", "Int8", "Change"), f"The {words.metric.title} of each class.", numbers=True)


def _disagreements(facts: Facts) -> Table:
    return Table(
        [
            [
                row.id,
                row.label,
                _answer(row.before, row.before_probability),
                _answer(row.after, row.after_probability),
            ]
            for row in facts.compared.disagreements
        ],
        ("Sample", "Truth", "Float", "Int8"),
    )


def _answer(answer: str, probability: float | None) -> str:
    return answer if probability is None else f"{answer} ({probability:.0%})"


def _answers(facts: Facts) -> Table:
    """Every output of the int8 model against the float model's, on calibration images."""
    found = facts.answered
    if found is None:
        return Table([])
    rows = [
        [
            f"{tensor(item.output)}{'' if item.part is None else f', {item.part}'}",
            "equal" if item.sqnr is None and item.agreement is None else decibels(item.sqnr),
            "" if item.agreement is None else percent(item.agreement),
            "yes" if item.holds else "no: int8 gives one value for all" if item.frozen else "no",
        ]
        for item in found.outputs
    ]
    return Table(
        rows,
        ("Output", "SQNR", "Same class or number", "As float"),
        f"Outputs of int8 and float on {count(found.samples, f'calibration {facts.sample}')}: the check that "
        f"the numbers in the file are right for this network. Below {decibels(LEAST_SQNR)} an output counts as wrong.",
    )


def _checks(facts: Facts) -> Table:
    return Table(
        [
            [
                check.name,
                f"{check.count:,}",
                ("passed" if check.count else "nothing to check") if check.passed else f"FAILED: {check.detail}",
            ]
            for check in facts.proof.checks
        ],
        ("Check", "Items checked", "Result"),
    )


def _implementation(facts: Facts) -> Table:
    versions = ", ".join(f"{name} {version}" for name, version in facts.manifest.versions.items())
    channels = sum(item.channels for item in facts.proof.widened)
    rows = [["Framework and version", f"Octavo {facts.manifest.octavo}, {versions}"]]
    if facts.history is not None and facts.history.epochs:
        train = facts.recipe.train
        rate = {"adam": "Adam", "sgd": "SGD with Nesterov momentum"}[train.optimizer]
        trainable = facts.history.parameters.get("trainable")
        rows += [
            [
                "Training",
                f"{count(len(facts.history.epochs), 'epoch')} in {facts.history.seconds:,.0f} s, batches of "
                f"{train.batch}; {rate} at {train.learning_rate:g}, {train.warmup:.0%} warm-up, {train.schedule} "
                "schedule"
                + (f"; {trainable:,} of {facts.history.parameters['total']:,} parameters train" if trainable else ""),
            ],
            ["Approach", _approach(facts.recipe)],
        ]
    elif facts.model is not None:
        rows.append(["Training", "none of the float model: it was trained before this run"])
    else:
        rows.append(["Training", "none: the run started from a model file, so it has no history.json"])
    if facts.ranges is None:
        return Table([*rows, ["Calibration", "none: the int8 model was made before this run"]])
    rows += [
        [
            "Calibration",
            f"{facts.ranges.images:,} training {facts.sample}s, in one pass. Their order has no effect, and no test "
            f"{facts.sample} is used",
        ],
        [
            "Optimization",
            "batch norms folded and activations fused in the float graph, one weight scale per output channel, "
            f"the weight scale of {count(channels, 'channel')} enlarged to prevent bias overflow",
        ],
    ]
    return Table(rows)


def _approach(recipe: Recipe) -> str:
    """The choices of this training, in words."""
    train = recipe.train
    start = {None: "from scratch", "imagenet": "from ImageNet weights"}.get(recipe.model.weights, "from given weights")
    which = {None: "all layers", "head": "the classifier only"}.get(
        train.unfreeze_from, f"the layers from {train.unfreeze_from} on"
    )
    momentum = f" with momentum {train.batch_norm_momentum:g}" if train.batch_norm_momentum else ""
    said = [
        f"{which} trained {start}",
        f"batch norms {'frozen' if train.batch_norm == 'frozen' else f'updated{momentum}'}",
    ]
    if train.gradual_unfreezing:
        said.append(f"only the classifier for {count(train.gradual_unfreezing, 'epoch')}")
    if train.backbone_rate != 1:
        said.append(f"learning rate of the backbone times {train.backbone_rate:g}")
    if train.layer_decay != 1:
        said.append(f"learning rate times {train.layer_decay:g} for each earlier block")
    if train.adapt_batch_norm:
        said.append("batch norms re-estimated before training")
    if train.reestimate_batch_norm:
        said.append("batch norms re-estimated after training")
    if train.weight_decay:
        said.append(f"weight decay {train.weight_decay:g}")
    if train.label_smoothing:
        said.append(f"label smoothing {train.label_smoothing:g}")
    if train.weight_averaging:
        said.append(f"weights averaged, decay {train.weight_averaging:g}")
    if train.early_stopping:
        said.append(f"early stopping after {count(train.early_stopping, 'epoch')}")
    changed = train.augment.model_dump(exclude_defaults=True)
    named = ", ".join(key if value is True else f"{key.replace('_', ' ')} {value:g}" for key, value in changed.items())
    said.append(f"augmentation: {named or 'none'}")
    return "; ".join(said)


def _benchmark(facts: Facts) -> Table:
    """Float and int8 side by side, for each kernel family."""
    found = facts.deployed
    if found is None or found.benchmark is None:
        return Table([])
    rows: list[list[str]] = []
    for family, pair in found.pairs.items():
        rows += _family({"builtin": "Built-in", "reference": "Reference"}.get(family, "XNNPACK"), pair)
    files, machine = facts.size.files, found.benchmark.machine
    rows.append(
        ["File", size(files.float_tflite), size(files.int8_tflite), f"{files.int8_tflite / files.float_tflite:.3f}"]
    )
    if facts.timed:
        total = f"of {sum(facts.proof.ops.values())}"
        rows.append(
            [
                "Ops that XNNPACK does not take",
                f"{len(facts.timed[0].undelegated)}",
                f"{len(facts.timed[1].undelegated)} {total}",
                "",
            ]
        )
    return Table(
        rows,
        ("", "Float", "Int8", "Int8 over float"),
        "Batch 1 on one thread, run in turns: float, int8, float, int8. The ratio of times is the median over pairs "
        "of runs, with its 95% interval. Memory is the peak resident memory of a fresh process, beyond that of "
        f"LiteRT itself. {machine.cpu}, {machine.architecture}, {machine.cores} cores, LiteRT {machine.litert}.",
        numbers=True,
    )


def _family(name: str, pair: tuple[Timing, Timing]) -> list[list[str]]:
    """A kernel family's rows: latency, throughput, time to load and memory."""
    before, after = pair
    rows = [
        [f"{name}: latency, median", *(milliseconds(item.latency.median_ms) for item in pair), ratio(after.ratio)],
        [f"{name}: latency, 90th percentile", *(milliseconds(item.latency.p90_ms) for item in pair), ""],
        [f"{name}: latency, minimum", *(milliseconds(item.latency.min_ms) for item in pair), ""],
    ]
    if before.throughput and after.throughput:
        many = [f"{rate:,.0f}" for rate in (before.throughput, after.throughput)]
        rows.append([f"{name}: inferences per second, all cores", *many, f"{after.throughput / before.throughput:.3f}"])
    loads = [item.footprint.load_ms for item in pair]
    rows.append([f"{name}: time to load", *map(milliseconds, loads), f"{loads[1] / loads[0]:.3f}"])
    memory = [item.footprint.memory for item in pair]
    if memory[0] and memory[1]:
        rows.append([f"{name}: memory", size(memory[0]), size(memory[1]), f"{memory[1] / memory[0]:.3f}"])
    return rows


def _targets(facts: Facts) -> Table:
    """Every target's answers; a dash if a question does not apply."""
    found = facts.deployed

    def said(answer: Answer | None, words: dict[bool | None, str]) -> str:
        return f"{words[answer.answer]}: {answer.about}" if answer else "–"

    return Table(
        [
            [item.target, said(item.takes, YES_OR_NO), said(item.runs, YES_OR_NO), said(item.costs, MEASURED)]
            for item in (found.targets if found else None) or []
        ],
        ("Target", "Can it take the model?", "Did it run here?", "What does it cost?"),
        f"The int8 model on each target, checked with {count(found.images if found else 0, facts.sample)} of "
        "the validation split (of the training split if there is none).",
    )


def _provenance(facts: Facts) -> Table:
    manifest = facts.manifest
    machine = manifest.machine
    return Table(
        [
            ["Command", Code(manifest.command) if manifest.command else "from Python"],
            ["Seed", str(manifest.seed)],
            [
                "Octavo",
                f"{manifest.octavo}, {f'commit {manifest.commit}' if manifest.commit else 'no commit: installed'}",
            ],
            ["Machine", f"{machine.cpu}, {machine.cores} cores, Python {machine.python}, {machine.platform}"],
            *([[facts.model.name, Code(facts.model.sha256)]] if facts.model else []),
            ["float.tflite", Code(facts.before.sha256)],
            ["int8.tflite", Code(facts.after.sha256)],
            [f"Test {facts.sample}s", Code(facts.data.test.digest)],
            *(
                [[f"Calibration {facts.sample}s", Code(facts.data.calibration.digest)]]
                if facts.data.calibration
                else []
            ),
        ]
    )


def _stages(facts: Facts) -> Table:
    rows = []
    for name, stage in facts.manifest.stages.items():
        made = ", ".join(f"{file} {digest[:12]}" for file, digest in stage.outputs.items())
        rows.append([name, f"{stage.seconds:,.1f} s", stage.commit or "", Code(made)])
    return Table(
        rows,
        ("Stage", "Time", "Commit", "Files and the start of their SHA-256"),
        "The time of each stage, and the files that it wrote.",
    )
