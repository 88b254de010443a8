"""Gabor wavelet features of grey images: how much of each orientation and wavelength there is, and where.

Nothing is learned: the filters are a formula, so train and test share them by their parameters. The design was fixed on
a part of MNIST's train set.
"""

import itertools

import numpy as np

from rethink.schema.errors import UserError
from rethink.theory.kernels.matmul import multiply_transposed

ROWS = 2000  # images in one product
WAVELENGTHS = (3.0, 5.0, 8.0)  # pixels
ORIENTATIONS = 8
STRIDE = 2  # pixels between neighbouring wavelets
POOL = 2  # neighbouring wavelets that are averaged, in each direction
WIDTH = 0.5  # standard deviation of the envelope, in wavelengths: about an octave of bandwidth


def compute_gabor_features(
    images: np.ndarray,
    *,
    wavelengths: tuple[float, ...] = WAVELENGTHS,
    orientations: int = ORIENTATIONS,
    stride: int = STRIDE,
    pool: int = POOL,
    width: float = WIDTH,
) -> np.ndarray:
    """Returns float32 [n, features], the square roots of pooled magnitudes |<image, wavelet>|.

    Features are ordered by wavelength, orientation, row, column. They do not see a constant added to an image. The
    root makes strong strokes count less, and shifts of a pixel or so move little: magnitudes forget the phase. MNIST's
    28x28 pixels become 3 x 8 x 7 x 7 = 1,176 features.

    Args:
      images: uint8 or float [n, height, width, 1]; uint8 is divided by 255.

    Raises:
      UserError: no image, images of more than one channel, or parameters that leave no feature.

    Source: Daugman, "Uncertainty relation for resolution in space, spatial frequency, and orientation" (1985); the
    paper says no more than "Gabor wavelet transform" (section 5), so the bank is a choice.
    """
    if images.ndim != 4 or images.shape[-1] != 1 or not len(images):
        raise UserError(
            f"Images of shape {list(images.shape)} have no Gabor features: give grey ones, [n, height, width, 1], and "
            "at least one."
        )
    height, breadth = images.shape[1:3]
    if min(stride, pool, orientations) < 1 or not wavelengths or min(wavelengths) <= 0 or width <= 0:
        raise UserError("Gabor stride, pool, orientations, wavelengths and width must be positive, and one or more.")
    down, across = (len(_centres(size, stride)) // pool for size in (height, breadth))
    if not down * across:
        raise UserError(
            f"Gabor stride={stride} and pool={pool} leave no place in {height}x{breadth} pixels: lower them."
        )
    # The response to each wavelet, a block of images at a time.
    bank = make_wavelet_bank(
        height, breadth, wavelengths=wavelengths, orientations=orientations, stride=stride, width=width
    )
    real, imaginary = bank.real.astype(np.float32), bank.imag.astype(np.float32)
    places = (len(wavelengths) * orientations, len(_centres(height, stride)), len(_centres(breadth, stride)))
    blocks = []
    for start in range(0, len(images), ROWS):
        pixels = images[start : start + ROWS].reshape(-1, height * breadth).astype(np.float32)
        if images.dtype == np.uint8:
            pixels /= 255
        magnitudes = np.hypot(multiply_transposed(pixels, real), multiply_transposed(pixels, imaginary))
        magnitudes = magnitudes.reshape(-1, *places)[..., : down * pool, : across * pool]
        pooled = magnitudes.reshape(-1, places[0], down, pool, across, pool).mean(axis=(3, 5))
        blocks.append(np.sqrt(pooled).reshape(len(pixels), -1))
    return np.concatenate(blocks)


def make_wavelet_bank(
    height: int, breadth: int, *, wavelengths: tuple[float, ...], orientations: int, stride: int, width: float
) -> np.ndarray:
    """Returns complex128 [wavelets, height * breadth]: exp(-r^2 / (2 s^2)) (exp(2 pi i u / wavelength) - mean).

    r is the distance from the wavelet's centre, u the part of it along the wavelet's direction, s = width * wavelength.
    The mean under the envelope is taken within the image, so that a wavelet at the border does not see a constant
    either; the envelope has norm 1. Ordered by wavelength, orientation, row, column.
    """
    y, x = np.mgrid[:height, :breadth].astype(np.float64)
    angles = np.pi * np.arange(orientations) / orientations
    rows, columns = _centres(height, stride), _centres(breadth, stride)
    wavelets = []
    for wavelength, angle, row, column in itertools.product(wavelengths, angles, rows, columns):
        envelope = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * (width * wavelength) ** 2))
        wave = np.exp(2j * np.pi / wavelength * ((x - column) * np.cos(angle) + (y - row) * np.sin(angle)))
        wave -= np.sum(envelope * wave) / envelope.sum()
        wavelets.append((envelope * wave / np.sqrt(np.sum(envelope**2))).ravel())
    return np.array(wavelets)


def _centres(size: int, stride: int) -> np.ndarray:
    """Returns the pixels that wavelets are centred at, placed evenly about the middle of the image."""
    centres = np.arange(0, size, stride, dtype=np.float64)
    return centres + (size - 1 - centres[-1]) / 2
