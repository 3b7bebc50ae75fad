"""LiteRT: running, timing and profiling a model."""
