"""The exceptions for a user's mistakes.

Every message says what was expected, what was found, and what to do next. The command line prints it without a
traceback and exits with code 2; anything that is not an `OctavoError` is a defect of Octavo itself.
"""

from __future__ import annotations

from collections.abc import Sequence


class OctavoError(Exception):
    """A problem that the user can fix.

    Args:
        problem: What was expected and what was found, in one sentence.
        todo: What to do about it, in one sentence. Empty when `problem` already says so.
        details: One line each: the ops, tensors, files or keys that the problem is about.

    Example:
        >>> print(OctavoError("No images in 'photos'.", "Give a folder with one folder per class."))
        No images in 'photos'. Give a folder with one folder per class.
    """

    # What the command line exits with.
    code = 2

    def __init__(self, problem: str, todo: str = "", details: Sequence[str] = ()) -> None:
        self.problem = problem
        self.todo = todo
        self.details = tuple(details)
        text = f"{problem} {todo}".strip()
        super().__init__("\n  ".join([text, *self.details]))


class DataError(OctavoError):
    """Images, labels or archives that cannot be used."""


class ModelError(OctavoError):
    """A model file that cannot be read, run or exported."""


class RecipeError(OctavoError):
    """A recipe with a missing, unknown or wrong value."""


class QuantizationError(OctavoError):
    """A model that cannot be quantized as requested."""


class ProofError(OctavoError):
    """A written file that differs from its table."""


class LostError(OctavoError):
    """A process that trains together with others was lost, so that none of them can go on."""

    # That of `EX_TEMPFAIL` in sysexits.h: the same command can succeed when it is repeated.
    code = 75

    def __init__(self, problem: str, todo: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(problem, todo or "Start all processes again: training resumes after the last epoch.", details)


class MissingDependencyError(OctavoError):
    """An optional package that is needed but not installed."""
