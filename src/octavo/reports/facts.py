"""The facts of a run, read from its directory. The report computes nothing that a stage should have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from octavo.base.errors import OctavoError
from octavo.recipe.schema import Recipe

Verdict = Literal["yes", "no", "open"]

# The stages' files: facts that every finished run has, and facts that only some runs have.
NEEDED = ("recipe.yaml", "manifest.json", "data.json", "ranges.json", "proof.json", "size.json", "evaluation.json")
OPTIONAL = ("history.json", "distributions.json", "compare.json", "qat.json", "tuning.json", "deployment.json")


class Part(BaseModel):
    """A part of the facts. Keys that the report does not show may be there."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class Stage(Part):
    """One stage of the run: how long it took, at which commit, and what it wrote (file: SHA-256)."""

    seconds: float
    commit: str | None = None
    outputs: dict[str, str] = {}


class Machine(Part):
    """Where the run happened."""

    cpu: str
    cores: int
    python: str
    platform: str


class ManifestFacts(Part):
    """Who made this, when, with what."""

    octavo: str
    commit: str | None = None
    created: str
    seed: int
    command: str = ""
    machine: Machine
    versions: dict[str, str]
    stages: dict[str, Stage]


class SplitFacts(Part):
    """The images of one split."""

    images: int
    digest: str = ""


class DataFacts(Part):
    """Which images were used for what."""

    source: str
    classes: list[str]
    train: SplitFacts
    validation: SplitFacts | None = None
    test: SplitFacts
    calibration: SplitFacts
    warnings: list[str] = []
    input_shape: list[int]


class Epoch(Part):
    """One pass over the training images."""

    epoch: int
    loss: float
    accuracy: float
    val_loss: float | None = None
    val_accuracy: float | None = None


class HistoryFacts(Part):
    """How training went."""

    epochs: list[Epoch]
    seconds: float
    parameters: dict[str, int] = {}
    best_epoch: int | None = None
    peak_rate: float | None = None


class RangesFacts(Part):
    """What calibration measured."""

    observer: str
    images: int
    tensors: dict[str, Any]
    warnings: list[str] = []


class Port(Part):
    """The input or output of the int8 file."""

    name: str
    shape: list[int]
    dtype: str
    scale: float | None
    zero_point: int | None


class CheckFacts(Part):
    """One check of the proof."""

    name: str
    passed: bool
    count: int
    detail: str = ""


class LeftFacts(Part):
    """Something that stays in float, and why."""

    op: str
    tensor: str
    reason: str


class Widened(Part):
    """A bias whose weights' scale was widened, in how many channels."""

    tensor: str
    channels: int


class ProofFacts(Part):
    """What was proved of the int8 file."""

    sha256: str
    input: Port
    output: Port
    checks: list[CheckFacts]
    ops: dict[str, int]
    float_left: list[LeftFacts]
    macs: int
    parameters: int
    widened: list[Widened] = []
    precision: dict[str, str] = {}


class ActivationFacts(Part):
    """An activation's values (quantiles over a few images) and the range that int8 gives it."""

    name: str
    op: str
    range: tuple[float, float]
    quantiles: dict[str, float]

    @property
    def used(self) -> float:
        """The share of the range that the middle 99.8% of the values, and zero, need."""
        low, high = min(self.quantiles["0.001"], 0.0), max(self.quantiles["0.999"], 0.0)
        width = self.range[1] - self.range[0]
        return (high - low) / width if width > 0 else 1.0


class ChannelMax(Part):
    """The largest weight of a channel: of the smallest, the middle and the largest channel."""

    min: float
    median: float
    max: float


class Histogram(Part):
    """Counts between edges; one more edge than counts."""

    edges: list[float]
    counts: list[float]


class WeightFacts(Part):
    """The weights of an op: largest of each channel, and the int8 codes they became."""

    name: str
    op: str
    channel_max: ChannelMax
    histogram: Histogram


class DistributionFacts(Part):
    """Values inside their ranges, in graph order."""

    images: int
    activations: list[ActivationFacts]
    weights: list[WeightFacts]


class ErrorFacts(Part):
    """How far a tensor is from float's."""

    sqnr: float | None
    mean_lsb: float | None


class TensorErrorFacts(Part):
    """One tensor of the int8 model: the error it has, and the error that its op alone adds."""

    before: str
    op: str
    accumulated: ErrorFacts
    added: ErrorFacts


class ComparedFacts(Part):
    """Float and int8 tensor by tensor, in graph order."""

    images: int
    tensors: list[TensorErrorFacts]


class Bytes(Part):
    """What the bytes of a `.tflite` file hold."""

    weights: int
    quantization: int
    names: int
    rest: int


class FileSizes(Part):
    """Bytes of every file; None where the run had no Keras model."""

    keras_with_optimizer: int | None = None
    keras: int | None = None
    float_tflite: int
    int8_tflite: int


class Breakdown(Part):
    """What both `.tflite` files hold."""

    float_tflite: Bytes
    int8_tflite: Bytes


class SizeFacts(Part):
    """Sizes, and what they hold."""

    files: FileSizes
    breakdown: Breakdown


class Share(Part):
    """A share or a difference of shares, with its interval."""

    value: float
    low: float
    high: float


class ClassFacts(Part):
    """How one class fared."""

    name: str = Field(alias="class")
    images: int
    correct: int
    recall: float
    precision: float
    f1: float


class Latency(Part):
    """Milliseconds for one image on one thread."""

    median: float
    p90: float
    min: float = Field(validation_alias=AliasChoices("min", "minimum"))
    runs: int | None = None


class ModelFacts(Part):
    """What was measured of one model; `confusion` has a row for each true class."""

    sha256: str
    accuracy: Share
    top5: Share | None = None
    per_class: list[ClassFacts]
    confusion: list[list[int]]
    latency_ms: Latency


class Models(Part):
    """Both models; and what training for int8 is to be compared with."""

    before: ModelFacts = Field(alias="float")
    after: ModelFacts = Field(alias="int8")
    ptq: ModelFacts | None = None
    control: ModelFacts | None = None


class McNemar(Part):
    """Images right before and wrong after (`b`), and the reverse (`c`)."""

    b: int
    c: int
    p: float


class Disagreement(Part):
    """An image that the models call differently."""

    id: str
    label: str
    before: str = Field(alias="float")
    after: str = Field(alias="int8")
    before_probability: float = Field(alias="float_probability")
    after_probability: float = Field(alias="int8_probability")
    image: str | None = Field(None, pattern=r"^data:image/png;base64,[A-Za-z0-9+/=]+$")


class Comparison(Part):
    """Both models, image by image; `difference` is int8 minus float."""

    confidence: float = 0.95
    agreement: float
    difference: Share
    mcnemar: McNemar
    margin: float
    non_inferior: bool
    probability_shift: dict[str, float] = {}
    disagreements: list[Disagreement] = []


class Pair(Part):
    """Two other models, image by image; `difference` is after minus before."""

    before: str
    after: str
    confidence: float = 0.95
    difference: Share
    margin: float
    non_inferior: bool


class EvaluationFacts(Part):
    """Both models on the same held-out images."""

    images: int = Field(ge=1)
    classes: list[str]
    kernels: str
    models: Models
    comparison: Comparison
    pairs: list[Pair] = []

    def pair(self, before: str, after: str) -> Pair | None:
        """The comparison of two models by their names, where the run made it."""
        return next((pair for pair in self.pairs if (pair.before, pair.after) == (before, after)), None)


class TuningStep(Part):
    """What one tuning act changed before post-training quantization."""

    act: str
    seconds: float
    said: str
    left: list[str] = []


class TuningFacts(Part):
    """The tuning acts, in their order."""

    steps: list[TuningStep] = []


class FootprintFacts(Part):
    """Milliseconds to load and of the first run, and peak resident bytes; None where the system does not tell."""

    load_ms: float
    first_ms: float
    memory: int | None


class TimingFacts(Part):
    """One model on one kernel family; `ratio` is its time over float's, pair by pair."""

    model: str
    kernels: str
    latency: Latency
    ratio: Share
    throughput: float | None
    footprint: FootprintFacts
    left: list[str]


class BenchMachine(Part):
    """What the benchmark ran on."""

    cpu: str
    architecture: str
    cores: int
    litert: str


class BenchmarkFacts(Part):
    """Float and int8 side by side."""

    machine: BenchMachine
    timings: list[TimingFacts]


class NotTimed(Part):
    """A kernel family that could not run both models, and why."""

    kernels: str
    about: str


class AnswerFacts(Part):
    """A target's answer: yes, no, or None where it is not known; `facts` are its figures."""

    answer: bool | None
    about: str
    facts: dict[str, Any] = {}


class TargetFacts(Part):
    """A target's three answers: can it take the model, did it run, what does it cost."""

    target: str
    takes: AnswerFacts
    runs: AnswerFacts | None
    costs: AnswerFacts | None


class DeploymentFacts(Part):
    """The benchmark of float and int8, and the targets' answers to int8; None where they were not wanted."""

    sha256: dict[str, str]
    benchmark: BenchmarkFacts | None
    not_timed: list[NotTimed] = []
    images: int
    targets: list[TargetFacts] | None

    def pair(self, kernels: str) -> tuple[TimingFacts, TimingFacts] | None:
        """The timings of float and int8 on one kernel family."""
        made = [item for item in self.benchmark.timings if item.kernels == kernels] if self.benchmark else []
        return (made[0], made[1]) if len(made) == 2 else None

    @property
    def families(self) -> list[str]:
        """The kernel families that were timed, in their order."""
        return list(dict.fromkeys(item.kernels for item in self.benchmark.timings)) if self.benchmark else []

    @property
    def pairs(self) -> dict[str, tuple[TimingFacts, TimingFacts]]:
        """The timings of float and int8 on every kernel family that both were timed on, in their order."""
        return {family: pair for family in self.families if (pair := self.pair(family)) is not None}

    def target(self, start: str) -> TargetFacts | None:
        """The first target whose name starts so."""
        return next((item for item in self.targets or [] if item.target.startswith(start)), None)


class Facts(Part):
    """What the files of a run directory say, one field a file; None where a run has no such file."""

    recipe: Recipe
    manifest: ManifestFacts
    data: DataFacts
    history: HistoryFacts | None = None
    ranges: RangesFacts
    proof: ProofFacts
    distributions: DistributionFacts | None = None
    compare: ComparedFacts | None = None
    qat: HistoryFacts | None = None
    tuning: TuningFacts | None = None
    deployment: DeploymentFacts | None = None
    size: SizeFacts
    evaluation: EvaluationFacts

    def __repr__(self) -> str:
        before, after = self.before.accuracy.value, self.after.accuracy.value
        return f"Facts('{self.recipe.name}': int8 {after:.2%}, float {before:.2%}, non-inferior: {self.verdict})"

    @property
    def before(self) -> ModelFacts:
        """What was measured of the float model."""
        return self.evaluation.models.before

    @property
    def after(self) -> ModelFacts:
        """What was measured of the int8 model."""
        return self.evaluation.models.after

    @property
    def compared(self) -> Comparison:
        """What was measured of both, image by image."""
        return self.evaluation.comparison

    @property
    def trained(self) -> HistoryFacts | None:
        """How quantization-aware training went; None where the run did none, or no longer does."""
        return self.qat if self.recipe.quantize.method == "qat" else None

    @property
    def verdict(self) -> Verdict:
        """Whether int8 is non-inferior to float at the margin: shown, shown not to be, or not shown."""
        if self.compared.non_inferior:
            return "yes"
        return "no" if self.compared.difference.high < -self.compared.margin else "open"

    @property
    def ratio(self) -> float:
        """How many times larger the float `.tflite` is than the int8 one."""
        return self.size.files.float_tflite / self.size.files.int8_tflite

    @property
    def deployed(self) -> DeploymentFacts | None:
        """What was measured for deployment, where it is of the models that were evaluated."""
        found = self.deployment
        hashes = {"float.tflite": self.before.sha256, "int8.tflite": self.after.sha256}
        return found if found is not None and found.sha256 == hashes else None

    @property
    def timed(self) -> tuple[TimingFacts, TimingFacts] | None:
        """Float and int8 in the benchmark on XNNPACK; None where there is none, and evaluation's figures have to do."""
        return self.deployed.pair("xnnpack") if self.deployed else None

    @property
    def latencies(self) -> tuple[Latency, Latency]:
        """Float's and int8's latency: the benchmark's, else the one measured beside evaluation."""
        return (
            (self.timed[0].latency, self.timed[1].latency)
            if self.timed
            else (self.before.latency_ms, self.after.latency_ms)
        )

    @property
    def speedup(self) -> float:
        """How many times longer the float model takes than the int8 one: pair by pair, else by the medians."""
        before, after = self.latencies
        return 1 / self.timed[1].ratio.value if self.timed else before.median / after.median

    @property
    def disagreeing(self) -> int:
        """The images that the two models call differently, of which the gallery shows the first."""
        return round((1 - self.compared.agreement) * self.evaluation.images)


def read(run_dir: Path) -> Facts:
    """Reads a run directory.

    Raises:
        OctavoError: It is no run directory, the run has not come far enough, or a file is not as a stage wrote it.
    """
    again = f"octavo run RECIPE --out {run_dir}"
    missing = [name for name in NEEDED if not (run_dir / name).is_file()]
    if missing:
        what = "is not a run directory" if len(missing) == len(NEEDED) else "is not a finished run"
        raise OctavoError(f"'{run_dir}' {what}: it has no {', '.join(missing)}.", f"Make it with: {again}")
    values = {}
    for name in (*NEEDED, *OPTIONAL):
        path = run_dir / name
        if path.is_file():
            values[path.stem] = _value(path, again)
    try:
        return Facts.model_validate(values)
    except ValidationError as error:
        raise OctavoError(
            f"The files of '{run_dir}' do not hold what this version of Octavo writes.",
            f"Delete those named here and run again: {again}",
            details=[f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()[:10]],
        ) from error


def _value(path: Path, again: str) -> dict[str, Any]:
    import yaml

    try:
        text = path.read_text("utf-8")
        return dict(yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text))
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise OctavoError(
            f"'{path}' cannot be read ({type(error).__name__}): the {path.suffix[1:].upper()} file of a run was "
            "expected.",
            f"Delete it and run again: {again}",
        ) from error
