"""Rewrites a graph from a file into the canonical form that the other rooms work on. LiteRT checks every rewrite."""
