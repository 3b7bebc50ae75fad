"""The float baseline: a Keras network, trained on the target domain. Needs the extra ``train``."""

from __future__ import annotations

from octavo.train.fit import fit
from octavo.train.network import build
from octavo.train.store import load_keras, save

__all__ = ["build", "fit", "load_keras", "save"]
