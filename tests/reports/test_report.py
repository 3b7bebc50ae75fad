"""The three forms of the report: whole, self-contained, escaped, and the same facts in each."""

from __future__ import annotations

import json
import re
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rundir import CLASSES, MakeRun, make_evaluation, trained

from octavo import reports
from octavo.base.errors import OctavoError
from octavo.reports.dark import DARK
from octavo.reports.facts import NEEDED, read
from octavo.reports.plots import training
from octavo.reports.write import _plain, cell

PICTURES = {
    "error",
    "accuracy",
    "difference",
    "sizes",
    "training",
    "latency",
    "memory",
    "confusion",
    "activations",
    "weights",
}


class _Page(HTMLParser):
    """What a browser would make of the page: tags, text, and whether tags close in order."""

    VOID = frozenset({"meta", "img", "br", "wbr"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(path.read_text("utf-8"))

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

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_page_is_whole_and_asks_for_nothing(written: Path) -> None:
    page = _Page(written / "report.html")
    assert page.open == []
    assert not {"script", "link", "iframe", "base", "object"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not any(key.startswith("on") for key in attributes)
        for key in ("src", "href", "xlink:href", "srcset", "poster"):
            assert (attributes.get(key) or "#").startswith(("#", "data:image/png;base64,"))
    css = re.sub(r"data:[^\")]*", "", (written / "report.html").read_text("utf-8"))
    assert not re.search(r"url\((?!#)|@import|@font-face", css)


def test_ids_links_headings_and_alternatives(written: Path) -> None:
    page = _Page(written / "report.html")
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    links = [str(a["href"])[1:] for tag, a in page.tags if tag == "a"]
    headings = [a["id"] for tag, a in page.tags if tag == "h2"]
    assert [link for link in links if not link.startswith("term-")][: len(headings)] == headings
    terms = {link for link in links if link.startswith("term-")}
    assert {"term-non-inferior", "term-sqnr", "term-xnnpack"} < terms <= set(ids)
    assert set(links) <= set(ids)
    used = {str(a["xlink:href"])[1:] for _, a in page.tags if str(a.get("xlink:href", "")).startswith("#")}
    assert used <= set(ids)
    assert all(a.get("alt") for tag, a in page.tags if tag == "img")
    assert all(a.get("aria-label") and a.get("role") == "img" for tag, a in page.tags if tag == "svg")
    assert all(a.get("scope") for tag, a in page.tags if tag == "th")
    assert sum(tag == "svg" for tag, _ in page.tags) == len(PICTURES)


def test_names_from_users_are_text(written: Path) -> None:
    page = _Page(written / "report.html")
    assert not {"i", "b"} & {tag for tag, _ in page.tags}
    for name in CLASSES:
        assert name in page.text
    assert "A <b> title </b>" in page.text or "A <b>title</b>" in page.text
    markdown = (written / "report.md").read_text("utf-8")
    assert not re.search(r"<(script|b|i|img)\b", markdown)


def test_every_part_of_the_original_report_is_in_both(written: Path) -> None:
    page, markdown = _Page(written / "report.html").text, (written / "report.md").read_text("utf-8")
    parts = """Summary and conclusion|Results|Architecture|Base model|Task|Input shape|Classes|Samples|Preprocessing
        Quantization method|Type|Calibration samples|Target ops|Input|Output|Findings|Accuracy|Size|Speed|Deployment
        Implementation|Framework and version|Training|Approach|Calibration|Optimization
        Targets|Deployment recommendations|What would reduce the gap further|Proof|Provenance|Command|Seed"""
    figures = """90.00%|88.33%|2.00 MB|1.00 MB|2.00×|.tflite, float32|MobileNetV2|1 × 32 × 32 × 3|1,200 training
        60 test|TFLITE_BUILTINS_INT8|scale 0.0078431377, zero point −1|scale 0.00390625, zero point −128
        100 training images|keras 3.15.1|abc1234|eeeeeeeeeeee|dddddddd|LiteRT allocates and runs it
        2 corrupt images were left out
        2 ops: int4 weights, int8 activations
        5.00 MB|31.2 dB|96.88%"""
    for part in re.split(r"\||\n\s*", f"{parts}\n{figures}"):
        assert part in page, part
        assert part in markdown.replace("\\_", "_"), part


def test_markdown_tables_are_rectangular(written: Path) -> None:
    text = (written / "report.md").read_text("utf-8")
    blocks = [block.splitlines() for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)]
    assert len(blocks) == 13
    for block in blocks:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block}
        assert len(widths) == 1, block
        assert re.fullmatch(r"(\|-+:?)+\|", block[1])
    assert "\n\n\n" not in text


def test_markdown_pictures_are_files_that_parse(written: Path) -> None:
    named = set(re.findall(r"\]\(report_files/(\w+)\.svg\)", (written / "report.md").read_text("utf-8")))
    assert named == PICTURES
    for name in named:
        root = ElementTree.parse(written / "report_files" / f"{name}.svg").getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", "a\\|b"),
        ("snake_case and __init__", "snake_case and \\_\\_init\\_\\_"),
        ("[x](y) *z* <i> &lt;", "\\[x\\](y) \\*z\\* &lt;i> &amp;lt;"),
        ("two\nlines", "two lines"),
    ],
)
def test_plain_markdown(text: str, shown: str) -> None:
    assert _plain(text) == shown


def test_code_in_markdown_keeps_its_backticks() -> None:
    from octavo.reports.tables import Code

    assert cell(Code("a `b` | c")) == "`` a `b` \\| c ``"


def test_json_holds_what_the_stages_wrote_and_the_findings(written: Path) -> None:
    text = (written / "report.json").read_text("utf-8")
    value = json.loads(text)
    evaluation = json.loads((written / "evaluation.json").read_text("utf-8"))
    for row in evaluation["comparison"]["disagreements"]:
        del row["image"]
    assert value["evaluation"] == evaluation
    assert value["size"] == json.loads((written / "size.json").read_text("utf-8"))
    assert value["recipe"]["name"] == "digits"
    assert {"topic", "text", "figures", "tone"} == set(value["findings"][0])
    assert "base64" not in text


def test_the_same_run_writes_the_same_report(written: Path, make_run: MakeRun) -> None:
    folder = make_run()
    names = ["report.html", "report.md", "report.json", "report_files/confusion.svg"]
    reports.write(folder)
    assert [(folder / name).read_bytes() for name in names] == [(written / name).read_bytes() for name in names]


def test_absent_files_take_their_parts_with_them(make_run: MakeRun) -> None:
    def no_keras(size: Any) -> None:
        size["files"] |= {"keras": None, "keras_with_optimizer": None}

    folder = make_run()
    reports.write(folder)
    make_run(history=None, distributions=None, compare=None, deployment=None, size=no_keras)
    reports.write(folder)
    for text in (_Page(folder / "report.html").text, (folder / "report.md").read_text("utf-8")):
        assert "the run started from a model file" in text
        assert "has no history.json" in text
        assert "has no distributions.json" in text
        assert "has no compare.json" in text
        assert "has no deployment.json" in text
        assert "no Keras model" in text
        assert "MobileNetV2" not in text
    left = {path.stem for path in (folder / "report_files").iterdir()}
    assert left == PICTURES - {"training", "error", "activations", "weights", "latency", "memory"}


@pytest.mark.parametrize("count", [2, 25, 100])
def test_few_and_many_classes(make_run: MakeRun, count: int) -> None:
    evaluation = make_evaluation([f"class {k}" for k in range(count)])
    folder = make_run(evaluation=lambda value: value.update(evaluation))
    reports.write(folder)
    page = _Page(folder / "report.html")
    assert page.open == []
    assert ("Top-5 accuracy" in page.text) == (count > 10)
    assert f"class {count - 1}" in page.text
    if count == 100:
        assert "and 80 more" in page.text


def test_any_script_and_any_sign_in_a_class_name(make_run: MakeRun) -> None:
    names = ["猫", "🐈 cat", "$x^$", "a_b__c", "\\frac{1}", "&amp;", "'\"", 'id="x"', " space\nline", "-->"]
    folder = make_run(evaluation=lambda value: value.update(make_evaluation(names)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reports.write(folder)
    page = _Page(folder / "report.html")
    assert page.open == []
    for name in names:
        assert " ".join(name.split()) in page.text


def test_nothing_disagrees(make_run: MakeRun) -> None:
    same = make_evaluation(lost=0, gained=0)
    folder = make_run(evaluation=lambda value: value.update(same))
    reports.write(folder)
    assert "the same answer for each of 60 test samples" in _Page(folder / "report.html").text
    assert "Nowhere" in (folder / "report.md").read_text("utf-8")


def test_an_input_that_is_no_picture(make_run: MakeRun) -> None:
    def blind(evaluation: Any) -> None:
        evaluation["comparison"]["disagreements"][0]["image"] = None

    folder = make_run(evaluation=blind)
    reports.write(folder)
    assert "no picture" in _Page(folder / "report.html").text


def test_a_failed_or_empty_check_is_no_tick(make_run: MakeRun) -> None:
    def fail(proof: Any) -> None:
        proof["checks"][0] |= {"passed": False, "detail": "image is float32"}
        proof["checks"][1]["count"] = 0

    folder = make_run(proof=fail)
    reports.write(folder)
    text = _Page(folder / "report.html").text
    assert "passed 1 of 2 checks" in text
    assert "image is float32" in text
    assert "nothing in this file to check" in text
    assert "FAILED: image is float32" in (folder / "report.md").read_text("utf-8")


def test_what_stays_in_float_is_listed(make_run: MakeRun) -> None:
    def leave(proof: Any) -> None:
        proof["kept_in_float"] = [{"op": "SIN #3", "tensor": "<t>", "reason": "it has no int8 kernel"}]
        proof["output"] |= {"dtype": "float32", "scale": None, "zero_point": None}

    folder = make_run(proof=leave)
    reports.write(folder)
    for text in (_Page(folder / "report.html").text, (folder / "report.md").read_text("utf-8")):
        assert "SIN #3" in text
        assert "it has no int8 kernel" in text
        assert "float32, not quantized" in text


def test_no_run_directory_and_an_unfinished_one(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(OctavoError, match=r"is not a run directory.*octavo run RECIPE --out"):
        reports.write(tmp_path)
    with pytest.raises(OctavoError, match="is not a run directory"):
        reports.write(tmp_path / "nowhere")
    for name in NEEDED:
        folder = make_run(**{name.partition(".")[0]: None})
        with pytest.raises(OctavoError, match=rf"is not a finished run: it has no {re.escape(name)}"):
            reports.write(folder)
        assert not (folder / "report.html").exists()


@pytest.mark.parametrize("name", ["evaluation.json", "recipe.yaml", "history.json"])
@pytest.mark.parametrize("content", ["{", "[1, 2]", "{}", "null", "\x00"])
def test_a_damaged_file_is_named(make_run: MakeRun, name: str, content: str) -> None:
    folder = make_run()
    (folder / name).write_text(content)
    with pytest.raises(OctavoError) as caught:
        read(folder)
    assert name.partition(".")[0] in str(caught.value)


def test_a_picture_that_is_no_png_is_refused(make_run: MakeRun) -> None:
    def inject(evaluation: Any) -> None:
        evaluation["comparison"]["disagreements"][0]["image"] = "https://example.com/x.png"

    with pytest.raises(OctavoError, match="image"):
        read(make_run(evaluation=inject))


def test_training_for_int8_stands_beside_what_it_is_compared_with(make_run: MakeRun) -> None:
    def by_training(recipe: Any) -> None:
        recipe["quantize"], recipe["qat"] = {"method": "qat"}, {}

    folder = make_run(recipe=by_training, evaluation=trained)
    reports.write(folder)
    text = (folder / "report.md").read_text("utf-8")
    assert "| float, control | 95.00% (86.30 to 98.29%) |" in text
    assert "| int8, post-training | 80.00%" in text
    assert "2 epochs in 75 s, batches of 32, Adam, peak rate 0.0001 (found by trial)" in text
    assert "quantization-aware training, full integer" in text


def test_training_for_int8_and_the_control_are_drawn_beside_float(make_run: MakeRun) -> None:
    def by_training(recipe: Any) -> None:
        recipe["quantize"], recipe["qat"] = {"method": "qat"}, {}

    def alone(recipe: Any) -> None:
        recipe["quantize"], recipe["qat"] = {"method": "qat"}, {"control": False}

    names = (
        "float after 2 epochs: loss 0.500",
        "float, control after 2 epochs: loss 0.300",
        "int8 after 2 epochs: loss 0.4",
    )
    for recipe, seen in ((by_training, names), (alone, (names[0], names[2])), (lambda same: None, names[:1])):
        drawn = training(read(make_run(recipe=recipe, evaluation=trained)))
        assert drawn is not None
        assert [name for name in names if name in drawn.alt] == list(seen)
    made_before = training(read(make_run(recipe=by_training, evaluation=trained, history=None)))
    assert made_before is not None
    assert names[0] not in made_before.alt and names[1] in made_before.alt


def test_every_colour_of_a_picture_has_one_in_dark_mode(written: Path) -> None:
    for path in (written / "report_files").iterdir():
        drawn = re.sub(r"<style>.*?</style>", "", path.read_text("utf-8"), flags=re.DOTALL)
        assert set(re.findall(r"(?:fill|stroke): (#\w+)", drawn)) <= set(DARK), path.name
    assert "prefers-color-scheme: dark" in path.read_text("utf-8")


def test_what_stands_in_backticks_is_code(make_run: MakeRun) -> None:
    def ask(deployment: Any) -> None:
        deployment["targets"][1]["takes"]["about"] = "`octavo targets <b>` starts one"

    folder = make_run(deployment=ask)
    reports.write(folder)
    page = (folder / "report.html").read_text("utf-8")
    assert "<code>octavo targets &lt;b&gt;</code> starts one" in page
    assert "`" not in re.sub(r"<code>.*?</code>", "", page)
    assert "unknown: `octavo targets <b>` starts one" in (folder / "report.md").read_text("utf-8")


def test_recommendations_stand_before_the_details(written: Path) -> None:
    page, markdown = _Page(written / "report.html"), (written / "report.md").read_text("utf-8")
    order = [a["id"] for tag, a in page.tags if tag == "h2"]
    assert order[:3] == ["summary", "results", "deployment"] and order[-1] == "glossary"
    assert re.findall(r"^## (.*)", markdown, re.MULTILINE)[2] == "Deployment recommendations"
    assert "is not shown to keep the float model's accuracy within 2 points (90.00% → 88.33%)" in page.text
    assert "- **SQNR**: Signal-to-quantization-noise ratio" in markdown


def test_the_benchmarks_latency_is_the_only_one(make_run: MakeRun) -> None:
    folder = make_run()
    reports.write(folder)
    page, markdown = _Page(folder / "report.html").text, (folder / "report.md").read_text("utf-8")
    for text in (page, markdown):
        # The benchmark says 3.0 and 1.5 ms, evaluation 2.0 and 1.0.
        assert "3.00 ms" in text and "1.50 ms" in text
        assert not re.search(r"\b[12]\.00 ms", text)
        assert "0.500 (0.490 to 0.510)" in text and "a bench cpu, a64, 2 cores, LiteRT 2.3.0" in text
    assert "| Browser, &lt;b> | unknown: Browser, &lt;b> looked | – | – |" in markdown
    assert "| The small one | yes: The small one looked | no: The small one ran or not | estimate: The" in markdown


def test_figures_of_other_models_are_not_shown(make_run: MakeRun) -> None:
    def stale(deployment: Any) -> None:
        deployment["sha256"]["int8.tflite"] = "1" * 64

    folder = make_run(deployment=stale)
    reports.write(folder)
    text = (folder / "report.md").read_text("utf-8")
    assert "has a deployment.json that was measured with other models" in text
    assert "2.00 ms" in text and "3.00 ms" not in text and "a bench cpu" not in text


def test_without_targets_that_is_said(make_run: MakeRun) -> None:
    def none(deployment: Any) -> None:
        deployment["targets"] = None

    folder = make_run(deployment=none)
    reports.write(folder)
    for text in (_Page(folder / "report.html").text, (folder / "report.md").read_text("utf-8")):
        assert "sets deployment.targets to false" in text
        assert "arena" not in text and "Microcontrollers" not in text
