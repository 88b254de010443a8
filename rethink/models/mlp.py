"""The paper's multi-layer perceptrons (appendix A): fully connected hidden layers with ReLU on the flat image.

`hidden_sizes` makes one of them; their names stand in registry.py.
"""

from typing import ClassVar

import flax.linen as nn
import jax

from rethink.models import layers
from rethink.regularization.batch_norm import BatchNorm
from rethink.regularization.explicit import Dropout


class MLP(nn.Module):
    """Dense - norm - ReLU for each hidden layer, then a linear layer. The paper's have no norm.

    With images of 28x28x3 and 10 classes, 1 x 512 has 1,209,866 parameters and 3 x 512 has 1,735,178.

    Attributes:
      num_classes: width of the output.
      norm: batch norm after each hidden layer.
      dropout: at `dropout_places`.
      kernel_init: of every kernel; biases start at zero.
      hidden_sizes: width of each hidden layer.
    """

    dropout_places: ClassVar = ("hidden", "last")

    num_classes: int
    norm: BatchNorm
    dropout: Dropout
    kernel_init: layers.Initializer
    hidden_sizes: tuple[int, ...]

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits float32 [batch, classes] of float32 [batch, height, width, channels] or vectors [batch, n]."""
        if images.ndim != 2:
            layers.require_images(images, smallest=1, model="mlp")
        x = images.reshape(len(images), -1)
        for size in self.hidden_sizes:
            x = layers.dense_norm_relu(x, size, norm=self.norm, kernel_init=self.kernel_init, train=train)
            x = self.dropout(x, "hidden", train=train)
        x = self.dropout(x, "last", train=train)
        return layers.make_logits(x, self.num_classes, self.kernel_init)
