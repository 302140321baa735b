"""Layers to images and back."""
