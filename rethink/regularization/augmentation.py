"""Data augmentation: random crops, flips, warps and colours of training images (paper, section 3 and table 4).

What is done to an image is a function of (the step's key, example id, image), never of the batch around it. Evaluation
sees the centre crop of data/preprocessing.py instead; whitening comes after both.
"""

import dataclasses
import functools
from collections.abc import Callable

import dm_pix
import jax
import jax.numpy as jnp
import ml_collections
from jax.scipy import ndimage

from rethink import randomness
from rethink.schema.errors import UserError, pick

# The order is part of the draws: each operation has the key at its place.
OPERATIONS = ("zoom", "rotation", "crop", "flip", "brightness", "contrast", "saturation", "hue")

INCEPTION_AREA = (0.08, 1.0)  # fraction of the image
INCEPTION_ASPECT = (3 / 4, 4 / 3)  # width / height
INCEPTION_TRIES = 10


def _spread(number: jax.Array, strength: float) -> jax.Array:
    """Returns a float32 number of U[0, 1) moved to U[-strength, strength)."""
    return strength * (2 * number - 1)


def _to_index(number: jax.Array, last: jax.Array) -> jax.Array:
    """Returns an integer of 0..last, int32 as `last`, for a float32 number of U[0, 1)."""
    return jnp.minimum((number * (last + 1).astype(jnp.float32)).astype(jnp.int32), last)


def warp_image(image: jax.Array, scale: jax.Array, angle: jax.Array) -> jax.Array:
    """Returns an image enlarged and turned about its centre: bilinear, with the edge pixels repeated.

    Args:
      image: float32 [height, width, channels].
      scale, angle: float32 scalars; the angle is in radians, and a positive one turns counter-clockwise.
    """
    height, width, _ = image.shape
    middle = (height - 1) / 2, (width - 1) / 2
    row, column = jnp.meshgrid(
        jnp.arange(height, dtype=jnp.float32) - middle[0],
        jnp.arange(width, dtype=jnp.float32) - middle[1],
        indexing="ij",
    )
    cos, sin = jnp.cos(angle) / scale, jnp.sin(angle) / scale
    places = [cos * row + sin * column + middle[0], cos * column - sin * row + middle[1]]
    sample = functools.partial(ndimage.map_coordinates, coordinates=places, order=1, mode="nearest")
    return jax.vmap(sample, in_axes=-1, out_axes=-1)(image)


def draw_inception_window(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Returns (top, left, height, width), int32 [4], of a window of random area and aspect in an image of this shape.

    The area is uniform in `INCEPTION_AREA`, the aspect log-uniform in `INCEPTION_ASPECT`, the place uniform. The first
    of `INCEPTION_TRIES` draws that fits is taken, and the largest window of an allowed aspect, in the middle, if none
    does. Source: Szegedy et al. (2015), section 6; the tries and the last resort are torchvision's RandomResizedCrop.
    """
    height, width = shape
    # All draws at once: area, aspect and place of each.
    numbers = jax.random.uniform(key, (4 * INCEPTION_TRIES,), jnp.float32).reshape(4, INCEPTION_TRIES)
    smallest, largest = INCEPTION_AREA
    narrowest, widest = INCEPTION_ASPECT
    area = height * width * (smallest + (largest - smallest) * numbers[0])
    aspect = narrowest * (widest / narrowest) ** numbers[1]
    rows = jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)
    columns = jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32)
    # The first that fits.
    fits = (rows >= 1) & (rows <= height) & (columns >= 1) & (columns <= width)
    first, any_fits = jnp.argmax(fits), jnp.any(fits)
    # The last resort, where none does.
    whole = jnp.array([height, width], jnp.int32)
    last_resort = jnp.array([min(height, round(width / narrowest)), min(width, round(height * widest))], jnp.int32)
    sides = jnp.where(any_fits, jnp.stack([rows[first], columns[first]]), last_resort)
    offset = jnp.where(any_fits, _to_index(numbers[2:, first], whole - sides), (whole - sides) // 2)
    return jnp.concatenate([offset, sides])


def resize_window(image: jax.Array, window: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Returns the window of an image resized: bilinear, with a filter as wide as the reduction (antialiased).

    At the window's border the filter reads the pixels beyond it, as Pillow's `resize(box=...)` does.

    Args:
      image: float32 [height, width, channels], window: int32 [4], as returned by `draw_inception_window`.
      size: (height, width) of the result.
    """
    scale = jnp.array(size, jnp.float32) / window[2:].astype(jnp.float32)
    translation = -window[:2].astype(jnp.float32) * scale
    return jax.image.scale_and_translate(
        image, (*size, image.shape[2]), (0, 1), scale, translation, "linear", antialias=True
    )


def _crop_centre(key: jax.Array, image: jax.Array, size: tuple[int, int], padding: int) -> jax.Array:
    rows, columns = image.shape[0] - size[0], image.shape[1] - size[1]
    return _slice_window(image, jnp.array([rows // 2, columns // 2], jnp.int32), size)


def _crop_random(key: jax.Array, image: jax.Array, size: tuple[int, int], padding: int) -> jax.Array:
    image = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    rows, columns = image.shape[0] - size[0], image.shape[1] - size[1]
    offset = _to_index(jax.random.uniform(key, (2,), jnp.float32), jnp.array([rows, columns], jnp.int32))
    return _slice_window(image, offset, size)


def _crop_inception(key: jax.Array, image: jax.Array, size: tuple[int, int], padding: int) -> jax.Array:
    window = draw_inception_window(key, (image.shape[0], image.shape[1]))
    return resize_window(image, window, size)


def _slice_window(image: jax.Array, offset: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Returns the window of this size at an offset (top, left), int32 [2]."""
    return jax.lax.dynamic_slice(image, (offset[0], offset[1], jnp.int32(0)), (*size, image.shape[2]))


CROPS: dict[str, Callable[[jax.Array, jax.Array, tuple[int, int], int], jax.Array]] = {
    # (key, image [height, width, channels], size, padding) -> a window of the final size
    "none": _crop_centre,
    "random": _crop_random,
    "inception": _crop_inception,
}
COLOURS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    # (image in 0..1, change in -strength..strength) -> image; TensorFlow's image operations, in their order here
    "brightness": dm_pix.adjust_brightness,
    "contrast": lambda image, change: dm_pix.adjust_contrast(image, 1 + change),
    "saturation": lambda image, change: dm_pix.adjust_saturation(image, 1 + change),
    "hue": dm_pix.adjust_hue,
}


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The settings of data augmentation: for each training image, drawn anew in each step.

    The operations come in the order of `OPERATIONS`: one bilinear warp of the stored image, the crop, the flip, then
    the colours. Each draws from a key of its own, so that switching one on or off leaves the draws of the others alone.
    An operation of strength 0 is left out; with all of them out, the result is the centre crop. In the end values are
    clipped to 0..1, or to what 0 and 255 stand for where these go beyond, as they do in Gaussian images.

    Random crops and flips copy pixels: their result is the same in any batch, bit for bit. What is computed in float32
    (warp, inception, colours) may differ in its last bits between batches of other sizes: XLA orders its sums by them.

    Source: Zhang et al. (2017), section 3, which names random crops and perturbations of brightness, contrast,
    saturation and hue, and table 4 (appendix), flips and rotations of up to 25 degrees. Windows and flips are those of
    Krizhevsky et al. (2012), the `inception` crop that of Szegedy et al. (2015).

    Attributes:
      crop: one of `CROPS`. `none` is the centre crop of evaluation, `random` a window of the final size at any offset,
        `inception` a window of random area and aspect that is resized to the final size.
      padding: pixels of zeros around the image before a `random` crop.
      flip: left-right with probability 1/2.
      zoom: scale in U[1 - zoom, 1 + zoom] about the centre, 0 <= zoom < 1; above 1 enlarges. Edge pixels are repeated.
      rotation: angle about the centre in U[-rotation, rotation] degrees, 0..180. Edge pixels are repeated.
      brightness: added, in U[-brightness, brightness], to images in 0..1.
      contrast: factor in U[1 - contrast, 1 + contrast] about the mean of each channel.
      saturation: factor in U[1 - saturation, 1 + saturation], in HSV.
      hue: shift in U[-hue, hue] of the colour circle, 0..0.5.

    Raises:
      UserError: unknown crop.
    """

    crop: str
    padding: int
    flip: bool
    zoom: float
    rotation: float
    brightness: float
    contrast: float
    saturation: float
    hue: float

    def __post_init__(self):
        pick(CROPS, self.crop, "augmentation.crop")

    @property
    def is_off(self) -> bool:
        """Whether training images are shown just as those of evaluation are."""
        others = (self.flip, self.zoom, self.rotation, self.brightness, self.contrast, self.saturation, self.hue)
        return self.crop == "none" and not any(others)

    def check_images(self, image_shape: tuple[int, int, int], size: tuple[int, int]) -> None:
        """Checks that the settings can be applied to images of this shape, and do something.

        Args:
          image_shape: (height, width, channels) of the stored images.
          size: (height, width) of the result, at most that of the images.

        Raises:
          UserError: a padding that no crop uses, or beside which a window would see nothing of the image; a crop that
            has a single window, colours of other than 3 channels.
        """
        height, width, channels = image_shape
        if self.padding and self.crop != "random":
            raise UserError(
                f"augmentation.padding={self.padding} has no effect with augmentation.crop={self.crop}: "
                "set --config.augmentation.crop=random, or --config.augmentation.padding=0."
            )
        if self.padding >= min(size):
            raise UserError(
                f"augmentation.padding={self.padding} leaves windows of {size[0]}x{size[1]} that see nothing of the "
                f"image: set --config.augmentation.padding to at most {min(size) - 1}."
            )
        if self.crop == "random" and size == (height + 2 * self.padding, width + 2 * self.padding):
            raise UserError(
                f"augmentation.crop=random has only one window of {size[0]}x{size[1]} in images of {height}x{width}: "
                "set --config.preprocess.crop to a smaller size, or --config.augmentation.padding to 1 or more."
            )
        for name in ("saturation", "hue"):
            if getattr(self, name) and channels != 3:
                raise UserError(
                    f"augmentation.{name}={getattr(self, name)} needs images of 3 channels, and these have {channels}: "
                    f"set --config.augmentation.{name}=0.0."
                )

    @functools.partial(jax.jit, static_argnums=0, static_argnames=("decode", "size"))
    def __call__(
        self,
        key: jax.Array,
        ids: jax.Array,
        images: jax.Array,
        encoding: jax.Array,
        *,
        decode: Callable[[jax.Array, jax.Array], jax.Array],
        size: tuple[int, int],
    ) -> jax.Array:
        """Returns the augmented images, float32 [batch, *size, channels].

        Args:
          key: of the step; the seed and the step are folded in by the caller.
          ids: uint32 [batch], of the examples.
          images: as stored, or codes, [batch, height, width, channels].
          encoding: float32 [2, channels], what their values stand for.
          decode: (images, encoding) -> these values, float32, in 0..1 for images as stored.
          size: (height, width) of the result.
        """
        augment_one = functools.partial(self._augment_one, decode=lambda codes: decode(codes, encoding), size=size)
        return jax.vmap(augment_one)(randomness.example_keys(key, ids), images)

    def _augment_one(
        self, key: jax.Array, image: jax.Array, *, decode: Callable[[jax.Array], jax.Array], size: tuple[int, int]
    ) -> jax.Array:
        """Returns one augmented image, float32 [*size, channels], of one [height, width, channels]."""
        is_8_bits = image.dtype == jnp.uint8  # of pixels, or codes of Gaussian ones
        # Draw.
        keys = jax.random.split(key, len(OPERATIONS))
        # One number of U[0, 1) for each operation, all drawn in one call: the generator is what takes long to compile.
        numbers = jax.vmap(lambda operation: jax.random.uniform(operation, (), jnp.float32))(keys)
        drawn = dict(zip(OPERATIONS, numbers, strict=True))
        crop_key = keys[OPERATIONS.index("crop")]
        # Warp the stored image, crop, flip: a copy is made of codes, all else of values, as the padding's zeros are.
        decode_first = bool(self.zoom or self.rotation or self.crop == "inception" or self.padding)
        if decode_first:
            image = decode(image)
        if self.zoom or self.rotation:
            scale = 1 + _spread(drawn["zoom"], self.zoom)
            image = warp_image(image, scale, jnp.deg2rad(_spread(drawn["rotation"], self.rotation)))
        image = CROPS[self.crop](crop_key, image, size, self.padding)
        if self.flip:
            image = jnp.where(drawn["flip"] < 0.5, image[:, ::-1], image)
        if not decode_first:
            image = decode(image)
        # Change the colours.
        for name, change_colour in COLOURS.items():
            if strength := getattr(self, name):
                image = change_colour(image, _spread(drawn[name], strength))
        if not is_8_bits:
            return jnp.clip(image, 0, 1)
        low, high = decode(jnp.array([[0], [255]], jnp.uint8))
        return jnp.clip(image, jnp.minimum(low, 0), jnp.maximum(high, 1))


def from_config(config: ml_collections.ConfigDict) -> Augmentation:
    """Returns the settings of the config section `augmentation`: all its fields but `mixup`, which acts on batches."""
    return Augmentation(**{name: value for name, value in config.items() if name != "mixup"})
