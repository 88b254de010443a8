"""Makes a data set of arrays, in memory or in .npy files that are mapped: images or feature vectors, and labels."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from rethink.data.class_labels import encode_labels
from rethink.data.dataset import Dataset, Split, format_shape
from rethink.schema.errors import UserError, unknown_name

# What stands for a split of the default name where there is none of that name.
SPLIT_NAMES = {"train": ("train", "training"), "test": ("test", "val", "validation", "valid", "testing")}
INTEGERS = np.dtype(np.int64)  # stands for all integers but uint8 and uint16

_log = logging.getLogger(__name__)


class Form(NamedTuple):
    """How an array becomes images as a data set stores them: of `shape` (height, width, channels) and `dtype`."""

    shape: tuple[int, int, int]
    dtype: np.dtype
    is_vector: bool

    def convert(self, array: np.ndarray) -> np.ndarray:
        """Returns examples [n, ...] as images [n, *shape], read-only; of the same memory where nothing changes."""
        with np.errstate(over="ignore"):  # infinities are found as those of any data set are
            images = array.astype(self.dtype, copy=False).reshape(len(array), *self.shape)
        if array.dtype.kind == "b" and not self.is_vector:
            images = images * np.uint8(255)
        images = images.view()
        images.flags.writeable = False  # it may be the user's own array
        return images


class ArraySplit:
    """A split of an array in memory or of a .npy file, a `SplitSource`.

    Pickled, a file is its path alone, so that every process maps it by itself.
    """

    paths = ()

    def __init__(self, images: np.ndarray, labels: np.ndarray, form: Form, path: str = ""):
        """`images` is mapped from `path`, where that is not empty."""
        self._images, self._labels, self._form, self._path = images, labels, form, path
        self.ids = np.arange(len(labels), dtype=np.uint32)
        self.image_shape, self.image_dtype = form.shape, form.dtype

    def load(self) -> Split:
        """Returns the whole split; of a file that needs no conversion, what is indexed is read then."""
        return Split(self._form.convert(self._images), self._labels, self.ids)

    def read(self, rows: np.ndarray) -> Split:
        """Returns the examples at `rows`, int [n], in their order; only these are read of a file."""
        return Split(self._form.convert(self._images[rows]), self._labels[rows], self.ids[rows])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | ({"_images": None} if self._path else {})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._path:
            self._images = map_array(self._path)


def map_array(path: str) -> np.ndarray:
    """Returns the array of a .npy file, which is read where it is indexed."""
    return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)


def dataset_from_arrays(name: str, splits: Mapping[str, tuple[Any, Any]], class_names: Sequence[str] = ()) -> Dataset:
    """Returns a data set of arrays, none of which is copied without need, or written.

    Args:
      name: of the data set, as in `data.name`.
      splits: "train", and "test" unless it is to be drawn, -> (images as of `make_dataset`, labels as of
        `encode_labels`).
      class_names: of the classes 0, 1, ..., where the source declares them.

    Raises:
      UserError: as `encode_labels` and `make_dataset`.
    """
    labels, names = encode_labels(
        {split: pair[1] for split, pair in splits.items()}, f"data.name='{name}'", class_names
    )
    return make_dataset(name, {split: (pair[0], labels[split]) for split, pair in splits.items()}, names)


def make_dataset(
    name: str,
    splits: Mapping[str, tuple[Any, np.ndarray]],
    class_names: Sequence[str],
) -> Dataset:
    """Returns a data set of images and of labels that are encoded, int32 [n].

    Images are [n, height, width] or [n, height, width, channels]: uint8, uint16; float16, float32 and float64, which
    become float32; other integers, which become uint8 where all are up to 255, else uint16; booleans, of which True
    becomes 255. Feature vectors are [n, features] of any of these, which become float32, True 1.

    Args:
      name, splits: as of `dataset_from_arrays`; images that are a `numpy.memmap` are sent to processes as their path.
      class_names: of all classes.

    Raises:
      UserError: images have another shape or dtype, or differ between the splits; there are not as many labels as
        images.
    """
    where = f"data.name='{name}'"
    paths = {split: str(pair[0].filename) for split, pair in splits.items() if isinstance(pair[0], np.memmap)}
    images = {split: check_images(pair[0], f"{where}, split '{split}'") for split, pair in splits.items()}
    labels = {split: pair[1] for split, pair in splits.items()}
    for split in splits:
        if len(images[split]) != len(labels[split]):
            raise UserError(
                f"{where}, split '{split}' has {len(images[split]):,} images and {len(labels[split]):,} labels: give "
                "one label for each image."
            )
    form = _choose_form(images, where)
    return Dataset(
        name=name,
        decoder="none",
        class_names=tuple(class_names),
        full_train_examples=len(labels["train"]),
        splits={split: ArraySplit(images[split], labels[split], form, paths.get(split, "")) for split in splits},
        has_vectors=form.is_vector,
    )


def check_images(images: Any, where: str) -> np.ndarray:
    """Returns images as an array of a shape and a dtype that can be theirs; `where` names the split in an error.

    Raises:
      UserError: it is not such an array.
    """
    try:
        array = np.asarray(images)
    except ValueError as error:  # lists of different lengths
        raise UserError(
            f"{where} has images of several shapes: give one array, [n, height, width, channels]."
        ) from error
    if array.dtype == object:
        raise UserError(
            f"{where} has images of dtype object, such as images of several shapes: give one array of numbers, "
            "[n, height, width, channels]."
        )
    if array.dtype.kind not in "buif":
        raise UserError(f"{where} has images of dtype {array.dtype}: give uint8, uint16 or float32.")
    shape = list(array.shape)
    if array.ndim not in (2, 3, 4) or not array.size:
        raise UserError(
            f"{where} has images of shape {shape}: give [n, height, width, channels] or [n, height, width], or feature "
            "vectors, [n, features]."
        )
    if array.ndim == 4 and shape[1] <= 4 and (shape[3] > 4 or shape[1] < shape[2] == shape[3]):
        raise UserError(
            f"{where} has images of shape {shape}, channels first: give them last, by numpy.moveaxis(images, 1, -1)."
        )
    return array


def choose_splits(names: Sequence[str], config: ConfigDict) -> dict[str, str]:
    """Returns "train" and "test" -> the splits that the config section `data` chooses of `names`.

    Where there is no "test", "val" or "validation" takes its place, and is logged. "test" is not there where "train" is
    the only one, so that a part of it will be drawn.

    Raises:
      UserError: a split that is chosen is none of them.
    """
    chosen = {"train": config.train_split, "test": config.test_split}
    others = [name for name in names if name != chosen["train"]]
    if chosen["test"] == "test" and not others and names:
        del chosen["test"]
    elif chosen["test"] == "test" and "test" not in others:
        if instead := [name for name in SPLIT_NAMES["test"] if name in others]:
            chosen["test"] = instead[0]
            _log.info("There is no split 'test': '%s' is tested on.", instead[0])
    for role, name in chosen.items():
        if name not in names:
            raise UserError(unknown_name(f"data.{role}_split", name, names))
    return chosen


def _choose_form(splits: Mapping[str, np.ndarray], where: str) -> Form:
    """Returns the form that fits all splits.

    Raises:
      UserError: they differ, or have integers that are no values of pixels.
    """
    shapes = {split: array.shape[1:] for split, array in splits.items()}
    dtypes = {split: _stored_dtype(array.dtype) for split, array in splits.items()}
    for what, values in (("images of shape", shapes), ("images of", dtypes)):
        if len(set(values.values())) > 1:
            given = ", ".join(f"'{split}' has {what} {_format(value)}" for split, value in values.items())
            raise UserError(f"{where}: {given}: give all splits in one form.")
    shape, dtype = next(iter(shapes.values())), next(iter(dtypes.values()))
    if len(shape) == 1:
        return Form((1, 1, shape[0]), np.dtype(np.float32), True)
    if dtype == INTEGERS:
        dtype = _fit_integers(splits, where)
    return Form((*shape, 1) if len(shape) == 2 else shape, dtype, False)


def _format(value: Any) -> str:
    return format_shape(value) if isinstance(value, tuple) else {INTEGERS: "integers"}.get(value, str(value))


def _stored_dtype(dtype: np.dtype) -> np.dtype:
    """Returns the dtype that values are stored with; `INTEGERS` where it depends on them."""
    if dtype.kind == "f":
        return np.dtype(np.float32)
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    return dtype.newbyteorder("=") if dtype.kind == "u" and dtype.itemsize <= 2 else INTEGERS


def _fit_integers(splits: Mapping[str, np.ndarray], where: str) -> np.dtype:
    """Returns uint8, or else uint16, whichever holds all values.

    Raises:
      UserError: neither does.
    """
    highest = 0
    for split, array in splits.items():
        for extreme, place in ((array.min(), array.argmin), (array.max(), array.argmax)):
            if not 0 <= extreme <= 65535:
                row = int(place()) // math.prod(array.shape[1:])
                raise UserError(
                    f"{where}, split '{split}', row {row} has a pixel {extreme}, outside 0..65535: give uint8 or "
                    "uint16, or float32 with data.value_range."
                )
        highest = max(highest, int(array.max()))
    return np.dtype(np.uint8 if highest <= 255 else np.uint16)
