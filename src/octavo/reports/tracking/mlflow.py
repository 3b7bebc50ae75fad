"""MLflow: a run in the tracking store that MLflow itself would choose."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from octavo.base import backend
from octavo.reports.tracking.record import Record

_EXPERIMENT, _TAG = "octavo", "octavo.key"
# What MLflow takes at once.
_PARAMETERS, _METRICS = 100, 1000


def write(record: Record) -> str | None:
    """Logs a run with its parameters, curves, results, table and files.

    The store is that of MLFLOW_TRACKING_URI, or MLflow's own default, a file in the current folder. The experiment is
    that of MLFLOW_EXPERIMENT_NAME, or `octavo`.

    Args:
        record: What is logged.

    Returns:
        The run's id and the store; None if the experiment has a finished run of this record.
    """
    with _silent():
        mlflow = backend.load("mlflow")
        store = mlflow.get_tracking_uri()
        client = mlflow.MlflowClient(store)
        experiment = _experiment(client)
        known = f"tags.`{_TAG}` = '{record.key}' and attributes.status = 'FINISHED'"
        if client.search_runs([experiment], known, max_results=1):
            return None
        run = client.create_run(experiment, run_name=record.name, tags={_TAG: record.key}).info.run_id
        try:
            _fill(client, run, record)
        except BaseException:
            client.set_terminated(run, "FAILED")
            raise
        client.set_terminated(run, "FINISHED")
    return f"run {run} in {store}"


def _experiment(client: Any) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
    found = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if found is None else found.experiment_id)


def _fill(client: Any, run: str, record: Record) -> None:
    entities = backend.load("mlflow.entities")
    now = round(time.time() * 1000)
    parameters = [entities.Param(name, str(value)) for name, value in record.parameters.items()]
    metrics = [entities.Metric(f"{model}/{figure}", value, now, epoch) for model, figure, epoch, value in record.points]
    metrics += [entities.Metric(name, value, now, 0) for name, value in record.results.items()]
    for start in range(0, len(parameters), _PARAMETERS):
        client.log_batch(run, params=parameters[start : start + _PARAMETERS])
    for start in range(0, len(metrics), _METRICS):
        client.log_batch(run, metrics=metrics[start : start + _METRICS])
    client.log_text(run, record.table, "results.md")
    for path in record.files:
        client.log_artifact(run, str(path))


@contextmanager
def _silent() -> Iterator[None]:
    """Without MLflow's notices of what it does, and without its reports of how it is used."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
