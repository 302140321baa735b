"""The widget that compares two layers: its fields, its look, its way to a run."""
