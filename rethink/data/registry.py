"""Opens a data set by its name, then takes its test part and subsets and folds classes, the same for every source.

A new source is one row of `DATASETS`.
"""

import difflib
import math
from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

from rethink import randomness
from rethink.data import preprocessing
from rethink.data.dataset import Dataset, ModuloLabels, SplitSource, Subset, format_shape
from rethink.data.digits import open_digits
from rethink.data.folder import open_folder
from rethink.data.idx import open_idx
from rethink.data.numpy_files import open_npy, open_npz
from rethink.data.parquet import open_parquet
from rethink.data.tfds import TFDS_NAME, open_tfds
from rethink.data.user_function import open_module
from rethink.schema import validation
from rethink.schema.errors import UserError, exists, unreadable

# Scheme -> opener: (what follows "SCHEME:", the config section `data`) -> the full splits "train" and "test", or only
# "train", of which the test part is then drawn.
# `data.name` is SCHEME or SCHEME:LOCATION; any other name is that of a TFDS set.
DATASETS: dict[str, Callable[[str, ConfigDict], Dataset]] = {
    "digits": open_digits,
    "folder": open_folder,
    "idx": open_idx,
    "module": open_module,
    "npy": open_npy,
    "npz": open_npz,
    "parquet": open_parquet,
    "tfds": open_tfds,
}

# What the names of files end with -> the scheme that reads them.
ENDINGS = {".npz": "npz", ".npy": "npy", ".parquet": "parquet", "-ubyte": "idx", "-ubyte.gz": "idx"}


def open_dataset(config: ConfigDict, given: Dataset | None = None) -> Dataset:
    """Returns the data set of the config section `data`, with its subsets, its held-out part and its folded classes.

    Args:
      given: as an opener returns it; takes the place of what `data.name` names.

    Raises:
      UserError: the data set is not there and can't be prepared, is damaged, holds no images with class labels, or does
        not fit together with a field of `data`.
    """
    if config.train_split == config.test_split:
        raise UserError(
            f"data.train_split and data.test_split are both '{config.test_split}', so that a test would be of memory "
            "alone: set --config.data.test_split to another."
        )
    scheme, _, location = config.name.partition(":")
    if given:
        data = given
    elif scheme in DATASETS:
        data = DATASETS[scheme](location, config)
    elif config.name == validation.GIVEN:
        raise UserError(f"data.name='{config.name}' were arrays of a program: give them again, to rethink.train.")
    else:
        data = _open_without_scheme(config)
    if "test" not in data.splits:
        data = _split_test(data, config)
    _check_shapes(data, config)
    splits = {**_split_train(data.train, config), "test": _take_subset(data.test, config, "test_examples")}
    return _fold_classes(data._replace(splits=splits), config.classes)


def _open_without_scheme(config: ConfigDict) -> Dataset:
    """Returns the TFDS set of this name.

    Raises:
      UserError: there is none; the line says which scheme to type, where the name is that of a file or folder.
    """
    hint = _suggest_name(config.name)
    if TFDS_NAME.fullmatch(config.name):
        try:
            return open_tfds(config.name, config)
        except UserError as error:
            if hint:
                raise UserError(f"{error} There is {config.name} here, too: {hint}") from error
            raise
    if not hint:
        scheme, _, location = config.name.partition(":")
        near = difflib.get_close_matches(scheme, DATASETS, n=1)
        hint = f"did you mean '{near[0]}:{location}'? Type" if near and location else "type"
        hint += f" 'digits', a TFDS name such as 'cifar10', or SCHEME:PATH; schemes: {', '.join(sorted(DATASETS))}."
    raise UserError(f"data.name='{config.name}' is no data set's name: {hint}")


def _suggest_name(name: str) -> str:
    """Returns what to type for a file or a folder that is given without its scheme, "" where there is none."""
    path = validation.expand_path(name, "data.name")
    if not exists(path):
        return ""
    is_folder = path.is_dir()
    try:
        files = sorted(path.iterdir()) if is_folder else [path]
    except PermissionError as error:
        raise unreadable(name, error) from error
    schemes = [scheme for file in files for ending, scheme in ENDINGS.items() if file.name.endswith(ending)]
    if not schemes and not is_folder:
        return f"it is a file that no scheme reads; schemes: {', '.join(sorted(DATASETS))}."
    scheme = schemes[0] if schemes else "folder"
    if is_folder and scheme == "npz":
        name = str(next(file for file in files if file.name.endswith(".npz")))
    elif not is_folder and scheme in ("npy", "idx"):
        name = str(path.parent)
    return f"type --config.data.name={scheme}:{name}"


def _split_test(data: Dataset, config: ConfigDict) -> Dataset:
    """Returns the data set with a part of its one split as "test", drawn by `split_seed` and `test_fraction`.

    Bad files are drawn with the others, so that leaving them out moves no other example to another split.

    Raises:
      UserError: `test_fraction` leaves nothing to train on.
    """
    split = data.train
    count = len(split.ids) + len(data.bad_files)
    num_test = math.ceil(config.test_fraction * count)
    order = randomness.draw_permutation(randomness.key_for(config.split_seed, "digits_split"), count)
    drawn = {"train": order[num_test:], "test": order[:num_test]}
    ids = {name: split.ids[np.isin(split.ids, drawn[name])] for name in drawn}
    if not all(map(len, ids.values())):
        raise UserError(
            f"data.test_fraction={config.test_fraction} takes {num_test} of the {count} examples of {config.name} for "
            "testing: set it so that some are left on both sides, such as 0.2."
        )
    splits: dict[str, SplitSource] = {name: Subset(split, ids[name]) for name in ids}
    bad_files = tuple(bad._replace(split="test" if bad.id in drawn["test"] else "train") for bad in data.bad_files)
    return data._replace(
        splits=splits, full_train_examples=len(ids["train"]), train_positions=count, bad_files=bad_files
    )


def _check_shapes(data: Dataset, config: ConfigDict) -> None:
    """Checks that one model can take the images of both splits, and that their values are of one range."""
    dtypes = data.train.image_dtype, data.test.image_dtype
    if dtypes[0] != dtypes[1]:
        raise UserError(
            f"data.name='{config.name}' has images of {dtypes[0]} for training and {dtypes[1]} for testing: bring both "
            "to one type."
        )
    preprocessing.value_span(dtypes[0], data.has_vectors, config.value_range)
    train, test = data.train.image_shape, data.test.image_shape
    if train != test:
        remedy = "choose a set with as many channels in both"
        if train[:2] != test[:2]:
            remedy = "set --config.data.image_size to bring all images to one size"
        raise UserError(
            f"data.name='{config.name}' has images of {format_shape(train)} for training and {format_shape(test)} for "
            f"testing: {remedy}."
        )


def _take_subset(split: SplitSource, config: ConfigDict, field: str) -> SplitSource:
    """Returns the fixed subset of `config[field]` examples, or the whole split for 0; a smaller is part of a larger.

    Raises:
      UserError: the split has fewer.
    """
    count = len(split.ids)
    if config[field] > count:
        raise UserError(
            f"data.{field}={config[field]} is more than {config.name} has: set it to at most {count}, or 0 for all."
        )
    if not config[field]:
        return split
    order = randomness.draw_permutation(randomness.key_for(config.split_seed, "subset"), count)
    return Subset(split, split.ids[np.sort(order[: config[field]])])


def _split_train(split: SplitSource, config: ConfigDict) -> dict[str, SplitSource]:
    """Returns the split to train on, and the part of it that is held out as "validation", where there is one.

    Raises:
      UserError: there are fewer than `train_examples`, or the held-out part leaves none to train on.
    """
    train = _take_subset(split, config, "train_examples")
    if not config.validation_fraction:
        return {"train": train}
    count = len(train.ids)
    held_out = math.ceil(config.validation_fraction * count)
    if held_out >= count:
        raise UserError(
            f"data.validation_fraction={config.validation_fraction} holds out all {count} training examples: "
            "set it so that some are left, such as 0.1."
        )
    order = randomness.draw_permutation(randomness.key_for(config.split_seed, "validation"), count)
    rows = {"train": np.sort(order[held_out:]), "validation": np.sort(order[:held_out])}
    return {name: Subset(split, train.ids[rows[name]]) for name in rows}


def _fold_classes(data: Dataset, classes: int) -> Dataset:
    """Returns the data set with its labels modulo `classes`; 0 leaves it as it is.

    Raises:
      UserError: the data set has fewer classes, or one class would be left.
    """
    if not classes:
        return data
    if classes < 2 or classes > data.num_classes:
        raise UserError(
            f"data.classes={classes} can't be made of the {data.num_classes} classes of {data.name}: set it to 2 up to "
            f"{data.num_classes}, or to 0 for the classes as they are."
        )
    splits: dict[str, SplitSource] = {name: ModuloLabels(split, classes) for name, split in data.splits.items()}
    return data._replace(class_names=tuple(map(str, range(classes))), splits=splits)
