"""Where images come from, and the preprocessing that travels with the model."""

from __future__ import annotations

from octavo.data.dataset import Dataset, ImageSet, OctavoWarning, Split, read_together
from octavo.data.open import open_dataset
from octavo.data.preprocess import Preprocess
from octavo.data.split import Splits, calibration, draw, draw_calibration, draw_test, stratified

__all__ = [
    "Dataset",
    "ImageSet",
    "OctavoWarning",
    "Preprocess",
    "Split",
    "Splits",
    "calibration",
    "draw",
    "draw_calibration",
    "draw_test",
    "open_dataset",
    "read_together",
    "stratified",
]
