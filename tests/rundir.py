"""A run directory with figures made up by hand, written through the artefacts that the stages write."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from octavo.analysis.answers import AnswersRecord, OutputAnswer
from octavo.analysis.compare import Compared, Error, TensorError, Unmatched
from octavo.analysis.distributions import Activation, ChannelMax, Distributions, Histogram, Weight
from octavo.analysis.evaluation import (
    ClassScore,
    ClassTable,
    Delivery,
    Disagreement,
    Evaluation,
    McNemar,
    ModelEvaluation,
    PairComparison,
    Shift,
)
from octavo.analysis.tasks.single_label import SingleLabelScores
from octavo.base.artefact import Artefact
from octavo.base.provenance import Host, Provenance, Stage
from octavo.base.stats import Interval, mcnemar, paired_difference, proportion
from octavo.data.summary import DataSummary, SplitSummary
from octavo.deployment.measured import Deployment
from octavo.deployment.targets.target import Answer, Verdict
from octavo.quantization.proof import Check, Port, Proof
from octavo.quantization.ranges import Ends, RangesRecord, TensorRanges
from octavo.recipe.schema import load_recipe
from octavo.runtime.benchmark import Benchmark, Machine, Timing
from octavo.runtime.footprint import Footprint
from octavo.runtime.litert import Kernels, Latency
from octavo.tflite.size import Breakdown, Bytes, FileSizes, Sizes
from octavo.training.history import BaselineRecord, Epoch, KerasBytes, QatRecord, TrainingRecord

CLASSES = ("<script>alert(1)</script>", "naïve | ünïcode 猫 $x^$", "plain")

# A file's name to a function that changes its value, or to None: the run has no such file.
Changes = Callable[[Any], None] | None
MakeRun = Callable[..., Path]


def png(seed: int, side: int = 16) -> str:
    """An image as a data URI."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _latency(median: float, runs: int) -> Latency:
    return Latency(median_ms=median, p90_ms=median * 1.2, min_ms=median * 0.9, runs=runs)


def _model(classes: Sequence[str], each: int, correct: Sequence[int], latency: float) -> ModelEvaluation:
    """A model that takes what it gets wrong for the next class."""
    count = len(classes)
    confusion = np.diag(correct) + np.roll(np.diag([each - hit for hit in correct]), 1, axis=1)
    answers = confusion.sum(axis=0)
    rows = []
    for k, (name, hit) in enumerate(zip(classes, correct, strict=True)):
        recall, precision = hit / each, hit / max(int(answers[k]), 1)
        f1 = 2 * recall * precision / (recall + precision) if hit else 0.0
        rows.append(ClassScore(name=name, images=each, correct=hit, recall=recall, precision=precision, f1=f1))
    return ModelEvaluation(
        file="x.tflite",
        sha256="0" * 64,
        score=proportion(sum(correct), each * count),
        figures={},
        by_class={},
        table=ClassTable(
            top5=proportion(each * count, each * count) if count > 10 else None,
            per_class=rows,
            confusion=confusion.tolist(),
        ),
        latency=_latency(latency, 100),
    )


def evaluation(classes: Sequence[str] = CLASSES, each: int = 20, lost: int = 2, gained: int = 1) -> Evaluation:
    """Float right on nine of ten images of each class; int8 loses some of the first, and gains some of the last."""
    right = [each * 9 // 10] * len(classes)
    other = [right[0] - lost, *right[1:-1], right[-1] + gained]
    images, margin = each * len(classes), 0.02
    difference = paired_difference(lost, gained, images)
    shown = [
        Disagreement(
            id=f"test/<img>/{k}.png",
            label=classes[0],
            before=classes[0],
            after=classes[1],
            before_probability=0.9,
            after_probability=0.6,
            image=png(k),
        )
        for k in range(min(lost + gained, 24))
    ]
    return Evaluation(
        task="single-label",
        metric=SingleLabelScores.metric,
        others=[],
        likeness=SingleLabelScores.likeness,
        images=images,
        classes=list(classes),
        kernels="LiteRT with XNNPACK",
        models={"float": _model(classes, each, right, 2.0), "int8": _model(classes, each, other, 1.0)},
        comparison=Delivery(
            confidence=0.95,
            agreement=1 - (lost + gained) / images,
            difference=difference,
            mcnemar=McNemar(b=lost, c=gained, p=mcnemar(lost, gained)),
            margin=margin,
            non_inferior=difference.low > -margin,
            probability_shift=Shift(mean=0.01, max=0.2),
            disagreements=shown,
        ),
        pairs=[],
    )


def make_evaluation(classes: Sequence[str] = CLASSES, each: int = 20, lost: int = 2, gained: int = 1) -> dict[str, Any]:
    """The same as its file holds it."""
    return evaluation(classes, each, lost, gained).to_json()


def _pair(before: str, after: str, lost: int, gained: int, images: int) -> PairComparison:
    difference = paired_difference(lost, gained, images)
    return PairComparison(
        before=before,
        after=after,
        confidence=0.95,
        agreement=1 - (lost + gained) / images,
        difference=difference,
        mcnemar=McNemar(b=lost, c=gained, p=mcnemar(lost, gained)),
        margin=0.02,
        non_inferior=difference.low > -0.02,
        probability_shift=Shift(mean=0.01, max=0.2),
    )


def trained(value: dict[str, Any]) -> None:
    """Turns an evaluation into that of a run with quantization-aware training."""
    images, classes = value["images"], value["classes"]
    each = images // len(classes)
    worse, better = [each * 8 // 10] * len(classes), [each * 9 // 10 + 1] * len(classes)
    more = {"ptq": _model(classes, each, worse, 1.0), "control": _model(classes, each, better, 2.0)}
    value["models"] |= {name: model.model_dump(mode="json", by_alias=True) for name, model in more.items()}
    pairs = [
        _pair("float", "ptq", 40, 10, images),
        _pair("float", "control", 4, 9, images),
        _pair("ptq", "int8", 5, 44, images),
        _pair("control", "int8", 8, 2, images),
    ]
    value["pairs"] = [pair.model_dump(mode="json") for pair in pairs]


def _activation(place: int, outlier: float) -> Activation:
    top = 6.0 * outlier
    values = {"0": -0.5, "0.001": -0.4, "0.25": 0.0, "0.5": 0.5, "0.75": 2.0, "0.999": 5.6, "1": top}
    name = f"net/block_{place}/relu;net/block_{place}/conv"
    return Activation(name=name, op="CONV_2D", range=(-0.5, top), quantiles=values)


def _weight(place: int, depthwise: bool, spread: float) -> Weight:
    edges = np.linspace(-128, 128, 65)
    middle = (edges[1:] + edges[:-1]) / 2
    counts = np.round(1000 * np.exp(-((middle / (25 + 3 * place)) ** 2))).astype(int)
    return Weight(
        name=f"net/block_{place}/{'depthwise' if depthwise else 'conv'}",
        op="DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
        channels=8,
        channel_max=ChannelMax(min=0.05, median=0.05 * math.sqrt(spread), max=0.05 * spread),
        histogram=Histogram(edges=edges.tolist(), counts=counts.tolist()),
    )


def _error(sqnr: float | None, lsb: float) -> Error:
    return Error(sqnr, cosine=0.99, mean=0.01 * lsb, largest=0.1 * lsb, mean_lsb=lsb, largest_lsb=10 * lsb)


def _tensor(k: int) -> TensorError:
    return TensorError(
        before=f"tensor_{k}",
        after=f"tensor_{k}",
        op="CONV_2D",
        place=k,
        accumulated=_error(None if k == 0 else 30.0 - 3 * k, 0.5 + k),
        added=_error(None if k == 0 else 40.0 - 15.0 * (k == 3), 0.3),
        low=0.0,
        high=0.0,
        codes=0.9,
    )


def _timing(model: str, kernels: Kernels, median: float, memory: int, undelegated: list[str]) -> Timing:
    ratio = 0.5 if model == "int8.tflite" else 1.0
    return Timing(
        model=model,
        kernels=kernels,
        threads=1,
        latency=_latency(median, 1000),
        ratio=Interval(ratio, ratio * 0.98, ratio * 1.02),
        throughput=1500 / median,
        footprint=Footprint(load_ms=2.5 * median, first_ms=3 * median, memory=memory),
        undelegated=undelegated,
    )


def _target(
    name: str, title: str, takes: bool | None, runs: bool | None, cost: bool | None, facts: dict[str, Any] | None = None
) -> Verdict:
    """A target whose words name it; one that can not take the model, or is unknown, has no other answers."""
    return Verdict(
        id=name,
        target=title,
        takes=Answer(takes, f"{title} looked"),
        runs=Answer(runs, f"{title} ran or not") if takes else None,
        costs=Answer(cost, f"{title} costs", facts or {}) if takes else None,
    )


def deployment() -> Deployment:
    """Int8 takes half of float's time on XNNPACK, whose every figure differs from evaluation's."""
    micro = {"activations": 106_496, "runtime_estimate": 68_504, "flash": 1_000_000}
    return Deployment(
        sha256={"float.tflite": "0" * 64, "int8.tflite": "0" * 64},
        benchmark=Benchmark(
            seconds=2.0,
            machine=Machine("a bench cpu", "a64", 2, "Linux", "2.3.0"),
            files={},
            timings=[
                _timing("float.tflite", "xnnpack", 3.0, 8_000_000, []),
                _timing("int8.tflite", "xnnpack", 1.5, 5_500_000, ["SOFTMAX #3"]),
                _timing("float.tflite", "builtin", 8.0, 6_000_000, ["CONV_2D #0"]),
                _timing("int8.tflite", "builtin", 4.0, 4_000_000, ["CONV_2D #0"]),
            ],
            peak_int8_gmacs=None,
            profiles={},
        ),
        not_timed=[],
        images=8,
        # Titles differ from those of today: what is chosen is chosen by its id.
        targets=[
            _target("litert-xnnpack", "LiteRT, the first", True, True, True, vars(_latency(1.5, 20))),
            _target("browser", "Browser, <b>", None, None, None),
            _target("openvino-cpu", "Intel's runtime", True, True, True, vars(_latency(1.25, 20))),
            _target("tflite-micro", "The small one", True, False, False, micro),
            _target("ethos-u55-128", "Arm ethos-u55-128 (Vela)", None, None, None),
            _target("edge-tpu", "Coral", True, False, False, {"constants": 400_000}),
        ],
    )


def _epoch(number: int, loss: float, accuracy: float) -> Epoch:
    return Epoch(
        epoch=number,
        loss=loss,
        accuracy=accuracy,
        val_loss=None,
        val_accuracy=None,
        val_score=None,
        learning_rate=0.1,
        seconds=3.0,
    )


def make_artefacts() -> tuple[Artefact, ...]:
    """Every JSON file of a run, before it is written."""
    digest = "d" * 64
    split = SplitSummary(images=60, per_class=[20, 20, 20], digest=digest)
    stage = Stage(seconds=1.25, key="k", commit="abc1234", inputs={}, outputs={"a.json": "e" * 64})
    return (
        Provenance(
            octavo="0.1.0",
            commit="abc1234",
            created="2030-01-01T00:00:00+00:00",
            recipe="digits",
            title="",
            seed=7,
            command="octavo run digits --set a=`b`|c",
            machine=Host(cpu="a cpu", cores=2, python="3.11.7", platform="Linux-x86_64"),
            versions={"keras": "3.15.1", "numpy": "2.0.0"},
            stages={"train": stage, "evaluate": stage},
        ),
        DataSummary(
            source="hand",
            classes=list(CLASSES),
            train=SplitSummary(images=1200, per_class=[400, 400, 400], digest=digest),
            validation=None,
            test=split,
            calibration=SplitSummary(images=100, per_class=[34, 33, 33], digest=digest),
            warnings=["2 corrupt images were left out: <i>a.png</i>, b_.png"],
            input_shape=[8, 8, 3],
        ),
        BaselineRecord(
            epochs=[_epoch(n, 1 / n, 0.9 + 0.04 * n) for n in (1, 2)],
            seconds=6.0,
            parameters={"total": 10_000, "trainable": 8_000},
            best_epoch=None,
            images_per_second=400.0,
            resumed=0,
            peak_rate=None,
            metric=SingleLabelScores.metric,
            labelled=True,
            bytes=KerasBytes(keras_with_optimizer=5_000_000, keras=2_500_000),
        ),
        RangesRecord(observer="minmax", images=100, tensors={"image": Ends(min=-1.0, max=1.0)}, warnings=[]),
        Proof(
            sha256="f" * 64,
            bytes=1_000_000,
            input=Port(name="image", shape=[1, 32, 32, 3], dtype="int8", scale=0.0078431377, zero_point=-1),
            output=Port(name="Identity", shape=[1, 3], dtype="int8", scale=0.00390625, zero_point=-128),
            checks=[Check("input and output are int8", True, 2), Check("LiteRT allocates and runs it", True, 1)],
            ops={"CONV_2D": 3, "SOFTMAX": 1},
            kept_in_float=[],
            macs=15_000_000,
            parameters=400_000,
            widened=[],
            precision={"first": "int4", "second": "int4", "third": "int8"},
        ),
        Distributions(
            images=8,
            activations=[_activation(k, 4.0 if k == 2 else 1.0) for k in range(6)],
            weights=[_weight(k, k % 2 == 1, 40.0 if k == 3 else 4.0) for k in range(6)],
        ),
        Compared(
            images=16,
            kernels="LiteRT with XNNPACK",
            tensors=[_tensor(k) for k in range(6)],
            unmatched=Unmatched([], []),
        ),
        Sizes(
            files=FileSizes(
                keras_with_optimizer=5_000_000, keras=2_500_000, float_tflite=2_000_000, int8_tflite=1_000_000
            ),
            breakdown=Breakdown(
                float_tflite=Bytes(weights=1_900_000, quantization=0, names=50_000, rest=50_000),
                int8_tflite=Bytes(weights=700_000, quantization=200_000, names=50_000, rest=50_000),
            ),
        ),
        AnswersRecord(
            samples=32,
            hold=True,
            least_sqnr=10.0,
            outputs=[OutputAnswer("Identity", None, 31.25, 0.96875, 1.0, frozen=False)],
            tensor=None,
        ),
        evaluation(),
        deployment(),
        QatRecord(
            epochs=[_epoch(1, 0.5, 0.9), _epoch(2, 0.4, 0.95)],
            seconds=75.0,
            parameters={"total": 10_000, "trainable": 10_000},
            best_epoch=None,
            images_per_second=200.0,
            resumed=0,
            peak_rate=0.0001,
            metric=SingleLabelScores.metric,
            labelled=True,
            ranges=TensorRanges(observer="minmax", images=100, tensors={"image": Ends(min=-1.0, max=1.0)}),
        ),
        TrainingRecord(
            epochs=[_epoch(1, 0.6, 0.91), _epoch(2, 0.3, 0.97)],
            seconds=60.0,
            parameters={"total": 10_000, "trainable": 10_000},
            best_epoch=None,
            images_per_second=300.0,
            resumed=0,
            peak_rate=0.0001,
            metric=SingleLabelScores.metric,
            labelled=True,
        ),
    )


def make_files() -> dict[str, Any]:
    """What every file of a run holds, by its stem."""
    recipe = load_recipe("digits", ["quantize.method=ptq"]).model_dump(mode="json")
    recipe["title"] = "A <b>title</b>"
    return {"recipe": recipe, **{Path(made.file).stem: made.to_json() for made in make_artefacts()}}


def write_run(folder: Path, **changes: Changes) -> Path:
    """Writes a run directory; arguments change or leave out its files."""
    folder.mkdir(exist_ok=True)
    for stem, value in make_files().items():
        path = folder / f"{stem}.{'yaml' if stem == 'recipe' else 'json'}"
        change = changes.get(stem, lambda same: None)
        if change is None:
            path.unlink(missing_ok=True)
            continue
        change(value)
        path.write_text(yaml.safe_dump(value) if stem == "recipe" else json.dumps(value), "utf-8")
    return folder
