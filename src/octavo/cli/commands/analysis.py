"""Analysis: a model's properties, and the accuracy, size and latency of its int8 form."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from octavo.cli.app import command
from octavo.cli.options import (
    BackendFlag,
    Flags,
    ForceFlag,
    JobsFlag,
    JsonFlag,
    KernelsFlag,
    check_out,
    images,
    numbers,
)
from octavo.cli.output import Shown, print_json, say
from octavo.recipe.options import Inputs, Quantization, meaning

OTHERS = "Seed of the choice of images. At the same seed, `octavo quantize` calibrates with other images."


@command("octavo inspect model_int8.tflite")
def inspect(
    model: Annotated[Path, typer.Argument(help="A .tflite or .keras model.")],
    each: Annotated[
        bool, typer.Option("--ops", help="List every op with its name and its possible precisions.")
    ] = False,
    signature: Annotated[str | None, typer.Option("--signature", help=meaning(Inputs, "signature"))] = None,
    size: Annotated[tuple[int, int] | None, typer.Option("--size", help=meaning(Inputs, "size"))] = None,
    json_: JsonFlag = False,
) -> None:
    """Show what a model is: inputs, outputs, ops, size, quantization."""
    from octavo.api.inspect import inspect as inspect_file

    value = inspect_file(model, signature, size)
    if json_:
        print_json(value.to_json())
        return
    say(f"{model}: {value['kind']}, {value['bytes']:,} bytes, SHA-256 {value['sha256'][:16]}…")
    for sentence in value["canonical"]:
        say(f"canonical form: {sentence}")
    say(f"{value['parameters']:,} parameters, {value['macs']:,} multiply-accumulates")
    for port in ("inputs", "outputs"):
        for facts in value[port]:
            quantized = f"  scale {facts['scale']}  zero point {facts['zero_point']}" if facts["scale"] else ""
            say(f"{port[:-1]:6}  {facts['name']}  {facts['dtype']} {facts['shape']}{quantized}")
    for row in value["ops"]:
        say(f"{row['count']:6}  {row['op']:24} {row['macs']:>15,} MACs")
    for row in value["each_op"] if each else []:
        say(f"  {row['op']:24} {', '.join(row['precisions']):27} {row['name']}")
    if value["kind"] == "float" and value["no_int8_form"]:
        say(f"without an int8 form: {', '.join(value['no_int8_form'])}")
    parts = ", ".join(f"{name} {size:,}" for name, size in value["breakdown"].items())
    say(f"bytes   {parts}")
    if (described := value["metadata"]) is not None:
        about = (
            described.get("damaged") or f"{described.get('name', 'unnamed')} ({len(described['labels'] or ())} labels)"
        )
        say(f"TFLite metadata  {about}")


@command("octavo evaluate model_int8.tflite --data photos/")
def evaluate(
    model: Annotated[Path, typer.Argument(help="A .tflite or .keras model.")],
    inputs: Annotated[Inputs, images(images="Number of test images; all by default.")],
    kernels: KernelsFlag = "xnnpack",
    jobs: JobsFlag = None,
    backend: BackendFlag = "loky",
    json_: JsonFlag = False,
) -> None:
    """Score a model on held-out images, on LiteRT: accuracy, or what its task is scored by."""
    from octavo.api.evaluate import evaluate as evaluate_file
    from octavo.base.files import sha256

    scores = evaluate_file(
        model,
        inputs,
        kernels=kernels,
        jobs=jobs,
        backend=backend,
        progress=Shown(),
    )
    from octavo.analysis.evaluate import model_score

    made = model_score(scores)
    value = {
        "model": str(model),
        "sha256": None if model.is_dir() else sha256(model),
        "data": str(inputs.data),
        "task": scores.task,
        "metric": asdict(scores.metric),
        "images": len(scores),
        "kernels": scores.kernels,
        **made.model_dump(mode="json", by_alias=True),
    }
    if json_:
        print_json(value)
        return
    (first, _), *others = scores.figures()
    score = made.score
    assert score is not None
    say(f"{first.title}  {first.between(score)} on {len(scores):,} samples, {scores.kernels}")
    for metric, figure in others:
        say(f"{metric.title}  {metric.text(figure)}")
    classes = [] if made.table is None else made.table.per_class
    rows = [row for row in classes if row.images]
    if len(rows) < len(classes):
        say(f"{len(rows)} of the model's {len(classes)} classes have images.")
    width = max((len(name) for name in [*(row.name for row in rows), *made.by_class]), default=0)
    if rows:
        say(f"{'class':{width}}  samples  recall  precision")
    for row in rows:
        say(f"{row.name:{width}}  {row.images:7}  {row.recall:6.1%}  {row.precision:9.1%}")
    for name, figure in made.by_class.items():
        say(f"{name:{width}}  {first.text(figure)}")


@command("octavo compare float.tflite model_int8.tflite --data photos/")
def compare(
    before: Annotated[Path, typer.Argument(metavar="FLOAT", help="The model to measure against, .tflite or .keras.")],
    after: Annotated[Path, typer.Argument(metavar="INT8", help="The .tflite to measure, from any converter.")],
    inputs: Annotated[Inputs, images(images="Number of training images; 100 by default.", seed=OTHERS)],
    kernels: KernelsFlag = "xnnpack",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for compare.json and compare.png; made if missing.")
    ] = None,
    json_: JsonFlag = False,
) -> None:
    """Show where quantization error arises: what each op adds, and what has accumulated up to each tensor."""
    from octavo.api.compare import compare as compare_files

    check_out(out, "compare.json", "compare.png")
    compared = compare_files(
        before,
        after,
        inputs,
        kernels=kernels,
        progress=Shown(),
    )
    value = {"before": str(before), "after": str(after), **compared.to_json()}
    if out is not None:
        from octavo.analysis.compare_views import picture
        from octavo.base.files import write_bytes, write_json

        write_json(out / "compare.json", value)
        write_bytes(out / "compare.png", picture(value))
    if json_:
        print_json(value)
        return
    from rich.console import Console

    from octavo.analysis.compare_views import short, table, worst

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    console.print(table(value))
    say(f"{value['images']} training images, {value['kernels']}. SQNR in dB: accumulated, and added by the op alone.")
    if compared.likeness is not None and compared.agreement is not None:
        say(f"answers  {compared.likeness.title}: {compared.likeness.text(compared.agreement)}")
    say("Ops that add most error relative to their signal:")
    for row in worst(value["tensors"]):
        say(f"  {row['added']['sqnr']:5.1f} dB  {row['op']:18} {short(row['before'])}")
    for side, path in (("before", before), ("after", after)):
        if value["unmatched"][side]:
            say(f"only in {path}: {', '.join(value['unmatched'][side])}")
    if out is not None:
        say(f"wrote   {out / 'compare.json'} and {out / 'compare.png'}")


@command("octavo diff model_int8.tflite other.tflite")
def diff(
    before: Annotated[Path, typer.Argument(help="The first .tflite file, of any converter.")],
    after: Annotated[Path, typer.Argument(help="The second.")],
    signature: Annotated[str | None, typer.Option("--signature", help=meaning(Inputs, "signature"))] = None,
    size: Annotated[tuple[int, int] | None, typer.Option("--size", help=meaning(Inputs, "size"))] = None,
    json_: JsonFlag = False,
) -> None:
    """Show what changed between two files: ops, tensors, weights, sidecar. Exit code 0: nothing; 1: something."""
    from octavo.analysis.diff_views import lines
    from octavo.api.diff import diff as diff_files

    found = diff_files(before, after, signature, size)
    if json_:
        print_json(found.to_json())
    else:
        for line in lines(found):
            say(line)
    if not found.equal:
        raise typer.Exit(1)


@command("octavo sensitivity float.tflite --data photos/ --budget 120")
def sensitivity(
    model: Annotated[Path, typer.Argument(metavar="FLOAT", help="The float model, .tflite or .keras.")],
    inputs: Annotated[Inputs, images(images="Number of training images; 32 by default.", seed=OTHERS)],
    quantization: Annotated[Quantization, Flags(without=("precision",))],
    budget: Annotated[
        float, typer.Option("--budget", min=0, metavar="SECONDS", help="Time limit; no measurement starts after it.")
    ] = 300.0,
    calibration: Annotated[
        int | None, typer.Option("--calibration", min=1, help="Number of other images for calibration; 100 by default.")
    ] = None,
    kernels: KernelsFlag = "xnnpack",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for sensitivity.json and sensitivity.png.")
    ] = None,
    json_: JsonFlag = False,
) -> None:
    """Rank ops by their cost in int8: the output error with only that op in int8, and with only that op in float."""
    from octavo.analysis.sensitivity_views import picture, table
    from octavo.api.sensitivity import sensitivity as measure

    check_out(out, "sensitivity.json", "sensitivity.png")
    found = measure(
        model,
        inputs,
        quantization,
        calibration=calibration,
        budget=budget,
        kernels=kernels,
        progress=Shown(),
    )
    value = {"model": str(model), **found.to_json()}
    if out is not None:
        from octavo.base.files import write_bytes, write_json

        write_json(out / "sensitivity.json", value)
        write_bytes(out / "sensitivity.png", picture(value))
    if json_:
        print_json(value)
        return
    from rich.console import Console

    Console(highlight=False, width=None if sys.stdout.isatty() else 150).print(table(value))
    whole = value["int8"]
    sqnr = "exact" if whole["sqnr"] is None else f"{whole['sqnr']:.1f} dB"
    likeness = found.likeness
    say(f"all in int8: {sqnr}, {likeness.title} as float for {likeness.text(whole['agreement'])}")
    say(f"{value['images']} training images, {value['kernels']}, {value['seconds']:.0f} s. SQNR of the output in dB:")
    say("alone: only this op in int8; without: all ops but this one in int8; gain: the same, minus all in int8.")
    alone, without = (len(value["unmeasured"][which]) for which in ("only", "all_but"))
    if alone or without:
        say(f"The time limit ended before {alone} ops were measured alone, and {without} without; these show –.")
    if out is not None:
        say(f"wrote   {out / 'sensitivity.json'} and {out / 'sensitivity.png'}")


@command("octavo calibrate float.tflite --data photos/ --sizes 1,10,100,1000 -o study/")
def calibrate(
    model: Annotated[Path, typer.Argument(metavar="FLOAT", help="The float model, .tflite or .keras.")],
    inputs: Annotated[
        Inputs, Flags(required=("data",), without=("images",), help={"seed": "Seed of all random choices."})
    ],
    quantization: Quantization,
    sizes: Annotated[
        str | None,
        typer.Option(
            "--sizes",
            help="Numbers of calibration images; by default those of 1,5,10,50,100,500 that the data allow.",
        ),
    ] = None,
    draws: Annotated[int, typer.Option("--draws", min=1, help="Random draws for each size.")] = 5,
    validation: Annotated[
        int | None,
        typer.Option(
            "--validation",
            "--judges",
            min=2,
            help="Number of other images to evaluate on; a third by default. Its former name, --judges, still works.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder for study.json and study.png.")] = None,
    json_: JsonFlag = False,
) -> None:
    """Show int8 accuracy against the number of calibration images, and how many images are enough."""
    from octavo.analysis.calibration_study_views import lines, picture
    from octavo.api.calibrate import calibrate as study

    check_out(out, "study.json", "study.png")
    found = study(
        model,
        inputs,
        quantization,
        sizes=None if sizes is None else numbers("sizes", sizes),
        draws=draws,
        validation=validation,
        progress=Shown(),
    )
    value = {"model": str(model), **found.to_json()}
    if out is not None:
        from octavo.base.files import write_bytes, write_json

        write_json(out / "study.json", value)
        write_bytes(out / "study.png", picture(value))
    if json_:
        print_json(value)
        return
    for line in lines(value):
        say(line)
    if out is not None:
        say(f"wrote   {out / 'study.json'} and {out / 'study.png'}")


@command("octavo pareto model_int8.tflite.search.json runs/cifar10 -o pareto.png")
def pareto(
    tried: Annotated[list[Path], typer.Argument(help="Records of target searches (.search.json), or run directories.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The .png to draw.")] = None,
    force: ForceFlag = False,
    json_: JsonFlag = False,
) -> None:
    """Show accuracy against size and latency of the models tried, and which of them are Pareto-optimal."""
    from octavo.api.pareto import pareto as compare_costs

    rows = compare_costs(tried, out, force)
    if json_:
        print_json(rows.to_json())
        return
    for row in rows:
        marks = ("size" if row["front"]["bytes"] else "") + (" speed" if row["front"]["median_ms"] else "")
        say(
            f"{rows.metric.text(row['score']):>7}  {row['bytes']:>12,} bytes  {row['median_ms']:7.2f} ms  "
            f"{marks.strip():10}  {row['name']}"
        )
    say(f"size: no model of at most as many bytes has a better {rows.metric.title}. speed: the same, of milliseconds.")
    if out is not None:
        say(f"wrote   {out}")
