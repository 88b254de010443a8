"""Theorem 1: the network as a Flax Linen module with its parameters.

It computes in the dtype that it is given and in no other: float64 without x64 would silently be float32.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike

from rethink.schema.errors import UserError
from rethink.theory.theorem1.expressivity import TwoLayerNetwork

ROWS = 256  # points to give at once: the hidden layer is [points, units]


class TwoLayerReLU(nn.Module):
    """sum_j w_j max(<a, x> - b_j, 0), the n units sharing one projection (paper, theorem 1).

    Attributes:
      units: n.
      outputs: the shape of the targets of one point: () or (k,).
      dtype: of parameters and arithmetic.
    """

    units: int
    outputs: tuple[int, ...]
    dtype: np.dtype

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns [batch, *outputs] of images [batch, ...], which are flattened; `train` changes nothing.

        Raises:
          UserError: dtype is float64 outside of `jax.enable_x64(True)`.
        """
        del train
        if jax.dtypes.canonicalize_dtype(self.dtype) != self.dtype:
            raise UserError(f"a network in {np.dtype(self.dtype)} needs x64: call it within `jax.enable_x64(True)`.")
        points = jnp.asarray(images, self.dtype).reshape(len(images), -1)
        normal = nn.initializers.normal()
        projection = self.param("projection", normal, (points.shape[1],), self.dtype)
        thresholds = self.param("thresholds", normal, (self.units,), self.dtype)
        weights = self.param("weights", normal, (self.units, *self.outputs), self.dtype)
        exact = jax.lax.Precision.HIGHEST  # an accelerator's default would cut float32 short
        positions = jnp.dot(points, projection, precision=exact)
        return jnp.dot(nn.relu(positions[:, None] - thresholds), weights, precision=exact)


def to_linen(network: TwoLayerNetwork, dtype: DTypeLike) -> tuple[TwoLayerReLU, dict[str, np.ndarray]]:
    """Returns (module, params): `module.apply({"params": params}, images, train=False)` is `network(images)`.

    Params are host arrays: projection [d], thresholds [n], weights [n] or [n, k]. In float64 they agree to roundoff;
    what float32 leaves is measured by `certificates.measure_precision`.
    """
    module = TwoLayerReLU(len(network.thresholds), network.weights.shape[1:], np.dtype(dtype))
    names = ("projection", "thresholds", "weights")
    return module, {name: getattr(network, name).astype(dtype) for name in names}
