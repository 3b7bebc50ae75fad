"""The pages of the docs site that are no file of docs/: README and its like, the notebook, the API reference.

MkDocs calls these functions by their names (`hooks` of mkdocs.yml). Octavo is read here, not imported: the site is made
in the tools' environment, which has no Octavo.
"""

from __future__ import annotations

import ast
import json
import logging
import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
LOG = logging.getLogger("mkdocs.hooks.pages")
# Files of the repository, and where they stand in the site.
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "LICENSE": "LICENSE.txt",
}
FENCE = re.compile(r"^( *```.*?^ *```\s*?$)", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lists the decisions in the navigation, the index first."""
    project = next(part["Project"] for part in config.nav or [] if "Project" in part)
    decisions = next(part for part in project if "Decisions" in part)
    pages = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    decisions["Decisions"] = ["decisions/README.md", *(f"decisions/{page.name}" for page in pages)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, place in OUTSIDE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / name)))
    files.append(File.generated(config, "notebook.md", content=notebook(ROOT / "docs" / "notebook.ipynb")))
    for name, text in reference().items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links between files of the repository into links between pages; code stays as it is."""
    here = page.file.src_uri
    source = next((name for name, place in OUTSIDE.items() if place == here), f"docs/{here}")

    def moved(found: re.Match[str]) -> str:
        target, anchor = found[1], found[2] or ""
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        place = OUTSIDE.get(place, place.removeprefix("docs/")).replace(".ipynb", ".md")
        if "://" in target or files.get_file_from_path(place) is None:
            return found[0]
        return f"]({posixpath.relpath(place, posixpath.dirname(here) or '.')}{anchor})"

    parts = FENCE.split(markdown)
    return "".join(
        part if index % 2 else re.sub(r"\]\(([^)#\s]+)(#[^)\s]*)?\)", moved, part) for index, part in enumerate(parts)
    )


def notebook(path: Path) -> str:
    """A notebook as a page: its text, code, printed lines, tables and pictures."""
    parts = []
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "image/png" in data:
                parts.append(f"![](data:image/png;base64,{''.join(data['image/png']).strip()})")
            elif "text/markdown" in data:
                parts.append("".join(data["text/markdown"]))
            elif "text/html" in data:
                parts.append("".join(data["text/html"]))
            else:
                parts.append(f"```text\n{''.join(data['text/plain']).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def reference() -> dict[str, str]:
    """The pages of the API reference, with a directive of mkdocstrings for each function and class."""
    octavo = griffe.load("octavo", search_paths=[ROOT / "src"], resolve_aliases=True, resolve_external=False)
    for line in unknown(octavo):
        LOG.warning(line)
    public = {}
    for name, place in ast.literal_eval(str(octavo["_WHERE"].value)).items():
        module, _, attribute = place.partition(":")
        public[name] = octavo[f"{module}.{attribute or name}"]
    functions = {name: item for name, item in public.items() if item.is_function}
    classes = {name: item for name, item in public.items() if item.is_class}
    others = {item.name: item for item in around(octavo, public.values())}
    return {
        "functions": page("Functions", "What `import octavo` gives, with arguments, errors and examples.", functions),
        "classes": page("Classes", "What `import octavo` gives.", classes),
        "results": page("Results of functions", "Classes that public functions and classes take or give.", others),
    }


def page(title: str, about: str, items: dict[str, griffe.Object]) -> str:
    parts = [f"::: {item.path}\n    options:\n      heading: {name}\n" for name, item in items.items()]
    return "\n".join([f"# {title}\n\n{about}\n", *parts])


def around(octavo: griffe.Object, public: Iterable[griffe.Object]) -> list[griffe.Object]:
    """The other classes of Octavo that public functions take and give, and those that their fields are made of."""
    left = list(public)
    known = {item.path for item in left}
    found = []
    while left:
        for cls in named(octavo, left.pop()):
            if cls.path not in known:
                known.add(cls.path)
                found.append(cls)
                left.append(cls)
    return sorted(found, key=lambda cls: cls.name)


def named(octavo: griffe.Object, item: griffe.Object) -> Iterator[griffe.Object]:
    """The classes of Octavo in the annotations of a function, or of a class's fields."""
    if isinstance(item, griffe.Function):
        annotations = [item.returns, *(parameter.annotation for parameter in item.parameters)]
    else:
        fields = [member for member in item.all_members.values() if member.is_attribute]
        annotations = [field.annotation for field in fields if not field.is_alias]
    for annotation in annotations:
        if isinstance(annotation, griffe.Expr):
            for name in annotation.iterate(flat=True):
                if isinstance(name, griffe.ExprName) and name.canonical_path.startswith("octavo."):
                    yield from classes(octavo, name.canonical_path)


def classes(octavo: griffe.Object, path: str) -> Iterator[griffe.Object]:
    """The class at a path; the classes of an alias such as `Source = Path | Dataset`."""
    item = octavo[path.removeprefix("octavo.")]
    item = item.final_target if isinstance(item, griffe.Alias) else item
    if isinstance(item, griffe.Class):
        yield item
    elif isinstance(item, griffe.Attribute) and isinstance(item.value, griffe.Expr):
        for name in item.value.iterate(flat=True):
            if isinstance(name, griffe.ExprName) and name.canonical_path.startswith("octavo."):
                yield from classes(octavo, name.canonical_path)


def unknown(item: griffe.Object) -> Iterator[str]:
    """The names in docstrings, as `octavo.x.y`, that lead nowhere."""
    octavo = item.package
    for name in re.findall(r"`octavo\.([\w.]+\w)`", item.docstring.value if item.docstring else ""):
        try:
            octavo[name]
        except KeyError:
            yield f"{item.path}: there is no octavo.{name}"
    for member in item.members.values():
        if not member.is_alias:
            yield from unknown(member)
