"""What a kind of label noise is: the types that the kinds share."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rethink.schema.errors import UserError


class Example(NamedTuple):
    """One example as a kind of noise sees it.

    Attributes:
      key: of what is drawn for it.
      id: uint32 scalar; label: the true one, int32 scalar.
      image: as stored [height, width, channels], None where the caller has none.
    """

    key: jax.Array
    id: jax.Array
    label: jax.Array
    image: jax.Array | None


class DataFacts(NamedTuple):
    """What is known of the split whose labels are corrupted, before it is read.

    Attributes:
      num_classes: of the data set; class_names: of these, () where they are not known; name: of the data set.
      seed: of the corruption.
      positions: the ids are below this, 0 where that is not known; ids: of the split, uint32 [n], None for all.
      paths: of each of the ids, () where they have none.
      image_shape: (height, width, channels); value_span: (low, high) of the values of images of float32.
      has_vectors: whether the images are feature vectors; is_folded: whether labels were taken modulo `num_classes`.
    """

    num_classes: int
    seed: int
    class_names: Sequence[str] = ()
    name: str = ""
    positions: int = 0
    ids: np.ndarray | None = None
    paths: Sequence[str] = ()
    image_shape: tuple[int, int, int] = (1, 1, 1)
    value_span: tuple[float, float] = (0.0, 1.0)
    has_vectors: bool = False
    is_folded: bool = False


def open_nothing(argument: str, config: ConfigDict, facts: DataFacts) -> tuple[()]:
    """Returns the empty table of a kind that has no argument.

    Raises:
      UserError: it is given one.
    """
    if argument:
        kind = config.labels.partition(":")[0]
        raise UserError(f"corruption.labels='{config.labels}': '{kind}' takes nothing behind a colon: type {kind}.")
    return ()


class LabelNoise(NamedTuple):
    """A kind of label noise. A table is whatever `open` returns: arrays that the other functions read.

    Attributes:
      draw: (example, classes, table) -> the label that it gets if it is resampled, an integer scalar.
      transition: (classes, table, ids, true labels) -> the probability of each drawn label for each true one, float64
        [classes, classes] with rows that sum to 1; nan where it depends on more than the true label.
      open: (what follows "KIND:", the config section `corruption`, facts) -> table.
      rate: (example, probability, table) -> the probability with which this example is resampled, float32 scalar.
      mean_rate: (probability, table) -> its mean over examples.
      reads_file: whether what follows "KIND:" is the path of a file.
    """

    draw: Callable[[Example, int, Any], jax.Array]
    transition: Callable[[int, Any, np.ndarray, np.ndarray], np.ndarray]
    open: Callable[[str, ConfigDict, DataFacts], Any] = open_nothing
    rate: Callable[[Example, jax.Array, Any], jax.Array] = lambda example, probability, table: probability
    mean_rate: Callable[[float, Any], float] = lambda probability, table: probability
    reads_file: bool = False


def draw_bits(key: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
    """Returns numbers of quantiles, int32 in 0..2**16 - 1."""
    return jax.random.bits(key, shape, jnp.uint16).astype(jnp.int32)
