"""Label noise: redraws labels as a function of (seed, example id), and of the image where a kind says so.

A new kind of noise is one row of `LABEL_NOISE`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rethink import randomness
from rethink.data.corruption import instance, label_file, transitions
from rethink.data.corruption.noise import Example, LabelNoise
from rethink.schema.errors import pick


def keep_label(example: Example, num_classes: int, table: Any) -> jax.Array:
    """Returns the label as it is."""
    return example.label


def draw_any_class(example: Example, num_classes: int, table: Any) -> jax.Array:
    """Returns a class drawn uniformly from all, int32 scalar in 0..num_classes - 1; the true one may come again."""
    return jax.random.randint(example.key, (), 0, num_classes, jnp.int32)


def draw_other_class(example: Example, num_classes: int, table: Any) -> jax.Array:
    """Returns a class drawn uniformly from the others, int32 scalar in 0..num_classes - 1; never the true one."""
    return (example.label + 1 + jax.random.randint(example.key, (), 0, num_classes - 1, jnp.int32)) % num_classes


LABEL_NOISE: dict[str, LabelNoise] = {
    "none": LabelNoise(keep_label, lambda classes, *_: np.eye(classes)),
    # The paper's "random labels" and "partially corrupted labels".
    "uniform": LabelNoise(draw_any_class, lambda classes, *_: np.full((classes, classes), 1 / classes)),
    # The convention of the noisy-label literature.
    "symmetric": LabelNoise(draw_other_class, lambda classes, *_: (1 - np.eye(classes)) / (classes - 1)),
    "pair_flip": LabelNoise(transitions.draw_next_class, lambda classes, *_: np.roll(np.eye(classes), 1, axis=1)),
    "asymmetric": LabelNoise(transitions.draw_mapped, transitions.map_transition, transitions.open_map),
    "matrix": LabelNoise(
        transitions.draw_from_row, transitions.matrix_transition, transitions.open_matrix, reads_file=True
    ),
    "instance": LabelNoise(
        instance.draw_by_image,
        instance.instance_transition,
        instance.open_instance,
        instance.instance_rate,
        instance.mean_instance_rate,
    ),
    "file": LabelNoise(
        label_file.draw_from_file, label_file.file_transition, label_file.open_label_file, reads_file=True
    ),
}


@functools.partial(jax.jit, static_argnames=("kind", "num_classes"))
def corrupt_labels(
    key: jax.Array,
    ids: jax.Array,
    labels: jax.Array,
    probability: jax.Array,
    images: jax.Array | None = None,
    table: Any = (),
    *,
    kind: str,
    num_classes: int,
) -> tuple[jax.Array, jax.Array]:
    """Returns (given labels int32 [examples], resampled bool [examples]), each label resampled with the probability.

    Each example has one uniform number, which is compared with every probability: the examples that are resampled at
    a smaller probability are resampled at a larger one as well, to the same labels.

    Args:
      key: a stream of `randomness.key_for`.
      ids: uint32 [examples].
      labels: true labels, int32 [examples].
      probability: float32 scalar in 0..1.
      images: as stored, [examples, height, width, channels]; only `instance` reads them.
      table: what the kind's `open` returned.
      kind: a name of `LABEL_NOISE`. With "none" nothing is resampled at any probability.

    Raises:
      UserError: the kind is unknown.

    Source: Zhang et al. (2017), section 2.
    """
    noise = pick(LABEL_NOISE, kind, "corruption.labels")
    if noise.draw is keep_label:
        return labels, jnp.zeros(labels.shape, bool)

    def corrupt_one(example_key, example_id, label, image):
        coin, draw = jax.random.split(example_key)
        example = Example(draw, example_id, label, image)
        resampled = jax.random.uniform(coin, (), jnp.float32) < noise.rate(example, probability, table)
        given = noise.draw(example, num_classes, table)
        return jnp.where(resampled, given, label).astype(jnp.int32), resampled

    return jax.vmap(corrupt_one)(randomness.example_keys(key, ids), ids, labels, images)
