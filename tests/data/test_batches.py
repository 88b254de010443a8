"""The order of examples: a function of seed and step alone, and every example counted as often as it should be."""

import numpy as np
import pytest

from rethink.data import batches
from rethink.schema.errors import UserError

CASES = [(10, 4), (12, 4), (3, 4), (3, 10), (1, 1), (128, 128), (1000, 7)]  # examples, batch size


def rows(first_step, steps, *, seed=0, num_examples=1000, batch_size=7, remainder="wrap"):
    return batches.select_train_rows(
        seed, first_step, steps, num_examples=num_examples, batch_size=batch_size, remainder=remainder
    )


@pytest.mark.parametrize("num_examples, batch_size", CASES)
def test_an_epoch_takes_its_batches_rounded_up_or_down(num_examples, batch_size):
    assert batches.count_steps_per_epoch(num_examples, batch_size, "wrap") == -(-num_examples // batch_size)
    assert batches.count_steps_per_epoch(num_examples, batch_size, "drop") == num_examples // batch_size


@pytest.mark.parametrize("num_examples, batch_size", CASES)
def test_wrap_shows_every_example_in_every_epoch_and_only_the_extra_ones_again(num_examples, batch_size):
    length = batches.count_steps_per_epoch(num_examples, batch_size, "wrap")
    for epoch in range(3):
        epoch_rows = rows(epoch * length, length, num_examples=num_examples, batch_size=batch_size)
        assert (epoch_rows.shape, epoch_rows.dtype) == ((length, batch_size), np.int32)
        counts = np.bincount(epoch_rows.ravel(), minlength=num_examples)
        once, extra = divmod(length * batch_size, num_examples)
        assert len(counts) == num_examples
        assert (counts == once + 1).sum() == extra
        assert (counts == once).sum() == num_examples - extra
        np.testing.assert_array_equal(
            epoch_rows.ravel()[num_examples:],
            np.resize(epoch_rows.ravel(), epoch_rows.size)[: epoch_rows.size - num_examples],
        )


@pytest.mark.parametrize("num_examples, batch_size", [case for case in CASES if case[0] >= case[1]])
def test_drop_shows_no_example_twice_in_an_epoch(num_examples, batch_size):
    length = batches.count_steps_per_epoch(num_examples, batch_size, "drop")
    left_out = set()
    for epoch in range(20):
        epoch_rows = rows(epoch * length, length, num_examples=num_examples, batch_size=batch_size, remainder="drop")
        assert epoch_rows.shape == (length, batch_size)
        assert len(np.unique(epoch_rows)) == epoch_rows.size
        assert 0 <= epoch_rows.min() <= epoch_rows.max() < num_examples
        left_out |= set(range(num_examples)) - set(epoch_rows.ravel().tolist())
    assert num_examples % batch_size == 0 or len(left_out) > num_examples % batch_size


@pytest.mark.parametrize("remainder", batches.REMAINDERS)
def test_epochs_and_seeds_have_orders_of_their_own(remainder):
    length = batches.count_steps_per_epoch(1000, 7, remainder)
    orders = [
        tuple(rows(epoch * length, length, seed=seed, remainder=remainder).ravel().tolist())
        for seed in (0, 1, 2**32 - 1)
        for epoch in (0, 1, 2, 10_000)
    ]
    assert len(set(orders)) == len(orders)
    assert len({order[:7] for order in orders}) == len(orders)


@pytest.mark.parametrize("remainder", batches.REMAINDERS)
@pytest.mark.parametrize("num_examples, batch_size", [(10, 4), (3, 2), (50, 50)])
def test_any_way_of_cutting_the_steps_into_calls_gives_the_same_rows(num_examples, batch_size, remainder):
    def cut(first_step, steps):
        return rows(first_step, steps, num_examples=num_examples, batch_size=batch_size, remainder=remainder)

    whole = cut(0, 24)
    for pieces in ([1] * 24, [5, 1, 7, 11], [23, 1]):
        starts = np.cumsum([0, *pieces[:-1]])
        parts = [cut(int(start), steps) for start, steps in zip(starts, pieces, strict=True)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    for step in (23, 0, 17):  # backwards, as after a restart
        np.testing.assert_array_equal(cut(step, 1)[0], whole[step])


def test_a_call_of_no_steps_has_no_rows():
    assert rows(5, 0).shape == (0, 7)


def test_the_order_is_that_of_every_earlier_version():
    assert rows(0, 3, num_examples=10, batch_size=4).tolist() == [[0, 3, 6, 4], [7, 8, 1, 5], [2, 9, 0, 3]]


def test_the_kept_order_cannot_be_changed_from_outside():
    order = batches.draw_epoch_order(0, 0, 10)
    with pytest.raises(ValueError):
        order[0] = 1


@pytest.mark.parametrize("num_examples, batch_size", CASES)
def test_evaluation_weighs_every_example_exactly_once(num_examples, batch_size):
    total = np.zeros(num_examples)
    for places, weights in batches.cover_examples(num_examples, batch_size):
        assert (places.shape, places.dtype) == ((batch_size,), np.int32)
        assert (weights.shape, weights.dtype) == ((batch_size,), np.float32)
        assert set(weights.tolist()) <= {0.0, 1.0}
        assert weights.any()
        np.add.at(total, places, weights)
    np.testing.assert_array_equal(total, 1)


@pytest.mark.parametrize("remainder", ["pad", "", "Wrap"])
def test_an_unknown_remainder_is_refused(remainder):
    for call in (lambda: batches.count_steps_per_epoch(10, 4, remainder), lambda: rows(0, 1, remainder=remainder)):
        with pytest.raises(UserError, match=f"^data.remainder='{remainder}' is unknown.*Choices: wrap, drop"):
            call()
