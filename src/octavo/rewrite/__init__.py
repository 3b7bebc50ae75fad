"""The same model in another file: fused, stripped, with raw pixels in; and whether two files say the same."""
