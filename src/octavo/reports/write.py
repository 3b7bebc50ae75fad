"""Writing the report: facts, findings, tables and pictures into HTML, Markdown and JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from octavo.analysis.tasks.detection import SHOWN
from octavo.base.artefact import Artefact
from octavo.base.border import parse_json, parse_yaml
from octavo.base.errors import OctavoError
from octavo.base.files import check_results, write_text
from octavo.base.units import milliseconds
from octavo.reports.dark import standalone, style_sheet
from octavo.reports.facts import NEEDED, OPTIONAL, Facts, read
from octavo.reports.finding import Finding
from octavo.reports.findings import findings
from octavo.reports.glossary import IN_BACKTICKS, Explained, terms_in
from octavo.reports.plots import Plot, plots
from octavo.reports.tables import Code, Table, backbone, tables
from octavo.reports.wording import Figures, count, size, times

if TYPE_CHECKING:
    from markupsafe import Markup

# Where the Markdown report's pictures lie; the HTML page holds its own.
PICTURES = "report_files"


class Report(Artefact):
    """Every fact of a run as its stage wrote it, and the findings.

    Args:
        recipe: `recipe.yaml`.
        manifest: `manifest.json`, with its own schema, as are the files below; null if the run has no such file.
        data: `data.json`.
        ranges: `ranges.json`; null if the int8 model was made before the run.
        proof: `proof.json`.
        size: `size.json`.
        evaluation: `evaluation.json`, without the pictures.
        history: `history.json`.
        model: `model.json`.
        distributions: `distributions.json`.
        compare: `compare.json`.
        qat: `qat.json`.
        control: `control.json`.
        tuning: `tuning.json`.
        answers: `answers.json`.
        deployment: `deployment.json`.
        findings: The conclusions from the figures.
    """

    file = "report.json"
    what = "the report of a run"
    remedy = "Write it again: octavo report {folder}"
    version = 2

    recipe: dict[str, Any]
    manifest: dict[str, Any]
    data: dict[str, Any]
    ranges: dict[str, Any] | None
    proof: dict[str, Any]
    size: dict[str, Any]
    evaluation: dict[str, Any]
    history: dict[str, Any] | None
    model: dict[str, Any] | None
    distributions: dict[str, Any] | None
    compare: dict[str, Any] | None
    qat: dict[str, Any] | None
    tuning: dict[str, Any] | None
    deployment: dict[str, Any] | None
    findings: list[Finding]
    answers: dict[str, Any] | None = None
    control: dict[str, Any] | None = None


def write(run_dir: Path | str) -> Facts:
    """Writes `report.html`, `report.md` and `report.json` into a run directory.

    The HTML page is one file, without references to other files, and opens offline. The Markdown has its pictures in
    `report_files/`. The JSON holds the facts as the stages wrote them, and the findings with their figures.

    Args:
        run_dir: A run directory of `octavo run`.

    Returns:
        The facts that the reports show.

    Raises:
        OctavoError: The directory is not a finished run, or cannot be written to.

    Example:
        >>> import octavo
        >>> facts = octavo.report("runs/digits")
        >>> Path("runs/digits/report.html").is_file(), facts.recipe.name
        (True, 'digits')
    """
    run_dir = Path(run_dir)
    facts = read(run_dir)
    check_results(run_dir, ["report.md", "report.html", Report.file])
    if (run_dir / PICTURES).is_symlink():
        # Pictures of an earlier report are deleted there.
        raise OctavoError(f"'{run_dir / PICTURES}' is a link, and pictures are written there.", "Delete the link.")
    found, made, drawn = findings(facts), tables(facts), plots(facts)
    context = _context(facts, found, made, drawn)
    for name, plot in drawn.items():
        write_text(run_dir / PICTURES / f"{name}.svg", standalone(plot.svg))
    # Pictures of an earlier report, for which this run has no figures.
    for file in (run_dir / PICTURES).glob("*.svg"):
        if file.stem not in drawn:
            file.unlink()
    write_text(run_dir / "report.md", markdown("report.md.jinja", context))
    write_text(run_dir / "report.html", render("report.html.jinja", context | html(drawn)))
    _report(run_dir, facts, found).write(run_dir / Report.file)
    return facts


def _context(facts: Facts, found: list[Finding], made: dict[str, Table], drawn: dict[str, Plot]) -> dict[str, Any]:
    recipe = facts.recipe
    said: dict[str, list[Finding]] = {}
    for finding in found:
        said.setdefault(finding.topic, []).append(finding)
    return {
        "facts": facts,
        "box_score": SHOWN,
        "alike": Figures(facts.evaluation.likeness),
        "recipe": recipe,
        "title": recipe.title or recipe.name,
        "subject": _subject(facts),
        "conclusion": _conclusion(facts),
        "said": said,
        "tables": made,
        "plots": drawn,
        "pictures": PICTURES,
        "nothing": _nothing(facts),
    }


def html(drawn: Mapping[str, Plot]) -> dict[str, Any]:
    """What a page of HTML is made of besides its facts: its pictures, its style sheet, and the terms to explain."""
    from markupsafe import Markup

    css = resources.files("octavo.reports").joinpath("style.css").read_text("utf-8")
    return {
        # Ours: matplotlib escapes the text in its drawings, and the style sheet is part of this package.
        "drawings": {name: Markup(plot.svg) for name, plot in drawn.items()},
        "css": Markup(css + style_sheet("figure svg")),
        "page": Explained(),
    }


def _subject(facts: Facts) -> str:
    """What was quantized, at the start of a sentence."""
    if facts.model is not None:
        return facts.model.name
    return backbone(facts.recipe.model) if facts.history else "A model"


def _conclusion(facts: Facts) -> str:
    """The verdict, the size and the speed in one sentence."""
    if facts.known:
        keeps = {"yes": "keeps", "no": "does not keep", "open": "is not shown to keep"}[facts.verdict]
        words, (before, after) = facts.words, facts.scores
        said = (
            f"INT8 {keeps} the float model's {words.metric.title} within {words.amount(facts.compared.margin)} "
            f"({words.value(before.value)} → {words.value(after.value)})"
        )
    else:
        alike = Figures(facts.evaluation.likeness)
        agreement = f"{alike.metric.title} {alike.value(facts.compared.agreement)}"
        said = f"INT8 was compared with float without labels ({agreement})"
    faster, ratio = ("faster", facts.speedup) if facts.speedup >= 1 else ("slower", 1 / facts.speedup)
    return f"{said}, in a file {times(facts.ratio)} smaller, {times(ratio)} {faster} on this CPU."


def _nothing(facts: Facts) -> str:
    """The sentence in place of the deployment section, if the run has no figures for it."""
    why = "no deployment.json" if facts.deployment is None else "a deployment.json that was measured with other models"
    return (
        f"The run has {why}, so this section has no latency, memory or targets. Repeat the same `octavo run` to add it."
    )


def markdown(template: str, context: dict[str, Any]) -> str:
    """A text in Markdown from a template of this room, and the terms that it uses."""
    text = render(template, context)
    terms = "\n".join(f"- **{term.name}**: {term.meaning}" for term in terms_in(text))
    return re.sub(r"\n{3,}", "\n\n", f"{text}\n## Glossary\n\n{terms}\n")


def render(template: str, context: dict[str, Any]) -> str:
    """A page or a Markdown text from a template of this room."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("octavo.reports", "."),
        autoescape=select_autoescape(["html.jinja"], default_for_string=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "breakable": _breakable,
        "size": size,
        "times": times,
        "milliseconds": milliseconds,
        "count": count,
        "plain": _plain,
        "cell": cell,
    }
    environment.tests["code"] = lambda text: isinstance(text, Code)
    return environment.get_template(template).render(context)


def _breakable(text: Markup) -> Markup:
    """A cell that may break before its interval."""
    from markupsafe import Markup

    return text.replace(" (", Markup(" <wbr>("))


def _plain(text: object) -> str:
    r"""Text on one line, escaped for Markdown, since names come from a user's folders; what is in backticks is code.

    Example:
        >>> _plain("a|b <i> snake_case __init__")
        'a\\|b &lt;i> snake_case \\_\\_init\\_\\_'
    """
    parts = enumerate(IN_BACKTICKS.split(str(text)))
    return " ".join("".join(cell(Code(part)) if place % 2 else _escaped(part) for place, part in parts).split())


def _escaped(text: str) -> str:
    safe = re.sub(r"([\\`*\[\]|])", r"\\\1", text).replace("&", "&amp;").replace("<", "&lt;")
    # An underscore inside a word is only an underscore.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", safe)


def cell(text: str) -> str:
    """A cell of a Markdown table; a `Code` is set as code."""
    if not isinstance(text, Code):
        return _plain(text)
    safe = " ".join(text.split()).replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", safe)), default=0) + 1)
    pad = " " if len(fence) > 1 else ""
    return f"{fence}{pad}{safe}{pad}{fence}"


def _report(run_dir: Path, facts: Facts, found: list[Finding]) -> Report:
    """Every fact as its stage wrote it, without the pictures of the gallery."""
    value: dict[str, Any] = {}
    for name in (*NEEDED, *OPTIONAL):
        path = run_dir / name
        if getattr(facts, path.stem) is None:
            value[path.stem] = None
            continue
        text = path.read_text("utf-8")
        value[path.stem] = parse_yaml(text)[0] if path.suffix == ".yaml" else parse_json(text)
    for row in value["evaluation"]["comparison"].get("disagreements", []):
        row.pop("image", None)
    return Report(**value, findings=found)
