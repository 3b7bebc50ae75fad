"""Recomputation: a gradient makes a tensor again from a smaller set of tensors, instead of keeping it for later.

A rounded tensor follows in one cheap step from the one before rounding, which fake quantization keeps anyway for its
own gradient. Kept both, they would double the memory of a training step (Chen et al. 2016, arXiv 1604.06174, trade
memory for time the same way).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

Tensor = Any


@dataclass(frozen=True)
class Source:
    """How to make a tensor again.

    Args:
        made: The tensor.
        parts: What it is made of.
        make: Makes it from its parts.
    """

    made: Tensor
    parts: tuple[Tensor, ...]
    make: Callable[..., Tensor]

    def then(self, function: Callable[[Tensor], Tensor]) -> Source:
        """What a function makes of the tensor."""
        make = self.make
        return Source(function(self.made), self.parts, lambda *parts: function(make(*parts)))


def after(value: Tensor, others: Sequence[Tensor]) -> Tensor:
    """A value that is not available before others are computed.

    What a gradient makes again has to wait for the upstream gradient: otherwise compilers merge it with the same step
    of the forward pass, and keep the result. And a gradient that is passed on has to wait for its op's other gradients:
    otherwise the backward pass runs ahead, and keeps all that those still need.
    """
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            with tf.control_dependencies(others):
                return tf.identity(value)
        case "jax":
            import jax

            return jax.lax.optimization_barrier((value, *others))[0]
    return value


def without_keeping(
    function: Callable[..., Tensor], derived: Callable[..., Tensor], source: Source, *rest: Tensor
) -> Tensor:
    """``function(source.made, *rest)``, whose gradient makes `source` again.

    Args:
        function: What is computed.
        derived: What the gradient is taken of: the function, or all of it but clipping at its end, where what reads the
            result gives clipped values no gradient. Differentiable; it is computed again if its gradient depends on its
            result.
        source: The first argument.
        rest: The other arguments.
    """
    if keras.backend.backend() == "torch":
        # Keras' custom gradients keep every argument there.
        return function(source.made, *rest)
    make, count = source.make, len(source.parts)

    @ops.custom_gradient  # type: ignore[untyped-decorator]
    def run(made: Tensor, *given: Tensor) -> Any:
        parts, others = given[:count], given[count:]

        def gradient(upstream: Tensor) -> tuple[Any, ...]:
            again = make(after(parts[0], [upstream]), *parts[1:])
            first, *further = _pullback(derived, (again, *others), upstream)
            return after(first, further), *map(_nothing, parts), *further

        return function(made, *others), gradient

    return run(source.made, *source.parts, *rest)


def _pullback(function: Callable[..., Tensor], at: tuple[Tensor, ...], upstream: Tensor) -> tuple[Tensor, ...]:
    """The gradient for each argument of a function, from that for its result."""
    if keras.backend.backend() == "jax":
        import jax

        return tuple(jax.vjp(function, *at)[1](upstream))
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(at)
        made = function(*at)
    return tuple(tape.gradient(made, at, output_gradients=upstream))


def _nothing(value: Tensor) -> Tensor | None:
    """The gradient of a tensor on which a result does not depend."""
    return None if keras.backend.backend() == "tensorflow" else ops.zeros_like(value)
