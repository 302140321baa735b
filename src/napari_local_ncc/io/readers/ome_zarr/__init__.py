"""Zarr: stores, what their metadata say, which chunks they hold."""
