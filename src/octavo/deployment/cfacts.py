"""What a C program needs besides the model's bytes: the codes of pixels, the labels, the scale of the output."""

from __future__ import annotations

import numpy as np

from octavo.analysis.tasks.task import gives_probabilities
from octavo.base.errors import ModelError
from octavo.runtime.litert import Model
from octavo.source.sidecar import Sidecar
from octavo.tflite.graph import Graph

_PER_LINE = 16
# The types of a full-integer model's inputs and outputs in C's <stdint.h>, and their numbers in TFLite's C API.
_TYPES = {"int8": ("int8_t", 9), "uint8": ("uint8_t", 3), "int16": ("int16_t", 7)}
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ._-")

HEADER = """\
// What belongs to the model of model_data.h: images in, classes out. C and C++.
#ifndef MODEL_FACTS_H_
#define MODEL_FACTS_H_

#include <stdint.h>

// One image, in rows from the top; of {channels}.
#define MODEL_HEIGHT {height}
#define MODEL_WIDTH {width}
#define MODEL_CHANNELS {depth}
#define MODEL_BGR {bgr}

// Types by the numbers of TFLite's TfLiteType: int8 is 9, uint8 is 3, int16 is 7.
typedef {input_type} model_input;
typedef {output_type} model_output;
#define MODEL_INPUT_TYPE {input_number}
#define MODEL_OUTPUT_TYPE {output_number}

// real = MODEL_OUTPUT_SCALE * (code - MODEL_OUTPUT_ZERO_POINT)
#define MODEL_OUTPUTS {outputs}
#define MODEL_OUTPUT_SCALE {scale!r}
#define MODEL_OUTPUT_ZERO_POINT {zero_point}
// Whether reals are probabilities; otherwise they are logits.
#define MODEL_GIVES_PROBABILITIES {probabilities}

// The input code of each of the 256 pixel values.
static const model_input model_codes[256] = {{
{codes}}};

// UTF-8. One output stands for two classes: it is the probability of the second.
#define MODEL_CLASSES {classes}
static const char *const model_labels[MODEL_CLASSES] = {{
{labels}}};

#endif  // MODEL_FACTS_H_
"""


def header(graph: Graph, sidecar: Sidecar) -> str:
    """``model_facts.h``, readable by C and C++.

    Args:
        graph: A full-integer classifier.
        sidecar: Its preprocessing and classes.

    Raises:
        ModelError: An input or output is not int8, uint8 or int16.
    """
    model, preprocess = Model(graph, workers=1), sidecar.images
    ports = model.input, model.outputs[0]
    for port in ports:
        if port.dtype not in _TYPES or port.qparams is None:
            raise ModelError(f"'{port.name}' of {graph.name} is {port.dtype}, for which no C program is written.")
    (input_type, input_number), (output_type, output_number) = (_TYPES[port.dtype] for port in ports)
    height, width, depth = preprocess.shape
    answer = ports[1].qparams
    assert answer is not None
    codes = ports[0].encode(preprocess.normalize(np.arange(256))).tolist()
    rows = (codes[start : start + _PER_LINE] for start in range(0, len(codes), _PER_LINE))
    return HEADER.format(
        channels={"rgb": "red, green, blue", "bgr": "blue, green, red", "gray": "gray"}[preprocess.channels],
        height=height,
        width=width,
        depth=depth,
        bgr=int(preprocess.channels == "bgr"),
        input_type=input_type,
        output_type=output_type,
        input_number=input_number,
        output_number=output_number,
        outputs=ports[1].shape[-1],
        scale=float(answer.scale[0]),
        # Octavo's codes of a byte start at -128, as for int8; in C they start at 0.
        zero_point=int(answer.zero_point[0]) + (128 if output_type == "uint8_t" else 0),
        probabilities=int(gives_probabilities(graph)),
        codes="".join(f"    {', '.join(map(str, row))},\n" for row in rows),
        classes=len(sidecar.classes),
        labels="".join(f"    {quoted(label)},\n" for label in sidecar.classes),
    )


def quoted(text: str) -> str:
    r"""A C string literal; all but letters, digits and a few marks as octal escapes, so that no compiler reads more.

    Example:
        >>> print(quoted('a "b"'), quoted("Bär"), quoted("??/"))
        "a \042b\042" "B\303\244r" "\077\077\057"
    """
    return '"' + "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03o}" for byte in text.encode()) + '"'
