"""Training: the float baseline, training for int8, and what both share."""
