"""Owns the explicit regularizers of the paper's section 3 that act on parameters and activations: decay and dropout.

Refuses to know architectures and where things run: a network calls the dropout that it is handed, and the name of the
device axis comes with it. The regularizer of the images, data augmentation, is in augmentation.py.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from rethink.schema.errors import UserError

WEIGHT_DECAYS = ("none", "l2", "decoupled")
DECAYED = ("kernels", "all")
DROPOUT_PLACES = ("last", "hidden")
DROPOUT_STREAM = "dropout_by_example"  # of Linen's random streams, the one of `Dropout`: the same on every device


@dataclasses.dataclass(frozen=True)
class WeightDecay:
    """The settings of weight decay.

    Attributes:
      kind: one of `WEIGHT_DECAYS`. `l2` adds coefficient / 2 * |w|^2 to the loss, so that the gradient gains
        coefficient * w; `decoupled` subtracts learning rate * coefficient * w in each step, past momentum and
        preconditioner (Loshchilov & Hutter, 2019).
      coefficient: at least 0.
      parameters: one of `DECAYED`: the arrays named `kernel`, or all, biases and batch norm's among them.
    """

    kind: str
    coefficient: float
    parameters: str

    def check(self, params: Any) -> None:
        """Refuses what would do nothing to these parameters, arrays or their shapes; see `touches`."""
        if self.kind != "none":
            self.touches(params)

    def touches(self, params: Any) -> Any:
        """Returns a pytree of bool like `params`: which arrays decay.

        Raises:
          UserError: none does, so that the regularizer would do nothing.
        """
        mask = jax.tree_util.tree_map_with_path(
            lambda path, _: self.parameters == "all" or getattr(path[-1], "key", None) == "kernel", params
        )
        if not any(jax.tree.leaves(mask)):
            raise UserError(
                f"weight_decay.kind={self.kind} touches nothing: no parameter of this model is named 'kernel'; "
                "set --config.weight_decay.parameters=all, or --config.weight_decay.kind=none."
            )
        return mask

    def penalty(self, params: Any) -> jax.Array:
        """Returns what `l2` adds to the loss, float32 scalar; 0 for the other kinds."""
        squares = jnp.float32(0)
        if self.kind == "l2":
            for leaf, decays in zip(jax.tree.leaves(params), jax.tree.leaves(self.touches(params)), strict=True):
                squares += jnp.sum(jnp.square(leaf)) if decays else 0
        return self.coefficient / 2 * squares

    def transformation(self, learning_rate: optax.Schedule) -> optax.GradientTransformation:
        """Returns what `decoupled` does to the updates of an optimizer; the identity for the other kinds."""
        if self.kind != "decoupled":
            return optax.identity()

        def init(params: Any) -> optax.ScaleByScheduleState:
            self.touches(params)
            return optax.ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

        def update(updates: Any, state: optax.ScaleByScheduleState, params: Any = None) -> tuple[Any, Any]:
            factor = learning_rate(state.count) * self.coefficient
            updates = jax.tree.map(
                lambda change, weight, decays: change - factor * weight if decays else change,
                updates,
                params,
                self.touches(params),
            )
            return updates, optax.ScaleByScheduleState(count=state.count + 1)

        return optax.GradientTransformation(init, update)


def weight_decay_from_config(config: ml_collections.ConfigDict) -> WeightDecay:
    """Returns the settings of the config section `weight_decay`, whose fields are those of `WeightDecay`."""
    return WeightDecay(**dict(config))


@dataclasses.dataclass(frozen=True)
class Dropout:
    """Dropout (Srivastava et al., 2014), drawn for each example of the global batch apart.

    A network holds it as a field and calls it in `@nn.compact` at each place that it has; it acts at the one asked for.
    The draw is a function of (stream, layer, position in the global batch), so that the number of devices changes
    nothing: the stream, `DROPOUT_STREAM`, is another one for each step.

    Attributes:
      rate: of activations that are set to 0 in training, 0 <= rate < 1; the others are scaled by 1 / (1 - rate).
      place: one of `DROPOUT_PLACES`: the input of the last linear layer, or the outputs of all hidden dense layers
        (in a wide ResNet, between the convolutions of each block).
      axis_name: the mapped device axis that the batch is divided over; None where there is none.
    """

    rate: float
    place: str
    axis_name: str | None

    def __call__(self, x: jax.Array, place: str, *, train: bool) -> jax.Array:
        """Returns x, float32 [batch, ...], with activations dropped, in training and at the place asked for."""
        if not train or not self.rate or place != self.place:
            return x
        return _Draw(self.rate, self.axis_name)(x)


NO_DROPOUT = Dropout(rate=0.0, place="last", axis_name=None)


class _Draw(nn.Module):
    """The draw as a layer of its own, so that each call has its own stream."""

    rate: float
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        key = self.make_rng(DROPOUT_STREAM)
        first = jax.lax.axis_index(self.axis_name) * len(x) if self.axis_name else 0
        positions = first + jnp.arange(len(x), dtype=jnp.uint32)

        def draw_one(position: jax.Array) -> jax.Array:
            return jax.random.bernoulli(jax.random.fold_in(key, position), jnp.float32(1 - self.rate), x.shape[1:])

        return jnp.where(jax.vmap(draw_one)(positions), x / (1 - self.rate), 0)


def dropout_from_config(config: ml_collections.ConfigDict, axis_name: str) -> Dropout:
    """Returns the settings of the config section `dropout`; `axis_name` is what the device axis is mapped under."""
    return Dropout(config.rate, config.place, axis_name)
