"""Tables and pictures of results in a notebook, as HTML without scripts or style sheets."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], title: str, texts: int = 1) -> str:
    """A table; the text of every cell is escaped.

    Args:
        heads: The column titles.
        rows: Rows of as many cells.
        title: One line above it.
        texts: How many columns, from the left, hold words; the others hold numbers.

    Example:
        >>> table(["class", "images"], [["a<b", "3"]], "Test")[:46]
        '<table><caption style="text-align:left">Test</'
        >>> "a&lt;b" in table(["class", "images"], [["a<b", "3"]], "Test")
        True
    """

    def line(tag: str, cells: Sequence[str]) -> str:
        sides = ["left" if place < texts else "right" for place in range(len(cells))]
        made = (f'<{tag} style="text-align:{s}">{escape(c)}</{tag}>' for s, c in zip(sides, cells, strict=True))
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(line("td", row) for row in rows)
    caption = f'<caption style="text-align:left">{escape(title)}</caption>'
    return f"<table>{caption}<thead>{line('th', heads)}</thead><tbody>{body}</tbody></table>"


def picture(png: bytes, alt: str) -> str:
    """A picture, embedded in the page.

    Args:
        png: A PNG file.
        alt: What it shows, for people who cannot see it.

    Example:
        >>> picture(b"PNG", 'a "b"')
        '<img alt="a &quot;b&quot;" style="max-width:100%" src="data:image/png;base64,UE5H">'
    """
    data = base64.b64encode(png).decode()
    return f'<img alt="{escape(alt)}" style="max-width:100%" src="data:image/png;base64,{data}">'
