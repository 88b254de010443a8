"""The paper's small AlexNet for CIFAR10 (appendix A), and its local response normalization.

It is not the AlexNet of ImageNet (Krizhevsky et al., 2012), of which it keeps two convolutional stages.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from rethink.models import layers, pooling
from rethink.regularization.batch_norm import BatchNorm
from rethink.regularization.explicit import Dropout


def normalize_locally(x: jax.Array, *, depth_radius: int, bias: float, alpha: float, beta: float) -> jax.Array:
    """Returns x_c / (bias + alpha * sum of x_k^2 over the channels k with |k - c| <= depth_radius) ** beta.

    Krizhevsky et al. (2012), section 3.3, in TensorFlow's parameters: alpha multiplies the sum, not the mean.
    The sums are one matrix product with a band of ones, so that their gradient is one too. All is computed in float32:
    in bfloat16, 1 plus a small number is 1, and the result x.

    Args:
      x: float32 or bfloat16 [..., channels]; so is what is returned.
    """
    exact = x.astype(jnp.float32)
    # band[k, c] is 1 where channel k counts for channel c.
    channel = jnp.arange(x.shape[-1])
    band = (jnp.abs(channel[:, None] - channel[None, :]) <= depth_radius).astype(jnp.float32)
    sums = jnp.matmul(jnp.square(exact), band, precision=jax.lax.Precision.HIGHEST)
    return (exact * (bias + alpha * sums) ** -beta).astype(x.dtype)


class AlexNet(nn.Module):
    """Twice conv 5x5 - norm - ReLU - max pool 3x3/2 - local response normalization; dense 384, 192; linear.

    The paper's has no (batch) norm, and 1,387,786 parameters with images of 28x28x3 and 10 classes.

    Attributes:
      num_classes: width of the output.
      norm: batch norm after each layer but the last.
      dropout: at `dropout_places`.
      kernel_init: of every kernel; biases start at zero.
      features: filters of each convolution.
      hidden_sizes: widths of the dense layers.
      depth_radius, bias, alpha, beta: of `normalize_locally`. The paper does not state them: these are those of
        TensorFlow's CIFAR-10 tutorial, whose network this is.
    """

    dropout_places: ClassVar = ("hidden", "last")

    num_classes: int
    norm: BatchNorm
    dropout: Dropout
    kernel_init: layers.Initializer
    features: tuple[int, ...] = (64, 64)
    hidden_sizes: tuple[int, ...] = (384, 192)
    depth_radius: int = 4
    bias: float = 1.0
    alpha: float = 0.001 / 9.0
    beta: float = 0.75

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits float32 [batch, num_classes] of images float32 [batch, height, width, channels]."""
        layers.require_images(images, smallest=1, model="alexnet")
        shared: dict[str, Any] = {"norm": self.norm, "kernel_init": self.kernel_init, "train": train}
        # Two convolutional stages.
        x = images
        for features in self.features:
            x = pooling.max_pool(layers.conv_norm_relu(x, features, 5, **shared))
            x = normalize_locally(x, depth_radius=self.depth_radius, bias=self.bias, alpha=self.alpha, beta=self.beta)
        # Dense layers on the flat image.
        x = x.reshape(len(x), -1)
        for size in self.hidden_sizes:
            x = self.dropout(layers.dense_norm_relu(x, size, **shared), "hidden", train=train)
        x = self.dropout(x, "last", train=train)
        return layers.make_logits(x, self.num_classes, self.kernel_init)
