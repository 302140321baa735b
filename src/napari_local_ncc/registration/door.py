"""One door to every registration engine: from images in the world to arrays and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from napari_local_ncc.image.pairing import Unitless, pair_images
from napari_local_ncc.image.spatial_image import SpatialImage, as_spatial_image
from napari_local_ncc.parameters import check_choice
from napari_local_ncc.progress import stepwise
from napari_local_ncc.registration.engines import ENGINES, check_model, engines_among
from napari_local_ncc.registration.initial import starts_of
from napari_local_ncc.registration.series import Reference, Series, SeriesTask
from napari_local_ncc.registration.settings import Settings
from napari_local_ncc.transforms.registration import Registration
from napari_local_ncc.transforms.resampling import mask_on

if TYPE_CHECKING:
    from collections.abc import Generator
    from threading import Event

    import dask.array as da
    from numpy.typing import ArrayLike

    from napari_local_ncc.image.pairing import Pair
    from napari_local_ncc.progress import Progress
    from napari_local_ncc.registration.initial import Initial


@stepwise
def register(
    fixed: SpatialImage | ArrayLike | da.Array,
    moving: SpatialImage | ArrayLike | da.Array,
    *,
    model: str = "translation",
    mask: SpatialImage | ArrayLike | da.Array | None = None,
    moving_mask: SpatialImage | ArrayLike | da.Array | None = None,
    unitless: Unitless | None = None,
    min_overlap: float = 0.3,
    metric: str = "mutual information",
    initial: Initial | None = None,
    method: str = "ilk",
    series: str = "each",
    reference: str = "static",
    consistency: bool = False,
    keep_doubtful: bool = False,
    memory: float = 1e9,
    mirror: bool = False,
    cancelled: Event | None = None,
) -> Generator[Progress, None, Registration]:
    """Find the transform that brings `moving` onto `fixed`.

    `iter_register` does the same step by step: it yields `Progress` ten times a second (frames,
    times blocks for a flow, and the optimiser's metric), and closing it cancels.

    Parameters
    ----------
    fixed, moving : SpatialImage or array_like
        The images. For plain arrays the world is the pixel grid and every axis is space.
    model : str, default "translation"
        Kind of transform, in world coordinates: "none", "translation", "rigid",
        "similarity", "affine", or "flow" (a displacement of its own for every pixel); or the
        name of another engine in `ENGINES`. A series gets one transform per time point;
        channels share it (it is estimated on their mean). Translation is for images of the
        same kind of contrast; rigid, similarity and affine need SimpleITK (extra
        `registration`).
    mask, moving_mask : SpatialImage or array_like, optional
        Where (non-zero) samples of `fixed` and of `moving` may be used. A plain array has
        its image's shape and lies on its grid.
    unitless : {"numbers", "pixels"}, optional
        What the coordinates of an image without physical units mean beside one that has
        them; see `napari_local_ncc.image.pairing.pair_images`.
    min_overlap : float, default 0.3
        Least overlap to consider, as a share of the smaller image's valid samples. Little
        overlap can look alike by chance, above all in smooth images. For translation.
    metric : {"mutual information", "correlation"}, default "mutual information"
        What rigid, similarity and affine maximise; mutual information is for images of any
        kinds of contrast.
    initial : str, path, Registration or matrix, optional
        Where to begin, instead of searching for starts: "identity"; "centres", with the
        centres of mass on one another; "phase", with the shift that phase correlation
        finds; another model, to register by first; or with a transform of fixed world to
        moving world (a file, see `read_transform`; a napari affine, shape
        (ndim + 1, ndim + 1)). Only what is near will be found; where nothing reliable is,
        the start is returned. A flow begins with the translation where one is verified;
        what differs from its start by more than a few px may be missed. It is composed with
        its start, so that moving is never interpolated twice.
    method : {"ilk", "tvl1"}, default "ilk"
        For a flow: iterative Lucas-Kanade, or TV-L1; see `registration.flow.iter_flow`.
    series : {"each", "one"}, default "each"
        Whether every time point gets a transform of its own, or all get one (estimated on
        their mean).
    reference : {"static", "first", "previous"}, default "static"
        What a time point of `moving` is registered with: fixed's; the first time point of
        `moving`, or the one before. In the last two cases the steps are composed, so that
        all time points come onto fixed's first one; errors of steps add up along
        "previous". Give the same series twice to remove its drift.
    consistency : bool, default False
        Whether to run the reverse registration too, and report how far pixels end from
        where they began. It takes as long again.
    keep_doubtful : bool, default False
        Whether to return a transform that chance may have found, of which no optimum was
        reached, or (a flow) by which the images agree worse or nothing is gained. Otherwise
        it is only reported, and the start or identity is returned.
    memory : float, default 1e9
        Bytes to keep to, about. Frames of more than a hundredth of that in pixels, and planes
        of more than 2 million px, are registered at a reduced level, and corrected on tiles at
        full resolution. A flow of more
        than 2 million px is found so in any case.
    mirror : bool, default False
        Whether rigid, similarity and affine may mirror. Otherwise a mirror image is only
        recognised and said.
    cancelled : threading.Event, optional
        Cancels when it is set, from any thread.

    Returns
    -------
    Registration
        Maps fixed world to moving world; the identity where nothing is reliably better, and
        then its report says so. A frame of a series that cannot be registered (blank, say)
        moves as the nearest one that can; its NCC is NaN.

    Raises
    ------
    ImportError
        If the model needs SimpleITK and it is not installed.
    ValueError
        If the model is unknown, or the images cannot be paired or have no structure to
        register (in no frame, for a series).
    concurrent.futures.CancelledError
        If `cancelled` was set, within a fraction of a second.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> from napari_local_ncc import register
    >>> texture = rng.normal(size=(80, 80)).cumsum(axis=0)
    >>> registration = register(texture[:72], texture[8:])
    >>> registration.translation.round(1).tolist()
    [-8.0, 0.0]
    """
    settings = Settings(
        model, metric, method, min_overlap, consistency, keep_doubtful, memory, mirror
    )
    check_request(settings, initial, series, reference)
    is_same = fixed is moving and mask is moving_mask and initial is None
    fixed, moving = as_spatial_image(fixed, "fixed"), as_spatial_image(moving, "moving")
    pair = pair_images(
        _mask_image(fixed, mask, "mask"),
        _mask_image(moving, moving_mask, "moving_mask"),
        unitless=unitless,
    )
    return (
        yield from iter_register_pair(
            pair,
            settings,
            initial=initial,
            series=series,
            reference=reference,
            is_same=is_same,
            cancelled=cancelled,
        )
    )


iter_register = register.steps


def iter_register_pair(
    pair: Pair,
    settings: Settings,
    *,
    initial: Initial | None = None,
    series: str = "each",
    reference: str = "static",
    is_same: bool = False,
    cancelled: Event | None = None,
) -> Generator[Progress, None, Registration]:
    """Register two images that are paired already; see `iter_register`.

    Parameters
    ----------
    pair : Pair
        Images with the same axes in the same units, NaN where samples may not be used.
    settings : Settings
        Model, metric and so on.
    initial, series, reference, cancelled
        As for `iter_register`.
    is_same : bool
        Whether moving is fixed itself, so that time points are not moved against themselves.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_local_ncc import SpatialImage
    >>> from napari_local_ncc.image import pair_images
    >>> from napari_local_ncc.progress import finish
    >>> from napari_local_ncc.registration import Settings, iter_register_pair
    >>> scene = np.random.default_rng(0).normal(size=(70, 80))
    >>> parts = scene[5:65, 5:75], scene[2:62, 7:77]
    >>> pair = pair_images(*map(SpatialImage.from_array, parts))
    >>> found = finish(iter_register_pair(pair, Settings("translation")))
    >>> found.matrix[:2, 2].round(2)
    array([ 3., -2.])
    """
    check_request(settings, initial, series, reference)
    grid = pair.fixed.grid
    for name, engine in engines_among((settings.model, initial)).items():
        if engine.axes and grid.spatial_ndim not in engine.axes:
            raise ValueError(
                f"{name} needs {' or '.join(map(str, engine.axes))} spatial axes, but there are "
                f"{grid.spatial_ndim}"
            )
    if settings.model not in ENGINES:
        return Registration.identity(grid, settings.model)
    start = starts_of(initial, grid, settings)
    task = SeriesTask(pair, settings, series, reference, start, is_same)
    return (yield from task.run(cancelled))


def check_request(
    settings: Settings, initial: Initial | None, series: str = "each", reference: str = "static"
) -> None:
    """Raise where a registration cannot be done as it is asked for, whatever the images.

    Raises
    ------
    ImportError
        If an engine is not installed.
    ValueError
        If the model or a choice is unknown, or two choices contradict one another.

    Examples
    --------
    >>> from napari_local_ncc.registration import Settings, check_request
    >>> check_request(Settings("translation"), "phase")
    >>> check_request(Settings("translation"), None, "one", "previous")
    Traceback (most recent call last):
    ValueError: one transform for all frames needs the reference 'static'
    """
    check_model(settings.model)
    for name in engines_among((initial,)):
        check_model(name)
    check_choice("series", series, get_args(Series))
    check_choice("reference", reference, get_args(Reference))
    if series == "one" and reference != "static":
        raise ValueError("one transform for all frames needs the reference 'static'")


def _mask_image(
    image: SpatialImage, mask: SpatialImage | ArrayLike | da.Array | None, name: str
) -> SpatialImage:
    """Return the image with NaN where a mask is zero or absent."""
    return image if mask is None else image.where(mask_on(mask, image, name))
