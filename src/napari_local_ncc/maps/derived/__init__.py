"""What is derived of a map, or of the images as they are compared, when it is asked for."""
