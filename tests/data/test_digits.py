"""The digits: all of them, with their position as id, and split as the config says."""

import numpy as np
import pytest
from data_sets import load, refusal, section

from rethink.data.registry import open_dataset


def test_the_digits_are_all_there_once_with_their_position_as_id():
    from sklearn.datasets import load_digits

    opened, train, test = load(name="digits")
    whole = load_digits()
    assert opened.num_classes == 10
    assert "scikit-learn" in opened.name
    assert opened.train.image_shape == opened.test.image_shape == (8, 8, 1)
    assert len(test.ids) == 360 and len(train.ids) == 1437
    assert sorted([*train.ids, *test.ids]) == list(range(1797))
    for split in (train, test):
        assert (split.images.dtype, split.labels.dtype, split.ids.dtype) == (np.uint8, np.int32, np.uint32)
        assert split.images.shape == (len(split.ids), 8, 8, 1)
        assert (np.diff(split.ids.astype(int)) > 0).all()
        np.testing.assert_array_equal(split.labels, whole.target[split.ids])
        np.testing.assert_allclose(split.images[..., 0], whole.images[split.ids] * 255 / 16, atol=0.5)
        assert (split.images.min(), split.images.max()) == (0, 255)
        assert (np.bincount(split.labels) > 20).all()


def test_the_split_of_the_digits_is_fixed_by_its_seed():
    _, first, _ = load(name="digits")
    _, again, _ = load(name="digits")
    _, other, _ = load(name="digits", split_seed=1)
    np.testing.assert_array_equal(first.ids, again.ids)
    assert set(first.ids) != set(other.ids)
    assert first.ids[:8].tolist() == [0, 1, 2, 3, 4, 6, 7, 8]


@pytest.mark.parametrize("field, value", [("image_size", 16), ("train_split", "all"), ("test_split", "validation")])
def test_what_has_no_meaning_for_the_digits_is_refused(field, value):
    assert refusal(name="digits", **{field: value}).startswith(f"data.{field}={value!r} has no effect on data.name=")


def test_a_test_fraction_that_leaves_nothing_to_train_on_is_refused():
    message = refusal(name="digits", test_fraction=0.9999)
    assert message.startswith("data.test_fraction=0.9999 takes 1797 of the 1797 examples of digits")


@pytest.mark.parametrize("fraction, count", [(0.5, 899), (0.001, 2), (0.9, 1618)])
def test_the_test_fraction_of_the_digits_is_rounded_up(fraction, count):
    _, train, test = load(name="digits", test_fraction=fraction)
    assert (len(train.ids), len(test.ids)) == (1797 - count, count)


def test_rows_of_the_digits_are_read_in_the_order_asked_for():
    source = open_dataset(section(name="digits")).train
    for actual, wanted in zip(source.read(np.array([3, 0, 3])), source.load(), strict=True):
        np.testing.assert_array_equal(actual, wanted[[3, 0, 3]], strict=True)


def test_a_location_is_refused():
    assert refusal(name="digits:somewhere").startswith("data.name='digits:somewhere' has a location")
