"""The compiled sums over windows."""
