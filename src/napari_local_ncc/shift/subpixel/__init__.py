"""The residual shift to a part of a pixel, next to the best whole-pixel one."""
