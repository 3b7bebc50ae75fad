"""Upgrades: conversion of files with earlier schemas. Only this file knows the former names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]

# The fields of a latency in version 0.1, by their present names.
_LATENCY = {"median": "median_ms", "p90": "p90_ms", "min": "min_ms", "minimum": "min_ms"}
# Targets of 0.1 had a display name only.
_TARGETS = {
    "LiteRT CPU, xnnpack": "litert-xnnpack",
    "LiteRT CPU, builtin": "litert-builtin",
    "LiteRT CPU, reference": "litert-reference",
    "Browser, LiteRT.js in Chromium": "browser",
    "OpenVINO CPU": "openvino-cpu",
    "TFLite Micro": "tflite-micro",
    "Arm ethos-u55-128 (Vela)": "ethos-u55-128",
    "Arm ethos-u65-256 (Vela)": "ethos-u65-256",
    "Arm ethos-u85-256 (Vela)": "ethos-u85-256",
    "Edge TPU (pre-flight)": "edge-tpu",
}
# The only metric before tasks.
_ACCURACY = {"name": "accuracy", "title": "accuracy", "unit": "%", "higher": True}


def upgraded(file: str, value: Mapping[str, Any], version: int, wanted: int) -> dict[str, Any]:
    """The content of a file in a later version of its schema.

    Args:
        file: The file's name, as its artefact has it.
        value: What the file holds.
        version: Of its schema.
        wanted: The version to make of it.

    Example:
        >>> old = {"variants": [{"name": "a", "milliseconds": 1.5, "p90": 2.0}]}
        >>> upgraded("sweep.json", old, 0, 1)
        {'variants': [{'name': 'a', 'median_ms': 1.5, 'p90_ms': 2.0}]}
    """
    made = dict(value)
    for number in range(version, wanted):
        change = UPGRADES.get((file, number))
        made = made if change is None else change(made)
    return made


def _renamed(value: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(key, key): item for key, item in value.items()}


def _evaluation(value: dict[str, Any]) -> dict[str, Any]:
    models = {
        name: {**_renamed(model, {"latency_ms": "latency"}), "latency": _renamed(model["latency_ms"], _LATENCY)}
        for name, model in value["models"].items()
    }
    return {**value, "models": models}


def _classified(value: dict[str, Any]) -> dict[str, Any]:
    """Evaluations knew one task, whose figure was the accuracy."""
    models = {
        name: {
            **model,
            "score": model["accuracy"],
            "figures": {},
            "by_class": {},
            "table": {key: model[key] for key in ("top5", "per_class", "confusion")},
        }
        for name, model in value["models"].items()
    }
    return {
        "task": "single-label",
        "metric": _ACCURACY,
        "others": [],
        "likeness": {"name": "same_class", "title": "same class", "unit": "%", "higher": True},
        **value,
        "models": models,
    }


def _deployment(value: dict[str, Any]) -> dict[str, Any]:
    made = dict(value)
    if value["benchmark"] is not None:
        timings = [{**row, "latency": _renamed(row["latency"], _LATENCY)} for row in value["benchmark"]["timings"]]
        made["benchmark"] = {**value["benchmark"], "timings": timings}
    if value["targets"] is not None:
        made["targets"] = [_target(row) for row in value["targets"]]
    return made


def _target(value: dict[str, Any]) -> dict[str, Any]:
    made = {"id": _TARGETS.get(value["target"], value["target"]), **value}
    if value["costs"] is not None:
        # Vela's estimated time had the name of a measured one.
        facts = _renamed(value["costs"].get("facts", {}), _LATENCY | {"milliseconds": "estimated_ms"})
        made["costs"] = {**value["costs"], "facts": facts}
    return made


def _search(value: dict[str, Any]) -> dict[str, Any]:
    names = {"milliseconds": "median_ms"}
    trials = [_renamed(trial, names) for trial in value["trials"]]
    return {**value, "float": _renamed(value["float"], names), "trials": trials}


def _scored(value: dict[str, Any]) -> dict[str, Any]:
    """Searches knew one score, the accuracy."""
    names = {"accuracy": "score"}
    trials = [_renamed(trial, names) for trial in value["trials"]]
    return {"metric": _ACCURACY, **value, "float": _renamed(value["float"], names), "trials": trials}


def _goal(value: dict[str, Any]) -> dict[str, Any]:
    return _renamed(value, {"wish": "goal"})


def _tuning(value: dict[str, Any]) -> dict[str, Any]:
    names = {"act": "name", "said": "summary", "left": "unchanged"}
    return {**value, "steps": [_renamed(step, names) for step in value["steps"]]}


def _proof(value: dict[str, Any]) -> dict[str, Any]:
    return _renamed(value, {"float_left": "kept_in_float"})


def _undelegated(value: dict[str, Any]) -> dict[str, Any]:
    """The ops that a delegate does not take were "left"."""
    names, made = {"left": "undelegated"}, dict(value)
    if value["benchmark"] is not None:
        made["benchmark"] = {
            **value["benchmark"],
            "timings": [_renamed(row, names) for row in value["benchmark"]["timings"]],
        }
    if value["targets"] is not None:
        costs = (
            row["costs"] and {**row["costs"], "facts": _renamed(row["costs"]["facts"], names)}
            for row in value["targets"]
        )
        made["targets"] = [{**row, "costs": cost} for row, cost in zip(value["targets"], costs, strict=True)]
    return made


def _sweep(value: dict[str, Any]) -> dict[str, Any]:
    names = {"milliseconds": "median_ms", "p90": "p90_ms"}
    return {**value, "variants": [_renamed(row, names) for row in value["variants"]]}


def _trained(value: dict[str, Any]) -> dict[str, Any]:
    """Trainings knew one score, the accuracy."""
    epochs = [{**row, "val_score": row["val_accuracy"]} for row in value["epochs"]]
    return {"metric": _ACCURACY, "labelled": True, **value, "epochs": epochs}


def _swept(value: dict[str, Any]) -> dict[str, Any]:
    """Sweeps knew accuracy only, and chose by the test images."""
    rows = [
        {
            **row,
            "settings": {},
            "choice": row["interval"],
            "score": row["interval"],
            "float_score": row["float_accuracy"],
            "difference": None,
            "within": True,
        }
        for row in value["variants"]
    ]
    chosen = next((row["run"] for row in rows if row["name"] == value["recommended"]), None)
    extra = {"metric": _ACCURACY, "chosen_on": "test", "chosen_images": 0, "limits": {}, "others": []}
    return {**value, **extra, "variants": rows, "recommended": chosen}


def _report(value: dict[str, Any]) -> dict[str, Any]:
    return {**value, "model": None}


# By file and version: the function that makes the next version. What is not here got fields with a default at most.
UPGRADES: Mapping[tuple[str, int], Upgrade] = {
    ("evaluation.json", 0): _evaluation,
    ("evaluation.json", 1): _classified,
    ("deployment.json", 0): _deployment,
    (".search.json", 0): _search,
    ("deployment.json", 1): _undelegated,
    (".search.json", 1): _scored,
    (".search.json", 2): _goal,
    ("tuning.json", 1): _tuning,
    ("proof.json", 1): _proof,
    ("sweep.json", 0): _sweep,
    ("sweep.json", 1): _swept,
    ("report.json", 1): _report,
    **{(name, 1): _trained for name in ("history.json", "control.json", "qat.json")},
}
