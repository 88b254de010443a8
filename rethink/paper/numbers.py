"""The paper's numbers as data, each with a letter for how certain it is; none of ours.

The letters are explained in `CERTAINTIES`. Cells have the names of the run directories that a sweep makes.
"""

from collections.abc import Mapping
from typing import NamedTuple

CERTAINTIES = {
    "A": "the paper's own text",
    "B": "two or more independent secondary texts agree",
    "C": "one secondary text",
    "M": "remembered only",
    "I": "inferred",
}
BEST = "best_"  # before the name of a field: the largest over the evaluation rows of a run


class Number(NamedTuple):
    """A figure of the paper.

    Attributes:
      value: in percent, or in the unit that the comment beside it gives; None where the paper gives words instead.
      certainty: one of `CERTAINTIES`.
      note: the paper's words.
      decimals: that the paper gives.
    """

    value: float | None
    certainty: str
    note: str = ""
    decimals: int = 2

    def text(self) -> str:
        """Returns '89.31', or the paper's words."""
        return self.note if self.value is None else f"{self.value:.{self.decimals}f}"


class Table(NamedTuple):
    """A table of the paper.

    Attributes:
      measures: fields of an evaluation row. `best_` before one is the largest value over a run's evaluation rows: what
        stopping by the test set, an oracle, could have had.
      cells: name of a cell -> measure -> number, in the paper's order; what the paper does not give is absent.
      test_examples: of the test set that the numbers are of.
    """

    title: str
    measures: tuple[str, ...]
    cells: Mapping[str, Mapping[str, Number]]
    test_examples: int


def _cell(measures: tuple[str, ...], values: tuple[float, ...], certainties: str) -> dict[str, Number]:
    """A letter for each value, or one for all; measures without a value are left out."""
    letters = certainties * len(values) if len(certainties) == 1 else certainties
    numbers = [Number(value, letter) for value, letter in zip(values, letters, strict=True)]
    return dict(zip(measures, numbers, strict=False))


_ACCURACIES = ("train_accuracy", "test_accuracy")
_TABLE1 = {
    "inception-crop-wd": (100.0, 89.05),
    "inception-crop": (100.0, 89.31),
    "inception-wd": (100.0, 86.03),
    "inception-none": (100.0, 85.75),
    "inception-random": (100.0, 9.78),
    "inception_no_bn-wd": (100.0, 83.00),
    "inception_no_bn-none": (100.0, 82.00),
    "inception_no_bn-random": (100.0, 10.12),
    "alexnet-crop-wd": (99.90, 81.22),
    "alexnet-crop": (99.82, 79.66),
    "alexnet-wd": (100.0, 77.36),
    "alexnet-none": (100.0, 76.07),
    "alexnet-random": (99.82, 9.86),
    "mlp_3x512-wd": (100.0, 53.35),
    "mlp_3x512-none": (100.0, 52.39),
    "mlp_3x512-random": (100.0, 10.48),
    "mlp_1x512-wd": (99.80, 50.39),
    "mlp_1x512-none": (100.0, 50.51),
    "mlp_1x512-random": (99.34, 10.61),
}

_TOPS = ("train_accuracy", "train_top5_accuracy", "test_accuracy", "test_top5_accuracy")
_TOPS_AND_BEST = (*_TOPS, BEST + "test_accuracy", BEST + "test_top5_accuracy")
_TABLE2 = {
    "true-aug-dropout-wd": ((92.18, 99.21, 77.84, 93.92), "CMCC"),
    "true-aug": ((92.33, 99.17, 72.95, 90.43), "CCAC"),
    "true-wd": ((90.60, 100.0, 67.18, 86.44, 72.57, 91.31), "CCCCCM"),
    "true-none": ((99.53, 100.0, 59.80, 80.38, 63.16, 84.49), "CCAACM"),
    "random-dropout-wd": ((91.18, 97.95, 0.09, 0.49), "M"),
    "random-wd": ((87.81, 96.15, 0.12, 0.50), "M"),
    "random-none": ((95.20, 99.14, 0.11, 0.56), "AMMM"),
}

_TABLE4 = {
    "inception-wd": Number(100.0, "C"),
    "alexnet-wd": Number(None, "A", note="failed to converge"),
    "mlp_3x512-wd": Number(100.0, "C"),
    "mlp_1x512-wd": Number(99.21, "C"),
    "inception-crop": Number(99.93, "C"),
    "inception-augmentation": Number(99.28, "C"),
}

_TABLE3 = {
    "mnist-pixels": Number(1.2, "A", decimals=1),
    "mnist-gabor": Number(0.6, "A", decimals=1),
    "cifar10-pixels": Number(46.0, "A", decimals=0),
    "cifar10-random_convolutions": Number(17.0, "A", decimals=0),
    "cifar10-random_convolutions-l2": Number(15.0, "A", decimals=0),
}

TABLES = {
    "table1": Table(
        "Table 1: CIFAR10, true and random labels, with and without explicit regularizers",
        _ACCURACIES,
        {cell: _cell(_ACCURACIES, values, "B") for cell, values in _TABLE1.items()},
        10_000,
    ),
    "table2": Table(
        "Table 2: ImageNet, Inception V3, true and random labels, with and without explicit regularizers",
        _TOPS_AND_BEST,
        {cell: _cell(_TOPS_AND_BEST, values, letters) for cell, (values, letters) in _TABLE2.items()},
        50_000,
    ),
    "table3": Table(
        "Table 3: kernel models that interpolate, test error",
        ("test_error",),
        {cell: {"test_error": number} for cell, number in _TABLE3.items()},
        10_000,
    ),
    "table4": Table(
        "Table 4: CIFAR10, random labels, with explicit regularizers",
        ("train_accuracy",),
        {cell: {"train_accuracy": number} for cell, number in _TABLE4.items()},
        10_000,
    ),
}

# The norm of table 3's solutions, in the units of no stated kernel.
NORMS = {"mnist-pixels": Number(220.0, "A", "about 220"), "mnist-gabor": Number(390.0, "A", "about 390")}

# Figure 1a, small Inception on CIFAR10, batch 128: steps to a training loss of 0.1, and test accuracy, in an
# independent replication with one seed; the paper gives a picture, and says in words what starts before random labels.
STEPS_TO_LOSS = {
    "true": Number(4000.0, "C"),
    "shuffled_pixels": Number(5600.0, "C"),
    "gaussian": Number(8800.0, "C"),
    "random_pixels": Number(11900.0, "C"),
    "random": Number(16600.0, "C"),
}
REPLICATED_TEST_ACCURACY = {"true": Number(86.71, "C"), "random": Number(10.31, "C")}
START_BEFORE_RANDOM = {name: Number(None, "A", "before random labels") for name in ("random_pixels", "gaussian")}
# Figures 1b and 1c, against the probability that a label is resampled: steps to overfit over those at 0; test error.
CORRUPTED_NETWORKS = ("inception", "alexnet", "mlp_1x512")  # certainty M
STEPS_TO_OVERFIT = {"0": Number(1.0, "C", "1"), "1": Number(4.0, "C", "about 4")}
TEST_ERROR = {"1": Number(90.0, "A", "rises to 90%")}
# Figure 2b, small Inception on CIFAR10.
BATCH_NORM_GAIN = Number(None, "A", "3 to 4 points")
EARLY_STOPPING_GAIN = Number(None, "A", "nothing")


def values_of(table: str, measure: str) -> dict[str, float]:
    """Returns cell -> the paper's value of a measure, percent, where it gives one."""
    numbers = {cell: row[measure] for cell, row in TABLES[table].cells.items() if measure in row}
    return {cell: number.value for cell, number in numbers.items() if number.value is not None}
