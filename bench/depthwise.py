"""One scale per depthwise channel against one per depthwise kernel, after training and with none.

    python bench/depthwise.py --run runs/cifar10 --steps 100

The run's float graph and calibrated ranges, twice: as Octavo quantizes it, and with one range for each whole depthwise
kernel, as tools that see a Keras layer rather than the graph train it. Both are simulations that differ in nothing
else; accuracy is the simulation's own, on the run's test images, with the rounding that training uses.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from octavo.base.backend import load

keras = load("keras")

from keras import ops  # noqa: E402

from octavo.base.stats import proportion  # noqa: E402
from octavo.data.preprocess import Preprocess  # noqa: E402
from octavo.quantization.ranges import Ranges  # noqa: E402
from octavo.recipe.schema import load_recipe  # noqa: E402
from octavo.runs import stages  # noqa: E402
from octavo.simulate.fakequant import fake_quantize_bias, fake_quantize_weights, weight_scale  # noqa: E402
from octavo.simulate.grids import Grids  # noqa: E402
from octavo.simulate.rounded import RoundedModel  # noqa: E402
from octavo.simulate.rounding import Rounded  # noqa: E402
from octavo.tflite.graph import Graph, Op  # noqa: E402
from octavo.training.augment import Augment  # noqa: E402
from octavo.training.batches import Pixels, one_hot, plain_batches, training_batches  # noqa: E402


class OneRange:
    """The rounding of a tool that gives a depthwise kernel one range."""

    def __init__(self, grids: Grids) -> None:
        self._grids = grids
        rounded = Rounded(grids)
        self.stored, self.read, self.run = rounded.stored, rounded.read, rounded.run
        self._others = rounded.weights

    def weights(self, op: Op, weights: Any, bias: Any) -> tuple[Any, Any]:
        """Every channel at the scale of the widest."""
        scale = self._grids.image(op)
        if scale is None or op.kind != "DEPTHWISE_CONV_2D":
            return self._others(op, weights, bias)
        channels = weight_scale(weights, bias, scale)
        channels = ops.broadcast_to(ops.max(channels), channels.shape)
        rounded = fake_quantize_weights(weights, channels)
        return rounded, None if bias is None else fake_quantize_bias(bias, channels * ops.stop_gradient(scale))


class Plain(RoundedModel):
    """A simulation that rounds in the same way in training and in evaluation."""

    def __init__(self, graph: Graph, ranges: Ranges, rounding: Any) -> None:
        super().__init__(graph)
        self.rounding = rounding
        self.set_ranges(ranges)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Runs the graph."""
        return self.execute(inputs, self.rounding(self.grids()), training)

    def get_config(self) -> dict[str, Any]:
        """The same as of every simulation; it is not loaded again."""
        return self._rounded_config()


def spread(graph: Graph) -> list[float]:
    """For every depthwise kernel, its widest channel's range over its narrowest's."""
    kernels = [graph.tensors[op.inputs[1]].constant for op in graph.ops if op.kind == "DEPTHWISE_CONV_2D"]
    largest = [np.abs(kernel).max(axis=(0, 1, 2)) for kernel in kernels if kernel is not None]
    return [float(row.max() / row.min()) for row in largest]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run directory of `octavo run`")
    parser.add_argument("--steps", type=int, default=100, help="training steps of each; 0 for none")
    parser.add_argument("--rate", type=float, default=1e-4, help="Adam's rate")
    options = parser.parse_args()
    recipe = load_recipe(str(options.run / "recipe.yaml"))
    splits, preprocess = stages.splits_of(recipe), Preprocess.from_recipe(recipe.preprocess)
    graph = Graph.read(options.run / "float.tflite")
    ranges = Ranges.from_json(json.loads((options.run / "ranges.json").read_text("utf-8")))
    test = plain_batches(Pixels(splits.test, preprocess), one_hot(splits.test), 32)
    pixels, augment = Pixels(splits.train, preprocess), Augment(recipe.train.augment, recipe.seed)
    found = spread(graph)
    print(f"Depthwise kernels' channel ranges differ {min(found):.0f} to {max(found):.0f} times.\n")
    print(f"| depthwise scales | accuracy without training | after {options.steps} steps |\n|---|---|---|")
    for title, kind in (("one per channel", Rounded), ("one per kernel", OneRange)):
        keras.utils.set_random_seed(recipe.seed)
        model = Plain(graph, ranges, kind)
        model.compile(keras.optimizers.Adam(options.rate), "categorical_crossentropy", metrics=["accuracy"])
        row = [_accuracy(model, test, len(splits.test))]
        batches = training_batches(pixels, one_hot(splits.train), 32, recipe.seed, 0, augment)
        for step in range(options.steps):
            model.train_on_batch(*batches[step % len(batches)])
        row.append(_accuracy(model, test, len(splits.test)) if options.steps else "–")
        print(f"| {title} | {' | '.join(row)} |", flush=True)


def _accuracy(model: Plain, test: Any, images: int) -> str:
    share = model.evaluate(test, verbose=0, return_dict=True)["accuracy"]
    found = proportion(round(share * images), images)
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})"


if __name__ == "__main__":
    main()
