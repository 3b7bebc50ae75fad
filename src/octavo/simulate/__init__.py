"""The simulation: a float `.tflite` graph as a Keras model, in float or rounded as int8 will round it.

The only package beside `octavo.training.baseline` that needs Keras; it runs on each of Keras' backends.
"""

from octavo.base.backend import load

# First, so that a missing Keras is one clear message, and TensorFlow does not greet.
load("keras")

from octavo.simulate.model import FloatModel  # noqa: E402
from octavo.simulate.simulation import Simulation  # noqa: E402

__all__ = ["FloatModel", "Simulation"]
