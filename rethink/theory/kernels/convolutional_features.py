"""Features of a random convolutional net: whitened patches, random filters, two signs, pooled quadrants.

Filters are not learned, and whatever is fixed by data is fixed on train. The pipeline is that of Coates & Ng, "Learning
feature representations with k-means" (2012), without k-means (paper, section 5).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rethink import randomness
from rethink.schema.errors import UserError, pick
from rethink.theory.inputs import check_range

IMAGES = {"cpu": 8}  # backend -> images in one call of the compiled function: on CPU more take longer an image
IMAGES_ELSEWHERE = 256
PER_FILTER = 8  # features: two signs, four quadrants
CONTRAST = 10.0  # added to a patch's variance, of pixels in 0..255
EPSILON = 0.1  # added to the variances that whitening divides by


class Whitening(NamedTuple):
    """Of patches with their mean and contrast taken out: x -> matrix (x - mean).

    Attributes:
      matrix: float64 [d, d], symmetric (ZCA); mean: float64 [d]; d = patch * patch * channels.
      patch: pixels of a side.
    """

    matrix: np.ndarray
    mean: np.ndarray
    patch: int


class RandomNet(NamedTuple):
    """Filters with the whitening folded in, and what follows them.

    Attributes:
      kernels: float32 [patch, patch, channels, filters], on patches with contrast normalized.
      biases: float32 [filters], subtracted.
      threshold: t of max(0, z - t) and max(0, -z - t), z the response of a filter of norm 1 to a whitened patch.
      stride: pixels between neighbouring patches.
    """

    kernels: np.ndarray
    biases: np.ndarray
    threshold: float
    stride: int


def sample_patches(images: np.ndarray, *, patch: int, count: int, seed: int, name: str) -> np.ndarray:
    """Returns patches at random places of random images, contrast normalized: float64 [count, d].

    d = patch * patch * channels. Each has mean 0 over its pixels and channels, and is divided by the root of its
    variance + `CONTRAST`.

    Args:
      images: uint8 [n, height, width, channels].
      name: of the random stream.

    Raises:
      UserError: no image, or images smaller than a patch.
    """
    if images.ndim != 4 or not images.size:
        raise UserError(f"Images of shape {list(images.shape)} have no patches: give [n, height, width, channels].")
    height, width = images.shape[1:3]
    check_range("patch", patch, 1, min(height, width), f" of {height}x{width} pixels")
    keys = jax.random.split(randomness.key_for(seed, name), 3)
    limits = (len(images), height - patch + 1, width - patch + 1)
    picks = [
        np.asarray(jax.random.randint(key, (count,), 0, top, jnp.int32)) for key, top in zip(keys, limits, strict=True)
    ]
    windows = np.lib.stride_tricks.sliding_window_view(images, (patch, patch), axis=(1, 2))
    patches = windows[picks[0], picks[1], picks[2]]  # [count, channels, patch, patch]
    patches = np.moveaxis(patches, 1, -1).reshape(count, -1).astype(np.float64)
    patches -= patches.mean(axis=1, keepdims=True)
    return patches / np.sqrt(patches.var(axis=1, keepdims=True) + CONTRAST)


def fit_whitening(images: np.ndarray, *, patch: int, count: int, seed: int, epsilon: float = EPSILON) -> Whitening:
    """Returns the whitening of `count` random patches of train: their covariance becomes C / (C + epsilon), near 1.

    Raises:
      UserError: as `sample_patches`, or fewer than two patches.
    """
    if count < 2:
        raise UserError(f"{count} patches have no covariance: give at least 2, such as 100,000.")
    patches = sample_patches(images, patch=patch, count=count, seed=seed, name="whitening_patches")
    mean = patches.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(patches, rowvar=False, bias=True).reshape(len(mean), -1))
    matrix = directions / np.sqrt(np.maximum(variances, 0) + epsilon) @ directions.T
    return Whitening(matrix, mean, patch)


def _draw_gaussian(images: np.ndarray, whitening: Whitening, count: int, seed: int, name: str) -> np.ndarray:
    key = randomness.key_for(seed, name)
    return np.asarray(jax.random.normal(key, (count, len(whitening.mean)), np.float32), np.float64)


def _draw_whitened_patches(images: np.ndarray, whitening: Whitening, count: int, seed: int, name: str) -> np.ndarray:
    patches = sample_patches(images, patch=whitening.patch, count=count, seed=seed, name=name)
    return (patches - whitening.mean) @ whitening.matrix


# kind -> (images of train, whitening, count, seed, name of the random stream) -> float64 [count, d], of any length.
FILTERS: dict[str, Callable[[np.ndarray, Whitening, int, int, str], np.ndarray]] = {
    "gaussian": _draw_gaussian,  # directions, uniform on the sphere
    "patches": _draw_whitened_patches,  # of train
}


def make_net(
    images: np.ndarray,
    whitening: Whitening,
    *,
    kind: str,
    filters: int,
    threshold: float,
    stride: int,
    seed: int,
    block: int = 0,
) -> RandomNet:
    """Returns a net of random filters of norm 1 on whitened patches.

    Args:
      images: uint8 [n, height, width, channels], train's, which `patches` are taken from.
      kind: one of `FILTERS`.
      block: which one of several nets with other filters.

    Raises:
      UserError: an unknown kind, or a number out of range.
    """
    draw_filters = pick(FILTERS, kind, "filters")
    if filters < 1 or stride < 1 or not 0 <= threshold < np.inf:
        raise UserError(
            f"filters={filters}, stride={stride}, threshold={threshold}: give at least 1 filter, a stride of at least "
            "1 and a finite threshold of at least 0."
        )
    drawn = draw_filters(images, whitening, filters, seed, f"filters_{block}")
    drawn -= drawn.mean(axis=1, keepdims=True)  # whitened patches have mean 0: that of a filter changes nothing
    drawn /= np.maximum(np.linalg.norm(drawn, axis=1, keepdims=True), 1e-12)
    # <f, W (x - mean)> = <W f, x> - <W f, mean>: the whitening is folded into kernels and biases.
    folded = drawn @ whitening.matrix
    kernels = folded.T.reshape(whitening.patch, whitening.patch, -1, filters)
    return RandomNet(kernels.astype(np.float32), (folded @ whitening.mean).astype(np.float32), threshold, stride)


def apply_net(net: RandomNet, images: np.ndarray) -> np.ndarray:
    """Returns float32 [n, 8 * filters] of uint8 images [n, height, width, channels].

    Ordered by sign, quadrant (row first), filter; each the mean over the places of a quadrant, so that quadrants of
    other sizes weigh alike.

    Raises:
      UserError: images with fewer than two places for a patch in a direction.
    """
    patch = net.kernels.shape[0]
    places = [(size - patch) // net.stride + 1 for size in images.shape[1:3]]
    if min(places) < 2:
        raise UserError(
            f"Images of {images.shape[1]}x{images.shape[2]} have no quadrants of patches: lower patch or stride."
        )
    count = IMAGES.get(jax.default_backend(), IMAGES_ELSEWHERE)
    features = np.empty((len(images), PER_FILTER * net.kernels.shape[3]), np.float32)
    for start in range(0, len(images), count):
        part = images[start : start + count]
        padded = np.pad(part, [(0, count - len(part))] + [(0, 0)] * 3) if start else part  # one compilation for all
        features[start : start + len(part)] = _pool_responses(
            padded, net.kernels, net.biases, np.float32(net.threshold), stride=net.stride
        )[: len(part)]
    return features


def standardize_features(train: np.ndarray, test: np.ndarray) -> None:
    """Takes the mean over train from each feature [n, m] and divides by its deviation there, in place, on both."""
    mean = train.mean(axis=0, dtype=np.float64).astype(np.float32)
    train -= mean
    test -= mean
    deviation = np.sqrt(np.einsum("nm,nm->m", train, train, dtype=np.float64) / len(train))
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0).astype(np.float32)
    train *= scale
    test *= scale


@functools.partial(jax.jit, static_argnames="stride")
def _pool_responses(
    images: jax.Array, kernels: jax.Array, biases: jax.Array, threshold: jax.Array, *, stride: int
) -> jax.Array:
    """Returns float32 [n, 8 * filters], see `apply_net`.

    Contrast is normalized after the convolution: <f, (p - m) / s> is <f, p> / s where f has mean 0, so that no patch is
    copied. Rows are pooled before columns: XLA on CPU runs that at twice the speed of both at once.
    """
    x = images.astype(jnp.float32) - 128  # a shift that filters do not see; smaller numbers lose less

    def convolve(inputs, weights):
        numbers, precision = ("NHWC", "HWIO", "NHWC"), jax.lax.Precision.HIGHEST
        return jax.lax.conv_general_dilated(
            inputs, weights, (stride, stride), "VALID", dimension_numbers=numbers, precision=precision
        )

    box = jnp.full(kernels.shape[:3] + (1,), 1 / kernels[..., 0].size, jnp.float32)
    variance = jnp.maximum(convolve(x**2, box) - convolve(x, box) ** 2, 0)
    z = convolve(x, kernels) * jax.lax.rsqrt(variance + CONTRAST) - biases
    rows, columns = ((size + 1) // 2 for size in z.shape[1:3])
    pooled = []
    for sign in (1, -1):
        positive = jnp.maximum(sign * z - threshold, 0)
        for half in (positive[:, :rows].mean(axis=1), positive[:, rows:].mean(axis=1)):
            pooled += [half[:, :columns].mean(axis=1), half[:, columns:].mean(axis=1)]
    return jnp.concatenate(pooled, axis=-1)
