"""Deterministic training: the same seed gives the same weights on any number of cores.

TensorFlow splits sums over its threads, and another split rounds otherwise. It uses as many threads as there are cores,
so the weights depend on the machine's cores; every other factor was found to change nothing (docs/reliability.md).
"""

from __future__ import annotations

from octavo.base.backend import load
from octavo.base.errors import OctavoError

# On more cores than this, training is slower than it could be. On fewer, threads share them.
THREADS = 4


def make_deterministic() -> None:
    """Makes TensorFlow use a fixed number of threads, and only deterministic kernels, until this process ends.

    Raises:
        OctavoError: Keras runs on another backend, or TensorFlow has computed something already in this process.
    """
    backend = load("keras").backend.backend()
    if backend != "tensorflow":
        raise OctavoError(f"`deterministic` needs Keras on TensorFlow, and it runs on {backend}.", "Leave it out.")
    config = load("tensorflow").config
    try:
        config.threading.set_intra_op_parallelism_threads(THREADS)
        config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        raise OctavoError(
            "`deterministic` fixes the number of TensorFlow's threads, which it takes before its first work only.",
            "Call this first in a new process.",
        ) from error
    config.experimental.enable_op_determinism()


def is_deterministic() -> bool:
    """Whether `make_deterministic` was called in this process. A training of another kind is not resumed."""
    if load("keras").backend.backend() != "tensorflow":
        return False
    threading = load("tensorflow").config.threading
    fixed = (threading.get_intra_op_parallelism_threads(), threading.get_inter_op_parallelism_threads())
    return fixed == (THREADS, 1)
