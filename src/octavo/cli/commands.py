"""The command line: the functions of `octavo.runs.stages` from a shell.

Nothing heavy is imported before a command runs, so that `--help` answers at once. With `--json`, standard output
holds one JSON value and nothing else; people's words go to standard error.
"""

from __future__ import annotations

import errno
import json
import re
import shlex
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from octavo.base.errors import OctavoError
from octavo.base.progress import Advance

if TYPE_CHECKING:
    from octavo.analysis.target_search import SearchRecord
    from octavo.base.stats import Interval
    from octavo.runs.sweep import Sweep

app = typer.Typer(
    name="octavo",
    help="Takes an image classifier from float32 to full-integer INT8 for LiteRT, and proves the result.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Command(TyperCommand):
    """A command whose messages name flags where Octavo's functions name arguments.

    Functions write arguments in backticks, with a value or without: `images` is --images here, and `distill=1` is
    --distill 1.
    """

    def invoke(self, ctx: Any) -> Any:
        """Runs the command, with warnings shown and errors raised in the words of the shell."""
        with warnings.catch_warnings():
            warnings.showwarning = self._show
            try:
                return super().invoke(ctx)
            except OctavoError as error:
                said = self._in_flags
                raise type(error)(said(error.problem), said(error.todo), [said(d) for d in error.details]) from error

    def _in_flags(self, text: str) -> str:
        flags = {str(option.name).rstrip("_"): option.opts[-1] for option in self.params if option.opts[-1][:2] == "--"}

        def flag(found: re.Match[str]) -> str:
            if found[1] not in flags:
                return found[0]
            value = (found[2] or "").strip("'\"")
            return f"{flags[found[1]]} {value}" if value else flags[found[1]]

        return re.sub("`([a-z_]+)(?:=([^`]+))?`", flag, text)

    def _show(self, message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        """Octavo's own warnings are for people: one line, no source code; other packages' are for developers."""
        if category.__module__.startswith("octavo"):
            sys.stderr.write(f"octavo: {self._in_flags(str(message))}\n")


def _command(example: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a command of a function.

    Args:
        example: A command line that its help ends with.
    """
    return app.command(cls=Command, epilog=f"Example: {example}")


JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
DataPath = Annotated[Path, typer.Option("--data", help="Folder, archive (.tar, .tar.gz, .zip) or .npz of images.")]
Scale = Annotated[
    tuple[float, float] | None,
    typer.Option("--scale", help="What pixels 0 and 255 become; from the model's sidecar if it has one."),
]
Interpolation = Annotated[
    Literal["nearest", "bilinear", "bicubic", "lanczos"] | None,
    typer.Option("--interpolation", help="How images are resized; from the model's sidecar if it has one."),
]
Channels = Annotated[
    Literal["rgb", "bgr", "gray"] | None,
    typer.Option("--channels", help="Channel order; from the model's sidecar if it has one."),
]
Observer = Annotated[
    Literal["minmax", "percentile", "mse", "mae", "entropy"],
    typer.Option("--observer", help="How values seen become a range; all but minmax cut off outliers."),
]

Acts = Annotated[
    str,
    typer.Option(
        "--tune", help="Acts in their order, separated by commas: equalize, bias, compensate, adaround; '' for none."
    ),
]
PrecisionFlags = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        metavar="OP=PRECISION",
        help="int8, int4 (weights), int16x8 (16-bit activations) or float for ops by name (see inspect --ops), "
        "kind or a pattern such as *; repeatable, the later goes first.",
    ),
]


# How often a log file is told how far work is.
SECONDS_PER_LINE = 10.0


class _Shown:
    """Progress on standard error, for people."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    @contextmanager
    def track(self, text: str, total: int) -> Iterator[Advance]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        if not self.console.is_terminal:
            yield self._lines(text, total)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as bars:
            task = bars.add_task(text, total=total)
            yield lambda done: bars.advance(task, done)

    def _lines(self, text: str, total: int) -> Advance:
        """Progress where a bar would be noise, as in a log file: a line every so often, and none for what is quick."""
        done, last = 0, time.monotonic()

        def advance(count: int) -> None:
            nonlocal done, last
            done += count
            if done < total and time.monotonic() - last >= SECONDS_PER_LINE:
                last = time.monotonic()
                self.say(f"{text}: {done} of {total}")

        return advance


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _print_json(value: Any) -> None:
    _print(json.dumps(value, indent=2, ensure_ascii=False))


def _share(interval: Interval) -> str:
    return f"{interval.value:.2%} (95% interval {interval.low:.2%} to {interval.high:.2%})"


@app.command(
    cls=Command,
    epilog="Example: octavo run cifar10 --data cifar-10-python.tar.gz --out runs/cifar10 --set train.epochs=3",
)
def run(
    recipe: Annotated[str, typer.Argument(help="A built-in recipe, or the path of a YAML file.")],
    out: Annotated[Path | None, typer.Option("--out", help="Run directory; runs/RECIPE when left out.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Sets data.path: folder, archive or .npz.")] = None,
    weights: Annotated[str | None, typer.Option("--weights", help="Sets model.weights: a .weights.h5 file.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Sets any key of the recipe; repeatable. Several values for preprocess.size or model.alpha "
            "(96,128,224) run each, and compare their accuracy per millisecond.",
        ),
    ] = None,
    json_: JsonFlag = False,
) -> None:
    """Run a recipe: images to float baseline, int8 model and report. Resumes where it was stopped."""
    from octavo.analysis.evaluation import Evaluation
    from octavo.recipe.schema import load_recipe
    from octavo.runs import stages
    from octavo.runs.sweep import sweep, variants

    given = list(settings or [])
    if data is not None:
        given.append(f"data.path={json.dumps(str(data))}")
    if weights is not None:
        given.append(f"model.weights={json.dumps(weights)}")
    command = shlex.join(["octavo", *sys.argv[1:]])
    shown = _Shown()
    every = variants(given)
    made = load_recipe(recipe, list(every[0].settings))
    folder = out if out is not None else Path("runs") / made.name
    if len(every) > 1:
        _print_sweep(sweep(recipe, given, folder, shown, command), folder, json_)
        return
    report = stages.run(made, folder, shown, command)
    if json_:
        _print_json(json.loads((folder / "report.json").read_text("utf-8")))
        return
    evaluation = Evaluation.read(folder / Evaluation.file)
    for name, model in evaluation.models.items():
        _print(f"{name:7}  {_share(model.accuracy)}  {(folder / model.file).stat().st_size:>12,} bytes")
    _print(f"int8 minus float    {_share(evaluation.comparison.difference)}")
    for pair in evaluation.pairs:
        if pair.after == "int8":
            _print(f"int8 minus {pair.before:7}  {_share(pair.difference)}")
    _print(f"report  {report}")


def _print_sweep(made: Sweep, folder: Path, json_: bool) -> None:
    if json_:
        _print_json(made.to_json())
        return
    for row in made.variants:
        mark = "*" if row.name == made.recommended else " " if row.front else "-"
        _print(
            f"{mark} {row.name:24} {_share(row.interval)}  {row.median_ms:7.2f} ms  "
            f"{row.bytes:>12,} bytes  arena {row.arena:>12,} bytes"
        )
    _print("*: the fastest whose accuracy lies in the interval of the best; -: another is faster and no less accurate.")
    _print(f"wrote   {folder / 'sweep.json'} and {folder / 'sweep.png'}")


@_command("octavo quantize model.keras --data photos/ -o model_int8.tflite")
def quantize(
    model: Annotated[Path, typer.Argument(help="A .keras or float .tflite model.")],
    data: DataPath,
    out: Annotated[Path, typer.Option("-o", "--out", help="The int8 .tflite to write.")],
    images: Annotated[
        int | None, typer.Option("--images", help="Calibration images, of the training images; 100 when left out.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the choice of calibration images.")] = 0,
    observer: Observer = "minmax",
    tune: Acts = "compensate",
    allow_float: Annotated[
        bool, typer.Option("--allow-float", help="Keep in float what has no int8 form, and list it.")
    ] = False,
    precision: PrecisionFlags = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop", min=0, metavar="POINTS", help="Search for the cheapest way to lose no more accuracy."
        ),
    ] = None,
    max_size: Annotated[
        int | None, typer.Option("--max-size", min=1, metavar="BYTES", help="Search for the best file no larger.")
    ] = None,
    max_latency: Annotated[
        float | None,
        typer.Option("--max-latency", min=0, metavar="MS", help="Search for the best model no slower, on one thread."),
    ] = None,
    validation: Annotated[
        int | None, typer.Option("--validation", min=1, help="Training images that judge a search, not calibrating.")
    ] = None,
    train: Annotated[
        bool, typer.Option("--train/--no-train", help="Whether a search may end in training for int8.")
    ] = True,
    scale: Scale = None,
    interpolation: Interpolation = None,
    channels: Channels = None,
    json_: JsonFlag = False,
) -> None:
    """Quantize a model to full-integer int8 with calibration images, and prove the file."""
    if any(limit is not None for limit in (max_drop, max_size, max_latency)):
        from octavo.analysis.target_search import Wish
        from octavo.api.search import search

        if (observer, tune, precision) != ("minmax", "compensate", None):
            raise OctavoError(
                "A search for a target chooses observer, tuning acts and precision itself.",
                "Leave out --observer, --tune and --precision, or the --max-… options.",
            )
        wish = Wish(max_drop, max_size, max_latency)
        found = search(
            model,
            data,
            out,
            wish,
            images=images,
            validation=validation,
            seed=seed,
            train=train,
            allow_float=allow_float,
            scale=scale,
            interpolation=interpolation,
            channels=channels,
            progress=_Shown(),
        )
        _print_search(found.record(str(model)), out, json_)
        return
    from octavo.api.quantize import quantize as quantize_file

    result = quantize_file(
        model,
        data,
        out,
        images=images,
        seed=seed,
        observer=observer,
        tune=_acts(tune),
        allow_float=allow_float,
        precision=_precisions(precision or []),
        scale=scale,
        interpolation=interpolation,
        channels=channels,
        progress=_Shown(),
    )
    _print_written(result, json_)


@_command("octavo qat model.keras --data photos/ -o model_int8.tflite --epochs 3")
def qat(
    model: Annotated[Path, typer.Argument(help="A .keras or float .tflite classifier.")],
    data: DataPath,
    out: Annotated[Path, typer.Option("-o", "--out", help="The int8 .tflite to write.")],
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the training images.")] = 2,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images per step.")] = 32,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Adam's peak rate; the best of a few when left out.")
    ] = None,
    distill: Annotated[
        float, typer.Option("--distill", min=0, max=1, help="Share of the loss from the float model; 1: no labels.")
    ] = 0.0,
    flip: Annotated[bool, typer.Option("--flip", help="Mirror half of the training images.")] = False,
    shift: Annotated[float, typer.Option("--shift", min=0, max=1, help="Shift them by up to this share.")] = 0.0,
    images: Annotated[
        int | None, typer.Option("--images", help="Calibration images, of the training images; 100 when left out.")
    ] = None,
    validation: Annotated[
        int | None, typer.Option("--validation", min=0, help="Training images to choose by; a tenth when left out.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the images' choice, order and augmentation.")] = 0,
    allow_float: Annotated[
        bool, typer.Option("--allow-float", help="Keep in float what has no int8 form, and list it.")
    ] = False,
    precision: PrecisionFlags = None,
    scale: Scale = None,
    interpolation: Interpolation = None,
    channels: Channels = None,
    json_: JsonFlag = False,
) -> None:
    """Train a model for int8 (quantization-aware training), write it, and prove the file. Resumes if interrupted."""
    from octavo.api.qat import qat as qat_file
    from octavo.recipe.schema import AugmentRecipe, QatRecipe

    result = qat_file(
        model,
        data,
        out,
        recipe=QatRecipe(
            epochs=epochs,
            batch=batch,
            learning_rate=learning_rate,
            distill=distill,
            augment=AugmentRecipe(flip=flip, shift=shift),
        ),
        images=images,
        validation=validation,
        seed=seed,
        allow_float=allow_float,
        precision=_precisions(precision or []),
        scale=scale,
        interpolation=interpolation,
        channels=channels,
        progress=_Shown(),
    )
    _print_written(result, json_)


def _check_out(out: Path | None) -> None:
    """Refuses, before any work, a folder that results cannot be written into."""
    if out is not None:
        from octavo.base.files import check_folder

        check_folder(out)


def _list(name: str, text: str) -> list[str]:
    """The items of a list that stands in one option, as in 1,2."""
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise OctavoError(f"`{name}` should be a list with commas, and is '{text}'.")
    return items


def _acts(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _precisions(given: list[str]) -> dict[str, Any]:
    from octavo.base.errors import QuantizationError

    pairs = [text.rpartition("=") for text in given]
    for text, (name, _, _) in zip(given, pairs, strict=True):
        if not name:
            raise QuantizationError(f"--precision {text}: expected OP=PRECISION, for example 'CONV_2D #0=float'.")
    return {name: precision for name, _, precision in pairs}


def _print_search(found: SearchRecord, out: Path, json_: bool) -> None:
    if json_:
        _print_json({"path": str(out), **found.to_json()})
        return
    _print(f"float   {found.before.accuracy:.2%} of {found.images} validation images")
    for trial in found.trials:
        gap = trial.against_float
        _print(
            f"{'chosen' if trial.way == found.chosen else 'tried':7} {gap.value * 100:+6.2f} points "
            f"({gap.low * 100:+.2f} to {gap.high * 100:+.2f})  {trial.bytes:>10,} bytes  "
            f"{trial.median_ms:6.2f} ms  {trial.seconds:6.1f} s  {trial.way}"
        )
    _print(f"wrote   {out}, its sidecar, and {out}.search.json")


def _print_written(result: Any, json_: bool) -> None:
    """What `quantize` and `qat` say of the file that they wrote."""
    proof = result.proof
    if json_:
        tuning = [step.to_json() for step in result.steps]
        found = {"float_bytes": result.float_bytes, "undelegated": result.undelegated, "tuning": tuning}
        _print_json({"path": str(result.path), **found, **proof.to_json()})
        return
    for port, facts in (("input", proof.input), ("output", proof.output)):
        _print(f"{port:6}  {facts.dtype} {facts.shape}  scale {facts.scale}  zero point {facts.zero_point}")
    _print(f"ops     {', '.join(f'{count} {kind}' for kind, count in proof.ops.items())}")
    for step in result.steps:
        _print(f"tuned   {step.act}: {step.tuned.said}")
        for item in step.tuned.left:
            _print(f"        {item}")
    for item in proof.float_left:
        _print(f"float   {item}")
    for precision, count in Counter(proof.precision.values()).items():
        if precision not in ("int8", "float"):
            _print(f"{precision:7} {count} op{'s' if count > 1 else ''}")
    if result.undelegated:
        kinds = Counter(op.split(" #")[0] for op in result.undelegated)
        left = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        _print(f"slow    XNNPACK leaves {left} of {sum(proof.ops.values())} ops to LiteRT's own, slower kernels")
    for item in proof.widened:
        _print(f"widened {item.channels} weight scales of '{item.tensor}', to keep its bias inside its type")
    ratio = result.float_bytes / proof.bytes
    _print(f"size    {result.float_bytes:,} -> {proof.bytes:,} bytes ({ratio:.2f} times smaller)")
    _print(f"proof   {len(proof.checks)} checks passed")
    _print(f"wrote   {result.path} and its sidecar")


@_command("octavo evaluate model_int8.tflite --data photos/")
def evaluate(
    model: Annotated[Path, typer.Argument(help="A .tflite or .keras classifier.")],
    data: DataPath,
    images: Annotated[
        int | None, typer.Option("--images", min=1, help="How many test images; all when left out.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the choice of images.")] = 0,
    kernels: Annotated[
        Literal["xnnpack", "builtin", "reference"], typer.Option("--kernels", help="LiteRT's kernel family.")
    ] = "xnnpack",
    scale: Scale = None,
    interpolation: Interpolation = None,
    channels: Channels = None,
    json_: JsonFlag = False,
) -> None:
    """Measure a model's accuracy on held-out images, on LiteRT."""
    from octavo.api.evaluate import evaluate as evaluate_file

    scores = evaluate_file(
        model,
        data,
        images=images,
        seed=seed,
        kernels=kernels,
        scale=scale,
        interpolation=interpolation,
        channels=channels,
        progress=_Shown(),
    )
    value = {"model": str(model), "images": len(scores.labels), "kernels": scores.kernels, **scores.to_json()}
    if json_:
        _print_json(value)
        return
    _print(f"accuracy  {_share(scores.accuracy())} on {value['images']:,} images, {scores.kernels}")
    width = max(len(row["class"]) for row in value["per_class"])
    _print(f"{'class':{width}}  images  recall  precision")
    for row in value["per_class"]:
        _print(f"{row['class']:{width}}  {row['images']:6}  {row['recall']:6.1%}  {row['precision']:9.1%}")


@_command("octavo slim model_int8.tflite -o model_slim.tflite --pixels int8 --logits")
def slim(
    model: Annotated[Path, typer.Argument(help="A .tflite model.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The .tflite to write.")],
    pixels: Annotated[
        Literal["int8", "uint8"] | None,
        typer.Option("--pixels", help="Take raw pixels: int8 is the byte less 128; uint8 the byte, by one more op."),
    ] = None,
    logits: Annotated[bool, typer.Option("--logits", help="Leave the final Softmax out; the class stays.")] = False,
    fuse: Annotated[
        bool, typer.Option("--fuse/--no-fuse", help="Let kernels do as one what the exporter left apart.")
    ] = True,
    data: Annotated[
        Path | None, typer.Option("--data", help="Images for the proof; made-up ones when left out.")
    ] = None,
    images: Annotated[
        int | None, typer.Option("--images", min=1, help="How many images the proof runs; 16 when left out.")
    ] = None,
    scale: Scale = None,
    json_: JsonFlag = False,
) -> None:
    """Write the same model in fewer bytes, and prove that it says the same on every kernel family."""
    from octavo.api.slim import slim as write_slim

    made = write_slim(
        model,
        out,
        pixels=pixels,
        logits=logits,
        fuse=fuse,
        data=data,
        images=images,
        scale=scale,
        progress=_Shown(),
    )
    if json_:
        _print_json(made.to_json())
        return
    for step in made.steps:
        _print(f"{step.name:8}{step.about}")
        unit = "" if step.loose else " steps"
        for item in step.equality:
            said = (
                "bit-equal"
                if item.equal
                else f"differs by up to {item.steps:g}{unit}, same class on {item.agreement:.1%}"
            )
            _print(f"        {item.kernels:10} {said}; {item.inputs} images, {item.distinct} different outputs")
    for reason in made.left[:5]:
        _print(f"left    {reason}")
    if len(made.left) > 5:
        _print(f"left    {len(made.left) - 5} more like these; --json lists them")
    _print(f"proof   on {made.images}")
    _print(f"input   {made.preprocess.describe()}")
    _print(f"size    {made.before:,} -> {len(made.content):,} bytes")
    _print(f"wrote   {made.path} and its sidecar")


@_command("octavo benchmark float.tflite int8.tflite --threads 1,2 --profile")
def benchmark(
    models: Annotated[list[Path], typer.Argument(help=".tflite models; ratios are to the first.")],
    threads: Annotated[str, typer.Option("--threads", help="Threads inside a run, as in 1,2.")] = "1",
    kernels: Annotated[
        str, typer.Option("--kernels", help="Kernel families, of xnnpack, builtin and reference.")
    ] = "xnnpack",
    seconds: Annotated[float, typer.Option("--seconds", help="About how long each comparison takes.")] = 4.0,
    profile: Annotated[bool, typer.Option("--profile", help="Time every op too, and the machine's int8 peak.")] = False,
    json_: JsonFlag = False,
) -> None:
    """Time models side by side on this machine: latency, ratio, throughput, memory, time to load."""
    from octavo.api.benchmark import benchmark as time_files
    from octavo.runtime.benchmark_views import table

    counts = _list("threads", threads)
    if not all(item.isdigit() for item in counts):
        raise OctavoError(f"`threads` should be numbers from 1 up, as in 1,2, and is '{threads}'.")
    families: Any = _list("kernels", kernels)
    made = time_files(models, [int(item) for item in counts], families, seconds, profile, _Shown())
    if json_:
        _print_json(made.to_json())
    else:
        _print(table(made))


@_command("octavo compare float.tflite model_int8.tflite --data photos/")
def compare(
    before: Annotated[Path, typer.Argument(metavar="FLOAT", help="The model to measure against, .tflite or .keras.")],
    after: Annotated[Path, typer.Argument(metavar="INT8", help="The .tflite to measure, of whatever converter.")],
    data: DataPath,
    images: Annotated[
        int | None, typer.Option("--images", min=1, help="How many training images; 100 when left out.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of their choice; quantize calibrates with those of 0.")] = 1,
    kernels: Annotated[
        Literal["xnnpack", "builtin", "reference"], typer.Option("--kernels", help="LiteRT's kernel family.")
    ] = "xnnpack",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for compare.json and compare.png; made if missing.")
    ] = None,
    scale: Scale = None,
    interpolation: Interpolation = None,
    channels: Channels = None,
    json_: JsonFlag = False,
) -> None:
    """Show where error is made: what each op adds, and what has accumulated up to each tensor."""
    from octavo.api.compare import compare as compare_files

    _check_out(out)
    compared = compare_files(
        before,
        after,
        data,
        images=images,
        seed=seed,
        kernels=kernels,
        scale=scale,
        interpolation=interpolation,
        channels=channels,
        progress=_Shown(),
    )
    value = {"before": str(before), "after": str(after), **compared.to_json()}
    if out is not None:
        from octavo.analysis.compare_views import picture
        from octavo.base.files import write_bytes, write_json

        write_json(out / "compare.json", value)
        write_bytes(out / "compare.png", picture(value))
    if json_:
        _print_json(value)
        return
    from rich.console import Console

    from octavo.analysis.compare_views import short, table, worst

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    console.print(table(value))
    _print(
        f"{value['images']} training images, {value['kernels']}. SQNR in dB: accumulated, and added by the op alone."
    )
    _print("Ops that add most error for their signal:")
    for row in worst(value["tensors"]):
        _print(f"  {row['added']['sqnr']:5.1f} dB  {row['op']:18} {short(row['before'])}")
    for side, path in (("before", before), ("after", after)):
        if value["unmatched"][side]:
            _print(f"only in {path}: {', '.join(value['unmatched'][side])}")
    if out is not None:
        _print(f"wrote   {out / 'compare.json'} and {out / 'compare.png'}")


@_command("octavo sensitivity float.tflite --data photos/ --budget 120")
def sensitivity(
    model: Annotated[Path, typer.Argument(metavar="FLOAT", help="The float model, .tflite or .keras.")],
    data: DataPath,
    images: Annotated[
        int | None, typer.Option("--images", min=1, help="How many training images; 32 when left out.")
    ] = None,
    budget: Annotated[
        float, typer.Option("--budget", min=0, metavar="SECONDS", help="After which no new file is begun.")
    ] = 300.0,
    seed: Annotated[int, typer.Option("--seed", help="Of their choice; quantize calibrates with those of 0.")] = 1,
    calibration: Annotated[
        int | None, typer.Option("--calibration", min=1, help="How many others give the ranges; 100 when left out.")
    ] = None,
    observer: Observer = "minmax",
    tune: Acts = "compensate",
    allow_float: Annotated[
        bool, typer.Option("--allow-float", help="Keep in float what has no int8 form, and list it.")
    ] = False,
    kernels: Annotated[
        Literal["xnnpack", "builtin", "reference"], typer.Option("--kernels", help="LiteRT's kernel family.")
    ] = "xnnpack",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for sensitivity.json and sensitivity.png.")
    ] = None,
    scale: Scale = None,
    interpolation: Interpolation = None,
    channels: Channels = None,
    json_: JsonFlag = False,
) -> None:
    """Show what each op costs in int8: the output with it alone in int8, and with it alone in float; ranked."""
    from octavo.analysis.sensitivity_views import picture, table
    from octavo.api.sensitivity import sensitivity as measure

    _check_out(out)
    found = measure(
        model,
        data,
        images=images,
        seed=seed,
        calibration=calibration,
        observer=observer,
        tune=_acts(tune),
        budget=budget,
        allow_float=allow_float,
        kernels=kernels,
        scale=scale,
        interpolation=interpolation,
        channels=channels,
        progress=_Shown(),
    )
    value = {"model": str(model), **found.to_json()}
    if out is not None:
        from octavo.base.files import write_bytes, write_json

        write_json(out / "sensitivity.json", value)
        write_bytes(out / "sensitivity.png", picture(value))
    if json_:
        _print_json(value)
        return
    from rich.console import Console

    Console(highlight=False, width=None if sys.stdout.isatty() else 150).print(table(value))
    whole = value["int8"]
    sqnr = "exact" if whole["sqnr"] is None else f"{whole['sqnr']:.1f} dB"
    _print(f"all in int8: {sqnr}, {whole['agreement']:.1%} of the classes as in float")
    _print(
        f"{value['images']} training images, {value['kernels']}, {value['seconds']:.0f} s. SQNR of the output in dB:"
    )
    _print("alone: only this op in int8; without: all in int8 but this op; gain: over all in int8.")
    alone, without = (len(value["unmeasured"][which]) for which in ("only", "all_but"))
    if alone or without:
        _print(f"The budget ended before {alone} ops were measured alone, and {without} without: the – above.")
    if out is not None:
        _print(f"wrote   {out / 'sensitivity.json'} and {out / 'sensitivity.png'}")


@app.command(
    cls=Command, epilog="Example: octavo calibrate float.tflite --data photos/ --sizes 1,10,100,1000 -o study/"
)
def calibrate(
    model: Annotated[Path, typer.Argument(metavar="FLOAT", help="The float model, .tflite or .keras.")],
    data: DataPath,
    sizes: Annotated[
        str | None,
        typer.Option("--sizes", help="How many images to calibrate with; 1,5,10,50,100,500, as there are images."),
    ] = None,
    draws: Annotated[int, typer.Option("--draws", min=1, help="How many choices of them.")] = 5,
    observer: Observer = "minmax",
    tune: Acts = "",
    judges: Annotated[
        int | None, typer.Option("--judges", min=2, help="Other training images that judge; a tenth when left out.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of all choices.")] = 0,
    allow_float: Annotated[
        bool, typer.Option("--allow-float", help="Keep in float what has no int8 form, and list it.")
    ] = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder for study.json and study.png.")] = None,
    scale: Scale = None,
    interpolation: Interpolation = None,
    channels: Channels = None,
    json_: JsonFlag = False,
) -> None:
    """Show what more calibration images bring to int8, as a curve, and how many are enough."""
    from octavo.analysis.calibration_study_views import lines, picture
    from octavo.api.calibrate import calibrate as study

    try:
        counts = None if sizes is None else [int(text) for text in sizes.split(",")]
    except ValueError:
        raise OctavoError(f"'{sizes}' is no list of sizes.", "Write --sizes 1,10,100.") from None
    _check_out(out)
    found = study(
        model,
        data,
        sizes=counts,
        draws=draws,
        observer=observer,
        tune=_acts(tune),
        judges=judges,
        seed=seed,
        allow_float=allow_float,
        scale=scale,
        interpolation=interpolation,
        channels=channels,
        progress=_Shown(),
    )
    value = {"model": str(model), **found.to_json()}
    if out is not None:
        from octavo.base.files import write_bytes, write_json

        write_json(out / "study.json", value)
        write_bytes(out / "study.png", picture(value))
    if json_:
        _print_json(value)
        return
    for line in lines(value):
        _print(line)
    if out is not None:
        _print(f"wrote   {out / 'study.json'} and {out / 'study.png'}")


@_command("octavo pareto model_int8.tflite.search.json runs/cifar10 -o pareto.png")
def pareto(
    tried: Annotated[list[Path], typer.Argument(help="Records of target searches (.search.json), or run directories.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The .png to draw.")] = None,
    json_: JsonFlag = False,
) -> None:
    """Show accuracy against size and latency over what was tried, and which of it nothing else beats."""
    from octavo.api.pareto import pareto as compare_costs

    rows = compare_costs(tried, out)
    if json_:
        _print_json(rows)
        return
    for row in rows:
        marks = ("size" if row["front"]["bytes"] else "") + (" speed" if row["front"]["median_ms"] else "")
        _print(
            f"{row['accuracy']:7.2%}  {row['bytes']:>12,} bytes  {row['median_ms']:7.2f} ms  {marks.strip():10}  "
            f"{row['name']}"
        )
    _print("size, speed: nothing of no more bytes, or milliseconds, is more accurate.")
    if out is not None:
        _print(f"wrote   {out}")


@_command("octavo inspect model_int8.tflite")
def inspect(
    model: Annotated[Path, typer.Argument(help="A .tflite or .keras model.")],
    each: Annotated[
        bool, typer.Option("--ops", help="List every op with its name, and the precisions it can have.")
    ] = False,
    json_: JsonFlag = False,
) -> None:
    """Show what a model is: inputs, outputs, ops, size, quantization."""
    from octavo.api.inspect import inspect as inspect_file

    value = inspect_file(model)
    if json_:
        _print_json(value)
        return
    _print(f"{model}: {value['kind']}, {value['bytes']:,} bytes, SHA-256 {value['sha256'][:16]}…")
    _print(f"{value['parameters']:,} parameters, {value['macs']:,} multiply-accumulates")
    for port in ("inputs", "outputs"):
        for facts in value[port]:
            quantized = f"  scale {facts['scale']}  zero point {facts['zero_point']}" if facts["scale"] else ""
            _print(f"{port[:-1]:6}  {facts['name']}  {facts['dtype']} {facts['shape']}{quantized}")
    for row in value["ops"]:
        _print(f"{row['count']:6}  {row['op']:24} {row['macs']:>15,} MACs")
    for row in value["each_op"] if each else []:
        _print(f"  {row['op']:24} {', '.join(row['precisions']):27} {row['name']}")
    if value["kind"] == "float" and value["no_int8_form"]:
        _print(f"without an int8 form: {', '.join(value['no_int8_form'])}")
    parts = ", ".join(f"{name} {size:,}" for name, size in value["breakdown"].items())
    _print(f"bytes   {parts}")
    if (described := value["metadata"]) is not None:
        about = (
            described.get("damaged") or f"{described.get('name', 'unnamed')} ({len(described['labels'] or ())} labels)"
        )
        _print(f"TFLite metadata  {about}")


@_command("octavo deploy runs/digits --out digits-model --zip")
def deploy(
    source: Annotated[Path, typer.Argument(help="A run directory, or an int8 .tflite model with its sidecar.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")],
    archive: Annotated[bool, typer.Option("--zip", help="Write OUT.zip too.")] = False,
    web: Annotated[bool, typer.Option("--web", help="Write the web demo too; takes LiteRT.js from npm.")] = False,
    beside: Annotated[
        Path | None,
        typer.Option("--beside", help="The float .tflite to show too; a run's own when left out."),
    ] = None,
    litertjs: Annotated[
        Path | None, typer.Option("--litertjs", help="Folder with LiteRT.js as `npm pack` wrote it, instead of npm.")
    ] = None,
    mediapipe: Annotated[
        bool, typer.Option("--mediapipe", help="Write mediapipe.tflite too, with bytes in and out for MediaPipe Tasks.")
    ] = False,
    json_: JsonFlag = False,
) -> None:
    """Write a folder that works alone: model, labels, preprocessing, card, hashes, programs, C array, web demo."""
    from octavo.deployment.folder import deploy as deploy_folder
    from octavo.deployment.web import Web

    if not web and (beside or litertjs):
        raise OctavoError("--beside and --litertjs are of the web demo.", "Add --web, or leave them out.")
    made = deploy_folder(source, out, archive, Web(beside, litertjs) if web else None, mediapipe)
    if json_:
        _print_json(made.to_json())
        return
    for name, size in made.files.items():
        _print(f"{size:>12,}  {name}")
    _print(f"wrote   {made.folder}{f' and {made.archive}' if made.archive else ''}")
    _print(f"try     python {made.folder / 'predict.py'} PICTURE")
    if web:
        _print(f"try     octavo serve {made.folder} --open")


@_command("octavo serve digits-model --open")
def serve(
    folder: Annotated[Path, typer.Argument(help="A folder that `octavo deploy --web` wrote.")],
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="Port; 8000 when left out, or any if that is taken.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    json_: JsonFlag = False,
) -> None:
    """Serve a deployed folder's web demo on this machine only, until Ctrl-C."""
    from octavo.deployment import serve as serving

    server = serving.WebServer(serving.web_of(folder), port)

    def ready() -> None:
        if json_:
            _print_json({"url": server.url, "folder": str(folder)})
        else:
            _print(f"{server.url}  serves {folder}, to this machine only. Ctrl-C ends it.")
        sys.stdout.flush()
        if open_:
            import webbrowser

            if not webbrowser.open(server.url):
                sys.stderr.write(f"octavo: no browser was found to open; install one, or open {server.url} in yours.\n")

    serving.serve(server, ready)


@_command("octavo targets model_int8.tflite --data photos/")
def targets(
    model: Annotated[Path, typer.Argument(help="An int8 .tflite classifier.")],
    data: Annotated[Path | None, typer.Option("--data", help="Images to run; made-up ones when left out.")] = None,
    images: Annotated[
        int | None, typer.Option("--images", min=1, help="How many images are run; 16 when left out.")
    ] = None,
    scale: Scale = None,
    interpolation: Interpolation = None,
    channels: Channels = None,
    json_: JsonFlag = False,
) -> None:
    """Show what each runtime and device makes of a model: can it take it, did it run here, what does it cost."""
    from octavo.api.targets import targets as ask_targets
    from octavo.deployment.targets import survey

    verdicts = ask_targets(
        model, data, images, scale=scale, interpolation=interpolation, channels=channels, progress=_Shown()
    )
    if json_:
        _print_json(survey.to_json(verdicts))
    else:
        _print(survey.table(verdicts))


@_command("octavo report runs/digits")
def report(
    run_dir: Annotated[Path, typer.Argument(help="A directory that `octavo run` wrote.")],
    json_: JsonFlag = False,
) -> None:
    """Write a run's report again: report.html, report.md, report.json."""
    from octavo import reports

    reports.write(run_dir)
    if json_:
        _print((run_dir / "report.json").read_text("utf-8").rstrip())
    else:
        _print(f"report  {run_dir / 'report.html'}")


@_command("octavo recipes")
def recipes(json_: JsonFlag = False) -> None:
    """List the built-in recipes."""
    from octavo.api.recipes import recipes as built_in

    found = built_in()
    if json_:
        _print_json(found)
        return
    for name, title in found.items():
        _print(f"{name:16}  {title}")


_INTERRUPTED = "Interrupted; nothing is half written. Give the same command again: runs and training go on."


def main() -> None:
    """Runs the command line; a user's mistake is one message and exit code 2, never a traceback."""
    try:
        app()
    except OctavoError as error:
        sys.exit(_refuse(str(error)))
    except SystemExit as end:
        if end.code == 130:
            sys.stderr.write(f"{_INTERRUPTED}\n")
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            where = f" ('{error.filename}')" if error.filename else ""
            sys.exit(
                _refuse(f"{error.strerror}{where}. Free some space or choose another place; nothing is half written.")
            )
        raise
    except Exception as error:
        if not _is_interruption(error):
            raise
        sys.stderr.write(f"{_INTERRUPTED}\n")
        sys.exit(130)


def _is_interruption(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: TensorFlow gives what its callbacks raise back as an error of its own."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or "KeyboardInterrupt" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _refuse(text: str) -> int:
    sys.stderr.write(f"octavo: {text}\n")
    return 2
