"""The paper's small Inception for CIFAR10 (appendix, figure 3): ten modules of parallel convolutions.

The paper's network for ImageNet is inception_v3.py.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from rethink.models import layers, pooling
from rethink.regularization.batch_norm import BatchNorm
from rethink.regularization.explicit import Dropout

# Filters of the 1x1 and the 3x3 convolution of each module; one number is a downsampling module's 3x3/2 convolution.
MODULES = ((32, 32), (32, 48), 80, (112, 48), (96, 64), (80, 80), (48, 96), 96, (176, 160), (176, 160))


class Inception(nn.Module):
    """Conv 3x3 of 96 filters, the modules, global mean pool, linear; every convolution is conv - norm - ReLU.

    A module joins a 1x1 and a 3x3 convolution; a downsampling module a 3x3/2 convolution and a 3x3/2 max pool.
    1,649,402 parameters with images of 3 channels and 10 classes, if the norm has a shift and no scale; as many
    without norm, as the convolutions then have biases.

    Attributes:
      num_classes: width of the output.
      norm: batch norm after each convolution.
      dropout: at `dropout_places`.
      kernel_init: of every kernel; biases start at zero.
      modules: as `MODULES`, the paper's.
    """

    dropout_places: ClassVar = ("last",)

    num_classes: int
    norm: BatchNorm
    dropout: Dropout
    kernel_init: layers.Initializer
    modules: tuple[int | tuple[int, int], ...] = MODULES

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits float32 [batch, num_classes] of images float32 [batch, height, width, channels]."""
        layers.require_images(images, smallest=1, model="inception")
        shared: dict[str, Any] = {"norm": self.norm, "kernel_init": self.kernel_init, "train": train}
        x = layers.conv_norm_relu(images, 96, 3, **shared)
        for filters in self.modules:
            if isinstance(filters, int):  # a downsampling module
                branches = [layers.conv_norm_relu(x, filters, 3, stride=2, **shared), pooling.max_pool(x)]
            else:
                pointwise, spatial = filters
                branches = [
                    layers.conv_norm_relu(x, pointwise, 1, **shared),
                    layers.conv_norm_relu(x, spatial, 3, **shared),
                ]
            x = jnp.concatenate(branches, axis=-1)
        x = self.dropout(x.mean(axis=(1, 2)), "last", train=train)
        return layers.make_logits(x, self.num_classes, self.kernel_init)
