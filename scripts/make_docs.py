"""Writes the generated documents: docs/recipes.md from the recipe's model, docs/cli.md from the command line.

python scripts/make_docs.py            # write them
python scripts/make_docs.py --check    # exit with 1 when they are not what would be written
"""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from octavo.recipe import Recipe, load_recipe, names

ROOT = Path(__file__).parent.parent
COMMANDS = [
    *(
        "run",
        "quantize",
        "qat",
        "evaluate",
        "compare",
        "sensitivity",
        "calibrate",
        "pareto",
        "slim",
        "benchmark",
        "inspect",
    ),
    *("targets", "deploy", "serve", "report", "recipes"),
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
    folder = resources.files("octavo") / "recipes"
    for name in names():
        text = (folder / f"{name}.yaml").read_text("utf-8").strip()
        parts.append(f"### {name}\n\n{load_recipe(name).title}.\n\n```yaml\n{text}\n```\n\n")
    parts.append("## Every key\n\n")
    parts.extend(_section(Recipe, ""))
    return "".join(parts).rstrip() + "\n"


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
    choices = [arg for arg in get_args(annotation) if isinstance(arg, str | int)]
    if choices:
        return " or ".join(f"`{choice}`" for choice in choices)
    base = next((a for a in get_args(annotation) if a is not type(None)), annotation)
    base = getattr(base, "__origin__", base)
    name = {int: "whole number", float: "number", bool: "`true` or `false`", str: "text", Path: "path"}.get(base)
    if name is None:
        return "text"
    signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = [
        f"{word} {getattr(item, sign):g}" for item in metadata for sign, word in signs.items() if hasattr(item, sign)
    ]
    return " ".join([name, ", ".join(limits)]).strip()


def cli() -> str:
    """The command-line reference."""
    parts = [
        NOTE,
        "# Command line\n\n",
        "Every command takes `--json`: one JSON value on standard output, everything else on standard error. "
        "Exit code 0 is success, 2 a mistake that the message says how to mend, 130 an interruption.\n\n",
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


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = []
    for name, text in (("recipes.md", recipes()), ("cli.md", cli())):
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
