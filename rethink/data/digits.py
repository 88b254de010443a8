"""Opens scikit-learn's handwritten digits, which need no download."""

import numpy as np
from ml_collections import ConfigDict

from rethink.data.arrays import dataset_from_arrays
from rethink.data.dataset import Dataset
from rethink.schema.errors import UserError


def open_digits(location: str, config: ConfigDict) -> Dataset:
    """Returns all 1,797 digits, images of 8x8x1, as one split. The values, 0..16, are scaled to 0..255 and rounded.

    Args:
      location: must be empty, as the digits are in one place.
      config: the config section `data`.

    Raises:
      UserError: there is a location.

    Source: `sklearn.datasets.load_digits`.
    """
    if location:
        raise UserError(f"data.name='{config.name}' has a location, and the digits have none: type 'digits'.")
    import sklearn
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    name = f"digits (scikit-learn {sklearn.__version__})"
    return dataset_from_arrays(name, {"train": (images, bunch.target)})
