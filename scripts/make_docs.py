"""Writes the generated documents: recipes.md from the recipe's model, cli.md from the command line, api.md from the
public names and their docstrings, artefacts.md from the classes of the files that Octavo writes, and architecture.md
from the rooms of `src/octavo` and their imports.

python scripts/make_docs.py            # write them
python scripts/make_docs.py --check    # exit with 1 when they are not what would be written
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from graphlib import TopologicalSorter
from importlib import resources
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

import octavo
from octavo.base.artefact import SCHEMA
from octavo.base.formats import FORMATS
from octavo.deployment.targets.ask import every
from octavo.recipe.choices import OBSERVERS, PASSES
from octavo.recipe.policy import Policy
from octavo.recipe.schema import Recipe, load_recipe, names
from octavo.runs.artefacts import ARTEFACTS

ROOT = Path(__file__).parent.parent
COMMANDS = [
    *(
        "run",
        "sweep",
        "worker",
        "init",
        "quantize",
        "qat",
        "evaluate",
        "compare",
        "diff",
        "sensitivity",
        "calibrate",
        "pareto",
        "slim",
        "benchmark",
        "inspect",
    ),
    *("targets", "check", "deploy", "serve", "report", "compare-runs", "recipes", "doctor"),
]
NOTE = "<!-- Written by scripts/make_docs.py: change the code, then `make docs`. -->\n\n"


def recipes() -> str:
    """The recipe reference."""
    parts = [
        NOTE,
        "# Recipes\n\n",
        "A recipe says what one run does. `octavo run NAME` takes a built-in one, `octavo run FILE.yaml` your own, "
        "and `--set section.key=value` changes any key of either. Unknown keys and wrong values are named with "
        "their line.\n\n",
        "## Built in\n\n",
    ]
    folder = resources.files("octavo.recipe") / "builtin"
    for name in names():
        text = (folder / f"{name}.yaml").read_text("utf-8").strip()
        parts.append(f"### {name}\n\n{load_recipe(name).summary}.\n\n```yaml\n{text}\n```\n\n")
    parts.append("## Every key\n\n")
    parts.extend(_section(Recipe, ""))
    for title, choices in (("Observers", OBSERVERS), ("Tuning passes", PASSES)):
        parts.append(f"## {title}\n\n| name | what it does | source |\n|---|---|---|\n")
        parts.extend(f"| `{name}` | {made.about} | {_linked(made.source)} |\n" for name, made in choices.items())
        parts.append("\n")
    parts.append("## Policies\n\nWhat `octavo check --policy FILE.yaml` reads; see [the gate](gate.md).\n\n")
    parts.extend(_section(Policy, ""))
    parts.append("## Precisions\n\n| name | weights | activations | biases | training simulates it |\n")
    parts.append("|---|---|---|---|---|\n")
    for name, row in FORMATS.items():
        biases = f"int{row.biases}" if row.integer else row.weight_type
        trained = "yes" if row.trainable else "no"
        parts.append(f"| `{name}` | {row.weight_type} | {row.activation_type} | {biases} | {trained} |\n")
    return "".join(parts).rstrip() + "\n"


def _linked(source: str) -> str:
    """A source with its arXiv numbers as links."""
    return re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", source)


def _section(model: type[BaseModel], prefix: str) -> list[str]:
    rows, inner = [], []
    for key, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            inner.append((f"{prefix}{key}", annotation))
            continue
        default = "required" if field.is_required() else f"`{_shown(field.default)}`" if field.default != "" else "–"
        rows.append(f"| `{prefix}{key}` | {_type(annotation, field.metadata)} | {default} | {field.description} |\n")
    title = f"### {prefix.rstrip('.')}\n\n{model.__doc__}\n\n" if prefix else ""
    table = "| key | value | default | meaning |\n|---|---|---|---|\n" + "".join(rows) + "\n" if rows else ""
    return [title + table, *(text for name, section in inner for text in _section(section, f"{name}."))]


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _type(annotation: Any, metadata: list[Any]) -> str:
    if get_origin(annotation) is tuple:
        item, *more = get_args(annotation)
        return f"list of {_type(item, [])}" if more == [...] else "two numbers"
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(annotation))
    base = next((a for a in get_args(annotation) if a is not type(None)), annotation)
    if get_origin(base) is Literal:
        return _type(base, [])
    if get_origin(base) is tuple:
        return _type(base, [])
    base = getattr(base, "__origin__", base)
    name = {int: "whole number", float: "number", bool: "`true` or `false`", str: "text", Path: "path"}.get(base)
    if name is None:
        return "text"
    signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = [
        f"{word} {getattr(item, sign):g}" for item in metadata for sign, word in signs.items() if hasattr(item, sign)
    ]
    return " ".join([name, ", ".join(limits)]).strip()


FILES = """# Files

Every JSON file that `octavo run`, a sweep and a target search write, and the sidecar of every model. `schema` is the
version of a file's fields; files that Octavo 0.1 wrote have none, which is version 0. Octavo reads every version up to
its own, and says what to run again where a later one wrote a file.

One latency is always `median_ms`, `p90_ms`, `min_ms` and `runs`, in milliseconds of one image at batch 1.
An estimate that nobody measured, such as Vela's, is `estimated_ms`. Shares lie between 0 and 1.

"""
TARGETS = """## Targets

`id` in `deployment.json` and in `octavo targets --json`; it never changes, while the name that people read may.

| id | name |
|---|---|
"""


def artefacts() -> str:
    """The reference of the files that Octavo writes."""
    parts, shown = [NOTE, FILES], list[type]()
    for kind in ARTEFACTS:
        name = kind.file if not kind.file.startswith(".") else f"MODEL.tflite{kind.file}"
        parts.append(f"## {name}\n\n{_first(kind)}\n\n| field | value | meaning |\n|---|---|---|\n")
        parts.append(f"| `{SCHEMA}` | {kind.version} | The version of these fields. |\n")
        parts.extend(_fields(kind, shown))
        parts.append("\n")
    parts.extend([TARGETS, *(f"| `{target.id}` | {target.name} |\n" for target in every()), "\n## Parts\n\n"])
    for kind in shown:
        parts.append(f"### {kind.__name__}\n\n{_first(kind)}\n\n| field | value | meaning |\n|---|---|---|\n")
        parts.extend(_fields(kind, shown))
        parts.append("\n")
    return "".join(parts).rstrip() + "\n"


def _fields(kind: type, shown: list[type]) -> list[str]:
    """A row for each field; the parts that fields have join those that are to be shown."""
    about, hints = _arguments(kind), get_type_hints(kind)
    if issubclass(kind, BaseModel):
        names = {field: info.alias or field for field, info in kind.model_fields.items()}
    else:
        names = {field.name: field.name for field in dataclasses.fields(kind)}
    return [f"| `{name}` | {_value(hints[field], shown)} | {about[field]} |\n" for field, name in names.items()]


def _value(hint: Any, shown: list[type]) -> str:
    """A field's type in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(_value(item, shown) for item in inner)
    if origin is list:
        return f"list of {_value(inner[0], shown)}"
    if origin is tuple:
        count = "list of" if inner[-1] is ... else f"{len(inner)} ×"
        return f"{count} {_value(inner[0], shown)}"
    if origin in (dict, Mapping):
        return f"{_value(inner[1], shown)} by name" if inner[1] is not Any else "object"
    if origin is Literal:
        return " or ".join(f"`{item}`" for item in inner)
    plain = {int: "whole number", float: "number", bool: "true or false", str: "text", NoneType: "null"}
    if hint in plain:
        return plain[hint]
    if hint not in shown:
        shown.append(hint)
    return f"[{hint.__name__}](#{hint.__name__.lower()})"


def _first(kind: type) -> str:
    """The first paragraph of a class's docstring."""
    return _prose(inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0])


def _prose(text: str) -> str:
    """A docstring's text in Markdown, on one line and in JSON's words."""
    plain = " ".join(text.split()).replace("|", "\\|").replace("``", "`")
    return re.sub(r"\bNone\b", "null", plain)


def _arguments(kind: type) -> dict[str, str]:
    """What the docstrings of a class and of those above it say of its fields, from their ``Args:``."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        _, _, text = inspect.cleandoc(each.__doc__ or "").partition("\nArgs:\n")
        rows = re.findall(r"^    (\w+): (.+(?:\n {8,}.+)*)", text.partition("\n\n")[0], re.MULTILINE)
        found |= {name: _prose(about) for name, about in rows}
    return found


def cli() -> str:
    """The command-line reference."""
    parts = [
        NOTE,
        "# Command line\n\n",
        "Every command but `init` takes `--json`: one JSON value on standard output, everything else on standard "
        "error. `--quiet` shows results and errors only; `--verbose` also the time of each step. "
        "`octavo --install-completion` sets up completion for your shell (bash, zsh, fish, PowerShell). "
        "Exit code 0 is success, 2 a mistake of the user (the message says how to fix it), 130 an interruption. "
        "1 is the answer no: `check` found a limit broken, or `diff` a difference.\n\n",
    ]
    for command in COMMANDS:
        done = subprocess.run(
            [sys.executable, "-m", "octavo.cli", command, "--help"],
            capture_output=True,
            text=True,
            check=True,
            env={
                "PYTHONPATH": str(ROOT / "src"),
                "COLUMNS": "100",
                "PATH": "",
                "NO_COLOR": "1",
                "TERMINAL_WIDTH": "100",
            },
        )
        text = done.stdout.replace("python -m octavo.cli", "octavo").strip()
        parts.append(f"## octavo {command}\n\n```text\n{text}\n```\n\n")
    return "".join(parts).rstrip() + "\n"


HOUSE = """# The house

A reader can follow a tensor's range from an image to the int8 file through a few short files:
`data/preprocess.py` → `data/encoded_inputs.py` → `quantization/calibrate.py` → `quantization/observers.py` →
`quantization/ranges.py` → `quantization/table.py` → `quantization/quantize.py` → `quantization/proof.py`.

Every folder of `src/octavo` is a room. Imports point down only, and no two rooms import each other, not even by way of
a third; `tests/test_floors.py` proves both. A tuning pass knows of no other pass. TensorFlow and Keras are imported by
the functions that need them, never when a file is imported; `simulate/` and `training/quant_model.py`, whose classes
are Keras models, are the exception.

"""
ADDING = """## What an addition touches

| addition | files |
|---|---|
| an op | its row in `tflite/op_table.py`, its kernel in `simulate/kernels.py`; its case in `tests/oneop.py` |
| an observer | a file in `quantization/`, its entry in `recipe/choices.py`; its tests |
| a tuning pass | a file in `tuning/`, its entry in `recipe/choices.py`; its tests |
| a precision | its row in `base/formats.py`, its forms in `tflite/op_table.py`; their tests |
| a target | a file in `deployment/targets/` with its `id`, one line in `ask.py`; its tests |
| a field of a file | its class, named in `runs/artefacts.py`; `version` and `base/upgrades.py` where one changes |
| a command | a function in `api/`, its name in `octavo/__init__.py`, the command in `cli/commands/`; its tests |

"""


def architecture() -> str:
    """The rooms from the ground up, each with its files and the rooms that it imports."""
    source = ROOT / "src" / "octavo"
    rooms = sorted(path.parent.name for path in source.glob("*/__init__.py"))
    knows = {room: _rooms_known(source / room, rooms) - {room} for room in rooms}
    floors: dict[str, int] = {}
    for room in TopologicalSorter(knows).static_order():
        floors[room] = max((floors[other] + 1 for other in knows[room]), default=0)
    parts = [NOTE, HOUSE]
    for room in sorted(rooms, key=lambda room: (floors[room], room)):
        below = ", ".join(f"`{other}`" for other in sorted(knows[room])) or "no other room"
        parts.append(f"## {room}/\n\n{_sentence(source / room / '__init__.py')} Imports {below}.\n\n")
        parts.append("| file | what lives there |\n|---|---|\n")
        for path in sorted((source / room).rglob("*.py")):
            if path.name != "__init__.py":
                parts.append(f"| `{path.relative_to(source / room)}` | {_sentence(path)} |\n")
        parts.append("\n")
    return "".join([*parts, ADDING]).rstrip() + "\n"


def _rooms_known(room: Path, rooms: list[str]) -> set[str]:
    """The rooms that a room imports, when it is imported or later."""
    nodes = [node for path in room.rglob("*.py") for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    modules = [
        f"{node.module}.{alias.name}" for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    return {parts[1] for name in modules if (parts := name.split("."))[0] == "octavo"} & set(rooms)


def _sentence(path: Path) -> str:
    """The first line of a module's docstring, with what goes on below it up to the full stop."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


API = """# The Python API

Every command of the shell has a function of the same name and meaning; `dir(octavo)` lists what is here. Paths are
`str` or `Path`. Results show themselves, in a notebook with a table or picture. Arguments, errors and examples are in
the docstrings: `help(octavo.quantize)`, or `make site` for all of them as pages, with the classes of the results.

"""
DATA = """## Data from Python

Where a function takes `data`, it takes a path, or the samples themselves:

| `data` | what it is |
|---|---|
| `x` | a NumPy array `(N, ...)`, or what NumPy makes one of |
| `{"image": x1, "speed": x2}` | one array per input of the model, under the input's name, uint8 pictures for an image |
| `(x, y)` | one of these and the labels: classes `(N,)`, one-hot rows, or what else the [task](tasks.md) has |
| a list, a generator, a function that makes one | samples: arrays, dicts of arrays, or `(x, y)` of these and a label |
| a `tf.data.Dataset`, a Keras `PyDataset`, a torch `DataLoader` | the same; TensorFlow is not imported for it |

```python
import octavo

photos = octavo.open_dataset("path", "photos")
train, test = photos.splits["train"].read(), photos.splits["test"].read()

octavo.quantize("float.tflite", (train.images, train.labels), "int8.tflite")  # arrays
octavo.quantize("float.tflite", (image for image in train.images), "int8.tflite")  # a generator
print(octavo.evaluate("int8.tflite", zip(test.images, test.labels)))
```

- uint8 pictures, `(H, W, 3)`, `(H, W, 1)` or `(H, W)` of any size, are preprocessed like any image. Other arrays are
  the model's input as it is, channels last, floats or whole numbers.
- An item may also be a batch of samples. The shape of the model's input tells the two apart.
- All samples serve the one call that they are given to: `quantize` calibrates with `images` of them (100 by default,
  drawn by `seed`), and `evaluate` scores all of them. Nothing is held out, so give the two different samples.
- Classes are numbers, in the order of the model's outputs.
- A generator is read once, to its end, and its samples stay in memory. Beyond 4 GiB that is an error: cut it with
  `itertools.islice`, or a dataset with `take`.
- `init`, `run`, `sweep` and reports take a path, since a recipe names its data.

"""
PROMISE = """## Versions

Octavo follows [semantic versioning](https://semver.org). Public are the names above with their arguments and defaults;
the attributes, methods and `to_json()` keys, without a leading underscore, of what they take and give; the
[commands](cli.md) with their flags, exit codes and `--json`; the keys of [recipes](recipes.md); and run directories,
sidecars and saved Keras models, which later versions read. `tests/test_public.py` pins the names.

- A patch version fixes what was wrong.
- A minor version adds. Before 1.0 it may also change what is public, and the [changelog](../CHANGELOG.md) says so.
- From 1.0 on, only a major version takes away or changes what is public.

Not public, and free to change at any time: where modules lie below `octavo`, the words of messages, what a `repr`, an
HTML table or a report looks like, and the bytes of an int8 file, as long as the proof holds.
"""


def api() -> str:
    """The public names, with a line each."""
    tables: dict[str, list[str]] = {"Functions": [], "Classes": []}
    for name in octavo.__all__:
        if name != "__version__":
            node = _definition(name)
            line = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split()).replace("|", "\\|")
            tables["Classes" if isinstance(node, ast.ClassDef) else "Functions"].append(f"| `{name}` | {line} |\n")
    parts = [f"## {title}\n\n| name | what it is |\n|---|---|\n{''.join(rows)}\n" for title, rows in tables.items()]
    return "".join([NOTE, API, *parts, DATA, PROMISE])


def _definition(name: str) -> ast.FunctionDef | ast.ClassDef:
    """Where a public name is defined; nothing is imported, as `QuantModel` would bring TensorFlow."""
    module, _, attribute = octavo._WHERE[name].partition(":")
    tree = ast.parse((ROOT / "src" / "octavo" / f"{module.replace('.', '/')}.py").read_text("utf-8"))
    nodes = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    return next(node for node in nodes if node.name == (attribute or name))


def description() -> str:
    """README as package indexes show it, where relative links lead nowhere.

    They become links into the repository that pyproject.toml names as `Repository`. While it names none, the words stay
    and the links go, and so do pictures.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    repository = project.get("urls", {}).get("Repository")
    text = (ROOT / "README.md").read_text("utf-8")
    if repository:
        base = f"{repository.rstrip('/')}/{{}}/v{project['version']}/"
        text = re.sub(r"(!\[[^\]]*\]\()(?!\w+://)", rf"\1{base.format('raw')}", text)
        return NOTE + re.sub(r"\]\((?!\w+://|#)", f"]({base.format('blob')}", text)
    text = re.sub(r"^!\[[^\]]*\]\((?!\w+://)[^)]*\)\n\n", "", text, flags=re.MULTILINE)
    return NOTE + re.sub(r"\[([^\]]*)\]\((?!\w+://)[^)]*\)", r"\1", text)


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = []
    made = {
        "recipes.md": recipes(),
        "cli.md": cli(),
        "api.md": api(),
        "artefacts.md": artefacts(),
        "architecture.md": architecture(),
        "description.md": description(),
    }
    for name, text in made.items():
        path = ROOT / "docs" / name
        if check and (not path.exists() or path.read_text("utf-8") != text):
            stale.append(name)
        elif not check:
            path.write_text(text, "utf-8")
    if stale:
        sys.stderr.write(f"docs/{', docs/'.join(stale)}: not what the code says; run `make docs`.\n")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
