"""Two records of options that belong together: the inputs, and how to quantize.

For every field the command line has a flag, functions have a keyword, and recipes have a key of the same name. The
meaning of a field is described only here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar

from octavo.base.address import Address, address
from octavo.base.errors import OctavoError
from octavo.base.formats import Precision
from octavo.recipe.choices import OBSERVERS, TASKS, ObserverName, PassName, TaskName, explained

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Channels = Literal["rgb", "bgr", "gray"]
# The input values of pixels 0 and 255; for all images that a model takes, or by the input's name.
Scale = tuple[float, float]
Scales = Scale | Mapping[str, Scale]
# A path; or samples that Python code gives, arrays or an iterable: see `octavo.data.given`.
Source = Path | str | Iterable[Any] | Callable[[], Iterable[Any]]


@dataclass(frozen=True)
class Inputs:
    """Which images are used, and how an image becomes the model's input.

    Args:
        data: A folder or an archive (.tar, .tar.gz, .zip) of images, or of CSV or WAV files, or an .npz file; or shards
            (.tar, Parquet): a folder, a pattern such as ``train-{000..012}.tar``, or a URL. In Python also arrays, or
            an iterable of samples: see `octavo.data.given`.
        images: How many of them; each function says how many it uses if this is None.
        seed: Seed of the choice of images.
        signature: Which graph of a `.tflite` file with several signatures.
        size: Height and width of the images, where a `.tflite` file leaves them open.
        scale: The input values of pixels 0 and 255; of a model with several inputs, of all its images, or by the
            input's name, as in ``{"image": (0, 255)}``. This field and the two below come from the model's sidecar
            where they are None.
        interpolation: How images are resized.
        channels: Channel order.
        task: How outputs are scored. It comes from the model's sidecar, or from its outputs and the labels, if it is
            None.
        output: The output that is scored, of a model with several, by its name. It comes from the model's sidecar if it
            is None; else it is the first.
        window_step: Of a CSV or WAV file that is longer than the model's input, the rows from the start of a window to
            that of the next. It comes from the model's sidecar, or is the length of the input, if it is None.
        labels: A text file with the model's class names, one a line, in the order of its outputs. Classes of images are
            matched with them by name. They come from the model's sidecar, or its TFLite metadata, if this is None.

    Example:
        >>> Inputs(Path("photos"), images=200, scale=(0, 1)).images
        200
    """

    data: Source | None = field(
        default=None,
        metadata={
            "help": "Folder or archive (.tar, .tar.gz, .zip) of images, CSV or WAV files; an .npz; or shards (.tar, "
            "Parquet), also at a URL."
        },
    )
    images: int | None = field(default=None, metadata={"help": "Number of images."})
    seed: int = field(default=0, metadata={"help": "Seed of the choice of images."})
    signature: str | None = field(
        default=None, metadata={"help": "The signature to use, of a .tflite file with several."}
    )
    size: tuple[int, int] | None = field(
        default=None, metadata={"help": "Height and width of the images, if the .tflite file leaves them open."}
    )
    scale: Scales | None = field(
        default=None,
        metadata={
            "help": "The input values of pixels 0 and 255, as in 0,255; of one of several inputs, by its name, as in "
            "image=0,255 (repeatable). From the model's sidecar if it has one."
        },
    )
    interpolation: Interpolation | None = field(
        default=None, metadata={"help": "How images are resized; by default from the model's sidecar."}
    )
    channels: Channels | None = field(
        default=None, metadata={"help": "Channel order; by default from the model's sidecar."}
    )
    task: TaskName | None = field(
        default=None,
        metadata={"help": f"How outputs are scored; guessed if left out. {explained(TASKS)}."},
    )
    output: str | None = field(
        default=None,
        metadata={"help": "The output that is scored, of a model with several; the first if left out."},
    )
    labels: Path | str | None = field(
        default=None,
        metadata={"help": "Text file of class names, one a line, in the model's order; else from its sidecar."},
    )

    window_step: int | None = field(
        default=None,
        metadata={
            "help": "Rows from window to window of CSV and WAV files longer than the input; else from its sidecar, or "
            "as many as the input has."
        },
    )

    @property
    def path(self) -> Address | None:
        """The path of the data, or their URL.

        Raises:
            OctavoError: They come from Python code, and a recipe can name a file or a folder only.
        """
        if self.data is None or isinstance(self.data, Path | str):
            return None if self.data is None else address(self.data)
        raise OctavoError(
            "A recipe names its data by a path, and samples were given.",
            "Save them with numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...), and give that path.",
        )


@dataclass(frozen=True)
class Quantization:
    """How a float model becomes an integer model.

    Args:
        observer: How the values seen in calibration become a range: `octavo.quantization.observers`. None is min-max,
            which post-training quantization replaces where another one gives better answers:
            `octavo.analysis.observer_choice`.
        tune: The tuning passes, in their order: `octavo.tuning.tune`.
        precision: Ops that are not int8, by name, kind or pattern:
            `octavo.quantization.precision.resolve`.
        allow_float: Keep ops without an integer form in float, and list them, instead of refusing the model.

    Example:
        >>> Quantization(observer="mse", precision={"CONV_2D": "int4"}).tune
        ('compensate',)
    """

    observer: ObserverName | None = field(
        default=None,
        metadata={"help": f"How calibration values become a range; minmax if left out. {explained(OBSERVERS)}."},
    )
    tune: tuple[PassName, ...] = field(default=("compensate",), metadata={"help": "Tuning passes to apply, in order."})
    precision: Mapping[str, Precision] = field(
        default_factory=dict, metadata={"help": "Precision of ops that are not int8, by name, kind or pattern."}
    )
    allow_float: bool = field(
        default=False, metadata={"help": "Keep ops without an int8 form in float, and list them."}
    )

    @property
    def first_observer(self) -> ObserverName:
        """The observer that calibrates first: the one that was asked for, or min-max."""
        return self.observer or "minmax"

    def refuse(self, *names: str, why: str) -> None:
        """Refuses fields that a function does not use, if they were set.

        Args:
            names: Fields.
            why: One sentence.

        Raises:
            OctavoError: One of them is not at its default.
        """
        usual = Quantization()
        given = [name for name in names if getattr(self, name) != getattr(usual, name)]
        if given:
            raise OctavoError(why, f"Leave out {' and '.join(f'`{name}`' for name in given)}.")


class InputFields(TypedDict, total=False):
    """The fields of `Inputs` as keywords, except `data`."""

    images: int | None
    seed: int
    signature: str | None
    size: tuple[int, int] | None
    scale: Scales | None
    interpolation: Interpolation | None
    channels: Channels | None
    task: TaskName | None
    output: str | None
    labels: Path | str | None
    window_step: int | None


class QuantizationFields(TypedDict, total=False):
    """The fields of `Quantization` as keywords."""

    observer: ObserverName | None
    tune: tuple[PassName, ...] | list[PassName]
    precision: Mapping[str, Precision] | None
    allow_float: bool


class Fields(InputFields, QuantizationFields, total=False):
    """The fields of both records as keywords."""


Record = TypeVar("Record", Inputs, Quantization)


def inputs_of(data: Source | Inputs | None, given: InputFields) -> Inputs:
    """The inputs that a caller asked for.

    Args:
        data: A path, samples, or a record.
        given: Fields that replace the record's.

    Raises:
        OctavoError: A field is not what it should be.
        TypeError: There is no such field.

    Example:
        >>> inputs_of("photos", {"images": 20}).images
        20
    """
    record = data if isinstance(data, Inputs) else Inputs(address(data) if isinstance(data, str) else data)
    return _checked(record, given)


def options_of(data: Source | Inputs, quantization: Quantization, given: Fields) -> tuple[Inputs, Quantization]:
    """The inputs and the quantization that a caller asked for: see `inputs_of`."""
    names = {item.name for item in fields(Inputs)}
    mine: Any = {name: value for name, value in given.items() if name in names}
    rest = {name: value for name, value in given.items() if name not in names}
    if "precision" in rest and rest["precision"] is None:
        rest["precision"] = {}
    return inputs_of(data, mine), _checked(quantization, rest)


def meaning(record: type[Inputs] | type[Quantization], name: str) -> str:
    """The meaning of a field of a record, in one sentence for help and documents."""
    return str(next(item for item in fields(record) if item.name == name).metadata["help"])


def _checked(record: Record, given: Mapping[str, Any]) -> Record:
    """The record with some fields replaced and validated."""
    from pydantic import ValidationError

    kind: Any = type(record)
    known = {item.name: getattr(record, item.name) for item in fields(record)}
    if unknown := set(given) - set(known):
        raise TypeError(f"unexpected keyword argument '{min(unknown)}'")
    # Samples stay as they are: to validate an iterable would be to read it.
    kept = {"data": known.pop("data")} if "data" in known else {}
    try:
        checked: Record = _adapter(kind).validate_python({**known, **given})
    except ValidationError as error:
        raise OctavoError(_mistake(error)) from None
    return replace(checked, **kept)


@cache
def _adapter(record: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(record)


def _mistake(error: Any) -> str:
    """The first mistake, with the argument's name in backticks; the shell makes a flag of it."""
    from octavo.recipe.keyed import plain

    item = plain(error)[0]
    name, *inner = (part for part in item["loc"])
    place = "".join(f" of '{part}'" if isinstance(part, str) else f", item {part + 1}" for part in inner)
    if item["type"] == "literal_error":
        return f"`{name}`{place} should be {item['ctx']['expected']}, not {item['input']!r}."
    return f"`{name}`{place}: {item['msg'][0].lower() + item['msg'][1:]}, not {item['input']!r}."
