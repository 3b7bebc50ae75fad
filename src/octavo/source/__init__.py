"""Reads the models that users have: `.tflite` and Keras files, their sidecars, and the export to a float graph."""
