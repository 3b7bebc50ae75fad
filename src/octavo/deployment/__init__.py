"""Deployment: a folder that works alone, wherever it is moved to."""
