"""Section 5: random feature maps for linear models, cosines and ReLUs of random projections.

They are better conditioned than pixels. Nothing is fitted: a map is a function of (seed, dimensions, count) alone, so
that train and test share it by name.
"""

import jax
import numpy as np

from rethink import randomness
from rethink.schema.errors import UserError
from rethink.theory.linear import least_norm


def measure_median_distance(inputs: np.ndarray) -> float:
    """Returns the median distance between two different examples of inputs float [n, d], n >= 2.

    Raises:
      UserError: fewer than two examples.
    """
    inputs = least_norm.as_features(inputs, "inputs")
    if len(inputs) < 2:
        raise UserError(f"{len(inputs)} examples have no distance between them: give at least 2.")
    squares = np.sum(inputs**2, axis=1)
    pairs = squares[:, None] + squares - 2 * inputs @ inputs.T
    return float(np.sqrt(max(np.median(pairs[np.triu_indices(len(inputs), 1)]), 0.0)))


def draw_fourier_features(inputs: np.ndarray, *, count: int, bandwidth: float, seed: int) -> np.ndarray:
    """Returns float64 [n, count] whose products estimate the Gaussian kernel exp(-|x - x'|^2 / (2 bandwidth^2)).

    Features sqrt(2 / count) cos(<g, x> / bandwidth + b), g standard normal, b uniform on the circle; a row has norm
    about 1. The smaller the bandwidth, the better the condition, and the less an example says about another.

    Args:
      inputs: float [n, d]. 4,000 features of 1,000 images of CIFAR10 have a condition of 28 (X X^T: 800) with 0.35 of
        the median distance and of 88 with half of it; the pixels have 7,095 (50 million).

    Raises:
      UserError: inputs that are no finite matrix, a count below 1, a bandwidth that is not positive.

    Source: Rahimi & Recht, "Random features for large-scale kernel machines" (2007).
    """
    inputs = least_norm.as_features(inputs, "inputs")
    if not 0 < bandwidth < np.inf:
        raise UserError(f"bandwidth={bandwidth}: give a positive number, such as 0.35 of the inputs' median distance.")
    directions = _draw_normal(inputs.shape[1], count, seed, "fourier_directions")
    key = randomness.key_for(seed, "fourier_phases")
    phases = 2 * np.pi * np.asarray(jax.random.uniform(key, (count,), np.float32), np.float64)
    return np.sqrt(2 / count) * np.cos(inputs @ (directions / bandwidth) + phases)


def draw_relu_features(inputs: np.ndarray, *, count: int, seed: int) -> np.ndarray:
    """Returns float64 [n, count], sqrt(2 / count) max(<g, x>, 0) / sqrt(d): a random hidden layer, never trained.

    Raises:
      UserError: inputs that are no finite matrix, or a count below 1.

    Source: Cho & Saul, "Kernel methods for deep learning" (2009): the arc-cosine kernel of order 1.
    """
    inputs = least_norm.as_features(inputs, "inputs")
    directions = _draw_normal(inputs.shape[1], count, seed, "relu_directions")
    return np.sqrt(2 / count) * np.maximum(inputs @ (directions / np.sqrt(inputs.shape[1])), 0)


def _draw_normal(dimensions: int, count: int, seed: int, name: str) -> np.ndarray:
    """Returns standard normal numbers float64 [dimensions, count], drawn in float32."""
    if count < 1:
        raise UserError(f"count={count}: give at least 1 feature, and as many as there are examples to interpolate.")
    return np.asarray(jax.random.normal(randomness.key_for(seed, name), (dimensions, count), np.float32), np.float64)
