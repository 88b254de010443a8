"""The choice of gamma and ridge: the best of the whole grid on a tenth of train, and nothing else is looked at."""

import inspect

import numpy as np
import pytest

from rethink.schema.errors import UserError
from rethink.theory.kernels import gram_accumulation, interpolation, kernel_matrix, model_selection
from rethink.theory.kernels.kernel_matrix import Kernel

GRID = {"multiples": (0.01, 1.0, 1000.0), "ridges": (1e-3, 1.0), "examples": 0, "seed": 0, "tile": 30}


def choose(rows, labels, kernel, *, multiples, ridges, **held_out):
    parts = model_selection.hold_out_rows(rows, labels, **held_out)
    return model_selection.choose_kernel(parts, 2, kernel, multiples=multiples, ridges=ridges)


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).standard_normal((100, 3))


@pytest.fixture(scope="module")
def labels(rows):
    return (np.sign(rows[:, 0] * rows[:, 1]) > 0).astype(int)


def test_a_tenth_of_what_is_drawn_is_held_out():
    fitted, held_out = model_selection.draw_held_out(100, examples=0, seed=0)
    assert (len(fitted), len(held_out)) == (90, 10)
    assert sorted([*fitted, *held_out]) == list(range(100))
    fitted, held_out = model_selection.draw_held_out(100, examples=25, seed=0)
    assert (len(fitted), len(held_out)) == (22, 3) and not set(fitted) & set(held_out)
    assert all(np.array_equal(np.sort(part), part) for part in (fitted, held_out))
    again, other = (
        model_selection.draw_held_out(100, examples=25, seed=0),
        model_selection.draw_held_out(100, examples=25, seed=1),
    )
    assert np.array_equal(fitted, again[0]) and not np.array_equal(fitted, other[0])
    assert [len(part) for part in model_selection.draw_held_out(2, examples=0, seed=0)] == [1, 1]


def test_the_choice_is_the_best_of_the_grid(rows, labels):
    found = choose(rows, labels, Kernel("gaussian", 1.0), **GRID)
    assert [(t.multiple, t.ridge) for t in found.trials] == [(m, r) for m in GRID["multiples"] for r in GRID["ridges"]]
    best = min(found.trials, key=lambda trial: trial.held_out_error)
    assert (found.kernel.gamma, found.ridge) == (best.gamma, best.ridge) and best.multiple == 1.0
    assert (found.fitted_examples, found.held_out_examples) == (90, 10)


def test_a_trial_is_a_fit_to_nine_tenths(rows, labels):
    found = choose(rows, labels, Kernel("gaussian", 1.0), **GRID)
    fitted, held_out = model_selection.draw_held_out(100, examples=0, seed=0)
    trial = found.trials[2]
    kernel = Kernel("gaussian", trial.gamma)
    matrix = kernel_matrix.make_matrix(kernel, rows[fitted], tile=30)
    model = interpolation.fit_matrix(matrix, np.eye(2)[labels[fitted]], ridge=trial.ridge)
    cross = kernel_matrix.make_matrix(kernel, rows[held_out], rows[fitted], tile=30)
    predicted = interpolation.predict_matrix(model, cross)
    assert trial.held_out_error == interpolation.compute_error_rate(predicted, labels[held_out])
    assert trial.norm == pytest.approx(model.norm)


def test_test_is_never_seen():
    for function in (
        model_selection.choose_kernel,
        model_selection.hold_out_rows,
        model_selection.hold_out_products,
        model_selection.draw_held_out,
    ):
        assert not [name for name in inspect.signature(function).parameters if "test" in name]


def test_what_was_not_drawn_changes_nothing(rows, labels):
    drawn = np.concatenate(model_selection.draw_held_out(100, examples=60, seed=0))
    others = np.setdiff1d(np.arange(100), drawn)
    changed, flipped = rows.copy(), labels.copy()
    changed[others], flipped[others] = 1e6, 1 - labels[others]
    grid = {**GRID, "examples": 60}
    one = choose(rows, labels, Kernel("gaussian", 1.0), **grid)
    assert choose(changed, flipped, Kernel("gaussian", 1.0), **grid) == one


def test_held_out_labels_change_errors_but_no_fit(rows, labels):
    _, held_out = model_selection.draw_held_out(100, examples=0, seed=0)
    flipped = labels.copy()
    flipped[held_out] = 1 - labels[held_out]
    one, other = (choose(rows, y, Kernel("gaussian", 1.0), **GRID) for y in (labels, flipped))
    for a, b in zip(one.trials, other.trials, strict=True):
        assert a.norm == b.norm and a.held_out_error == pytest.approx(1 - b.held_out_error)


def test_singular_candidates_stay_in_the_grid(rows, labels):
    grid = {**GRID, "ridges": (0.0, 1.0)}
    found = choose(rows, labels, Kernel("linear", 1.0), **grid)
    assert [np.isnan(trial.held_out_error) for trial in found.trials] == [True, False] * 3
    assert found.ridge == 1.0
    with pytest.raises(UserError, match="Every candidate is singular.*linear kernel"):
        choose(rows, labels, Kernel("linear", 1.0), **{**GRID, "ridges": (0.0,)})


def test_accumulated_features_are_chosen_for_alike(rows, labels):
    fitted, held_out = model_selection.draw_held_out(100, examples=0, seed=0)
    products = gram_accumulation.start_products(90, 10, tile=30)
    single = rows.astype(np.float32)
    for column in range(3):
        gram_accumulation.add_features(
            products, single[fitted, column : column + 1], single[held_out, column : column + 1]
        )
    grid = {name: GRID[name] for name in ("multiples", "ridges")}
    parts = model_selection.hold_out_products(products, labels[fitted], labels[held_out])
    found = model_selection.choose_kernel(parts, 2, Kernel("gaussian", 1.0), **grid)
    direct = choose(rows, labels, Kernel("gaussian", 1.0), **GRID)
    assert found.kernel.gamma == pytest.approx(direct.kernel.gamma, rel=1e-5) and found.ridge == direct.ridge
    assert [t.held_out_error for t in found.trials] == [t.held_out_error for t in direct.trials]


@pytest.mark.parametrize(
    "change, said",
    [
        ({"multiples": ()}, "No candidates"),
        ({"ridges": ()}, "No candidates"),
        ({"examples": 101}, "kernel.selection_examples=101"),
        ({"examples": 1}, "kernel.selection_examples=1 "),
        ({"multiples": (-1.0,)}, "kernel.gamma=-"),
        ({"ridges": (-1.0,)}, "kernel.ridges=-1.0"),
    ],
)
def test_bad_candidates_are_refused(rows, labels, change, said):
    with pytest.raises(UserError, match=said):
        choose(rows, labels, Kernel("gaussian", 1.0), **{**GRID, **change})
