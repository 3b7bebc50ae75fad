"""The files of runs, sweeps and searches: what is written is read, old ones too, and no field changes unnoticed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rundir import make_artefacts, write_run

from octavo import reports
from octavo.analysis.evaluation import Evaluation
from octavo.analysis.pareto import points
from octavo.analysis.target_search import SearchRecord
from octavo.base.artefact import SCHEMA, Artefact
from octavo.base.errors import OctavoError
from octavo.base.provenance import Provenance
from octavo.deployment.measured import Deployment
from octavo.deployment.targets.ask import every
from octavo.reports.facts import NEEDED, OPTIONAL, read
from octavo.reports.sweep import Sweep
from octavo.reports.write import Report
from octavo.runs.artefacts import ARTEFACTS
from octavo.runs.manifest import Manifest

FORMER = Path(__file__).parent.parent / "former" / "run"
PINNED = Path(__file__).with_name("schemas.json")


def _leaves(schema: dict[str, Any], whole: dict[str, Any], path: str = "") -> Iterator[str]:
    """Every field of a JSON schema and its type; words that describe it do not count."""
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    for name, field in schema.get("properties", {}).items():
        yield from _leaves(field, whole, f"{path}.{name}")
    for choice in schema.get("anyOf", []):
        yield from _leaves(choice, whole, f"{path}|")
    for item in (schema.get("items"), *schema.get("prefixItems", [])):
        if isinstance(item, dict):
            yield from _leaves(item, whole, f"{path}[]")
    if isinstance(more := schema.get("additionalProperties"), dict):
        yield from _leaves(more, whole, f"{path}.*")
    inner = ("properties", "anyOf", "items", "prefixItems")
    if not isinstance(more, dict) and not any(key in schema for key in inner):
        yield f"{path} {schema.get('type')} {schema.get('enum', schema.get('const', ''))}"


def _fields(kind: type[Artefact]) -> list[str]:
    schema = kind.model_json_schema(mode="serialization")
    return sorted(set(_leaves(schema, schema)))


def test_a_changed_field_is_a_new_version() -> None:
    """After a change of names or types: raise `version`, write the upgrade, and then the line that this test shows."""
    pinned = json.loads(PINNED.read_text("utf-8"))
    assert sorted(pinned) == sorted(kind.file for kind in ARTEFACTS)
    for kind in ARTEFACTS:
        digest = hashlib.sha256("\n".join(_fields(kind)).encode()).hexdigest()[:16]
        found = {"schema": kind.version, "fields": digest}
        same = found["schema"] == pinned[kind.file]["schema"]
        why = "the fields changed, and the version did not" if same else "the line to write"
        assert found == pinned[kind.file], f"{kind.file} {json.dumps(found)}: {why}"


def test_the_pin_sees_names_and_types() -> None:
    class One(Artefact):
        file, what = "one.json", "one"
        value: float

    class Other(Artefact):
        file, what = "one.json", "one"
        amount: float

    class Whole(Artefact):
        file, what = "one.json", "one"
        value: int

    class Described(Artefact):
        """Other words."""

        file, what = "one.json", "one"
        value: float

    assert _fields(One) == _fields(Described)
    assert _fields(One) != _fields(Other) and _fields(One) != _fields(Whole)
    assert ".models.*.latency.median_ms number " in _fields(Evaluation)


@pytest.mark.parametrize("made", make_artefacts(), ids=lambda made: made.file)
def test_what_is_written_is_read(made: Artefact, tmp_path: Path) -> None:
    path = tmp_path / made.file
    made.write(path)
    assert json.loads(path.read_text("utf-8"))[SCHEMA] == made.version
    again = type(made).read(path)
    assert again == made
    assert again.to_json() == made.to_json()


def test_the_report_reads_what_the_stages_write(tmp_path: Path) -> None:
    made = {one.file: one for one in make_artefacts()}
    facts = read(write_run(tmp_path / "run"))
    for name in {*NEEDED, *OPTIONAL} & made.keys():
        assert getattr(facts, Path(name).stem) == made[name]
    reports.write(tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    assert report[SCHEMA] == Report.version and report["deployment"][SCHEMA] == Deployment.version


@pytest.mark.parametrize("kind", [kind for kind in ARTEFACTS if (FORMER / kind.file).is_file()], ids=lambda k: k.file)
def test_a_former_file_keeps_its_figures(kind: type[Artefact], tmp_path: Path) -> None:
    """All that 0.1 wrote is in what is written now, under the names of today."""
    made = kind.read(FORMER / kind.file)
    old = json.loads((FORMER / kind.file).read_text("utf-8"))
    assert SCHEMA not in old
    numbers = sorted(_numbers(old))
    # What a score means, and what a training learned from, was not written then.
    later = dict.fromkeys((SCHEMA, "metric", "likeness", "labelled"))
    assert numbers and sorted(_numbers({**made.to_json(), **later})) == numbers
    made.write(tmp_path / kind.file)
    assert kind.read(tmp_path / kind.file) == made


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        # An epoch's score repeats its accuracy.
        for item in (item for key, item in value.items() if key != "val_score") if isinstance(value, dict) else value:
            yield from _numbers(item)
    elif isinstance(value, int | float):
        yield float(value)


def test_former_names_are_todays() -> None:
    old = json.loads((FORMER / "deployment.json").read_text("utf-8"))
    made = Deployment.read(FORMER / "deployment.json")
    assert made.benchmark is not None and made.targets is not None
    for row, timing in zip(old["benchmark"]["timings"], made.benchmark.timings, strict=True):
        latency = timing.latency
        assert (latency.median_ms, latency.p90_ms) == (row["latency"]["median"], row["latency"]["p90"])
        assert (latency.min_ms, latency.runs) == (row["latency"]["minimum"], row["latency"]["runs"])
    assert [verdict.id for verdict in made.targets] == [target.id for target in every()]
    before = json.loads((FORMER / "evaluation.json").read_text("utf-8"))["models"]["int8"]["latency_ms"]
    now = Evaluation.read(FORMER / "evaluation.json").models["int8"].latency
    assert (now.median_ms, now.p90_ms, now.min_ms) == (before["median"], before["p90"], before["min"])


def test_a_former_targets_time_is_its_latency() -> None:
    value = json.loads((FORMER / "deployment.json").read_text("utf-8"))
    costs = {
        "OpenVINO CPU": {"median": 1.25, "p90": 1.5, "minimum": 1.0, "runs": 20},
        "Arm ethos-u55-128 (Vela)": {"cycles": 10, "milliseconds": 12.98},
    }
    for row in value["targets"]:
        if row["target"] in costs:
            row["costs"] = {"answer": True, "about": "", "facts": costs[row["target"]]}
    made = Deployment.from_json(value, Path("deployment.json"))
    openvino, ethos = made.target("openvino-cpu"), made.target("ethos-u55-128")
    assert openvino is not None and openvino.costs is not None and ethos is not None and ethos.costs is not None
    assert openvino.costs.facts == {"median_ms": 1.25, "p90_ms": 1.5, "min_ms": 1.0, "runs": 20}
    assert ethos.costs.facts == {"cycles": 10, "estimated_ms": 12.98}


def test_a_former_search_and_a_former_sweep(tmp_path: Path) -> None:
    share = {"value": 0.8, "low": 0.7, "high": 0.9}
    search = {
        "model": "model.tflite",
        "wish": {"drop": 1.0, "size": None, "latency": None},
        "images": 20,
        "float": {"accuracy": 0.9, "bytes": 900, "milliseconds": 3.0},
        "trials": [
            {
                "way": "minmax",
                "accuracy": share,
                "against_float": share,
                "bytes": 300,
                "milliseconds": 1.0,
                "seconds": 2.0,
            }
        ],
        "chosen": "minmax",
        "obstacles": [],
    }
    path = tmp_path / "model.tflite.search.json"
    path.write_text(json.dumps(search), "utf-8")
    assert [(row["name"], row["median_ms"]) for row in points([path])] == [("float", 3.0), ("minmax", 1.0)]
    row = {"name": "a", "kind": "int8", "run": "a", "images": 9, "accuracy": 0.8, "interval": share}
    row |= {"float_accuracy": 0.9, "bytes": 300, "milliseconds": 1.0, "p90": 1.5, "arena": 64, "front": True}
    sweep = Sweep.from_json({"variants": [row], "recommended": "a"}, Path("sweep.json"))
    assert (sweep.variants[0].median_ms, sweep.variants[0].p90_ms) == (1.0, 1.5)
    assert sweep.best is sweep.variants[0] and sweep.best.score.value == 0.8 and sweep.metric.name == "accuracy"


@pytest.mark.parametrize("kind", ARTEFACTS, ids=lambda kind: kind.file)
def test_a_later_schema_is_refused_with_what_to_do(kind: type[Artefact], tmp_path: Path) -> None:
    path = tmp_path / f"x{kind.file}"
    path.write_text(json.dumps({SCHEMA: kind.version + 1}), "utf-8")
    with pytest.raises(OctavoError) as caught:
        kind.read(path)
    said = str(caught.value)
    assert f"has schema {kind.version + 1}, but this version of Octavo reads up to {kind.version}" in said
    assert kind.remedy.format(folder=tmp_path) in said


@pytest.mark.parametrize("schema", ["1", True, -1, 1.0, None])
def test_a_schema_is_a_whole_number(schema: Any) -> None:
    with pytest.raises(OctavoError, match="its schema is"):
        SearchRecord.from_json({SCHEMA: schema}, Path("x.search.json"))


def test_a_run_of_a_later_version_says_what_to_run_again(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", evaluation=lambda value: value.update({SCHEMA: 99}))
    for act in (lambda: reports.write(run), lambda: points([run])):
        with pytest.raises(OctavoError, match=r"evaluation\.json' has schema 99.*octavo run RECIPE --out"):
            act()
    assert not (run / "report.json").exists()


def test_a_former_manifest_goes_on_and_a_later_one_does_not(tmp_path: Path) -> None:
    shutil.copy(FORMER / "manifest.json", tmp_path)
    known = Manifest(tmp_path, {})
    assert known.hash_of("data.json") == Provenance.read(FORMER / "manifest.json").stages["data"].outputs["data.json"]
    known.write()
    assert json.loads((tmp_path / "manifest.json").read_text("utf-8"))[SCHEMA] == Provenance.version
    (tmp_path / "manifest.json").write_text(json.dumps({SCHEMA: 99, "stages": {}}), "utf-8")
    with pytest.raises(OctavoError, match=r"has schema 99.*run every stage again"):
        Manifest(tmp_path, {})
