"""Theorem 1: builds the two-layer ReLU network that takes given values at given points, and evaluates it.

Nothing is trained: the weights solve a triangular system, in NumPy float64; the network is a Flax Linen module too, in
the dtype that one gives. How good a network is, certificates.py measures.
"""

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from numpy.typing import DTypeLike
from scipy.linalg import lapack

from rethink import randomness
from rethink.schema.errors import UserError
from rethink.theory.inputs import check_array, check_range

# With f the position and g a gap, slopes follow s <- (dy / g - f s) / (1 - f), whose memory of what came before fades
# as (f / (1 - f))^i: not at all at the midpoint, and it grows beyond. Up to 1/8 the residual hardly depends on f. A
# smaller f buys 1% of the size of the weights, and the thresholds round to the points in more of the gaps.
THRESHOLD_POSITION = 1 / 128
ATTEMPTS = 20  # projections drawn before points count as too close
FRACTION_BITS = 32  # of the projection, see draw_projection
ROWS, UNITS = 256, 128  # of a block of an evaluation: fits a cache, and is too small for BLAS to start threads in ours
LARGEST = 1e300  # position, so that differences stay in float64
PROJECTED = 2**20  # values of the points projected in one block


@dataclasses.dataclass(frozen=True, eq=False)
class TwoLayerNetwork:
    """The network c(x) = sum_j w_j max(<a, x> - b_j, 0) (paper, theorem 1).

    Attributes:
      projection: a, float64 [d].
      thresholds: b, float64 [n], ascending, one left of each point's projection.
      weights: w, float64 [n], or [n, k] for targets with k outputs.
      attempts: projections that were drawn until none of the points tied.
      collapsed: points that were left out since they repeat another one with the same target.
    """

    projection: np.ndarray
    thresholds: np.ndarray
    weights: np.ndarray
    attempts: int
    collapsed: int

    @property
    def weight_count(self) -> int:
        """d + n + n k: 2n + d for scalar targets, n being the number of distinct points."""
        return self.projection.size + self.thresholds.size + self.weights.size

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Returns c, float64 [m] or [m, k], of points [m, d], each by the whole sum over the units.

        Raises:
          UserError: points of another dimension or shape, or not finite.
        """
        return self.evaluate_positions(project_points(check_array("points", points, "[n, d]"), self.projection))

    def evaluate_positions(self, positions: np.ndarray) -> np.ndarray:
        """Returns the network as a function of the projection: float64 [m] or [m, k] of positions <a, x>, [m].

        Sums max(z - b_j, 0) w_j over all j, in ascending order: neighbours cancel, and any other order, such as that of
        a dot product, loses a digit. Takes nothing from the solution of the system.
        """
        columns = np.ascontiguousarray(self.weights.reshape(len(self.thresholds), -1).T)
        values = np.zeros((len(columns), len(positions)))

        def sum_block(start: int) -> None:
            rows = slice(start, start + ROWS)
            for first in range(0, len(self.thresholds), UNITS):
                units = slice(first, first + UNITS)
                hidden = positions[rows] - self.thresholds[units, None]
                np.maximum(hidden, 0, out=hidden)
                for value, weights in zip(values, columns, strict=True):
                    value[rows] += weights[units] @ hidden  # adds up row after row

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(sum_block, range(0, len(positions), ROWS)))
        return values.T.reshape(len(positions), *self.weights.shape[1:])


def interpolate_points(
    points: np.ndarray, targets: np.ndarray, *, seed: int, threshold_position: float = THRESHOLD_POSITION
) -> TwoLayerNetwork:
    """Returns the network with 2n + d weights that takes the value targets[i] at points[i].

    Projects the points by a random a, sorts, puts one threshold into each gap, b_1 < z_1 < b_2 < ... < z_n, and solves
    the lower triangular system sum_j w_j max(z_i - b_j, 0) = y_i. In terms of the slopes s_i = w_1 + ... + w_i its
    differences are bidiagonal, (b_i - z_{i-1}) s_{i-1} + (z_i - b_i) s_i = y_i - y_{i-1}, so that it takes O(n) after
    the sort. b_1 lies about as far left of z_1 as z_n lies right of it.

    Args:
      points: [n, d], integers or floats. The values of 8-bit pixels, 0..255, project without any rounding; give them
        unscaled.
      targets: [n] or [n, k], any finite numbers.
      seed: of the projection.
      threshold_position: where in its gap a threshold lies: 0 at the point on its left, 1 at the one on its right, both
        excluded. At 0.5 and above the weights grow from point to point and nothing is left of the accuracy.

    Raises:
      UserError: no points, shapes that do not fit, a value that is not finite, one point with two targets, points that
        no projection tells apart, or weights beyond float64.

    Source: the paper, section 4, theorem 1; lemma 1 of its appendix is why the matrix can be inverted.
    """
    points, targets = check_sample(points, targets, "[n]", "[n, k]")
    check_range("seed", seed, 0, 2**32 - 1)
    if not 0 < threshold_position < 1:
        raise UserError(f"threshold_position={threshold_position} is out of range: it must be in (0, 1).")
    projection, attempts, rows, positions, thresholds = _separate_points(points, targets, seed, threshold_position)
    weights = _solve_weights(positions, thresholds, targets[rows])
    if not np.isfinite(weights).all():
        raise UserError(
            f"threshold_position={threshold_position} makes weights beyond float64: set it to {THRESHOLD_POSITION}, "
            "or give smaller targets or points that lie further apart."
        )
    return TwoLayerNetwork(projection, thresholds, weights, attempts, collapsed=len(points) - len(rows))


def check_sample(points: np.ndarray, targets: np.ndarray, *shapes: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns points [n, d] as they are and targets, of one of these shapes, as float64.

    Raises:
      UserError: as `check_array`, or their numbers differ.
    """
    points = check_array("points", points, "[n, d]")
    return points, check_array("targets", targets, *shapes, rows=len(points)).astype(np.float64)


def draw_projection(dimensions: int, seed: int, attempt: int) -> np.ndarray:
    """Returns a random direction of norm about 1, float64 [dimensions].

    It is normal, rounded to multiples of 2^-32, and scaled by a power of 2: products with integers of 8 bits and their
    sums over some thousand dimensions fit the 53 bits of float64, so that a pixel's rounding can't depend on the order
    of the sum.
    """
    words = jax.random.bits(randomness.key_for(seed, "projection", str(attempt)), (2, dimensions), np.uint32)
    high, low = np.asarray(words, np.float64)
    normal = scipy.special.ndtri((high + (low + 0.5) / 2**32) / 2**32)
    scale = 2.0 ** -np.ceil(np.log2(dimensions) / 2)
    return np.round(np.ldexp(normal, FRACTION_BITS)) * np.ldexp(scale, -FRACTION_BITS)


def project_points(points: np.ndarray, projection: np.ndarray) -> np.ndarray:
    """Returns <a, x>, float64 [n], of points [n, d]; the last bit of a point's is the same among any other points.

    Slopes of 1e10 would show a last bit that depends on how a matrix product is blocked.

    Raises:
      UserError: the points are of another dimension than a.
    """
    if points.shape[1] != len(projection):
        raise UserError(
            f"points have {points.shape[1]} dimensions and the network takes {len(projection)}: give others."
        )
    step = max(1, PROJECTED // len(projection))
    blocks = range(0, len(points), step)
    with np.errstate(over="ignore", invalid="ignore"):  # _separate_points refuses such positions in one line
        return np.concatenate([(points[start : start + step] * projection).sum(axis=1) for start in blocks])


def _separate_points(
    points: np.ndarray, targets: np.ndarray, seed: int, threshold_position: float
) -> tuple[np.ndarray, int, np.ndarray, np.ndarray, np.ndarray]:
    """Returns the first projection in whose every gap a threshold fits strictly between both points, and which it was.

    With it the distinct points in the order of their projections: rows int [n], positions and thresholds float64 [n].
    """
    kept = np.arange(len(points))
    for attempt in range(1, ATTEMPTS + 1):
        # Project, and sort what is distinct.
        projection = draw_projection(points.shape[1], seed, attempt)
        unsorted = project_points(points, projection)
        if not np.abs(unsorted).max() < LARGEST:  # NaN included
            raise UserError(f"points project beyond {LARGEST:g}: scale them down.")
        if attempt == 1:  # equal points have equal projections
            kept = _merge_duplicates(points, targets, unsorted)
        rows = kept[np.argsort(unsorted[kept], kind="stable")]
        positions = unsorted[rows]
        # One threshold a gap, moved off the point on its left where it would round to it.
        reach = positions[-1] - positions[0] if len(rows) > 1 else max(1.0, abs(positions[0]))
        left = np.concatenate([positions[:1] - reach, positions[:-1]])
        thresholds = np.maximum(left + threshold_position * (positions - left), np.nextafter(left, np.inf))
        tied = np.flatnonzero(thresholds >= positions)
        if not len(tied):
            return projection, attempt, rows, positions, thresholds
    first, second = sorted((rows[tied[0] - 1], rows[tied[0]]))
    raise UserError(
        f"points {first} and {second} (row numbers) tie in float64 under all of {ATTEMPTS} projections: "
        "remove one of them, or rescale the points so that they lie further apart."
    )


def _merge_duplicates(points: np.ndarray, targets: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Returns the rows of the distinct points, ascending; looks for duplicates among equal positions only."""
    order = np.argsort(positions, kind="stable")
    equal = np.flatnonzero(np.diff(positions[order]) == 0)
    firsts: dict[bytes, int] = {}
    repeated = []
    for row in np.sort(order[np.union1d(equal, equal + 1)]):
        first = firsts.setdefault((points[row] + points.dtype.type(0)).tobytes(), row)  # -0.0 + 0 is 0.0
        if first == row:
            continue
        if not np.array_equal(targets[first], targets[row]):
            raise UserError(
                f"points {first} and {row} (row numbers) are the same point with different targets, "
                f"{targets[first].tolist()} and {targets[row].tolist()}: remove one of them."
            )
        repeated.append(row)
    return np.delete(np.arange(len(points)), repeated)


def _solve_weights(positions: np.ndarray, thresholds: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns the weights, shaped like the targets [n] or [n, k], of points in the order of their positions."""
    # The diagonal, where a new slope begins, and below it the part of a gap in which the slope before still runs.
    before = thresholds[1:] - positions[:-1]
    banded = np.stack([positions - thresholds, np.append(before, 0.0)])
    columns = targets.reshape(len(targets), -1)
    with np.errstate(over="ignore", invalid="ignore"):  # interpolate_points refuses such weights in one line
        slopes, _ = lapack.dtbtrs(banded, np.diff(columns, axis=0, prepend=0.0), uplo="L")
        return np.diff(slopes, axis=0, prepend=0.0).reshape(targets.shape)


class TwoLayerReLU(nn.Module):
    """sum_j w_j max(<a, x> - b_j, 0), the n units sharing one projection (paper, theorem 1).

    Attributes:
      units: n.
      outputs: the shape of the targets of one point: () or (k,).
      dtype: of parameters and arithmetic, and no other: float64 without x64 would silently be float32.
    """

    units: int
    outputs: tuple[int, ...]
    dtype: np.dtype

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns [batch, *outputs] of images [batch, ...], which are flattened; `train` changes nothing.

        Raises:
          UserError: dtype is float64 outside of `jax.enable_x64(True)`.
        """
        del train
        if jax.dtypes.canonicalize_dtype(self.dtype) != self.dtype:
            raise UserError(f"a network in {np.dtype(self.dtype)} needs x64: call it within `jax.enable_x64(True)`.")
        points = jnp.asarray(images, self.dtype).reshape(len(images), -1)
        normal = nn.initializers.normal()
        projection = self.param("projection", normal, (points.shape[1],), self.dtype)
        thresholds = self.param("thresholds", normal, (self.units,), self.dtype)
        weights = self.param("weights", normal, (self.units, *self.outputs), self.dtype)
        exact = jax.lax.Precision.HIGHEST  # an accelerator's default would cut float32 short
        positions = jnp.dot(points, projection, precision=exact)
        return jnp.dot(nn.relu(positions[:, None] - thresholds), weights, precision=exact)


def to_linen(network: TwoLayerNetwork, dtype: DTypeLike) -> tuple[TwoLayerReLU, dict[str, np.ndarray]]:
    """Returns (module, params): `module.apply({"params": params}, images, train=False)` is `network(images)`.

    Params are host arrays: projection [d], thresholds [n], weights [n] or [n, k]. In float64 they agree to roundoff;
    what float32 leaves is measured by `certificates.measure_precision`.
    """
    module = TwoLayerReLU(len(network.thresholds), network.weights.shape[1:], np.dtype(dtype))
    names = ("projection", "thresholds", "weights")
    return module, {name: getattr(network, name).astype(dtype) for name in names}
