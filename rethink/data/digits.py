"""Opens scikit-learn's handwritten digits, which need no download."""

import math

import numpy as np
from ml_collections import ConfigDict

from rethink import randomness
from rethink.data.dataset import Dataset, MemorySplit, Split
from rethink.schema.errors import UserError

FIXED_FIELDS = {"train_split": "train", "test_split": "test", "image_size": 0}  # field -> its only value


def open_digits(location: str, config: ConfigDict) -> Dataset:
    """Returns all 1,797 digits, images of 8x8x1, split into train and test by `split_seed` and `test_fraction`.

    An id is the position among all 1,797 digits. The values, 0..16, are scaled to 0..255 and rounded.

    Args:
      location: must be empty, as the digits are in one place.
      config: the config section `data`.

    Raises:
      UserError: a field has a value without meaning for the digits, or `test_fraction` leaves nothing to train on.

    Source: `sklearn.datasets.load_digits`.
    """
    # Check the fields that have a single value here.
    if location:
        raise UserError(f"data.name='{config.name}' has a location, and the digits have none: type 'digits'.")
    for field, value in FIXED_FIELDS.items():
        if config[field] != value:
            raise UserError(
                f"data.{field}={config[field]!r} has no meaning for the digits: leave it at {value!r}, or choose a "
                "TFDS set with --config.data.name."
            )
    import sklearn
    from sklearn.datasets import load_digits

    # Read all digits, and draw which of them are for testing.
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

    def make_split(rows: np.ndarray) -> MemorySplit:
        return MemorySplit(Split(images[rows], labels[rows], rows.astype(np.uint32)))

    return Dataset(
        name=f"digits (scikit-learn {sklearn.__version__})",
        decoder="none",
        class_names=tuple(map(str, bunch.target_names)),
        full_train_examples=len(labels) - num_test,
        splits={"train": make_split(np.sort(order[num_test:])), "test": make_split(np.sort(order[:num_test]))},
    )
