"""EfficientNet-Lite: EfficientNets for integer hardware, which Keras does not have.

The stages are those of EfficientNet-B0 (Tan and Le 2019, arXiv 1905.11946, table 1). The Lite networks have no
squeeze-and-excitation, ReLU6 in place of swish, and a stem, a first stage, a last stage and a head that do not grow
(Google's `efficientnet_lite_builder.py`, which has their widths and depths).
"""

from __future__ import annotations

from math import ceil
from typing import Any

from octavo.base.backend import load

# Width and depth, as multiples of those of EfficientNet-Lite0.
SCALES = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
    "efficientnet_lite3": (1.2, 1.4),
    "efficientnet_lite4": (1.4, 1.8),
}
# Blocks, kernel, stride, expansion and channels of each stage of EfficientNet-B0.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280


def backbone(name: str, input_shape: tuple[int, int, int], top: bool = False) -> Any:
    """An EfficientNet-Lite with random weights.

    Args:
        name: A name in `SCALES`.
        input_shape: Height, width and channels. The published weights take pixels scaled to [-1, 1].
        top: Whether it ends in the 1,000 classes of ImageNet; if not, in its last feature map.

    Returns:
        A `keras.Model`. Its layers have the names of those of Keras' EfficientNets.
    """
    keras = load("keras")
    layers, (width, depth) = keras.layers, SCALES[name]

    def normalized(x: Any, label: str) -> Any:
        return layers.BatchNormalization(epsilon=1e-3, name=f"{label}bn")(x)

    def convolved(x: Any, label: str, channels: int, kernel: int = 1, stride: int = 1) -> Any:
        options = {"padding": "same", "use_bias": False, "name": f"{label}conv"}
        return normalized(layers.Conv2D(channels, kernel, stride, **options)(x), label)

    def active(x: Any, label: str) -> Any:
        return layers.ReLU(6.0, name=f"{label}activation")(x)

    inputs = keras.Input(input_shape)
    x = active(convolved(inputs, "stem_", _STEM, 3, 2), "stem_")
    last = len(_STAGES) - 1
    for stage, (blocks, kernel, stride, expansion, channels) in enumerate(_STAGES):
        channels = _rounded(channels * width)
        for number in range(blocks if stage in (0, last) else ceil(blocks * depth)):
            block, y = f"block{stage + 1}{chr(ord('a') + number)}_", x
            if expansion > 1:
                label = f"{block}expand_"
                y = active(convolved(y, label, expansion * x.shape[-1]), label)
            options = {"padding": "same", "use_bias": False, "name": f"{block}dwconv"}
            y = layers.DepthwiseConv2D(kernel, 1 if number else stride, **options)(y)
            y = convolved(active(normalized(y, block), block), f"{block}project_", channels)
            x = layers.Add(name=f"{block}add")([x, y]) if number else y
    x = active(convolved(x, "top_", _HEAD), "top_")
    if top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(1000, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, x, name=name)


def _rounded(channels: float) -> int:
    """To a multiple of 8, and not down by more than a tenth (as in MobileNet)."""
    made = max(8, int(channels + 4) // 8 * 8)
    return made if made >= 0.9 * channels else made + 8
