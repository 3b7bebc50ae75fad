"""The list of all JSON files that runs, searches and sweeps write; docs/artefacts.md and the tests use it."""

from __future__ import annotations

from octavo.analysis.answers import AnswersRecord
from octavo.analysis.compare import Compared
from octavo.analysis.distributions import Distributions
from octavo.analysis.evaluation import Evaluation
from octavo.analysis.target_search import SearchRecord
from octavo.base.artefact import Artefact
from octavo.base.provenance import Provenance
from octavo.data.summary import DataSummary
from octavo.deployment.measured import Deployment
from octavo.quantization.proof import Proof
from octavo.quantization.ranges import RangesRecord
from octavo.reports.compare_runs import RunsCompared
from octavo.reports.sweep import Sweep
from octavo.reports.write import Report
from octavo.runs.plan import Plan
from octavo.source.own_model import OwnModel
from octavo.source.sidecar import SidecarRecord
from octavo.tflite.size import Sizes
from octavo.training.history import BaselineRecord, QatRecord, TrainingRecord
from octavo.tuning.tune import TuningRecord

# In the order in which they are written.
ARTEFACTS: tuple[type[Artefact], ...] = (
    Provenance,
    DataSummary,
    BaselineRecord,
    OwnModel,
    RangesRecord,
    TuningRecord,
    QatRecord,
    TrainingRecord,
    Proof,
    Distributions,
    Compared,
    Sizes,
    AnswersRecord,
    Evaluation,
    Deployment,
    Report,
    RunsCompared,
    Plan,
    Sweep,
    SearchRecord,
    SidecarRecord,
)
