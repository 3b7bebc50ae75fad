"""Target search: the cheapest method that gives an int8 model that is accurate, small or fast enough.

Methods are tried from the cheapest to the most expensive, on the same validation images, until one meets the target:

1. min-max ranges, nothing else;
2. tuning passes that need no labels, alone and together, and other observers;
3. learned rounding, which takes minutes while the others take seconds;
4. the fewest ops in float, the costliest first by their sensitivity;
5. training for int8, if the caller gives a function for it.

If a file is too large, data that no kernel reads is removed. Then as few ops as possible get int4 weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy.typing as npt
from pydantic import Field

from octavo.analysis.evaluate import evaluate, samples_needed
from octavo.analysis.sensitivity import OpSensitivity, sensitivity
from octavo.analysis.tasks.choose import task_for
from octavo.analysis.tasks.task import Scores, Task
from octavo.base import notebook
from octavo.base.artefact import Artefact, Part
from octavo.base.errors import DataError, OctavoError
from octavo.base.formats import DEFAULT, FORMATS
from octavo.base.metric import Metric
from octavo.base.progress import Progress
from octavo.base.stats import Interval
from octavo.base.units import milliseconds
from octavo.data.dataset import ImageSet
from octavo.data.encoded_inputs import Feed
from octavo.data.preprocess import Preprocessing
from octavo.quantization.calibrate import calibrate
from octavo.quantization.precision import Precision, name_of, possible
from octavo.quantization.proof import prove
from octavo.quantization.quantize import Quantized, quantize
from octavo.quantization.table import build
from octavo.rewrite.strip import strip
from octavo.runtime.litert import inputs_of, latency
from octavo.source.tried import try_made
from octavo.tflite.graph import Graph
from octavo.tflite.op_table import row
from octavo.tuning.tune import Tuning, tune

Array = npt.NDArray[Any]

# Observer and tuning passes, from the cheapest to the most expensive.
WAYS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("minmax", ()),
    ("minmax", ("bias",)),
    ("mse", ("bias",)),
    ("minmax", ("equalize", "bias")),
    ("minmax", ("compensate",)),
    ("minmax", ("equalize", "compensate")),
)
# Takes minutes, while the others take seconds.
_LEARNED = ("minmax", ("equalize", "adaround"))
# The precision with the fewest bits per weight.
_NARROW = min(FORMATS, key=lambda name: FORMATS[name].weights)
# The most images and seconds for ranking the ops.
_RANKED_ON = 16
_BUDGET = 120.0
# With a larger share of the ops in float it is no int8 model any more, and the search reports that it found none.
_MOST_FLOAT = 0.25


@dataclass(frozen=True)
class Goal:
    """The target that the model must meet; None means no limit.

    Args:
        drop: The largest loss of the score on the validation images: in points of accuracy, or in the unit of the
            task's score.
        size: The largest file, in bytes.
        latency: The longest median time of one image on one thread of this machine, in milliseconds.

    Example:
        >>> str(Goal(drop=0.5, size=3_000_000))
        'at most 0.5 points less accurate than float, at most 3,000,000 bytes'
    """

    drop: float | None = None
    size: int | None = None
    latency: float | None = None

    def __str__(self) -> str:
        parts = [
            "" if self.drop is None else f"at most {self.drop:g} points less accurate than float",
            "" if self.size is None else f"at most {self.size:,} bytes",
            "" if self.latency is None else f"at most {self.latency:g} ms an image",
        ]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Trial:
    """One method that was tried, and its result.

    Args:
        way: The method, in words.
        made: The model, with its table.
        content: Its file; it differs from the model's if it was stripped.
        scores: Its answers for the validation images.
        against: Its score minus float's, paired.
        median_ms: Median time of one image on one thread, in milliseconds.
        seconds: How long the method took, without the evaluation.
        needed: How many validation images would show that it meets the target, if answers change as often. None if
            the target limits no loss, or no number is expected to.
    """

    way: str
    made: Quantized = field(repr=False)
    content: bytes = field(repr=False)
    scores: Scores = field(repr=False)
    against: Interval
    median_ms: float
    seconds: float
    needed: int | None = None

    def verdict(self, goal: Goal) -> str | None:
        """What the validation images say about the largest loss, in a sentence. None if the target limits none."""
        if goal.drop is None:
            return None
        metric, loss = self.metric, self.metric.loss(self.against)
        limit, drop = metric.limit(goal.drop), f"{goal.drop:g} {metric.points}".strip()
        low, high = metric.number(self.against.low), metric.change(self.against.high)
        span = f"the interval of the difference goes from {low} to {high}"
        if loss.high < limit:
            return f"{self.way} loses at most {drop}: {span}"
        if loss.low > limit:
            return f"{self.way} loses more than {drop}: {span}"
        more = (
            "" if self.needed is None else f"; about {self.needed:,} would (`validation`), if answers change as often"
        )
        return (
            f"{len(self.scores):,} validation images cannot tell whether {self.way} loses at most {drop}: {span}{more}"
        )

    @property
    def metric(self) -> Metric:
        """The metric of the score."""
        return self.scores.metric

    @property
    def score(self) -> float:
        """The score on the validation images."""
        return self.scores.value(self.metric)

    @property
    def quality(self) -> float:
        """The score, signed so that a higher one is better."""
        return self.score if self.metric.higher else -self.score

    @property
    def figures(self) -> tuple[str, str, str]:
        """The figures that a target can limit, in words: score against float, size and time."""
        return self.metric.change(self.against.value), f"{len(self.content):,} bytes", f"{milliseconds(self.median_ms)}"

    def meets(self, goal: Goal) -> bool:
        """Whether it meets the target, on the validation images and this machine."""
        return (
            (goal.drop is None or self.metric.loss(self.against).value <= self.metric.limit(goal.drop))
            and (goal.size is None or len(self.content) <= goal.size)
            and (goal.latency is None or self.median_ms <= goal.latency)
        )

    @property
    def record(self) -> TrialRecord:
        """What is written of it."""
        score = self.scores.score()
        assert score is not None  # The search refuses samples without labels.
        return TrialRecord(
            way=self.way,
            score=score,
            against_float=self.against,
            bytes=len(self.content),
            median_ms=self.median_ms,
            seconds=round(self.seconds, 2),
        )


class TrialRecord(Part):
    """One method that was tried.

    Args:
        way: The method, in words.
        score: On the validation images, with its interval.
        against_float: Its score minus float's, paired.
        bytes: The size of its file.
        median_ms: Median time of one image on one thread, in milliseconds.
        seconds: What the way cost, without the evaluation.
    """

    way: str
    score: Interval
    against_float: Interval
    bytes: int
    median_ms: float
    seconds: float


class FloatRecord(Part):
    """The float model that a search started from.

    Args:
        score: On the validation images.
        bytes: The size of its file.
        median_ms: Median time of one image on one thread, in milliseconds.
    """

    score: float
    bytes: int
    median_ms: float


class Obstacle(Part):
    """An op that costs accuracy in int8.

    Args:
        name: The tensor that it makes.
        op: Its kind.
        share: Its share of the whole measured error.
    """

    name: str
    op: str
    share: float | None


class SearchRecord(Artefact):
    """The record of a target search.

    Args:
        model: The path of the model.
        goal: The target; None where there is no limit.
        metric: The metric of the scores.
        images: How many validation images were used.
        before: The float model.
        trials: All methods that were tried, in order.
        chosen: The chosen method; None if no method meets the target.
        obstacles: The costliest ops, if ops were ranked.
        verdict: What the validation images say about the chosen method's loss of accuracy. None if nothing was chosen,
            or the target limits no loss.
    """

    file = ".search.json"
    what = "the record of a search"
    version = 3
    remedy = "Give a .search.json that `octavo quantize --max-drop` wrote, or a run directory."

    model: str
    goal: Goal
    metric: Metric
    images: int
    before: FloatRecord = Field(alias="float")
    trials: list[TrialRecord]
    chosen: str | None
    obstacles: list[Obstacle]
    verdict: str | None = None


@dataclass(frozen=True, repr=False)
class Search:
    """The result of a target search.

    Args:
        goal: The target.
        images: How many validation images were used.
        metric: The metric of the scores.
        float_score: The float model's score on them.
        float_bytes: The size of the float file.
        float_median_ms: Its median time of one image on one thread, in milliseconds.
        trials: All methods that were tried, in order.
        chosen: The cheapest method that meets the target, if it limits the loss; otherwise the one with the best score
            of those that meet it; None if none does.
        obstacles: The costliest ops, if ops were ranked.
    """

    goal: Goal
    images: int
    metric: Metric
    float_score: float
    float_bytes: int
    float_median_ms: float
    trials: tuple[Trial, ...]
    chosen: Trial | None
    obstacles: tuple[OpSensitivity, ...] = ()

    def record(self, model: str) -> SearchRecord:
        """What is written of it.

        Args:
            model: The path of the model.
        """
        return SearchRecord(
            model=model,
            goal=self.goal,
            metric=self.metric,
            images=self.images,
            before=FloatRecord(score=self.float_score, bytes=self.float_bytes, median_ms=self.float_median_ms),
            trials=[trial.record for trial in self.trials],
            chosen=None if self.chosen is None else self.chosen.way,
            obstacles=[Obstacle(name=item.name, op=item.op, share=item.share) for item in self.obstacles],
            verdict=None if self.chosen is None else self.chosen.verdict(self.goal),
        )

    def __repr__(self) -> str:
        found = "nothing" if self.chosen is None else f"{self.chosen.way} ({', '.join(self.chosen.figures)})"
        tried = f"{len(self.trials)} trials on {self.images:,} validation images"
        start = f"float {self.metric.text(self.float_score)}, {self.float_bytes:,} bytes"
        return f"Search({self.goal}: {found}; {tried}, {start})"

    def _repr_html_(self) -> str:
        return notebook.table(
            ("way", "chosen", self.metric.title, "against float", "file", "one image", "took"),
            [
                (t.way, "yes" if t is self.chosen else "", self.metric.text(t.score), *t.figures, f"{t.seconds:.1f} s")
                for t in self.trials
            ],
            repr(self),
            texts=2,
        )


# Trains the float graph for int8, and returns the model.
Train = Callable[[], Quantized]


def search(
    graph: Graph,
    images: ImageSet,
    validation: ImageSet,
    preprocess: Preprocessing,
    goal: Goal,
    *,
    task: Task | None = None,
    allow_float: bool = False,
    train: Train | None = None,
    progress: Progress,
) -> Search:
    """Tries methods to quantize a float graph until one meets a target.

    Args:
        graph: A float graph.
        images: Calibration images.
        validation: Labelled images for the evaluation; neither calibration images nor test images.
        preprocess: From image to input.
        goal: The target.
        task: How outputs are scored; guessed from the outputs and the truth when left out.
        allow_float: Leave ops without an int8 form in float, instead of raising.
        train: Training, the last method; not tried by default.
        progress: Receives progress messages.

    Raises:
        DataError: The validation images have no labels that fit the task.
        QuantizationError: An op has no int8 form and `allow_float` is off; each one is listed.
    """
    task = task or task_for(None, graph, validation)
    seeker = _Seeker(graph, images, validation, preprocess, goal, task, allow_float, progress)
    found = next((trial for trial in seeker.ways(train) if goal.drop is not None and trial.meets(goal)), None)
    if goal.drop is None:
        # Of equal accuracy, the cheaper method, which came first.
        found = max((t for t in seeker.trials if t.meets(goal)), key=lambda trial: trial.quality, default=None)
    return Search(
        goal,
        len(validation),
        seeker.before.metric,
        seeker.before.value(seeker.before.metric),
        len(graph.content),
        seeker.median_ms,
        tuple(seeker.trials),
        found,
        tuple(seeker.ranked[:5]),
    )


class _Seeker:
    """The state of one search: the methods tried so far, and the data that later ones reuse."""

    def __init__(
        self,
        graph: Graph,
        images: ImageSet,
        validation: ImageSet,
        preprocess: Preprocessing,
        goal: Goal,
        task: Task,
        allow_float: bool,
        progress: Progress,
    ) -> None:
        self.graph, self.validation, self.preprocess, self.goal = graph, validation, preprocess, goal
        self.task, self.allow_float, self.progress = task, allow_float, progress
        self.feed = Feed(images, preprocess, inputs_of(graph))
        self.before = self._scores(graph, "float")
        self.median_ms = latency([graph.content], seconds=0.5)[0].median_ms
        self.trials: list[Trial] = []
        self.tuned: dict[str, Tuning] = {}
        self.ranked: list[OpSensitivity] = []

    def ways(self, train: Train | None) -> Iterator[Trial]:
        """Trials, from the cheapest to the most expensive; each is made when it is requested."""
        for observer, passes in WAYS:
            yield self._try(_named(observer, passes), partial(self._tune, observer, passes))
        best = max(self.trials, key=lambda trial: trial.quality)
        if self.goal.size is not None and len(best.content) > self.goal.size:
            yield from self._smaller(best)
        if self.goal.drop is None:
            return
        yield self._try(_named(*_LEARNED), partial(self._tune, *_LEARNED))
        yield from self._fewest_in_float(max(best, self.trials[-1], key=lambda trial: trial.quality))
        if train is None:
            return
        try:
            yield self._try("training for int8", train)
        except OctavoError as error:
            self.progress.say(f"training for int8 is not possible: {error}")

    def _scores(self, graph: Graph, what: str) -> Scores:
        with self.progress.track(f"validate {what}", len(self.validation)) as advance:
            found = evaluate(graph, self.validation, self.preprocess, progress=advance, task=self.task)
        if not found.known:
            raise DataError(
                f"A target search for the task {self.task.name} needs labels to score by, and the validation samples "
                "have none that fit.",
                "Give labelled samples, or set `task` to what the labels are.",
            )
        return found

    def _try(self, way: str, make: Callable[[], Quantized], *, stripped: bool = False) -> Trial:
        start = time.perf_counter()
        made = make()
        try_made(made.content, self.graph.name)
        prove(made)
        content = strip(Graph(made.content)).content if stripped else made.content
        seconds = time.perf_counter() - start
        after = self._scores(Graph(content), way)
        gap = self.before.difference(after)
        assert gap is not None
        time_of_one = latency([content], seconds=0.5)[0].median_ms
        trial = Trial(way, made, content, after, gap, time_of_one, seconds, self._needed(after, gap))
        self.trials.append(trial)
        self.progress.say(
            f"{way}: {after.metric.changes(gap)}, "
            f"{len(content):,} bytes, {milliseconds(trial.median_ms)}, took {seconds:.1f} s"
        )
        return trial

    def _needed(self, after: Scores, gap: Interval) -> int | None:
        """How many validation images would show that the target is met."""
        if not self.goal.drop:
            return None
        return samples_needed(self.before, after, gap, after.metric.limit(self.goal.drop))

    def _tune(self, observer: str, passes: Sequence[str]) -> Quantized:
        made = self.tuned[_named(observer, passes)] = self._tuning(observer, passes)
        return quantize(made.graph, made.ranges, self.allow_float)

    def _tuning(self, observer: str, passes: Sequence[str], precision: Mapping[str, Precision] | None = None) -> Tuning:
        with self.progress.track("calibrate", len(self.feed)) as advance:
            ranges = calibrate(self.graph, self.feed, observer, advance)
        plan = partial(build, allow_float=self.allow_float, precision=precision)
        return tune(self.graph, ranges, self.feed, passes, plan, self.progress)

    def _with(self, base: Trial, precision: Mapping[str, Precision]) -> Quantized:
        made = self.tuned[base.way]
        return quantize(made.graph, made.ranges, self.allow_float, precision)

    def _fewest_in_float(self, base: Trial) -> Iterator[Trial]:
        """Doubles the number of ops in float until the target is met, then finds the fewest by bisection."""
        self._rank(base)
        most = min(int(len(self.graph.ops) * _MOST_FLOAT), len(self.ranked))
        low, high, found = 0, most + 1, None
        while low + 1 < high:
            # Doubling until one meets the target, bisection afterwards.
            count = min(max(2 * low, 1), most) if found is None else (low + high) // 2
            floats: dict[str, Precision] = {item.name: "float" for item in self.ranked[:count]}
            trial = self._try(f"{base.way}, {_count(count)} in float", partial(self._with, base, floats))
            if trial.meets(self.goal):
                high, found = count, trial
            else:
                low = count
        if found is not None:
            yield found

    def _rank(self, base: Trial) -> None:
        made = self.tuned[base.way]
        with self.progress.track("rank the ops", 2 * len(made.graph.ops) + 2) as advance:
            found = sensitivity(
                made.reference,
                made.ranges,
                self.feed[:_RANKED_ON],
                task=self.task,
                tuned=made.graph,
                budget=_BUDGET,
                allow_float=self.allow_float,
                progress=advance,
            )
        self.ranked = [item for item in found.ops if item.only is not None]

    def _smaller(self, base: Trial) -> Iterator[Trial]:
        """Strips the file, and gives int4 weights to the ops with most weights, to as few ops as possible."""
        assert self.goal.size is not None
        yield self._try(f"{base.way}, stripped", lambda: base.made, stripped=True)
        made = self.tuned[base.way]
        sizes: dict[str, int] = {}
        for op in made.graph.ops:
            rules = row(op)
            if rules is not None and rules.weight is not None and _NARROW in possible(op):
                constant = made.graph.tensors[op.inputs[rules.weight]].constant
                sizes[name_of(made.graph, op)] = 0 if constant is None else constant.size
        largest = sorted(sizes, key=lambda name: -sizes[name])
        excess, chosen = len(self.trials[-1].content) - self.goal.size, list[str]()
        while excess > 0 and len(chosen) < len(largest):
            excess -= sizes[largest[len(chosen)]] * (FORMATS[DEFAULT].weights - FORMATS[_NARROW].weights) // 8
            chosen.append(largest[len(chosen)])
        if chosen and len(self.trials[-1].content) > self.goal.size:
            narrow: dict[str, Precision] = dict.fromkeys(chosen, _NARROW)
            for tuning_pass in ("compensate", "adaround"):
                way = f"minmax + {tuning_pass}, {_count(len(chosen))} with {_NARROW} weights, stripped"
                yield self._try(way, partial(self._tuned_for, tuning_pass, narrow), stripped=True)

    def _tuned_for(self, tuning_pass: str, precision: Mapping[str, Precision]) -> Quantized:
        """An int8 model with one tuning pass, for precisions with few bits, which need careful rounding."""
        made = self._tuning("minmax", (tuning_pass,), precision)
        return quantize(made.graph, made.ranges, self.allow_float, precision)


def _named(observer: str, passes: Sequence[str]) -> str:
    return " + ".join((observer, *passes))


def _count(number: int) -> str:
    return f"{number} op{'s' if number > 1 else ''}"
