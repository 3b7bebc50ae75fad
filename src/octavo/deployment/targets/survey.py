"""The targets' answers as JSON, and as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from octavo.deployment.targets.target import Verdict


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
                said = {True: "yes", False: "no", None: "unknown"}[answer.answer]
                lines.append(f"  {word}  {said:8} {answer.about}")
        if verdict.costs is not None:
            said = {True: "measured", False: "estimate", None: "unknown"}[verdict.costs.answer]
            lines.append(f"  cost      {said:8} {verdict.costs.about}")
    return "\n".join(lines)
