"""What results show of themselves: a `repr` of a few lines with the headline figures, and HTML in a notebook."""

from __future__ import annotations

import html.parser
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import CLASSES, SIZE, tiny_tflite, write_folder

import octavo
from octavo.analysis.compare import Compared, Error, TensorError, Unmatched
from octavo.analysis.inspect import Inspection
from octavo.analysis.pareto import Pareto
from octavo.analysis.tasks.single_label import SingleLabelScores
from octavo.base import notebook
from octavo.base.affine import QParams
from octavo.data.dataset import ImageSet
from octavo.data.preprocess import Preprocess
from octavo.deployment.targets.litert import LiteRT
from octavo.quantization.ranges import Ranges
from octavo.source.sidecar import Sidecar

PREPROCESS = Preprocess((SIZE, SIZE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a float model, its int8 model and images; the working directory, for short paths."""
    made = tmp_path_factory.mktemp("results")
    before = Path.cwd()
    os.chdir(made)
    Path("float.tflite").write_bytes(tiny_tflite())
    Sidecar(PREPROCESS, CLASSES).write(Path("float.tflite"))
    write_folder(Path("photos"), 120, "train")
    write_folder(Path("photos"), 30, "test")
    octavo.quantize("float.tflite", "photos", "int8.tflite")
    yield made
    os.chdir(before)


class _Page(html.parser.HTMLParser):
    """Notes every element, and what stays open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script" and not any(name.startswith("on") for name, _ in attrs)
        self.tags.append(tag)
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(result: Any, *figures: str) -> str:
    """The text of a result, which fits on a screen and says the figures."""
    text = repr(result)
    assert len(text) < 2000 and text.count("\n") < 5
    for figure in figures:
        assert figure in text, text
    return text


def page(result: Any, *tags: str) -> _Page:
    """What a result shows in a notebook: whole HTML with the elements."""
    made = _Page()
    made.feed(result._repr_html_())
    made.close()
    assert made.open == []
    assert set(tags) <= set(made.tags)
    return made


def test_files_that_were_written(folder: Path) -> None:
    bytes_ = f"{(folder / 'int8.tflite').stat().st_size:,}"
    shown(octavo.quantize("float.tflite", "photos", "again.tflite"), "again.tflite", bytes_, "13 checks")
    slimmed = octavo.slim("int8.tflite", "slim.tflite", pixels="int8")
    shown(slimmed, bytes_, f"{len(slimmed.content):,}", "pixels")
    made = octavo.deploy("int8.tflite", "device", archive=True)
    shown(made, "'device'", "device.zip", f"{len(made.files)} files", f"{sum(made.files.values()):,} bytes")


def test_scores(folder: Path) -> None:
    scores = octavo.evaluate("int8.tflite", "photos")
    shown(scores, f"{scores.accuracy().value:.2%}", f"{scores.accuracy().low:.2%}", "30 samples")
    assert all(name in page(scores, "table").text for name in CLASSES)


def test_scores_of_many_classes_show_those_that_are_recognized_least() -> None:
    count = 1000
    scores = SingleLabelScores(
        np.arange(count), np.eye(count)[::-1], tuple(f"class {k}" for k in range(count)), "LiteRT"
    )
    shown(scores, "0.00%", "1,000 samples")
    assert page(scores).tags.count("tr") == 1 + 20


def test_comparison(folder: Path) -> None:
    compared = octavo.compare("float.tflite", "int8.tflite", "photos", images=9)
    last = compared.tensors[-1].accumulated.sqnr
    worst = min(item.added.sqnr for item in compared.tensors if item.added.sqnr is not None)
    shown(compared, "9 images", f"output SQNR {last:.1f} dB", f"{worst:.1f} dB", f"{len(compared.tensors)} tensors")
    assert page(compared, "table", "img").tags.count("tr") == 1 + len(compared.tensors)


def test_a_comparison_without_noise_says_so() -> None:
    exact = Error(None, 1.0, 0.0, 0.0, None, None)
    item = TensorError("a", "a", "INPUT", -1, exact, exact, None, None, None)
    made = Compared(images=1, kernels="LiteRT", tensors=[item], unmatched=Unmatched([], []))
    shown(made, "output SQNR without noise")


def test_sensitivity(folder: Path) -> None:
    found = octavo.sensitivity("float.tflite", "photos", images=9)
    first = found.ops[0]
    shown(found, "4 ops", "9 images", f"{found.int8.sqnr:.1f} dB", f"{first.op} #{first.place} {first.share:.0%}")
    assert page(found, "table", "img").tags.count("tr") == 1 + len(found.ops)
    assert f"{first.op} #{first.place}" in page(found).text


def test_study(folder: Path) -> None:
    study = octavo.calibrate("float.tflite", "photos", sizes=[1, 9], draws=2)
    shown(study, "4 models", "1 to 9 images", "cannot tell how many are enough", f"float {study.score:.2%}")
    assert "points against the largest size" in page(study, "img", "pre").text


def test_benchmark(folder: Path) -> None:
    times = octavo.benchmark(["float.tflite", "int8.tflite"], seconds=0.1)
    second = times.timings[1]
    shown(times, "cores", "float.tflite", f"{second.latency.median_ms:.3g} ms ({second.ratio.value:.2f})")
    made = page(times, "table")
    assert made.tags.count("tr") == 1 + 2
    assert f"{second.ratio.value:.3f} ({second.ratio.low:.3f} to {second.ratio.high:.3f})" in made.text


def test_search_and_what_it_tried(folder: Path) -> None:
    found = octavo.search("float.tflite", "photos", "found.tflite", octavo.Goal(drop=50), train=False)
    assert found.chosen is not None
    bytes_ = f"{len(found.chosen.content):,} bytes"
    shown(found, "at most 50 points", found.chosen.way, bytes_, f"float {found.float_score:.2%}")
    assert page(found, "table").tags.count("tr") == 1 + len(found.trials)
    tried = octavo.pareto(["found.tflite.search.json"])
    shown(tried, "2 models", "100.00%" if found.float_score == 1 else "float")
    assert page(tried, "table", "img").tags.count("tr") == 1 + 2
    # What code does with it.
    assert [row["name"] for row in tried] == ["float", found.chosen.way] and tried[0]["kind"] == "float"
    assert tried.to_json() == [dict(row) for row in tried] and len(tried[:1]) == 1


def test_the_front_of_many_models_is_cut_short() -> None:
    rows = [
        {"name": f"n{k}", "kind": "int8", "score": k / 100, "bytes": k, "median_ms": k, "front": {"bytes": True}}
        for k in range(1, 90)
    ]
    shown(Pareto(tuple(rows), SingleLabelScores.metric), "89 models", "n1 1.00%", "84 more")


def test_inspection(folder: Path) -> None:
    found = octavo.inspect("int8.tflite")
    shown(found, "full-integer", f"{found['bytes']:,} bytes", f"{found['macs']:,} MACs", "int8 [1, 8, 8, 3]")
    assert page(found, "table").tags.count("tr") == 1 + len(found["ops"])
    # What code does with it: it is read as a dict is.
    assert isinstance(found, Mapping) and dict(found) == found == found.to_json()
    assert found.get("no such key") is None and "sha256" in found and Inspection(found.to_json()) == found


def test_targets(folder: Path) -> None:
    asked = octavo.targets("int8.tflite", "photos", targets=[LiteRT("xnnpack"), LiteRT("reference")])
    shown(asked, "xnnpack: yes, ran", "reference: yes, ran")
    assert asked[0].takes.about in page(asked, "table").text
    assert [verdict.target for verdict in asked] == [asked[0].target, asked[-1].target] and len(asked[:1]) == 1
    assert [item["target"] for item in asked.to_json()] == [verdict.target for verdict in asked]


def test_every_target_fits_on_a_screen(folder: Path) -> None:
    from octavo.deployment.targets.ask import every
    from octavo.deployment.targets.survey import Survey
    from octavo.deployment.targets.target import Answer, Verdict

    said = Answer(None, "what is missing, and how to get it " * 5, {"facts": list(range(1000))})
    shown(Survey(tuple(Verdict(target.id, target.name, said, said, said) for target in every())), "unknown")


def test_report_of_a_run(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parent / "former" / "run", tmp_path / "run")
    facts = octavo.report(tmp_path / "run")
    shown(facts, facts.recipe.name, f"{facts.scores[1].value:.2%}", f"{facts.scores[0].value:.2%}")


def test_what_steps_take_and_give(folder: Path) -> None:
    shown(octavo.Graph.read(Path("int8.tflite")), "int8.tflite", "4 ops", "int8 (1, 8, 8, 3) -> int8 (1, 3)")
    shown(octavo.load_recipe("cifar10-full"), "name='cifar10-full'", "epochs=")
    shown(octavo.recipes(), "digits")
    data = octavo.open_dataset("digits")
    shown(data, "1,797 images", "10 classes")
    images = data.splits["all"].read([0, 1, 2])
    shown(images, "3 images", "uint8", "10 classes: 0, 1, 2, 3, 4, …")
    shown(ImageSet([np.zeros((8, 8, 3), np.uint8)], None, (), ("a",)), "1 images, many sizes, unlabelled")
    shown(Ranges("minmax", 100, {f"tensor {k}": (0.0, 1.0) for k in range(500)}), "minmax", "100 images", "500 tensors")
    shown(QParams.symmetric(np.arange(1.0, 500.0), 0), "499 scales", "axis=0")
    shown(QParams.from_range(-1, 1), "scale=0.00784314, zero_point=-1")
    shown(PREPROCESS, "bicubic")
    shown(octavo.Goal(drop=0.5), "0.5")


def test_names_from_outside_are_text_in_html() -> None:
    name = "<script>alert('x')</script>&"
    scores = SingleLabelScores(np.zeros(2, int), np.eye(2), (name, "b"), "LiteRT")
    made = page(scores, "table")
    assert name in made.text and "script" not in made.tags
    assert notebook.picture(b"", '"><script>').count("<") == 1
