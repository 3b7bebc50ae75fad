"""Makes the API reference from docstrings, as HTML, by pdoc: what is public, and the classes that it takes and gives.

python scripts/make_reference.py          # into build/reference
python scripts/make_reference.py FOLDER

Whatever pdoc warns of is an error, such as an annotation that does not resolve; and so is a name in a docstring that
Octavo does not have.
"""

from __future__ import annotations

import dataclasses
import pkgutil
import re
import sys
import types
import typing
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pdoc.doc
import pdoc.render
from pydantic import BaseModel

import octavo

OUT = Path(__file__).parent.parent / "build" / "reference"


def classes_in(annotation: Any) -> Iterator[type]:
    """The classes of Octavo that an annotation names."""
    for part in typing.get_args(annotation):
        yield from classes_in(part)
    if isinstance(annotation, type) and annotation.__module__.startswith("octavo."):
        yield annotation


def around(public: Iterable[Any]) -> list[type]:
    """The other classes that public functions take and give, and those that their fields are made of."""
    left = [item for item in public if isinstance(item, type | types.FunctionType)]
    known = set(left)
    found = []
    while left:
        item = left.pop()
        if isinstance(item, type) and not (dataclasses.is_dataclass(item) or issubclass(item, BaseModel)):
            continue
        for annotation in typing.get_type_hints(item).values():
            for cls in classes_in(annotation):
                if cls not in known:
                    known.add(cls)
                    found.append(cls)
                    left.append(cls)
    return found


def page(name: str, objects: dict[str, Any]) -> pdoc.doc.Module:
    """A page that shows these objects of a module alone."""
    module = types.ModuleType(name, sys.modules[name].__doc__)
    vars(module).update(objects)
    vars(module)["__all__"] = list(objects)
    return pdoc.doc.Module(module)


def pages() -> dict[str, pdoc.doc.Module]:
    """The page of what is public, then one for each module that has classes to show."""
    # `octavo` gets its names when they are first asked for, which pdoc does not do.
    public = {name: getattr(octavo, name) for name in octavo.__all__}
    by_module: dict[str, dict[str, Any]] = {}
    for cls in sorted(around(public.values()), key=lambda cls: (cls.__module__, cls.__qualname__)):
        by_module.setdefault(cls.__module__, {})[cls.__qualname__] = cls
    return {"octavo": page("octavo", public)} | {name: page(name, objects) for name, objects in by_module.items()}


def unknown(module: pdoc.doc.Module) -> Iterator[str]:
    """The names in docstrings, as `octavo.x.y`, that lead nowhere."""
    left: list[pdoc.doc.Doc[Any]] = [module]
    while left:
        item = left.pop()
        if isinstance(item, pdoc.doc.Namespace):
            left += item.own_members
        for name in re.findall(r"`(octavo(?:\.\w+)+)`", item.docstring):
            try:
                pkgutil.resolve_name(name)
            except (AttributeError, ImportError):
                yield f"{item.fullname}: there is no {name}"


def write(out: Path) -> None:
    made = pages()
    if wrong := [line for module in made.values() for line in unknown(module)]:
        raise SystemExit("\n".join(wrong))
    pdoc.render.configure(docformat="google", show_source=False, footer_text=f"Octavo {octavo.__version__}")
    for name, module in made.items():
        path = (out / name.replace(".", "/")).with_suffix(".html")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pdoc.render.html_module(module, made), "utf-8")
    (out / "index.html").write_text(pdoc.render.html_index(made), "utf-8")
    (out / "search.js").write_text(pdoc.render.search_index(made), "utf-8")
    print(f"{len(made)} pages, from {out / 'index.html'}")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module="pdoc")
        # The keys of a TypedDict are no attributes: pdoc cannot find the class that one was inherited from.
        warnings.filterwarnings("ignore", r"Cannot determine where octavo\.recipe\.options\.\w*Fields\.", module="pdoc")
        write(Path(sys.argv[1]) if len(sys.argv) > 1 else OUT)
