"""Octavo takes an image classifier from float32 to full-integer INT8 for LiteRT, and proves the result."""

from __future__ import annotations

__version__ = "0.1.0"
