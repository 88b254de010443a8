"""Label noise that depends on the image: which labels are changed, and to what, as Xia et al. (2020) define it.

    q ~ N(p, 0.1**2) within [0, 1];  W ~ N(0, 1) [classes, values, classes];  x the image
    P(given = j | image, true = y) = q softmax_j(x W_y) without j = y;  P(given = y) = 1 - q

All that is drawn comes from tables of quantiles, and products are of integers, whose sums have no rounding: the labels
have the same bits in any batch, on any device. x is (value - 128) / 64 of images of
8 bits, times `instance_scale`; others are brought to 8 bits.
What differs from the definition: W has steps of 1/32 and ends at 3.97, q and the maximum of the softmax are drawn by
65,536 quantiles each, and with p = 0 no label changes, where the definition would change 8% of them.

Source: Xia et al. (2020), "Part-dependent label noise: towards instance-dependent label noise", algorithm 2.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from ml_collections import ConfigDict

from rethink import randomness
from rethink.data.corruption.noise import DataFacts, Example, draw_bits, open_nothing
from rethink.schema.errors import UserError

RATE_SPREAD = 0.1  # standard deviation of q
WEIGHT_STEPS = 32  # of W in a unit
PIXEL_STEPS = 64  # of x in a unit
MOST_WEIGHTS = 2**27  # bytes
QUANTILES = (np.arange(2**16) + 0.5) / 2**16
WEIGHTS = np.clip(np.round(WEIGHT_STEPS * scipy.special.ndtri(QUANTILES)), -127, 127).astype(np.int8)


class InstanceTable(NamedTuple):
    """What labels are drawn by.

    Attributes:
      rates: q at each quantile, float32 [2**16].
      weights: W in steps, int8 [given classes, true classes, values of an image].
      gumbel: the standard Gumbel distribution at each quantile, in steps of x W, int32 [2**16].
      low, steps: the lowest value of an image, and the 256 codes in a unit of it, float32 scalars.
    """

    rates: np.ndarray
    weights: np.ndarray
    gumbel: np.ndarray
    low: np.float32
    steps: np.float32


def quantiles_of_rate(probability: float) -> np.ndarray:
    """Returns q at each quantile of its distribution, float32 [2**16]; none falls where the probability grows."""
    if not probability:
        return np.zeros(len(QUANTILES), np.float32)
    low, high = scipy.special.ndtr([-probability / RATE_SPREAD, (1 - probability) / RATE_SPREAD])
    normal = scipy.special.ndtri(low + (high - low) * QUANTILES)
    return np.clip(probability + RATE_SPREAD * normal, 0, 1).astype(np.float32)


def draw_weights(seed: int, num_classes: int, values: int) -> np.ndarray:
    """Returns W in steps, int8 [classes, classes, values]: a function of the corruption's seed."""
    key = randomness.key_for(seed, "labels", "instance_weights")
    return WEIGHTS[np.asarray(jax.random.bits(key, (num_classes, num_classes, values), jnp.uint16))]


def open_instance(argument: str, config: ConfigDict, facts: DataFacts) -> InstanceTable:
    """Returns the tables for images of this shape.

    Raises:
      UserError: the examples are no images with a fixed range of values, or too large.
    """
    open_nothing(argument, config, facts)
    if facts.has_vectors:
        raise UserError(
            "corruption.labels='instance' is for images, whose values have a range, and these are feature vectors: "
            "choose another kind, such as matrix:FILE."
        )
    values = math.prod(facts.image_shape)
    size = facts.num_classes**2 * values
    if size > MOST_WEIGHTS:
        raise UserError(
            f"corruption.labels='instance' needs {size / 2**20:,.0f} MiB of weights for {facts.num_classes} classes "
            f"and {values:,} values an image; it takes {MOST_WEIGHTS // 2**20} at most: set "
            "--config.data.image_size to make the images smaller."
        )
    weights = draw_weights(facts.seed, facts.num_classes, values)
    gumbel = np.round(-np.log(-np.log(QUANTILES)) * (WEIGHT_STEPS * PIXEL_STEPS / config.instance_scale))
    largest = 128 * np.abs(weights).sum(axis=2, dtype=np.int64).max() + np.abs(gumbel).max()
    if largest >= 2**31:
        raise UserError(
            f"corruption.labels='instance': sums over {values:,} values an image are too large for 32 bits: set "
            "--config.data.image_size to make the images smaller, or --config.corruption.instance_scale larger."
        )
    rates, (low, high) = quantiles_of_rate(config.label_probability), facts.value_span
    return InstanceTable(rates, weights, gumbel.astype(np.int32), np.float32(low), np.float32(256 / (high - low)))


def instance_rate(example: Example, probability: jax.Array, table: InstanceTable) -> jax.Array:
    """Returns q of one example, float32 scalar."""
    return jnp.asarray(table.rates)[draw_bits(randomness.fold_in_name(example.key, "rate"))]


def mean_instance_rate(probability: float, table: InstanceTable) -> float:
    """Returns the mean of q over examples: the probability, but for what lies beyond 0 and 1."""
    return float(np.mean(table.rates, dtype=np.float64))


def centre_pixels(image: jax.Array, low: np.floating, steps: np.floating) -> jax.Array:
    """Returns the values of an image in 256 codes, of 16 bits the first 8, less 128: int32 [values].

    Args:
      image: uint8, uint16 or float32; low, steps: of float32, as in `InstanceTable`. k / 255 has the code k.
    """
    codes = image
    if image.dtype == jnp.uint16:
        codes = image >> 8
    elif image.dtype == jnp.float32:  # one rounding each, whatever is fused: the codes have the same bits everywhere
        codes = jnp.clip(jnp.floor((image - low) * steps), 0, 255)
    return codes.reshape(-1).astype(jnp.int32) - 128


def draw_by_image(example: Example, num_classes: int, table: InstanceTable) -> jax.Array:
    """Returns a class drawn by the softmax of x W_y, without the true one: the largest of x W_y and Gumbel noise."""
    assert example.image is not None
    x = centre_pixels(example.image, table.low, table.steps)

    def score(weights: jax.Array) -> jax.Array:
        return jnp.sum(weights[example.label].astype(jnp.int32) * x, dtype=jnp.int32)

    # Class after class: the weights of all classes for all examples of a batch would take gigabytes.
    scores = jax.lax.map(score, jnp.asarray(table.weights))
    scores += jnp.asarray(table.gumbel)[draw_bits(example.key, (num_classes,))]
    others = jnp.arange(num_classes, dtype=jnp.int32) != example.label
    return jnp.argmax(jnp.where(others, scores, jnp.iinfo(jnp.int32).min))


def instance_transition(classes: int, table: InstanceTable, ids: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns zeros on the diagonal, as the true class is never drawn; the rest depends on the image."""
    return np.where(np.eye(classes, dtype=bool), 0.0, np.nan)
