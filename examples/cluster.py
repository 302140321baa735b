"""A map on a dask cluster: chunks are computed by workers, here two threads of this machine."""

import dask.array as da
import numpy as np
from dask.distributed import Client, LocalCluster

from napari_local_ncc import local_ncc


def main() -> None:
    """Compute a map on a cluster, in chunks of 256 px."""
    # Elsewhere: Client("tcp://scheduler:8786"), or a cluster of dask-jobqueue on Slurm.
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False) as cluster:
        with Client(cluster) as client:
            random = np.random.default_rng(0)
            fixed = da.from_array(random.normal(size=(512, 512)), chunks=256)
            moving = fixed + 0.5 * da.from_array(random.normal(size=(512, 512)), chunks=256)
            ncc = client.compute(local_ncc(fixed, moving, radius=4)).result()
            print(f"median NCC {np.nanmedian(ncc):.3f}; 1 / sqrt(1.25) is {1.25**-0.5:.3f}")


if __name__ == "__main__":
    main()
