"""What a monkey does to the docks, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MONKEY = Path(__file__).with_name("monkey.py")


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_pressed_nothing_breaks(seed, qapp, tmp_path):
    env = os.environ | {"NAPARI_CONFIG": str(tmp_path / "settings.yaml")}
    env.pop("PYTHONWARNDEFAULTENCODING", None)  # of other people's code
    done = subprocess.run(
        [sys.executable, str(MONKEY), str(seed), "300"],
        capture_output=True, encoding="utf-8", timeout=3600, check=False, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
