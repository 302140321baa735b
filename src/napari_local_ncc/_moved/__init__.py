"""Modules where the documents of 0.1 taught to find them: this folder is on the package's path."""
