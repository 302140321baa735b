"""What a run asks of the machine: no place for compiled code, no network."""

from __future__ import annotations

import ast
import ipaddress
import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from numba.core import caching

from napari_local_ncc.ncc.kernels import compilation
from napari_local_ncc.progress import Note

WATCH = """
import os, sys

def watch(event, arguments):
    if event in ("socket.bind", "socket.connect", "socket.sendto"):
        with open(os.environ["SEEN"], "a", encoding="utf-8") as file:
            file.write(repr(arguments[1]) + chr(10))

sys.addaudithook(watch)
"""


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_code_that_cannot_be_kept_runs_and_that_is_said_once(monkeypatch):
    kept = getattr(caching, "CacheImpl", None) or caching._CacheImpl  # as older releases call it
    monkeypatch.setattr(kept, "_locator_classes", [])
    compilation._tell_once.cache_clear()
    with pytest.warns(Note, match=r"cannot be kept.* NUMBA_CACHE_DIR") as told:
        kernels = [compilation.kernel(_double), compilation.kernel(_double)]
    assert len(told) == 1
    assert [kernel(2.0) for kernel in kernels] == [4.0, 4.0]


def test_another_failure_of_numba_is_no_lack_of_a_place(monkeypatch):
    def fail(**_):
        raise RuntimeError("something else")

    monkeypatch.setattr(numba, "njit", fail)
    with pytest.raises(RuntimeError, match="something else"):
        compilation.kernel(_double)


def _double(x):
    return 2 * x


@pytest.mark.parametrize("workers", [None, 1])
def test_a_map_opens_no_socket_but_to_this_machine(workers, tmp_path):
    if workers:
        pytest.importorskip("distributed")
    (tmp_path / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(40, 40)))
    seen = tmp_path / "seen"
    seen.touch()
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    words = ["map", "a.npy", "a.npy", "-o", "o.npy", *(["--workers", "1"] if workers else [])]
    ended = subprocess.run(
        [sys.executable, "-m", "napari_local_ncc", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path, "SEEN": str(seen)},
        check=False,
    )
    assert ended.returncode == 0
    addresses = [ast.literal_eval(line) for line in seen.read_text("utf-8").splitlines()]
    hosts = [address[0] for address in addresses if isinstance(address, tuple)]
    assert bool(hosts) == bool(workers)
    assert all(host == "localhost" or ipaddress.ip_address(host).is_loopback for host in hosts)
