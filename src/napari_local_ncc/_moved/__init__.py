"""Modules where the documents of 0.1 taught to find them; the package adds this folder to its path."""
