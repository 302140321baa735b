"""Images and maps say what they are in one line, and show themselves in a notebook."""

import base64
import io
import re

import dask.array as da
import numpy as np
from PIL import Image

from napari_local_ncc import Grid, Registration, SpatialImage, confidence_map
from napari_local_ncc.image.thumbnail import MOST_READ
from napari_local_ncc.transforms.registration_view import MOST_ROWS


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


def registration_of(frames, bends=False):
    shape = (frames, 20, 30) if frames else (20, 30)
    last = slice(-len(shape), None)
    grid = Grid.from_spacing(shape, (1, 0.5, 0.5)[last], units=("s", "um", "um")[last],
                             axis_labels=("t", "<y>", "x")[last])  # fmt: skip
    matrix = np.eye(3)
    matrix[0, 2] = 2.5
    field = np.zeros((*grid.series_shape, 2, 20, 30), np.float32) + 1 if bends else None
    if field is not None:
        field[..., :10, :] = 0
    return Registration.from_matrix(matrix, grid, "flow" if bends else "rigid", displacement=field)


def test_registration_shows_a_row_a_frame():
    one, many = registration_of(0), registration_of(20)
    assert repr(one) == "Registration('rigid': <y> 20 x 0.5 µm, x 30 x 0.5 µm)"
    assert "\n" not in repr(many)
    html = one._repr_html_()
    assert "<th>shift &lt;y&gt; (µm)</th>" in html
    assert html.count("<tr>") == 2
    assert "<td>2.5</td>" in html
    assert many._repr_html_().count("<tr>") == MOST_ROWS + 1
    assert f"and {20 - MOST_ROWS} more frames" in many._repr_html_()


def test_flow_shows_how_far_it_moves():
    grey = shown(registration_of(0, bends=True)._repr_html_())[..., 0]
    assert (grey[:10] == 0).all()
    assert (grey[10:] == 255).all()
