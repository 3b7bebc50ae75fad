"""Pruning: makes a pretrained network smaller before it is trained on the target domain.

Inverted bottlenecks (Sandler et al. 2018, arXiv 1801.04381, section 3.3) expand their input to many channels, filter
each of these, and project them to few again. A channel inside can be taken out without changing any other block. Those
go first that add least to their block's output for the parameters that they cost. What a block's output loses is then
restored as well as the remaining channels can: the projection is fitted again by least squares, as in He et al. 2017,
"Channel pruning for accelerating very deep neural networks" (arXiv 1707.06168, section 3.1).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo.base.backend import load
from octavo.base.errors import RecipeError
from octavo.base.progress import Progress, Silent
from octavo.training.team import ALONE, Team

Array = npt.NDArray[Any]

# How many training images are enough.
PRUNED_BY = 256
# How many of them at once, and how many positions of a feature map are looked at in each.
_BATCH, _PLACES = 32, 400
# The fewest channels that stay in a block.
_LEAST = 8
# Added to the diagonal of the covariance, as a share of its mean, where channels depend on each other.
_DAMPING = 1e-3


@dataclass(frozen=True)
class Bottleneck:
    """The layers of an inverted bottleneck.

    Args:
        expand: A convolution with a 1×1 kernel.
        inner: The layers up to the projection that have a weight for each inner channel: batch norms and the depthwise
            convolution.
        project: A convolution with a 1×1 kernel.
        norm: The batch norm after it.
    """

    expand: Any
    inner: Sequence[Any]
    project: Any
    norm: Any

    @property
    def channels(self) -> int:
        """The number of inner channels."""
        return int(self.project.kernel.shape[2])

    @property
    def cost(self) -> int:
        """The parameters of one inner channel."""
        sizes = [int(np.prod(w.shape)) for layer in (self.expand, *self.inner) for w in layer.weights]
        return (sum(sizes) + int(np.prod(self.project.kernel.shape))) // self.channels

    @property
    def projection(self) -> Array:
        """The weights from inner channels to outputs, ``(inner, outputs)``, float64."""
        return np.asarray(load("keras").ops.convert_to_numpy(self.project.kernel)[0, 0], np.float64)


@dataclass(frozen=True)
class Seen:
    """What images show of a bottleneck's inner channels, before the projection.

    Args:
        mean: ``(inner,)``.
        covariance: ``(inner, inner)``.
    """

    mean: Array
    covariance: Array


def bottlenecks(model: Any) -> list[Bottleneck]:
    """The inverted bottlenecks of a network whose inner channels nothing else reads."""
    keras = load("keras")
    layers = keras.layers
    if any(len(layer.get("inbound_nodes", ())) > 1 for layer in model.get_config()["layers"]):
        # Keras tells only the first use of a layer that is used again.
        return []
    readers: dict[int, list[Any]] = {}
    ends = [id(tensor) for tensor in keras.tree.flatten(model.output)]
    for layer in model.layers:
        for tensor in keras.tree.flatten(layer.input):
            readers.setdefault(id(tensor), []).append(layer)

    def after(layer: Any) -> Any:
        """The one layer that reads another's output."""
        found = readers.get(id(layer.output), [])
        return found[0] if len(found) == 1 and id(layer.output) not in ends else None

    def pointwise(layer: Any) -> bool:
        # A subclass may compute something else.
        plain = type(layer) is layers.Conv2D and layer.activation is keras.activations.linear
        return plain and layer.kernel_size == (1, 1) and layer.groups == 1

    made = []
    for layer in model.layers:
        inner, at = [], after(layer) if pointwise(layer) else None
        while isinstance(at, layers.BatchNormalization | layers.DepthwiseConv2D | layers.ReLU | layers.ZeroPadding2D):
            inner += [at] if at.weights else []
            at = after(at)
        deep = [each for each in inner if isinstance(each, layers.DepthwiseConv2D)]
        norm = after(at) if at is not None and pointwise(at) else None
        # A batch norm without scale or offset has fewer weights.
        whole = isinstance(norm, layers.BatchNormalization) and len(norm.weights) == 4
        if whole and len(deep) == 1 and deep[0].depth_multiplier == 1:
            made.append(Bottleneck(layer, inner, at, norm))
    return made


def prune(model: Any, images: Array, most: int, progress: Progress | None = None, team: Team = ALONE) -> Any:
    """The same network with fewer inner channels.

    Args:
        model: A `keras.Model` with one image input.
        images: Preprocessed training images, ``(N, height, width, channels)`` float32.
        most: The parameters that it may have, as Keras counts them: with those of batch norms that do not train.
        progress: Receives progress messages.
        team: Who trains; all of its processes take the images of the first.

    Returns:
        Another `keras.Model`, or the same one if it has no more parameters than that.

    Raises:
        RecipeError: The network has no inverted bottlenecks, or not enough channels to prune.

    Example:
        >>> import keras
        >>> network = keras.applications.MobileNetV2((32, 32, 3), 0.35, weights=None, classes=10)
        >>> images = np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 3)).astype(np.float32)
        >>> network.count_params() > 400_000, prune(network, images, 400_000).count_params() <= 400_000
        (True, True)
    """
    progress = progress or Silent()
    total = model.count_params()
    if total <= most:
        return model
    blocks = bottlenecks(model)
    least = total - sum(block.cost * max(0, block.channels - _LEAST) for block in blocks)
    if least > most:
        why = f"it takes channels out of {len(blocks)} blocks" if blocks else "it has no inverted bottleneck"
        raise RecipeError(
            f"model.parameters is {most:,}, and pruning leaves at least {least:,} of the network's {total:,}: {why}.",
            f"Set model.parameters to {least:,} or more, or choose a smaller network.",
        )
    seen = _same(_seen(model, blocks, images, progress), team)
    kept = _kept(blocks, seen, total - most)
    sizes = {block.expand.name: len(kept[place]) for place, block in enumerate(blocks)}

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        if layer.name in sizes:
            config["filters"] = sizes[layer.name]
        return type(layer).from_config(config)

    made = load("keras").models.clone_model(model, clone_function=clone)
    values = {layer.name: layer.get_weights() for layer in model.layers}
    for place, block in enumerate(blocks):
        values |= _values(block, seen[place], kept[place])
    for layer in made.layers:
        if layer.weights:
            layer.set_weights(values[layer.name])
    inner = sum(block.channels for block in blocks)
    progress.say(
        f"prune: {total:,} parameters to {made.count_params():,}, {sum(map(len, kept)):,} of {inner:,} inner channels"
    )
    return made


def _seen(model: Any, blocks: Sequence[Bottleneck], images: Array, progress: Progress) -> list[Seen]:
    """Runs the images, and looks at the inputs of the projections."""
    keras = load("keras")
    look = keras.Model(model.input, [block.project.input for block in blocks])
    sums = [np.zeros(block.channels) for block in blocks]
    products = [np.zeros((block.channels, block.channels)) for block in blocks]
    counts = [0] * len(blocks)
    with progress.track("prune", len(images)) as advance:
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            values = look(batch, training=False)
            for place, value in enumerate(values if isinstance(values, list) else [values]):
                rows = keras.ops.convert_to_numpy(value).reshape(len(batch), -1, value.shape[-1])
                # Odd: feature maps mostly have an even width, and an even step would leave out columns of them.
                step = max(1, rows.shape[1] // _PLACES) | 1
                rows = rows[:, ::step].reshape(-1, rows.shape[-1]).astype(np.float64)
                sums[place] += rows.sum(axis=0)
                products[place] += rows.T @ rows
                counts[place] += len(rows)
            advance(len(batch))
    means = [total / count for total, count in zip(sums, counts, strict=True)]
    return [
        Seen(mean, product / count - np.outer(mean, mean))
        for mean, product, count in zip(means, products, counts, strict=True)
    ]


def _same(seen: Sequence[Seen], team: Team) -> list[Seen]:
    """What the first process saw: another processor may round otherwise, and all must prune alike."""
    file = io.BytesIO()
    np.savez(file, *(part for each in seen for part in (each.mean, each.covariance)))
    with np.load(io.BytesIO(team.same(file.getvalue()))) as given:
        parts = [given[name] for name in given.files]
    return [Seen(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]


def _kept(blocks: Sequence[Bottleneck], seen: Sequence[Seen], surplus: int) -> list[Array]:
    """The inner channels that stay, for each block, when channels with so many parameters must go."""
    worth: list[Array] = []
    for block, found in zip(blocks, seen, strict=True):
        gamma, _, _, variance = block.norm.get_weights()
        # The batch norm scales what the projection gives.
        weights = block.projection * gamma / np.sqrt(variance + block.norm.epsilon)
        outputs = np.einsum("io,ij,jo->", weights, found.covariance, weights, optimize=True)
        energy = found.covariance.diagonal() * np.square(weights).sum(axis=1)
        value = energy / max(float(outputs), np.finfo(np.float64).tiny) / block.cost
        # The best channels of a block stay, whatever they are worth.
        value[np.argsort(value, kind="stable")[-_LEAST:]] = np.inf
        worth.append(value)
    owners = np.repeat(np.arange(len(blocks)), [block.channels for block in blocks])
    places = np.concatenate([np.arange(block.channels) for block in blocks])
    order = np.argsort(np.concatenate(worth), kind="stable")
    freed = np.cumsum(np.array([block.cost for block in blocks])[owners[order]])
    going = order[: int(np.searchsorted(freed, surplus)) + 1]
    return [
        np.setdiff1d(np.arange(block.channels), places[going[owners[going] == place]])
        for place, block in enumerate(blocks)
    ]


def _values(block: Bottleneck, seen: Seen, kept: Array) -> Mapping[str, list[Array]]:
    """The weights of a block's layers with the inner channels that stay, by the layer's name."""
    if len(kept) == block.channels:
        return {}
    inner = {layer.name: [_part(w, kept) for w in layer.get_weights()] for layer in block.inner}
    gone = np.setdiff1d(np.arange(block.channels), kept)
    before = block.projection
    known = seen.covariance[np.ix_(kept, kept)]
    # Channels that never change have nothing to give.
    known = known + _DAMPING * max(np.trace(known) / len(kept), 1e-12) * np.eye(len(kept))
    # What the others gave, as the combination of the channels that stay with the least squared error.
    lost = seen.covariance[np.ix_(kept, gone)] @ before[gone]
    fitted = before[kept] + np.linalg.solve(known, lost)
    kernel, *rest = block.project.get_weights()
    gamma, beta, mean, variance = block.norm.get_weights()
    # The batch norm takes up the difference of the means.
    shift = seen.mean @ before - seen.mean[kept] @ fitted
    return {
        **inner,
        block.expand.name: [w[..., kept] for w in block.expand.get_weights()],
        block.project.name: [fitted[None, None].astype(kernel.dtype), *rest],
        block.norm.name: [gamma, beta, (mean - shift).astype(mean.dtype), variance],
    }


def _part(weights: Array, kept: Array) -> Array:
    """The weights of some inner channels; a depthwise kernel has them before its last axis."""
    return weights[:, :, kept] if weights.ndim == 4 else weights[kept]
