"""Rewrites of a model that keep its function (fusing, stripping, raw pixel input), and the check that two are equal."""
