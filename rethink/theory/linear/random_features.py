"""Owns random feature maps for linear models: cosines and ReLUs of random projections, better conditioned than pixels.

Refuses to fit anything. A map is a function of (seed, dimensions, count) alone, so train and test share it by name.
"""

import jax
import numpy as np

from rethink import randomness
from rethink.schema.errors import UserError


def measure_median_distance(inputs: np.ndarray) -> float:
    """Returns the median distance between two different examples of inputs float [n, d], n >= 2.

    Raises:
      UserError: fewer than two examples.
    """
    inputs = _matrix(inputs)
    if len(inputs) < 2:
        raise UserError(f"{len(inputs)} examples have no distance between them: give at least 2.")
    squares = np.sum(inputs**2, axis=1)
    apart = squares[:, None] + squares - 2 * inputs @ inputs.T
    return float(np.sqrt(max(np.median(apart[np.triu_indices(len(inputs), 1)]), 0.0)))


def draw_fourier_features(inputs: np.ndarray, *, count: int, bandwidth: float, seed: int) -> np.ndarray:
    """Returns float64 [n, count] whose products estimate the Gaussian kernel exp(-|x - x'|^2 / (2 bandwidth^2)).

    Features sqrt(2 / count) cos(<g, x> / bandwidth + b), g standard normal, b uniform on the circle; a row has norm
    about 1. The smaller the bandwidth, the better the condition, and the less an example says about another.

    Args:
      inputs: float [n, d]. On 1,000 whitened CIFAR-10 images, half the median distance and 4,000 features give a
        condition of 47 (of X X^T: 2,200), where the pixels have 1,800 (3 million).

    Raises:
      UserError: inputs that are no finite matrix, a count below 1, a bandwidth that is not positive.

    Source: Rahimi & Recht, "Random features for large-scale kernel machines" (2007).
    """
    inputs = _matrix(inputs)
    if not 0 < bandwidth < np.inf:
        raise UserError(
            f"bandwidth={bandwidth}: give a positive number, such as half of measure_median_distance(inputs)."
        )
    directions = _normal(inputs.shape[1], count, seed, "fourier_directions")
    key = randomness.key_for(seed, "fourier_phases")
    phases = 2 * np.pi * np.asarray(jax.random.uniform(key, (count,), np.float32), np.float64)
    return np.sqrt(2 / count) * np.cos(inputs @ (directions / bandwidth) + phases)


def draw_relu_features(inputs: np.ndarray, *, count: int, seed: int) -> np.ndarray:
    """Returns float64 [n, count], sqrt(2 / count) max(<g, x>, 0) / sqrt(d): a random hidden layer, never trained.

    Raises:
      UserError: inputs that are no finite matrix, or a count below 1.

    Source: Cho & Saul, "Kernel methods for deep learning" (2009): the arc-cosine kernel of order 1.
    """
    inputs = _matrix(inputs)
    directions = _normal(inputs.shape[1], count, seed, "relu_directions")
    return np.sqrt(2 / count) * np.maximum(inputs @ (directions / np.sqrt(inputs.shape[1])), 0)


def _matrix(inputs: np.ndarray) -> np.ndarray:
    """Returns inputs as float64 [n, d]."""
    inputs = np.asarray(inputs, np.float64)
    if inputs.ndim != 2 or not inputs.size or not np.isfinite(inputs).all():
        raise UserError(f"The inputs have shape {inputs.shape}: give finite numbers [n, d], at least one of each.")
    return inputs


def _normal(dimensions: int, count: int, seed: int, name: str) -> np.ndarray:
    """Returns standard normal numbers float64 [dimensions, count], drawn in float32."""
    if count < 1:
        raise UserError(f"count={count}: give at least 1 feature, and as many as there are examples to interpolate.")
    return np.asarray(jax.random.normal(randomness.key_for(seed, name), (dimensions, count), np.float32), np.float64)
