"""Models as users have them: `.tflite` and Keras files, their sidecars, the export to a float graph."""
