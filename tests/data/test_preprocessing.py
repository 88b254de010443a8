"""What the model sees of an image: the exact crop, and the whitening of the paper's appendix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rethink.data import preprocessing
from rethink.schema.errors import UserError

RNG = np.random.default_rng(0)


def preprocess(images, **settings):
    """Preprocesses images as stored."""
    return preprocessing.preprocess_images(images, preprocessing.clean_encoding(images.shape[-1]), **settings)


def index_image(height, width):
    """An image whose two channels name row and column, [1, height, width, 2]."""
    return np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1)[None].astype(np.uint8)


@pytest.mark.parametrize(
    "side, crop, first",
    [(32, 28, 2), (32, 27, 2), (33, 28, 2), (33, 27, 3), (5, 1, 2), (4, 1, 1), (8, 8, 0)],
)
def test_the_centre_crop_is_in_the_middle_and_rounds_towards_the_start(side, crop, first):
    output = np.asarray(preprocessing.crop_centre(index_image(side, side), crop))
    assert output.shape == (1, crop, crop, 2)
    assert output[0, :, 0, 0].tolist() == list(range(first, first + crop))
    assert output[0, 0, :, 1].tolist() == list(range(first, first + crop))
    assert preprocessing.crop_size((side, side, 2), crop) == (crop, crop)


def test_the_centre_crop_of_an_oblong_image_is_square():
    output = np.asarray(preprocessing.crop_centre(index_image(9, 14), 4))
    assert output[0, :, 0, 0].tolist() == [2, 3, 4, 5]
    assert output[0, 0, :, 1].tolist() == [5, 6, 7, 8]


def test_crop_0_keeps_the_image():
    images = index_image(9, 14)
    np.testing.assert_array_equal(preprocessing.crop_centre(images, 0), images)
    assert preprocessing.crop_size((9, 14, 2), 0) == (9, 14)


@pytest.mark.parametrize("shape", [(8, 12, 3), (12, 8, 3)])
def test_a_crop_larger_than_the_image_is_refused(shape):
    with pytest.raises(UserError) as error:
        preprocessing.crop_size(shape, 9)
    assert "preprocess.crop=9" in str(error.value)
    assert "at most 8" in str(error.value)
    assert preprocessing.crop_size(shape, 8) == (8, 8)


def whitened(image):
    """The paper's formula for one image, in float64."""
    values = [float(value) / 255 for value in image.ravel()]
    mean = sum(values) / len(values)
    std = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
    return np.array([(value - mean) / max(std, 1 / len(values) ** 0.5) for value in values]).reshape(image.shape)


@pytest.mark.parametrize("shape", [(28, 28, 3), (8, 8, 1), (5, 9, 2)])
def test_whitening_is_the_formula_of_the_paper(shape):
    spreads = np.array([127, 40, 3, 1, 0]).reshape(-1, 1, 1, 1)
    images = (128 + np.round(spreads * RNG.uniform(-1, 1, (5, *shape)))).astype(np.uint8)
    output = np.asarray(preprocess(images, crop=0, whitening="per_image"))
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, np.stack([whitened(image) for image in images]), rtol=2e-5, atol=2e-5)


def test_a_whitened_image_has_mean_0_and_spread_1_over_all_its_channels():
    images = (RNG.uniform(0, 1, (4, 12, 12, 3)) * [255, 100, 10]).astype(np.uint8)
    output = np.asarray(preprocess(images, crop=0, whitening="per_image")).reshape(4, -1)
    np.testing.assert_allclose(output.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(output.std(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("value", [0, 7, 201, 255])
def test_a_constant_image_becomes_zeros(value):
    output = np.asarray(preprocess(np.full((2, 6, 6, 3), value, np.uint8), crop=0, whitening="per_image"))
    np.testing.assert_allclose(output, 0, atol=1e-4)


def test_an_almost_constant_image_is_divided_by_the_bound_and_not_by_its_spread():
    image = np.full((1, 4, 4, 1), 100, np.uint8)
    image[0, 1, 2, 0] = 101
    output = np.asarray(preprocess(image, crop=0, whitening="per_image"))
    np.testing.assert_allclose(output[0, 1, 2, 0], (1 / 255) * (15 / 16) * 4, rtol=1e-4)


def test_the_crop_comes_before_the_whitening():
    images = RNG.integers(0, 256, (3, 10, 10, 3)).astype(np.uint8)
    border = images.copy()
    border[:, 0] = 255
    output = preprocess(images, crop=6, whitening="per_image")
    assert output.shape == (3, 6, 6, 3)
    np.testing.assert_array_equal(preprocess(border, crop=6, whitening="per_image"), output)
    np.testing.assert_array_equal(preprocess(images[:, 2:8, 2:8], crop=0, whitening="per_image"), output)


def test_without_whitening_an_image_is_scaled_to_0_and_1():
    image = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    output = np.asarray(preprocess(image, crop=0, whitening="none"))
    assert output.dtype == np.float32
    np.testing.assert_allclose(output.ravel(), np.arange(256) / 255, rtol=1e-6)
    assert (output.min(), output.max()) == (0, 1)


def test_an_image_is_whitened_by_itself():
    images = RNG.integers(0, 256, (5, 6, 6, 3)).astype(np.uint8)
    alone = [preprocess(images[i : i + 1], crop=0, whitening="per_image")[0] for i in range(5)]
    together = preprocess(images, crop=0, whitening="per_image")
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("whitening", ["zca", "", "per-image"])
def test_an_unknown_whitening_is_refused(whitening):
    images = index_image(4, 4)
    for call in (
        lambda: preprocess(images, crop=0, whitening=whitening),
        lambda: preprocessing.check_whitening((4, 4, 2), whitening),
    ):
        with pytest.raises(UserError, match=f"^preprocess.whiten='{whitening}' is unknown.*Choices: none, per_image"):
            call()


def test_symmetric_whitening_maps_0_and_255_to_minus_1_and_1():
    images = np.array([0, 51, 255], np.uint8).reshape(1, 1, 3, 1)
    values = np.asarray(preprocess(images, crop=0, whitening="symmetric"))
    np.testing.assert_allclose(values.ravel(), [-1, -0.6, 1], rtol=1e-6)


def test_images_as_stored_are_divided_by_255_and_nothing_else():
    images = RNG.integers(0, 256, (6, 9, 9, 3)).astype(np.uint8)
    plain = jax.jit(lambda images: preprocessing.crop_centre(images, 5).astype(jnp.float32) / 255)
    seen = jax.jit(lambda images: preprocess(images, crop=5, whitening="none"))
    np.testing.assert_array_equal(seen(images), plain(images), strict=True)


def test_codes_are_decoded_before_all_else():
    codes = RNG.integers(0, 256, (6, 9, 9, 3)).astype(np.uint8)
    encoding = np.array([[-90, 40, 3], [2.5, 1.7, 0.3]], np.float32)
    values = (encoding[0] + encoding[1].astype(np.float64) * codes) / 255
    assert values.min() < -0.1 and values.max() > 1.1
    decoded = preprocessing.decode_images(codes, encoding)
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, values, atol=1e-6)
    seen = preprocessing.preprocess_images(codes, encoding, crop=5, whitening="per_image")
    whitened = preprocessing.whiten_images(preprocessing.crop_centre(decoded, 5), "per_image")
    np.testing.assert_allclose(seen, whitened, atol=1e-5)
    shown = preprocessing.round_images(codes, encoding)
    assert shown.dtype == np.uint8 and {0, 255} <= set(np.unique(shown))
    np.testing.assert_allclose(shown / 255, np.clip(values, 0, 1), atol=0.51 / 255)
    clean = preprocessing.clean_encoding(3)
    np.testing.assert_array_equal(preprocessing.round_images(codes, clean), codes, strict=True)
    assert preprocessing.is_encoded(encoding) and not preprocessing.is_encoded(clean)


@pytest.mark.parametrize("scales, warned", [([1, 99], False), ([1, 0, 101], True), ([0, 0], False)])
def test_features_of_very_different_scales_are_warned_of(caplog, scales, warned):
    signs = np.array([-1, 1], np.float32)[:, None]
    preprocessing.warn_of_scales((signs * np.array(scales, np.float32)).reshape(2, 1, 1, -1))
    assert [record.getMessage()[:64] for record in caplog.records] == warned * [
        "The standard deviations of the features go from 1 to 101, and a "
    ]
