"""Pixel corruption: what is drawn, from which distribution, and that an example's id alone decides it."""

import functools
import hashlib

import jax
import numpy as np
import pytest
from scipy import stats

from rethink import randomness
from rethink.data import preprocessing
from rethink.data.corruption.moments import CODES, make_moments
from rethink.data.corruption.pixels import GAUSSIAN, PIXEL_CORRUPTION, choose_encoding, corrupt_images
from rethink.schema.errors import UserError

FEW = 1001  # one shape for all, as most of the time goes into compilation
SWITCHES = {
    "x64": lambda: jax.enable_x64(True),
    "rbg": lambda: jax.default_prng_impl("rbg"),
}
PIXEL_KINDS = [
    (kind, together) for kind in PIXEL_CORRUPTION for together in (True, False) if together or kind.endswith("pixels")
]
MOMENTS = make_moments(np.array([125.3, 33.3, 240.0], np.float32), np.array([63.0, 78.6, 20.0], np.float32))


def destroy(images, kind, *, together=True, seed=0, ids=None, moments=MOMENTS):
    """Returns the images with their pixels corrupted, as a host array."""
    ids = np.arange(len(images), dtype=np.uint32) if ids is None else ids
    key = randomness.key_for(seed, "pixels")
    return np.asarray(corrupt_images(key, ids, images, moments, kind=kind, channels_together=together))


def some_images(channels=3):
    return np.random.default_rng(1).integers(0, 256, (FEW, 8, 8, channels)).astype(np.uint8)


def standard_errors(fraction, expected, n):
    return abs(fraction - expected) / np.sqrt(expected * (1 - expected) / n)


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize(
    "kind, together", [pytest.param(*case, marks=() if case[1] else pytest.mark.slow) for case in PIXEL_KINDS]
)
def test_no_global_switch_changes_a_pixel(kind, together, switch):
    images = some_images()
    plain = destroy(images, kind, together=together)
    with SWITCHES[switch]():
        np.testing.assert_array_equal(destroy(images, kind, together=together), plain, strict=True)


@pytest.mark.parametrize("kind, together", PIXEL_KINDS)
def test_the_pixels_of_an_example_depend_on_its_id_and_not_on_its_place(kind, together):
    images = some_images()
    ids = np.arange(len(images), dtype=np.uint32) * 13
    corrupt = functools.partial(destroy, kind=kind, together=together)
    whole = corrupt(images, ids=ids)
    assert (whole.dtype, whole.shape) == (np.uint8, images.shape)
    np.testing.assert_array_equal(corrupt(images, ids=ids), whole)
    order = np.random.default_rng(3).permutation(len(images))
    for rows in (order, order[:7], np.array([5] * 7)):
        np.testing.assert_array_equal(corrupt(images[rows], ids=ids[rows]), whole[rows])


@pytest.mark.parametrize("kind, together", [("random_pixels", True), ("gaussian", True), ("gaussian_clipped", True)])
def test_pixels_are_the_same_inside_another_program(kind, together):
    images, ids = some_images(), np.arange(FEW, dtype=np.uint32)

    @jax.jit
    def step(ids, images):
        key = randomness.key_for(0, "pixels")
        corrupted = corrupt_images(key, ids, images, MOMENTS, kind=kind, channels_together=together)
        return corrupted, corrupted.astype(np.float32).mean()

    np.testing.assert_array_equal(step(ids, images)[0], destroy(images, kind, together=together))


@pytest.mark.parametrize("kind, together", [case for case in PIXEL_KINDS if case[0] != "none"])
def test_pixels_of_another_seed_differ(kind, together):
    images = some_images()
    assert (destroy(images, kind, together=together) != destroy(images, kind, together=together, seed=1)).any()


def test_no_pixels_are_touched_without_a_kind():
    images = some_images()
    np.testing.assert_array_equal(destroy(images, "none"), images, strict=True)


def index_images(n, together):
    """Images whose values name their place: of the pixel in every channel, or of the value itself."""
    places = np.arange(64).repeat(3) if together else np.arange(8 * 8 * 3)
    return np.broadcast_to(places.reshape(8, 8, 3).astype(np.uint8), (n, 8, 8, 3))


def places(images, together):
    """What stood where, read off index images that were corrupted: [n, places]."""
    pixels = images.reshape(len(images), -1, 3)
    if not together:
        return pixels.reshape(len(images), -1)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


@pytest.mark.parametrize("together", [True, False])
def test_shuffled_pixels_share_one_permutation(together):
    count = 64 if together else 192
    moved = places(destroy(index_images(FEW, together), "shuffled_pixels", together=together), together)
    assert (moved == moved[0]).all()
    assert sorted(moved[0]) == list(range(count))
    assert (moved[0] != np.arange(count)).mean() > 0.9

    images = some_images()
    shuffled = destroy(images, "shuffled_pixels", together=together, ids=np.arange(FEW, dtype=np.uint32) + 500)
    parts = images.reshape(FEW, count, -1)
    np.testing.assert_array_equal(shuffled.reshape(FEW, count, -1), parts[:, moved[0]])


@pytest.mark.parametrize("together", [True, False])
def test_random_pixels_have_a_permutation_for_each_image(together):
    count = 64 if together else 192
    moved = places(destroy(index_images(FEW, together), "random_pixels", together=together), together)
    assert (np.sort(moved, axis=1) == np.arange(count)).all()
    assert len({tuple(order) for order in moved}) == FEW
    some = moved[:60]
    same_place = (some[:, None] == some[None]).mean(axis=-1)[~np.eye(60, dtype=bool)]
    assert same_place.max() < 0.2


def test_random_pixels_take_every_permutation_equally_often():
    n = 12_000
    corner = np.broadcast_to(np.arange(4, dtype=np.uint8).reshape(2, 2, 1), (n, 2, 2, 1))
    _, counts = np.unique(destroy(corner, "random_pixels").reshape(n, 4), axis=0, return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["shuffled_pixels", "random_pixels"])
def test_moved_pixels_keep_their_values(kind):
    images = some_images()
    together = destroy(images, kind, together=True)[:60]
    apart = destroy(images, kind, together=False)[:60]
    images = images[:60]

    def triples(pixels):
        return [sorted(map(tuple, image.reshape(-1, 3).tolist())) for image in pixels]

    assert triples(together) == triples(images)
    for original, mixed in zip(images, apart, strict=True):
        np.testing.assert_array_equal(np.sort(mixed.ravel()), np.sort(original.ravel()))
        assert (np.sort(mixed[..., 0].ravel()) != np.sort(original[..., 0].ravel())).any()
    assert triples(apart) != triples(images)


def clipped_gaussian(mean, std):
    """The probabilities of 0..255 when a Gaussian is rounded and clipped."""
    edges = stats.norm.cdf(np.arange(-0.5, 256), mean, std)
    edges[0], edges[-1] = 0, 1
    return np.diff(edges)


def decoded(codes, moments=MOMENTS):
    """What codes of Gaussian images stand for, in 0..255 and beyond."""
    encoding = choose_encoding(moments, kind="gaussian")
    return 255 * np.asarray(preprocessing.decode_images(codes, encoding), np.float64)


@pytest.mark.parametrize("mean, std", [(125.3, 63.0), (33.3, 78.6), (240.0, 20.0), (200.0, 0.01), (0.5, 0.5)])
def test_what_gaussian_images_are_drawn_from_has_their_mean_and_variance(mean, std):
    moments = make_moments(np.full(1, mean), np.full(1, std))
    offset, scale = moments.encoding.astype(np.float64)
    values = offset + scale * CODES
    assert abs(values.mean() - mean) <= 2.0**-24 * 2 * max(mean, 6 * std)
    assert abs(values.var() / std**2 - 1) < 2e-5
    z = np.unique((values - mean) / std)
    assert z[0] < -4.3 and z[-1] > 4.3 and np.diff(z[abs(z) < 3.5]).max() < 0.035
    assert stats.kurtosis(values) == pytest.approx(0, abs=0.01)
    # Exact products: a multiplication that is fused with the addition rounds as one that is not.
    products = np.float32(scale[0]) * np.arange(256, dtype=np.float32)
    np.testing.assert_array_equal(products.astype(np.float64), scale[0] * np.arange(256))


def test_gaussian_images_have_the_mean_and_the_variance_of_each_channel():
    values = decoded(destroy(np.zeros((FEW, 8, 8, 3), np.uint8), "gaussian")).reshape(-1, 3)
    n = len(values)
    assert (abs(values.mean(axis=0) - MOMENTS.mean) < 4 * MOMENTS.std / np.sqrt(n)).all()
    assert (abs(values.var(axis=0) / MOMENTS.std**2 - 1) < 4 * np.sqrt(2 / n)).all()
    assert values.min() < -100 and values.max() > 350
    for channel in range(3):
        z = (values[:, channel] - MOMENTS.mean[channel]) / MOMENTS.std[channel]
        assert stats.kstest(z, "norm").statistic < 1.63 / np.sqrt(n) + 0.007  # half the step of the codes


def test_clipped_images_have_the_bits_of_every_earlier_version():
    images = destroy(np.zeros((FEW, 8, 8, 3), np.uint8), "gaussian_clipped")
    digest = hashlib.sha256(images.tobytes()).hexdigest()
    assert digest == "4403fb8321c32face121407d4fc47bd091a6c66dccbc5dc2e77b5a98ca326296"


def test_clipped_images_have_the_distribution_of_a_rounded_and_clipped_gaussian():
    images = destroy(np.zeros((FEW, 8, 8, 3), np.uint8), "gaussian_clipped")
    values = np.arange(256)
    for channel, (mean, std) in enumerate(zip(MOMENTS.mean, MOMENTS.std, strict=True)):
        drawn, chances = images[..., channel].ravel(), clipped_gaussian(mean, std)
        expected = chances @ values
        variance = chances @ (values - expected) ** 2
        fourth = chances @ (values - expected) ** 4
        assert abs(drawn.mean() - expected) < 4 * np.sqrt(variance / drawn.size)
        assert abs(drawn.var() - variance) < 4 * np.sqrt((fourth - variance**2) / drawn.size)
        for end in (0, 255):
            if chances[end] > 1e-3:
                assert standard_errors((drawn == end).mean(), chances[end], drawn.size) < 4
        common = chances * drawn.size > 10
        counts = np.bincount(drawn, minlength=256)[common]
        wanted = chances[common] / chances[common].sum() * counts.sum()
        assert stats.chisquare(counts, wanted).pvalue > 1e-3


@pytest.mark.parametrize("kind", GAUSSIAN)
def test_gaussian_values_are_independent_of_each_other_and_of_the_image(kind):
    zeros, others = np.zeros((FEW, 8, 8, 3), np.uint8), some_images()
    images = destroy(zeros, kind)
    np.testing.assert_array_equal(destroy(others, kind), images)
    assert len(np.unique(images.reshape(FEW, -1), axis=0)) == FEW
    values = images[:, :2, :2].reshape(FEW, 12).astype(float)
    correlation = np.corrcoef(values.T)[~np.eye(12, dtype=bool)]
    assert abs(correlation).max() < 5 / np.sqrt(FEW)


def test_gaussian_images_without_spread_are_the_mean():
    flat = make_moments(np.array([7.4, 300.0, -3.0], np.float32), np.zeros(3, np.float32))
    images = destroy(some_images(), "gaussian_clipped", moments=flat)
    np.testing.assert_array_equal(images, np.broadcast_to(np.uint8([7, 255, 0]), images.shape))
    values = decoded(destroy(some_images(), "gaussian", moments=flat), flat)
    np.testing.assert_allclose(values, np.broadcast_to(flat.mean, values.shape), rtol=1e-6)


@pytest.mark.parametrize("kind", ["nonsense", "", "gaussians"])
def test_an_unknown_kind_of_corruption_is_refused(kind):
    with pytest.raises(UserError, match=f"^corruption.pixels='{kind}' is unknown.*Choices: none, shuffled_pixels"):
        destroy(some_images(), kind)
