"""Copies of images within and across splits are counted, by what is stored."""

import numpy as np

from rethink.data.equal_images import count_equal_images, describe_equal_images, digest_images


def test_copies_are_counted_within_and_across_splits():
    images = np.random.default_rng(0).normal(size=(12, 3, 2, 4)).astype(np.float32)
    train = images[[0, 1, 2, 3, 1, 1, 3]]  # images 1 (three times) and 3 (twice)
    splits = {"train": train, "validation": images[[5, 6]], "test": images[[1, 7, 7, 0, 1, 8]]}
    counts = count_equal_images({name: digest_images(values) for name, values in splits.items()})
    assert counts == {"train": 5, "validation": 0, "test": 4, "train_and_validation": 0, "train_and_test": 3}
    line = describe_equal_images(counts, {name: len(values) for name, values in splits.items()})
    assert line == (
        "Equal images: 5 of 7 train examples have the image of another one; 4 of 6 test examples have the image of "
        "another one; 3 of 6 test examples have the image of a train example, so that test accuracy is in part of "
        "memory (leakage)."
    )


def test_images_that_differ_in_one_bit_are_not_equal_and_nothing_is_said():
    images = np.zeros((9, 2, 2, 1), np.uint16)
    images.reshape(9, 4)[1:, 0] = 2 ** np.arange(8)
    counts = count_equal_images({"train": digest_images(images[:5]), "test": digest_images(images[5:])})
    assert counts == {"train": 0, "test": 0, "train_and_test": 0}
    assert describe_equal_images(counts, {"train": 5, "test": 4}) == ""
