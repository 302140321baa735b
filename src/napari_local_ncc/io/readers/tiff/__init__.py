"""TIFF: its series, their calibration, what their samples mean."""
