"""What can't be proved or solved is one clear line, and the least that can be is solved: one list for all of theory."""

import numpy as np
import pytest

from rethink.schema.errors import UserError
from rethink.theory.kernels import interpolation, kernel_matrix
from rethink.theory.linear import least_norm
from rethink.theory.theorem1 import expressivity

random = np.random.default_rng(0)
ROWS, TARGETS = random.normal(size=(6, 4)), random.normal(size=(6, 1))
TWICE = np.concatenate([ROWS[:3], ROWS[1:2], ROWS[4:]])  # rows 1 and 3 are the same
NAN = np.where(np.arange(24).reshape(6, 4) == 9, np.nan, ROWS)  # in row 2
GAUSSIAN, LINEAR = kernel_matrix.Kernel("gaussian", 0.5), kernel_matrix.Kernel("linear", 1.0)
INDEFINITE = kernel_matrix.Kernel("polynomial", 1.0, 3, -5.0)


def network(rows, targets):
    return expressivity.interpolate_points(rows, targets[:, 0], seed=0, threshold_position=1 / 128)


def interpolant(kernel):
    return lambda rows, targets: interpolation.fit_matrix(kernel_matrix.make_matrix(kernel, rows), targets, ridge=0.0)


@pytest.mark.parametrize(
    "solve, rows, targets, words",
    [
        (network, ROWS[:0], TARGETS[:0], "points are of shape [0, 4]: give [n, d], at least one of each."),
        (network, TWICE, TARGETS, "points 1 and 3 (row numbers) are the same point with different targets"),
        (network, NAN, TARGETS, "points have the value nan in row 2, the first of 1 such rows: give finite"),
        (network, ROWS, TARGETS * np.nan, "targets have the value nan in row 0, the first of 6 such rows: give finite"),
        (
            least_norm.solve_least_norm,
            ROWS[:0],
            TARGETS[:0],
            "features are of shape [0, 4]: give [n, d], at least one of each.",
        ),
        (least_norm.solve_kernel_form, TWICE[:4], TARGETS[:4], "is singular: leave out duplicates"),
        (
            least_norm.solve_least_norm,
            NAN,
            TARGETS,
            "features have the value nan in row 2, the first of 1 such rows: give finite",
        ),
        (interpolant(GAUSSIAN), ROWS[:0], TARGETS[:0], "rows are of shape [0, 4]: give [n, d], at least one of each."),
        (interpolant(GAUSSIAN), TWICE, TARGETS, "is singular or indefinite"),
        (
            interpolant(GAUSSIAN),
            NAN,
            TARGETS,
            "rows have the value nan in row 2, the first of 1 such rows: give finite",
        ),
        (interpolant(LINEAR), ROWS, TARGETS, "is singular or indefinite"),  # 6 examples in 4 dimensions
        (interpolant(INDEFINITE), ROWS, TARGETS, "is singular or indefinite"),
    ],
)
def test_bad_input_is_one_line(solve, rows, targets, words):
    with pytest.raises(UserError) as error:
        solve(rows, targets)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_single_example_is_solved():
    rows, targets = ROWS[:1], TARGETS[:1]
    np.testing.assert_allclose(network(rows, targets)(rows), targets[:, 0])
    np.testing.assert_allclose(rows @ least_norm.solve_least_norm(rows, targets).weights, targets)
    np.testing.assert_allclose(interpolant(GAUSSIAN)(rows, targets).fitted, targets, rtol=1e-6)
