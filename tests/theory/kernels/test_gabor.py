"""Gabor features: what they see of an image, and what they do not."""

import numpy as np
import pytest

from rethink.schema.errors import UserError
from rethink.theory.kernels import gabor


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1)).astype(np.uint8)


def grating(wavelength, angle, phase=0.0):
    y, x = np.mgrid[:28, :28]
    return 0.5 + 0.5 * np.cos(2 * np.pi / wavelength * (x * np.cos(angle) + y * np.sin(angle)) + phase)


def test_shape_order_and_determinism(images):
    found = gabor.compute_gabor_features(images)
    assert found.shape == (5, 3 * 8 * 7 * 7) and found.dtype == np.float32
    assert np.array_equal(found, gabor.compute_gabor_features(images.copy())) and (found >= 0).all()
    assert np.allclose(gabor.compute_gabor_features(images[3:4]), found[3], atol=1e-5)


def test_blocks_of_images_change_nothing(images, monkeypatch):
    found = gabor.compute_gabor_features(images)
    monkeypatch.setattr(gabor, "ROWS", 2)
    assert np.allclose(gabor.compute_gabor_features(images), found, atol=1e-5)


def test_a_constant_is_not_seen(images):
    constant = np.full((1, 28, 28, 1), 200, np.uint8)
    assert gabor.compute_gabor_features(constant).max() < 2e-2  # the root of float32's noise
    dark = images.astype(np.float32) / 255
    assert np.allclose(gabor.compute_gabor_features(dark + 3), gabor.compute_gabor_features(dark), atol=1e-2)


def test_pixels_as_stored_are_those_divided_by_255(images):
    divided = images.astype(np.float32) / 255
    assert np.allclose(gabor.compute_gabor_features(images), gabor.compute_gabor_features(divided), atol=1e-5)


def test_wavelets_have_no_mean_and_follow_the_formula():
    bank = gabor.make_wavelet_bank(28, 28, wavelengths=(4.0, 8.0), orientations=8, stride=2, width=0.5)
    assert bank.shape == (2 * 8 * 14 * 14, 784)
    assert np.abs(bank.sum(axis=1)).max() < 1e-12
    one = bank[0].reshape(28, 28)  # wavelength 4, angle 0, the first centre
    row = column = 0.5
    y, x = np.mgrid[:28, :28]
    envelope = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 2.0**2))
    wave = np.exp(2j * np.pi / 4 * (x - column))
    expected = envelope * (wave - (envelope * wave).sum() / envelope.sum()) / np.sqrt((envelope**2).sum())
    assert np.allclose(one, expected)


@pytest.mark.parametrize("orientation", range(8))
@pytest.mark.parametrize("scale", range(3))
def test_a_grating_is_strongest_in_its_own_wavelength_and_orientation(scale, orientation):
    image = grating(gabor.WAVELENGTHS[scale], np.pi * orientation / 8)[None, ..., None]
    found = gabor.compute_gabor_features(image).reshape(3, 8, 7, 7)[..., 2:5, 2:5].mean(axis=(2, 3))
    assert np.unravel_index(found.argmax(), found.shape) == (scale, orientation)


def test_the_phase_is_forgotten():
    features = [gabor.compute_gabor_features(grating(5.0, 0.4, phase)[None, ..., None]) for phase in (0.0, 1.5, 3.0)]
    middle = [f.reshape(3, 8, 7, 7)[1, 1, 2:5, 2:5] for f in features]
    assert max(np.abs(m / middle[0] - 1).max() for m in middle[1:]) < 0.05


def test_places_are_symmetric_about_the_middle(images):
    found = gabor.compute_gabor_features(images).reshape(5, 3, 8, 7, 7)
    mirrored = gabor.compute_gabor_features(images[:, :, ::-1]).reshape(5, 3, 8, 7, 7)
    assert np.allclose(mirrored[:, :, 0], found[:, :, 0, :, ::-1], atol=1e-3)  # angle 0 is its own mirror image
    assert np.allclose(mirrored[:, :, 1], found[:, :, 7, :, ::-1], atol=1e-3)


@pytest.mark.parametrize(
    "shape, change, said",
    [
        ((2, 8, 8, 3), {}, "grey"),
        ((8, 8, 1), {}, "grey"),
        ((2, 8, 8, 1), {"stride": 0}, "must be positive"),
        ((2, 8, 8, 1), {"wavelengths": ()}, "must be positive"),
        ((2, 8, 8, 1), {"width": 0.0}, "must be positive"),
        ((2, 8, 8, 1), {"pool": 5}, "pool=5 leave no place in 8x8"),
        ((0, 8, 8, 1), {}, "at least one"),
    ],
)
def test_what_leaves_no_feature_is_refused(shape, change, said):
    with pytest.raises(UserError, match=said) as error:
        gabor.compute_gabor_features(np.zeros(shape, np.uint8), **change)
    assert "\n" not in str(error.value)
