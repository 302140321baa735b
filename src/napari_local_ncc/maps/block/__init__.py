"""All bands of a map in one pass over the windows of two images, block by block."""
