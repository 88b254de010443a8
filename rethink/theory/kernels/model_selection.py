"""Model selection: chooses a kernel's gamma and ridge by the error on a tenth held out of train.

The test set is never used: train alone comes in, or a part of train and another one that was held out of it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from rethink import randomness
from rethink.schema.errors import UserError
from rethink.theory.inputs import check_range
from rethink.theory.kernels import gram_accumulation, interpolation, kernel_matrix
from rethink.theory.kernels.cholesky import TILE, Progress, ignore_progress
from rethink.theory.kernels.gram_accumulation import Accumulated
from rethink.theory.kernels.kernel_matrix import BlockMatrix, Kernel

HELD_OUT = 0.1


class HeldOut(NamedTuple):
    """Train in two parts, one that every trial is fitted to and one that it is judged by.

    Attributes:
      make_matrices: kernel -> its matrices among the fitted examples, and between those held out and them.
      find_gamma: name -> the natural gamma of a kernel.
      labels, held_out_labels: int [n] and [m].
    """

    make_matrices: Callable[[Kernel], tuple[BlockMatrix, BlockMatrix]]
    find_gamma: Callable[[str], float]
    labels: np.ndarray
    held_out_labels: np.ndarray


class Trial(NamedTuple):
    """One point of the grid.

    Attributes:
      multiple: of the natural gamma; gamma: their product.
      held_out_error: fraction of held-out examples that are wrong; NaN where the matrix is singular.
      norm: of the solution; NaN as before.
    """

    multiple: float
    gamma: float
    ridge: float
    held_out_error: float
    norm: float


class Choice(NamedTuple):
    """The kernel and the ridge of least held-out error, among equals the first of the grid, and the whole grid.

    Attributes:
      fitted_examples, held_out_examples: how many were fitted in each trial, and how many held out.
    """

    kernel: Kernel
    ridge: float
    trials: list[Trial]
    fitted_examples: int
    held_out_examples: int


def draw_held_out(count: int, *, examples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (fitted, held out): the rows of nine tenths and of the rest of `examples` drawn out of `count`, sorted.

    Args:
      examples: 0 for all.

    Raises:
      UserError: there are not so many, or fewer than two.
    """
    examples = examples or count
    check_range("kernel.selection_examples", examples, 2, count, ", or 0 for all")
    order = randomness.draw_permutation(randomness.key_for(seed, "kernel_choice"), count)[:examples]
    held_out = int(np.ceil(HELD_OUT * examples))
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def hold_out_rows(rows: np.ndarray, labels: np.ndarray, *, examples: int, seed: int, tile: int = TILE) -> HeldOut:
    """Returns train's rows [n, d] and labels int [n] in the two parts of `draw_held_out`.

    More examples lie closer: a gamma chosen on fewer is, if anything, too small for all of them.
    """
    fitted, held_out = draw_held_out(len(rows), examples=examples, seed=seed)
    train, others = rows[fitted], rows[held_out]
    return HeldOut(
        lambda kernel: (
            kernel_matrix.make_matrix(kernel, train, tile=tile),
            kernel_matrix.make_matrix(kernel, others, train, tile=tile),
        ),
        lambda name: kernel_matrix.find_natural_gamma(name, train),
        labels[fitted],
        labels[held_out],
    )


def hold_out_products(products: Accumulated, labels: np.ndarray, held_out_labels: np.ndarray) -> HeldOut:
    """Returns the two parts of accumulated features, of which those held out stand in the place of test."""
    return HeldOut(
        lambda kernel: gram_accumulation.make_matrices(kernel, products),
        lambda name: gram_accumulation.find_products_gamma(name, products),
        labels,
        held_out_labels,
    )


def choose_kernel(
    parts: HeldOut,
    num_classes: int,
    kernel: Kernel,
    *,
    multiples: Sequence[float],
    ridges: Sequence[float],
    progress: Progress = ignore_progress,
) -> Choice:
    """Returns the best of all pairs of gamma = multiple * the natural gamma and ridge, each fitted to nine tenths.

    Args:
      kernel: its gamma is replaced.

    Raises:
      UserError: no candidates, or every one of them singular, or input that `interpolation.fit_matrix` refuses.
    """
    natural, targets = parts.find_gamma(kernel.name), np.eye(num_classes)[parts.labels]
    trials: list[Trial] = []
    singular = ""
    for multiple in multiples:
        candidate = kernel._replace(gamma=multiple * natural)
        gram, cross = parts.make_matrices(candidate)
        for ridge in ridges:
            error = norm = float("nan")
            try:
                solution = interpolation.fit_matrix(gram, targets, ridge=ridge, condition=False)
                predictions = interpolation.predict_matrix(solution, cross)
                error, norm = interpolation.compute_error_rate(predictions, parts.held_out_labels), solution.norm
            except interpolation.SingularMatrix as reason:
                singular = str(reason)
            trials.append(Trial(multiple, candidate.gamma, ridge, error, norm))
            progress("choice of gamma and ridge", len(trials), len(multiples) * len(ridges))
    if not trials:
        raise UserError("No candidates to choose from: give at least one multiple of gamma and one ridge, such as 0.0.")
    usable = [trial for trial in trials if not np.isnan(trial.held_out_error)]
    if not usable:
        raise UserError(f"Every candidate is singular. The last: {singular}")
    best = min(usable, key=lambda trial: trial.held_out_error)
    return Choice(kernel._replace(gamma=best.gamma), best.ridge, trials, len(targets), len(parts.held_out_labels))
