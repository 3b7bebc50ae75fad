"""Docstrings as the API reference shows them: an example as one, names of Octavo as links."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """Changes docstrings before mkdocstrings reads their sections."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            text = obj.docstring.value
            # griffe knows Google's section by its plural name only.
            text = re.sub(r"^( *)Example:$", r"\1Examples:", text, flags=re.MULTILINE)
            # The fields of a pydantic model: griffe knows the arguments of dataclasses and of `__init__` alone.
            if obj.is_class and "__init__" not in obj.members and "dataclass" not in str(obj.decorators):
                text = re.sub(r"^( *)Args:$", r"\1Attributes:", text, flags=re.MULTILINE)
            # `optional`: what the reference does not show stays a name.
            link = r'<autoref identifier="\1" optional><code>\1</code></autoref>'
            obj.docstring.value = re.sub(r"`(octavo(?:\.\w+)+)`", link, text)
