"""Runs: the stages of a run, its manifest, and sweeps of one recipe."""
