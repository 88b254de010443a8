"""Counts and sums over the presentations of each training example, in the state, updated in each step on the device.

What a presentation is and what is summed: `rethink/results/presentations.py`. With mixup the image is mixed with
another, and the numbers are by the label of the example itself.

Counts are exact. A float32 sum of 10^5 terms would lose 3 digits or more, always to the same side where the terms are
alike; so each sum is two float32, the second of which is what rounding took from the first (Knuth's two-sum).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rethink.results.presentations import COUNTS, SUMS, Presentations
from rethink.training import metrics


class Accumulators(NamedTuple):
    """What is kept of each training example; the rows are examples, by ascending id.

    Attributes:
      ids: uint32 [examples].
      counts: int32 [examples, 5]: `COUNTS`, and whether the last presentation was correct.
      sums: float32 [examples, 2, 3]: `SUMS`, and what is to be added to them.
    """

    ids: Any
    counts: Any
    sums: Any


def start(ids: np.ndarray) -> Accumulators:
    """Returns those before training, as host arrays; `ids`: of the training examples, uint32, in any order."""
    counts = np.zeros((len(ids), len(COUNTS) + 1), np.int32)
    counts[:, COUNTS.index("first_correct")] = -1
    return Accumulators(np.sort(ids), counts, np.zeros((len(ids), 2, len(SUMS)), np.float32))


def update(kept: Accumulators, ids: jax.Array, examples: metrics.Examples, axis_name: str) -> Accumulators:
    """Returns those after one more presentation of the examples of all devices' parts of a batch, the same everywhere.

    Args:
      ids: uint32 [batch]; no two examples of the global batch are the same one.
      examples: of this device.
    """
    probabilities = jnp.exp(-examples.cross_entropies)
    numbers = jnp.stack([examples.margins, probabilities, probabilities**2], axis=-1)
    seen = ids, (examples.predicted == examples.labels).astype(jnp.int32), numbers
    if jax.lax.axis_size(axis_name) > 1:
        seen = jax.tree.map(lambda part: jax.lax.all_gather(part, axis_name, tiled=True), seen)
    # Behind the barrier nothing is fused with the network: in any program the same numbers give the same sums.
    ids, correct, numbers = jax.lax.optimization_barrier(seen)
    rows = jnp.searchsorted(kept.ids, ids)
    count, total_correct, forgotten, first_correct, was_correct = kept.counts[rows].T
    is_first = (first_correct < 0) & (correct > 0)
    counts = (
        count + 1,
        total_correct + correct,
        forgotten + was_correct * (1 - correct),
        jnp.where(is_first, count, first_correct),
        correct,
    )
    sums, rest = jnp.moveaxis(kept.sums[rows], 1, 0)
    terms = rest + numbers
    new_sums = sums + terms
    taken = new_sums - sums
    rest = (sums - (new_sums - taken)) + (terms - taken)
    return Accumulators(
        kept.ids,
        kept.counts.at[rows].set(jnp.stack(counts, axis=-1), unique_indices=True),
        kept.sums.at[rows].set(jnp.stack([new_sums, rest], axis=1), unique_indices=True),
    )


def to_record(kept: Accumulators) -> Presentations:
    """Returns what is recorded of a run; `kept`: host arrays."""
    return Presentations(kept.ids, *kept.counts.T[: len(COUNTS)], *kept.sums.sum(axis=1, dtype=np.float64).T)
