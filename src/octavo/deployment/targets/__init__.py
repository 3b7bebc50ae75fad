"""Targets: checks of a model for each kind of device; one file per target."""
