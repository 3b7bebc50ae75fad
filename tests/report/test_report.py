from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from octavo import report
from octavo.errors import OctavoError
from octavo.recipe import load_recipe
from octavo.report.facts import read
from octavo.report.findings import findings

CLASSES = ["<script>alert(1)</script>", "naïve | ünïcode", "plain"]


def _model(correct: list[int], latency: float) -> dict[str, Any]:
    value = sum(correct) / 60
    rows = [
        {"class": name, "images": 20, "correct": hit, "recall": hit / 20, "precision": hit / 20, "f1": hit / 20}
        for name, hit in zip(CLASSES, correct, strict=True)
    ]
    confusion = [[0] * 3 for _ in range(3)]
    for place, hit in enumerate(correct):
        confusion[place][place], confusion[place][(place + 1) % 3] = hit, 20 - hit
    return {
        "file": "x.tflite",
        "sha256": "0" * 64,
        "accuracy": {"value": value, "low": value - 0.05, "high": value + 0.04},
        "top5": None,
        "per_class": rows,
        "confusion": confusion,
        "latency_ms": {"median": latency, "p90": latency * 1.2, "min": latency * 0.9, "runs": 100},
    }


def make_run(folder: Path, **changes: Any) -> Path:
    """A run directory with figures made up by hand; `changes` maps a file's name to what replaces its value."""
    recipe = load_recipe("digits").model_dump(mode="json")
    recipe["title"] = "A <b>title</b>"
    port = {"name": "image", "shape": [1, 32, 32, 3], "dtype": "int8", "scale": 0.0078431, "zero_point": -1}
    counts = {"images": 60, "per_class": [20, 20, 20], "digest": "d"}
    stage = {"seconds": 1.25, "key": "k", "commit": "abc1234", "inputs": {}, "outputs": {}}
    quantiles = {"0": -0.5, "0.001": -0.1, "0.25": 0.0, "0.5": 0.1, "0.75": 0.3, "0.999": 0.9, "1": 6.0}
    edges = [-128 + 4 * k for k in range(65)]
    files: dict[str, Any] = {
        "manifest": {
            "octavo": "0.1.0",
            "commit": "abc1234",
            "created": "2030-01-01T00:00:00+00:00",
            "recipe": "digits",
            "title": "",
            "seed": 7,
            "command": "octavo run digits",
            "machine": {"cpu": "a cpu", "cores": 2, "python": "3.11.7", "platform": "Linux-x86_64"},
            "versions": {"numpy": "2.0.0"},
            "stages": {"train": stage, "evaluate": stage},
        },
        "data": {
            "source": "hand",
            "classes": CLASSES,
            "train": counts,
            "validation": None,
            "test": counts,
            "calibration": counts,
            "warnings": ["2 images were left out: <i>a.png</i>"],
            "input_shape": [8, 8, 3],
        },
        "history": {
            "epochs": [
                {
                    "epoch": n,
                    "loss": 1 / n,
                    "accuracy": 0.9 + 0.04 * n,
                    "val_loss": None,
                    "val_accuracy": None,
                    "learning_rate": 0.1,
                    "seconds": 3.0,
                }
                for n in (1, 2)
            ],
            "seconds": 6.0,
            "parameters": {"total": 10, "trainable": 8},
            "best_epoch": None,
        },
        "ranges": {"observer": "minmax", "images": 100, "tensors": {"image": {"min": -1.0, "max": 1.0}}},
        "proof": {
            "sha256": "f" * 64,
            "bytes": 1000,
            "input": port,
            "output": port,
            "checks": [{"name": "a check", "passed": True, "count": 3, "detail": ""}],
            "ops": {"CONV_2D": 3},
            "float_left": [],
            "macs": 15_000_000,
            "parameters": 400_000,
            "widened": [],
        },
        "distributions": {
            "images": 8,
            "activations": [{"name": "relu;fused", "op": "CONV_2D", "range": [-0.5, 6.0], "quantiles": quantiles}],
            "weights": [
                {
                    "name": "w",
                    "op": "CONV_2D",
                    "channels": 4,
                    "channel_max": {"min": 0.1, "median": 0.2, "max": 0.9},
                    "histogram": {"edges": edges, "counts": [1] * 64},
                }
            ],
        },
        "size": {
            "files": {"keras_with_optimizer": 5000, "keras": 2500, "float_tflite": 2000, "int8_tflite": 1000},
            "breakdown": {
                "float_tflite": {"weights": 1900, "quantization": 0, "names": 50, "rest": 50},
                "int8_tflite": {"weights": 700, "quantization": 200, "names": 50, "rest": 50},
            },
        },
        "evaluation": {
            "images": 60,
            "classes": CLASSES,
            "kernels": "LiteRT with XNNPACK",
            "models": {"float": _model([18, 18, 18], 2.0), "int8": _model([17, 18, 18], 1.0)},
            "comparison": {
                "confidence": 0.95,
                "agreement": 0.95,
                "difference": {"value": -1 / 60, "low": -0.09, "high": 0.05},
                "mcnemar": {"b": 2, "c": 1, "p": 1.0},
                "margin": 0.02,
                "non_inferior": False,
                "probability_shift": {"mean": 0.01, "max": 0.2},
                "disagreements": [
                    {
                        "id": "test/<img>/1.png",
                        "label": CLASSES[0],
                        "float": CLASSES[1],
                        "int8": CLASSES[2],
                        "float_probability": 0.9,
                        "int8_probability": 0.6,
                        "image": "data:image/png;base64,iVBORw0KGgo=",
                    }
                ],
            },
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for name, value in {**files, **changes}.items():
        if value is not None:
            (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


class _Page(HTMLParser):
    """What a browser would make of the page: tags, links, text, and whether tags close in order."""

    VOID = frozenset({"meta", "img", "br", "path", "use", "rect", "line"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_is_whole_self_contained_and_escaped(tmp_path: Path) -> None:
    report.write(make_run(tmp_path / "run"))
    page = _Page((tmp_path / "run" / "report.html").read_text())
    assert page.open == []
    names = [tag for tag, _ in page.tags]
    assert "script" not in names
    assert not {"link", "iframe", "i", "b"} & set(names)
    for _, attributes in page.tags:
        for key in ("src", "href", "xlink:href"):
            assert (attributes.get(key) or "#").startswith(("#", "data:image/png;base64,"))
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    links = {str(a["href"])[1:] for tag, a in page.tags if tag == "a"}
    assert links <= set(ids)
    assert all(a.get("alt") for tag, a in page.tags if tag == "img")
    assert sum(tag == "svg" for tag in names) == 7
    text = " ".join(" ".join(page.words).split())
    assert "<script>alert(1)</script>" in text
    assert "non-inferiority not shown" in text


def test_every_part_of_the_original_report_is_there(tmp_path: Path) -> None:
    report.write(make_run(tmp_path / "run"))
    for name in ("report.html", "report.md"):
        text = (tmp_path / "run" / name).read_text()
        for part in ("Architecture", "Quantization method", "Results", "Implementation", "Deployment", "Conclusion"):
            assert part in text, (name, part)
        for figure in ("90.00%", "88.33%", "0.0078431", "TFLITE_BUILTINS_INT8", "numpy 2.0.0", "octavo run digits"):
            assert figure in text, (name, figure)


def test_markdown_tables_survive_names_with_pipes(tmp_path: Path) -> None:
    report.write(make_run(tmp_path / "run"))
    text = (tmp_path / "run" / "report.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| naïve")]
    assert rows
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 6
    assert "<script>" not in text


def test_json_holds_all_facts_but_no_pictures(tmp_path: Path) -> None:
    report.write(make_run(tmp_path / "run"))
    text = (tmp_path / "run" / "report.json").read_text()
    value = json.loads(text)
    assert value["evaluation"]["models"]["float"]["accuracy"]["value"] == 0.9
    assert value["findings"]
    assert "base64" not in text


def test_a_run_without_training_or_distributions_says_so(tmp_path: Path) -> None:
    report.write(make_run(tmp_path / "run", history=None, distributions=None))
    text = (tmp_path / "run" / "report.html").read_text()
    assert "did not train" in text
    assert "no distributions.json" in text


def test_many_classes_and_two(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    value = json.loads((folder / "evaluation.json").read_text())
    for count in (2, 100):
        other = copy.deepcopy(value)
        other["classes"] = [f"class {k}" for k in range(count)]
        for model in other["models"].values():
            model["confusion"] = [[int(i == j) for j in range(count)] for i in range(count)]
            model["per_class"] = [dict(model["per_class"][0], **{"class": name}) for name in other["classes"]]
            model["top5"] = model["accuracy"] if count > 10 else None
        (folder / "evaluation.json").write_text(json.dumps(other))
        report.write(folder)
        text = (folder / "report.html").read_text()
        assert ("Top-5 accuracy" in text) == (count == 100)
        assert ("is no picture" in text) == (count == 100)


def _said(folder: Path) -> str:
    return " ".join(finding.text for finding in findings(read(folder)))


def test_findings_follow_the_figures(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    said = _said(folder)
    assert "−1.67 points" in said
    assert "2 right answers wrong and 1 wrong ones right" in said
    assert "non-inferiority at 2 points is not shown" in said
    assert "within the noise of 60 test images" in said
    assert "30.00% of the int8 file is not weights" in said
    assert "int8 is 2.00 times faster" in said
    assert "99.8% of its values lie within 15.38%" in said  # (0.9 + 0.1) / (6.0 + 0.5)
    assert "'relu'" in said
    assert "still rose by +4.00 points" in said

    value = json.loads((folder / "evaluation.json").read_text())
    value["comparison"] |= {"difference": {"value": -0.1, "low": -0.15, "high": -0.05}}
    value["models"]["int8"]["latency_ms"]["median"] = 4.0
    (folder / "evaluation.json").write_text(json.dumps(value))
    said = _said(folder)
    assert "Quantization costs accuracy here (−10.00 points, −15.00 to −5.00)" in said
    assert "within the noise" not in said
    assert "int8 is 2.00 times slower" in said

    value["comparison"] |= {
        "difference": {"value": 0.0, "low": -0.01, "high": 0.01},
        "mcnemar": {"b": 0, "c": 0, "p": 1.0},
        "non_inferior": True,
    }
    (folder / "evaluation.json").write_text(json.dumps(value))
    said = _said(folder)
    assert "Not one image changed" in said
    assert "non-inferior at the margin of 2 points" in said


def test_what_stays_in_float_is_listed(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    value = json.loads((folder / "proof.json").read_text())
    value["float_left"] = [{"op": "SIN #3", "tensor": "<t>", "reason": "no kernel"}]
    (folder / "proof.json").write_text(json.dumps(value))
    report.write(folder)
    for name in ("report.html", "report.md"):
        assert "SIN #3" in (folder / name).read_text()
    assert "1 ops stay in float" in _said(folder)


def test_no_run_directory_and_an_unfinished_one(tmp_path: Path) -> None:
    with pytest.raises(OctavoError, match="is not a run directory"):
        report.write(tmp_path)
    folder = make_run(tmp_path / "run", evaluation=None)
    with pytest.raises(OctavoError, match=r"is not a finished run: it has no evaluation\.json"):
        report.write(folder)
    (folder / "evaluation.json").write_text("{")
    with pytest.raises(OctavoError, match="cannot be read"):
        report.write(folder)
