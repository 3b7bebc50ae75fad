"""Runs the model beside this file, and shows what it answers.

    python predict.py FILE [FILE ...] [--top 3] [--out FOLDER] [--json]

preprocess.json says what the model takes and what it answers. A FILE is a picture, or, for a model that takes no
picture, one sample as an array: a .npy file, or an .npz file with one array for each input. Of several inputs, those
that are images take uint8 pictures of any size; a file for each input can be given too, as image=PICTURE,other=X.npy.
If preprocess.json has a window_step, an array may be a recording that is longer than the input: each of its windows is
answered. Masks of a segmentation model are written as PNG files, whose pixels are class numbers, into FOLDER.

Needs Python 3.10 or newer with `pip install ai-edge-litert numpy pillow`, and nothing else. All files are checked
against SHA256SUMS first, because most randomly damaged models still load and run, but give wrong results. An error is
one sentence and exit code 2, also where the model crashes the runtime: it runs in a child process.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import os
import signal
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FORMATS = ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"]
MOST_PIXELS = 1 << 26
# Bytes of a recording that is unpacked.
MOST_RECORDING = 1 << 28
# For loading the model, and for each run of it: a damaged model may never end.
MOST_SECONDS = 30
# How many numbers a line shows; --json has all of them.
SHOWN = 8
# Boxes with a lower score are left out, also by --json: they are mostly noise.
LEAST_SCORE = 0.3
# Corners of boxes above this are pixels of the model's input, and not shares of its sides.
MOST_SHARE = 2


class RefusedError(Exception):
    """A problem that the user can fix, in one sentence."""


def check(folder: Path = HERE) -> None:
    """Compares the files of the folder with SHA256SUMS.

    Raises:
        RefusedError: A file is missing or was changed.
    """
    lines = (line.partition("  ") for line in _read(folder, "SHA256SUMS").decode("utf-8", "replace").splitlines())
    known = {name: digest for digest, _, name in lines}
    for name in ("model.tflite", "labels.txt", "preprocess.json"):
        # Only models of classes have labels.
        if name == "labels.txt" and name not in known:
            continue
        if hashlib.sha256(_read(folder, name)).hexdigest() != known.get(name):
            raise RefusedError(f"{name} is damaged or was replaced: its SHA-256 is not the one in SHA256SUMS.")


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    if not path.is_file():
        raise RefusedError(f"There is no {name} in '{folder}': copy the whole folder again.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise RefusedError(f"{name} cannot be read: {error.strerror}.") from error


def _facts(folder: Path) -> dict[str, Any]:
    """What preprocess.json says.

    Raises:
        RefusedError: It says something else than Octavo writes.
    """
    try:
        facts = json.loads(_read(folder, "preprocess.json"))
        right = {
            "task": facts["task"] in ANSWERS,
            "output": facts["output"] in ("probabilities", "logits", "classes", "numbers"),
            "inputs": all(_is_port(port) for port in facts["inputs"]) and len(facts["inputs"]) > 0,
            "outputs": all(_is_port(port) for port in facts["outputs"]) and len(facts["outputs"]) > 0,
        }
        if "window_step" in facts:
            right["window_step"] = type(facts["window_step"]) is int and facts["window_step"] > 0
        if facts["task"] == "detection":
            wanted, most = facts["boxes"], len(facts["outputs"])
            given = [wanted["boxes"], wanted["scores"], *(wanted[name] or 0 for name in ("classes", "count"))]
            right["boxes"] = all(type(place) is int and 0 <= place < most for place in given)
        if "size" in facts:
            right |= _image(facts)
        right["inputs"] = right["inputs"] and all(
            all(_image(port["image"]).values()) for port in facts["inputs"] if "image" in port
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise RefusedError(
            f"preprocess.json is damaged ({type(error).__name__}): copy the whole folder again."
        ) from None
    if wrong := [name for name, fine in right.items() if not fine]:
        raise RefusedError(f"preprocess.json is damaged: '{wrong[0]}' is {facts[wrong[0]]!r}.")
    return dict(facts)


def _image(fact: dict[str, Any]) -> dict[str, bool]:
    """Whether each part of what makes an input of a picture is what Octavo writes."""
    low, high = fact["scale"]
    return {
        "size": len(fact["size"]) == 2 and all(type(side) is int and side > 0 for side in fact["size"]),
        "scale": math.isfinite(low) and math.isfinite(high) and low < high,
        "channels": fact["channels"] in ("rgb", "bgr", "gray"),
        "interpolation": fact["interpolation"] in ("nearest", "bilinear", "bicubic", "lanczos"),
    }


def _is_port(port: dict[str, Any]) -> bool:
    whole = [port["tensor"], *port["shape"]]
    return (
        all(type(number) is int and number >= 0 for number in whole)
        and isinstance(port["name"], str)
        and isinstance(port["quantized"], bool)
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Discards the runtime's notices, which do not go through Python, from standard error."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


class Port:
    """An input or output of the model: its numbers are codes of reals, or whole numbers, or floats.

    Args:
        fact: What preprocess.json says of it.
        detail: What the runtime says of it.

    Raises:
        RefusedError: The two do not fit together.
    """

    def __init__(self, fact: dict[str, Any], detail: dict[str, Any]) -> None:
        import numpy as np

        self.name, self.index, self.shape = fact["name"], fact["tensor"], tuple(fact["shape"][1:])
        self.dtype = np.dtype(detail["dtype"])
        self.quantized = fact["quantized"]
        if detail["shape"].tolist() != fact["shape"]:
            raise RefusedError(
                f"model.tflite takes or gives {detail['shape'].tolist()}, and preprocess.json says {fact['shape']}."
            )
        if self.quantized:
            found = detail["quantization_parameters"]
            scale, zero = (float(found[part][0]) if len(found[part]) else 0.0 for part in ("scales", "zero_points"))
            if self.dtype.name not in ("int8", "uint8", "int16") or not 0 < scale < math.inf:
                raise RefusedError(f"model.tflite is damaged: '{detail['name']}' is not quantized.")
            self.scale, self.zero_point = scale, int(zero)

    def encode(self, real: Any) -> Any:
        """Reals as the model takes them: divided by the scale, rounded half away from zero, and clipped."""
        import numpy as np

        if not self.quantized:
            return real.astype(self.dtype)
        ratio = real.astype(np.float64) / self.scale
        limits = np.iinfo(self.dtype)
        rounded = np.trunc(ratio + np.copysign(0.5, ratio)) + self.zero_point
        return np.clip(rounded, limits.min, limits.max).astype(self.dtype)

    def decode(self, raw: Any) -> Any:
        """What the model gives as float32 reals."""
        import numpy as np

        if not self.quantized:
            return raw.astype(np.float32)
        return ((raw.astype(np.float64) - self.zero_point) * self.scale).astype(np.float32)


@dataclass(frozen=True)
class Sample:
    """What the model is run on.

    Args:
        inputs: An array for each input, without the batch axis.
        rows: The first row of a window and the one after its last; None for a whole file.
    """

    inputs: list[Any]
    rows: tuple[int, int] | None = None


class ImageInput:
    """Makes an input of a picture.

    Args:
        fact: What preprocess.json says of it: size, scale, channels and interpolation.
        shape: The shape of the input.

    Raises:
        RefusedError: The input has another shape.
    """

    def __init__(self, fact: dict[str, Any], shape: list[int]) -> None:
        import numpy as np

        self.fact = fact
        height, width = fact["size"]
        wanted = [1, height, width, 1 if fact["channels"] == "gray" else 3]
        if shape != wanted:
            raise RefusedError(f"model.tflite takes {shape}, and preprocess.json says {wanted}.")
        low, high = fact["scale"]
        # The real of each of the 256 pixel values, in float32.
        self._reals = np.arange(256, dtype=np.float32) / np.float32(255.0 / (high - low)) + np.float32(low)

    def of(self, pixels: Any) -> Any:
        """A picture, uint8 ``(H, W, 3)``, ``(H, W, 1)`` or ``(H, W)``, as float32 ``(height, width, channels)``."""
        import numpy as np
        from PIL import Image

        gray = pixels.ndim == 3 and pixels.shape[-1] == 1
        picture = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if gray else pixels))
        picture = picture.convert("L" if self.fact["channels"] == "gray" else "RGB")
        height, width = self.fact["size"]
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling[self.fact["interpolation"].upper()])
        made = np.asarray(picture).reshape(height, width, -1)
        return self._reals[made[..., ::-1] if self.fact["channels"] == "bgr" else made]


def _pixels(path: Path) -> Any:
    """The pixels of a picture file, uint8 ``(H, W, 3)``.

    Raises:
        RefusedError: The file is not a readable picture.
    """
    import numpy as np
    from PIL import Image, ImageOps

    try:
        _check_regular(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as opened:
                if opened.width * opened.height > MOST_PIXELS:
                    raise RefusedError(f"'{path}' has more than {MOST_PIXELS:,} pixels.")
                turned = ImageOps.exif_transpose(opened)
                if turned.mode in ("I", "F"):
                    raise RefusedError(f"'{path}' has 32-bit pixels, whose range is unknown.")
                if turned.mode.startswith("I;16"):
                    turned = Image.fromarray((np.asarray(turned) >> 8).astype(np.uint8))
                return np.asarray(turned.convert("RGB"))
    except RefusedError:
        raise
    except Exception as error:
        raise RefusedError(f"'{path}' is not a picture that can be read ({type(error).__name__}).") from error


class Pictures:
    """Reads pictures as the model's one input.

    Args:
        image: Makes the input.
    """

    def __init__(self, image: ImageInput) -> None:
        self.image = image

    def read(self, path: Path) -> Iterable[Sample]:
        """A picture as the model's input, float32 ``(height, width, channels)``.

        Raises:
            RefusedError: The file is not a readable picture.
        """
        return [Sample([self.image.of(_pixels(path))])]


class Arrays:
    """Reads arrays as the model's inputs: pictures of those that are images, and the numbers of the others as they are.

    Args:
        ports: The model's inputs.
        step: Rows from window to window of a recording; None where the model takes none.
        images: By the input's name, what makes an input of a picture.
    """

    def __init__(self, ports: list[Port], step: int | None, images: dict[str, ImageInput]) -> None:
        self.ports = ports
        self.step = step if len(ports) == 1 else None
        self.images = images

    def read(self, path: Path) -> Iterable[Sample]:
        """The sample of a file, or those of all windows of a recording.

        Raises:
            RefusedError: The file holds no arrays, or others than the model takes.
        """
        if len(self.ports) > 1 and "=" in str(path) and not path.exists():
            found: dict[str, Any] = {}
            for part in str(path).split(","):
                name, _, file = part.partition("=")
                if name in self.images and not file.endswith((".npy", ".npz")):
                    found[name] = _pixels(Path(file))
                else:
                    for array in self._load(Path(file)).values():
                        found[name] = array
        else:
            found = self._load(path)
        if len(self.ports) == len(found) == 1:
            array = next(iter(found.values()))
            if self._is_longer(array):
                return self._windows(array, path)
            return [Sample([self._fit(self.ports[0], array, path)])]
        if missing := [port.name for port in self.ports if port.name not in found]:
            names = ", ".join(f"'{port.name}' {port.shape}" for port in self.ports)
            raise RefusedError(f"'{path}' has no array '{missing[0]}': give an .npz file with {names}.")
        return [Sample([self._fit(port, found[port.name], path) for port in self.ports])]

    def _load(self, path: Path) -> dict[str, Any]:
        """The arrays of a file by their names; that of a .npy file has none."""
        import numpy as np

        try:
            _check_regular(path)
            if zipfile.is_zipfile(path):
                self._check_members(path)
                with np.load(path, allow_pickle=False) as archive:
                    return {name: archive[name] for name in archive.files}
            # Mapped, so that nothing is read for what a header claims.
            return {"": np.load(path, mmap_mode="r", allow_pickle=False)}
        except RefusedError:
            raise
        except Exception as error:
            raise RefusedError(f"'{path}' is not a .npy or .npz file ({type(error).__name__}).") from error

    def _is_longer(self, array: Any) -> bool:
        """Whether an array is a recording that is longer than the input."""
        have, wanted = _long(array.shape), _long(self.ports[0].shape)
        return bool(self.step) and len(have) == len(wanted) > 0 and have[0] > wanted[0] and have[1:] == wanted[1:]

    def _windows(self, array: Any, path: Path) -> Iterator[Sample]:
        """The windows of a recording, one at a time: those that overlap would take much memory."""
        port, have = self.ports[0], _long(array.shape)
        rows, length = array.reshape(have), _long(port.shape)[0]
        for start in range(0, have[0] - length + 1, self.step or length):
            stop = start + length
            yield Sample([self._fit(port, rows[start:stop].reshape(port.shape), path)], (start, stop))

    def _check_members(self, path: Path) -> None:
        """Refuses an archive that unpacks to far more than the model takes, or than a recording has."""
        most = MOST_RECORDING if self.step else 4096 + 16 * max(math.prod(port.shape) for port in self.ports)
        if self.images:
            most = max(most, 4096 + 3 * MOST_PIXELS)
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.file_size > most:
                    what = f"{MOST_RECORDING:,} bytes" if self.step else "one sample of the model"
                    raise RefusedError(f"'{member.filename}' in '{path}' is larger than {what}.")

    def _fit(self, port: Port, array: Any, path: Path) -> Any:
        import numpy as np

        if port.name in self.images and array.dtype == np.uint8:
            picture = array[0] if array.ndim == 4 and len(array) == 1 else array
            if not picture.size or (picture.ndim != 2 and (picture.ndim != 3 or picture.shape[-1] not in (1, 3))):
                raise RefusedError(f"'{path}' holds a picture of {array.shape} for '{port.name}', not (H, W, 3).")
            return self.images[port.name].of(picture)
        if array.dtype.kind not in "fiub":
            raise RefusedError(f"'{path}' holds {array.dtype}, and numbers were expected.")
        if array.shape not in (port.shape, (1, *port.shape)):
            raise RefusedError(f"'{path}' holds an array of {array.shape}, and the model takes {port.shape}.")
        values = np.asarray(array).reshape(port.shape)
        if not np.all(np.isfinite(values)):
            raise RefusedError(f"'{path}' has NaN or infinite values.")
        if port.quantized or port.dtype.kind == "f":
            with np.errstate(over="ignore"):
                return values.astype(np.float32)
        if not np.array_equal(values, np.trunc(values)):
            raise RefusedError(f"'{path}' holds fractions, and '{port.name}' takes whole numbers.")
        return values


class Model:
    """The model of a folder, ready to run.

    Args:
        folder: A folder that `octavo deploy` wrote.

    Raises:
        RefusedError: A file is missing or damaged, or does not belong to the others.
    """

    def __init__(self, folder: Path = HERE) -> None:
        check(folder)
        from ai_edge_litert.interpreter import Interpreter

        self.facts = _facts(folder)
        named = self.facts["task"] in NAMED or (self.facts["task"] == "detection" and (folder / "labels.txt").is_file())
        self.labels = _labels(folder) if named else []
        try:
            with _quiet():
                self._runtime = Interpreter(model_content=_read(folder, "model.tflite"), num_threads=1)
                self._runtime.allocate_tensors()
            ways_in = {detail["index"]: detail for detail in self._runtime.get_input_details()}
            ways_out = {detail["index"]: detail for detail in self._runtime.get_output_details()}
        except (ValueError, RuntimeError, MemoryError) as error:
            raise RefusedError(f"model.tflite is damaged: {_first_line(error)}") from None
        facts = self.facts["inputs"]
        if "size" in self.facts and len(facts) != 1:
            raise RefusedError(f"model.tflite takes {len(facts)} inputs, and preprocess.json says one picture.")
        pictures = Pictures(ImageInput(self.facts, facts[0]["shape"])) if "size" in self.facts else None
        images = {fact["name"]: ImageInput(fact["image"], fact["shape"]) for fact in facts if "image" in fact}
        self.inputs = _ports(facts, ways_in)
        self.outputs = _ports(self.facts["outputs"], ways_out)
        self.reader = pictures or Arrays(self.inputs, self.facts.get("window_step"), images)
        count = _classes(self.facts, self.outputs[0].shape)
        if self.facts["task"] in NAMED and count not in (None, len(self.labels)):
            outputs = math.prod(self.outputs[0].shape)
            raise RefusedError(f"labels.txt names {len(self.labels)} classes, and model.tflite has {outputs} outputs.")

    def run(self, path: Path) -> Iterator[Run]:
        """Runs the model on a file: once, or on each window of a recording."""
        for sample in self.reader.read(path):
            _limit(MOST_SECONDS)
            yield self._run(path, sample)

    def _run(self, path: Path, sample: Sample) -> Run:
        try:
            with _quiet():
                for port, real in zip(self.inputs, sample.inputs, strict=True):
                    self._runtime.set_tensor(port.index, port.encode(real)[None])
                # Each file starts anew, whatever ran before it.
                self._runtime.reset_all_variables()
                self._runtime.invoke()
                raw = [self._runtime.get_tensor(port.index)[0] for port in self.outputs]
        except (ValueError, RuntimeError, MemoryError) as error:
            raise RefusedError(f"model.tflite cannot be run: {_first_line(error)}") from None
        return Run(path, sample, [port.decode(codes) for port, codes in zip(self.outputs, raw, strict=True)])


def _long(shape: tuple[int, ...]) -> list[int]:
    """The axes that are longer than 1."""
    return [side for side in shape if side != 1]


def _ports(facts: list[dict[str, Any]], details: dict[int, dict[str, Any]]) -> list[Port]:
    if sorted(fact["tensor"] for fact in facts) != sorted(details):
        raise RefusedError("model.tflite has other inputs or outputs than preprocess.json says.")
    return [Port(fact, details[fact["tensor"]]) for fact in facts]


def _labels(folder: Path) -> list[str]:
    try:
        return _read(folder, "labels.txt").decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        raise RefusedError("labels.txt is damaged: it is no UTF-8.") from None


def _classes(facts: dict[str, Any], shape: tuple[int, ...]) -> int | None:
    """How many classes an output tells apart; None where the model gives the class itself."""
    if facts["output"] == "classes":
        return None
    if facts["task"] == "segmentation":
        return shape[-1] if len(shape) == 3 and shape[-1] > 1 else 2
    count = math.prod(shape)
    return 2 if facts["task"] == "single-label" and count == 1 else count


@dataclass(frozen=True)
class Run:
    """One run of the model.

    Args:
        path: The file.
        sample: What of it the model was run on.
        outputs: The reals of each output, float32, without the batch axis.
    """

    path: Path
    sample: Sample
    outputs: list[Any]

    @property
    def place(self) -> str:
        """The rows of a window, as in ``[0:128]``; empty for a whole file."""
        return "" if self.sample.rows is None else "[{}:{}]".format(*self.sample.rows)


@dataclass(frozen=True)
class Answer:
    """What the model says of a file.

    Args:
        value: For --json.
        text: For people.
    """

    value: dict[str, Any]
    text: str


def single_label(model: Model, run: Run, given: argparse.Namespace) -> Answer:
    """The most probable classes; the first in the list of labels wins a tie."""
    import numpy as np

    raw = run.outputs[0].ravel()
    if model.facts["output"] == "logits" and len(raw) == 1:
        raw = _sigmoid(raw)
    elif model.facts["output"] == "logits":
        risen = np.exp(raw.astype(np.float64) - raw.max())
        raw = (risen / risen.sum()).astype(np.float32)
    found = np.concatenate([1 - raw, raw]) if len(raw) == 1 else raw
    named = [(model.labels[place], float(found[place])) for place in np.argsort(-found, kind="stable")[: given.top]]
    return Answer(
        {"classes": [{"class": name, "probability": share} for name, share in named]},
        ", ".join(f"{name} {share:.1%}" for name, share in named),
    )


def multi_label(model: Model, run: Run, given: argparse.Namespace) -> Answer:
    """The probability of each label; a line shows those above one half."""
    raw = run.outputs[0].ravel()
    found = _sigmoid(raw) if model.facts["output"] == "logits" else raw
    named = list(zip(model.labels, map(float, found), strict=True))
    return Answer(
        {"labels": [{"label": name, "probability": share} for name, share in named]},
        ", ".join(f"{name} {share:.1%}" for name, share in named if share > 0.5) or "none",
    )


def regression(model: Model, run: Run, given: argparse.Namespace) -> Answer:
    """The numbers of the first output."""
    numbers = run.outputs[0].ravel()
    return Answer({"numbers": numbers.tolist()}, _words(numbers))


def segmentation(model: Model, run: Run, given: argparse.Namespace) -> Answer:
    """The class of each pixel, written as a PNG file of class numbers in the size of the model's output."""
    import numpy as np
    from PIL import Image

    output = run.outputs[0]
    if model.facts["output"] == "classes":
        mask = output.reshape(output.shape[:2]).astype(np.uint8)
    elif output.ndim == 2 or output.shape[-1] == 1:
        limit = 0.5 if model.facts["output"] == "probabilities" else 0.0
        mask = (output.reshape(output.shape[:2]) > limit).astype(np.uint8)
    else:
        mask = output.argmax(axis=-1).astype(np.uint8)
    path = given.out / f"{run.path.stem}{run.place}.mask.png"
    picture = Image.fromarray(mask)
    # A palette shows the classes in different colours; the pixels stay class numbers.
    picture.putpalette([level for number in range(256) for level in _colour(number)])
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    except OSError as error:
        raise RefusedError(f"'{path}' cannot be written: {error.strerror or error}.") from error
    numbers, counts = np.unique(mask, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shares = [(_name(model.labels, int(numbers[k])), float(counts[k] / mask.size)) for k in order]
    return Answer(
        {"mask": str(path), "classes": [{"class": name, "share": share} for name, share in shares]},
        f"{', '.join(f'{name} {share:.1%}' for name, share in shares[:SHOWN])} -> {path}",
    )


def anomaly(model: Model, run: Run, given: argparse.Namespace) -> Answer:
    """The mean squared error between the input and what the model makes of it."""
    import numpy as np

    real, made = run.sample.inputs[0].astype(np.float64), run.outputs[0].astype(np.float64)
    score = float(np.square(real.ravel() - made.ravel()).mean())
    return Answer({"score": score}, f"anomaly score {score:.4g}")


def detection(model: Model, run: Run, given: argparse.Namespace) -> Answer:
    """The boxes with a score of 0.3 or more, the highest first; corners as shares of the picture's sides."""
    import numpy as np

    places = model.facts["boxes"]
    boxes = run.outputs[places["boxes"]].reshape(-1, 4)
    if boxes.max(initial=0) > MOST_SHARE:
        boxes = boxes / np.tile(run.sample.inputs[0].shape[:2], 2)
    scores = run.outputs[places["scores"]].reshape(len(boxes), -1)
    classes = scores.argmax(axis=1) if places["classes"] is None else run.outputs[places["classes"]].ravel().round()
    best = scores.max(axis=1)
    count = len(boxes) if places["count"] is None else int(run.outputs[places["count"]].ravel()[0].round())
    order = [int(place) for place in np.argsort(-best[:count], kind="stable") if best[place] >= LEAST_SCORE]
    found = [(_name(model.labels, int(classes[place])), float(best[place]), boxes[place].tolist()) for place in order]
    lines = (f"{name} {score:.0%} at {_words(box)}" for name, score, box in found)
    value = [dict(zip(("class", "score", "box"), item, strict=True)) for item in found]
    return Answer({"boxes": value}, "; ".join(lines) or "nothing")


def outputs(model: Model, run: Run, given: argparse.Namespace) -> Answer:
    """All outputs as they are."""
    pairs = list(zip(model.outputs, run.outputs, strict=True))
    value = [{"name": port.name, "shape": list(array.shape), "values": array.tolist()} for port, array in pairs]
    lines = (f"{port.name} {array.shape}: {_words(array.ravel())}" for port, array in pairs)
    return Answer({"outputs": value}, "; ".join(lines))


# What preprocess.json calls a task, and how its answer is read.
ANSWERS: dict[str, Callable[[Model, Run, argparse.Namespace], Answer]] = {
    "single-label": single_label,
    "multi-label": multi_label,
    "regression": regression,
    "segmentation": segmentation,
    "detection": detection,
    "anomaly": anomaly,
    "outputs": outputs,
}
# Tasks whose classes labels.txt names.
NAMED = ("single-label", "multi-label", "segmentation")


def _sigmoid(raw: Any) -> Any:
    import numpy as np

    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-raw.astype(np.float64)))).astype(np.float32)


def _words(numbers: Any) -> str:
    return ", ".join(f"{number:.6g}" for number in numbers[:SHOWN]) + ", …" * (len(numbers) > SHOWN)


def _name(labels: list[str], number: int) -> str:
    return labels[number] if number < len(labels) else str(number)


def _colour(number: int) -> tuple[int, int, int]:
    """Class 0 is black; the others have their bits spread over red, green and blue, as in Pascal VOC."""
    levels = [0, 0, 0]
    for bit in range(8):
        levels[bit % 3] |= (number >> bit & 1) << 7 - bit // 3
    return levels[0], levels[1], levels[2]


def _check_names(files: list[Path]) -> None:
    """Refuses files whose masks would replace each other."""
    stems = [path.stem for path in files]
    if twice := [stem for stem in stems if stems.count(stem) > 1]:
        raise RefusedError(f"Two files are called '{twice[0]}', and so would their masks: give one at a time.")


def _check_regular(path: Path) -> None:
    if not path.exists():
        raise RefusedError(f"There is no file '{path}'.")
    if not path.is_file():
        raise RefusedError(f"'{path}' is no regular file.")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _open_closed() -> None:
    """Opens closed standard streams to nowhere: otherwise a file that is opened later would get their number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name, mode in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(mode, "w", encoding="utf-8", closefd=False))


def _limit(seconds: int) -> None:
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def _say(text: str) -> None:
    # On a full device nobody reads it.
    with contextlib.suppress(OSError):
        sys.stderr.write(f"predict: {text}\n")
        sys.stderr.flush()


def answer(given: argparse.Namespace) -> int:
    """Runs the model on files, prints the answers, and returns the exit code."""
    try:
        _limit(MOST_SECONDS)
        model = Model()
        if model.facts["task"] == "segmentation":
            _check_names(given.files)
        answers = []
        for path in given.files:
            _limit(MOST_SECONDS)
            answers += [(run, ANSWERS[model.facts["task"]](model, run, given)) for run in model.run(path)]
        _limit(0)
    except RefusedError as error:
        _say(str(error))
        return 2
    except ImportError as error:
        _say(f"{error.name} is missing: pip install ai-edge-litert numpy pillow")
        return 2
    if given.json:
        value = [
            {"path": str(run.path)} | ({"rows": list(run.sample.rows)} if run.sample.rows else {}) | found.value
            for run, found in answers
        ]
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    else:
        text = "".join(f"{run.path}{run.place}: {found.text}\n" for run, found in answers)
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        pass  # Whoever reads has seen enough.
    except OSError as error:
        _say(f"standard output cannot be written: {error.strerror}.")
        return 2
    return 0


def main() -> int:
    """The command line."""
    _open_closed()
    # Names of files and classes may hold what the terminal's encoding does not.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    parser = argparse.ArgumentParser(description="Runs the model beside this file.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a picture; else a .npy or .npz file")
    parser.add_argument("--top", type=int, default=1, help="how many classes to name")
    parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="where masks are written")
    parser.add_argument("--json", action="store_true", help="one JSON value on standard output")
    given = parser.parse_args()
    if given.top < 1:
        parser.error("--top should be 1 or more")
    if given.json:
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    if not hasattr(os, "fork"):
        return answer(given)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = answer(given)
        except KeyboardInterrupt:
            code = 130
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    try:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except KeyboardInterrupt:
        return 130
    if status >= 0:
        return status
    if hasattr(signal, "SIGALRM") and status == -signal.SIGALRM:
        _say(f"model.tflite is damaged: it did not end within {MOST_SECONDS} seconds.")
    else:
        _say(f"model.tflite is damaged: the runtime crashed on it ({signal.Signals(-status).name}).")
    return 2


if __name__ == "__main__":
    sys.exit(main())
