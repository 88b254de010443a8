"""The measured networks as a table: their layers as matrix products, parameters and floating-point operations.

Neither library is imported here, so that what each computes comes from one table.

A layer maps `rows` rows an image (1, or the positions of a convolution's output) of `inputs` numbers (a convolution's
window, all channels) to `outputs` numbers. On a batch of m = images x rows, a step makes up to three products:

    forward               [m, inputs] x [inputs, outputs]
    weights' gradient     [inputs, m] x [m, outputs]
    activations' gradient [m, outputs] x [outputs, inputs], but for what reads the images

each of 2 x m x inputs x outputs operations. A step of 128 images: mlp_1x512 0.62 GFLOP, mlp_3x512 1.02. The products
of a convolution are made a slice of the batch at a time.
"""

from typing import NamedTuple

BATCH = 128
CROP, CHANNELS, CLASSES = 28, 3, 10
MODELS = ("mlp_1x512", "mlp_3x512", "alexnet", "inception", "inception_no_bn")
MLPS = {"mlp_1x512": (512,), "mlp_3x512": (512, 512, 512)}
PARAMETERS = {
    "mlp_1x512": 1_209_866,
    "mlp_3x512": 1_735_178,
    "alexnet": 1_387_786,
    "inception": 1_649_402,
    "inception_no_bn": 1_649_402,
}
ALEXNET_FILTERS, ALEXNET_HIDDEN = (64, 64), (384, 192)
# Of the 1x1 and the 3x3 convolution of a module; one number: the 3x3/2 convolution beside a 3x3/2 max pool.
INCEPTION_STEM = 96
INCEPTION_MODULES = ((32, 32), (32, 48), 80, (112, 48), (96, 64), (80, 80), (48, 96), 96, (176, 160), (176, 160))


SLICE_ROWS = 1024  # few enough for a slice's windows to stay in the caches


class Layer(NamedTuple):
    """A layer as a matrix product; see the file's head."""

    rows: int
    inputs: int
    outputs: int
    reads_images: bool

    @property
    def slice_images(self) -> int:
        """The images of a slice: all of the batch for a dense layer, for a convolution what `SLICE_ROWS` allows."""
        images = BATCH
        while images > 1 and images * self.rows > SLICE_ROWS:
            images //= 2
        return images


def layers(model: str) -> list[Layer]:
    """Returns the layers of a model, the first first; biases and batch norm's shifts go with them."""
    if model in MLPS:
        return _dense((CROP * CROP * CHANNELS, *MLPS[model], CLASSES), reads_images=True)
    return _alexnet() if model == "alexnet" else _inception()


def parameters(model: str) -> int:
    """Returns the trainable parameters: a kernel, and a bias or a shift, for each layer."""
    return sum((layer.inputs + 1) * layer.outputs for layer in layers(model))


def step_flop(model: str) -> int:
    """Returns the floating-point operations of a step's matrix products."""
    return sum((4 if of.reads_images else 6) * BATCH * of.rows * of.inputs * of.outputs for of in layers(model))


def _dense(sizes: tuple[int, ...], reads_images: bool) -> list[Layer]:
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    return [Layer(1, inputs, outputs, reads_images and not i) for i, (inputs, outputs) in enumerate(pairs)]


def _alexnet() -> list[Layer]:
    size, channels, found = CROP, CHANNELS, []
    for filters in ALEXNET_FILTERS:
        found.append(Layer(size**2, 5 * 5 * channels, filters, not found))
        size, channels = -(-size // 2), filters
    return found + _dense((size**2 * channels, *ALEXNET_HIDDEN, CLASSES), reads_images=False)


def _inception() -> list[Layer]:
    size, channels = CROP, INCEPTION_STEM
    found = [Layer(size**2, 3 * 3 * CHANNELS, channels, True)]
    for filters in INCEPTION_MODULES:
        if isinstance(filters, int):
            size = -(-size // 2)
            found.append(Layer(size**2, 9 * channels, filters, False))
            channels += filters
        else:
            pointwise, spatial = filters
            found += [Layer(size**2, channels, pointwise, False), Layer(size**2, 9 * channels, spatial, False)]
            channels = pointwise + spatial
    return [*found, Layer(1, channels, CLASSES, False)]
