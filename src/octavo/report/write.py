"""Writing the report: facts, findings and pictures into HTML, Markdown and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from octavo.files import write_json, write_text
from octavo.report import plots
from octavo.report.facts import Facts, read
from octavo.report.findings import Finding, findings, megabytes, percent, points

TOPICS = {
    "accuracy": "Accuracy",
    "size": "Size",
    "speed": "Speed",
    "quantization": "Quantization",
    "deployment": "Deployment",
    "next": "What would reduce the gap further",
}


def write(run_dir: Path) -> Facts:
    """Writes `report.html`, `report.md` and `report.json` into a run directory.

    The HTML page is one file without any outside reference; it opens offline.

    Args:
        run_dir: A directory that `octavo run` filled.

    Returns:
        The facts that the reports show.

    Raises:
        OctavoError: The directory holds no finished run.
    """
    facts = read(Path(run_dir))
    found = findings(facts)
    context = _context(facts, found)
    write_text(run_dir / "report.html", _render("report.html.jinja", {**context, "plots": _plots(facts)}))
    write_text(run_dir / "report.md", _render("report.md.jinja", context))
    value = {**facts.to_json(), "findings": [asdict(finding) for finding in found]}
    value["evaluation"] = _without_pictures(facts.evaluation)
    write_json(run_dir / "report.json", value)
    return facts


def _render(template: str, context: dict[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("octavo.report", "."),
        autoescape=select_autoescape(["html.jinja"], default_for_string=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "points": points, "megabytes": megabytes, "cell": _cell}
    return environment.get_template(template).render(context)


def _cell(text: object) -> str:
    """Text from a user's folder as a cell of a Markdown table."""
    safe = str(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")
    return " ".join(safe.split())


def _plots(facts: Facts) -> dict[str, str | None]:
    from markupsafe import Markup

    made = {
        name: getattr(plots, name)(facts)
        for name in ("accuracy", "difference", "size", "training", "confusion", "activations", "weights")
    }
    # Markup: the SVG is ours, and matplotlib escapes the text in it.
    return {name: Markup(svg) if svg is not None else None for name, svg in made.items()}


def _context(facts: Facts, found: list[Finding]) -> dict[str, Any]:
    from octavo.recipe import Recipe

    recipe = Recipe.model_validate(facts.recipe)
    before, after = facts.float_model, facts.int8_model
    stages = facts.manifest["stages"]
    trained = next((stage for name, stage in stages.items() if name == "train"), None)
    return {
        "facts": facts,
        "recipe": recipe,
        "title": recipe.title or recipe.name,
        "topics": {key: label for key, label in TOPICS.items() if any(f.topic == key for f in found)},
        "findings": found,
        "classes": facts.evaluation["classes"],
        "float": before,
        "int8": after,
        "compared": facts.comparison,
        "sizes": facts.bytes,
        "ratio": facts.bytes["float_tflite"] / facts.bytes["int8_tflite"],
        "speed": before["latency_ms"]["median"] / after["latency_ms"]["median"],
        "per_class": list(zip(before["per_class"], after["per_class"], strict=True)),
        "train_commit": (trained or {}).get("commit"),
        "approach": _approach(recipe),
        "css": resources.files("octavo.report").joinpath("style.css").read_text("utf-8"),
    }


def _approach(recipe: Any) -> str:
    """How the float model was trained, in a sentence."""
    train = recipe.train
    start = "from scratch" if recipe.model.weights is None else "from ImageNet weights"
    which = {None: "all layers", "head": "the classifier alone"}.get(
        train.unfreeze_from, f"layers from {train.unfreeze_from} on"
    )
    parts = [
        f"{which} {start}, {train.epochs} epochs, batches of {train.batch}",
        f"{train.optimizer.upper() if train.optimizer == 'sgd' else 'Adam'} at {train.learning_rate:g} with "
        f"{train.warmup:.0%} warm-up and {train.schedule} {'decay' if train.schedule == 'cosine' else 'rate'}",
        f"batch norms {'frozen' if train.batch_norm == 'frozen' else 'updated'}"
        + (f" with momentum {train.batch_norm_momentum:g}" if train.batch_norm_momentum else ""),
    ]
    changed = train.augment.model_dump(exclude_defaults=True)
    parts.append("augmentation: " + (json.dumps(changed).strip("{}").replace('"', "") if changed else "none"))
    if train.label_smoothing:
        parts.append(f"label smoothing {train.label_smoothing:g}")
    if train.weight_averaging:
        parts.append(f"weight averaging {train.weight_averaging:g}")
    return "; ".join(parts)


def _without_pictures(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The evaluation without the gallery's images, which are for eyes."""
    comparison = dict(evaluation["comparison"])
    comparison["disagreements"] = [
        {key: value for key, value in row.items() if key != "image"} for row in comparison["disagreements"]
    ]
    return {**evaluation, "comparison": comparison}
