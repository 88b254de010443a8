"""Batch normalization (Ioffe & Szegedy, 2015), an implicit regularizer of the paper's section 3, with all its settings.

Architectures and devices are not known here: a network calls it, and the name of the device axis is a setting.
"""

import dataclasses

import flax.linen as nn
import jax
import ml_collections

from rethink.schema.errors import UserError, unknown_name

KINDS = ("none", "per_device", "across_devices")
EVALUATIONS = ("running", "batch")


@dataclasses.dataclass(frozen=True)
class BatchNorm:
    """The settings of every batch norm in a network. A model holds them as a field and calls them in `@nn.compact`.

    Each call adds one layer. Its running mean and (biased) variance, float32 [channels], live in `batch_stats`; its
    `scale` and `bias`, where it has them, in `params`. Under `per_device` the running statistics differ between
    devices: whoever replicates the state also averages them.

    Attributes:
      kind: one of `KINDS`. `none` is the identity; `per_device` takes the statistics of one device's part of the
        batch, `across_devices` those of the whole batch.
      scale: whether a factor is learned. The paper's Inception has none, as a ReLU and a convolution follow.
      shift: whether an offset is learned.
      momentum: what the running statistics keep in one training step, 0..1.
      epsilon: added to the variance.
      evaluation: one of `EVALUATIONS`: the statistics of evaluation. With `batch` they are those of the batch at
        hand, padding included, so an example's logits depend on the others in its batch.
      axis_name: the mapped axis that `across_devices` reduces over, in training and in evaluation on the batch.

    Raises:
      UserError: unknown kind or evaluation.
      ValueError: an axis without `across_devices`, or the other way round.
    """

    kind: str
    scale: bool
    shift: bool
    momentum: float
    epsilon: float
    evaluation: str
    axis_name: str | None

    def __post_init__(self):
        for field, choices in (("kind", KINDS), ("evaluation", EVALUATIONS)):
            if getattr(self, field) not in choices:
                raise UserError(unknown_name(f"batch_norm.{field}", getattr(self, field), choices))
        if (self.kind == "across_devices") != (self.axis_name is not None):
            raise ValueError(f"across_devices needs an axis_name, and no other kind has one: {self}")

    @property
    def replaces_bias(self) -> bool:
        """Whether the layer before needs no bias: the mean that is subtracted would cancel it."""
        return self.kind != "none"

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns x, float32 [..., channels], normalized over all axes but the last.

        Only training changes the running statistics, and then `batch_stats` must be mutable.
        """
        if self.kind == "none":
            return x
        layer = nn.BatchNorm(
            use_scale=self.scale,
            use_bias=self.shift,
            momentum=self.momentum,
            epsilon=self.epsilon,
            axis_name=self.axis_name,
        )
        if train or self.evaluation == "running" or layer.is_initializing():
            return layer(x, use_running_average=not train)
        # Evaluation on the batch. Flax updates the running statistics whenever it normalizes by the batch: let it do so
        # in a copy, which is dropped here.
        copy, variables = layer.unbind()
        normalized, _ = copy.apply(variables, x, use_running_average=False, mutable=["batch_stats"])
        return normalized


NONE = BatchNorm("none", scale=False, shift=False, momentum=0.0, epsilon=0.0, evaluation="running", axis_name=None)


def from_config(config: ml_collections.ConfigDict, axis_name: str | None) -> BatchNorm:
    """Returns the settings of the section `batch_norm`, whose fields are those of `BatchNorm` but `axis_name`.

    Args:
      config: kind, scale, shift, momentum, epsilon, evaluation; validated before.
      axis_name: the name of the mapped device axis; dropped where the kind does not reduce over it.
    """
    return BatchNorm(**dict(config), axis_name=axis_name if config.kind == "across_devices" else None)
