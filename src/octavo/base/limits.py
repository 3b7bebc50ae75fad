"""Limits: how much a file can make Octavo allocate, how deep it can nest, and how long a trial of it can take.

A number in a file is a claim. A few bytes can claim terabytes, so every claim is compared with one of these limits
before memory is allocated for it. Most limits grow with the size of the file: honest files are about as large as what
they hold, and zeros, which compress well, are the exception.
"""

from __future__ import annotations

# Any file may claim this much, and this many times its own size above that. Encoded images hardly shrink, raw images
# and weights perhaps 20 times; deflate reaches 1,032 on zeros.
FREE_BYTES = 64 << 20
MOST_RATIO = 100

# Members of an archive: twice the largest data set that is commonly trained on (ImageNet-1k: 1.28 million files,
# 150 GB). Each member costs some 500 bytes of memory as long as the archive is open.
MOST_MEMBERS = 3_000_000
MOST_BYTES = 300 << 30
# A member is read into memory whole. A photograph has some 10 MB; a CIFAR batch, the largest useful one, 31 MB.
MOST_MEMBER_BYTES = 256 << 20

# Files that images are sharded over: twice those of LAION-400M. Each is opened to find what it holds.
MOST_SHARDS = 100_000
# What says the label of an image beside it in a shard. Metadata of photographs have some KB.
MOST_NOTE_BYTES = 1 << 20

# Samples that Python code gives are kept in memory: 28,000 images of 224×224 pixels.
MOST_GIVEN_BYTES = 4 << 30

# 64 megapixels is more than today's cameras usually deliver, and 192 MiB decoded.
MOST_PIXELS = 1 << 26

# Classes: three times those of ImageNet-21k, the largest common data set. Each class costs a name and a row of the
# per-class table.
MOST_CLASSES = 1 << 16

# Boxes of one image: COCO has up to 93, crowded scenes some hundreds. Each costs a row in every image's array.
MOST_BOXES = 1_000

# Chunks of an HDF5 file: the library keeps some KB for each one that is read. Keras stores weights in one piece.
MOST_CHUNKS = 10_000

# JSON, YAML and Keras configurations: the deepest file that Octavo or Keras writes nests some 20 levels. Parsers
# recurse, and Python stops at 1,000 calls.
MOST_DEPTH = 100
# Text that is parsed as a whole: a sidecar, a recipe, a file of a run. A report of 1,000 classes has some 8 MB.
MOST_TEXT = 256 << 20
# YAML is parsed in Python, at some 100 KB a second. A recipe has a few KB.
MOST_YAML = 1 << 18
# Values of a YAML file with its aliases expanded: ten levels of ten aliases each stand for 10^10 values.
MOST_VALUES = 100_000

# Tables in TFLite metadata: in a damaged file, many offsets can point to one table, so that reading would not end.
MOST_TABLES = 10_000
# The labels that are packed behind a model.
MOST_LABELS = 1 << 24

# Activations that are planned into an arena, which takes time with their square: some seconds. Models for
# microcontrollers have a few hundred.
MOST_PLANNED = 10_000
# Steps of the alignment of two sequences of ops, of which 10^8 take some seconds at worst.
MOST_ALIGNED = 100_000_000

# Ranks: TFLite's kernels take up to 8 axes, NumPy 64.
MOST_AXES = 8

# A trial of a model in a child process. A file of 100 MB may take 1.8 GB and over 2 minutes: kernels keep a second,
# packed copy of the weights, and the reference kernels do some 10^8 multiply-accumulates a second.
_MODEL_BYTES, _MODEL_SECONDS = 1 << 30, 25.0
# TensorFlow and Keras: importing takes 0.5 GB and some seconds, before anything of the file is read. The converter
# holds several copies of the weights.
_EXPORT_BYTES, _EXPORT_SECONDS = 3 << 30, 90.0


def allowance(size: int) -> int:
    """The bytes that a file of `size` bytes may claim to hold.

    Example:
        >>> allowance(100), allowance(10_000_000)
        (67108864, 1000000000)
    """
    return max(FREE_BYTES, MOST_RATIO * size)


def model_bytes(size: int) -> int:
    """The bytes of memory that LiteRT may take for a model file of `size` bytes."""
    return _MODEL_BYTES + 8 * size


def model_seconds(size: int) -> float:
    """The seconds that the trial of a model file of `size` bytes may take."""
    return _MODEL_SECONDS + 2 * size / 1e6


def export_bytes(size: int) -> int:
    """The bytes of memory that reading and exporting a Keras model or SavedModel of `size` bytes may take."""
    return _EXPORT_BYTES + 16 * size


def export_seconds(size: int) -> float:
    """The seconds that reading and exporting a Keras model or SavedModel of `size` bytes may take."""
    return _EXPORT_SECONDS + 4 * size / 1e6
