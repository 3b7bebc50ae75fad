"""Classifies pictures with the model beside this file.

    python predict.py photo.jpg [more.png ...] [--top 3] [--json]

Needs Python 3.10 or newer with `pip install ai-edge-litert numpy pillow`, and nothing else. All files are checked
against SHA256SUMS first, because most randomly damaged models still load and run, but give wrong results. An error is
one sentence and exit code 2.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FORMATS = ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"]
MOST_PIXELS = 1 << 26


class RefusedError(Exception):
    """A problem that the user can fix, in one sentence."""


def check(folder: Path = HERE) -> None:
    """Compares the files of the folder with SHA256SUMS.

    Raises:
        RefusedError: A file is missing or was changed.
    """
    sums = folder / "SHA256SUMS"
    if not sums.is_file():
        raise RefusedError(f"There is no SHA256SUMS in '{folder}': copy the whole folder again.")
    lines = (line.partition("  ") for line in sums.read_text("utf-8").splitlines())
    known = {name: digest for digest, _, name in lines}
    for name in ("model.tflite", "labels.txt", "preprocess.json"):
        path = folder / name
        if not path.is_file():
            raise RefusedError(f"There is no {name} in '{folder}': copy the whole folder again.")
        if hashlib.sha256(path.read_bytes()).hexdigest() != known.get(name):
            raise RefusedError(f"{name} is damaged or was replaced: its SHA-256 is not the one in SHA256SUMS.")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Discards the runtime's notices, which do not go through Python, from standard error."""
    sys.stderr.flush()
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
    """

    def __init__(self, folder: Path = HERE) -> None:
        check(folder)
        import numpy as np
        from ai_edge_litert.interpreter import Interpreter

        self.labels = (folder / "labels.txt").read_text("utf-8").splitlines()
        self.preprocess = json.loads((folder / "preprocess.json").read_text("utf-8"))
        with _quiet():
            self._model = Interpreter(model_content=(folder / "model.tflite").read_bytes(), num_threads=1)
            self._model.allocate_tensors()
        (self._input,) = self._model.get_input_details()
        self._output = self._model.get_output_details()[0]
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

    @staticmethod
    def _quantization(detail: Any) -> tuple[float, int]:
        found = detail["quantization_parameters"]
        return float(found["scales"][0]), int(found["zero_points"][0])

    def pixels(self, path: Path) -> Any:
        """A picture in the model's size and channels, uint8 ``(height, width, channels)``.

        Raises:
            RefusedError: The file is not a readable picture.
        """
        import numpy as np
        from PIL import Image, ImageOps

        try:
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
        except FileNotFoundError:
            raise RefusedError(f"There is no file '{path}'.") from None
        except (RefusedError, MemoryError):
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

        self._model.set_tensor(self._input["index"], np.take(self._codes, self.pixels(path))[None])
        self._model.invoke()
        raw = self._model.get_tensor(self._output["index"]).ravel()
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


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Classifies pictures with the model beside this file.")
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE")
    parser.add_argument("--top", type=int, default=1, help="how many classes to name")
    parser.add_argument("--json", action="store_true", help="one JSON value on standard output")
    given = parser.parse_args()
    try:
        model = Classifier()
        answers = [(path, model.classify(path, given.top)) for path in given.pictures]
    except RefusedError as error:
        sys.stderr.write(f"predict: {error}\n")
        return 2
    except ImportError as error:
        sys.stderr.write(f"predict: {error.name} is missing: pip install ai-edge-litert numpy pillow\n")
        return 2
    if given.json:
        value = [
            {"path": str(path), "classes": [{"class": name, "probability": share} for name, share in found]}
            for path, found in answers
        ]
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
        return 0
    for path, found in answers:
        sys.stdout.write(f"{path}: {', '.join(f'{name} {share:.1%}' for name, share in found)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
