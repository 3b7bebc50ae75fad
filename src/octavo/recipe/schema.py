"""Recipes: what one run does, as a YAML file validated key by key.

A recipe is data; the only code that it can name is a function of an installed module (`model.architecture`).
`load_recipe` reads a built-in recipe by name or a file by path, applies ``key=value`` settings from the shell, and
names the line of every key it does not know or cannot read. It also makes the recipe of a run that starts from a model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, field_validator, model_validator

from octavo.base.address import Address, address
from octavo.base.border import border, parse_yaml
from octavo.base.errors import RecipeError
from octavo.base.formats import FORMATS, Precision, named, trainable
from octavo.recipe.choices import (
    OBSERVERS,
    PASSES,
    TASKS,
    TRACKERS,
    ObserverName,
    PassName,
    TaskName,
    TrackerName,
    explained,
)
from octavo.recipe.keyed import Lines, Section, mistakes, parsed, text_of
from octavo.recipe.options import Inputs, Quantization, Scales

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


def _address(value: Any) -> Address | None:
    if value is not None and not isinstance(value, str | Path):
        raise ValueError(f"expected a path or a URL, not {value!r}")
    return None if value is None else address(value)


def _at_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"there is no such home directory: {path}") from None


File = Annotated[Path, AfterValidator(_at_home)]


class DataRecipe(Section):
    """Which images, and how many of each split."""

    source: Literal["digits", "cifar10", "path"] = Field(
        "path",
        description="`digits` (scikit-learn's, bundled), `cifar10` (downloaded by Keras unless `path` is set), or "
        "`path`: an image folder, an archive of one, an `.npz` file, or shards.",
    )
    path: Annotated[Address | None, BeforeValidator(_address)] = Field(
        None,
        description="Folder, archive or `.npz`; or shards, also as a pattern or a URL (docs/scaling.md); for `cifar10` "
        "also an official archive.",
    )
    train: Count | None = Field(None, description="Training images, stratified by class; all by default.")
    validation: Annotated[int, Field(ge=0)] = Field(
        0, description="Images for choosing (early stopping, range search), taken from the training split."
    )
    test: Count | None = Field(None, description="Held-out images, stratified by class; all by default.")


class PreprocessRecipe(Section):
    """How an image becomes the model's input; the same in training, calibration, evaluation and deployment."""

    size: Annotated[int, Field(ge=32, le=1024)] = Field(224, description="Width and height of the input, in pixels.")
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = Field(
        "bicubic", description="Pillow's filter for resizing."
    )
    scale: Scales = Field(
        (-1.0, 1.0),
        description="The input values of pixels 0 and 255. Of a model of your own with several inputs, of all its "
        "images, or by the input's name: `{image: [0, 255]}`.",
    )
    channels: Literal["rgb", "bgr", "gray"] = Field("rgb", description="Channel order of the input.")
    window_step: int | None = Field(
        None,
        ge=1,
        description="Of a CSV or WAV file that is longer than the input, the rows from window to window; when empty, "
        "as the model's sidecar says, or as many as the input has. For a model of your own.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> PreprocessRecipe:
        for low, high in self.scale.values() if isinstance(self.scale, Mapping) else (self.scale,):
            if low >= high:
                raise ValueError(f"the first number must be below the second, not {[low, high]}")
        return self


MOBILENET = "mobilenet_v2"
LITE = "efficientnet_lite"
# What stands before the name of a network of Keras.
APPLICATIONS = "keras.applications."


class ModelRecipe(Section):
    """The network that is trained, or a model of your own, which is not."""

    path: File | None = Field(
        None,
        description="A trained model of your own: a `.keras`, `.h5`, `.tflite` or `.onnx` file, or a SavedModel "
        "folder. Nothing is trained before it is quantized, so `train` and the keys below `labels` are left out. "
        "`preprocess` then has only what the model's sidecar and its TFLite metadata do not say.",
    )
    signature: str | None = Field(None, description="Which graph of a `.tflite` file with several; with `path` only.")
    labels: File | None = Field(
        None,
        description="A text file with the model's class names, one a line, in the order of its outputs; with `path` "
        "only.",
    )
    architecture: Annotated[
        str, Field(pattern=r"^(mobilenet_v2|efficientnet_lite[0-4]|keras\.applications\.\w+|\w+(\.\w+)*:\w+)$")
    ] = Field(
        "mobilenet_v2",
        description="`mobilenet_v2`; `efficientnet_lite0` to `efficientnet_lite4`; any network of Keras, as "
        "`keras.applications.EfficientNetB0`; or a Python function, as `package.module:build`, called with the "
        "keywords `input_shape` and `classes`, which returns a Keras model that ends in a softmax. Such a recipe runs "
        "that function's code. The module is imported from the environment: installed, or in PYTHONPATH, never from "
        "the current folder.",
    )
    alpha: Annotated[float, Field(gt=0, le=2)] = Field(1.0, description="Width multiplier; of `mobilenet_v2`.")
    weights: str | None = Field(
        None,
        description="`imagenet` (downloaded by Keras), the path of a `.weights.h5` file, or nothing: from scratch. "
        "Keras has none of `efficientnet_lite0` to `4`: docs/runs.md says how to make such a file.",
    )
    parameters: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="At most so many parameters: before training, those inner channels of inverted bottlenecks are "
        "pruned that add least to the outputs of their blocks on 256 training images. Nothing: the network as it is.",
    )
    output_stride: Literal[8, 16, 32] = Field(
        32,
        description="Input size over the size of the last feature map; of `mobilenet_v2`. 32 is the network as "
        "published; 16 and 8 keep the resolution in the first stages, for images of few pixels.",
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.2, description="Dropout before the classifier.")

    @model_validator(mode="after")
    def _of_the_network(self) -> ModelRecipe:
        """Keys that the network does not have must be at their defaults."""
        if self.architecture == MOBILENET:
            return self
        names = ["alpha", "output_stride"]
        if ":" in self.architecture:
            names += ["weights", "dropout"]
        if set_ := [name for name in names if getattr(self, name) != type(self).model_fields[name].default]:
            raise ValueError(f"{self.architecture} has no {', '.join(set_)}: leave out {', '.join(set_)}")
        return self


class AugmentRecipe(Section):
    """Random changes to training images, made by Keras' own preprocessing layers."""

    flip: bool = Field(False, description="Mirror half of the images horizontally.")
    shift: Share = Field(0.0, description="Largest translation, as a share of the size; edges are reflected.")
    crop: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="Random resized crop: the largest share of each side that is cut away (0.25: keep 75%).",
    )
    mixup: Annotated[float, Field(ge=0)] = Field(0.0, description="Mixup's alpha (1710.09412); 0 is off.")
    randaugment: Annotated[int, Field(ge=0, le=10)] = Field(
        0, description="RandAugment (1909.13719): operations per image; 0 is off."
    )
    randaugment_magnitude: Share = Field(0.3, description="RandAugment's strength.")


class TrainRecipe(Section):
    """How the float baseline is trained."""

    epochs: Count = Field(5, description="Passes over the training images.")
    batch: Count = Field(32, description="Images per step.")
    optimizer: Literal["adam", "sgd"] = Field("adam", description="Adam, or SGD with Nesterov momentum 0.9.")
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-3, description="Peak learning rate of the classifier.")
    backbone_rate: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="Backbone learning rate as a share of `learning_rate` (discriminative learning rates).",
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="Each block's rate as a share of the block's above it; 1 is the same rate throughout.",
    )
    warmup: Share = Field(0.1, description="Share of the steps in which the rate rises from 0 (warm-up).")
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="How the learning rate changes after the warm-up."
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.0, description="Decoupled weight decay.")
    unfreeze_from: str | None = Field(
        None,
        description="The first backbone layer to train, by name; all layers before it keep their weights. Nothing: "
        "train all. `head`: train only the classifier.",
    )
    gradual_unfreezing: Annotated[int, Field(ge=0)] = Field(
        0, description="Train only the classifier for this many epochs, then all layers."
    )
    batch_norm: Literal["update", "frozen"] = Field(
        "update",
        description="Whether batch norms update their statistics on the training images, or keep the loaded ones.",
    )
    batch_norm_momentum: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="Momentum of the moving statistics; Keras' MobileNetV2 has 0.999, too slow for a short run.",
    )
    adapt_batch_norm: bool = Field(
        False,
        description="Re-estimate all batch-norm statistics on the training images before training (AdaBN, 1603.04779).",
    )
    reestimate_batch_norm: bool = Field(
        False,
        description="Re-estimate them after training, over un-augmented training images, for the final weights.",
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="Label smoothing (1512.00567).")
    teacher: File | None = Field(
        None,
        description="A trained classifier of the same images and classes, such as the `float.tflite` of another run, "
        "from whose outputs the network learns too (distillation, 1503.02531).",
    )
    distill: Share | None = Field(
        None, description="Share of the teacher's outputs in the targets; 0.5 if left out, and the rest are the labels."
    )
    early_stopping: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Stop after this many epochs without a better validation accuracy, keep the best; 0 is off.",
    )
    weight_averaging: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Decay of an exponential average of the weights, used at the end; 0 is off."
    )
    augment: AugmentRecipe = Field(AugmentRecipe(), description="Augmentation.")

    @model_validator(mode="after")
    def _taught(self) -> TrainRecipe:
        if self.distill is not None and self.teacher is None:
            raise ValueError("distill is the share of a teacher, which is missing: set teacher to a model")
        return self

    @property
    def teacher_share(self) -> float:
        """The share of the teacher's outputs in the targets."""
        return 0.5 if self.distill is None else self.distill


class CalibrateRecipe(Section):
    """The calibration images."""

    images: Count | None = Field(
        None,
        description="Calibration images, stratified, from the training split; by default 100, or all if there "
        "are fewer.",
    )
    seed: int | None = Field(
        None, description="Seed of the choice of calibration images; that of the recipe when left out."
    )


class QuantizeRecipe(Section):
    """How the integer model is made; the fields of `octavo.recipe.options.Quantization`, and the method."""

    path: File | None = Field(
        None,
        description="An int8 `.tflite` that was made before, by any converter, from `model.path`. The run measures it "
        "and makes none, so `calibrate`, `qat` and the other keys of `quantize` are left out.",
    )
    method: Literal["ptq", "qat"] = Field(
        "ptq",
        description="`ptq`: post-training quantization. `qat`: quantization-aware training after it, the two side by "
        "side in the report.",
    )
    observer: ObserverName | None = Field(
        None,
        description=f"How calibration values become a range; `minmax` if left out. {explained(OBSERVERS, '`')}. If it "
        "is left out, and an output with `minmax` is not very close to the float model's, method `ptq` takes the "
        "observer whose answers do best. Recipes of version 0.1 say `calibrate.observer`.",
    )
    tune: tuple[PassName, ...] = Field(
        ("compensate",),
        description="Tuning passes of post-training quantization, in this order; they need no labels. "
        f"{explained(PASSES, '`')}.",
    )
    allow_float: bool = Field(
        False,
        description="Keep ops without an integer form in float, and list them, instead of refusing the model.",
    )
    precision: dict[str, Precision] = Field(
        {},
        description=f"Precision of ops that are not int8: {named('`')}; by an op's name (`octavo inspect "
        "--ops`), kind, or a pattern such as `*`. Later entries override earlier ones; a "
        "pattern applies only to ops that support that precision.",
    )

    @property
    def options(self) -> Quantization:
        """The record that functions take."""
        return Quantization(self.observer, self.tune, self.precision, self.allow_float)

    @model_validator(mode="after")
    def _trainable(self) -> QuantizeRecipe:
        other = [name for name in self.precision.values() if not FORMATS[name].trainable]
        if self.method == "qat" and other:
            raise ValueError(f"quantize.method qat does not simulate {other[0]}: use {trainable()}")
        return self


class QatRecipe(Section):
    """Quantization-aware training, which starts from what tuning passes made of the float graph."""

    start: tuple[PassName, ...] = Field(
        ("compensate",),
        description="Tuning passes, in this order, from whose weights and ranges training starts; none: from float.",
    )
    epochs: Count = Field(2, description="Passes over the training images.")
    batch: Count = Field(32, description="Images per step.")
    learning_rate: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="Adam's peak learning rate; by default the best of a few, each tried for a few steps.",
    )
    range_rate: Annotated[float, Field(ge=0)] = Field(
        1.0,
        description="The activation ranges' rate as a share of `learning_rate`; 0 leaves them as calibrated.",
    )
    freeze_ranges: Share = Field(0.25, description="Share of the steps, at the end, in which the ranges do not change.")
    warmup: Share = Field(0.1, description="Share of the steps over which the rate rises from 0; it then falls to 0.")
    weight_averaging: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.95, description="Decay of an exponential average of the weights; the averaged weights are kept. 0 is off."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="Label smoothing, of classes.")
    distill: Share = Field(
        0.0,
        description="Share of the distance to the float graph's outputs in the loss (distillation); 1 needs no labels. "
        "The task `outputs` has no other loss.",
    )
    control: bool = Field(
        True,
        description="Also train the float graph in the same way, as the control to compare int8 with.",
    )
    augment: AugmentRecipe = Field(AugmentRecipe(), description="Augmentation, of images without masks.")

    @field_validator("start", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        """Recipes in run directories of earlier versions say null for none."""
        return () if value is None else value


class EvaluateRecipe(Section):
    """How float and int8 are compared."""

    margin: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="Largest loss at which int8 still counts as non-inferior, in the unit of the task's score. When "
        "left out: 0.02 of a share, that is 2 points, and 5% of the float model's value of any other score.",
    )
    task: TaskName | None = Field(
        None, description=f"How outputs are scored; guessed if left out. {explained(TASKS, '`')}."
    )
    output: str | None = Field(
        None, description="The output that is scored, of a model with several, by its name; the first if left out."
    )


class DeploymentRecipe(Section):
    """The measurements of the int8 model, compared with the float model."""

    seconds: Annotated[float, Field(gt=0)] = Field(
        2.0, description="Approximate time for timing float and int8 side by side, for each kernel family, in seconds."
    )
    kernels: tuple[Literal["xnnpack", "builtin", "reference"], ...] = Field(
        ("xnnpack", "builtin"),
        description="LiteRT's kernel families that are timed. `reference` gives the outputs of a microcontroller; "
        "its time on this machine can be long, and says nothing about a microcontroller's.",
        min_length=1,
    )
    targets: bool = Field(True, description="Check the int8 model on every target.")
    browser: bool = Field(
        False, description="Also check it in a browser: starts a headless Chromium, with LiteRT.js from npm's cache."
    )

    @model_validator(mode="after")
    def _asked(self) -> DeploymentRecipe:
        if self.browser and not self.targets:
            raise ValueError("deployment.browser is one of the targets: set deployment.targets too")
        return self


class Recipe(Section):
    """One run, from images to report.

    Example:
        >>> recipe = Recipe(name="mine", data=DataRecipe(source="digits"), train=TrainRecipe(epochs=3))
        >>> recipe.train.epochs, recipe.preprocess.size
        (3, 224)
    """

    name: str = Field(description="The run's name in its report.")
    title: str = Field("", description="The report's title.")
    seed: int = Field(0, description="Seeds the choice of images, the initial weights and the training order.")
    log: tuple[TrackerName, ...] = Field(
        (),
        description=f"Where the finished run is logged: one of these, or a list. {explained(TRACKERS, '`')}.",
    )
    deterministic: bool = Field(
        False,
        description="Train so that the same seed gives the same weights on any number of cores (docs/reliability.md): "
        "TensorFlow then uses a fixed number of threads.",
    )
    data: DataRecipe = Field(description="Images.")
    preprocess: PreprocessRecipe = Field(PreprocessRecipe(), description="Preprocessing, from image to input.")
    model: ModelRecipe = Field(ModelRecipe(), description="Network.")
    train: TrainRecipe = Field(TrainRecipe(), description="Training of the float baseline.")
    calibrate: CalibrateRecipe = Field(CalibrateRecipe(), description="Activation ranges.")
    quantize: QuantizeRecipe = Field(QuantizeRecipe(), description="The integer model.")
    qat: QatRecipe = Field(QatRecipe(), description="Quantization-aware training, where `quantize.method` is `qat`.")
    evaluate: EvaluateRecipe = Field(EvaluateRecipe(), description="Evaluation and the comparison of float and int8.")
    deployment: DeploymentRecipe = Field(DeploymentRecipe(), description="Latency, memory, and the targets.")

    @field_validator("log", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    @property
    def summary(self) -> str:
        """What it trains, in a line with its numbers. Its title has none, since `--set` may change them."""
        images = f"{self.data.train:,} images" if self.data.train else "all images"
        return f"{self.title}: {images}, {self.preprocess.size} pixels, {self.train.epochs} epochs"

    @property
    def files(self) -> dict[str, Address]:
        """The files and folders that it names, by the key that names them."""
        weights = None if self.model.weights in (None, "imagenet") else Path(str(self.model.weights))
        named = {
            "data.path": self.data.path,
            "model.path": self.model.path,
            "model.labels": self.model.labels,
            "model.weights": weights,
            "train.teacher": self.train.teacher,
            "quantize.path": self.quantize.path,
        }
        return {key: path for key, path in named.items() if path is not None}

    @property
    def inputs(self) -> Inputs:
        """The images of a run from an own model, and the options of its preprocessing: only what the recipe sets."""
        said = self.preprocess.model_dump(include=self.preprocess.model_fields_set)
        side = said.pop("size", None)
        size = None if side is None else (side, side)
        made = Inputs(self.data.path, self.calibrate.images, self.seed, self.model.signature, size, **said)
        return replace(made, labels=self.model.labels)

    def to_json(self) -> dict[str, Any]:
        """Every value, as a JSON value; of an own model's recipe, without what only training would read."""
        value = self.model_dump(mode="json")
        if self.model.path is None:
            return value
        unread = ["train"] if self.quantize.path is None else ["train", "calibrate", "qat"]
        chosen: dict[str, Section] = {"model": self.model, "preprocess": self.preprocess}
        if self.quantize.path is not None:
            chosen["quantize"] = self.quantize
        value |= {name: part.model_dump(mode="json", exclude_unset=True) for name, part in chosen.items()}
        return {name: part for name, part in value.items() if name not in unread}

    @model_validator(mode="after")
    def _own_model(self) -> Recipe:
        given = self.model.model_fields_set
        if self.model.path is None:
            if self.model.signature is not None:
                raise ValueError("model.signature chooses a graph of model.path, which is missing")
            if self.model.labels is not None:
                raise ValueError("model.labels names the classes of model.path, which is missing")
            if self.quantize.path is not None:
                raise ValueError("quantize.path needs the float model that it was made from: set model.path")
            if isinstance(self.preprocess.scale, Mapping):
                raise ValueError("preprocess.scale names inputs of model.path, which is missing: set two numbers")
            return self
        unused = [
            f"model.{name}" for name in ModelRecipe.model_fields if name in given - {"path", "signature", "labels"}
        ]
        unused += ["train"] if "train" in self.model_fields_set else []
        if unused:
            raise ValueError(
                f"model.path is a trained model, which is not trained again: leave out {', '.join(unused)}"
            )
        return self

    @model_validator(mode="after")
    def _trains_the_network(self) -> Recipe:
        """Some ways of training need to know the network's layers."""
        network = self.model.architecture
        needs = ["layer_decay"] if network != MOBILENET else []
        needs += ["unfreeze_from", "gradual_unfreezing", "backbone_rate"] if ":" in network else []
        if given := [n for n in needs if getattr(self.train, n) != TrainRecipe.model_fields[n].default]:
            raise ValueError(
                f"train.{given[0]} needs the layers of {MOBILENET}, and {network} has others: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _trains(self) -> Recipe:
        if self.deterministic and self.model.path is not None and self.quantize.method == "ptq":
            raise ValueError("deterministic is about training, and this recipe trains nothing: leave it out")
        return self

    @model_validator(mode="after")
    def _made_before(self) -> Recipe:
        if self.quantize.path is None:
            return self
        given = self.quantize.model_fields_set - {"path"}
        unused = [f"quantize.{name}" for name in QuantizeRecipe.model_fields if name in given]
        unused += [name for name in ("calibrate", "qat") if name in self.model_fields_set]
        if unused:
            raise ValueError(f"quantize.path names a model that is made already: leave out {', '.join(unused)}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _of_the_first_version(cls, value: Any) -> Any:
        """Version 0.1 had the observer among the images that calibrate."""
        match value:
            case {"calibrate": {"observer": observer, **images}}:
                quantize = value.get("quantize") or {}
                return {**value, "calibrate": images, "quantize": {"observer": observer, **quantize}}
        return value


def names() -> list[str]:
    """The built-in recipes' names.

    Example:
        >>> "digits" in names()
        True
    """
    folder = resources.files("octavo.recipe") / "builtin"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(name_or_path: Path | str, settings: list[str] | None = None) -> Recipe:
    """Reads a recipe and applies settings to it.

    Args:
        name_or_path: A built-in recipe's name, the path of a YAML file, or the path of a trained model, of which the
            recipe of a run is made.
        settings: ``key=value`` texts, keys dotted (``train.epochs=3``), values as in YAML.

    Raises:
        RecipeError: There is no such recipe, or a key is unknown, missing or has a wrong value.

    Example:
        >>> load_recipe("digits", ["train.epochs=3"]).train.epochs
        3
        >>> load_recipe("float.tflite", ["data.path=photos"]).model
        ModelRecipe(path=PosixPath('float.tflite'))
    """
    if name_or_path not in names() and is_model(Path(name_or_path)):
        path = Path(name_or_path)
        value: dict[str, Any] = {"name": path.resolve().stem, "data": {}, "model": {"path": str(path)}}
        return recipe_of(value, settings or [], f"the run of '{path}'")
    if name_or_path in names():
        where = f"recipe '{name_or_path}'"
        text = (resources.files("octavo.recipe") / "builtin" / f"{name_or_path}.yaml").read_text("utf-8")
    else:
        path = Path(name_or_path)
        if not path.is_file():
            raise RecipeError(
                f"There is no recipe '{name_or_path}'.",
                f"Use one of {', '.join(names())}, the path of a YAML file, or that of a model.",
            )
        where = f"'{path}'"
        text = text_of(path)
    value, lines = parsed(text, where, "See docs/recipes.md.")
    return recipe_of(value, settings or [], where, lines)


def is_model(path: Path) -> bool:
    """Whether a path is that of a model, by what it is: a folder, or a file that is not text."""
    if not path.is_file():
        return path.is_dir()
    with path.open("rb") as stream:
        return b"\0" in stream.read(1024)


def recipe_of(value: dict[str, Any], settings: Sequence[str], where: str, lines: Lines | None = None) -> Recipe:
    """The recipe of a value, after settings were applied to it.

    Args:
        value: A recipe's sections and keys; settings change it.
        settings: ``key=value`` texts; see `load_recipe`.
        where: What the recipe is, for messages.
        lines: For each key's path the place where it stands (``line 7``).

    Raises:
        RecipeError: A key is unknown, missing or has a wrong value.
    """
    lines = {} if lines is None else lines
    for setting in settings:
        _apply(value, lines, setting)
    try:
        return Recipe.model_validate(value)
    except ValidationError as error:
        raise mistakes(error, Recipe, where, lines) from None


def _apply(value: dict[str, Any], lines: Lines, setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise RecipeError(f"'{setting}' is not a setting.", "Write --set KEY=VALUE, such as --set train.epochs=3.")
    path = tuple(key.strip().split("."))
    with border(f"The value of '{setting}' is not valid YAML", kind=RecipeError):
        parsed, _ = parse_yaml(text)
    if isinstance(parsed, str):
        # YAML 1.1 reads 1e-3 as text; every shell user means the number.
        with contextlib.suppress(ValueError):
            parsed = float(parsed)
    for part in path[:-1]:
        inner = value.setdefault(part, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"'{key}' cannot be set: '{part}' is a value, not a section.")
        value = inner
    value[path[-1]] = parsed
    lines[path] = "--set"
