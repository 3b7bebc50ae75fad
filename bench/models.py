"""What becomes of a folder of models: Octavo's int8 beside litert-quantizer's own recipe, and its time beside float's.

python bench/models.py FOLDER --images PHOTOS [--only NAME ... | --write docs/coverage.md]

Every `.tflite` file of the folder is read, quantized with Octavo's defaults and proved. Models that take an image get
photographs; others get made-up arrays, normal or whole numbers, of one seed. 100 samples calibrate and 32 others judge.
SQNR is that of the worst output, or part of one, against the float model. Times are medians of runs side by side on one
thread, so that a loaded machine slows both. litert-quantizer gets the same calibration samples and the file as it is,
except that the file has one signature and no op codes of the form before 2020, which it misreads; a dash says that it
failed, or that LiteRT refuses what it wrote.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from octavo.analysis.answers import compared
from octavo.api.quantize import quantize
from octavo.base.errors import OctavoError
from octavo.data.open import open_dataset
from octavo.data.split import draw_calibration
from octavo.runtime.litert import inputs_of, interleaved
from octavo.source.load import Loaded, load_float, preprocess_for
from octavo.tflite.graph import Graph

# Measured apart from the table, on the same samples.
NOTES = """\
basic_pitch normalizes the logarithm of energies that go down to 1e-8: the int8 CONV_2D of its constant-Q transform
(conv1d_18, the first to add much error) rounds all energies below 0.015 to 0, and one rare small value widens the
range of LOG. An observer that clips the few large values keeps the small ones: percentile gives 13.5 dB, entropy
11.0, mse 9.9, mae 5.7, min-max 5.0. litert-quantizer reaches 10.1 with NEG, SQUARE, LOG and a maximum in float.

mp_selfie loses it in no single tensor: from the first CONV_2D on the ranges are 2 to 4 times as wide as all but a few
outliers need, each tensor adds an error at 22 to 35 dB, and 24 dB after the first convolution become 7 dB at
conv2d_8. The observer mae clips the outliers; percentile gives 6.8 dB, min-max 2.1. Photographs without people leave
its mask close to 0, where the step of LOGISTIC, 1/256, costs 12 dB by itself. AVERAGE_POOL_2D as MEAN, which has a
scale of its own, made no difference.

With min-max, fd_iris_landmark has 13.8 dB and dtln_model_1 22.5. litert-quantizer, whose ranges are moving averages,
has 18.9 and 24.2. So all observers are compared where an output of numbers is below 25 dB. A gain below 3 dB is not
taken: fd_face_landmark would have 21.6 dB instead of 20.2.

fd_face_detection_short_range has 6.0 dB with min-max. sup_mobilenet_v1 is an ImageNet network, and unstable on these
images: noise of at most one pixel level leaves the float model's own answers 9 to 10 dB. On photographs of its own
domain int8 loses [nothing](results.md#post-training-quantization-pass-by-pass)."""
MARK = "<!-- models: written by bench/models.py -->"
CALIBRATING, JUDGING = 100, 32
# What an open height and width becomes.
SIZE = (64, 64)


@dataclass(frozen=True)
class Row:
    """What became of one file; figures are None where there are none."""

    name: str
    became: str
    ours: float | None = None
    theirs: float | None = None
    ratio: float | None = None

    def line(self) -> str:
        """The row of the table."""
        decibels = ["–" if value is None else f"{value:.1f}" for value in (self.ours, self.theirs)]
        ratio = "–" if self.ratio is None else f"{self.ratio:.2f}"
        return f"| {self.name} | {self.became} | {decibels[0]} | {decibels[1]} | {ratio} |"


def samples(loaded: Loaded, images: Path) -> list[tuple[np.ndarray, ...]]:
    """Photographs as the model's input, or made-up arrays: those that calibrate, then those that judge."""
    count = CALIBRATING + JUDGING
    preprocess = preprocess_for(loaded)
    if preprocess is not None:
        pictures = draw_calibration(open_dataset("path", images), count, 0)
        return [(value,) for value in preprocess.apply(pictures.pictures)]
    random = np.random.default_rng(0)

    def made(port: Any) -> np.ndarray:
        shape = tuple(max(n, 1) for n in port.shape[1:])
        if np.dtype(port.dtype).kind in "iu":
            return random.integers(0, 50, shape).astype(port.dtype)
        return (random.normal(size=shape) * 0.5).astype(np.float32)

    return [tuple(made(port) for port in inputs_of(loaded.graph)) for _ in range(count)]


def row(path: Path, images: Path) -> Row:
    """Reads, quantizes, judges and times one file."""
    name = path.stem
    size = None
    try:
        try:
            loaded = load_float(path)
        except OctavoError as error:
            if "`size`" not in str(error):
                raise
            size = SIZE
            loaded = load_float(path, size=size)
        given = samples(loaded, images)
        order = np.random.default_rng(0).permutation(len(given))
        calibrating, judging = ([given[place] for place in part] for part in (order[:CALIBRATING], order[CALIBRATING:]))
        labels = [port.label for port in inputs_of(loaded.graph)]
        data = {label: np.stack(one) for label, one in zip(labels, zip(*calibrating, strict=True), strict=True)}
        with tempfile.TemporaryDirectory() as folder:
            given_as = data if len(data) > 1 else data[labels[0]]
            made = quantize(path, given_as, Path(folder) / "int8.tflite", images=CALIBRATING, size=size)
    except OctavoError as error:
        reason = "; ".join([error.problem.rstrip("."), *error.details[:1]]).replace(f"'{path}'", "it")
        return Row(name, f"refused: {' '.join(reason.split())[:200]}")
    content = made.quantized.content
    ours = compared(loaded.graph, Graph(content), judging).worst.sqnr
    times = np.median(interleaved([loaded.graph.content, content], 2.0), axis=1)
    choice = None if made.answers is None else made.answers.choice
    observer = "" if choice is None or choice.chosen == choice.first else f", observer {choice.chosen} chosen"
    return Row(
        name, f"full int8{observer}", ours, _theirs(path, loaded, calibrating, judging), float(times[1] / times[0])
    )


def _theirs(path: Path, loaded: Loaded, calibrating: list[Any], judging: list[Any]) -> float | None:
    """The worst output's SQNR of litert-quantizer's own recipe; None where it does not take the file."""
    from litert_quantizer import quantizer, recipe

    try:
        content, names = _signed(path.read_bytes())
        data = [{name: value[None] for name, value in zip(names, item, strict=True)} for item in calibrating]
        made = quantizer.Quantizer(content, recipe.static_wi8_ai8())
        found = made.calibrate({"serve": data}, num_threads=2)
        result = made.quantize(found, enable_progress_bar=False, enable_progress_report=False)
        return compared(loaded.graph, Graph(bytes(result.quantized_model)), judging).worst.sqnr
    except Exception as error:
        sys.stderr.write(
            f"{path.stem}: litert-quantizer: {type(error).__name__}: {' '.join(str(error).split())[:160]}\n"
        )
        return None


def _signed(content: bytes) -> tuple[bytes, list[str]]:
    """The same model in the form that litert-quantizer asks for, and its inputs' names.

    It has one signature, and the codes of its ops stand in today's field only.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    from octavo.tflite.graph import serialize

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for code in model.operatorCodes:
        code.builtinCode = flatbuffer_utils.get_builtin_code_from_operator_code(code)

    def named(name: str, index: int) -> Any:
        made = schema.TensorMapT()
        made.name, made.tensorIndex = name.encode(), index
        return made

    subgraph = model.subgraphs[0]
    names = [f"in{place}" for place in range(len(subgraph.inputs))]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serve", 0
    signature.inputs = [named(name, index) for name, index in zip(names, subgraph.inputs, strict=True)]
    signature.outputs = [named(f"out{place}", index) for place, index in enumerate(subgraph.outputs)]
    model.signatureDefs = [signature]
    return serialize(model), names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder of .tflite files")
    parser.add_argument("--images", type=Path, required=True, help="a folder or archive of photographs")
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--only", nargs="*", help="names of files, without .tflite; all when left out")
    some.add_argument("--write", type=Path, help="the page whose section of models is written anew")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = [
        "| file | what becomes of it | SQNR, dB | litert-quantizer, dB | int8 time / float time |",
        "|---|---|---|---|---|",
    ]
    for path in sorted(options.folder.glob("*.tflite")):
        if options.only and path.stem not in options.only:
            continue
        lines.append(row(path, options.images).line())
        sys.stdout.write(lines[-1] + "\n")
        sys.stdout.flush()
    if options.write is not None:
        head = options.write.read_text("utf-8").partition(MARK)[0].rstrip()
        about = " ".join((__doc__ or "").split("\n\n")[2].split())
        options.write.write_text(
            f"{head}\n\n{MARK}\n\n## Models that others made\n\n{about}\n\n" + "\n".join(lines) + f"\n\n{NOTES}\n",
            "utf-8",
        )


if __name__ == "__main__":
    main()
