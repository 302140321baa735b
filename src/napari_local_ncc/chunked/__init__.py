"""Windows across dask chunks, and computing them tile by tile."""
