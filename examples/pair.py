"""Two images: register, map, and say what was found."""

from napari_local_ncc import NCCParameters, confidence_map, register, write_map
from napari_local_ncc.reports import describe_registration
from napari_local_ncc.sample_data import brain_slice

pair = brain_slice()  # or read_image("fixed.tif"), read_image("moving.tif")
registration = register(pair.fixed, pair.moving, model="translation")
print(describe_registration(registration))

parameters = NCCParameters(radius="4 mm", bands=("ncc", "confidence"))
result = confidence_map(pair.fixed, pair.moving, registration=registration, parameters=parameters)
confident = (result["confidence"] >= 0.95).mean().compute()
print(f"{confident:.0%} of the pixels are confident")
print("map:", write_map(result, "pair.ome.zarr", overwrite=True))
