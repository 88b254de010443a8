"""What training saw of each example, over all its presentations, as presentations.npz has it. Imports no JAX.

A presentation is one coming of an example in a training batch, as the network meets it: augmented, in training mode,
before the update of that step. It is summed up by the label as given, in `rethink/training/presentations.py`.
"""

import pathlib
from typing import NamedTuple

import numpy as np

from rethink.results import example_history

PRESENTATIONS = "presentations.npz"


class Presentations(NamedTuple):
    """A number for each training example, each [examples], by ascending id.

    Of a run that restores its best step they are of all of training, beyond that step too.

    Attributes:
      ids: uint32.
      count: presentations, int32.
      correct: those at which the given label was predicted, int32.
      forgetting_events: how often one at which it was not followed one at which it was (Toneva et al., 2019), int32.
      first_correct: the first one at which it was, counted from 0; -1 where there was none: int32.
      margin_sum: of the logit of the given label less the largest other one, float64; over `count` it is AUM (Pleiss et
        al., 2020).
      probability_sum, probability_square_sum: of the probability of the given label and of its square, float64:
        mean and spread are those of dataset cartography (Swayamdipta et al., 2020).
    """

    ids: np.ndarray
    count: np.ndarray  # type: ignore[assignment]  # of tuples, which nothing needs here
    correct: np.ndarray
    forgetting_events: np.ndarray
    first_correct: np.ndarray
    margin_sum: np.ndarray
    probability_sum: np.ndarray
    probability_square_sum: np.ndarray


COUNTS = Presentations._fields[1:5]
SUMS = Presentations._fields[5:]
DTYPES = {"ids": np.uint32, **dict.fromkeys(COUNTS, np.int32), **dict.fromkeys(SUMS, np.float64)}


def read_presentations(folder: pathlib.Path) -> Presentations | None:
    """Returns those of the run in a folder, None where they are not recorded.

    Raises:
      UserError: the file is damaged.
    """
    path = folder / PRESENTATIONS
    return Presentations(*example_history.read_arrays(path, DTYPES)) if path.exists() else None
