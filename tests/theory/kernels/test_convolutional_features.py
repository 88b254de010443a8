"""Random convolutional features: whitening, filters, and the whole pipeline against one written out patch by patch."""

import numpy as np
import pytest

from rethink.schema.errors import UserError
from rethink.theory.kernels import convolutional_features


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (60, 6, 6, 3))
    return np.clip(np.kron(coarse, np.ones((1, 2, 2, 1))) + rng.normal(0, 8, (60, 12, 12, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def whitening(images):
    return convolutional_features.fit_whitening(images, patch=4, count=4000, seed=0)


def net_of(images, whitening, **change):
    given = {"kind": "gaussian", "filters": 5, "threshold": 0.3, "stride": 1, "seed": 0, **change}
    return convolutional_features.make_net(images, whitening, **given)


def normalize(patch):
    patch = patch.astype(np.float64).ravel()
    return (patch - patch.mean()) / np.sqrt(patch.var() + convolutional_features.CONTRAST)


def filters_of(net, whitening):
    """Returns the filters before the whitening was folded in."""
    return np.linalg.solve(whitening.matrix, net.kernels.reshape(len(whitening.mean), -1)).T


def test_patches_are_of_the_images_with_contrast_normalized(images):
    found = convolutional_features.sample_patches(images[:1], patch=4, count=50, seed=0, name="x")
    every = [normalize(images[0, i : i + 4, j : j + 4]) for i in range(9) for j in range(9)]
    apart = np.abs(found[:, None] - np.array(every)).max(axis=2).min(axis=1)
    assert found.shape == (50, 48) and apart.max() < 1e-12
    assert len(np.unique(found, axis=0)) > 20
    assert not np.array_equal(
        found, convolutional_features.sample_patches(images[:1], patch=4, count=50, seed=1, name="x")
    )


def test_a_flat_patch_is_zero_and_no_division():
    assert not convolutional_features.sample_patches(
        np.full((1, 5, 5, 3), 9, np.uint8), patch=4, count=3, seed=0, name="x"
    ).any()


def test_whitened_patches_have_the_identity_as_covariance(images):
    exact = convolutional_features.fit_whitening(images, patch=4, count=4000, seed=0, epsilon=1e-9)
    patches = convolutional_features.sample_patches(images, patch=4, count=4000, seed=0, name="whitening_patches")
    covariance = np.cov((patches - exact.mean) @ exact.matrix, rowvar=False, bias=True)
    eigenvalues = np.linalg.eigvalsh(covariance)
    assert abs(eigenvalues[0]) < 1e-6 and np.allclose(eigenvalues[1:], 1, atol=1e-4)  # the mean was taken out: one is 0
    constant = np.ones(48) / np.sqrt(48)
    assert np.allclose(covariance, np.eye(48) - np.outer(constant, constant), atol=1e-4)
    assert np.allclose(exact.matrix, exact.matrix.T)


def test_epsilon_shrinks_every_variance_as_stated(images):
    found = convolutional_features.fit_whitening(images, patch=4, count=4000, seed=0, epsilon=0.5)
    patches = convolutional_features.sample_patches(images, patch=4, count=4000, seed=0, name="whitening_patches")
    variances = np.linalg.eigvalsh(np.cov(patches, rowvar=False, bias=True))
    whitened = np.linalg.eigvalsh(np.cov((patches - found.mean) @ found.matrix, rowvar=False, bias=True))
    assert np.allclose(np.sort(whitened), np.sort(variances / (variances + 0.5)), atol=1e-9)


@pytest.mark.parametrize("kind", convolutional_features.FILTERS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("count", [3, 30])
def test_the_pipeline_is_the_one_written_out(images, whitening, kind, stride, count):
    net = net_of(images, whitening, kind=kind, stride=stride)
    filters = filters_of(net, whitening)
    assert np.allclose(np.linalg.norm(filters, axis=1), 1, atol=1e-4)
    found = convolutional_features.apply_net(net, images[:count])
    places = range(0, 12 - 4 + 1, stride)
    half = (len(places) + 1) // 2
    image = images[count - 1]
    z = np.array(
        [
            [filters @ whitening.matrix @ (normalize(image[i : i + 4, j : j + 4]) - whitening.mean) for j in places]
            for i in places
        ]
    )
    expected = [
        np.maximum(sign * z[a, b] - 0.3, 0).mean(axis=(0, 1))
        for sign in (1, -1)
        for a in (slice(half), slice(half, None))
        for b in (slice(half), slice(half, None))
    ]
    assert found.shape == (count, convolutional_features.PER_FILTER * 5) and found.dtype == np.float32
    assert np.allclose(found[count - 1], np.concatenate(expected), atol=1e-4)


def test_an_image_has_the_same_features_in_any_company(images, whitening):
    net = net_of(images, whitening)
    together = convolutional_features.apply_net(net, images)
    assert np.allclose(convolutional_features.apply_net(net, images[40:43]), together[40:43], atol=1e-5)
    assert np.allclose(convolutional_features.apply_net(net, images[::-1]), together[::-1], atol=1e-5)


def test_brightness_is_not_seen(images, whitening):
    net = net_of(images, whitening)
    dark = (images // 2).astype(np.uint8)
    assert np.allclose(
        convolutional_features.apply_net(net, dark),
        convolutional_features.apply_net(net, dark + np.uint8(100)),
        atol=1e-4,
    )


@pytest.mark.parametrize("kind", convolutional_features.FILTERS)
def test_blocks_and_seeds_have_filters_of_their_own(images, whitening, kind):
    one = net_of(images, whitening, kind=kind).kernels
    assert np.array_equal(one, net_of(images, whitening, kind=kind).kernels)
    assert not np.allclose(one, net_of(images, whitening, kind=kind, block=1).kernels)
    assert not np.allclose(one, net_of(images, whitening, kind=kind, seed=1).kernels)


def test_standardizing_fixes_mean_and_deviation_on_train(images):
    rng = np.random.default_rng(0)
    train, test = (rng.normal(3, 2, (n, 4)).astype(np.float32) for n in (50, 9))
    train[:, 2], test[:, 2] = 7, 9
    raw_train, raw_test = train.copy(), test.copy()
    convolutional_features.standardize_features(train, test)
    moving = [0, 1, 3]
    assert np.allclose(train.mean(axis=0), 0, atol=1e-5) and np.allclose(train.std(axis=0)[moving], 1, atol=1e-5)
    expected = (raw_test - raw_train.mean(axis=0))[:, moving] / raw_train.std(axis=0)[moving]
    assert np.allclose(test[:, moving], expected, atol=1e-4)
    assert not train[:, 2].any() and not test[:, 2].any()  # a feature that is constant on train says nothing


@pytest.mark.parametrize(
    "call, said",
    [
        (
            lambda i, w: convolutional_features.sample_patches(i, patch=13, count=3, seed=0, name="x"),
            "patch=13 is out of range",
        ),
        (lambda i, w: convolutional_features.sample_patches(i[:0], patch=4, count=3, seed=0, name="x"), "no patches"),
        (lambda i, w: convolutional_features.fit_whitening(i, patch=4, count=1, seed=0), "no covariance"),
        (lambda i, w: net_of(i, w, kind="gausian"), "did you mean 'gaussian'"),
        (lambda i, w: net_of(i, w, filters=0), "filters=0"),
        (lambda i, w: net_of(i, w, stride=0), "stride=0"),
        (lambda i, w: net_of(i, w, threshold=-1.0), "threshold=-1.0"),
        (lambda i, w: convolutional_features.apply_net(net_of(i, w), i[:, :4]), "no quadrants"),
    ],
)
def test_what_is_no_net_is_refused(images, whitening, call, said):
    with pytest.raises(UserError, match=said) as error:
        call(images, whitening)
    assert "\n" not in str(error.value)
