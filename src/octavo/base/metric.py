"""Metrics: the figures that models are scored by, with their unit and the direction that is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from octavo.base.stats import Interval


@dataclass(frozen=True)
class Metric:
    """A figure: its name, its unit, and which direction is better.

    Args:
        name: As a key in files.
        title: For people.
        unit: ``%`` for a share from 0 to 1, which is shown in percent and whose differences are points; else the unit,
            or empty for the unit of the values themselves.
        higher: Whether a higher value is better.

    Example:
        >>> accuracy = Metric("accuracy", "accuracy", "%")
        >>> accuracy.text(0.835), accuracy.change(-0.0025)
        ('83.50%', '-0.25 points')
        >>> error = Metric("mae", "mean absolute error", "", higher=False)
        >>> error.text(0.01234), error.change(0.0005), error.loss(Interval(0.5, 0.25, 0.75)).value
        ('0.01234', '+0.0005', 0.5)
    """

    name: str
    title: Annotated[str, Field(min_length=1)]
    unit: str
    higher: bool = True

    @property
    def heading(self) -> str:
        """The title with a capital letter, for the start of a line.

        Example:
            >>> Metric("mean_iou", "mean IoU", "%").heading
            'Mean IoU'
        """
        return f"{self.title[0].upper()}{self.title[1:]}"

    @property
    def axis(self) -> str:
        """The title with the unit, for an axis."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    @property
    def percent(self) -> bool:
        """Whether the figure is a share, shown in percent."""
        return self.unit == "%"

    @property
    def points(self) -> str:
        """The unit of a difference, for people."""
        return "points" if self.percent else self.unit

    def number(self, difference: float) -> str:
        """A difference in the metric's unit, with its sign but without the unit."""
        return f"{difference * 100:+.2f}" if self.percent else f"{difference:+.4g}"

    def text(self, value: float) -> str:
        """A value with its unit."""
        return f"{value:.2%}" if self.percent else f"{value:.4g} {self.unit}".strip()

    def between(self, found: Interval) -> str:
        """A value with its interval.

        Example:
            >>> Metric("accuracy", "accuracy", "%").between(Interval(0.8, 0.7, 0.9))
            '80.00% (95% interval 70.00% to 90.00%)'
        """
        return f"{self.text(found.value)} (95% interval {self.text(found.low)} to {self.text(found.high)})"

    def change(self, difference: float) -> str:
        """A difference with its sign and unit."""
        return f"{self.number(difference)} {self.points}".strip()

    def changes(self, found: Interval) -> str:
        """A difference with its interval.

        Example:
            >>> Metric("accuracy", "accuracy", "%").changes(Interval(-0.01, -0.02, 0.0))
            '-1.00 points (-2.00 to +0.00)'
        """
        return f"{self.change(found.value)} ({self.number(found.low)} to {self.number(found.high)})"

    def loss(self, difference: Interval) -> Interval:
        """By how much a model is worse than another, from its value minus the other's."""
        if not self.higher:
            return difference
        return Interval(-difference.value, -difference.high, -difference.low)

    def limit(self, amount: float) -> float:
        """A limit that a user gives in points, or in the metric's unit, as a difference of values."""
        return amount / 100 if self.percent else amount

    def usual_margin(self, value: float) -> float:
        """The largest acceptable loss if none is given: 2 points of a share, 5% of any other value."""
        return 0.02 if self.percent else 0.05 * abs(value)
