"""Dense flows: a displacement for every pixel."""
