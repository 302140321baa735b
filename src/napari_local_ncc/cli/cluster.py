"""Where a command computes: threads, processes of this machine, or a cluster."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_local_ncc.cli.console import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

HERE = "127.0.0.1"  # no other machine reaches it
# Of processes that take blocks of a second, nobody looks at every 10 ms what they are doing.
SELDOM = {
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.profile.enabled": False,
}
PATIENCE = 10  # s to wait for a scheduler, and for its first worker
LOADED = ("distributed", "napari_local_ncc.cli.loaded")


def check_distributed() -> None:
    """Raise ImportError where dask.distributed is not installed."""
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise ImportError(
            "--workers and --scheduler need dask.distributed: pip install "
            "'napari-local-ncc[distributed]'"
        ) from None


@contextmanager
def cluster(workers: int | None, scheduler: str | None, threads: int | None) -> Iterator[Client]:
    """Give a client of the cluster that a command computes on."""
    import dask
    from distributed import Client, LocalCluster

    if scheduler is not None:
        with _client_of(scheduler) as client:
            _say_where(client)
            yield client
        return
    with (
        dask.config.set(SELDOM),
        _loaded_once(),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=threads or max(1, (os.cpu_count() or 1) // (workers or 1)),
            host=HERE,
            dashboard_address=f"{HERE}:0",
            memory_limit=0,  # blocks keep to the budget: none is to be killed for a peak
            silence_logs=50,
        ) as local,
        Client(local, set_as_default=False) as client,
    ):
        _say_where(client)
        yield client


def _client_of(scheduler: str) -> Client:
    """Return a client of a scheduler that is there and has workers."""
    from distributed import Client
    from distributed.comm import get_address_host_port

    try:  # before there is a client, which it takes long to close
        get_address_host_port(scheduler)
    except ValueError as error:
        raise ValueError(
            f"cannot read {scheduler!r} as the address of a scheduler ({error}); write it like "
            "tcp://10.0.0.1:8786"
        ) from None
    try:
        client = Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except OSError as error:
        raise OSError(f"there is no scheduler at {scheduler} ({error})") from error
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        client.close()
        raise OSError(
            f"the scheduler at {scheduler} has no workers; start some: dask worker {scheduler}"
        ) from None
    return client


@contextmanager
def _loaded_once() -> Iterator[None]:
    """Have processes begun as copies of one that has loaded what they need, where that is safe.

    On macOS what NumPy may be built with does not survive it, on Windows there is no such way.
    """
    import dask

    if sys.platform != "linux":
        yield
        return
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        from distributed.utils import get_mp_context

        get_mp_context().set_forkserver_preload(list(LOADED))
        yield


def _say_where(client: Client) -> None:
    workers, link = len(client.nthreads()), client.dashboard_link
    say(
        f"computing on {workers} processes; see {link}"
        if link
        else f"computing on {workers} processes"
    )
