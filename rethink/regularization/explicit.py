"""Weight decay and dropout: the explicit regularizers of the paper's section 3 that act on parameters and activations.

Architectures are not known here: a network calls the dropout that it is given. The explicit regularizer of images is
augmentation.py.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from rethink.schema.errors import UserError, pick, unknown_name

DROPOUT_PLACES = ("last", "hidden")
DROPOUT_STREAM = "dropout_by_example"  # of Linen's random streams, the one of `Dropout`: the same on every device


@dataclasses.dataclass(frozen=True)
class WeightDecay:
    """The settings of weight decay.

    Attributes:
      kind: one of `WEIGHT_DECAYS`. `l2` adds coefficient / 2 * |w|^2 to the loss, so that the gradient gains
        coefficient * w; `decoupled` subtracts learning rate * coefficient * w in each step, after momentum and
        preconditioner (Loshchilov & Hutter, 2019).
      coefficient: at least 0.
      parameters: one of `DECAYED`: the arrays named `kernel`, or all, biases and batch norm's among them.

    Raises:
      UserError: unknown kind or parameters.
    """

    kind: str
    coefficient: float
    parameters: str

    def __post_init__(self):
        pick(WEIGHT_DECAYS, self.kind, "weight_decay.kind")
        pick(DECAYED, self.parameters, "weight_decay.parameters")

    def check_params(self, params: Any) -> None:
        """Checks that the decay does something to these parameters, arrays or their shapes.

        Raises:
          UserError: as `mask_decayed`.
        """
        if self.kind != "none":
            self.mask_decayed(params)

    def mask_decayed(self, params: Any) -> Any:
        """Returns a pytree of bool like `params`: which arrays decay.

        Raises:
          UserError: none does, so that the regularizer would do nothing.
        """
        is_decayed = DECAYED[self.parameters]
        mask = jax.tree_util.tree_map_with_path(lambda path, _: is_decayed(path), params)
        if not any(jax.tree.leaves(mask)):
            raise UserError(
                f"weight_decay.kind={self.kind} touches nothing: no parameter of this model is named 'kernel'; "
                "set --config.weight_decay.parameters=all, or --config.weight_decay.kind=none."
            )
        return mask

    def penalty(self, params: Any) -> jax.Array:
        """Returns what this kind of decay adds to the loss, float32 scalar."""
        return WEIGHT_DECAYS[self.kind].penalty(self, params)

    def transformation(self, learning_rate: optax.Schedule) -> optax.GradientTransformation:
        """Returns what this kind of decay does to the updates of an optimizer, to be chained after it."""
        return WEIGHT_DECAYS[self.kind].transformation(self, learning_rate)


def _no_penalty(decay: WeightDecay, params: Any) -> jax.Array:
    return decay.coefficient / 2 * jnp.float32(0)


def _l2_penalty(decay: WeightDecay, params: Any) -> jax.Array:
    squares = jnp.float32(0)
    for leaf, decays in zip(jax.tree.leaves(params), jax.tree.leaves(decay.mask_decayed(params)), strict=True):
        squares += jnp.sum(jnp.square(leaf)) if decays else 0
    return decay.coefficient / 2 * squares


def _identity(decay: WeightDecay, learning_rate: optax.Schedule) -> optax.GradientTransformation:
    return optax.identity()


def _shrink_weights(decay: WeightDecay, learning_rate: optax.Schedule) -> optax.GradientTransformation:
    """Returns the update w -> w - learning rate * coefficient * w, on top of the optimizer's.

    optax.add_decayed_weights would act before the learning rate; this one comes last in the chain.
    """

    def init(params: Any) -> optax.ScaleByScheduleState:
        decay.mask_decayed(params)
        return optax.ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

    def update(updates: Any, state: optax.ScaleByScheduleState, params: Any = None) -> tuple[Any, Any]:
        factor = learning_rate(state.count) * decay.coefficient
        updates = jax.tree.map(
            lambda change, weight, decays: change - factor * weight if decays else change,
            updates,
            params,
            decay.mask_decayed(params),
        )
        return updates, optax.ScaleByScheduleState(count=state.count + 1)

    return optax.GradientTransformation(init, update)


class DecayKind(NamedTuple):
    """A kind of weight decay: what it adds to the loss, and what it does to the updates; each from the settings."""

    penalty: Callable[[WeightDecay, Any], jax.Array]
    transformation: Callable[[WeightDecay, optax.Schedule], optax.GradientTransformation]


WEIGHT_DECAYS = {
    "none": DecayKind(_no_penalty, _identity),
    "l2": DecayKind(_l2_penalty, _identity),
    "decoupled": DecayKind(_no_penalty, _shrink_weights),
}
DECAYED: dict[str, Callable[[Any], bool]] = {  # which arrays decay, by their path in the pytree
    "kernels": lambda path: getattr(path[-1], "key", None) == "kernel",
    "all": lambda path: True,
}


def weight_decay_from_config(config: ml_collections.ConfigDict) -> WeightDecay:
    """Returns the settings of the config section `weight_decay`, whose fields are those of `WeightDecay`."""
    return WeightDecay(**dict(config))


@dataclasses.dataclass(frozen=True)
class Dropout:
    """Dropout (Srivastava et al., 2014), drawn for each example of the global batch on its own.

    A network holds it as a field and calls it in `@nn.compact` at each of its places; it acts at one of them. The draw
    is a function of (stream, layer, position in the global batch), so that the number of devices changes nothing. The
    stream, `DROPOUT_STREAM`, is another one for each step.

    Attributes:
      rate: of activations that are set to 0 in training, 0 <= rate < 1; the others are scaled by 1 / (1 - rate).
      place: one of `DROPOUT_PLACES`: the input of the last linear layer, or the outputs of all hidden dense layers
        (in a wide ResNet, between the convolutions of each block).
      axis_name: the mapped device axis that the batch is divided over; None where there is none.

    Raises:
      UserError: unknown place.
    """

    rate: float
    place: str
    axis_name: str | None

    def __post_init__(self):
        _check_place(self.place)

    def __call__(self, x: jax.Array, place: str, *, train: bool) -> jax.Array:
        """Returns x, float32 [batch, ...], with activations dropped in training if `place` is the one set.

        Raises:
          UserError: the network calls it at an unknown place, where it could never act.
        """
        _check_place(place)
        if not train or not self.rate or place != self.place:
            return x
        return _Draw(self.rate, self.axis_name)(x)


def _check_place(place: str) -> None:
    if place not in DROPOUT_PLACES:
        raise UserError(unknown_name("dropout.place", place, DROPOUT_PLACES))


NO_DROPOUT = Dropout(rate=0.0, place="last", axis_name=None)


class _Draw(nn.Module):
    """The draw as a layer of its own, so that each call has its own stream.

    Linen folds the name of this class into the key: another name would be another draw.
    """

    rate: float
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        key = self.make_rng(DROPOUT_STREAM)
        # The position in the global batch, from that of the first example on this device.
        first = jax.lax.axis_index(self.axis_name) * len(x) if self.axis_name else 0
        positions = first + jnp.arange(len(x), dtype=jnp.uint32)

        def draw_kept(position: jax.Array) -> jax.Array:
            return jax.random.bernoulli(jax.random.fold_in(key, position), jnp.float32(1 - self.rate), x.shape[1:])

        return jnp.where(jax.vmap(draw_kept)(positions), x / (1 - self.rate), 0)


def dropout_from_config(config: ml_collections.ConfigDict, axis_name: str) -> Dropout:
    """Returns the settings of the config section `dropout`; `axis_name` is the name of the mapped device axis."""
    return Dropout(config.rate, config.place, axis_name)
