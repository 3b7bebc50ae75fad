"""Numbers as text, formatted alike in every part of the report."""

from __future__ import annotations

from dataclasses import dataclass

from octavo.base.metric import Metric
from octavo.base.stats import Interval


def percent(share: float) -> str:
    """A share, in percent.

    Example:
        >>> percent(0.9731)
        '97.31%'
    """
    return f"{share:.2%}"


def points(share: float) -> str:
    """A difference of shares in percentage points, with its sign; a difference of zero has no sign.

    Example:
        >>> points(-0.003), points(0.0), points(0.0125)
        ('−0.30', '0.00', '+1.25')
    """
    text = f"{share * 100:+.2f}".replace("-", "−")
    return "0.00" if text in {"+0.00", "−0.00"} else text


def interval(share: Interval) -> str:
    """The interval of a share.

    Example:
        >>> interval(Interval(value=0.9, low=0.871, high=0.92))
        '87.10 to 92.00%'
    """
    return f"{share.low * 100:.2f} to {percent(share.high)}"


def span(difference: Interval) -> str:
    """The interval of a difference, in points.

    Example:
        >>> span(Interval(value=0.0, low=-0.01, high=0.02))
        '−1.00 to +2.00'
    """
    return f"{points(difference.low)} to {points(difference.high)}"


@dataclass(frozen=True)
class Figures:
    """Values and differences of one metric as text: shares in percent and points, others in their own unit.

    Args:
        metric: The metric.

    Example:
        >>> share = Figures(Metric("accuracy", "accuracy", "%"))
        >>> error = Figures(Metric("mae", "error", "", higher=False))
        >>> share.value(0.9), share.change(-0.003), share.amount(0.02), share.amount(0.01)
        ('90.00%', '−0.30 points', '2 points', '1 point')
        >>> error.value(0.0123), error.change(-0.003), error.amount(0.01)
        ('0.0123', '−0.003', '0.01')
    """

    metric: Metric

    def value(self, value: float) -> str:
        """A value with its unit."""
        return percent(value) if self.metric.percent else f"{number(value)} {self.metric.unit}".strip()

    def interval(self, found: Interval) -> str:
        """The interval of a value."""
        return interval(found) if self.metric.percent else f"{number(found.low)} to {self.value(found.high)}"

    def bare(self, difference: float) -> str:
        """A difference with its sign, without its unit."""
        if self.metric.percent:
            return points(difference)
        return f"{'+' if difference > 0 else ''}{number(difference)}"

    def change(self, difference: float) -> str:
        """A difference with its sign and unit."""
        return f"{self.bare(difference)} {self.metric.points}".strip()

    def span(self, difference: Interval) -> str:
        """The interval of a difference, without its unit."""
        return f"{self.bare(difference.low)} to {self.bare(difference.high)}"

    def amount(self, difference: float) -> str:
        """A difference without a sign, such as a margin, with its unit."""
        shown = f"{self.scaled(difference):g}"
        unit = "point" if shown == "1" and self.metric.percent else self.metric.points
        return f"{shown} {unit}".strip()

    def scaled(self, difference: float) -> float:
        """A difference as it is drawn: in points for a share."""
        return difference * 100 if self.metric.percent else difference


def number(value: float) -> str:
    """A number with three significant digits.

    Example:
        >>> number(-6.4531), number(0.05)
        ('−6.45', '0.05')
    """
    return f"{value:.3g}".replace("-", "−")


def times(ratio: float) -> str:
    """A ratio.

    Example:
        >>> times(3.512)
        '3.51×'
    """
    return f"{ratio:.2f}×"


def size(count: float) -> str:
    """Bytes, in units of a thousand, with three or more digits.

    Example:
        >>> size(2_726_944), size(640_256), size(812)
        ('2.73 MB', '640 kB', '812 bytes')
    """
    if count < 1000:
        return f"{count:.0f} bytes"
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.{0 if count >= 1e5 else 1}f} kB"


def count(many: float, what: str) -> str:
    """A number and its noun, in the plural where needed.

    Example:
        >>> count(1, "image"), count(1200, "image"), count(3, "class")
        ('1 image', '1,200 images', '3 classes')
    """
    plural = what if many == 1 else what + ("es" if what.endswith("s") else "s")
    return f"{many:,.0f} {plural}"


def about(value: float) -> str:
    """A number rounded to two significant digits.

    Example:
        >>> about(4802.0), about(37.4)
        ('4,800', '37')
    """
    digits = max(len(str(int(value))) - 2, 0)
    return f"{round(value, -digits):,.0f}"


def listing(names: list[str]) -> str:
    """Names in a sentence.

    Example:
        >>> listing(["a"]), listing(["a", "b", "c"])
        ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def tensor(name: str) -> str:
    """A tensor's name without the chain of names that the converter fused into it.

    Example:
        >>> tensor("net/conv_1/Relu6;net/bn_1/add;net/conv_1/convolution")
        'net/conv_1/Relu6'
    """
    return name.split(";")[0]


def decibels(value: float | None) -> str:
    """A signal-to-quantization-noise ratio; nothing for whole numbers and equal outputs, which have none.

    Example:
        >>> decibels(31.25), decibels(None)
        ('31.2 dB', '')
    """
    return "" if value is None else f"{value:.1f} dB"


def ratio(share: Interval) -> str:
    """A ratio with its interval.

    Example:
        >>> ratio(Interval(value=0.512, low=0.508, high=0.5162))
        '0.512 (0.508 to 0.516)'
    """
    return f"{share.value:.3f} ({share.low:.3f} to {share.high:.3f})"
