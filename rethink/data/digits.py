"""scikit-learn's handwritten digits, which ship inside a dependency."""

import math

import numpy as np
from ml_collections import ConfigDict

from rethink import randomness
from rethink.data.dataset import Dataset, MemorySplit, Split, test_indices, train_indices
from rethink.schema.errors import UserError

FIXED_FIELDS = {"train_split": "train", "test_split": "test", "image_size": 0}  # field -> its only value


def open_digits(config: ConfigDict) -> Dataset:
    """Returns scikit-learn's handwritten digits, 1,797 images of 8x8x1, split by `split_seed`."""
    for field, only in FIXED_FIELDS.items():
        if config[field] != only:
            raise UserError(
                f"data.{field}={config[field]!r} has no meaning for the digits: leave it at {only!r}, or choose a TFDS "
                "set with --config.data.name."
            )
    import sklearn
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int32)
    order = randomness.draw_permutation(randomness.key_for(config.split_seed, "digits_split"), len(labels))
    num_test = math.ceil(config.test_fraction * len(labels))
    if not 0 < num_test < len(labels):
        raise UserError(
            f"data.test_fraction={config.test_fraction} takes {num_test} of the {len(labels)} digits for testing: "
            "set it so that some are left on both sides, such as 0.2."
        )

    def take(rows: np.ndarray) -> MemorySplit:
        return MemorySplit(Split(images[rows], labels[rows], rows.astype(np.uint32)))

    train, test = np.sort(order[num_test:]), np.sort(order[:num_test])
    return Dataset(
        name=f"digits (scikit-learn {sklearn.__version__})",
        decoder="none",
        num_classes=10,
        full_train_examples=len(train),
        splits={
            **{name: take(train[rows]) for name, rows in train_indices(len(train), config).items()},
            "test": take(test[test_indices(len(test), config)]),
        },
    )
