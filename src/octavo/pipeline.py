"""The story: a run from images to report, and the same acts on single files."""

from __future__ import annotations

import base64
import io
import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from octavo import checks, devices, qat, sidecar
from octavo.benchmark import undelegated
from octavo.calibrate import calibrate
from octavo.compare import Compared
from octavo.compare import compare as compare_tensors
from octavo.convert import convert
from octavo.data.dataset import ImageSet, OctavoWarning
from octavo.data.open import open_dataset
from octavo.data.preprocess import Preprocess
from octavo.data.split import Splits, calibration, draw, draw_calibration, draw_test, draw_training
from octavo.distributions import distributions
from octavo.errors import DataError, ModelError
from octavo.evaluate import Scores, compare, disagreements, evaluate
from octavo.feed import Feed
from octavo.files import replacing, write_bytes, write_json, write_text
from octavo.fitting.history import History
from octavo.graph import Graph
from octavo.inspect import inspect
from octavo.manifest import Manifest, fingerprint, versions
from octavo.precision import Precision, resolve
from octavo.progress import Progress, Silent
from octavo.prove import Proof, prove
from octavo.quantize import Quantized, quantize
from octavo.ranges import Ranges
from octavo.recipe import QatRecipe, Recipe, load_recipe
from octavo.runtime import Kernels, Model, Port, latency, vet
from octavo.sidecar import Sidecar
from octavo.size import breakdown
from octavo.table import build
from octavo.tune import Step, Tuning, tune

if TYPE_CHECKING:
    from octavo.simulate import FloatModel

# How many images on which float and int8 disagree the report shows.
GALLERY = 24
# On how many images a run compares float and int8 tensor by tensor: the figures are sums over all values of each.
COMPARED = 16
# How many images every target runs.
TRIED = 8


def run(recipe: Recipe | str, out: Path | str, progress: Progress | None = None, command: str = "") -> Path:
    """Runs a recipe: images to float baseline to int8 model to report.

    Every stage writes its artefact and a manifest into `out`. A second run redoes only what changed; a run that
    was killed goes on at the stage, and the training epoch, that it had reached.

    Args:
        recipe: A recipe, or the name or path of one.
        out: The run directory; made if missing.
        progress: Where progress goes; nowhere when left out.
        command: The command line, for the record.

    Returns:
        The path of the report, `report.html`.

    Raises:
        OctavoError: Something that the user can mend.
    """
    made = load_recipe(recipe) if isinstance(recipe, str) else recipe
    return _Run(made, Path(out), progress or Silent(), command).go()


def splits_of(recipe: Recipe) -> Splits:
    """The training, validation and test images of a recipe; the same recipe gives the same images."""
    return draw(open_dataset(recipe.data.source, recipe.data.path), recipe.data, recipe.seed)


def calibration_of(recipe: Recipe, splits: Splits) -> ImageSet:
    """The calibration images of a recipe, out of its training images."""
    return calibration(splits.train, recipe.calibrate.images, recipe.seed, "calibrate.images")


class _Run:
    """One run of one recipe in one directory."""

    def __init__(self, recipe: Recipe, out: Path, progress: Progress, command: str) -> None:
        self.recipe = recipe
        self.out = out
        self.progress = progress
        self.preprocess = Preprocess.from_recipe(recipe.preprocess)
        facts = {"recipe": recipe.name, "title": recipe.title, "seed": recipe.seed, "command": command}
        self.manifest = Manifest(out, facts)

    def go(self) -> Path:
        write_text(self.out / "recipe.yaml", yaml.safe_dump(self._json(self.recipe), sort_keys=False))
        recipe, seed, of = self.recipe, self.recipe.seed, self.manifest.hash_of
        data = {"data": self._json(recipe.data), "calibrate": self._json(recipe.calibrate), "seed": seed}
        self._stage("data", {**data, "files": fingerprint(recipe.data.path)}, ["data.json"], self._data)
        self._stage(
            "train",
            {
                "images": of("data.json"),
                "preprocess": self._json(recipe.preprocess),
                "model": self._json(recipe.model),
                "train": self._json(recipe.train),
                "seed": seed,
                "versions": versions(),
            },
            ["model.keras", "model.keras.json", "history.json"],
            self._train,
        )
        self._stage("export", {"model": of("model.keras")}, ["float.tflite", "float.tflite.json"], self._export)
        self._stage(
            "calibrate",
            {"float": of("float.tflite"), "images": of("data.json"), "calibrate": self._json(recipe.calibrate)},
            ["ranges.json"],
            self._calibrate,
        )
        start = {"float": of("float.tflite"), "ranges": of("ranges.json"), "quantize": self._json(recipe.quantize)}
        written = ["int8.tflite", "int8.tflite.json", "proof.json", "distributions.json", "compare.json", "size.json"]
        if recipe.quantize.method == "ptq":
            images = {"images": of("data.json")}
            self._stage("quantize", {**start, **images}, [*written, "tuning.json"], self._quantize)
        else:
            training = {"images": of("data.json"), "qat": self._json(recipe.qat), "seed": seed, "versions": versions()}
            self._stage("quantize", {**start, **training}, [*written, "trained.tflite", "qat.json"], self._qat)
            ptq = {**start, "images": of("data.json")}
            self._stage("ptq", ptq, ["ptq.tflite", "ptq.tflite.json", "tuning.json"], self._ptq)
            if recipe.qat.control:
                self._stage(
                    "control",
                    {"float": of("float.tflite"), **training},
                    ["control.tflite", "control.tflite.json", "control.json"],
                    self._control,
                )
        self._stage(
            "evaluate",
            {
                "models": {name: of(f"{name}.tflite") for name in self._models},
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
                "images": of("data.json"),
                "deployment": self._json(recipe.deployment),
                "tools": versions(devices.TOOLS),
            },
            ["deployment.json"],
            self._deployment,
        )
        self.manifest.write()
        from octavo import report

        report.write(self.out)
        return self.out / "report.html"

    def _stage(self, name: str, inputs: dict[str, Any], outputs: list[str], work: Any) -> None:
        if not self.manifest.stage(name, inputs, outputs, work):
            self.progress.say(f"{name}: unchanged")

    @staticmethod
    def _json(section: Any) -> Any:
        return section.model_dump(mode="json")

    def _read(self, name: str) -> Any:
        return json.loads((self.out / name).read_text("utf-8"))

    @cached_property
    def splits(self) -> Splits:
        return splits_of(self.recipe)

    @cached_property
    def calibration(self) -> ImageSet:
        return calibration_of(self.recipe, self.splits)

    def _graph(self, name: str) -> Graph:
        return Graph.read(self.out / name)

    def _feed(self, images: ImageSet, graph: Graph) -> Feed:
        return Feed(images, self.preprocess, Model(graph, workers=1).input)

    # The stages, in their order.

    def _data(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", OctavoWarning)
            splits = self.splits
        said = [str(item.message) for item in caught if issubclass(item.category, OctavoWarning)]
        for text in said:
            self.progress.say(text)
        dataset = open_dataset(self.recipe.data.source, self.recipe.data.path)
        first = splits.train.images[0]
        value = {
            "source": dataset.source,
            "classes": list(dataset.classes),
            "train": _facts(splits.train),
            "validation": _facts(splits.validation) if splits.validation is not None else None,
            "test": _facts(splits.test),
            "calibration": _facts(self.calibration),
            "warnings": said,
            "input_shape": list(first.shape),
        }
        write_json(self.out / "data.json", value)
        self.progress.say(
            f"data: {len(splits.train)} training and {len(splits.test)} test images of {len(dataset.classes)} classes"
        )

    def _train(self) -> None:
        from octavo import train

        recipe = self.recipe
        classes = self.splits.train.classes
        model = train.build(recipe.model, self.preprocess.shape, len(classes), recipe.seed)
        history = train.fit(
            model,
            self.splits.train,
            self.splits.validation,
            self.preprocess,
            recipe.train,
            recipe.seed,
            self.out / ".train",
            self.progress,
        )
        sizes = train.save(model, self.out / "model.keras")
        Sidecar(self.preprocess, classes).write(self.out / "model.keras")
        write_json(self.out / "history.json", {**history.to_json(), "bytes": sizes})

    def _export(self) -> None:
        from octavo.export import to_float_tflite
        from octavo.train import load_keras

        write_bytes(self.out / "float.tflite", to_float_tflite(load_keras(self.out / "model.keras")))
        Sidecar(self.preprocess, self.splits.train.classes).write(self.out / "float.tflite")

    def _calibrate(self) -> None:
        graph = self._graph("float.tflite")
        feed = self._feed(self.calibration, graph)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", OctavoWarning)
            _warn(graph, self.calibration, feed, self.preprocess)
        said = [str(item.message) for item in caught if issubclass(item.category, OctavoWarning)]
        for text in said:
            self.progress.say(text)
        with self.progress.track("calibrate", len(feed)) as advance:
            ranges = calibrate(graph, feed, self.recipe.calibrate.observer, advance)
        write_json(self.out / "ranges.json", {**ranges.to_json(), "warnings": said})

    @property
    def _models(self) -> list[str]:
        """The models that are evaluated: what is delivered, and what it is to be compared with."""
        recipe = self.recipe
        if recipe.quantize.method == "ptq":
            return ["float", "int8"]
        return ["float", "int8", "ptq", *(["control"] if recipe.qat.control else [])]

    def _start(self) -> tuple[Graph, Ranges]:
        """The float graph and its calibrated ranges."""
        return self._graph("float.tflite"), Ranges.from_json(self._read("ranges.json"))

    def _write_model(self, name: str, content: bytes) -> None:
        write_bytes(self.out / name, content)
        Sidecar(self.preprocess, self.splits.train.classes).write(self.out / name)

    def _tuned(self) -> tuple[Tuning, Quantized]:
        """Post-training quantization: the float graph after the recipe's acts, and its int8 form."""
        graph, ranges = self._start()
        wanted = self.recipe.quantize
        plan = partial(build, allow_float=wanted.allow_float, precision=wanted.precision)
        tuned = tune(graph, ranges, self._feed(self.calibration, graph), wanted.tune, plan, self.progress)
        write_json(self.out / "tuning.json", {"steps": [step.to_json() for step in tuned.steps]})
        return tuned, quantize(tuned.graph, tuned.ranges, wanted.allow_float, wanted.precision)

    def _quantize(self) -> None:
        tuned, int8 = self._tuned()
        self._deliver(tuned.reference, int8, prove(int8))

    def _ptq(self) -> None:
        _, int8 = self._tuned()
        prove(int8)
        self._write_model("ptq.tflite", int8.content)

    def _qat(self) -> None:
        from octavo.simulate import Simulation

        asked = self.recipe.quantize
        simulation = Simulation(*self._start(), asked.allow_float, asked.precision)
        history = self._fit(simulation, "qat")
        made = convert(simulation)
        graph = simulation.graph
        write_bytes(self.out / "trained.tflite", graph.content)
        write_json(self.out / "qat.json", {**history.to_json(), "ranges": simulation.ranges.to_json()})
        self._deliver(graph, made.quantized, made.proof)

    def _control(self) -> None:
        from octavo.simulate import FloatModel

        control = FloatModel(self._graph("float.tflite"))
        history = self._fit(control, "control")
        self._write_model("control.tflite", control.graph.content)
        write_json(self.out / "control.json", history.to_json())

    def _fit(self, model: FloatModel, title: str) -> History:
        recipe, splits = self.recipe, self.splits
        workdir = self.out / f".{title}"
        return qat.fit(
            model,
            splits.train,
            splits.validation,
            self.preprocess,
            recipe.qat,
            recipe.seed,
            workdir,
            self.progress,
            title,
        )

    def _deliver(self, graph: Graph, int8: Quantized, proof: Proof) -> None:
        """Writes the int8 model, made from `graph`, with its proof and what the report shows of it."""
        self._write_model("int8.tflite", int8.content)
        write_json(self.out / "proof.json", proof.to_json())
        feed = self._feed(self.calibration, graph)
        write_json(self.out / "distributions.json", distributions(graph, int8, feed))
        others = self._others(COMPARED)
        with self.progress.track("compare", len(others)) as advance:
            seen = compare_tensors(graph, Graph(int8.content), self._feed(others, graph), progress=advance)
        write_json(self.out / "compare.json", seen.to_json())
        keras = self._read("history.json")["bytes"]
        source = self._graph("float.tflite").content
        write_json(
            self.out / "size.json",
            {
                "files": {**keras, "float_tflite": len(source), "int8_tflite": len(int8.content)},
                "breakdown": {"float_tflite": breakdown(source), "int8_tflite": breakdown(int8.content)},
            },
        )
        self.progress.say(f"quantize: {len(int8.content):,} bytes, {len(proof.checks)} checks passed")

    def _others(self, count: int) -> ImageSet:
        """Images to look at: of validation, which did not set the ranges, else of training; never test images."""
        others = self.splits.validation or self.splits.train
        return others.take(np.linspace(0, len(others) - 1, min(count, len(others))).astype(int))

    def _evaluate(self) -> None:
        graphs = {name: self._graph(f"{name}.tflite") for name in self._models}
        test = self.splits.test
        scores: dict[str, Scores] = {}
        for name, graph in graphs.items():
            with self.progress.track(f"evaluate {name}", len(test)) as advance:
                scores[name] = evaluate(graph, test, self.preprocess, progress=advance)
        times = latency([graph.content for graph in graphs.values()], seconds=1.0)
        models = {
            name: {
                "file": f"{name}.tflite",
                "sha256": self.manifest.hash_of(f"{name}.tflite"),
                **scores[name].to_json(),
                "latency_ms": {"median": time.median, "p90": time.p90, "min": time.minimum, "runs": time.runs},
            }
            for (name, time) in zip(graphs, times, strict=True)
        }
        compared = compare(scores["float"], scores["int8"], self.recipe.evaluate.margin)
        shown = [_shown(test, scores, place) for place in disagreements(scores["float"], scores["int8"])[:GALLERY]]
        write_json(
            self.out / "evaluation.json",
            {
                "images": len(test),
                "classes": list(test.classes),
                "kernels": scores["float"].kernels,
                "models": models,
                "comparison": {**compared, "disagreements": shown},
                "pairs": self._pairs(scores),
            },
        )
        with replacing(self.out / "predictions.npz") as temporary:
            np.savez_compressed(
                temporary,
                labels=scores["float"].labels,
                ids=np.array(test.ids),
                **{name: score.probabilities for name, score in scores.items()},  # type: ignore[arg-type]
            )
        said = ", ".join(f"{name} {score.accuracy().value:.2%}" for name, score in scores.items())
        self.progress.say(f"evaluate: {said}")

    def _deployment(self) -> None:
        before, after = (self.out / f"{name}.tflite" for name in ("float", "int8"))
        feed = self._feed(self._others(TRIED), Graph.read(after))
        value = devices.measure(before, after, feed, self.recipe.deployment, self.progress.say)
        write_json(self.out / "deployment.json", value)

    def _pairs(self, scores: dict[str, Scores]) -> list[dict[str, Any]]:
        """Every other model against the float one, and int8 against every other, image by image."""
        others = [name for name in scores if name not in ("float", "int8")]
        pairs = [("float", name) for name in others] + [(name, "int8") for name in others]
        margin = self.recipe.evaluate.margin
        return [{"before": a, "after": b, **compare(scores[a], scores[b], margin)} for a, b in pairs]


def _warn(graph: Graph, images: ImageSet, feed: Feed, preprocess: Preprocess) -> None:
    """Says what the data checks find in calibration images."""
    # Labels tell only where the images' classes can be the model's.
    classes = int(np.prod(graph.tensors[graph.outputs[0]].shape[1:]))
    labels = images.labels if len(images.classes) == classes else None
    scale = f"[{preprocess.scale[0]:g}, {preprocess.scale[1]:g}]"
    findings = [
        *checks.of_images(images),
        *checks.of_answers(graph, feed, labels, scale),
        *checks.of_ranges(graph, feed),
    ]
    for finding in findings:
        warnings.warn(finding, OctavoWarning, stacklevel=3)


def _facts(images: ImageSet) -> dict[str, Any]:
    counts = np.bincount(images.labels, minlength=len(images.classes)).tolist() if images.labels is not None else []
    return {"images": len(images), "per_class": counts, "digest": images.digest()}


def _shown(test: ImageSet, scores: dict[str, Scores], place: int) -> dict[str, Any]:
    """An image that float and int8 call differently, for the report's gallery."""
    before, after = scores["float"], scores["int8"]
    names = test.classes
    return {
        "id": test.ids[place],
        "label": names[int(before.labels[place])],
        "float": names[int(before.predictions[place])],
        "int8": names[int(after.predictions[place])],
        "float_probability": float(before.probabilities[place].max()),
        "int8_probability": float(after.probabilities[place].max()),
        "image": _picture(test.images[place]),
    }


def _picture(image: np.ndarray[Any, Any]) -> str | None:
    """An image as a data URI; None for float inputs, which are no pictures."""
    from PIL import Image

    if image.dtype != np.uint8:
        return None
    picture = Image.fromarray(image)
    picture.thumbnail((128, 128))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


# The same acts on single files.


@dataclass(frozen=True)
class Loaded:
    """A model from a file, as a float or int8 graph, with what belongs to it."""

    graph: Graph
    belongs: Sidecar | None


def load_model(path: Path | str) -> Loaded:
    """Reads a `.tflite` or `.keras` model; a Keras model is exported to a float graph.

    A `.tflite` file is first tried in a child process, since a damaged one can crash the runtime.

    Raises:
        ModelError: There is no such file, or it is not a model that can be read.
    """
    path = Path(path)
    if not path.exists():
        raise ModelError(f"There is no file '{path}'.", "Give the path of a .tflite or .keras model.")
    if path.is_dir():
        raise ModelError(f"'{path}' is a folder.", "Give the path of a .tflite or .keras model.")
    belongs = sidecar.read(path)
    if path.suffix in {".keras", ".h5", ".hdf5"}:
        from octavo.export import to_float_tflite
        from octavo.train import load_keras

        return Loaded(Graph(to_float_tflite(load_keras(path)), f"'{path}'"), belongs)
    graph = Graph.read(path)
    vet(path)
    return Loaded(graph, belongs)


def preprocess_for(
    model: Loaded,
    scale: tuple[float, float] | None = None,
    interpolation: str | None = None,
    channels: str | None = None,
    progress: Progress | None = None,
) -> Preprocess:
    """The preprocessing that a model's images need: what was said, else its sidecar's, else a stated guess."""
    if len(model.graph.inputs) != 1 or len(shape := model.graph.tensors[model.graph.inputs[0]].shape) != 4:
        raise ModelError(
            f"{model.graph.name} does not take one image: its input should have the shape (1, height, width, channels)."
        )
    base = model.belongs.preprocess if model.belongs is not None else None
    if base is None:
        if shape[3] not in (1, 3):
            raise ModelError(f"{model.graph.name} takes images of {shape[3]} channels; 1 or 3 were expected.")
        base = Preprocess((shape[1], shape[2]), channels="gray" if shape[3] == 1 else "rgb")
        if scale is None and progress is not None:
            progress.say(
                f"The model has no sidecar: pixels are scaled to [{base.scale[0]:g}, {base.scale[1]:g}] with "
                f"{base.interpolation} resizing. Set --scale if it was trained otherwise."
            )
    value = base.to_json()
    for key, given in (("scale", scale), ("interpolation", interpolation), ("channels", channels)):
        if given is not None:
            value[key] = given
    return Preprocess.from_json(value)


@dataclass(frozen=True)
class FileResult:
    """What `quantize_file` made, and which of its ops XNNPACK leaves to LiteRT's slower kernels."""

    path: Path
    quantized: Quantized
    proof: Proof
    float_bytes: int
    undelegated: list[str]
    steps: tuple[Step, ...] = ()


def quantize_file(
    model: Path | str,
    data: Path | str,
    out: Path | str,
    *,
    images: int | None = None,
    seed: int = 0,
    observer: str = "minmax",
    acts: Sequence[str] = ("compensate",),
    allow_float: bool = False,
    precision: Mapping[str, Precision] | None = None,
    scale: tuple[float, float] | None = None,
    interpolation: str | None = None,
    channels: str | None = None,
    progress: Progress | None = None,
) -> FileResult:
    """Quantizes a `.keras` or float `.tflite` model with calibration images, proves it, and writes it.

    Args:
        model: The float model.
        data: A folder, archive or `.npz` of images; its training images calibrate, never its test images.
        out: The int8 `.tflite` to write; its sidecar goes beside it.
        images: How many calibration images; 100, or all where there are fewer, when left out.
        seed: Of their choice.
        observer: How values seen become a range.
        acts: Tuning acts, names in `octavo.tune.ACTS`, in their order.
        allow_float: Keep in float what has no int8 form.
        precision: What is to be other than int8, by op: see `octavo.precision.resolve`.
        scale: What pixels 0 and 255 become, where no sidecar says so.
        interpolation: How images are resized, where no sidecar says so.
        channels: Channel order, where no sidecar says so.
        progress: Where progress goes.

    Raises:
        OctavoError: The model, the images or the result are not as they should be; nothing is written then.
    """
    progress = progress or Silent()
    out = Path(out)
    if out.resolve() == Path(model).resolve():
        raise ModelError("The output would overwrite the model that is read.", "Give another path with -o.")
    loaded = load_model(model)
    resolve(loaded.graph, precision or {})
    preprocess = preprocess_for(loaded, scale, interpolation, channels, progress)
    chosen = draw_calibration(open_dataset("path", Path(data)), images, seed)
    feed = Feed(chosen, preprocess, Model(loaded.graph, workers=1).input)
    _warn(loaded.graph, chosen, feed, preprocess)
    with progress.track("calibrate", len(feed)) as advance:
        ranges = calibrate(loaded.graph, feed, observer, advance)
    plan = partial(build, allow_float=allow_float, precision=precision)
    tuned = tune(loaded.graph, ranges, feed, acts, plan, progress)
    int8 = quantize(tuned.graph, tuned.ranges, allow_float, precision)
    proof = prove(int8)
    write_bytes(out, int8.content)
    classes = loaded.belongs.classes if loaded.belongs is not None else chosen.classes
    Sidecar(preprocess, classes).write(out)
    return FileResult(out, int8, proof, len(loaded.graph.content), _left_by_xnnpack(int8), tuned.steps)


def qat_file(
    model: Path | str,
    data: Path | str,
    out: Path | str,
    *,
    recipe: QatRecipe | None = None,
    images: int | None = None,
    validation: int | None = None,
    seed: int = 0,
    allow_float: bool = False,
    precision: Mapping[str, Precision] | None = None,
    scale: tuple[float, float] | None = None,
    interpolation: str | None = None,
    channels: str | None = None,
    progress: Progress | None = None,
) -> FileResult:
    """Trains a `.keras` or float `.tflite` classifier for int8 on labelled images, proves it, and writes it.

    A call that was interrupted goes on after the last whole epoch when it is made again.

    Args:
        model: The float model; it is not changed.
        data: A folder, archive or `.npz` of images; its training images train, calibrate and choose, never its test
            images. They may be unlabelled where the recipe learns from the float model alone.
        out: The int8 `.tflite` to write; its sidecar goes beside it.
        recipe: How to train.
        images: How many calibration images; 100, or all where there are fewer, when left out.
        validation: How many training images are set apart to choose the best epoch by; a tenth when left out.
        seed: Of the choice of images, and of their order and augmentation.
        allow_float: Keep in float what has no int8 form.
        precision: What is to be other than int8, by op: int4 or float, see `octavo.precision.resolve`.
        scale: What pixels 0 and 255 become, where no sidecar says so.
        interpolation: How images are resized, where no sidecar says so.
        channels: Channel order, where no sidecar says so.
        progress: Where progress goes.

    Raises:
        OctavoError: The model, the images or the result are not as they should be; nothing is written then.
    """
    from octavo.simulate import Simulation

    progress = progress or Silent()
    out, recipe = Path(out), recipe or QatRecipe()
    if out.resolve() == Path(model).resolve():
        raise ModelError("The output would overwrite the model that is read.", "Give another path with -o.")
    loaded = load_model(model)
    resolve(loaded.graph, precision or {})
    preprocess = preprocess_for(loaded, scale, interpolation, channels, progress)
    train, chosen = draw_training(open_dataset("path", Path(data)), validation, seed)
    _check_classes(loaded, train)
    feed = Feed(calibration(train, images, seed), preprocess, Model(loaded.graph, workers=1).input)
    with progress.track("calibrate", len(feed)) as advance:
        ranges = calibrate(loaded.graph, feed, progress=advance)
    simulation = Simulation(loaded.graph, ranges, allow_float, precision)
    workdir = out.with_name(f".{out.name}.training")
    qat.fit(simulation, train, chosen, preprocess, recipe, seed, workdir, progress)
    made = convert(simulation)
    write_bytes(out, made.quantized.content)
    classes = loaded.belongs.classes if loaded.belongs is not None else train.classes
    Sidecar(preprocess, classes).write(out)
    shutil.rmtree(workdir, ignore_errors=True)
    return FileResult(out, made.quantized, made.proof, len(loaded.graph.content), _left_by_xnnpack(made.quantized))


def _left_by_xnnpack(made: Quantized) -> list[str]:
    return [str(op) for op in undelegated(Graph(made.content))]


def _check_classes(loaded: Loaded, images: ImageSet) -> None:
    if images.labels is None or loaded.belongs is None or not loaded.belongs.classes:
        return
    if loaded.belongs.classes != images.classes:
        raise DataError(
            f"The model's classes are {', '.join(loaded.belongs.classes)}, and the images' are "
            f"{', '.join(images.classes)}.",
            "Name the class folders as the model's classes.",
        )


def evaluate_file(
    model: Path | str,
    data: Path | str,
    *,
    images: int | None = None,
    seed: int = 0,
    kernels: Kernels = "xnnpack",
    scale: tuple[float, float] | None = None,
    interpolation: str | None = None,
    channels: str | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Evaluates a model file on the test images of a folder, archive or `.npz`.

    Args:
        model: A `.tflite` (float or int8) or `.keras` classifier.
        data: Labelled images; the test split where there is one, else all.
        images: How many, stratified; all when left out.
        seed: Of their choice.
        kernels: Which of LiteRT's kernel families runs it.
        scale: What pixels 0 and 255 become, where no sidecar says so.
        interpolation: How images are resized, where no sidecar says so.
        channels: Channel order, where no sidecar says so.
        progress: Where progress goes.

    Raises:
        OctavoError: The model or the images are not as they should be.
    """
    progress = progress or Silent()
    loaded = load_model(model)
    preprocess = preprocess_for(loaded, scale, interpolation, channels, progress)
    test = draw_test(open_dataset("path", Path(data)), images, seed)
    _check_classes(loaded, test)
    with progress.track("evaluate", len(test)) as advance:
        return evaluate(loaded.graph, test, preprocess, kernels, advance)


def compare_files(
    before: Path | str,
    after: Path | str,
    data: Path | str,
    *,
    images: int | None = None,
    seed: int = 1,
    kernels: Kernels = "xnnpack",
    scale: tuple[float, float] | None = None,
    interpolation: str | None = None,
    channels: str | None = None,
    progress: Progress | None = None,
) -> Compared:
    """Compares two model files tensor by tensor on training images: see `octavo.compare.compare`.

    What this shows is used to tune a model, so test images are not touched.

    Args:
        before: The model to measure against: float, or another int8 model.
        after: The model to measure.
        data: A folder, archive or `.npz` of images; its training images, or all of one without splits.
        images: How many; 100, or all where there are fewer, when left out.
        seed: Of their choice; 1, so that they are not those that `quantize_file` calibrates with.
        kernels: Which of LiteRT's kernel families runs both.
        scale: What pixels 0 and 255 become, where no sidecar says so.
        interpolation: How images are resized, where no sidecar says so.
        channels: Channel order, where no sidecar says so.
        progress: Where progress goes.

    Raises:
        OctavoError: The models or the images are not as they should be.
    """
    progress = progress or Silent()
    one, two = load_model(before), load_model(after)
    preprocess = preprocess_for(
        one if one.belongs or not two.belongs else two, scale, interpolation, channels, progress
    )
    chosen = draw_calibration(open_dataset("path", Path(data)), images, seed)
    entry = Model(one.graph, workers=1).input
    feed = Feed(chosen, preprocess, Port(entry.name, entry.shape, "float32", None))
    with progress.track("compare", len(feed)) as advance:
        return compare_tensors(one.graph, two.graph, feed, kernels, advance)


def inspect_file(model: Path | str) -> dict[str, Any]:
    """What a model file is, without images: see `octavo.inspect.inspect`."""
    loaded = load_model(model)
    return inspect(loaded.graph, loaded.belongs)
