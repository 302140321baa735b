"""The inspector: why a pixel has its value, and the map in numbers."""
