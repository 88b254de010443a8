"""Arrays become a data set as they are: no copy that is not needed, no write, one line for what is no image."""

import contextlib
import pickle
import re

import numpy as np
import pytest
from data_sets import section

from rethink.data.arrays import choose_splits, dataset_from_arrays
from rethink.schema.errors import UserError

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (4, 5, 6, 3)).astype(np.uint8)
LABELS = [3, 1, 3, 2]


def make(images, labels=LABELS, test=None):
    splits = {"train": (images, labels), **({"test": test} if test else {})}
    return dataset_from_arrays("arrays", splits)


def refusal(*args, **kwargs):
    with pytest.raises(UserError) as refused:
        make(*args, **kwargs)
    assert ": give " in str(refused.value) or ": leave " in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("images", "stored"),
    [
        (BYTES, BYTES),
        (BYTES[..., 0], BYTES[..., :1]),
        (BYTES.astype(">u2"), BYTES.astype(np.uint16)),
        (BYTES.astype(np.int64), BYTES),
        (BYTES.astype(np.int32) + 1, BYTES + np.uint16(1)),
        (BYTES / 255, (BYTES / 255).astype(np.float32)),
        (BYTES.astype(np.float16), BYTES.astype(np.float32)),
        (BYTES > 99, np.where(BYTES > 99, 255, 0).astype(np.uint8)),
        (BYTES.tolist(), BYTES),
        (BYTES[..., [0] * 13], BYTES[..., [0] * 13]),
        (np.array([[1, 0], [0, 2**20]] * 2), np.array([[1, 0], [0, 2**20]] * 2, np.float32)[:, None, None]),
        (np.array([[True, False]] * 4), np.array([[[[1, 0]]]] * 4, np.float32)),
    ],
)
def test_images_of_every_dtype_are_stored_as_documented(images, stored):
    data = make(images)
    split = data.train.load()
    np.testing.assert_array_equal(split.images, stored)
    assert (split.images.dtype, split.images.shape[1:]) == (stored.dtype, data.train.image_shape)
    assert data.train.image_dtype == stored.dtype and data.has_vectors == (np.ndim(images) == 2)
    assert (split.labels.tolist(), split.ids.tolist(), data.class_names) == (
        [2, 0, 2, 1],
        [0, 1, 2, 3],
        ("1", "2", "3"),
    )
    rows = np.array([3, 0])
    for part, whole in zip(data.train.read(rows), split, strict=True):
        np.testing.assert_array_equal(part, whole[rows])


def test_an_array_is_neither_copied_nor_written():
    for images in (BYTES, BYTES.astype(np.uint16), BYTES.astype(np.float32), np.zeros((4, 3), np.float32)):
        loaded = make(images).train.load().images
        assert np.shares_memory(loaded, images) and images.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            loaded[0] = 0


def test_a_split_can_be_sent_to_another_process():
    split = make(BYTES).train
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(split)).load().images, BYTES)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 3, 32, 32)), "channels first"),
        (np.zeros((4, 1, 28, 28)), "channels first"),
        (np.zeros((4, 3, 20, 30)), "channels first"),
        (np.zeros((4, 1, 28, 20)), "channels first"),
        (np.zeros((4, 2, 28, 28)), "channels first"),
        (np.zeros((4, 3, 4, 4)), "channels first"),
        (np.zeros(4), r"shape \[4\]"),
        (np.zeros((4, 1, 1, 1, 1)), r"shape \[4, 1, 1, 1, 1\]"),
        (np.zeros((0, 4, 4)), r"shape \[0, 4, 4\]"),
        (np.zeros((4, 0)), r"shape \[4, 0\]"),
        (np.zeros((5, 4, 4)), "5 images and 4 labels"),
        (np.array([None] * 4), "dtype object"),
        ([[1], [1, 2], [3], [4]], "several shapes"),
        (np.full((4, 2, 2), "a"), "dtype <U1"),
        (np.arange(4).reshape(4, 1, 1) - 1, "row 0 has a pixel -1"),
        (np.arange(4).reshape(4, 1, 1) * 30000, "row 3 has a pixel 90000"),
    ],
)
def test_what_is_no_image_is_one_line(images, message):
    assert re.search(message, refusal(images))


def test_splits_must_agree():
    assert "'train' has images of shape 5x6x3, 'test' has images of shape 5x6" in refusal(
        BYTES, test=(BYTES[..., 0], LABELS)
    )
    assert "'train' has images of uint8, 'test' has images of float32" in refusal(BYTES, test=(BYTES / 255, LABELS))
    wide = make(BYTES.astype(int), test=(BYTES.astype(int) + 1, LABELS))
    assert wide.train.image_dtype == wide.test.image_dtype == np.uint16


def test_the_config_chooses_among_the_splits():
    assert choose_splits(["train", "val", "test"], section()) == {"train": "train", "test": "test"}
    assert choose_splits(["train", "val", "test"], section(test_split="val")) == {"train": "train", "test": "val"}
    assert choose_splits(["train"], section()) == {"train": "train"}
    assert choose_splits(["val", "train"], section()) == {"train": "train", "test": "val"}
    assert choose_splits(["validation", "val"], section(train_split="val")) == {"train": "val", "test": "validation"}
    with pytest.raises(UserError, match="data.test_split='test' is unknown.* Choices: train, dev"):
        choose_splits(["train", "dev"], section())


def test_any_arrays_are_a_data_set_or_one_line():
    rng = np.random.default_rng(0)
    dtypes = ["?", "u1", "i1", ">u2", "i8", "u8", "f2", "f4", "f8", "g", "c8", "U3", "S3", "O", "V2", "i4,f4"]
    outcomes = {True: 0, False: 0}

    def draw(shapes):
        shape, dtype = shapes[rng.integers(len(shapes))], rng.choice(dtypes)
        values = rng.choice([[0, 1], [1, 2, 300], [-1, 7], [0.5, np.nan], [1, 1e40]][rng.integers(5)], shape)
        with np.errstate(all="ignore"), contextlib.suppress(ValueError, TypeError, OverflowError):
            return np.asarray(values).astype(dtype)
        return np.zeros(shape, dtype)

    for _ in range(300):
        images = draw([(4, 3), (4, 3, 3), (4, 3, 3, 3), (3, 3), (4,), (), (4, 0), (4, 3, 8, 8)])
        labels = draw([(4,), (4, 1), (4, 2), (3,), (), (0,), (2, 2, 2)])
        try:
            data = make(images, labels)
        except UserError as error:
            outcomes[False] += 1
            assert str(error).startswith("data.name='arrays'") and ": " in str(error) and str(error).endswith(".")
        else:
            outcomes[True] += 1
            split = data.train.load()
            assert split.images.shape == (len(images), *data.train.image_shape)
            assert split.images.dtype == data.train.image_dtype in ("uint8", "uint16", "float32")
            assert split.labels.dtype == np.int32 and 0 <= split.labels.min() <= split.labels.max() < data.num_classes
    assert min(outcomes.values()) > 10, outcomes
