"""What the tests share: real data, the brute-force oracle, image strategies."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]

settings.register_profile(
    "project",
    deadline=None,
    max_examples=40,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("project")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data with known truth, kept outside the repository."""
    path = Path(os.environ.get("LNCC_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        if os.environ.get("LNCC_REQUIRE_DATA"):
            pytest.fail(f"the real data are required but {path} is not there")
        pytest.skip(f"no real data at {path}; set LNCC_DATA")
    return path


@pytest.fixture(scope="session")
def repository() -> Path:
    return ROOT


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
