"""Octavo takes a trained float network to full-integer INT8 for LiteRT, and proves the result.

Every command of the shell has a function of the same name and meaning here:

>>> import octavo
>>> made = octavo.quantize("float.tflite", data="photos", out="model_int8.tflite")
>>> octavo.evaluate("model_int8.tflite", data="photos").accuracy().value
1.0

Options that travel together are two records, and functions take their fields as keywords too:

>>> photos = octavo.Inputs("photos", images=20)
>>> how = octavo.Quantization(observer="mse", tune=("equalize", "compensate"))
>>> one = octavo.quantize("float.tflite", photos, "model_int8.tflite", how)
>>> same = octavo.quantize("float.tflite", photos, "model_int8.tflite", observer="mse", tune=how.tune)
>>> one.proof.sha256 == same.proof.sha256
True

and step by step:

>>> from pathlib import Path
>>> from octavo.quantization.calibrate import calibrate
>>> from octavo.quantization.proof import prove
>>> from octavo.quantization.quantize import quantize
>>> photos = octavo.open_dataset("path", "photos").splits["train"].read()
>>> images = octavo.Preprocess(size=(8, 8)).apply(photos.images)  # float32 (N, height, width, channels)
>>> graph = octavo.Graph.read("float.tflite")
>>> ranges = calibrate(graph, images)
>>> int8 = quantize(graph, ranges)
>>> proof = prove(int8)
>>> _ = Path("model_int8.tflite").write_bytes(int8.content)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from octavo.analysis.target_search import Goal as Goal
    from octavo.api.benchmark import benchmark as benchmark
    from octavo.api.calibrate import calibrate as calibrate
    from octavo.api.check import check as check
    from octavo.api.compare import compare as compare
    from octavo.api.diff import diff as diff
    from octavo.api.doctor import doctor as doctor
    from octavo.api.evaluate import evaluate as evaluate
    from octavo.api.from_jax import from_jax as from_jax
    from octavo.api.from_torch import from_torch as from_torch
    from octavo.api.init import init as init
    from octavo.api.inspect import inspect as inspect
    from octavo.api.pareto import pareto as pareto
    from octavo.api.qat import qat as qat
    from octavo.api.quantize import quantize as quantize
    from octavo.api.recipes import recipes as recipes
    from octavo.api.search import search as search
    from octavo.api.sensitivity import sensitivity as sensitivity
    from octavo.api.slim import slim as slim
    from octavo.api.targets import targets as targets
    from octavo.base.affine import QParams as QParams
    from octavo.base.errors import OctavoError as OctavoError
    from octavo.data.dataset import ImageSet as ImageSet
    from octavo.data.open import open_dataset as open_dataset
    from octavo.data.preprocess import Preprocess as Preprocess
    from octavo.deployment.folder import deploy as deploy
    from octavo.deployment.serve import serve as serve
    from octavo.quantization.ranges import Ranges as Ranges
    from octavo.recipe.options import Inputs as Inputs
    from octavo.recipe.options import Quantization as Quantization
    from octavo.recipe.policy import Policy as Policy
    from octavo.recipe.policy import load_policy as load_policy
    from octavo.recipe.schema import Recipe as Recipe
    from octavo.recipe.schema import load_recipe as load_recipe
    from octavo.reports.compare_runs import compare_runs as compare_runs
    from octavo.reports.write import write as _write
    from octavo.runs.stages import run as run
    from octavo.runs.sweep import sweep as sweep
    from octavo.runs.worker import worker as worker
    from octavo.tflite.graph import Graph as Graph
    from octavo.training.quant_model import QuantModel as QuantModel

    compare_files = compare
    report = _write
    evaluate_file = evaluate
    inspect_file = inspect
    qat_file = qat
    quantize_file = quantize

# Loaded when first asked for, so that `import octavo` costs nothing.
_WHERE = {
    "Graph": "tflite.graph",
    "ImageSet": "data.dataset",
    "Inputs": "recipe.options",
    "OctavoError": "base.errors",
    "Policy": "recipe.policy",
    "Preprocess": "data.preprocess",
    "QParams": "base.affine",
    "QuantModel": "training.quant_model",
    "Quantization": "recipe.options",
    "Ranges": "quantization.ranges",
    "Recipe": "recipe.schema",
    "Goal": "analysis.target_search",
    "benchmark": "api.benchmark",
    "calibrate": "api.calibrate",
    "check": "api.check",
    "compare": "api.compare",
    "compare_runs": "reports.compare_runs",
    "deploy": "deployment.folder",
    "diff": "api.diff",
    "doctor": "api.doctor",
    "evaluate": "api.evaluate",
    "from_jax": "api.from_jax",
    "from_torch": "api.from_torch",
    "init": "api.init",
    "inspect": "api.inspect",
    "load_policy": "recipe.policy",
    "load_recipe": "recipe.schema",
    "open_dataset": "data.open",
    "pareto": "api.pareto",
    "qat": "api.qat",
    "quantize": "api.quantize",
    "recipes": "api.recipes",
    "report": "reports.write:write",
    "run": "runs.stages",
    "search": "api.search",
    "sensitivity": "api.sensitivity",
    "serve": "deployment.serve",
    "slim": "api.slim",
    "sweep": "runs.sweep",
    "targets": "api.targets",
    "worker": "runs.worker",
}
# The names of version 0.1; they work as before.
_FORMER = {f"{name}_file": name for name in ("evaluate", "inspect", "qat", "quantize")} | {"compare_files": "compare"}

__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    known = _FORMER.get(name, name)
    if known not in _WHERE:
        raise AttributeError(f"module 'octavo' has no attribute '{name}'")
    module, _, attribute = _WHERE[known].partition(":")
    return getattr(import_module(f"octavo.{module}"), attribute or known)


def __dir__() -> list[str]:
    return sorted(__all__)
