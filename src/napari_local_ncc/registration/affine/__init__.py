"""Rigid, similarity and affine transforms."""
