"""A finding of the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Topic = Literal[
    "summary", "accuracy", "size", "speed", "quantization", "deployment", "devices", "recommendation", "next"
]
Tone = Literal["good", "plain", "warn"]


@dataclass(frozen=True)
class Finding:
    """One statement about the run.

    Args:
        topic: Which part of the report it belongs to.
        text: The statement, with its figures.
        figures: Those figures, unrounded, by name.
        tone: Whether it is welcome, neutral, or something to look at.
    """

    topic: Topic
    text: str
    figures: dict[str, float] = field(default_factory=dict)
    tone: Tone = "plain"
