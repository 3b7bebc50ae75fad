"""Training: the float baseline, quantization-aware training, and the code that both share."""
