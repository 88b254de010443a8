"""The order of examples: (seed, epoch, step) -> rows of the data set; and batches that cover a split once.

There is no iterator whose state would have to be saved: a checkpoint needs the step alone.
"""

import functools
import math
from collections.abc import Callable, Iterator

import jax
import numpy as np

from rethink import randomness
from rethink.schema.errors import pick

# What becomes of the examples that are left over at the end of an epoch -> (examples, batch size) -> steps of an epoch.
REMAINDERS: dict[str, Callable[[int, int], int]] = {
    "wrap": lambda num_examples, batch_size: math.ceil(num_examples / batch_size),
    "drop": lambda num_examples, batch_size: num_examples // batch_size,
}


def count_steps_per_epoch(num_examples: int, batch_size: int, remainder: str) -> int:
    """Returns the steps of one pass over the data: rounded up for "wrap", down for "drop".

    Raises:
      UserError: the remainder is none of `REMAINDERS`.
    """
    return pick(REMAINDERS, remainder, "data.remainder")(num_examples, batch_size)


@functools.lru_cache(maxsize=2)
def draw_epoch_order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """Returns the permutation of rows for an epoch, int32 [num_examples]."""
    key = jax.random.fold_in(randomness.key_for(seed, "order"), np.uint32(epoch))
    return randomness.draw_permutation(key, num_examples)


def select_train_rows(
    seed: int, first_step: int, steps: int, *, num_examples: int, batch_size: int, remainder: str
) -> np.ndarray:
    """Returns the rows of `steps` consecutive batches, int32 [steps, batch_size].

    Every batch is full. With "wrap", an epoch's last batch is completed with the first rows of the same epoch's
    order, so each example comes at least once an epoch; with "drop", the examples left over sit the epoch out.
    """
    length = count_steps_per_epoch(num_examples, batch_size, remainder)
    rows = np.empty((steps, batch_size), np.int32)
    for i in range(steps):
        epoch, position = divmod(first_step + i, length)
        # Only the last batch of "wrap" goes past the end of the order, and is taken from its start again.
        places = np.arange(position * batch_size, (position + 1) * batch_size) % num_examples
        rows[i] = draw_epoch_order(seed, epoch, num_examples)[places]
    return rows


def select_process_rows(rows_of: Callable[[int, int], np.ndarray], part: slice, step: int) -> np.ndarray:
    """Returns this process's part of the rows of one batch, int32 [part]; unlike a lambda, this can be pickled.

    Args:
      rows_of: (first step, steps) -> rows of global batches, int32 [steps, batch].
      part: the process's positions in the batch.
    """
    return rows_of(step, 1)[0][part]


def cover_examples(num_examples: int, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (rows int32 [batch_size], weights float32 [batch_size]) that cover every example exactly once.

    The last batch is padded with rows from the start, of weight 0.
    """
    for start in range(0, num_examples, batch_size):
        places = np.arange(start, start + batch_size)
        yield (places % num_examples).astype(np.int32), (places < num_examples).astype(np.float32)
