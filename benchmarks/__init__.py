"""Benchmarks; `asv` wants a package."""
