"""How frames are registered: what a user may choose beside the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from napari_local_ncc.parameters import check_choice

Metric = Literal["mutual information", "correlation"]
Method = Literal["ilk", "tvl1"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How frames are registered; see `register` for what each value means.

    Raises
    ------
    ValueError
        If a value is none that `register` takes.

    Examples
    --------
    >>> from napari_local_ncc.registration import Settings
    >>> Settings("affine", metric="correlation").consistency
    False
    >>> Settings("affine", metric="cosine")
    Traceback (most recent call last):
    ValueError: metric must be one of mutual information, correlation, got 'cosine'
    """

    model: str
    metric: str = "mutual information"
    method: str = "ilk"
    min_overlap: float = 0.3
    consistency: bool = False
    keep_doubtful: bool = False
    memory: float = 1e9
    mirror: bool = False

    def __post_init__(self) -> None:
        check_choice("metric", self.metric, get_args(Metric))
        check_choice("method", self.method, get_args(Method))
        if not 0 < self.min_overlap <= 1:
            raise ValueError(f"min_overlap must lie in (0, 1], got {self.min_overlap!r}")
        is_number = isinstance(self.memory, (int, float, np.number))
        if not is_number or not 0 < self.memory < np.inf:
            raise ValueError(f"memory must be a number of bytes > 0, got {self.memory!r}")
