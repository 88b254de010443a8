"""Label noise by a matrix of the probability of a given label for each true one, and by fixed maps of classes."""

import io
import pathlib
import zipfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rethink.data.corruption.noise import DataFacts, Example
from rethink.schema import validation
from rethink.schema.errors import UserError, pick, unreadable

STEPS = 2**31  # of probability, into which a row of a matrix is divided
TOLERANCE = 1e-3  # of the sum of a row, which is then divided by it

CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# The 20 superclasses of CIFAR-100 with their five classes each, in alphabetical order, as the data set counts them.
SUPERCLASSES = (
    "beaver dolphin otter seal whale",
    "aquarium_fish flatfish ray shark trout",
    "orchid poppy rose sunflower tulip",
    "bottle bowl can cup plate",
    "apple mushroom orange pear sweet_pepper",
    "clock keyboard lamp telephone television",
    "bed chair couch table wardrobe",
    "bee beetle butterfly caterpillar cockroach",
    "bear leopard lion tiger wolf",
    "bridge castle house road skyscraper",
    "cloud forest mountain plain sea",
    "camel cattle chimpanzee elephant kangaroo",
    "fox porcupine possum raccoon skunk",
    "crab lobster snail spider worm",
    "baby boy girl man woman",
    "crocodile dinosaur lizard snake turtle",
    "hamster mouse rabbit shrew squirrel",
    "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "bicycle bus motorcycle pickup_truck train",
    "lawn_mower rocket streetcar tank tractor",
)
CIFAR100_NAMES = tuple(sorted(" ".join(SUPERCLASSES).split()))


def _next_in_superclass() -> dict[int, int]:
    numbers = [[CIFAR100_NAMES.index(name) for name in superclass.split()] for superclass in SUPERCLASSES]
    return {
        one: other for group in numbers for one, other in zip(group, group[1:] + group[:1], strict=True)
    }  # after the last one comes the first


# Data set -> (names of its classes, class -> the class that it is taken for; others stay as they are).
# Source: Patrini et al. (2017), "Making deep neural networks robust to label noise".
MAPS: dict[str, tuple[tuple[str, ...], dict[int, int]]] = {
    "mnist": (tuple("0123456789"), {7: 1, 2: 7, 5: 6, 6: 5, 3: 8}),
    "cifar10": (CIFAR10_NAMES, {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}),
    "cifar100": (CIFAR100_NAMES, _next_in_superclass()),
}


# Maps


def draw_next_class(example: Example, num_classes: int, table: Any) -> jax.Array:
    """Returns the class after the true one, int32 scalar; after the last one comes the first."""
    return (example.label + 1) % num_classes


def draw_mapped(example: Example, num_classes: int, table: Any) -> jax.Array:
    """Returns the class that the true one is taken for, by the table, int32 [classes]."""
    return jnp.asarray(table)[example.label]


def open_map(argument: str, config: ConfigDict, facts: DataFacts) -> np.ndarray:
    """Returns class -> the class that it is taken for, int32 [classes], of a data set with a standard map.

    Args:
      argument: a name of `MAPS`; "" for the one of the data set, by its name or by those of its classes.

    Raises:
      UserError: the name is unknown, the data set has no standard map, or the map is of other classes.
    """
    own = tuple(facts.class_names)
    name = argument or facts.name.removeprefix("tfds:").partition("/")[0].partition(":")[0]
    if not argument and name not in MAPS:
        # Digits are the classes of many sets: their names tell none.
        name = next((other for other, (names, _) in MAPS.items() if own == names and other != "mnist"), "")
        if not name:
            raise UserError(
                f"corruption.labels='asymmetric' has a map for {', '.join(MAPS)}, and {facts.name or 'this data set'} "
                "is none of them: give your own as matrix:FILE, or name the map that is meant, as asymmetric:mnist."
            )
    names, flips = pick(MAPS, name, "corruption.labels=asymmetric")
    numbered = tuple(map(str, range(facts.num_classes)))
    if len(names) != facts.num_classes or own not in ((), names, numbered):
        raise UserError(
            f"corruption.labels='{config.labels}' is for the classes {_few(names)}, and this data set has "
            f"{_few(own or numbered)}: give your own map as matrix:FILE."
        )
    return np.array([flips.get(label, label) for label in range(len(names))], np.int32)


def _few(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''} ({len(names)})"


def map_transition(classes: int, table: Any, ids: Any, labels: Any) -> np.ndarray:
    """Returns the matrix of a map, float64 [classes, classes]."""
    return np.eye(classes)[table]


# Matrices


def draw_from_row(example: Example, num_classes: int, table: Any) -> jax.Array:
    """Returns a class drawn by the true one's row of a matrix, int32 scalar; the table: of `divide_rows`."""
    step = jax.random.bits(example.key, (), jnp.uint32) >> 1
    return jnp.sum(jnp.asarray(table)[example.label] <= step, dtype=jnp.int32)


def matrix_transition(classes: int, table: Any, ids: Any, labels: Any) -> np.ndarray:
    """Returns the matrix that a table of `divide_rows` draws from, float64 [classes, classes]."""
    return np.diff(np.asarray(table, np.float64), axis=1, prepend=0) / STEPS


def divide_rows(matrix: np.ndarray) -> np.ndarray:
    """Returns where the part of each class ends in the `STEPS` of each row, uint32 [classes, classes].

    Args:
      matrix: as of `check_matrix`. A probability is met to 2**-31, and 0 exactly.
    """
    ends = np.round(np.cumsum(matrix / matrix.sum(axis=1, keepdims=True), axis=1) * STEPS)
    last = matrix.shape[1] - 1 - np.argmax(matrix[:, ::-1] > 0, axis=1)  # the last class of a row that is possible
    return np.where(np.arange(matrix.shape[1]) >= last[:, None], STEPS, ends).astype(np.uint32)


def open_matrix(argument: str, config: ConfigDict, facts: DataFacts) -> np.ndarray:
    """Returns the table of a matrix in a file.

    Raises:
      UserError: as `read_matrix` and `check_matrix`.
    """
    where = f"corruption.labels='{config.labels}'"
    return divide_rows(check_matrix(read_matrix(argument, where), facts.num_classes, where))


def check_matrix(matrix: np.ndarray, num_classes: int, where: str) -> np.ndarray:
    """Returns a matrix of P(given label | true label), a row for each true one, as float64.

    Raises:
      UserError: it has another shape, a value that is no probability, or a row whose sum is not 1 to `TOLERANCE`.
    """
    if matrix.shape != (num_classes, num_classes):
        raise UserError(
            f"{where} has shape {list(matrix.shape)}, and there are {num_classes} classes: give a row for each true "
            "class with a column for each given one."
        )
    if matrix.dtype.kind not in "iuf" or not np.isfinite(matrix).all():
        raise UserError(f"{where} holds a value that is no finite number: give probabilities.")
    if (matrix < 0).any():
        row, column = np.argwhere(matrix < 0)[0]
        raise UserError(f"{where} holds {matrix[row, column]:g} in row {row}, column {column}: give probabilities.")
    sums = matrix.sum(axis=1)
    if (wrong := np.abs(sums - 1) > TOLERANCE).any():
        row = int(np.argmax(wrong))
        columns = np.abs(matrix.sum(axis=0) - 1) <= TOLERANCE
        remedy = "its columns do, so transpose it" if columns.all() else "divide each row by its sum"
        raise UserError(f"{where}: row {row} sums to {sums[row]:.6g}, and rows sum to 1: {remedy}.")
    return matrix.astype(np.float64)


def read_matrix(path: str, where: str) -> np.ndarray:
    """Returns the matrix of a file: .npy, .npz with one array, or text with commas, semicolons, blanks or tabs.

    Raises:
      UserError: the file is not there, or holds no matrix.
    """
    content = read_bytes(path, where)
    if pathlib.Path(path).suffix not in (".npy", ".npz"):
        return _parse_matrix(content, where)
    try:
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        arrays = [loaded] if isinstance(loaded, np.ndarray) else [loaded[name] for name in loaded.files]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{where} can't be read as an array of numbers: save it by numpy.save.") from error
    if len(arrays) != 1:
        raise UserError(f"{where} holds {len(arrays)} arrays: save the matrix alone.")
    return arrays[0]


def _parse_matrix(content: bytes, where: str) -> np.ndarray:
    try:
        lines = content.decode("utf-8-sig").translate(str.maketrans(",;\t", "   ")).splitlines()
        rows = [[float(word) for word in line.split()] for line in lines if line.strip() and line[0] != "#"]
    except ValueError as error:
        raise UserError(f"{where} is no matrix of numbers ({error}): give a row of numbers in each line.") from error
    if len({len(row) for row in rows}) != 1:
        raise UserError(f"{where} has rows of {sorted({len(row) for row in rows})} numbers: give all the same length.")
    return np.array(rows)


def read_bytes(path: str, where: str) -> bytes:
    """Returns what a file of the user's holds.

    Raises:
      UserError: there is none, or it may not be read.
    """
    try:
        return validation.expand_path(path, "corruption.labels").read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise UserError(f"{where}: there is no file {path}: correct the path.") from error
    except OSError as error:
        raise unreadable(f"{where}: {path}", error) from error
