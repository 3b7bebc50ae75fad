"""Shared by the functions that write an int8 file: their result, and the check of the output path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from octavo.analysis.answers import Answers
from octavo.base.errors import ModelError
from octavo.base.files import check_file
from octavo.data.dataset import OctavoWarning
from octavo.quantization.proof import Proof
from octavo.quantization.quantize import Quantized
from octavo.runtime.litert import interleaved
from octavo.source.sidecar import check_model, check_replaced
from octavo.tflite.graph import Graph
from octavo.tuning.tune import Step


class AnswersWarning(OctavoWarning):
    """The int8 model's outputs are not those of the float model."""


@dataclass(frozen=True)
class Written:
    """An int8 file that was written and proved.

    Args:
        path: The file. Its sidecar is beside it.
        quantized: The model and every scale, zero point and code in it.
        proof: The checks that were made when the file was read back.
        float_bytes: Bytes of the float graph.
        undelegated: Ops that XNNPACK leaves to LiteRT's own kernels.
        slow: Those of them that can take time: all but the final SOFTMAX of a classifier.
        steps: What each tuning pass did.
        answers: The comparison of the int8 and float outputs. None after training, which changes the model.
        slowdown: The time of an int8 run divided by that of a float run, measured side by side on one thread of this
            machine. None if there are no `slow` ops: nothing is measured then.
    """

    path: Path
    quantized: Quantized = field(repr=False)
    proof: Proof = field(repr=False)
    float_bytes: int = field(repr=False)
    undelegated: list[str] = field(repr=False)
    slow: list[str] = field(repr=False)
    steps: tuple[Step, ...] = field(default=(), repr=False)
    answers: Answers | None = field(default=None, repr=False)
    slowdown: float | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        times = self.float_bytes / self.proof.bytes
        tuned = ", ".join(step.name for step in self.steps) or "not tuned"
        return (
            f"Written('{self.path}', {self.float_bytes:,} -> {self.proof.bytes:,} bytes ({times:.2f} times smaller), "
            f"{tuned}, {len(self.proof.checks)} checks passed)"
        )


def slowdown(before: Graph, made: Graph, slow: list[str]) -> float | None:
    """The int8 run time divided by the float run time, or None if no op is slow.

    Args:
        before: The float model.
        made: The int8 model.
        slow: The ops that XNNPACK leaves and that can take time.
    """
    if not slow:
        return None
    times = np.median(interleaved([before.content, made.content], 0.1), axis=1)
    return float(times[1] / times[0])


def check_output(out: Path, *models: Path | str, beside: Sequence[Path] = (), force: bool = False) -> None:
    """Checks, before any work, that the output overwrites no file of the user's and that its path can be written.

    Args:
        out: The model to write; its sidecar goes beside it.
        models: The models that are read.
        beside: Other files that will be written.
        force: Also replace a file that Octavo did not write.

    Raises:
        ModelError: `out` is one of the models.
        OctavoError: One of the files cannot be written: see `octavo.base.files.check_file`. Or it is there, and
            Octavo did not write it: see `octavo.source.sidecar.check_replaced`.
    """
    if any(out.resolve() == Path(model).resolve() for model in models):
        raise ModelError("The output would overwrite the model that is read.", "Set `out` to another path.")
    check_model(out)
    for path in beside:
        check_file(path)
    if not force:
        check_replaced(out)
