"""Dark mode of the report's pictures: a style sheet that replaces the colours in which they are drawn.

A picture is drawn once, in the colours of light mode, and stays whole in programs that read no style sheet.
"""

from __future__ import annotations

# The colours that pictures are drawn in, and those that replace them on a dark ground.
DARK = {
    "#ffffff": "#1c2025",
    "#000000": "#e6e9ed",
    "#24292f": "#e6e9ed",
    "#0072b2": "#5cb6ee",
    "#56b4e9": "#2f7fb5",
    "#d5e3ee": "#26394a",
    "#d55e00": "#f0883e",
    "#009e73": "#2fbf92",
    "#e69f00": "#e9ae2c",
    "#cc79a7": "#d993bb",
    "#8a8f98": "#98a2ac",
    "#b8bec6": "#5c6670",
    "#9aa1a9": "#78828c",
    "#d7dbe0": "#454e57",
    "#e8ebee": "#2c333a",
}


def style_sheet(inside: str = "svg") -> str:
    """The style sheet of pictures in dark mode; print stays light.

    Args:
        inside: The selector of the pictures that it changes.

    Example:
        >>> print(style_sheet("figure svg")[:125])
        @media screen and (prefers-color-scheme: dark) {
        figure svg [style*="fill: #ffffff"] { fill: #1c2025 !important; }
        figure svg
    """
    rules = [
        f'{inside} [style*="{part}: {light}"] {{ {part}: {dark} !important; }}'
        for light, dark in DARK.items()
        for part in ("fill", "stroke")
    ]
    # Text without a colour is black, and a matrix is an image, whose pale cells become dark and keep their hue.
    rules.append(f'{inside} text:not([style*="fill:"]) {{ fill: {DARK["#000000"]}; }}')
    rules.append(f"{inside} image {{ filter: invert(.89) hue-rotate(180deg); }}")
    return "@media screen and (prefers-color-scheme: dark) {\n" + "\n".join(rules) + "\n}\n"


def standalone(svg: str) -> str:
    """A picture as a file of its own, which brings the style sheet along."""
    start = svg.index(">") + 1
    return f"{svg[:start]}\n<style>\n{style_sheet()}</style>{svg[start:]}"
