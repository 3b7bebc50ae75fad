"""A `.tflite` file: its graph, what int8 asks of each op, metadata, sizes."""
