"""Opens a data set by its name; applies the subset, the held-out part and the class folding once, for every source."""

from ml_collections import ConfigDict

from rethink.data.dataset import Dataset, ModuloLabels, SplitSource
from rethink.data.digits import open_digits
from rethink.schema.errors import UserError

EMBEDDED = "digits"


def open_dataset(config: ConfigDict) -> Dataset:
    """Opens the data set of the config section `data`, restricted to its `train_examples` and `test_examples`.

    Raises:
      UserError: it is not there and can't be prepared, is damaged, is no image classification set, has too few
        examples, or fields ask of it what it has not.
    """
    if config.train_split == config.test_split:
        raise UserError(
            f"data.train_split and data.test_split are both '{config.test_split}', so that a test would be of memory "
            "alone: set --config.data.test_split to another."
        )
    if config.name == EMBEDDED:
        return _with_classes(open_digits(config), config.classes)
    from rethink.data import tfds  # TFDS takes a second to import

    return _with_classes(tfds.open_tfds(config), config.classes)


def _with_classes(data: Dataset, classes: int) -> Dataset:
    """Returns the data set with its labels modulo `classes`; 0 leaves it as it is."""
    if not classes:
        return data
    if classes < 2 or classes > data.num_classes:
        raise UserError(
            f"data.classes={classes} can't be made of the {data.num_classes} classes of {data.name}: set it to 2 up to "
            f"{data.num_classes}, or to 0 for the classes as they are."
        )
    splits: dict[str, SplitSource] = {name: ModuloLabels(split, classes) for name, split in data.splits.items()}
    return data._replace(num_classes=classes, splits=splits)
