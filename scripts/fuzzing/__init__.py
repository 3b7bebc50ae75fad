"""A fuzz campaign's good files, damage, and cases; `scripts/fuzz.py` runs them."""
