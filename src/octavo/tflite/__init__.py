"""A `.tflite` file: its graph, the int8 rules of each op, metadata, sizes."""
