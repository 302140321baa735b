"""The map of what is in view, while the knobs are turned."""
