"""What a run does, as validated data, and the built-in recipes."""
