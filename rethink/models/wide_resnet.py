"""Wide residual networks (Zagoruyko & Komodakis, 2016), a later architecture for the paper's experiments.

It is not in the paper's tables.
"""

from typing import ClassVar

import flax.linen as nn
import jax

from rethink.models import layers
from rethink.regularization.batch_norm import BatchNorm
from rethink.regularization.explicit import Dropout
from rethink.schema.errors import UserError


class WideResNet(nn.Module):
    """WRN-depth-width: conv 3x3, three groups of (depth - 4) / 6 blocks, norm - ReLU, global mean pool, linear.

    A block is norm - ReLU - conv 3x3, twice, beside a shortcut (He et al., 2016, "pre-activation"). The groups have 16,
    32 and 64 times `width` filters; the second and third halve the size. Where a block changes the shape, its
    shortcut is a 1x1 convolution, without norm, of what the first ReLU returns; elsewhere it is the block's input.

    WRN-28-1 has 369,498 parameters with images of 3 channels, 10 classes and a norm with scale and shift.
    Without norm the convolutions have biases, and nothing keeps the sum over blocks small: expect to need a lower rate.

    Attributes:
      num_classes: width of the output.
      norm: batch norm before each ReLU.
      dropout: at `dropout_places`.
      kernel_init: of every kernel; biases start at zero.
      depth: number of layers, 6 n + 4; the shortcuts' are not counted.
      width: multiple of the filters.
    """

    dropout_places: ClassVar = ("hidden", "last")

    num_classes: int
    norm: BatchNorm
    dropout: Dropout
    kernel_init: layers.Initializer
    depth: int = 28
    width: int = 1

    def __post_init__(self):
        if self.depth < 10 or (self.depth - 4) % 6:
            raise UserError(
                f"model.kwargs.depth={self.depth} is no depth of a wide ResNet: take 6 n + 4, such as 10, 16, 28 or 40."
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits float32 [batch, num_classes] of images float32 [batch, height, width, channels]."""
        layers.require_images(images, smallest=1, model="wide_resnet")

        def convolve(x, features, window, stride=1):
            use_bias = not self.norm.replaces_bias
            return layers.convolution(
                x, features, window, stride=stride, use_bias=use_bias, kernel_init=self.kernel_init
            )

        def normalize(x):
            return nn.relu(self.norm(x, train=train))

        x = convolve(images, 16, 3)
        # Three groups of blocks; the first block of the second and third group halves the size.
        for group, features in enumerate((16 * self.width, 32 * self.width, 64 * self.width)):
            for block in range((self.depth - 4) // 6):
                stride = 2 if group > 0 and block == 0 else 1
                # The shortcut of a block that changes the shape starts after the block's first ReLU.
                active = normalize(x)
                changes_shape = stride > 1 or x.shape[-1] != features
                shortcut = convolve(active, features, 1, stride) if changes_shape else x
                middle = self.dropout(normalize(convolve(active, features, 3, stride)), "hidden", train=train)
                residual = convolve(middle, features, 3)
                x = shortcut + residual
        x = self.dropout(normalize(x).mean(axis=(1, 2)), "last", train=train)
        return layers.make_logits(x, self.num_classes, self.kernel_init)
