"""Images and maps say what they are in one line, and show themselves in a notebook."""

import base64
import io
import re

import dask.array as da
import numpy as np
from PIL import Image

from napari_local_ncc import SpatialImage, confidence_map
from napari_local_ncc.image.thumbnail import MOST_READ


def shown(html):
    content = base64.b64decode(re.search(r"base64,([^\"]+)", html).group(1))
    return np.asarray(Image.open(io.BytesIO(content)))


def test_one_line_says_samples_and_sizes():
    image = SpatialImage.from_array(
        np.zeros((3, 20, 30), "u2"), "scan", spacing=(1, 0.5, 0.25), units=("s", "um", "um"),
        axis_labels=("t", "y", "x"),
    )  # fmt: skip
    assert repr(image) == "SpatialImage('scan', uint16: t 3, y 20 x 0.5 µm, x 30 x 0.25 µm)"
    assert repr(confidence_map(image, image)).startswith("ConfidenceMap(ncc: t 3, y 20")
    assert "\n" not in image._repr_html_()


def test_thumbnail_shows_the_samples_and_hides_what_is_none():
    samples = np.tile(np.linspace(0, 1, 64), (48, 1))
    samples[:24] = np.nan
    grey, alpha = np.moveaxis(shown(SpatialImage.from_array(samples)._repr_html_()), -1, 0)
    assert (alpha[:24] == 0).all()
    assert (alpha[24:] == 255).all()
    assert (np.diff(grey[30].astype(int)) >= 0).all()
    assert grey[30, -1] == 255


def test_thumbnail_reads_little_of_a_large_image():
    read = []

    def block(block_info=None):
        place = block_info[None]["array-location"]
        read.append(place)
        return np.zeros([stop - start for start, stop in place])

    data = da.map_blocks(
        block, chunks=((1024,) * 20, (1024,) * 20), dtype=float, meta=np.empty((0, 0))
    )
    SpatialImage.from_array(data)._repr_html_()
    assert len(read) <= (MOST_READ // 1024 + 1) ** 2


def test_map_and_text_with_signs_of_html():
    image = SpatialImage.from_array(np.random.default_rng(0).normal(size=(24, 24)), "<b>")
    assert "&lt;b&gt;" in image._repr_html_()
    assert shown(confidence_map(image, image)._repr_html_())[..., 0].min() == 255
