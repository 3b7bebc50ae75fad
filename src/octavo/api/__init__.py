"""The Python functions of the commands, one per file: `octavo.quantize` is `octavo quantize`."""
