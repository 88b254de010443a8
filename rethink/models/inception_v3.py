"""Inception V3 (Szegedy et al., 2016), the paper's network for ImageNet (section 2, table 2).

The weight of the auxiliary head's loss is a config field, used in training/step.py. The paper's small Inception for
CIFAR10 is inception.py.
"""

import dataclasses
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from rethink.models import layers, pooling
from rethink.regularization.batch_norm import BatchNorm
from rethink.regularization.explicit import Dropout
from rethink.schema.errors import UserError

SMALLEST = 75  # leaves 1x1 to the last modules
SMALLEST_WITH_AUXILIARY_HEAD = 299  # leaves 17x17 to the head, and 1x1 to its last convolution


@dataclasses.dataclass(frozen=True)
class Conv:
    """A step of a branch: convolution - norm - ReLU. The window is (height, width)."""

    features: int
    window: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"


# A module concatenates its branches. A branch is a chain of steps: convolutions, pools, and branches of its own.
Step = Any  # Conv | str | Branches
Branches = tuple[tuple[Step, ...], ...]
MAX_POOL = "max pool 3x3/2, VALID"
MEAN_POOL = "mean pool 3x3/1, SAME"  # over the pixels that there are, as in TensorFlow: padding is not counted


def halve(features: int) -> Conv:
    """Returns the convolution of a downsampling module."""
    return Conv(features, (3, 3), stride=2, padding="VALID")


def large(pooled: int) -> Branches:
    """Returns a module of the 35x35 grid (figure 5 of Szegedy et al.; its 3x3 branch is 5x5 in TensorFlow)."""
    return (
        (Conv(64),),
        (Conv(48), Conv(64, (5, 5))),
        (Conv(64), Conv(96, (3, 3)), Conv(96, (3, 3))),
        (MEAN_POOL, Conv(pooled)),
    )


def middle(narrow: int) -> Branches:
    """Returns a module of the 17x17 grid: 7x7 convolutions as 1x7 and 7x1 (figure 6)."""
    wide, tall = (1, 7), (7, 1)
    return (
        (Conv(192),),
        (Conv(narrow), Conv(narrow, wide), Conv(192, tall)),
        (Conv(narrow), Conv(narrow, tall), Conv(narrow, wide), Conv(narrow, tall), Conv(192, wide)),
        (MEAN_POOL, Conv(192)),
    )


FORK: Branches = ((Conv(384, (1, 3)),), (Conv(384, (3, 1)),))
SMALL: Branches = (  # a module of the 8x8 grid (figure 7)
    (Conv(320),),
    (Conv(384), FORK),
    (Conv(448), Conv(384, (3, 3)), FORK),
    (MEAN_POOL, Conv(192)),
)

# In order; named as in TensorFlow's implementation, which settles what the article leaves open.
BEFORE_AUXILIARY_HEAD: dict[str, Branches] = {
    "stem": (
        (
            halve(32),
            Conv(32, (3, 3), padding="VALID"),
            Conv(64, (3, 3)),
            MAX_POOL,
            Conv(80),
            Conv(192, (3, 3), padding="VALID"),
            MAX_POOL,
        ),
    ),
    "mixed_5b": large(32),
    "mixed_5c": large(64),
    "mixed_5d": large(64),
    "mixed_6a": ((halve(384),), (Conv(64), Conv(96, (3, 3)), halve(96)), (MAX_POOL,)),
    "mixed_6b": middle(128),
    "mixed_6c": middle(160),
    "mixed_6d": middle(160),
    "mixed_6e": middle(192),
}
AFTER_AUXILIARY_HEAD: dict[str, Branches] = {
    "mixed_7a": (
        (Conv(192), halve(320)),
        (Conv(192), Conv(192, (1, 7)), Conv(192, (7, 1)), halve(192)),
        (MAX_POOL,),
    ),
    "mixed_7b": SMALL,
    "mixed_7c": SMALL,
}


class Mixed(nn.Module):
    """One module of the network. Attributes: its branches, and as in `InceptionV3`."""

    branches: Branches
    norm: BatchNorm
    kernel_init: layers.Initializer

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns float32 [batch, rows, columns, features] of x, float32 [batch, height, width, channels]."""

        def take(x: jax.Array, step: Step) -> jax.Array:
            if step == MAX_POOL:
                return pooling.max_pool(x, "VALID")
            if step == MEAN_POOL:
                return nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)
            if isinstance(step, Conv):
                fields = dataclasses.asdict(step)
                return layers.conv_norm_relu(x, **fields, norm=self.norm, kernel_init=self.kernel_init, train=train)
            return join(x, step)

        def join(x: jax.Array, branches: Branches) -> jax.Array:
            outputs = []
            for steps in branches:
                output = x
                for step in steps:
                    output = take(output, step)
                outputs.append(output)
            return jnp.concatenate(outputs, axis=-1)

        return join(x, self.branches)


class AuxiliaryHead(nn.Module):
    """A classifier of the 17x17 grid: mean pool 5x5/3, conv 1x1 of 128, conv 5x5 of 768 filters, mean, linear."""

    num_classes: int
    norm: BatchNorm
    kernel_init: layers.Initializer

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits float32 [batch, num_classes] of x, float32 [batch, height, width, channels]."""
        x = nn.avg_pool(x, (5, 5), strides=(3, 3), padding="VALID")
        branches = ((Conv(128), Conv(768, (5, 5), padding="VALID")),)
        x = Mixed(branches, self.norm, self.kernel_init)(x, train=train)
        return layers.make_logits(x.mean(axis=(1, 2)), self.num_classes, self.kernel_init)


class InceptionV3(nn.Module):
    """The stem, eleven modules of parallel convolutions, global mean pool, linear.

    Images of 299x299 leave the stem as 35x35x192 and the last module as 8x8x2048; 75x75 is the smallest size.
    23,817,352 parameters with images of 3 channels and 1000 classes, if the norm has a shift and no scale; as many
    without norm, as the convolutions then have biases. The auxiliary head, which takes images of 299x299 or more, adds
    3,325,800.

    In training the auxiliary head's logits, float32 [batch, num_classes], are sown as `auxiliary` in the collection
    `auxiliary_logits`; whoever makes it mutable receives them. The head has parameters from the start, whatever `train`
    is then, and evaluation leaves it out.

    Attributes:
      num_classes: width of the output.
      norm: batch norm after each convolution.
      dropout: at `dropout_places`; the auxiliary head has none.
      kernel_init: of every kernel; biases start at zero.
      auxiliary_head: whether there is one.
    """

    dropout_places: ClassVar = ("last",)

    num_classes: int
    norm: BatchNorm
    dropout: Dropout
    kernel_init: layers.Initializer
    auxiliary_head: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits float32 [batch, num_classes] of images float32 [batch, height, width, channels].

        Raises:
          UserError: the images are too small.
        """
        # Check the size.
        smallest = SMALLEST_WITH_AUXILIARY_HEAD
        if self.auxiliary_head and images.ndim == 4 and min(images.shape[1:3]) < smallest:
            height, width = images.shape[1:3]
            raise UserError(
                f"model.kwargs.auxiliary_head=True cannot take images of {height}x{width}: the smallest that works is "
                f"{smallest}x{smallest}. Take larger images, or set it to False ({SMALLEST}x{SMALLEST})."
            )
        layers.require_images(images, smallest=SMALLEST, model="inception_v3")

        def mix(x: jax.Array, modules: dict[str, Branches]) -> jax.Array:
            for name, branches in modules.items():
                x = Mixed(branches, self.norm, self.kernel_init, name=name)(x, train=train)
            return x

        # The trunk, with the head in its middle.
        x = mix(images, BEFORE_AUXILIARY_HEAD)
        if self.auxiliary_head and (train or self.is_initializing()):
            head = AuxiliaryHead(self.num_classes, self.norm, self.kernel_init, name="auxiliary_head")
            auxiliary = head(x, train=train)
            if not self.is_initializing():  # what is sown there would become part of the state
                self.sow("auxiliary_logits", "auxiliary", auxiliary)
        x = mix(x, AFTER_AUXILIARY_HEAD)
        x = self.dropout(x.mean(axis=(1, 2)), "last", train=train)
        return layers.make_logits(x, self.num_classes, self.kernel_init, name="logits")
