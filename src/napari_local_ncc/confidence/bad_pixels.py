"""Bad pixels that both images have at the same places, as those of one camera do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.evidence.outliers import outliers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FEWEST = 3  # at the same places
CERTAIN = 5.0  # standard deviations beyond what chance brings together


def has_common_bad_pixels(pairs: Sequence[Sequence[NDArray[Any]]]) -> bool:
    """Tell whether hot or dead pixels of two images lie at the same places.

    Parameters
    ----------
    pairs : sequence of (fixed, moving)
        Samples of both images at some places; NaN where invalid.

    Returns
    -------
    bool
        True where more of the isolated samples that no lens can have made (see
        `evidence.outliers`) are in both images than chance would bring together.
    """
    both = expected = 0.0
    for fixed, moving in pairs:
        one, two = outliers(fixed), outliers(moving)
        both += np.count_nonzero(one & two)
        expected += np.count_nonzero(one) * np.count_nonzero(two) / one.size
    return both >= FEWEST and both > expected + CERTAIN * np.sqrt(expected)
