"""Policies: the limits that a model must keep to pass `octavo check`, as a YAML file validated key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from octavo.base.errors import RecipeError
from octavo.recipe.keyed import Section, mistakes, parsed, text_of

# As `octavo.runtime.litert.Kernels`, which lies above.
Family = Literal["xnnpack", "builtin", "reference"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]

_TODO = "See docs/gate.md."


class Policy(Section):
    """The limits that a model must keep. What is not set is not checked.

    Example:
        >>> Policy(max_size=300_000, max_drop=1)
        Policy(max_drop=1.0, max_size=300000)
    """

    max_drop: Positive | None = Field(
        None,
        description="The largest acceptable loss against the float model on the same samples: in points where the "
        "score is in percent, else in the score's unit. Needs `--float` and `--data`.",
    )
    worst_score: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        None,
        description="The worst acceptable score: in percent where the score is in percent, else in its unit. At least "
        "this where a higher score is better, at most where it is an error. Needs `--data`.",
    )
    max_size: Count | None = Field(None, description="The largest acceptable file, in bytes.")
    max_arena: Count | None = Field(
        None,
        description="The largest acceptable arena of TFLite Micro, in bytes: activations, as its greedy planner "
        "places them, and an estimate of the runtime's own data.",
    )
    max_cpu_ops: Count | None = Field(
        None,
        description="How many ops XNNPACK may leave to LiteRT's own kernels. The SOFTMAX over a classifier's classes, "
        "which it always leaves, does not count.",
    )
    max_float_ops: Count | None = Field(
        None, description="How many ops may compute in float. QUANTIZE and DEQUANTIZE do not count."
    )
    bit_equal: tuple[Family, ...] | None = Field(
        None,
        description="Kernel families that must give the same outputs, bit for bit: two or three of `xnnpack`, "
        "`builtin` and `reference`. Runs samples of `--data`, or synthetic ones.",
    )
    max_latency_ratio: Positive | None = Field(
        None,
        description="The largest acceptable time of a run, divided by that of `--reference` (else `--float`): both "
        "are timed in turn, on one thread, on XNNPACK.",
    )
    undecided: Literal["fail", "warn"] = Field(
        "fail",
        description="What a limit does that the measurement can neither show to be kept nor to be broken: `fail` "
        "breaks it, `warn` lets it pass with a warning.",
    )

    @model_validator(mode="after")
    def _limits(self) -> Policy:
        if not self.limits:
            names = ", ".join(name for name in type(self).model_fields if name != "undecided")
            raise ValueError(f"it sets no limit: set one or more of {names}")
        if self.bit_equal is not None and not 1 < len(set(self.bit_equal)) == len(self.bit_equal):
            raise ValueError(f"bit_equal compares two or three kernel families, not {', '.join(self.bit_equal)}")
        return self

    @property
    def limits(self) -> tuple[str, ...]:
        """The keys of the limits that are set."""
        return tuple(key for key in type(self).model_fields if key != "undecided" and getattr(self, key) is not None)


def load_policy(path: Path | str) -> Policy:
    """Reads a policy.

    Args:
        path: A YAML file.

    Raises:
        RecipeError: There is no such file, or a key is unknown or has a wrong value.

    Example:
        >>> load_policy("budget.yaml")
        Policy(max_drop=15.0, max_size=10000, max_float_ops=0)
    """
    path = Path(path)
    where = f"'{path}'"
    if not path.is_file():
        raise RecipeError(f"There is no policy {where}.", f"Give the path of a YAML file. {_TODO}")
    value, lines = parsed(text_of(path), where, _TODO)
    try:
        return Policy.model_validate(value)
    except ValidationError as error:
        raise mistakes(error, Policy, where, lines) from None
