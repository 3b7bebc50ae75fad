"""Classifies pictures with the model beside this file.

    python predict.py photo.jpg [more.png ...] [--top 3] [--json]

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FORMATS = ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"]
MOST_PIXELS = 1 << 26
# For loading the model, and for each picture: a damaged model may never end.
MOST_SECONDS = 30


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
        low, high = facts["scale"]
        right = {
            "size": len(facts["size"]) == 2 and all(type(side) is int and side > 0 for side in facts["size"]),
            "scale": math.isfinite(low) and math.isfinite(high) and low < high,
            "channels": facts["channels"] in ("rgb", "bgr", "gray"),
            "interpolation": facts["interpolation"] in ("nearest", "bilinear", "bicubic", "lanczos"),
            "output": facts["output"] in ("probabilities", "logits"),
        }
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise RefusedError(
            f"preprocess.json is damaged ({type(error).__name__}): copy the whole folder again."
        ) from None
    if wrong := [name for name, fine in right.items() if not fine]:
        raise RefusedError(f"preprocess.json is damaged: '{wrong[0]}' is {facts[wrong[0]]!r}.")
    return dict(facts)


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


class Classifier:
    """The model of a folder, ready to classify.

    Args:
        folder: A folder that `octavo deploy` wrote.

    Raises:
        RefusedError: A file is missing or damaged, or does not belong to the others.
    """

    def __init__(self, folder: Path = HERE) -> None:
        check(folder)
        import numpy as np
        from ai_edge_litert.interpreter import Interpreter

        self.preprocess = _facts(folder)
        try:
            self.labels = _read(folder, "labels.txt").decode("utf-8").removesuffix("\n").split("\n")
        except UnicodeDecodeError:
            raise RefusedError("labels.txt is damaged: it is no UTF-8.") from None
        try:
            with _quiet():
                self._model = Interpreter(model_content=_read(folder, "model.tflite"), num_threads=1)
                self._model.allocate_tensors()
            (self._input,), (self._output,) = self._model.get_input_details(), self._model.get_output_details()
        except (ValueError, RuntimeError, MemoryError) as error:
            raise RefusedError(f"model.tflite is damaged: {_first_line(error)}") from None
        height, width = self.preprocess["size"]
        wanted = [1, height, width, 1 if self.preprocess["channels"] == "gray" else 3]
        if self._input["shape"].tolist() != wanted:
            raise RefusedError(
                f"model.tflite takes {self._input['shape'].tolist()}, and preprocess.json says {wanted}."
            )
        outputs = math.prod(self._output["shape"].tolist())
        if len(self.labels) != (2 if outputs == 1 else outputs):
            raise RefusedError(f"labels.txt names {len(self.labels)} classes, and model.tflite has {outputs} outputs.")
        low, high = self.preprocess["scale"]
        # The input code of each of the 256 pixel values: scaled in float32, then rounded half away from zero.
        real = np.arange(256, dtype=np.float32) / np.float32(255.0 / (high - low)) + np.float32(low)
        self._codes = real
        if self._input["dtype"] != np.float32:
            scale, zero_point = self._quantization(self._input)
            ratio = real.astype(np.float64) / scale
            limits = np.iinfo(self._input["dtype"])
            rounded = np.trunc(ratio + np.copysign(0.5, ratio)) + zero_point
            self._codes = np.clip(rounded, limits.min, limits.max).astype(self._input["dtype"])
        if self._output["dtype"] != np.float32:
            self._quantization(self._output)

    @staticmethod
    def _quantization(detail: Any) -> tuple[float, int]:
        found = detail["quantization_parameters"]
        scale, zero_point = (float(found[part][0]) if len(found[part]) else 0.0 for part in ("scales", "zero_points"))
        if detail["dtype"].__name__ not in ("int8", "uint8", "int16") or not 0 < scale < math.inf:
            raise RefusedError(f"model.tflite is damaged: '{detail['name']}' is not quantized.")
        return scale, int(zero_point)

    def pixels(self, path: Path) -> Any:
        """A picture in the model's size and channels, uint8 ``(height, width, channels)``.

        Raises:
            RefusedError: The file is not a readable picture.
        """
        import numpy as np
        from PIL import Image, ImageOps

        try:
            if not path.exists():
                raise RefusedError(f"There is no file '{path}'.")
            if not path.is_file():
                raise RefusedError(f"'{path}' is no regular file.")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(path, formats=FORMATS) as opened:
                    if opened.width * opened.height > MOST_PIXELS:
                        raise RefusedError(f"'{path}' has more than {MOST_PIXELS:,} pixels.")
                    turned = ImageOps.exif_transpose(opened)
                    if turned.mode in ("I", "F"):
                        raise RefusedError(f"'{path}' has 32-bit pixels, whose range is unknown.")
                    if turned.mode.startswith("I;16"):
                        picture = Image.fromarray((np.asarray(turned) >> 8).astype(np.uint8)).convert("RGB")
                    else:
                        picture = turned.convert("RGB")
        except RefusedError:
            raise
        except Exception as error:
            raise RefusedError(f"'{path}' is not a picture that can be read ({type(error).__name__}).") from error
        if self.preprocess["channels"] == "gray":
            picture = picture.convert("L")
        height, width = self.preprocess["size"]
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling[self.preprocess["interpolation"].upper()])
        pixels = np.asarray(picture).reshape(height, width, -1)
        return pixels[..., ::-1] if self.preprocess["channels"] == "bgr" else pixels

    def probabilities(self, path: Path) -> Any:
        """The probability of each class, float32, in the order of `labels`."""
        import numpy as np

        pixels = self.pixels(path)
        try:
            with _quiet():
                self._model.set_tensor(self._input["index"], np.take(self._codes, pixels)[None])
                self._model.invoke()
                raw = self._model.get_tensor(self._output["index"]).ravel()
        except (ValueError, RuntimeError, MemoryError) as error:
            raise RefusedError(f"model.tflite cannot be run: {_first_line(error)}") from None
        if raw.dtype != np.float32:
            scale, zero_point = self._quantization(self._output)
            raw = ((raw.astype(np.float64) - zero_point) * scale).astype(np.float32)
        if self.preprocess["output"] == "logits":
            risen = np.exp(raw.astype(np.float64) - raw.max())
            return (risen / risen.sum()).astype(np.float32)
        return np.concatenate([1 - raw, raw]) if len(raw) == 1 else raw

    def classify(self, path: Path, top: int = 1) -> list[tuple[str, float]]:
        """The most probable classes of a picture; the first in the list of labels wins a tie."""
        import numpy as np

        found = self.probabilities(path)
        order = np.argsort(-found, kind="stable")[:top]
        return [(self.labels[place], float(found[place])) for place in order]


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


def answer(pictures: list[Path], top: int, as_json: bool) -> int:
    """Classifies pictures, prints the classes, and returns the exit code."""
    try:
        _limit(MOST_SECONDS)
        model = Classifier()
        answers = []
        for path in pictures:
            _limit(MOST_SECONDS)
            answers.append((path, model.classify(path, top)))
        _limit(0)
    except RefusedError as error:
        _say(str(error))
        return 2
    except ImportError as error:
        _say(f"{error.name} is missing: pip install ai-edge-litert numpy pillow")
        return 2
    if as_json:
        value = [
            {"path": str(path), "classes": [{"class": name, "probability": share} for name, share in found]}
            for path, found in answers
        ]
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    else:
        lines = (f"{path}: {', '.join(f'{name} {share:.1%}' for name, share in found)}\n" for path, found in answers)
        text = "".join(lines)
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
    parser = argparse.ArgumentParser(description="Classifies pictures with the model beside this file.")
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE")
    parser.add_argument("--top", type=int, default=1, help="how many classes to name")
    parser.add_argument("--json", action="store_true", help="one JSON value on standard output")
    given = parser.parse_args()
    if given.top < 1:
        parser.error("--top should be 1 or more")
    if given.json:
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    if not hasattr(os, "fork"):
        return answer(given.pictures, given.top, given.json)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = answer(given.pictures, given.top, given.json)
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
