"""Whole splits corrupted as a config says: which split gets what, and that chunks change nothing."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from rethink.data.corruption import spec
from rethink.data.corruption.labels import LABEL_NOISE
from rethink.data.corruption.moments import make_moments
from rethink.data.corruption.noise import DataFacts
from rethink.data.corruption.pixels import PIXEL_CORRUPTION, SHARED_WITH_TEST
from rethink.data.corruption.spec import CHUNK, corrupt_split, make_corruption_spec, shifts_images
from rethink.data.dataset import Split
from rethink.schema.errors import UserError

K = 10
PLAIN = [kind for kind, noise in LABEL_NOISE.items() if not noise.reads_file]
FEW = 1001  # one shape for all that needs less, as most of the time goes into compilation
PIXEL_KINDS = [
    (kind, together) for kind in PIXEL_CORRUPTION for together in (True, False) if together or kind.endswith("pixels")
]
MOMENTS = make_moments(np.array([125.3, 33.3, 240.0], np.float32), np.array([63.0, 78.6, 20.0], np.float32))


def standard_errors(fraction, expected, n):
    return abs(fraction - expected) / np.sqrt(expected * (1 - expected) / n)


def assert_same(left, right):
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def section(**fields):
    """A config section `corruption`."""
    default = {
        "labels": "none",
        "label_probability": 1.0,
        "label_column": "label",
        "instance_scale": 1.0,
        "pixels": "none",
        "channels_together": True,
        "test_labels": False,
        "test_pixels": False,
    }
    return ConfigDict({**default, **fields})


def a_split(n, side=8):
    rng = np.random.default_rng(n)
    images = rng.integers(0, 256, (n, side, side, 3)).astype(np.uint8)
    return Split(images, rng.integers(0, K, n).astype(np.int32), rng.permutation(10 * n)[:n].astype(np.uint32))


def corrupt(split, *, train, seed=0, **fields):
    corruption = make_corruption_spec(section(**fields), DataFacts(K, seed), train=train)
    return corrupt_split(split, corruption, MOMENTS)


@pytest.mark.parametrize("labels", PLAIN)
@pytest.mark.parametrize("pixels", PIXEL_CORRUPTION)
def test_the_test_split_is_as_stored_but_for_the_shared_permutation(pixels, labels):
    split = a_split(FEW)
    corrupted = corrupt(split, train=False, pixels=pixels, labels=labels)
    assert_same((corrupted.labels, corrupted.true_labels, corrupted.ids), (split.labels, split.labels, split.ids))
    assert not corrupted.resampled.any()
    if pixels == "shuffled_pixels":
        assert_same([corrupted.images], [corrupt(split, train=True, pixels=pixels).images])
        assert (corrupted.images != split.images).any()
    else:
        assert_same([corrupted.images], [split.images])


@pytest.mark.parametrize("labels", ["uniform", "symmetric"])
@pytest.mark.parametrize("pixels", PIXEL_CORRUPTION)
def test_the_train_split_has_labels_and_pixels_corrupted_each_as_if_alone(pixels, labels):
    split = a_split(FEW)
    both = corrupt(split, train=True, pixels=pixels, labels=labels, label_probability=0.5)
    only_labels = corrupt(split, train=True, labels=labels, label_probability=0.5)
    only_pixels = corrupt(split, train=True, pixels=pixels)
    assert_same([both.images], [only_pixels.images])
    assert_same((both.labels, both.resampled), (only_labels.labels, only_labels.resampled))
    assert_same((both.true_labels, both.ids), (split.labels, split.ids))
    assert_same((only_labels.images, only_pixels.labels), (split.images, split.labels))
    assert 0.3 < both.resampled.mean() < 0.7
    assert (both.images != split.images).any() == (pixels != "none")


def test_test_labels_are_corrupted_where_the_config_says_so_and_not_as_in_train():
    split = a_split(FEW)
    train = corrupt(split, train=True, labels="uniform")
    test = corrupt(split, train=False, labels="uniform", test_labels=True)
    assert test.resampled.all()
    assert standard_errors((test.labels != split.labels).mean(), 0.9, FEW) < 4
    assert standard_errors((test.labels == train.labels).mean(), 1 / K, FEW) < 4
    train, test = (
        corrupt(split, train=train, labels="uniform", label_probability=0.5, test_labels=True)
        for train in (True, False)
    )
    assert standard_errors((train.resampled == test.resampled).mean(), 0.5, FEW) < 4


@pytest.mark.parametrize("pixels", PIXEL_CORRUPTION)
def test_test_pixels_are_corrupted_where_the_config_says_so_each_by_a_draw_of_its_own(pixels):
    split = a_split(FEW)
    train = corrupt(split, train=True, pixels=pixels)
    test = corrupt(split, train=False, pixels=pixels, test_pixels=True)
    if pixels in SHARED_WITH_TEST:
        assert_same([test.images], [train.images])  # one for all images, of train and test
        return
    # The same images with the same ids: what differs is the stream.
    assert (test.images != train.images).any(axis=(1, 2, 3)).all()
    again = corrupt(Split(*(values[::-1] for values in split)), train=False, pixels=pixels, test_pixels=True)
    assert_same([again.images[::-1]], [test.images])
    if pixels == "random_pixels":
        values = [np.sort(images.reshape(FEW, -1), axis=1) for images in (test.images, split.images)]
        assert_same([values[0]], [values[1]])


def test_train_and_test_images_are_of_one_distribution_unless_train_alone_is_corrupted():
    shifted = {
        (pixels, test_pixels)
        for pixels in PIXEL_CORRUPTION
        for test_pixels in (False, True)
        if shifts_images(section(pixels=pixels, test_pixels=test_pixels))
    }
    assert shifted == {(pixels, False) for pixels in PIXEL_CORRUPTION if pixels not in SHARED_WITH_TEST}


def test_the_probability_and_the_channels_of_the_config_are_those_that_count():
    resampled = corrupt(a_split(FEW), train=True, labels="uniform", label_probability=0.2).resampled
    assert standard_errors(resampled.mean(), 0.2, FEW) < 4
    together, apart = (
        corrupt(a_split(FEW), train=True, pixels="random_pixels", channels_together=choice).images
        for choice in (True, False)
    )
    assert (together != apart).any()


def test_labels_and_pixels_of_another_seed_differ():
    split = a_split(FEW)
    first, other = (corrupt(split, train=True, seed=seed, labels="uniform", pixels="random_pixels") for seed in (0, 1))
    assert (first.labels != other.labels).any()
    assert (first.images != other.images).any()


def assert_as_if_at_once(split, **fields):
    corruption = make_corruption_spec(section(**fields), DataFacts(K, 0), train=True)
    images, labels, resampled = jax.device_get(corruption.apply(split.ids, split.images, split.labels, MOMENTS))
    whole = corrupt_split(split, corruption, MOMENTS)
    changed = (np.asarray(images) != split.images).any(axis=(1, 2, 3))
    assert_same(whole, (images, corruption.encoding(MOMENTS), labels, split.labels, split.ids, resampled, changed))
    assert all(isinstance(part, np.ndarray) for part in whole)


@pytest.mark.slow
def test_a_split_of_many_chunks_is_as_if_corrupted_at_once():
    assert_as_if_at_once(a_split(2 * CHUNK + FEW, side=2), labels="uniform", label_probability=0.5)


@pytest.mark.parametrize("kind, together", PIXEL_KINDS)
def test_chunks_change_no_label_and_no_kind_of_pixels(kind, together, monkeypatch):
    monkeypatch.setattr(spec, "CHUNK", 7)
    labels = {"labels": "uniform", "label_probability": 0.5} if kind == "none" else {}
    assert_as_if_at_once(a_split(FEW), pixels=kind, channels_together=together, **labels)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("field, kind", [("labels", "pair_flop"), ("pixels", "nonsense")])
def test_an_unknown_kind_is_refused_for_the_test_split_too(field, kind, train):
    with pytest.raises(UserError, match=f"^corruption.{field}='{kind}' is unknown"):
        make_corruption_spec(section(**{field: kind}), DataFacts(K, 0), train=train)


@pytest.mark.parametrize("kind", PLAIN[1:])
def test_label_noise_that_can_change_no_label_is_refused(kind):
    with pytest.raises(UserError, match=f"^corruption.labels='{kind}' changes no label where there is one class: set"):
        make_corruption_spec(section(labels=kind), DataFacts(1, 0), train=True)
    make_corruption_spec(section(), DataFacts(1, 0), train=True)
