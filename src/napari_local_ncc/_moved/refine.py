"""Where `refine` was until 0.1; see `napari_local_ncc.maps`."""

from napari_local_ncc.maps.refinement import Refinement, Round, iter_refine, refine

__all__ = ["Refinement", "Round", "iter_refine", "refine"]
