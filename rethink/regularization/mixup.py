"""Mixup: a training example is mixed with the next one of the global batch, and so are their losses.

It comes last, on the model's input. Evaluation is not mixed.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special


@dataclasses.dataclass(frozen=True)
class Mixup:
    """The settings of mixup (Zhang, Cisse, Dauphin & Lopez-Paz, 2018).

    As in the authors' code there is one share for the batch, drawn anew in each step, and inputs are mixed once they
    are normalized. The partner is the next row of the global batch, of the last row the first: rows are in a random
    order that is another one in each epoch, so this is their random permutation, but that no example is its own
    partner. It needs one example from the next device, and is the same on any number of devices.

    Attributes:
      alpha: the share of an example is of Beta(alpha, alpha), that of its partner the rest.
      axis_name: the mapped device axis that the batch is divided over.
    """

    alpha: float
    axis_name: str

    def draw_share(self, key: jax.Array) -> jax.Array:
        """Returns the share of the examples themselves, float32 scalar in 0..1; `key`: of the step.

        It is one of 2**16 quantiles by number: a draw of an integer, which no platform can round differently.
        """
        return jnp.asarray(_make_quantiles(self.alpha))[jax.random.bits(key, (), jnp.uint16).astype(jnp.int32)]

    def take_partners(self, batch: Any) -> Any:
        """Returns the partner's row in the place of each row: arrays [rows on this device, ...] of any dtype."""
        devices = jax.lax.axis_size(self.axis_name)
        before = [(device, (device - 1) % devices) for device in range(devices)]

        def take(rows: jax.Array) -> jax.Array:
            return jnp.concatenate([rows[1:], jax.lax.ppermute(rows[:1], self.axis_name, before)])

        return jax.tree.map(take, batch)


@functools.cache
def _make_quantiles(alpha: float) -> np.ndarray:
    """Returns those of Beta(alpha, alpha) at the middle of each of 2**16 equal steps of probability, float32."""
    return scipy.special.betaincinv(alpha, alpha, (np.arange(2**16) + 0.5) / 2**16).astype(np.float32)


def mix(own: Any, partner: Any, share: jax.Array) -> Any:
    """Returns share * own + (1 - share) * partner, float32 arrays; exactly `own` where both are equal."""
    return jax.tree.map(lambda one, other: other + share * (one - other), own, partner)
