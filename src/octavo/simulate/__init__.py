"""The simulation: a float `.tflite` graph as a Keras model, in float or with the rounding of int8.

Besides `octavo.training` this is the only package that needs Keras. It runs on all Keras backends.
"""

from octavo.base.backend import load

# First, so that a missing Keras gives one clear message, and TensorFlow prints no notices.
load("keras")

from octavo.simulate.model import FloatModel  # noqa: E402
from octavo.simulate.simulation import Simulation  # noqa: E402

__all__ = ["FloatModel", "Simulation"]
