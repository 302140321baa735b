"""The door to SimpleITK: arrays in a common frame in, an optimised matrix out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_local_ncc.geometry.affine import nearest_matrix
from napari_local_ncc.geometry.kind import Kind
from napari_local_ncc.transforms.formats.simpleitk import simpleitk

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

    from napari_local_ncc.registration.affine.sampled_image import Sampled
    from napari_local_ncc.registration.engine_thread import Watch

    Matrix = NDArray[np.float64]

BINS = 32
EVALUATIONS = 10  # of a line search, at most: where rounding or sampling ends the climb
STEEPNESS = 1e-4  # of the metric in the frame, where an optimum is reached: below 0.01 px


@dataclass(frozen=True, slots=True, eq=False)
class Optimum:
    """A matrix from fixed's frame to moving's, and how an optimiser came to it."""

    matrix: Matrix
    iterations: int
    converged: bool


def optimise(
    fixed: Sampled,
    moving: Sampled,
    start: Matrix,
    *,
    model: str,
    metric: str,
    samples: int,
    seed: int,
    watch: Watch,
    iterations: int = 60,
) -> Optimum:
    """Improve `start` until the metric stops to; `start` itself where it cannot be evaluated.

    Parameters
    ----------
    fixed, moving : Sampled
        Images in one frame, whose unit is of the order of their size: then a change of any
        parameter moves the pixels about equally far, and no scales are needed.
    start : ndarray, shape (ndim + 1, ndim + 1)
        Maps fixed's frame to moving's, in NumPy axis order.
    model : {"rigid", "similarity", "affine"}
        What may change; `start` is projected on it.
    metric : {"mutual information", "correlation"}
        Mattes' mutual information or squared correlation.
    samples : int
        Number of samples to draw, about.
    seed : int
        Of that drawing.
    watch : Watch
        Gets ITK's metric (which falls) after every iteration.
    iterations : int, default 60
        The most to do.

    Returns
    -------
    Optimum
        What was found, how long it took, and whether it is an optimum.

    Raises
    ------
    concurrent.futures.CancelledError
        If it was told to stop before it began.
    """
    watch.check()
    itk = simpleitk()
    method = itk.ImageRegistrationMethod()
    # one thread: the order of summation, and so the last bit, would depend on the scheduler
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    if metric == "correlation":
        method.SetMetricAsCorrelation()
    else:
        # with hardly a sample in each joint bin the metric is too rough to climb
        enough = min(samples, fixed.count) >= 5 * BINS**2
        method.SetMetricAsMattesMutualInformation(BINS if enough else BINS // 2)
    share = min(1.0, samples / fixed.count)
    if share < 1:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(share, seed + 1)  # 0 would mean the clock
    method.SetMetricUseMovingImageGradientFilter(False)
    method.SetInterpolator(itk.sitkLinear)
    # not L-BFGS-B: ITK's keeps its state in static variables, which concurrent runs mix up
    method.SetOptimizerAsLBFGS2(
        solutionAccuracy=STEEPNESS,
        numberOfIterations=iterations,
        hessianApproximateAccuracy=5,
        deltaConvergenceTolerance=0.0,  # of no use: it takes every falling negative metric for done
        lineSearchMaximumEvaluations=EVALUATIONS,
    )
    transform = _transform(itk, model, start)
    method.SetInitialTransform(transform, inPlace=True)
    images = [_image(itk, image) for image in (fixed, moving)]
    for (_, mask), put in zip(
        images, (method.SetMetricFixedMask, method.SetMetricMovingMask), strict=True
    ):
        if mask is not None:
            put(mask)
    method.AddCommand(itk.sitkIterationEvent, lambda: watch.note(method.GetMetricValue()))
    try:
        method.Execute(*(image for image, _ in images))
    except RuntimeError:  # hardly any overlap
        return Optimum(start, 0, converged=False)
    finally:
        method.RemoveAllCommands()  # the command holds the method, and the method the command
    done = int(method.GetOptimizerIteration())
    return Optimum(_matrix(transform), done, converged=done < iterations)


def _transform(itk: ModuleType, model: str, matrix: Matrix) -> Any:
    """Make the ITK transform of a matrix; it turns about the frame's origin."""
    ndim = len(matrix) - 1
    kind = {
        "rigid": {2: itk.Euler2DTransform, 3: itk.Euler3DTransform},
        "similarity": {2: itk.Similarity2DTransform, 3: itk.Similarity3DTransform},
    }.get(model)
    transform = itk.AffineTransform(ndim) if kind is None else kind[ndim]()
    reversed_axes = nearest_matrix(matrix, Kind(model))[:-1][::-1]
    transform.SetMatrix(reversed_axes[:, -2::-1].ravel().tolist())
    transform.SetTranslation(reversed_axes[:, -1].tolist())
    return transform


def _matrix(transform: Any) -> Matrix:
    ndim = transform.GetDimension()
    matrix = np.eye(ndim + 1)
    matrix[:-1, :-1] = np.reshape(transform.GetMatrix(), (ndim, ndim))[::-1, ::-1]
    # TransformPoint knows about the centre, whatever it is
    matrix[:-1, -1] = transform.TransformPoint([0.0] * ndim)[::-1]
    return matrix


def _image(itk: ModuleType, image: Sampled) -> tuple[Any, Any]:
    """Return an ITK image, and the mask of its valid samples (None: all)."""
    linear = image.to_frame[:-1, :-1][::-1, ::-1]
    spacing = np.linalg.norm(linear, axis=0)
    valid = np.isfinite(image.values)
    values = np.where(valid, image.values, np.float32(np.mean(image.values[valid])))
    made = itk.GetImageFromArray(values)
    made.SetSpacing(spacing.tolist())
    made.SetDirection((linear / spacing).ravel().tolist())
    made.SetOrigin(image.to_frame[:-1, -1][::-1].tolist())
    if valid.all():
        return made, None
    mask = itk.GetImageFromArray(valid.astype(np.uint8))
    # interpolation and gradients next to an invalid sample would see what replaces it
    inner = itk.BinaryErode(mask, [1] * image.ndim)
    if 2 * int(itk.GetArrayViewFromImage(inner).sum()) >= image.count:
        mask = inner
    mask.CopyInformation(made)
    return made, mask
