"""Scores of examples against histories worked out by hand, and against their definitions."""

import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest

from rethink.memorization import dynamics
from rethink.memorization.dynamics import (
    GRADIENT_SCORES,
    PRESENTATION_SCORES,
    RUN_SCORES,
    SCORES,
    compute_scores,
    score_evaluations,
    suspicion,
)
from rethink.results.example_history import ExampleHistory
from rethink.results.presentations import Presentations

INF = np.inf
# The evaluation at step 0 does not count. Example by example: always right, never right, learned late, forgotten twice
# (and wrong at last), right at first only. Two classes, all given labels are 1.
CORRECT = np.array([[0, 1, 1, 1, 1], [1, 0, 0, 1, 1], [1, 0, 0, 0, 0], [1, 0, 1, 1, 0], [1, 0, 1, 0, 0]], bool)
PROBABILITY = np.array(
    [
        [0.25, 0.75, 0.75, 0.75, 0.75],
        [0.75, 0.25, 0.25, 0.75, 0.75],
        [0.75, 0.25, 0.25, 0.25, 0.25],
        [0.75, 0.25, 0.75, 0.75, 0.25],
        [0.75, 0.25, 0.75, 0.25, 0.25],
    ]
)
MARGIN = np.array([[-9, 9, 9, 9, 9], [1, -1, -2, 2, 4], [2, -2, -1, -1, -4], [3, -3, 1, 2, -2], [4, -4, 2, -1, -6]])
RIGHT, WRONG = -np.log(0.75), -np.log(0.25)


def make_history(correct=CORRECT, probability=PROBABILITY, margin=MARGIN, steps=(0, 10, 20, 30, 40)):
    examples = correct.shape[1]
    return ExampleHistory(
        steps=np.array(steps),
        ids=np.arange(examples, dtype=np.uint32),
        given_labels=np.ones(examples, np.int32),
        true_labels=np.ones(examples, np.int32),
        loss=-np.log(probability),
        margin=margin,
        error=np.sqrt(2) * (1 - probability),
        predicted=correct.astype(np.uint8),
    )


BY_HAND = {  # after four evaluations that count
    "first_learned": [1, INF, 3, 1, 1],
    "last_learned": [1, INF, 3, INF, INF],
    "forgetting_events": [0, INF, 0, 2, 1],  # right wrong right wrong; right wrong wrong wrong
    "aum": [10 / 4, -10 / 4, 0 / 4, 2 / 4, -8 / 4],
    "mean_probability": [0.75, 0.25, 0.5, 0.5, 0.375],
    "std_probability": [0, 0, 0.25, 0.25, np.sqrt(3 / 4 * 1 / 4) / 2],
    "correctness": [1, 0, 0.5, 0.5, 0.25],
    "cumulative_loss": [4 * RIGHT, 4 * WRONG, 2 * (RIGHT + WRONG), 2 * (RIGHT + WRONG), RIGHT + 3 * WRONG],
    "last_loss": [RIGHT, WRONG, RIGHT, WRONG, WRONG],
    "last_margin": [4, -4, 2, -1, -6],
    "el2n": np.sqrt(2) * np.array([0.25, 0.75, 0.25, 0.75, 0.75]),
}


@pytest.mark.parametrize("name", SCORES)
def test_scores_by_hand(name):
    np.testing.assert_allclose(compute_scores(make_history())[name], BY_HAND[name], rtol=1e-6, atol=1e-8)


def test_before_training_nothing_has_been_learned():
    scores = compute_scores(make_history(), last=0)
    for name in ("first_learned", "last_learned", "forgetting_events"):
        assert np.all(scores[name] == INF)
    for name in ("aum", "mean_probability", "std_probability", "correctness", "cumulative_loss"):
        assert np.all(np.isnan(scores[name]))
    assert np.allclose(scores["last_loss"], [WRONG, RIGHT, RIGHT, RIGHT, RIGHT])


def make_random_history(seed, evaluations=9, examples=40):
    numbers = np.random.default_rng(seed)
    probability = numbers.uniform(0.01, 1, (evaluations, examples))
    margin = numbers.normal(size=(evaluations, examples))
    return make_history(probability > 0.5, probability, margin, np.arange(evaluations))


def test_scores_at_an_evaluation_read_no_later_one():
    history = make_random_history(0)
    for name, values in score_evaluations(history):
        assert values.shape == history.loss.shape and values.dtype == np.float64
        for last in range(len(history.steps)):
            cut = history._replace(loss=history.loss.copy(), predicted=history.predicted.copy())
            for matrix in (cut.loss, cut.predicted):
                matrix[last + 1 :] = 0
            assert np.array_equal(values[last], compute_scores(cut, last)[name], equal_nan=True)


def test_scores_are_those_of_their_definitions():
    history = make_random_history(1)
    found = compute_scores(history)
    for example in range(40):
        correct = history.correct[1:, example].tolist()  # step 0 does not count
        right = [number for number, bit in enumerate(correct, 1) if bit]
        assert found["first_learned"][example] == min(right, default=INF)
        since = next((number for number in right if all(correct[number - 1 :])), INF)
        assert found["last_learned"][example] == since
        events = sum(before and not after for before, after in zip(correct, correct[1:], strict=False))
        assert found["forgetting_events"][example] == (events if right else INF)
    probability = history.probability[1:].astype(float)
    assert np.allclose(found["std_probability"], probability.std(0))
    assert np.allclose(found["aum"], history.margin[1:].mean(0))
    assert np.allclose(found["cumulative_loss"], history.loss[1:].sum(0))


def test_scores_go_with_their_examples():
    history, order = make_random_history(2), np.random.default_rng(0).permutation(40)
    moved = history._replace(
        **{name: getattr(history, name)[:, order] for name in ("loss", "margin", "error", "predicted")},
        ids=history.ids[order],
        given_labels=history.given_labels[order],
    )
    for name, values in compute_scores(history).items():
        assert np.array_equal(compute_scores(moved)[name], values[order], equal_nan=True)


def test_the_spread_of_equal_probabilities_is_zero():
    history = make_history(np.ones((5, 2), bool), np.full((5, 2), 0.9999), np.ones((5, 2)))
    assert np.all(compute_scores(history)["std_probability"] < 1e-7)


def test_suspicion_orders_infinities_and_what_is_not_known():
    assert suspicion("last_loss", [1.0, INF, -INF, np.nan, 1.0, 2.0]).tolist() == [1, 3, 0, 0, 1, 2]
    assert suspicion("aum", [1.0, INF, -INF, np.nan]).tolist() == [1, 0, 2, 0]


def test_scores_of_presentations_by_hand():
    # Two presentations: right (p 3/4, margin 1) and wrong (p 1/4, margin -2); never right; never presented.
    seen = Presentations(
        ids=np.arange(3, dtype=np.uint32),
        count=np.array([2, 2, 0]),
        correct=np.array([1, 0, 0]),
        forgetting_events=np.array([1, 0, 0]),
        first_correct=np.array([0, -1, -1]),
        margin_sum=np.array([-1.0, -4.0, 0.0]),
        probability_sum=np.array([1.0, 0.5, 0.0]),
        probability_square_sum=np.array([10 / 16, 2 / 16, 0.0]),
    )
    by_hand = {
        "training_first_learned": [1, INF, INF],
        "training_forgetting_events": [1, INF, INF],
        "training_aum": [-0.5, -2, np.nan],
        "training_mean_probability": [0.5, 0.25, np.nan],
        "training_std_probability": [0.25, 0, np.nan],
        "training_correctness": [0.5, 0, np.nan],
    }
    for name, score in PRESENTATION_SCORES.items():
        np.testing.assert_allclose(score.compute(seen), by_hand[name])


def test_scores_of_gradients_by_hand():
    gradients = types.SimpleNamespace(learning_rates=np.array([0.1, 0.2]), norms=np.array([[1.0, 2.0], [3.0, 0.0]]))
    np.testing.assert_allclose(GRADIENT_SCORES["self_influence"].compute(gradients), [0.1 + 0.2 * 9, 0.1 * 4])


def test_no_two_scores_have_one_name():
    tables = (SCORES, PRESENTATION_SCORES, RUN_SCORES, GRADIENT_SCORES)
    assert len({name for table in tables for name in table}) == sum(map(len, tables))
    assert all(score.suspicious in ("high", "low") for table in tables for score in table.values())


def test_the_docs_have_every_score_as_the_tables_have_it():
    lines = (pathlib.Path(__file__).parents[2] / "docs/memorization.md").read_text().splitlines()
    for table in (SCORES, PRESENTATION_SCORES, RUN_SCORES, GRADIENT_SCORES):
        for name, score in table.items():
            assert f"| `{name}` | {score.formula} | {score.suspicious} | {score.source} |" in lines


def test_a_row_of_the_table_is_all_that_a_score_takes(monkeypatch):
    row = dynamics.Score(lambda history: -history.loss.astype(float), "low", "log p_y", "here")
    monkeypatch.setitem(SCORES, "log_probability", row)
    scores = compute_scores(make_history())
    assert np.array_equal(scores["log_probability"], -scores["last_loss"])
    assert np.array_equal(suspicion("log_probability", [-1.0, -2.0]), [0, 1])


def test_scores_import_neither_jax_nor_pandas():
    program = "import sys, rethink.memorization.dynamics; print([m for m in ('jax', 'pandas') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"
