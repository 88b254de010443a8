"""The layers that the architectures are made of: dense and convolution, each with its norm; and a check of the input.

How many layers, how wide and in which order stands in each network's own file. Every function here is called inside
`@nn.compact` and adds its parameters to the module that calls it.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rethink.regularization.batch_norm import BatchNorm
from rethink.schema.errors import UserError

Initializer = jax.nn.initializers.Initializer


def require_images(images: jax.Array, *, smallest: int, model: str) -> None:
    """Checks that images are [batch, height, width, channels], at least `smallest` high and wide.

    Raises:
      UserError: they are not; instead of a shape error from the depth of the network.
    """
    shape = tuple(images.shape)
    if len(shape) == 2:
        raise UserError(
            f"model.name='{model}' takes images, and these data are feature vectors of {shape[1]} values: set "
            "--config.model.name=mlp_1x512, or another that takes them."
        )
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
    """Returns float32 [..., features] of x, float32 [..., channels]: a matrix product with norm or bias, ReLU."""
    x = nn.Dense(features, use_bias=not norm.replaces_bias, kernel_init=kernel_init)(x)
    return nn.relu(norm(x, train=train))


def conv_norm_relu(
    x: jax.Array,
    features: int,
    window: int | tuple[int, int],
    *,
    stride: int = 1,
    padding: str = "SAME",
    norm: BatchNorm,
    kernel_init: Initializer,
    train: bool,
) -> jax.Array:
    """Returns float32 [batch, rows, columns, features]: a `convolution` with norm or bias, ReLU."""
    use_bias = not norm.replaces_bias
    x = convolution(x, features, window, stride=stride, padding=padding, use_bias=use_bias, kernel_init=kernel_init)
    return nn.relu(norm(x, train=train))


def convolution(
    x: jax.Array,
    features: int,
    window: int | tuple[int, int],
    *,
    stride: int = 1,
    padding: str = "SAME",
    use_bias: bool,
    kernel_init: Initializer,
) -> jax.Array:
    """Returns float32 [batch, rows, columns, features], a convolution of x [batch, height, width, channels].

    `window` is the filters' (height, width), or one number for both. SAME gives height / stride rows, rounded up; VALID
    (height - window + 1) / stride, rounded up; likewise the columns.

    A 1x1 convolution is written as the matrix product that it is, 3 to 4 times faster in XLA on CPU. The kernel is then
    [channels, features], drawn from the same distribution: the fans are the same.
    """
    window = (window, window) if isinstance(window, int) else window
    if window == (1, 1):
        return nn.Dense(features, use_bias=use_bias, kernel_init=kernel_init)(x[:, ::stride, ::stride])
    return nn.Conv(features, window, strides=stride, padding=padding, use_bias=use_bias, kernel_init=kernel_init)(x)


def make_logits(x: jax.Array, num_classes: int, kernel_init: Initializer, name: str | None = None) -> jax.Array:
    """Returns the last layer's logits, float32 [batch, num_classes], of x [batch, features].

    They are computed in float32 in a bfloat16 network too: rounded to bfloat16, the largest two are often equal.
    """
    return nn.Dense(num_classes, kernel_init=kernel_init, dtype=jnp.float32, name=name)(x)
