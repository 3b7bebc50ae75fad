"""The stages of a run, from images to report."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import yaml

from octavo.analysis.answers import AnswersRecord, answers
from octavo.analysis.compare import compare as compare_tensors
from octavo.analysis.distributions import distributions
from octavo.analysis.evaluate import compare, evaluate, model_score
from octavo.analysis.evaluation import Delivery, Evaluation, ModelEvaluation, PairComparison
from octavo.analysis.gallery import shown
from octavo.analysis.observer_choice import Made, quantized
from octavo.analysis.scale_choice import choose_scale
from octavo.analysis.tasks.choose import place_of
from octavo.analysis.tasks.single_label import SingleLabelScores
from octavo.analysis.tasks.task import Scores, Task
from octavo.analysis.understood import understood
from octavo.base.artefact import Artefact
from octavo.base.environment import source_of
from octavo.base.errors import DataError, ModelError, OctavoError
from octavo.base.evenly import evenly
from octavo.base.files import check_results, replacing, write_bytes, write_text
from octavo.base.jobs import Backend, Jobs
from octavo.base.lock import Lock
from octavo.base.place import Place
from octavo.base.progress import Progress, Silent
from octavo.base.provenance import Provenance, versions
from octavo.data.dataset import Dataset, ImageSet, OctavoWarning
from octavo.data.encoded_inputs import Feed
from octavo.data.open import is_there, open_dataset
from octavo.data.preprocess import Preprocess, Preprocessing
from octavo.data.reading import together
from octavo.data.split import Splits, calibration, check_trainable, draw
from octavo.data.summary import DataSummary, SplitSummary
from octavo.deployment import measure
from octavo.quantization import data_checks
from octavo.quantization.calibrate import survey
from octavo.quantization.proof import Proof, examine, prove
from octavo.quantization.quantize import Quantized, check_float
from octavo.quantization.ranges import Ranges, RangesRecord, TensorRanges
from octavo.recipe.options import Inputs
from octavo.recipe.schema import APPLICATIONS, Recipe, load_recipe
from octavo.reports.tracking.log import check as check_trackers
from octavo.reports.tracking.log import log
from octavo.reports.tracking.record import of_run
from octavo.rewrite.integer_forms import integer_forms
from octavo.runs.manifest import Manifest, fingerprint
from octavo.runtime.litert import inputs_of, latency
from octavo.source import sidecar
from octavo.source.classes import names_for
from octavo.source.load import Loaded, load_float, load_model, output_of, task_of, windows_of
from octavo.source.own_model import Noted, OwnModel, content_hash, record_of
from octavo.source.recordings import cut
from octavo.source.sidecar import Sidecar, write_model
from octavo.source.tried import Trials
from octavo.tflite.graph import Graph
from octavo.tflite.size import Breakdown, FileSizes, Sizes, breakdown
from octavo.training import qat
from octavo.training.convert import convert
from octavo.training.determinism import make_deterministic
from octavo.training.history import BaselineRecord, History, QatRecord, TrainingRecord, Watch, unwatched
from octavo.training.orders import Order, Orders
from octavo.training.start import started
from octavo.training.teacher import Teacher, check_teacher
from octavo.training.team import Team, join
from octavo.tuning.tune import TuningRecord

if TYPE_CHECKING:
    from octavo.simulate import FloatModel, Simulation

A = TypeVar("A", bound=Artefact)
# What runs write, whatever their recipe; each is looked at before the work begins.
_MODELS = ("model.keras", "float.tflite", "ptq.tflite", "control.tflite", "int8.tflite")
_RECORDS = (
    *("manifest", "data", "history", "ranges", "tuning", "qat", "control", "proof", "distributions", "compare", "size"),
    *("evaluation", "deployment", "report", "model", "answers"),
)
FILES = (
    *("recipe.yaml", "predictions.npz", "trained.tflite", "report.html", "report.md"),
    *(f"{record}.json" for record in _RECORDS),
    *(name for model in _MODELS for name in (model, f"{model}.json")),
)
# What each key of a recipe that names a file asks for, and what to do where it is not there.
_WANTED: dict[str, tuple[type[OctavoError], str, str]] = {
    "data.path": (DataError, "file or folder", "Check the path of the images."),
    "model.path": (ModelError, "model", "Set model.path to that of a file or a SavedModel folder."),
    "model.labels": (DataError, "file of class names", "Set model.labels to a text file with one class name a line."),
    "model.weights": (
        ModelError,
        "file",
        "Set model.weights to the path of a .weights.h5 file of the network, or to null.",
    ),
    "train.teacher": (ModelError, "teacher", "Set train.teacher to the path of a trained model."),
    "quantize.path": (ModelError, "int8 model", "Set quantize.path to that of a .tflite file."),
}
# How many images on which float and int8 disagree the report shows.
GALLERY = 24
# On how many images a run compares float and int8 tensor by tensor; each has many values, so few are enough.
COMPARED = 16
# How many images run on every target.
TRIED = 8


def run(
    recipe: Recipe | Path | str,
    out: Path | str,
    progress: Progress | None = None,
    command: str = "",
    watch: Watch = unwatched,
    jobs: int | None = None,
    backend: Backend = "loky",
    place: Place = Place(),
) -> Path:
    """Runs a recipe: images to float baseline to int8 model to report; or from a trained model of your own to report.

    Every stage writes its artefact and a manifest into `out`. A second run repeats only what changed. A run that
    was stopped resumes at the stage, and the training epoch, that it had reached.

    Args:
        recipe: A recipe, or what `octavo.load_recipe` makes one of.
        out: The run directory; made if missing.
        progress: Receives progress messages; none by default.
        command: The command line, for the record.
        watch: Called after every epoch of the float baseline (`train`), of training for int8 (`qat`) and of its
            control, with the epoch's row of the history. If it raises an error, the run ends there, and can resume.
        jobs: How many processes share calibration and evaluation; images are then read as they are needed and not held
            in memory (docs/scaling.md). For runs that train nothing.
        backend: The engine that runs these processes.
        place: Which process this is, of several that train together (docs/training-on-several-machines.md):
            `octavo.base.place.place(os.environ)`. All of them run the same recipe, and rank 0 alone writes `out`.

    Returns:
        The path of the report, `report.html`.

    Raises:
        OctavoError: A problem that the user can fix.

    Example:
        >>> import octavo
        >>> small = ["preprocess.size=32", "train.epochs=1", "data.train=120", "data.test=40", "deployment.seconds=0.2"]
        >>> octavo.run(octavo.load_recipe("digits", small), out="runs/small").name
        'report.html'
    """
    made = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    out = Path(out)
    shared = None if jobs is None else Jobs(jobs, backend)
    if shared is not None and (made.model.path is None or made.quantize.method == "qat"):
        raise OctavoError("A run that trains holds its images in memory, in one process.", "Leave out `jobs`.")
    check_trackers(made.log)
    _check_files(made)
    if place.rank:
        _follow(made, place)
        return out / "report.html"
    check_results(out, FILES)
    _check_owned(out)
    out.mkdir(parents=True, exist_ok=True)
    with Lock(out.resolve()) as lock:
        if lock.taken:
            raise OctavoError(
                f"Another run is at work in '{out}'.", "Wait until it has ended, or set `out` to another folder."
            )
        return _Run(made, out, progress or Silent(), command, watch, shared, place).go()


def _follow(recipe: Recipe, place: Place) -> None:
    """The part in a run of a process of another rank than 0: it trains what rank 0 trains, and writes nothing."""
    with TemporaryDirectory(prefix="octavo-") as folder, warnings.catch_warnings():
        # Rank 0 says what is wrong with the images.
        warnings.simplefilter("ignore", OctavoWarning)
        part = _Run(recipe, Path(folder), Silent(), "", place=place)
        for order in part.orders:
            for name, content in order.files.items():
                write_bytes(part.out / name, content)
            part.trainings[order.what]()


def validate(recipe: Recipe, out: Path) -> Scores | None:
    """The int8 model of a finished run on the recipe's validation images; None where there are none.

    Test images choose nothing. Whatever chooses between runs asks this.
    """
    done = _Run(recipe, out, Silent(), "")
    with warnings.catch_warnings():
        # The run has said what is wrong with the images.
        warnings.simplefilter("ignore", OctavoWarning)
        if done.splits.validation is None:
            return None
        images, task = done._understood(done.splits.validation)
    return evaluate(done._graph("int8.tflite"), images, done.preprocess, task=task)


def _check_files(recipe: Recipe) -> None:
    """Refuses a recipe that names files which are not there, before anything is made.

    Raises:
        DataError: The images are not there.
        ModelError: A model or its weights are not there.
    """
    for key, path in recipe.files.items():
        if not is_there(path):
            kind, what, hint = _WANTED[key]
            raise kind(f"There is no {what} '{path}'.", hint)


def _check_owned(out: Path) -> None:
    """Refuses a folder in which a run would replace files that no run wrote.

    Raises:
        OctavoError: It has some of `FILES` and no manifest.
    """
    taken = [name for name in FILES if (out / name).exists()]
    if taken and not (out / Provenance.file).exists():
        raise OctavoError(
            f"A run would replace files in '{out}' that no run wrote: {', '.join(taken)}.",
            "Set `out` to another folder, or move them.",
        )


def splits_of(
    recipe: Recipe, progress: Progress | None = None, source: Dataset | None = None, jobs: Jobs | None = None
) -> Splits:
    """The training, validation and test images of a recipe; the same recipe gives the same images."""
    source = source or open_dataset(recipe.data.source, recipe.data.path)
    if recipe.model.path is not None and source.recordings:
        # Only the model says how long a window is.
        loaded = load_float(recipe.model.path, recipe.model.signature)
        source = cut(source, loaded, recipe.inputs, progress or Silent())
    return draw(source, recipe.data, recipe.seed, together(jobs, recipe.data.path, source))


def calibration_of(recipe: Recipe, splits: Splits) -> ImageSet:
    """The calibration images of a recipe, out of its training images."""
    seed = recipe.seed if recipe.calibrate.seed is None else recipe.calibrate.seed
    return calibration(splits.train, recipe.calibrate.images, seed, "calibrate.images")


class _Run:
    """One run of one recipe in one directory."""

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        progress: Progress,
        command: str,
        watch: Watch = unwatched,
        jobs: Jobs | None = None,
        place: Place = Place(),
    ) -> None:
        self.recipe = recipe
        self.jobs = jobs
        self.place = place
        self.out = out
        self.progress = progress
        self.watch = watch
        facts = {"recipe": recipe.name, "title": recipe.title, "seed": recipe.seed, "command": command}
        self.manifest = Manifest(out, facts)

    def go(self) -> Path:
        if self.place.world > 1:
            # The others wait for it.
            _ = self.team
        # First, as it shows that the other files are a run's.
        self.manifest.write()
        write_text(self.out / "recipe.yaml", yaml.safe_dump(self.recipe.to_json(), sort_keys=False))
        recipe, of = self.recipe, self.manifest.hash_of
        data = {"data": self._json(recipe.data), "calibrate": self._json(recipe.calibrate), "seed": recipe.seed}
        data["calibrates"] = recipe.quantize.path is None
        self._stage("data", {**data, "files": fingerprint(recipe.data.path)}, ["data.json"], self._data)
        if recipe.model.path is not None:
            self._own_model(recipe.model.path)
        else:
            self._baseline()
        if recipe.quantize.path is not None:
            self._made_before(recipe.quantize.path)
        else:
            self._integer_model()
        if self.place.world > 1:
            self.orders.end()
        self._stage(
            "evaluate",
            {
                "models": {name: of(f"{name}.tflite") for name in self._models},
                "sidecar": of("float.tflite.json"),
                "images": of("data.json"),
                "evaluate": self._json(recipe.evaluate),
            },
            ["evaluation.json", "predictions.npz"],
            self._evaluate,
        )
        self._stage(
            "deployment",
            {
                "models": {name: of(f"{name}.tflite") for name in ("float", "int8")},
                "sidecar": of("float.tflite.json"),
                "images": of("data.json"),
                "deployment": self._json(recipe.deployment),
                "tools": versions(measure.TOOLS),
            },
            ["deployment.json"],
            self._deployment,
        )
        self.manifest.write()
        from octavo import reports

        facts = reports.write(self.out)
        if recipe.log:
            todo = "The run is finished. Repeat the command to log it: finished stages are not repeated."
            log(of_run(self.out, facts), recipe.log, self.progress, todo)
        return self.out / "report.html"

    def _baseline(self) -> None:
        """The float model, trained by this run."""
        recipe, of = self.recipe, self.manifest.hash_of
        self._stage(
            "train",
            {
                "images": of("data.json"),
                "preprocess": self._json(recipe.preprocess),
                "model": self._json(recipe.model),
                "train": self._json(recipe.train),
                "seed": recipe.seed,
                "versions": versions(),
                **self._how,
                **self._code,
                **self._taught,
            },
            ["model.keras", "model.keras.json", "history.json"],
            self._train,
        )
        self._stage("export", {"model": of("model.keras")}, ["float.tflite", "float.tflite.json"], self._export)

    @property
    def _how(self) -> dict[str, bool]:
        """That training is deterministic, if it is."""
        return {"deterministic": True} if self.recipe.deterministic else {}

    @property
    def _code(self) -> dict[str, str]:
        """The file of the function that makes the network, if one does."""
        name = self.recipe.model.architecture
        return {"code": content_hash(source_of(name))} if ":" in name else {}

    @property
    def _taught(self) -> dict[str, str]:
        """The file of the model from which the network learns, if there is one."""
        path = self.recipe.train.teacher
        if path is None:
            return {}
        return {"teacher": content_hash(path)}

    def _own_model(self, path: Path) -> None:
        """The float model, trained before this run."""
        options = self._json(self.recipe.preprocess, exclude_unset=True)
        inputs = {
            "model": content_hash(path),
            "sidecar": fingerprint(beside) if (beside := sidecar.path_of(path)).is_file() else None,
            "signature": self.recipe.model.signature,
            "preprocess": options,
            "images": self.manifest.hash_of("data.json"),
            "scored": [self.recipe.evaluate.task, self.recipe.evaluate.output],
            "versions": versions(),
        }
        self._stage(
            "model", inputs, ["float.tflite", "float.tflite.json", OwnModel.file], partial(self._read_own, path)
        )

    @property
    def _of_graph(self) -> dict[str, str]:
        """What every stage depends on that runs the float graph: the file, and what becomes of an image."""
        return {name: self.manifest.hash_of(name) for name in ("float.tflite", "float.tflite.json")}

    def _integer_model(self) -> None:
        """The int8 model, made by this run, and the models to compare it with."""
        recipe, seed, of, graph = self.recipe, self.recipe.seed, self.manifest.hash_of, self._of_graph
        self._stage(
            "calibrate",
            {
                **graph,
                "images": of("data.json"),
                "calibrate": self._json(recipe.calibrate),
                "observer": recipe.quantize.options.first_observer,
            },
            ["ranges.json"],
            self._calibrate,
        )
        start = {**graph, "ranges": of("ranges.json"), "quantize": self._json(recipe.quantize)}
        written = ["int8.tflite", "int8.tflite.json", "proof.json", "distributions.json", "compare.json", "size.json"]
        if recipe.quantize.method == "ptq":
            images = {"images": of("data.json")}
            self._stage("quantize", {**start, **images}, [*written, "tuning.json", "answers.json"], self._quantize)
        else:
            training = {"images": of("data.json"), "qat": self._json(recipe.qat), "seed": seed, "versions": versions()}
            training |= self._how
            self._stage("quantize", {**start, **training}, [*written, "trained.tflite", "qat.json"], self._qat)
            ptq = {**start, "images": of("data.json")}
            self._stage("ptq", ptq, ["ptq.tflite", "ptq.tflite.json", "tuning.json"], self._ptq)
            if self._controlled:
                self._stage(
                    "control",
                    {**graph, **training},
                    ["control.tflite", "control.tflite.json", "control.json"],
                    self._control,
                )

    def _made_before(self, path: Path) -> None:
        """The int8 model, made before this run."""
        inputs = {**self._of_graph, "model": content_hash(path), "images": self.manifest.hash_of("data.json")}
        made = ["int8.tflite", "int8.tflite.json", "proof.json", "compare.json", "size.json", AnswersRecord.file]
        self._stage("quantize", inputs, made, partial(self._read_int8, path))

    def _stage(self, name: str, inputs: dict[str, Any], outputs: list[str], work: Any) -> None:
        if not self.manifest.stage(name, inputs, outputs, work):
            self.progress.say(f"{name}: unchanged")

    @staticmethod
    def _json(section: Any, exclude_unset: bool = False) -> Any:
        return section.model_dump(mode="json", exclude_unset=exclude_unset)

    def _read(self, kind: type[A]) -> A:
        return kind.read(self.out / kind.file)

    def _write(self, artefact: Artefact) -> None:
        artefact.write(self.out / artefact.file)

    @cached_property
    def source(self) -> Dataset:
        return open_dataset(self.recipe.data.source, self.recipe.data.path, self.jobs)

    @cached_property
    def splits(self) -> Splits:
        return splits_of(self.recipe, self.progress, self.source, self.jobs)

    @cached_property
    def calibration(self) -> ImageSet:
        return calibration_of(self.recipe, self.splits)

    @cached_property
    def team(self) -> Team:
        """Who trains. One process alone looks at its devices only once it trains, as most runs need no Keras."""
        return join(self.place)

    @cached_property
    def orders(self) -> Orders:
        """What the other processes train."""
        return Orders(self.team)

    @property
    def trainings(self) -> Mapping[str, Callable[[], Any]]:
        """What all processes of a run do together."""
        return {"train": self._trained, "qat": self._simulated, "control": self._controlled_float}

    @cached_property
    def known(self) -> Sidecar:
        """The preprocessing and the class names of every model of the run."""
        if self.recipe.model.path is None:
            return Sidecar(Preprocess.from_recipe(self.recipe.preprocess), self.splits.train.classes)
        found = sidecar.read(self.out / "float.tflite")
        assert found is not None
        return found

    @property
    def preprocess(self) -> Preprocessing:
        """From a sample to the input of every model; None where samples are not images."""
        return self.known.preprocess

    def _graph(self, name: str) -> Graph:
        return integer_forms(Graph.read(self.out / name)).graph

    def _feed(self, images: ImageSet, graph: Graph) -> Feed:
        return Feed(images, self.preprocess, inputs_of(graph))

    @contextmanager
    def _warned(self) -> Iterator[list[str]]:
        """A list that holds the warnings of a block once it has ended; they are shown then."""
        said: list[str] = []
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", OctavoWarning)
            yield said
        said += [str(item.message) for item in caught if issubclass(item.category, OctavoWarning)]
        for text in said:
            self.progress.say(text)

    # The stages, in their order.

    def _data(self) -> None:
        with self._warned() as said:
            splits = self.splits
            calibrating = self.calibration if self.recipe.quantize.path is None else None
        dataset = self.source
        first = splits.train.images[0]
        summary = DataSummary(
            source=dataset.source,
            classes=list(dataset.classes),
            train=SplitSummary.of(splits.train),
            validation=SplitSummary.of(splits.validation) if splits.validation is not None else None,
            test=SplitSummary.of(splits.test),
            calibration=SplitSummary.of(calibrating) if calibrating is not None else None,
            warnings=said,
            input_shape=[] if isinstance(first, dict) else list(first.shape),
        )
        self._write(summary)
        of = f" of {len(dataset.classes)} classes" if dataset.classes else ""
        self.progress.say(f"data: {len(splits.train)} training and {len(splits.test)} test images{of}")

    def _train(self) -> None:
        from octavo.source.keras_file import save

        self._before_training("train")
        model, history = self._trained()
        sizes = save(model, self.out / "model.keras", self.known)
        self._write(BaselineRecord.of(history, bytes=sizes))

    def _trained(self) -> tuple[Any, History]:
        from octavo.training import baseline

        recipe, preprocess = self.recipe, self.known.images
        check_trainable(self.splits.train, self.source.source)
        if recipe.model.architecture.startswith(APPLICATIONS):
            baseline.check_scale(recipe.model.architecture, preprocess.scale, recipe.model.weights is not None)
        model = baseline.build(recipe.model, preprocess.shape, len(self.known.classes), recipe.seed)
        if recipe.model.parameters is not None:
            few = calibration(self.splits.train, min(baseline.PRUNED_BY, len(self.splits.train)), recipe.seed)
            images = preprocess.apply(few.pictures)
            model = baseline.prune(model, images, recipe.model.parameters, self.progress, self.team)
        history = baseline.fit(
            model,
            self.splits.train,
            self.splits.validation,
            preprocess,
            recipe.train,
            recipe.seed,
            self.out / ".train",
            self.progress,
            self.watch,
            self.team,
            self._teacher(),
        )
        return model, history

    def _teacher(self) -> Teacher | None:
        """The model from which the network learns, if the recipe names one."""
        recipe, preprocess = self.recipe.train, self.known.images
        if recipe.teacher is None:
            return None
        loaded = load_model(recipe.teacher, progress=self.progress)
        found = loaded.sidecar
        check_teacher(loaded.graph, preprocess, found.classes if found else (), self.known.classes)
        own = found.preprocess if found and isinstance(found.preprocess, Preprocess) else preprocess
        return Teacher(loaded.graph, own, recipe.teacher_share)

    def _export(self) -> None:
        from octavo.source.export import to_float_tflite
        from octavo.source.keras_file import load_keras

        self._write_model("float.tflite", to_float_tflite(load_keras(self.out / "model.keras")))

    def _read_own(self, path: Path) -> None:
        inputs, noted = self._inputs, Noted(self.progress, [])
        loaded = load_float(path, inputs.signature, inputs.size, lambda: self.splits.train.size, noted)
        check_float(loaded.graph)
        images, _ = understood(loaded, self.splits.train, inputs, Silent())
        preprocess = choose_scale(loaded, inputs, lambda: images, noted).checked()
        task, output = inputs.task or task_of(loaded), output_of(loaded, inputs)
        known = Sidecar(preprocess, names_for(loaded, images, inputs), task, images.windows, output)
        write_model(self.out / "float.tflite", loaded.graph.content, known)
        self._write(record_of(path, noted.notes, preprocess))

    @property
    def _inputs(self) -> Inputs:
        """The images, and the options of the model that takes them."""
        asked = self.recipe.evaluate
        return replace(self.recipe.inputs, task=asked.task, output=asked.output)

    def _understood(self, images: ImageSet, calibrate: bool = False) -> tuple[ImageSet, Task]:
        """Images with their labels in the order of the model's outputs, and the task that scores it."""
        loaded = Loaded(self._graph("float.tflite"), self.known)
        return understood(loaded, images, self._inputs, Silent() if calibrate else self.progress, calibrate)

    def _calibrate(self) -> None:
        graph = self._graph("float.tflite")
        feed = self._feed(self.calibration, graph)
        images, _ = self._understood(self.calibration, calibrate=True)
        with self._warned() as of_images:
            data_checks.warn_of_images(images, self.preprocess)
        with self.progress.track("calibrate", len(feed)) as advance:
            seen = survey(graph, feed, self.recipe.quantize.options.first_observer, advance)
        with self._warned() as of_survey:
            data_checks.warn_of_survey(graph, images, self.preprocess, seen)
        self._write(RangesRecord.of(seen.ranges, warnings=[*of_images, *of_survey]))

    @property
    def _models(self) -> list[str]:
        """The evaluated models: the one that is delivered, and those to compare it with."""
        recipe = self.recipe
        if recipe.quantize.method == "ptq":
            return ["float", "int8"]
        return ["float", "int8", "ptq", *(["control"] if self._controlled else [])]

    @property
    def _controlled(self) -> bool:
        """Whether the float graph trains too; without labels it would learn from itself alone, and not change."""
        return self.recipe.qat.control and self._read(QatRecord).labelled

    def _start(self) -> tuple[Graph, Ranges]:
        """The float graph and its calibrated ranges."""
        return self._graph("float.tflite"), self._read(RangesRecord).ranges

    def _write_model(self, name: str, content: bytes, observer: str | None = None) -> None:
        write_model(self.out / name, content, replace(self.known, observer=observer))

    def _post_training(self) -> Made:
        """Post-training quantization, after the recipe's tuning passes."""
        graph, ranges = self._start()
        feed = self._feed(self.calibration, graph)
        with Trials() as trials:
            made = quantized(graph, ranges, feed, self.recipe.quantize.options, progress=self.progress, trials=trials)
            # Later stages read the tensors inside it, and run it on other kernels.
            trials.made(made.int8.content, graph.name)
        for step in made.tuned.steps:
            self.progress.say(f"{step.name}: {step.tuned.summary}")
        self._write(TuningRecord(steps=[step.record for step in made.tuned.steps]))
        return made

    def _quantize(self) -> None:
        made = self._post_training()
        self._deliver(made.tuned.reference, made.int8, prove(made.int8), made.ranges.observer)
        self._write(AnswersRecord.of(made.answers))
        for line in made.answers.describe():
            self.progress.say(f"quantize: {line}")

    def _ptq(self) -> None:
        made = self._post_training()
        prove(made.int8)
        self._write_model("ptq.tflite", made.int8.content, made.ranges.observer)

    def _before_training(self, what: str, *files: str) -> None:
        """Tells the other processes, and fixes TensorFlow's threads where the recipe asks for it.

        Args:
            what: One of `trainings`.
            files: Those of the run that it reads.
        """
        if self.recipe.deterministic:
            make_deterministic()
        self.orders.give(Order(what, {name: (self.out / name).read_bytes() for name in files}))

    def _simulated(self) -> tuple[Simulation, History]:
        from octavo.simulate import Simulation

        asked, (graph, ranges) = self.recipe.quantize, self._start()
        images = self._feed(self.calibration, graph)
        tuned = started(graph, ranges, images, self.recipe.qat.start, asked.options, self.progress)
        simulation = Simulation(tuned.graph, tuned.ranges, asked.allow_float, asked.precision)
        return simulation, self._fit(simulation, "qat", graph if tuned.steps else None)

    def _qat(self) -> None:
        self._before_training("qat", "float.tflite", "float.tflite.json", RangesRecord.file)
        simulation, history = self._simulated()
        made = convert(simulation)
        graph = simulation.graph
        write_bytes(self.out / "trained.tflite", graph.content)
        self._write(QatRecord.of(history, ranges=TensorRanges.of(simulation.ranges)))
        self._deliver(graph, made.quantized, made.proof)

    def _controlled_float(self) -> tuple[FloatModel, History]:
        from octavo.simulate import FloatModel

        control = FloatModel(self._graph("float.tflite"))
        return control, self._fit(control, "control")

    def _control(self) -> None:
        self._before_training("control", "float.tflite", "float.tflite.json")
        control, history = self._controlled_float()
        self._write_model("control.tflite", control.graph.content)
        self._write(TrainingRecord.of(history))

    def _fit(self, model: FloatModel, title: str, teacher: Graph | None = None) -> History:
        recipe, splits = self.recipe, self.splits
        workdir = self.out / f".{title}"
        # As the run is evaluated: training samples without labels do not tell the task.
        task = self._understood(splits.test, calibrate=True)[1]
        return qat.fit(
            model,
            self._understood(splits.train, calibrate=True)[0],
            None if splits.validation is None else self._understood(splits.validation, calibrate=True)[0],
            self.preprocess,
            recipe.qat,
            recipe.seed,
            workdir,
            self.progress,
            title,
            task,
            self.watch,
            teacher,
            self.team,
        )

    def _deliver(self, graph: Graph, int8: Quantized, proof: Proof, observer: str | None = None) -> None:
        """Writes the int8 model, made from `graph`, with its proof and the data for the report."""
        self._write_model("int8.tflite", int8.content, observer)
        self._write(proof)
        feed = self._feed(self.calibration, graph)
        self._write(distributions(graph, int8, feed))
        self._measure(graph, int8.content)
        self.progress.say(f"quantize: {len(int8.content):,} bytes, {len(proof.checks)} checks passed")

    def _read_int8(self, path: Path) -> None:
        loaded = load_model(path, images=lambda: self.splits.train.size, progress=self.progress)
        graph = self._graph("float.tflite")
        if all(tensor.qparams is None for tensor in loaded.graph.tensors):
            raise ModelError(f"'{path}' is a float model, and one that is quantized was expected.")
        if loaded.sidecar is not None and loaded.sidecar.preprocess != self.preprocess:
            raise ModelError(
                f"The sidecar of '{path}' prepares images otherwise than that of the float model.",
                "Set `scale`, `interpolation` and `channels` as in that sidecar; compare a model that takes raw pixels "
                "before it is made to.",
            )
        if (windows := windows_of(loaded)) is not None and windows != self.known.windows:
            raise ModelError(
                f"The sidecar of '{path}' cuts recordings into {windows.describe()}.",
                f"Set `window_step` to {windows.step}.",
            )
        content = loaded.graph.content if loaded.canonical else loaded.content
        self._write_model("int8.tflite", content)
        proof = examine(content)
        self._write(proof)
        found = answers(graph, Graph(content), self._feed(self._others(COMPARED), graph))
        self._write(AnswersRecord.of(found))
        self._measure(graph, content)
        passed = sum(check.passed for check in proof.checks)
        self.progress.say(f"int8: {len(content):,} bytes, {passed} of {len(proof.checks)} checks passed")

    def _measure(self, graph: Graph, int8: bytes) -> None:
        """The error of every tensor of the int8 model against those of `graph`, and the sizes of all files."""
        others = self._others(COMPARED)
        with self.progress.track("compare", len(others)) as advance:
            compared = compare_tensors(graph, Graph(int8), self._feed(others, graph), progress=advance)
        self._write(compared)
        keras = self._read(BaselineRecord).bytes if self.recipe.model.path is None else None
        source = self._graph("float.tflite").content
        sizes = Sizes(
            files=FileSizes(
                keras_with_optimizer=None if keras is None else keras.keras_with_optimizer,
                keras=None if keras is None else keras.keras,
                float_tflite=len(source),
                int8_tflite=len(int8),
            ),
            breakdown=Breakdown(float_tflite=breakdown(source), int8_tflite=breakdown(int8)),
        )
        self._write(sizes)

    def _others(self, count: int) -> ImageSet:
        """Images for measurements: validation images, else training images; never test images."""
        others = self.splits.validation or self.splits.train
        return others.take(evenly(len(others), count))

    def _evaluate(self) -> None:
        graphs = {name: self._graph(f"{name}.tflite") for name in self._models}
        test, task = self._understood(self.splits.test)
        scores: dict[str, Scores] = {}
        for name, graph in graphs.items():
            with self.progress.track(f"evaluate {name}", len(test)) as advance:
                scores[name] = evaluate(graph, test, self.preprocess, progress=advance, task=task)
        times = latency([graph.content for graph in graphs.values()], seconds=1.0)
        models = {
            name: ModelEvaluation(
                file=f"{name}.tflite",
                sha256=self.manifest.hash_of(f"{name}.tflite"),
                latency=time,
                **dict(model_score(scores[name])),
            )
            for (name, time) in zip(graphs, times, strict=True)
        }
        before, after = scores["float"], scores["int8"]
        compared = compare(before, after, self.recipe.evaluate.margin)
        changed = before.changed(after)[:GALLERY]
        evaluation = Evaluation(
            task=before.task,
            metric=before.metric,
            others=list(before.others),
            likeness=before.likeness,
            images=len(test),
            classes=list(before.classes) if isinstance(before, SingleLabelScores) else list(test.classes),
            kernels=before.kernels,
            models=models,
            comparison=Delivery(**dict(compared), disagreements=[shown(test, before, after, item) for item in changed]),
            pairs=self._pairs(scores),
        )
        self._write(evaluation)
        truth = before.arrays().get("truth")
        with replacing(self.out / "predictions.npz") as temporary:
            arrays = {name: score.arrays()["answers"] for name, score in scores.items()}
            arrays |= {"ids": np.array(test.ids)} | ({} if truth is None else {"labels": truth})
            np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
        said = ", ".join(
            f"{name} {score.metric.text(score.value(score.metric))}" for name, score in scores.items() if score.known
        )
        alike = f"{after.likeness.title} {after.likeness.text(compared.agreement)}"
        self.progress.say(f"evaluate: {said or f'int8 against float, {alike}'}")

    def _deployment(self) -> None:
        before, after = (self.out / f"{name}.tflite" for name in ("float", "int8"))
        graph = Graph.read(after)
        output = output_of(Loaded(graph, self.known), self._inputs)
        place = 0 if output is None else place_of(graph, output)
        classes = place if self._read(Evaluation).task == "single-label" else None
        feed = self._feed(self._others(TRIED), graph)
        self._write(measure.measure(before, after, feed, self.recipe.deployment, classes, self.progress.say))

    def _pairs(self, scores: dict[str, Scores]) -> list[PairComparison]:
        """Every other model against the float one, and int8 against every other, image by image."""
        others = [name for name in scores if name not in ("float", "int8")]
        pairs = [("float", name) for name in others] + [(name, "int8") for name in others]
        margin = self.recipe.evaluate.margin
        compared = {(a, b): compare(scores[a], scores[b], margin) for a, b in pairs}
        return [PairComparison(before=a, after=b, **dict(found)) for (a, b), found in compared.items()]
