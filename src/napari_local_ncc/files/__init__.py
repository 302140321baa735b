"""Outputs that are whole or not there, each made by one writer alone."""
