"""The canonical form: between a file and the graph that is worked on, exact rewrites, each proved on LiteRT."""
