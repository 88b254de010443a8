"""Owns the steps that all architectures are written in: a dense or convolution layer with its norm, an input check.

Refuses architecture: how many layers, how wide and in which order is said in each network's own file.
Every helper is called inside `@nn.compact` and adds its parameters to the module that calls it.
"""

import flax.linen as nn
import jax

from rethink.regularization.batch_norm import BatchNorm
from rethink.settings import UserError

Initializer = jax.nn.initializers.Initializer


def require_images(images: jax.Array, *, smallest: int, model: str) -> None:
    """Checks that images are [batch, height, width, channels], at least `smallest` high and wide.

    Raises:
      UserError: they are not; instead of a shape error from the depth of the network.
    """
    shape = tuple(images.shape)
    if len(shape) != 4:
        raise UserError(f"model.name='{model}' takes images [batch, height, width, channels], but was given {shape}.")
    _, height, width, channels = shape
    if min(height, width) < smallest or channels < 1:
        raise UserError(
            f"model.name='{model}' cannot take images of {height}x{width}x{channels}: "
            f"the smallest that works is {smallest}x{smallest}x1. Take larger images or a smaller crop from each side."
        )


def dense_norm_relu(
    x: jax.Array, features: int, *, norm: BatchNorm, kernel_init: Initializer, train: bool
) -> jax.Array:
    """Returns float32 [..., features]: a matrix product with norm or bias, ReLU."""
    x = nn.Dense(features, use_bias=not norm.replaces_bias, kernel_init=kernel_init)(x)
    return nn.relu(norm(x, train=train))


def conv_norm_relu(
    x: jax.Array,
    features: int,
    window: int,
    *,
    stride: int = 1,
    norm: BatchNorm,
    kernel_init: Initializer,
    train: bool,
) -> jax.Array:
    """Returns float32 [batch, height / stride, width / stride, features]: a convolution with norm or bias, ReLU."""
    x = convolution(x, features, window, stride=stride, use_bias=not norm.replaces_bias, kernel_init=kernel_init)
    return nn.relu(norm(x, train=train))


def convolution(
    x: jax.Array, features: int, window: int, *, stride: int = 1, use_bias: bool, kernel_init: Initializer
) -> jax.Array:
    """Returns a SAME convolution of x [batch, height, width, channels] with window x window filters.

    A 1x1 convolution is written as the matrix product that it is, 3 to 4 times faster in XLA on CPU. The kernel is then
    [channels, features], drawn from the same distribution: the fans are the same.
    """
    if window == 1:
        return nn.Dense(features, use_bias=use_bias, kernel_init=kernel_init)(x[:, ::stride, ::stride])
    return nn.Conv(features, (window, window), strides=stride, use_bias=use_bias, kernel_init=kernel_init)(x)


def max_pool(x: jax.Array) -> jax.Array:
    """Returns the 3x3 max pool with stride 2 of x [batch, height, width, channels]: half the size, rounded up."""
    return nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
