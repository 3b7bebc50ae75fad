"""A whole run: its stages, its manifest, several runs of one recipe."""
