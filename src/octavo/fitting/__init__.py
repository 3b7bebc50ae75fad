"""What the two trainings share, the float one and the quantization-aware one: batches, an epoch, the kept state."""
