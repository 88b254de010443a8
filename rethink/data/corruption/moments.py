"""Mean and spread of the training images, in exact sums, and what draws of that Gaussian need.

The sums are integers, so that the parts of a stream or of several processes add up to the bits of the whole.
"""

from fractions import Fraction
from typing import NamedTuple

import numpy as np
import scipy.special

from rethink.data import preprocessing

# The quantiles of the normal distribution at the middle of each of 2**16 equal steps of probability, and the 8-bit
# codes that stand for them, float64 and uint8 [2**16]: from 0 to 255, and symmetric about their middle. A pixel that is
# drawn by the number of its quantile needs no arithmetic whose last bit could differ between platforms.
NORMAL = scipy.special.ndtri((np.arange(2**16) + 0.5) / 2**16)
CODES = np.round(127.5 + 127.5 / NORMAL[-1] * NORMAL).astype(np.uint8)
SCALE_BITS = 16  # significant ones: its product with 8 bits is exact in float32, fused with the addition or not
BLOCK = 2**22  # values that are added up at a time

# Of float32: 24 bits of significand, whose last one counts 2**(exponent - 150).
SIGNIFICAND, LAST_PLACE = 24, -149


class Moments(NamedTuple):
    """Mean and standard deviation of each channel over the clean training images, and draws from that Gaussian.

    Attributes:
      mean, std: float64 [channels], in the units of the images as stored.
      quantiles: of the images' dtype [2**16, channels], the pixel value at each quantile of the Gaussian, rounded where
        images hold integers, and clipped to what they may hold; no rows where nothing is clipped.
      encoding: float32 [2, channels], the offset and the scale with which `CODES` have this mean, as near as float32
        comes, and this variance, to 2 in 100,000.
    """

    mean: np.ndarray
    std: np.ndarray
    quantiles: np.ndarray
    encoding: np.ndarray


def make_moments(
    mean: np.ndarray,
    std: np.ndarray,
    dtype: np.typing.DTypeLike = np.uint8,
    span: tuple[float, float] | None = preprocessing.UINT8_SPAN,
) -> Moments:
    """Returns the moments with what draws of their Gaussian need.

    Args:
      mean, std: float64 [channels].
      dtype: of the images; span: the least and the greatest value that they may hold, None for no quantiles.
    """
    quantiles = np.empty((0, len(mean)), dtype)
    if span:
        values = mean + std * NORMAL[:, None]
        quantiles = np.clip(values if quantiles.dtype.kind == "f" else np.round(values), *span).astype(dtype)
    fraction, exponent = np.frexp(std / CODES.std())
    scale = np.ldexp(np.round(fraction * 2**SCALE_BITS), exponent - SCALE_BITS)
    return Moments(mean, std, quantiles, np.stack([mean - scale * CODES.mean(), scale]).astype(np.float32))


def no_moments(channels: int) -> Moments:
    """Returns what takes the place of moments where the corruption reads none."""
    zeros = np.zeros(channels)
    return make_moments(zeros, zeros, span=None)


def tally_values(images: np.ndarray) -> np.ndarray:
    """Returns what `measure_moments` reads of images [..., channels], int64; the tallies of parts add up.

    Of uint8 it is how often each value occurs, [channels, 256]; of others, `sum_exactly`.
    """
    if images.dtype != np.uint8:
        return sum_exactly(images)
    return np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])])


def sum_exactly(images: np.ndarray) -> np.ndarray:
    """Returns sums for each channel and each exponent of a float32, int64 [4, channels, 256].

    They are the number of values; the sum of their significands, whole numbers of 24 bits with a sign; and the sums of
    the upper and of the lower 24 bits of the squares of these. No sum is rounded.

    Args:
      images: finite values [..., channels] that float32 holds, such as uint16.
    """
    channels = images.shape[-1]
    rows = images.reshape(-1, channels)
    sums = np.zeros((4, channels * 256), np.int64)
    step = max(1, BLOCK // channels)
    for start in range(0, len(rows), step):
        bits = np.ascontiguousarray(rows[start : start + step], np.float32).view(np.uint32).astype(np.int64)
        exponent = bits >> (SIGNIFICAND - 1) & 255
        significand = bits & (2 ** (SIGNIFICAND - 1) - 1) | (exponent > 0).astype(np.int64) << (SIGNIFICAND - 1)
        square = significand**2
        place = (exponent + 256 * np.arange(channels)).ravel()
        # Weights below 2**24 add up without rounding in the float64 of `bincount`.
        summed = (np.where(bits >> 31, -significand, significand), square >> SIGNIFICAND, square % 2**SIGNIFICAND)
        sums[0] += np.bincount(place, minlength=len(sums[0]))
        for total, weights in zip(sums[1:], summed, strict=True):
            total += np.bincount(place, weights.ravel(), len(total)).astype(np.int64)
    return sums.reshape(4, channels, 256)


def measure_moments(
    tally: np.ndarray,
    dtype: np.typing.DTypeLike = np.uint8,
    span: tuple[float, float] | None = preprocessing.UINT8_SPAN,
) -> Moments:
    """Returns the moments of images from their tally, of `tally_values`; dtype and span are as of `make_moments`."""
    if tally.ndim == 3:
        return make_moments(*_finish_sums(tally), dtype, span)
    values = np.arange(256, dtype=np.float64)
    weights = tally / tally.sum(axis=1, keepdims=True)
    mean = weights @ values
    variance = weights @ values**2 - mean**2
    return make_moments(mean, np.sqrt(np.maximum(variance, 0)), dtype, span)


def _finish_sums(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation, float64 [channels], of `sum_exactly`: one rounding each, and a root."""
    moments = []
    for counts, *parts in sums.transpose(1, 0, 2).tolist():
        count, total, squares = sum(counts), 0, 0
        for exponent, (linear, high, low) in enumerate(zip(*parts, strict=True)):
            shift = max(exponent, 1) - 1
            total += linear << shift
            squares += (high << SIGNIFICAND) + low << 2 * shift
        mean = Fraction(total, count << -LAST_PLACE)
        variance = Fraction(squares, count << -2 * LAST_PLACE) - mean**2
        moments.append((float(mean), float(variance)))
    mean, variance = np.array(moments).T
    return mean, np.sqrt(variance)
