"""The targets' answers: as a sequence, as JSON, and as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, overload

from octavo.base import notebook
from octavo.deployment.targets.target import Answer, Verdict

# An answer in words: whether a model is taken or ran, and what a cost is.
YES_OR_NO = {True: "yes", False: "no", None: "unknown"}
MEASURED = {True: "measured", False: "estimate", None: "unknown"}


@dataclass(frozen=True, repr=False)
class Survey(Sequence[Verdict]):
    """The verdicts of all targets on one model, in the order of the targets.

    Args:
        verdicts: A verdict for each target.
    """

    verdicts: tuple[Verdict, ...]

    def __len__(self) -> int:
        return len(self.verdicts)

    @overload
    def __getitem__(self, place: int) -> Verdict: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Verdict, ...]: ...
    def __getitem__(self, place: int | slice) -> Verdict | tuple[Verdict, ...]:
        return self.verdicts[place]

    def __repr__(self) -> str:
        answers = [
            f"{v.target}: {YES_OR_NO[v.takes.answer]}{', ran' if v.runs and v.runs.answer else ''}"
            for v in self.verdicts
        ]
        return f"Survey(takes the model? {'; '.join(answers)})"

    def _repr_html_(self) -> str:
        return notebook.table(
            ("target", "takes it", "", "ran here", "", "cost", ""),
            [
                (v.target, *_said(v.takes, YES_OR_NO), *_said(v.runs, YES_OR_NO), *_said(v.costs, MEASURED))
                for v in self.verdicts
            ],
            f"One model on {len(self)} targets",
            texts=7,
        )

    def to_json(self) -> list[dict[str, Any]]:
        """A JSON value."""
        return to_json(self.verdicts)


def to_json(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """The verdicts as a JSON value."""
    return [asdict(verdict) for verdict in verdicts]


def table(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as text."""
    lines = []
    for verdict in verdicts:
        lines.append(verdict.target)
        for word, answer in (("takes it", verdict.takes), ("ran here", verdict.runs)):
            if answer is not None:
                lines.append(f"  {word}  {YES_OR_NO[answer.answer]:8} {answer.about}")
        if verdict.costs is not None:
            lines.append(f"  cost      {MEASURED[verdict.costs.answer]:8} {verdict.costs.about}")
    return "\n".join(lines)


def _said(answer: Answer | None, words: dict[bool | None, str]) -> tuple[str, str]:
    """An answer in a word and in a sentence; empty if the question does not apply."""
    return ("", "") if answer is None else (words[answer.answer], answer.about)
