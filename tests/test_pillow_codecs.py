"""Compressed TIFF without imagecodecs: Pillow's decoders, or one line that says what to install."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tifffile

imagecodecs = pytest.importorskip("imagecodecs")  # which writes what is to be read without it

rng = np.random.default_rng(4)
GREY = np.kron(rng.integers(20, 200, (10, 12)), np.ones((8, 8))).astype(np.uint8)
RGB = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)
READ = {
    "lzw.tif": (GREY, {"compression": "lzw"}),
    "lzw16.tif": ((GREY * 200.0).astype("u2"), {"compression": "lzw", "predictor": True}),
    "lzw32.tif": (GREY.astype("f4") / 7, {"compression": "lzw", "tile": (16, 32)}),
    "lzwrgb.tif": (RGB, {"compression": "lzw", "photometric": "rgb", "rowsperstrip": 7}),
    "lzwbig.tif": (GREY.astype(">u2"), {"compression": "lzw", "byteorder": ">"}),
    "zlib.tif": (GREY, {"compression": "zlib", "predictor": True}),
    "packbits.tif": (GREY, {"compression": "packbits"}),
    "jpeg.tif": (GREY, {"compression": "jpeg"}),
    "jpegrgb.tif": (RGB, {"compression": "jpeg", "photometric": "rgb"}),
    "jpegtiles.tif": (RGB, {"compression": "jpeg", "photometric": "ycbcr", "tile": (16, 32)}),
}
REFUSED = {
    "jpeg2000.tif": (GREY, {"compression": "jpeg2000"}),
    "lerc.tif": (GREY, {"compression": "lerc"}),
    "jpegxl.tif": (GREY, {"compression": "jpegxl"}),
}
WITHOUT = """
import sys, json
sys.modules["imagecodecs"] = None
import numpy as np
from napari_local_ncc import read_image
found = {}
for path in sys.argv[1:]:
    try:
        image = read_image(path)
        np.save(path + ".npy", image.data.compute())
        found[path] = "read"
    except ValueError as error:
        found[path] = str(error)
print(json.dumps(found))
"""


def test_pillow_decodes_what_imagecodecs_would(tmp_path):
    from napari_local_ncc import read_image

    paths = {}
    for name, (samples, options) in {**READ, **REFUSED}.items():
        tifffile.imwrite(tmp_path / name, samples, **options)
        paths[name] = str(tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *paths.values()], stdout=subprocess.PIPE, check=True
    )
    found = json.loads(done.stdout)
    for name in READ:
        assert found[paths[name]] == "read"
        expected = read_image(paths[name]).data.compute()
        # two decoders of JPEG round in their own ways
        atol = 3 if name.startswith("jpeg") else 0
        np.testing.assert_allclose(np.load(paths[name] + ".npy"), expected, rtol=0, atol=atol)
    for name in REFUSED:
        assert "pip install --upgrade imagecodecs" in found[paths[name]]
        assert "\n" not in found[paths[name]]
