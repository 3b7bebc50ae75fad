"""Octavo takes an image classifier from float32 to full-integer INT8 for LiteRT, and proves the result.

In a few lines::

    import octavo

    octavo.quantize_file("model.keras", data="photos/", out="model_int8.tflite")
    octavo.evaluate_file("model_int8.tflite", data="photos/").accuracy()
    octavo.run("digits", out="runs/digits")

and step by step::

    from octavo.calibrate import calibrate
    from octavo.prove import prove
    from octavo.quantize import quantize

    graph = octavo.Graph.read(Path("float.tflite"))
    ranges = calibrate(graph, images)  # float32 (N, height, width, channels)
    int8 = quantize(graph, ranges)
    prove(int8)
    Path("int8.tflite").write_bytes(int8.content)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from octavo.affine import QParams as QParams
    from octavo.data.dataset import ImageSet as ImageSet
    from octavo.data.open import open_dataset as open_dataset
    from octavo.data.preprocess import Preprocess as Preprocess
    from octavo.errors import OctavoError as OctavoError
    from octavo.graph import Graph as Graph
    from octavo.pipeline import compare_files as compare_files
    from octavo.pipeline import evaluate_file as evaluate_file
    from octavo.pipeline import inspect_file as inspect_file
    from octavo.pipeline import qat_file as qat_file
    from octavo.pipeline import quantize_file as quantize_file
    from octavo.pipeline import run as run
    from octavo.quant_model import QuantModel as QuantModel
    from octavo.ranges import Ranges as Ranges
    from octavo.recipe import Recipe as Recipe
    from octavo.recipe import load_recipe as load_recipe

# Loaded when first asked for, so that `import octavo` costs nothing.
_WHERE = {
    "Graph": ("graph", "Graph"),
    "ImageSet": ("data.dataset", "ImageSet"),
    "OctavoError": ("errors", "OctavoError"),
    "Preprocess": ("data.preprocess", "Preprocess"),
    "QParams": ("affine", "QParams"),
    "QuantModel": ("quant_model", "QuantModel"),
    "Ranges": ("ranges", "Ranges"),
    "Recipe": ("recipe", "Recipe"),
    "compare_files": ("pipeline", "compare_files"),
    "evaluate_file": ("pipeline", "evaluate_file"),
    "inspect_file": ("pipeline", "inspect_file"),
    "load_recipe": ("recipe", "load_recipe"),
    "open_dataset": ("data.open", "open_dataset"),
    "qat_file": ("pipeline", "qat_file"),
    "quantize_file": ("pipeline", "quantize_file"),
    "run": ("pipeline", "run"),
}

__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'octavo' has no attribute '{name}'")
    module, attribute = _WHERE[name]
    return getattr(import_module(f"octavo.{module}"), attribute)
