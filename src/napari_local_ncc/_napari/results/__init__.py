"""A run in the background, and the layers that it fills."""
