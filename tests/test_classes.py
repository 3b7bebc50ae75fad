"""No method that does something is overridden, and what runs a graph is abstract or final."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "octavo"


@dataclass(frozen=True)
class Class:
    """A class of the source: what it is named, what it inherits from, which of its methods do something."""

    file: str
    name: str
    bases: tuple[str, ...]
    final: bool
    concrete: frozenset[str]
    abstract: frozenset[str]


def _last(node: ast.expr) -> str:
    return ast.unparse(node).split("[")[0].split("(")[0].split(".")[-1]


def read(text: str, file: str = "") -> list[Class]:
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ClassDef):
            continue
        methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
        abstract = {m.name for m in methods if "abstractmethod" in map(_last, m.decorator_list)}
        # Constructors are no more than the making of what the base needs.
        concrete = {m.name for m in methods if m.name not in abstract and m.name not in ("__init__", "__post_init__")}
        final = "final" in map(_last, node.decorator_list)
        bases = tuple(map(_last, node.bases))
        found.append(Class(file, node.name, bases, final, frozenset(concrete), frozenset(abstract)))
    return found


def problems(classes: list[Class]) -> list[str]:
    """What breaks the rule among some classes."""

    def ancestors(made: Class) -> list[Class]:
        named = [other for other in classes if other.name in made.bases and other is not made]
        near = {other.name for other in named if other.file == made.file}
        # A name that two files have is the own file's, or else either.
        known = [other for other in named if other.file == made.file or other.name not in near]
        return [*known, *(each for base in known for each in ancestors(base))]

    said = []
    for made in classes:
        above = ancestors(made)
        said += [f"{base.name} is final, and {made.name} inherits from it" for base in above if base.final]
        for base in above:
            said += [f"{made.name}.{name} overrides {base.name}'s" for name in made.concrete & base.concrete]
        missing = {name for base in above for name in base.abstract} - {
            name for each in (made, *above) for name in each.concrete
        }
        if above and made.final and missing:
            said.append(f"{made.name} is final, and lacks {', '.join(sorted(missing))}")
    return said


CLASSES = [made for path in sorted(SRC.rglob("*.py")) for made in read(path.read_text("utf-8"), path.stem)]


def test_nothing_that_does_something_is_overridden() -> None:
    assert problems(CLASSES) == []


@pytest.mark.parametrize("name", ["FloatModel", "Simulation", "QuantModel", "Exact", "Rounded", "Integer", "Grids"])
def test_what_runs_a_graph_is_final(name: str) -> None:
    assert next(made for made in CLASSES if made.name == name).final


@pytest.mark.parametrize("name", ["GraphModel", "RoundedModel"])
def test_what_they_share_cannot_be_made(name: str) -> None:
    from inspect import isabstract

    from octavo.simulate import graph_model, rounded

    kind = getattr(graph_model, name, None) or getattr(rounded, name)
    assert isabstract(kind)
    with pytest.raises(TypeError, match="abstract"):
        kind(None)


def test_a_broken_rule_is_found() -> None:
    text = """
class Base:
    def run(self): return 1
    @abstractmethod
    def call(self): ...

@final
class Leaf(Base):
    def run(self): return 2

class Below(Leaf):
    def call(self): return 3
"""
    assert problems(read(text)) == [
        "Leaf.run overrides Base's",
        "Leaf is final, and lacks call",
        "Leaf is final, and Below inherits from it",
    ]
