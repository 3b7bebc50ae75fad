"""Tasks: how the outputs of a model are scored, and how two models are compared. One file per task."""
