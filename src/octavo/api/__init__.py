"""The functions behind the commands, one file each: `octavo.quantize` is `octavo quantize`."""
