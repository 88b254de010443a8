"""Memorization and influence, from networks that were each trained on a random subset (Feldman & Zhang, 2020).

Subsets are drawn here, and estimates made of which examples each network predicts. No network is trained here:
subset_networks.py does.

Source: Feldman & Zhang (2020), "What neural networks memorize and why", equations 1 and 2 and their estimator.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rethink import randomness
from rethink.schema.errors import UserError
from rethink.theory import blas_threads

LEAST_NETWORKS = 5  # with an example, and without it: with fewer it gets no estimate
BLOCK = 500  # training examples whose influence is held at a time
MOST_PAIRS = 100_000  # that are kept, the strongest


class Difference(NamedTuple):
    """Differences of two shares of networks, and their standard errors: float64, of any one shape."""

    value: np.ndarray
    standard_error: np.ndarray


class Memorization(NamedTuple):
    """Estimates of each training example.

    Attributes:
      value: P(correct | in the subset) - P(correct | not in it), float64 [n]; NaN where too few networks have the
        example, or lack it.
      standard_error: of it, float64 [n]; 0 where all networks agree.
      networks: that have the example, int64 [n].
    """

    value: np.ndarray
    standard_error: np.ndarray
    networks: np.ndarray


class Pairs(NamedTuple):
    """Pairs of a training and a test example, by falling influence.

    Attributes:
      train, test: their rows, int64 [pairs].
      influence: float64 [pairs]; standard_error: of it.
      above: how many pairs have at least the threshold, those that are left out included; below: at most minus it.
    """

    train: np.ndarray
    test: np.ndarray
    influence: np.ndarray
    standard_error: np.ndarray
    above: int
    below: int


def count_members(share: float, examples: int) -> int:
    """Returns how many of the examples each subset has.

    Raises:
      UserError: none, or all of them.
    """
    members = round(share * examples)
    if not 0 < members < examples:
        raise UserError(
            f"influence.share={share:g} takes {members} of {examples} training examples: some must be in each subset, "
            "and some not. Set --config.influence.share=0.7, or take more examples."
        )
    return members


def draw_mask(seed: int, network: int, ids: np.ndarray, members: int) -> np.ndarray:
    """Returns which examples are in the subset of a network, bool [n], of which exactly `members` are.

    Each example has a number that is a function of (seed, network, id); the smallest are in. A larger subset of the
    same network has a smaller one in it.

    Args:
      ids: uint32 [n], ascending.
    """
    numbers = np.asarray(_draw_numbers(randomness.key_for(seed, "influence", str(network)), ids))
    mask = np.zeros(len(ids), bool)
    mask[np.argsort(numbers, kind="stable")[:members]] = True
    return mask


@jax.jit
def _draw_numbers(key: jax.Array, ids: jax.Array) -> jax.Array:
    return jax.vmap(lambda of: jax.random.bits(of, (), jnp.uint32))(randomness.example_keys(key, ids))


def draw_network_seed(seed: int, network: int) -> int:
    """Returns the seed of all that is random in the training of a network."""
    return int(jax.random.bits(randomness.key_for(seed, "influence", str(network), "network"), (), jnp.uint32))


def compare_shares(
    hits_in: np.ndarray, networks_in: np.ndarray, hits_out: np.ndarray, networks_out: np.ndarray
) -> Difference:
    """Returns hits_in / networks_in - hits_out / networks_out; NaN where there are fewer than `LEAST_NETWORKS`.

    The squared standard error is an unbiased estimate of the variance: the sum of p (1 - p) / (n - 1) of both shares.
    """
    enough = (networks_in >= LEAST_NETWORKS) & (networks_out >= LEAST_NETWORKS)
    value, variance = np.where(enough, 0.0, np.nan), np.where(enough, 0.0, np.nan)
    for hits, networks, sign in ((hits_in, networks_in, 1), (hits_out, networks_out, -1)):
        share = hits / np.maximum(networks, 1)
        value = value + sign * share
        variance = variance + share * (1 - share) / np.maximum(networks - 1, 1)
    return Difference(value, np.sqrt(variance))


def estimate_memorization(masks: np.ndarray, correct: np.ndarray) -> Memorization:
    """Returns the memorization of each training example.

    Args:
      masks: which examples each network was trained on, bool [networks, n].
      correct: whether it predicts the given label, bool [networks, n].
    """
    networks_in, hits_in = masks.sum(axis=0), (masks & correct).sum(axis=0)
    difference = compare_shares(hits_in, networks_in, correct.sum(axis=0) - hits_in, len(masks) - networks_in)
    return Memorization(*difference, networks_in)


def estimate_influence(masks: np.ndarray, correct: np.ndarray) -> Iterator[tuple[slice, Difference]]:
    """Yields (rows, influence [rows, t]) of blocks of the training examples on all test examples.

    Args:
      masks: bool [networks, n]; correct: of the test examples, bool [networks, t].
    """
    hits = correct.sum(axis=0)
    columns = correct.astype(np.float32)
    for start in range(0, masks.shape[1], BLOCK):
        rows = slice(start, start + BLOCK)
        members = masks[:, rows].astype(np.float32)
        with blas_threads.for_product(members.size * columns.shape[1]):
            hits_in = (members.T @ columns).astype(np.float64)  # whole numbers, exact in float32
        networks_in = masks[:, rows].sum(axis=0)[:, None]
        yield rows, compare_shares(hits_in, networks_in, hits - hits_in, len(masks) - networks_in)


def find_pairs(masks: np.ndarray, correct: np.ndarray, threshold: float) -> Pairs:
    """Returns the pairs whose influence is at least the threshold, of more than `MOST_PAIRS` the strongest.

    Arguments as of `estimate_influence`.
    """
    kept = np.zeros((4, 0))
    above = below = 0
    for rows, (value, error) in estimate_influence(masks, correct):
        train, test = np.nonzero(value >= threshold)
        above, below = above + len(train), below + int((value <= -threshold).sum())
        found = np.stack([train + rows.start, test, value[train, test], error[train, test]])
        kept = np.concatenate([kept, found], axis=1)
        kept = kept[:, np.argsort(-kept[2], kind="stable")[:MOST_PAIRS]]
    train, test = kept[:2].astype(np.int64)
    return Pairs(train, test, kept[2], kept[3], above, below)
