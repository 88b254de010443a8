"""The choice of a reading by known wrong labels: against pairs counted one by one, and on made-up orders."""

import numpy as np
import pytest

from rethink.memorization import choice


def count_pairs(order, positive, negative):
    """AUROC by its definition: the share of pairs in which the positive stands higher, equal ones counted half."""
    pairs = [(a > b) + (a == b) / 2 for a in order[positive] for b in order[negative]]
    return sum(pairs) / len(pairs)


def rank(values):
    return np.unique(values, return_inverse=True)[1]


def test_choice_and_judgement_are_those_of_all_pairs_counted_one_by_one():
    rng = np.random.default_rng(0)
    wrong = rng.random(60) < 0.3
    orders = [rank(rng.integers(0, 12, 60) + level * wrong) for level in (0, 3, 6)]  # with many equal ones
    placement = choice.place(orders, wrong)
    ids = np.flatnonzero(wrong)
    for repetition in range(3):
        planted = choice.draw_planted(ids, 5, repetition)
        known, others = np.isin(np.arange(60), ids[planted]), np.isin(np.arange(60), ids[~planted])
        judged = [count_pairs(order, others, ~wrong) for order in orders]
        np.testing.assert_allclose(placement.judge(planted), judged, rtol=1e-6)
        chosen = [count_pairs(order, known, ~known) for order in orders]
        assert placement.choose(planted) == np.argmax(chosen)


def test_the_better_reading_is_chosen_and_the_unknown_labels_are_not_read():
    rng = np.random.default_rng(1)
    wrong = np.arange(2000) < 400
    levels = (0.2, 2.5, 1.0)
    placement = choice.place([rank(rng.normal(size=2000) + level * wrong) for level in levels], wrong)
    ids = np.flatnonzero(wrong).astype(np.uint32)
    judged = choice.judge_choices(placement, ids, 0.02)
    assert len(judged) == choice.REPETITIONS and {one.reading for one in judged} == {1}
    assert all(one.auroc == one.best and one.best == pytest.approx(0.961, abs=0.01) for one in judged)  # Phi(2.5/2**.5)
    # A reading that finds the planted ones alone is chosen, and judged by those that it does not find.
    planted = choice.draw_planted(ids, 40, 0)
    misleading = np.where(np.isin(np.arange(2000), ids[planted]), 9.0, rng.normal(size=2000))
    placement = choice.place([rank(misleading), rank(rng.normal(size=2000) + 2.5 * wrong)], wrong)
    assert placement.choose(planted) == 0
    assert placement.judge(planted) == pytest.approx([0.5, 0.961], abs=0.04)


def test_a_draw_is_of_the_ids_and_another_each_time():
    ids = np.arange(1000, dtype=np.uint32)
    drawn = [choice.draw_planted(ids, 100, repetition) for repetition in range(3)]
    assert [np.count_nonzero(one) for one in drawn] == [100] * 3
    np.testing.assert_array_equal(drawn[0], choice.draw_planted(ids, 100, 0))
    assert all(0 < np.count_nonzero(drawn[0] & other) < 30 for other in drawn[1:])
    np.testing.assert_array_equal(ids[drawn[0]], np.sort(ids[::-1][choice.draw_planted(ids[::-1], 100, 0)]))
