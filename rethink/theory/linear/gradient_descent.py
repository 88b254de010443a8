"""Section 5: runs gradient descent and SGD on linear models, step by step, and predicts their rates.

No shortcuts: every iterate is computed in the weights' own coordinates, so that its staying in the span of the data is
something measured. The loss is |X w - y|^2 / 2n, that of a mini-batch |X_b w - y_b|^2 / 2b.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.linalg.blas import dgemm

from rethink import randomness
from rethink.schema.errors import UserError, pick
from rethink.theory import blas_threads
from rethink.theory.inputs import check_range
from rethink.theory.linear import least_norm

RECORDS = 60  # steps that are recorded, evenly spaced in their logarithm
OVERFLOW = 1e100  # weights beyond this diverged, and would soon be infinite
ROUNDING = 1e-12  # relative distances below this are rounding, no part of a rate


class Trajectory(NamedTuple):
    """A run of (stochastic) gradient descent, float64 [r] at each of `steps` int64 [r], which begin with 0.

    Attributes:
      distances: |w_t - limit| / |limit|, the limit being least norm + the start's part outside the span.
      from_least_norm: |w_t - least norm| / |least norm|; the same from a start inside of the span, such as 0.
      residuals: |X w_t - y| / |y|.
      outside: |(I - P)(w_t - w_0)| / |w_t|, the certificate that the run never left the span of the data.
      weights: float64 [d] or [d, k], after the last step.
      condition: of the features.
      predicted_rate: factor of the distance a step, as predicted for gradient descent, or for SGD with replacement and
        without momentum a bound in the root mean square; NaN for other SGD, of which neither is known here.
      measured_rate: the same of this run over the later half of the steps before rounding; NaN where they are too few.
    """

    steps: np.ndarray
    distances: np.ndarray
    from_least_norm: np.ndarray
    residuals: np.ndarray
    outside: np.ndarray
    weights: np.ndarray
    condition: float
    predicted_rate: float
    measured_rate: float


def run_descent(
    features: np.ndarray | least_norm.Basis,
    targets: np.ndarray,
    *,
    start: np.ndarray | float,
    learning_rate: float,
    momentum: float,
    steps: int,
    batch_size: int | None = None,
    order: str = "with_replacement",
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Trajectory:
    """Returns the run of v <- momentum v - rate * gradient, w <- w + v, over all examples or over mini-batches.

    SGD at a constant rate converges: at an interpolant every gradient is 0. With a batch of 1, rows of norm 1 and a
    rate of 1 it is the randomized Kaczmarz method (Strohmer & Vershynin, 2009).

    Args:
      features: [n, d], or their basis; targets: [n] or [n, k].
      start: [d] or [d, k], as the weights, or one number for all of them.
      batch_size: of SGD; None for gradient descent.
      order, seed: of SGD, see `draw_batches`.
      progress: called with (steps made, steps in all) after each recorded step.

    Raises:
      UserError: settings out of their range, a batch larger than the data, a run that diverged, and as
        `least_norm.solve_least_norm`.

    Source: the paper, section 5.
    """
    basis = least_norm.as_basis(features)
    if steps < 1 or not 0 < learning_rate < math.inf or not 0 <= momentum < 1:
        raise UserError(
            f"steps={steps}, learning_rate={learning_rate}, momentum={momentum}: give at least 1 step, a positive rate "
            "and a momentum in [0, 1)."
        )
    # The examples of each step, and the rate that theory predicts for them.
    batches: Iterator[Any] = itertools.repeat(slice(None))
    if batch_size is None:
        predicted_rate = predict_gradient_rate(basis, learning_rate=learning_rate, momentum=momentum)
    else:
        check_range("batch_size", batch_size, 1, len(basis.features))
        batches = draw_batches(order, len(basis.features), batch_size, seed=seed)
        predicted_rate = math.nan
        if order == "with_replacement" and not momentum:
            predicted_rate = bound_sgd_rate(basis, learning_rate=learning_rate, batch_size=batch_size)
    # Where it starts, and where it should end: [d, k] each.
    y = least_norm.as_targets(targets, len(basis.features))
    least = least_norm.solve_least_norm(basis, y).weights
    shape = least_norm.as_weights(least, targets).shape
    start = np.asarray(start, np.float64)
    if start.shape not in ((), shape) or not np.isfinite(start).all():
        raise UserError(f"The start has shape {start.shape}: give finite numbers {shape}, as the weights.")
    origin = np.broadcast_to(start, shape).reshape(least.shape)
    limit = least + least_norm.project_outside_span(basis, origin)  # which no step changes: a gradient is in the span
    weights = np.array(origin, order="F")  # as BLAS updates in place
    velocity = np.zeros_like(weights)
    multiplications = weights.size * (batch_size or len(y))  # of one product of a step
    # Step from one recorded step to the next, and measure there.
    recorded = np.concatenate([[0], np.unique(np.round(np.geomspace(1, steps, RECORDS)).astype(np.int64))])
    measures = [measure_iterate(basis, y, weights, origin, limit, least)]
    for before, step in itertools.pairwise(recorded.tolist()):
        with np.errstate(over="ignore", invalid="ignore"), blas_threads.for_product(multiplications):
            for batch in itertools.islice(batches, step - before):
                x = basis.features[batch]
                scale, errors = -learning_rate / len(x), x @ weights - y[batch]
                if momentum:
                    velocity = dgemm(scale, x.T, errors, momentum, velocity, overwrite_c=True)
                    weights += velocity
                else:
                    weights = dgemm(scale, x.T, errors, 1.0, weights, overwrite_c=True)
        if not np.abs(weights).max() < OVERFLOW:
            raise UserError(f"learning_rate={learning_rate} diverged by step {step}: take a smaller one.")
        measures.append(measure_iterate(basis, y, weights, origin, limit, least))
        progress(step, steps)
    distances, from_least_norm, residuals, outside = np.asarray(measures).T
    weights, rate = least_norm.as_weights(weights, targets), _fit_rate(recorded, distances)
    return Trajectory(
        recorded, distances, from_least_norm, residuals, outside, weights, basis.condition, predicted_rate, rate
    )


def _draw_with_replacement(key: jax.Array, count: int) -> np.ndarray:
    """Returns as many examples as there are, each draw independent."""
    return np.asarray(jax.random.randint(key, (count,), 0, count, np.int32))


ORDERS = {"with_replacement": _draw_with_replacement, "shuffled": randomness.draw_permutation}


def draw_batches(order: str, count: int, batch_size: int, *, seed: int) -> Iterator[np.ndarray]:
    """Yields the rows int [batch_size] of each step, for ever; an epoch's examples left over make up no batch.

    `order` is one of `ORDERS`: "with_replacement", or "shuffled", a new permutation for each epoch.
    """
    draw, key = pick(ORDERS, order, "order"), randomness.key_for(seed, "sgd_order")
    for epoch in itertools.count():
        rows = draw(jax.random.fold_in(key, np.uint32(epoch)), count)
        yield from rows[: count - count % batch_size].reshape(-1, batch_size)


def draw_start(shape: tuple[int, ...], *, scale: float, seed: int) -> np.ndarray:
    """Returns weights float64 of independent normal entries with standard deviation `scale`."""
    key = randomness.key_for(seed, "linear_start")
    return scale * np.asarray(jax.random.normal(key, shape, np.float32), np.float64)


def predict_gradient_rate(features: np.ndarray | least_norm.Basis, *, learning_rate: float, momentum: float) -> float:
    """Returns the factor by which a step of gradient descent shrinks the distance to its limit, in the long run.

    The largest root of z^2 - (1 + momentum - rate h) z + momentum over the eigenvalues h of the Hessian inside of the
    span; without momentum |1 - rate h|. Of at least 1 where the run does not converge.

    Source: Polyak, "Some methods of speeding up the convergence of iteration methods" (1964).
    """
    middle = 1 + momentum - learning_rate * least_norm.as_basis(features).curvatures
    root = np.sqrt(middle.astype(np.complex128) ** 2 - 4 * momentum)
    return float(np.max(np.abs(np.stack([middle + root, middle - root]) / 2)))


def bound_sgd_rate(features: np.ndarray | least_norm.Basis, *, learning_rate: float, batch_size: int) -> float:
    """Returns a bound on the factor of a step of SGD on the root mean square distance, batches with replacement.

    sqrt(max over h of 1 - 2 rate h + rate^2 (L / b h + (1 - 1 / b) h^2)), L the largest squared norm of an example.
    For a batch of 1 at rate 1 / L it is Kaczmarz' sqrt(1 - smallest singular value^2 / (n L)).

    Source: Ma, Bassily & Belkin, "The power of interpolation" (2018), for a quadratic loss.
    """
    basis = least_norm.as_basis(features)
    h = basis.curvatures
    noise = _largest_squared_norm(basis) / batch_size * h + (1 - 1 / batch_size) * h**2
    return float(np.sqrt(np.max(1 - 2 * learning_rate * h + learning_rate**2 * noise)))


def tune_sgd_rate(features: np.ndarray | least_norm.Basis, *, batch_size: int) -> float:
    """Returns the constant learning rate b / (L + (b - 1) h_1), for which `bound_sgd_rate` <= sqrt(1 - rate h_min).

    Source: Ma, Bassily & Belkin (2018). Beyond a batch of about L / h_1 a larger one hardly raises it.
    """
    basis = least_norm.as_basis(features)
    check_range("batch_size", batch_size, 1, len(basis.features))
    return float(batch_size / (_largest_squared_norm(basis) + (batch_size - 1) * basis.curvatures[0]))


def tune_heavy_ball(features: np.ndarray | least_norm.Basis) -> tuple[float, float]:
    """Returns (learning rate, momentum) of the fastest gradient descent: it takes in proportion to the condition.

    4 / (sqrt h_1 + sqrt h_min)^2 and ((c - 1) / (c + 1))^2, where c is the condition of the features.

    Source: Polyak (1964).
    """
    basis = least_norm.as_basis(features)
    h = basis.curvatures
    rate = 4 / (math.sqrt(h[0]) + math.sqrt(h[-1])) ** 2
    return rate, ((basis.condition - 1) / (basis.condition + 1)) ** 2


def _largest_squared_norm(basis: least_norm.Basis) -> float:
    """Returns L, the largest squared norm of an example."""
    return float(np.max(np.sum(basis.features**2, axis=1)))


def measure_iterate(
    basis: least_norm.Basis,
    y: np.ndarray,
    weights: np.ndarray,
    origin: np.ndarray,
    limit: np.ndarray,
    least: np.ndarray,
) -> tuple[float, float, float, float]:
    """Returns distance from the limit, distance from least norm, residual, part outside of the span, all relative."""
    return (
        least_norm.measure_relative(weights - limit, limit),
        least_norm.measure_relative(weights - least, least),
        least_norm.measure_relative(basis.features @ weights - y, y),
        least_norm.measure_relative(least_norm.project_outside_span(basis, weights - origin), weights),
    )


def _fit_rate(steps: np.ndarray, distances: np.ndarray) -> float:
    """Returns the factor per step, by a line through the logarithms of the later half of the steps."""
    above_rounding = distances > ROUNDING
    last = steps[above_rounding][-1] if above_rounding.any() else 0
    used = above_rounding & (steps >= last / 2) & (steps <= last)
    if used.sum() < 2 or last == 0:
        return math.nan
    return float(np.exp(np.polyfit(steps[used], np.log(distances[used]), 1)[0]))
