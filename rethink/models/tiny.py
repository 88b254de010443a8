"""The smallest convolutional network with batch norm, for tests and first tries that take seconds.

It is not in the paper. The tiny MLP is `mlp.MLP` with one hidden layer of 16.
"""

from typing import ClassVar

import flax.linen as nn
import jax

from rethink.models import layers
from rethink.regularization.batch_norm import BatchNorm
from rethink.regularization.explicit import Dropout


class TinyConv(nn.Module):
    """Conv 3x3 - norm - ReLU - global mean pool - linear.

    Attributes:
      num_classes: width of the output.
      norm: batch norm after the convolution; without it the convolution has a bias.
      dropout: at `dropout_places`.
      kernel_init: of every kernel; biases start at zero.
      features: number of filters.
    """

    dropout_places: ClassVar = ("last",)

    num_classes: int
    norm: BatchNorm
    dropout: Dropout
    kernel_init: layers.Initializer
    features: int = 8

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits float32 [batch, num_classes] of images float32 [batch, height, width, channels]."""
        layers.require_images(images, smallest=1, model="conv_tiny")
        x = layers.conv_norm_relu(images, self.features, 3, norm=self.norm, kernel_init=self.kernel_init, train=train)
        x = self.dropout(x.mean(axis=(1, 2)), "last", train=train)
        return layers.make_logits(x, self.num_classes, self.kernel_init)
