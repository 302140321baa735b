"""Where a command computes: threads, processes of this machine, or a cluster."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_local_ncc.cli.console import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

HERE = "127.0.0.1"  # no other machine reaches it
PATIENCE = 10  # s to wait for a scheduler


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
    from distributed import Client, LocalCluster

    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise OSError(f"there is no scheduler at {scheduler} ({error})") from error
        with client:
            _say_where(client)
            yield client
        return
    with (
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


def _say_where(client: Client) -> None:
    workers, link = len(client.nthreads()), client.dashboard_link
    say(
        f"computing on {workers} processes; see {link}"
        if link
        else f"computing on {workers} processes"
    )
