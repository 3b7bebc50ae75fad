"""The float baseline: a Keras network, trained on the target domain. Needs the extra ``train``."""

from __future__ import annotations

from octavo.training.baseline.architectures import check_scale
from octavo.training.baseline.fit import fit
from octavo.training.baseline.network import build
from octavo.training.baseline.prune import PRUNED_BY, prune

__all__ = ["PRUNED_BY", "build", "check_scale", "fit", "prune"]
