"""Deployment: a self-contained folder for devices, the web demo, and the checks on every target."""
