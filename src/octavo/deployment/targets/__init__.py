"""Targets: what each kind of device makes of a model; one file a target."""
