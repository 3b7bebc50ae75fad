"""The one family of exceptions that a user's mistake can raise.

Every message says what was expected, what came, and what to do next. The command line prints it without a
traceback and exits with code 2; anything that is not an `OctavoError` is a defect of Octavo itself.
"""

from __future__ import annotations

from collections.abc import Sequence


class OctavoError(Exception):
    """A problem that the user can mend.

    Args:
        problem: What was expected and what came, in one sentence.
        todo: What to do about it, in one sentence. Empty when `problem` already says so.
        details: One line each: the ops, tensors, files or keys that the problem is about.

    Example:
        >>> print(OctavoError("No images in 'photos'.", "Give a folder with one folder per class."))
        No images in 'photos'. Give a folder with one folder per class.
    """

    def __init__(self, problem: str, todo: str = "", details: Sequence[str] = ()) -> None:
        self.problem = problem
        self.todo = todo
        self.details = tuple(details)
        text = f"{problem} {todo}".strip()
        super().__init__("\n  ".join([text, *self.details]))


class DataError(OctavoError):
    """Images, labels or archives that cannot be used as they are."""


class ModelError(OctavoError):
    """A model file that cannot be read, run or exported."""


class RecipeError(OctavoError):
    """A recipe that does not say what it should."""


class QuantizationError(OctavoError):
    """A model that cannot become the integer model that was asked for."""


class ProofError(OctavoError):
    """A written file that is not what the table says it should be."""


class MissingDependencyError(OctavoError):
    """An optional package that this step needs and that is not installed."""
