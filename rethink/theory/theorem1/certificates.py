"""Theorem 1: measures a network: how well it fits, the system that it solves, and its values between the points.

Nothing here looks at how the weights were computed: the sum over all units is evaluated at the points, and the matrix
is made of the points' projections and the thresholds.
"""

from typing import NamedTuple

import jax
import numpy as np

from rethink import randomness
from rethink.schema.errors import UserError
from rethink.theory import blas_threads
from rethink.theory.inputs import check_range
from rethink.theory.theorem1.expressivity import (
    ROWS,
    THRESHOLD_POSITION,
    TwoLayerNetwork,
    check_sample,
    interpolate_points,
    project_points,
    to_linen,
)

MOST_SINGULAR = 2000  # units up to which the singular values are computed: O(n^3)
MOST_STEPS = 2**20  # of a curve in one gap


class Fit(NamedTuple):
    """How well values match targets.

    Attributes:
      points: how many were compared.
      residual: the largest |value - target|.
      labels_right: of integer targets [n] those that rounding gives, of one-hot targets [n, k] those whose largest
        value is in the right place; None for targets that are no labels.
    """

    points: int
    residual: float
    labels_right: int | None


class Certificate(NamedTuple):
    """How well a network of theorem 1 does what it was built for.

    Attributes:
      fit: by direct evaluation.
      relative_residual: fit.residual / weight_sum; roundoff leaves 1e-16 times the range of the positions.
      weight_sum, largest_weight: sum |w_j| (of outputs, the largest), max |w_j|.
      weight_count: 2n + d for scalar targets, d + n + n k for k outputs.
      smallest_eigenvalue: min_i z_i - b_i (paper, lemma 1).
      smallest_singular_value: of the matrix max(z_i - b_j, 0), which bounds the inverse, as the eigenvalue does not;
        None for more than `MOST_SINGULAR` units.
      attempts, collapsed: as in TwoLayerNetwork.
    """

    fit: Fit
    relative_residual: float
    weight_sum: float
    largest_weight: float
    weight_count: int
    smallest_eigenvalue: float
    smallest_singular_value: float | None
    attempts: int
    collapsed: int


class TracedCurve(NamedTuple):
    """A network along its projection, float64: grid [m], values [m] or [m, k]; points' positions [p] and targets."""

    grid: np.ndarray
    values: np.ndarray
    positions: np.ndarray
    targets: np.ndarray


class Precision(NamedTuple):
    """The fit to the first n points of their network, in float64 and in float32."""

    points: int
    float64: Fit
    float32: Fit


def measure_fit(values: np.ndarray, targets: np.ndarray) -> Fit:
    """Returns the fit of values to targets, float64 [n] or [n, k] both."""
    right = None
    if targets.ndim == 1 and (targets == np.round(targets)).all():
        right = int((np.round(values) == targets).sum())
    elif targets.ndim == 2 and np.isin(targets, (0, 1)).all() and (targets.sum(axis=1) == 1).all():
        right = int((values.argmax(axis=1) == targets.argmax(axis=1)).sum())
    return Fit(len(targets), float(np.abs(values - targets).max()), right)


def certify_network(
    network: TwoLayerNetwork, points: np.ndarray, targets: np.ndarray, *, sample: int = 0, seed: int = 0
) -> Certificate:
    """Returns the certificate of a network on the points [n, d] and targets [n] or [n, k] that it was built for.

    Args:
      sample: how many points, drawn by `seed`, are evaluated; 0 for all, in O(n^2).

    Raises:
      UserError: points or targets that it was not built for, by their number or shape; a sample out of range.
    """
    targets, positions = _project_sample(network, points, targets)
    check_range("sample", sample, 0, len(positions))
    # The fit, by direct evaluation.
    rows = np.arange(len(positions))
    if sample:
        rows = randomness.draw_permutation(randomness.key_for(seed, "certificate"), len(positions))[:sample]
    fit = measure_fit(network.evaluate_positions(positions[rows]), targets[rows])
    # The system behind it (lemma 1): the eigenvalues of a triangular matrix stand on its diagonal.
    distinct = np.unique(positions)
    smallest_singular_value = None
    if len(distinct) <= MOST_SINGULAR:
        matrix = np.maximum(distinct[:, None] - network.thresholds, 0)
        with blas_threads.for_product(matrix.size * min(matrix.shape)):
            smallest_singular_value = float(np.linalg.svd(matrix, compute_uv=False)[-1])
    sizes = np.abs(network.weights)
    weight_sum = float(sizes.sum(axis=0).max())
    return Certificate(
        fit=fit,
        relative_residual=fit.residual / weight_sum if weight_sum else 0.0,
        weight_sum=weight_sum,
        largest_weight=float(sizes.max()),
        weight_count=network.weight_count,
        smallest_eigenvalue=float((distinct - network.thresholds).min()),
        smallest_singular_value=smallest_singular_value,
        attempts=network.attempts,
        collapsed=network.collapsed,
    )


def trace_curve(
    network: TwoLayerNetwork, points: np.ndarray, targets: np.ndarray, *, first: int, count: int, per_gap: int
) -> TracedCurve:
    """Returns the network between and beside `count` points that are neighbours along the projection.

    The first-th point from the left is their first. The grid has `per_gap` steps in each gap, with the points on it,
    and extends by a mean gap to either side.

    Raises:
      UserError: points or targets that it was not built for, or a window that does not lie among the points.
    """
    targets, unsorted = _project_sample(network, points, targets)
    positions, rows = np.unique(unsorted, return_index=True)
    check_range("count", count, 1, len(positions))
    check_range("first", first, 0, len(positions) - count)
    check_range("per_gap", per_gap, 1, MOST_STEPS)
    window = slice(first, first + count)
    shown = positions[window]
    margin = (shown[-1] - shown[0]) / (count - 1) if count > 1 else (shown - network.thresholds[window])[0]
    knots = np.concatenate([[shown[0] - margin], shown, [shown[-1] + margin]])
    steps = np.arange(per_gap * (len(knots) - 1) + 1) / per_gap
    grid = np.interp(steps, np.arange(len(knots)), knots)
    return TracedCurve(grid, network.evaluate_positions(grid), shown, targets[rows[window]])


def measure_precision(
    points: np.ndarray, targets: np.ndarray, size: int, *, seed: int, threshold_position: float = THRESHOLD_POSITION
) -> Precision:
    """Returns, for the first `size` points, the fit of their network in float64 and as a float32 Linen module.

    The largest size whose labels are all right in float32 is how far float32 serves on these points.

    Raises:
      UserError: as `interpolate_points`, or a size that is not in 1..n.
    """
    check_range("size", size, 1, len(points))
    points, targets = points[:size], np.asarray(targets[:size], np.float64)
    network = interpolate_points(points, targets, seed=seed, threshold_position=threshold_position)
    module, params = to_linen(network, np.float32)
    apply = jax.jit(lambda x: module.apply({"params": params}, x, train=False))
    blocks = [np.asarray(apply(points[start : start + ROWS])) for start in range(0, size, ROWS)]
    float32 = measure_fit(np.concatenate(blocks).astype(np.float64), targets)
    return Precision(size, measure_fit(network(points), targets), float32)


def _project_sample(network: TwoLayerNetwork, points: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns targets as float64 and the points' projections [n], of the sample that the network was built for."""
    points, targets = check_sample(points, targets, ("[n]", "[n, k]")[network.weights.ndim - 1])
    if points.shape[1] != network.projection.size or targets.shape[1:] != network.weights.shape[1:]:
        raise UserError(
            f"points of shape {list(points.shape)} and targets of shape {list(targets.shape)} are not those of a "
            f"network of {network.projection.size} dimensions with weights of shape {list(network.weights.shape)}: "
            "give those that it was built for."
        )
    positions = project_points(points, network.projection)
    distinct = len(np.unique(positions))
    if distinct != len(network.thresholds):
        raise UserError(
            f"points with {distinct} distinct projections are not those of a network of {len(network.thresholds)} "
            "units: give those that it was built for."
        )
    return targets, positions
