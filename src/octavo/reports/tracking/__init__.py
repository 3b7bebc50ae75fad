"""Tracking: what a run made and measured, logged to other tools through their own clients."""
