"""Owns data augmentation, the explicit regularizer of the paper's section 3 that acts on training images.

Refuses position: what is done to an image is a function of (the step's key, example id, image), never of the batch
around it. It refuses evaluation too, which sees the centre crop of data/preprocessing.py, and whitening, which follows.
"""

import dataclasses
import functools

import dm_pix
import jax
import jax.numpy as jnp
import ml_collections
from jax.scipy import ndimage

from rethink import randomness
from rethink.schema.errors import UserError

CROPS = ("none", "random", "inception")
OPERATIONS = ("zoom", "rotation", "crop", "flip", "brightness", "contrast", "saturation", "hue")  # one key each

INCEPTION_AREA = (0.08, 1.0)  # fraction of the image
INCEPTION_ASPECT = (3 / 4, 4 / 3)  # width / height
INCEPTION_TRIES = 10


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The settings of data augmentation: for each training image, drawn anew in each step.

    The operations come in the order of `OPERATIONS`: one bilinear warp of the stored image, the crop, the flip, then
    the colours. Each draws from a key of its own, so that switching one on or off leaves the draws of the others alone.
    An operation of strength 0 is left out; with all of them out, the result is the centre crop in 0..1.

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

    @property
    def is_off(self) -> bool:
        """Whether a training image is seen as an image of evaluation is."""
        others = (self.flip, self.zoom, self.rotation, self.brightness, self.contrast, self.saturation, self.hue)
        return self.crop == "none" and not any(others)

    def check(self, image_shape: tuple[int, int, int], size: tuple[int, int]) -> None:
        """Refuses settings that do nothing, or cannot be done, to images of this shape.

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

    @functools.partial(jax.jit, static_argnums=0, static_argnames=("size",))
    def __call__(self, key: jax.Array, ids: jax.Array, images: jax.Array, *, size: tuple[int, int]) -> jax.Array:
        """Returns the augmented images, float32 [batch, *size, channels] in 0..1.

        Args:
          key: of the step; the seed and the step are folded in by the caller.
          ids: uint32 [batch].
          images: uint8 [batch, height, width, channels].
          size: (height, width) of the result.
        """
        augment_one = functools.partial(self._augment_one, size=size)
        return jax.vmap(augment_one)(randomness.example_keys(key, ids), images)

    def _augment_one(self, key: jax.Array, image: jax.Array, *, size: tuple[int, int]) -> jax.Array:
        keys = jax.random.split(key, len(OPERATIONS))
        # One number of U[0, 1) for each operation, all drawn in one call: the generator is what takes long to compile.
        numbers = jax.vmap(lambda operation: jax.random.uniform(operation, (), jnp.float32))(keys)
        drawn = dict(zip(OPERATIONS, numbers, strict=True))
        crop_key = keys[OPERATIONS.index("crop")]
        if self.zoom or self.rotation:
            scale = 1 + _spread(drawn["zoom"], self.zoom)
            image = warp(_to_unit(image), scale, jnp.deg2rad(_spread(drawn["rotation"], self.rotation)))
        if self.crop == "inception":
            window = inception_window(crop_key, (image.shape[0], image.shape[1]))
            image = resize_window(_to_unit(image), window, size)
        else:
            image = self._crop(crop_key, image, size)
        if self.flip:
            image = jnp.where(drawn["flip"] < 0.5, image[:, ::-1], image)
        return self._colour(drawn, _to_unit(image))

    def _crop(self, key: jax.Array, image: jax.Array, size: tuple[int, int]) -> jax.Array:
        """Returns a window of the final size, at a random offset or in the middle."""
        image = jnp.pad(image, ((self.padding, self.padding), (self.padding, self.padding), (0, 0)))
        rows, columns = image.shape[0] - size[0], image.shape[1] - size[1]
        offset = jnp.array([rows // 2, columns // 2], jnp.int32)
        if self.crop == "random":
            offset = _pick(jax.random.uniform(key, (2,), jnp.float32), jnp.array([rows, columns], jnp.int32))
        return jax.lax.dynamic_slice(image, (offset[0], offset[1], jnp.int32(0)), (*size, image.shape[2]))

    def _colour(self, drawn: dict[str, jax.Array], image: jax.Array) -> jax.Array:
        """Returns an image in 0..1 with its colours changed: TensorFlow's image operations, then the clip to 0..1."""
        if self.brightness:
            image = dm_pix.adjust_brightness(image, _spread(drawn["brightness"], self.brightness))
        if self.contrast:
            image = dm_pix.adjust_contrast(image, 1 + _spread(drawn["contrast"], self.contrast))
        if self.saturation:
            image = dm_pix.adjust_saturation(image, 1 + _spread(drawn["saturation"], self.saturation))
        if self.hue:
            image = dm_pix.adjust_hue(image, _spread(drawn["hue"], self.hue))
        return jnp.clip(image, 0, 1)


def _spread(number: jax.Array, strength: float) -> jax.Array:
    """Returns a float32 number of U[0, 1) moved to U[-strength, strength)."""
    return strength * (2 * number - 1)


def _pick(number: jax.Array, last: jax.Array) -> jax.Array:
    """Returns an integer of 0..last, int32 as `last`, for a float32 number of U[0, 1)."""
    return jnp.minimum((number * (last + 1).astype(jnp.float32)).astype(jnp.int32), last)


def _to_unit(image: jax.Array) -> jax.Array:
    """Returns a uint8 image as float32 in 0..1; one that is float32 already as it is."""
    return image.astype(jnp.float32) / 255 if image.dtype == jnp.uint8 else image


def warp(image: jax.Array, scale: jax.Array, angle: jax.Array) -> jax.Array:
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


def inception_window(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Returns (top, left, height, width), int32 [4], of a window of random area and aspect in an image of this shape.

    The area is uniform in `INCEPTION_AREA`, the aspect log-uniform in `INCEPTION_ASPECT`, the place uniform. The first
    of `INCEPTION_TRIES` draws that fits is taken, and the largest window of an allowed aspect, in the middle, if none
    does. Source: Szegedy et al. (2015), section 6; the tries and the last resort are torchvision's RandomResizedCrop.
    """
    height, width = shape
    numbers = jax.random.uniform(key, (4 * INCEPTION_TRIES,), jnp.float32).reshape(4, INCEPTION_TRIES)
    smallest, largest = INCEPTION_AREA
    narrowest, widest = INCEPTION_ASPECT
    area = height * width * (smallest + (largest - smallest) * numbers[0])
    aspect = narrowest * (widest / narrowest) ** numbers[1]
    rows = jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)
    columns = jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32)
    fits = (rows >= 1) & (rows <= height) & (columns >= 1) & (columns <= width)
    first, found = jnp.argmax(fits), jnp.any(fits)

    whole = jnp.array([height, width], jnp.int32)
    last_resort = jnp.array([min(height, round(width / narrowest)), min(width, round(height * widest))], jnp.int32)
    sides = jnp.where(found, jnp.stack([rows[first], columns[first]]), last_resort)
    offset = jnp.where(found, _pick(numbers[2:, first], whole - sides), (whole - sides) // 2)
    return jnp.concatenate([offset, sides])


def resize_window(image: jax.Array, window: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Returns the window of an image resized: bilinear, with a filter as wide as the reduction (antialiased).

    At the window's border the filter reads the pixels beyond it, as Pillow's `resize(box=...)` does.

    Args:
      image: float32 [height, width, channels], window: int32 [4] as of `inception_window`.
      size: (height, width) of the result.
    """
    scale = jnp.array(size, jnp.float32) / window[2:].astype(jnp.float32)
    translation = -window[:2].astype(jnp.float32) * scale
    return jax.image.scale_and_translate(
        image, (*size, image.shape[2]), (0, 1), scale, translation, "linear", antialias=True
    )


def from_config(config: ml_collections.ConfigDict) -> Augmentation:
    """Returns the settings of the config section `augmentation`, whose fields are those of `Augmentation`."""
    return Augmentation(**dict(config))
