"""Owns the choice of a kernel's gamma and ridge, by the error on a tenth held out of train.

Refuses to see test: it is handed train alone, or a part of train and another one that was held out of it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from rethink import randomness
from rethink.schema.errors import UserError
from rethink.theory.kernels import gram_accumulation, interpolation, kernel_matrix
from rethink.theory.kernels.cholesky import TILE, Progress, ignore_progress
from rethink.theory.kernels.gram_accumulation import Accumulated
from rethink.theory.kernels.kernel_matrix import BlockMatrix, Kernel

HELD_OUT = 0.1


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
    """Returns (fitted, held out): the rows of a tenth, and of the rest, of `examples` drawn out of `count`, ascending.

    Args:
      examples: 0 for all.

    Raises:
      UserError: there are not so many, or fewer than two.
    """
    examples = examples or count
    if not 2 <= examples <= count:
        raise UserError(
            f"kernel.selection_examples={examples} is out of range: of {count} it must be in [2, {count}], or 0."
        )
    order = randomness.draw_permutation(randomness.key_for(seed, "kernel_choice"), count)[:examples]
    held_out = int(np.ceil(HELD_OUT * examples))
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def choose_kernel(
    rows: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    kernel: Kernel,
    *,
    multiples: Sequence[float],
    ridges: Sequence[float],
    examples: int,
    seed: int,
    tile: int = TILE,
    progress: Progress = ignore_progress,
) -> Choice:
    """Returns the best of all pairs of gamma = multiple * kernels.natural_gamma and ridge, each fitted to nine tenths.

    Args:
      rows: train's, [n, d]; labels: int [n].
      kernel: its gamma is replaced.
      examples: of train that are used, 0 for all. More examples lie closer: a gamma chosen on fewer is, if anything,
        too small for all of them.

    Raises:
      UserError: no candidates, or every one of them singular, or input as interpolation.fit_rows refuses it.
    """
    fitted, held_out = draw_held_out(len(rows), examples=examples, seed=seed)
    train, others = rows[fitted], rows[held_out]

    def matrices(candidate: Kernel) -> tuple[BlockMatrix, BlockMatrix]:
        return kernel_matrix.make_matrix(candidate, train), kernel_matrix.make_matrix(candidate, others, train)

    candidates = _candidates(kernel, kernel_matrix.find_natural_gamma(kernel.name, train), multiples)
    parts = (np.eye(num_classes)[labels[fitted]], labels[held_out])
    return _search(matrices, candidates, ridges, *parts, tile=tile, progress=progress)


def choose_kernel_of_products(
    products: Accumulated,
    labels: np.ndarray,
    held_out_labels: np.ndarray,
    num_classes: int,
    kernel: Kernel,
    *,
    multiples: Sequence[float],
    ridges: Sequence[float],
    progress: Progress = ignore_progress,
) -> Choice:
    """Returns as `choose_kernel`, for accumulated features of a part of train, and of another held out in the place of test.

    Args:
      products: of the parts that `draw_held_out` gives; labels: int [n], held_out_labels: int [m].

    Raises:
      UserError: as `choose_kernel`.
    """

    def matrices(candidate: Kernel) -> tuple[BlockMatrix, BlockMatrix]:
        return gram_accumulation.make_train_matrix(candidate, products), gram_accumulation.make_cross_matrix(
            candidate, products
        )

    candidates = _candidates(kernel, gram_accumulation.find_products_gamma(kernel.name, products), multiples)
    parts = (np.eye(num_classes)[labels], held_out_labels)
    return _search(matrices, candidates, ridges, *parts, tile=products.train.tile, progress=progress)


def _candidates(kernel: Kernel, natural: float, multiples: Sequence[float]) -> list[tuple[float, Kernel]]:
    return [(multiple, kernel._replace(gamma=multiple * natural)) for multiple in multiples]


def _search(
    matrices: Callable[[Kernel], tuple[BlockMatrix, BlockMatrix]],
    candidates: list[tuple[float, Kernel]],
    ridges: Sequence[float],
    targets: np.ndarray,
    held_out_labels: np.ndarray,
    *,
    tile: int,
    progress: Progress,
) -> Choice:
    """Returns the choice among all pairs."""
    if not candidates or not len(ridges):
        raise UserError("No candidates to choose from: give at least one multiple of gamma and one ridge, such as 0.0.")
    trials: list[Trial] = []
    singular = ""
    total = len(candidates) * len(ridges)
    for multiple, kernel in candidates:
        gram, cross = matrices(kernel)
        for ridge in ridges:
            try:
                found = interpolation.fit_matrix(gram, targets, ridge=ridge, tile=tile, condition=False)
                error = interpolation.compute_error_rate(
                    interpolation.predict_matrix(found, cross, tile=tile), held_out_labels
                )
                trials.append(Trial(multiple, kernel.gamma, ridge, error, found.norm))
            except interpolation.SingularMatrix as fault:
                singular = str(fault)
                trials.append(Trial(multiple, kernel.gamma, ridge, float("nan"), float("nan")))
            progress("choice of gamma and ridge", len(trials), total)
    usable = [trial for trial in trials if not np.isnan(trial.held_out_error)]
    if not usable:
        raise UserError(f"Every candidate is singular. The last: {singular}")
    best = min(usable, key=lambda trial: trial.held_out_error)
    kernel = candidates[0][1]._replace(gamma=best.gamma)
    return Choice(kernel, best.ridge, trials, len(targets), len(held_out_labels))
