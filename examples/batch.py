"""Many pairs: a verdict for each, a table, and a page of all."""

from pathlib import Path

import numpy as np

from napari_local_ncc import NCCParameters
from napari_local_ncc.batch import Settings, pair_by_name, run_batch, write_results
from napari_local_ncc.reports.html_report import write_batch_report

folder = Path("scans")
folder.mkdir(exist_ok=True)
random = np.random.default_rng(0)
scenes = random.normal(size=(3, 130, 130)).cumsum(axis=1)
for number, scene in enumerate(scenes):
    np.save(folder / f"s{number}_first.npy", scene[10:120, 10:120])
    there = scene if number else scenes[2]  # the first pair does not belong together
    np.save(folder / f"s{number}_second.npy", there[12:122, 9:119])

pairs = pair_by_name("scans/*_first.npy", "scans/*_second.npy")
settings = Settings(parameters=NCCParameters(bands=("ncc",)), model="translation")
documents = run_batch(pairs, settings, Path("results"))
for document in documents:
    print(document["name"], document["verdict"]["judgement"], document["verdict"]["reason"])
print(write_results(documents, Path("results"))["results"])
write_batch_report(documents, {}, Path("results/report.html"))
