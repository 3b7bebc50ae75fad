"""Deployment: smaller files, latency, target devices, and a self-contained folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from octavo.base.errors import OctavoError
from octavo.cli.app import command
from octavo.cli.options import Flags, ForceFlag, JsonFlag, images, names, numbers
from octavo.cli.output import Shown, print_json, say
from octavo.recipe.options import Inputs


@command("octavo slim model_int8.tflite -o model_slim.tflite --pixels int8 --logits")
def slim(
    model: Annotated[Path, typer.Argument(help="A .tflite model.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The .tflite to write.")],
    inputs: Annotated[
        Inputs,
        images(
            "Images for the proof; synthetic ones by default.",
            required=(),
            images="Number of images for the proof; 16 by default.",
        ),
    ],
    pixels: Annotated[
        Literal["int8", "uint8"] | None,
        typer.Option("--pixels", help="Take raw pixels: int8 (byte minus 128), or uint8 (byte; one more op)."),
    ] = None,
    logits: Annotated[
        bool, typer.Option("--logits", help="Remove the final Softmax; the class stays the same.")
    ] = False,
    fuse: Annotated[bool, typer.Option("--fuse/--no-fuse", help="Fuse ops that the exporter left separate.")] = True,
    force: ForceFlag = False,
    json_: JsonFlag = False,
) -> None:
    """Write the same model in fewer bytes, and prove that its outputs are the same on every kernel family."""
    from octavo.api.slim import slim as write_slim
    from octavo.data.preprocess import described

    made = write_slim(
        model,
        out,
        pixels=pixels,
        logits=logits,
        fuse=fuse,
        data=inputs,
        force=force,
        progress=Shown(),
    )
    if json_:
        print_json(made.to_json())
        return
    for step in made.steps:
        say(f"{step.name:8}{step.about}")
        unit = "" if step.loose else " steps"
        for item in step.equality:
            classes = f", same class on {item.agreement:.1%}" if made.classified else ""
            finding = "bit-equal" if item.equal else f"differs by up to {item.steps:g}{unit}{classes}"
            say(f"        {item.kernels:10} {finding}; {item.inputs} samples, {item.distinct} different outputs")
    for reason in made.not_fused[:5]:
        say(f"kept    {reason}")
    if len(made.not_fused) > 5:
        say(f"kept    {len(made.not_fused) - 5} more like these; --json lists them")
    say(f"proof   on {made.images}")
    if made.preprocess is not None:
        say(f"input   {described(made.preprocess)}")
    say(f"size    {made.before:,} -> {len(made.content):,} bytes")
    say(f"wrote   {made.path} and its sidecar")


@command("octavo benchmark float.tflite int8.tflite --threads 1,2 --profile")
def benchmark(
    models: Annotated[list[Path], typer.Argument(help=".tflite models; ratios are relative to the first.")],
    threads: Annotated[str, typer.Option("--threads", help="Numbers of threads, such as 1,2.")] = "1",
    kernels: Annotated[
        str, typer.Option("--kernels", help="Kernel families: xnnpack, builtin, reference.")
    ] = "xnnpack",
    seconds: Annotated[float, typer.Option("--seconds", help="About how long each comparison takes.")] = 4.0,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also time every op, and the machine's int8 peak.")
    ] = False,
    json_: JsonFlag = False,
) -> None:
    """Time models side by side on this machine: latency, ratio, throughput, memory, time to load."""
    from octavo.api.benchmark import benchmark as time_files
    from octavo.runtime.benchmark_views import table

    counts = numbers("threads", threads)
    families: Any = names("kernels", kernels)
    made = time_files(models, counts, families, seconds, profile, Shown())
    if json_:
        print_json(made.to_json())
    else:
        say(table(made))


@command("octavo targets model_int8.tflite --data photos/")
def targets(
    model: Annotated[Path, typer.Argument(help="An int8 .tflite model.")],
    inputs: Annotated[
        Inputs,
        images(
            "Images to run; synthetic ones by default.",
            required=(),
            images="Number of images to run; 16 by default.",
        ),
    ],
    json_: JsonFlag = False,
) -> None:
    """Show for each runtime and device whether it can run a model, whether it ran here, and what it costs."""
    from octavo.api.targets import targets as ask_targets
    from octavo.deployment.targets import survey

    verdicts = ask_targets(model, inputs, progress=Shown())
    if json_:
        print_json(survey.to_json(verdicts))
    else:
        say(survey.table(verdicts))


@command("octavo check model_int8.tflite --policy budget.yaml --float float.tflite --data photos/ --junit check.xml")
def check(
    model: Annotated[Path, typer.Argument(help="A .tflite model of any converter.")],
    policy: Annotated[Path, typer.Option("--policy", help="The limits: a YAML file. docs/gate.md has its keys.")],
    inputs: Annotated[
        Inputs,
        images(
            "Labelled images, for the limits that need them: their test images.",
            required=(),
            images="Number of test images; all by default.",
        ),
    ],
    float_model: Annotated[
        Path | None, typer.Option("--float", help="The float model that max_drop is measured against.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option("--reference", help="The model that max_latency_ratio is measured against; --float by default."),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="About how long models are timed.")] = 4.0,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML.")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write a table in Markdown, for a pull request.")
    ] = None,
    force: ForceFlag = False,
    json_: JsonFlag = False,
) -> None:
    """Judge a model by the limits of a policy. Exit code 0: it keeps them all; 1: it does not; 2: a mistake."""
    from octavo.api.check import check as check_model
    from octavo.base.files import write_bytes, write_text
    from octavo.deployment.gate_views import check_replaced, table

    outputs = [path for path in (junit, markdown) if path is not None]
    for path in outputs:
        check_replaced(path, force)
    made = check_model(
        model,
        policy,
        inputs,
        float_model=float_model,
        reference=reference,
        seconds=seconds,
        progress=Shown(),
    )
    if junit is not None:
        write_bytes(junit, made.junit())
    if markdown is not None:
        write_text(markdown, made.markdown())
    if json_:
        print_json(made.to_json())
    else:
        say(table(made))
        if outputs:
            say(f"wrote   {' and '.join(map(str, outputs))}")
    if not made.passed:
        raise typer.Exit(1)


@command("octavo deploy runs/digits --out digits-model --zip")
def deploy(
    source: Annotated[Path, typer.Argument(help="A run directory, or an int8 .tflite model of any converter.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")],
    inputs: Annotated[
        Inputs,
        Flags(
            help={
                "data": "Labelled samples to measure a model file on, for its card: their test samples.",
                "images": "How many of them; all when left out.",
            },
            without=("signature", "size"),
        ),
    ],
    evaluation: Annotated[
        Path | None,
        typer.Option(
            "--evaluation", help="What `octavo evaluate MODEL --json` printed, for the card; instead of --data."
        ),
    ] = None,
    archive: Annotated[bool, typer.Option("--zip", help="Write OUT.zip too.")] = False,
    web: Annotated[bool, typer.Option("--web", help="Write the web demo too; takes LiteRT.js from npm.")] = False,
    beside: Annotated[
        Path | None,
        typer.Option("--beside", help="Float .tflite for the web demo; by default a run's own."),
    ] = None,
    litertjs: Annotated[
        Path | None, typer.Option("--litertjs", help="Folder with LiteRT.js from `npm pack`, used instead of npm.")
    ] = None,
    mediapipe: Annotated[
        bool,
        typer.Option(
            "--mediapipe", help="Also write mediapipe.tflite, with uint8 input and output for MediaPipe Tasks."
        ),
    ] = False,
    json_: JsonFlag = False,
) -> None:
    """Write a self-contained folder: model, labels, preprocessing, card, hashes, programs, C array, web demo."""
    from octavo.deployment.folder import deploy as deploy_folder
    from octavo.deployment.web import Web

    if not web and (beside or litertjs):
        raise OctavoError(
            "--beside and --litertjs belong to the web demo, and --web is not set.", "Add --web, or leave them out."
        )
    made = deploy_folder(
        source,
        out,
        archive,
        Web(beside, litertjs) if web else None,
        mediapipe,
        data=inputs,
        evaluation=evaluation,
        progress=Shown(),
    )
    if json_:
        print_json(made.to_json())
        return
    for name, size in made.files.items():
        say(f"{size:>12,}  {name}")
    say(f"wrote   {made.folder}{f' and {made.archive}' if made.archive else ''}")
    say(f"try     python {made.folder / 'predict.py'} {made.takes}")
    if web:
        say(f"try     octavo serve {made.folder} --open")


@command("octavo serve digits-model --open")
def serve(
    folder: Annotated[Path, typer.Argument(help="A folder that `octavo deploy --web` wrote.")],
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="Port; by default 8000, or any free one if 8000 is taken."),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    json_: JsonFlag = False,
) -> None:
    """Serve a deployed folder's web demo on this machine only, until Ctrl-C."""
    from octavo.deployment.serve import serve as serve_folder

    def ready(url: str) -> None:
        if json_:
            print_json({"url": url, "folder": str(folder)})
        else:
            say(f"{url}  serves {folder}, to this machine only. Ctrl-C stops it.")
        sys.stdout.flush()
        if open_:
            import webbrowser

            if not webbrowser.open(url):
                sys.stderr.write(f"octavo: no browser was found. Open {url} in one yourself.\n")

    serve_folder(folder, port, ready)
