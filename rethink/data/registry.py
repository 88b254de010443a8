"""Opens a data set by its name, then takes its test part and subsets and folds classes, the same for every source.

A new source is one row of `DATASETS`.
"""

import difflib
import math
from collections.abc import Callable
from typing import Any

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

# Field -> its default, and the schemes that read it; of other schemes another value is refused.
READ_BY: dict[str, tuple[Any, tuple[str, ...]]] = {
    "train_split": ("train", ("folder", "idx", "module", "npy", "npz", "parquet", "tfds")),
    "test_split": ("test", ("folder", "idx", "module", "npy", "npz", "parquet", "tfds")),
    "image_size": (0, ("folder", "parquet", "tfds")),
    "channels": (0, ("folder", "parquet")),
    "image_column": ("", ("parquet",)),
    "label_column": ("label", ("folder", "parquet")),
    "bad_files": ("error", ("folder", "parquet")),
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
    _check_fields(scheme, config)
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
    positions = {**_split_train(data, config), "test": _take_subset(data, "test", config)}
    splits = {}
    for name, chosen in positions.items():
        full = data.splits["test" if name == "test" else "train"]
        splits[name] = full if np.isin(full.ids, chosen).all() else _without_bad(full, chosen)
        if not len(splits[name].ids):
            raise UserError(
                f"data.name='{config.name}': all {len(chosen)} examples drawn for {name} are bad files: take more."
            )
    return _fold_classes(data._replace(splits=splits), config.classes)


def _check_fields(scheme: str, config: ConfigDict) -> None:
    """Checks that no field is set which the source does not read; sources that the table does not know read all."""
    known = {scheme for _, schemes in READ_BY.values() for scheme in schemes} | {"digits", validation.GIVEN}
    scheme = scheme if scheme in DATASETS or scheme == validation.GIVEN else "tfds"
    for field, (default, schemes) in READ_BY.items():
        if scheme in known and scheme not in schemes and config[field] != default:
            raise UserError(
                f"data.{field}={config[field]!r} has no effect on data.name='{config.name}': leave it at {default!r}."
            )


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

    Raises:
      UserError: `test_fraction` leaves nothing to train on.
    """
    split, positions = data.train, _stored_positions(data, "train")
    count = len(positions)
    num_test = math.ceil(config.test_fraction * count)
    test, train = _draw(positions, num_test, config, "digits_split")
    splits = {"train": _without_bad(split, train), "test": _without_bad(split, test)}
    if not all(len(part.ids) for part in splits.values()):
        raise UserError(
            f"data.test_fraction={config.test_fraction} takes {num_test} of the {count} examples of {config.name} for "
            "testing: set it so that some are left on both sides, such as 0.2."
        )
    bad_files = tuple(bad._replace(split="test" if bad.id in test else "train") for bad in data.bad_files)
    return data._replace(
        splits=splits, full_train_examples=len(splits["train"].ids), train_positions=count, bad_files=bad_files
    )


def _stored_positions(data: Dataset, split: str) -> np.ndarray:
    """Returns the ids of a split, those of its bad files with them, uint32, ascending.

    All draws are of these, so that leaving bad files out changes nothing else.
    """
    bad = np.array([bad.id for bad in data.bad_files if bad.split == split], np.uint32)
    return np.union1d(data.splits[split].ids, bad)


def _draw(positions: np.ndarray, count: int, config: ConfigDict, purpose: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns `count` of the positions, which `split_seed` draws for a purpose, and the others, both ascending."""
    order = _draw_order(positions, config, purpose)
    return np.sort(order[:count]), np.sort(order[count:])


def _draw_order(positions: np.ndarray, config: ConfigDict, purpose: str) -> np.ndarray:
    """Returns the positions in an order which `split_seed` draws for a purpose."""
    return positions[randomness.draw_permutation(randomness.key_for(config.split_seed, purpose), len(positions))]


def _without_bad(split: SplitSource, positions: np.ndarray) -> SplitSource:
    """Returns the examples of a split that are at some positions."""
    return Subset(split, np.intersect1d(split.ids, positions))


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


def _take_subset(data: Dataset, split: str, config: ConfigDict) -> np.ndarray:
    """Returns the stored positions of the fixed subset of `config[split_examples]`, or all of the split for 0.

    A smaller subset is part of a larger.

    Raises:
      UserError: the split has fewer.
    """
    field, positions = f"{split}_examples", _stored_positions(data, split)
    count = len(positions)
    if config[field] > count:
        raise UserError(
            f"data.{field}={config[field]} is more than {config.name} has: set it to at most {count}, or 0 for all."
        )
    return _draw(positions, config[field], config, "subset")[0] if config[field] else positions


def _split_train(data: Dataset, config: ConfigDict) -> dict[str, np.ndarray]:
    """Returns the stored positions to train on, and those that are held out as "validation", where there are some.

    Raises:
      UserError: there are fewer than `train_examples`, the held-out part leaves none to train on, or there is no such
        fold.
    """
    train = _take_subset(data, "train", config)
    if config.folds:
        return _hold_out_fold(train, config)
    if not config.validation_fraction:
        return {"train": train}
    count = len(train)
    held_out = math.ceil(config.validation_fraction * count)
    if held_out >= count:
        raise UserError(
            f"data.validation_fraction={config.validation_fraction} holds out all {count} training examples: "
            "set it so that some are left, such as 0.1."
        )
    validation, train = _draw(train, held_out, config, "validation")
    return {"train": train, "validation": validation}


def _hold_out_fold(positions: np.ndarray, config: ConfigDict) -> dict[str, np.ndarray]:
    """Returns the positions of fold `fold` as "validation", and the others as "train".

    They are dealt in an order that `split_seed` draws, whatever their labels are; folds differ by one example at most.
    """
    if config.validation_fraction:
        raise UserError(
            f"data.validation_fraction={config.validation_fraction} and data.folds={config.folds} both hold out a part "
            "of train: leave one of them at 0."
        )
    if not 2 <= config.folds <= len(positions):
        raise UserError(
            f"data.folds={config.folds} can't be made of {len(positions)} training examples: set it to 2 up to "
            f"{len(positions)}, such as 5, or to 0 for none."
        )
    if config.fold >= config.folds:
        raise UserError(
            f"data.fold={config.fold} is none of data.folds={config.folds}: set it to 0 up to {config.folds - 1}."
        )
    dealt = _draw_order(positions, config, "folds")
    held_out = np.sort(dealt[config.fold :: config.folds])
    return {"train": np.setdiff1d(positions, held_out), "validation": held_out}


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
