"""Units: numbers with their unit as text, for people."""

from __future__ import annotations


def milliseconds(value: float) -> str:
    """A time, with two or more significant digits.

    Example:
        >>> milliseconds(0.0031), milliseconds(0.4945), milliseconds(12.98), milliseconds(1234.5)
        ('0.0031 ms', '0.49 ms', '12.98 ms', '1,234 ms')
    """
    if 0 < value < 0.1:
        return f"{value:.2g} ms"
    return f"{value:,.2f} ms" if value < 100 else f"{value:,.0f} ms"
