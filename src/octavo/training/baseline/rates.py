"""The optimizer: warm-up and decay of the learning rate, and a separate rate for every block of the network."""

from __future__ import annotations

from math import cos, pi
from typing import Any

from octavo.base.backend import load
from octavo.base.optimizer import keep_weights, share_rates
from octavo.recipe.schema import TrainRecipe
from octavo.training.baseline.network import backbone_layers, block

LAST_BLOCK = 17


def rate(recipe: TrainRecipe, step: int, steps: int) -> float:
    """The classifier's learning rate at a step: linear warm-up, then cosine decay to 0 or constant.

    Cosine decay without restarts, Loshchilov and Hutter 2017 (arXiv 1608.03983, equation 5).

    Args:
        recipe: Peak rate, warm-up and schedule.
        step: Counted from 0.
        steps: In the whole training.

    Example:
        >>> recipe = TrainRecipe(learning_rate=1.0, warmup=0.1)
        >>> [round(rate(recipe, step, 100), 3) for step in (0, 9, 10, 55, 99)]
        [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    warm = round(recipe.warmup * steps)
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    if recipe.schedule == "constant":
        return recipe.learning_rate
    return recipe.learning_rate * 0.5 * (1 + cos(pi * (step - warm) / max(steps - warm, 1)))


def multipliers(model: Any, recipe: TrainRecipe) -> dict[str, float]:
    """Each backbone variable's rate as a share of the classifier's, by the variable's path."""
    return {
        variable.path: recipe.backbone_rate * recipe.layer_decay ** (LAST_BLOCK - block(layer))
        for layer in backbone_layers(model)
        for variable in layer.trainable_variables
    }


def optimizer(model: Any, recipe: TrainRecipe) -> Any:
    """A Keras optimizer for the layers that train now; set its `learning_rate` before every step."""
    keras = load("keras")
    common = {
        "learning_rate": recipe.learning_rate,
        "weight_decay": recipe.weight_decay or None,
        "use_ema": recipe.weight_averaging > 0,
        "ema_momentum": recipe.weight_averaging or 0.99,
    }
    made = (
        keras.optimizers.Adam(**common)
        if recipe.optimizer == "adam"
        else keras.optimizers.SGD(momentum=0.9, nesterov=True, **common)
    )
    if recipe.weight_decay:
        made.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    keep_weights(made)
    made.build(model.trainable_variables)
    known = multipliers(model, recipe)
    shares = [known.get(variable.path, 1.0) for variable in model.trainable_variables]
    if any(share != 1.0 for share in shares):
        share_rates(made, lambda place, step: shares[place])
    return made
