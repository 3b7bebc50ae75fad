"""Tuning passes: a float graph that loses less in int8."""
