"""What the processor has compiled, in arrays of any namespace: as a GPU computes it."""
