"""Opens scikit-learn's handwritten digits, which need no download."""

import numpy as np
from ml_collections import ConfigDict

from rethink.data.dataset import Dataset, MemorySplit, Split
from rethink.schema.errors import UserError

FIXED_FIELDS = {"train_split": "train", "test_split": "test", "image_size": 0}  # field -> its only value


def open_digits(location: str, config: ConfigDict) -> Dataset:
    """Returns all 1,797 digits, images of 8x8x1, as one split. The values, 0..16, are scaled to 0..255 and rounded.

    Args:
      location: must be empty, as the digits are in one place.
      config: the config section `data`.

    Raises:
      UserError: a field has a value without meaning for the digits.

    Source: `sklearn.datasets.load_digits`.
    """
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

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int32)
    return Dataset(
        name=f"digits (scikit-learn {sklearn.__version__})",
        decoder="none",
        class_names=tuple(map(str, bunch.target_names)),
        full_train_examples=len(labels),
        splits={"train": MemorySplit(Split(images, labels, np.arange(len(labels), dtype=np.uint32)))},
    )
