"""What training saw of each example: against NumPy, on any number of devices, in any calls, and without copies."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rethink.data.batches import select_train_rows
from rethink.training import devices, losses, metrics, presentations, state, step

AXIS = devices.AXIS
IDS = np.array([3, 4, 9, 20, 21, 22, 40, 2**32 - 1], np.uint32)
EPOCHS, BATCH, CLASSES = 3, 4, 3


def recompute(history):
    """Returns what NumPy makes of id -> [(is correct, margin, probability)], all its presentations in order."""
    found = []
    for _, seen in sorted(history.items()):
        correct, margin, probability = (np.array(values, np.float64) for values in zip(*seen, strict=True))
        forgotten = np.sum((correct[:-1] == 1) & (correct[1:] == 0))
        first = np.flatnonzero(correct)[0] if correct.any() else -1
        found.append((len(seen), correct.sum(), forgotten, first, margin.sum(), probability.sum(), sum(probability**2)))
    return np.array(found).T


def assert_seen(record, history, rtol=3e-7):
    """Checks a record against a history: counts exactly, sums to the rounding of float32 numbers."""
    np.testing.assert_array_equal(record.ids, sorted(history))
    for name, values, wanted in zip(record._fields[1:], record[1:], recompute(history), strict=True):
        np.testing.assert_allclose(values, wanted, rtol=0 if name in presentations.COUNTS else rtol, atol=rtol)


def measure(logits, label):
    """Returns (is correct, margin, probability) in float64."""
    logits = np.float64(logits)
    probability = np.exp(logits[label]) / np.exp(logits).sum()
    return np.argmax(logits) == label, logits[label] - np.delete(logits, label).max(), probability


@jax.jit
@functools.partial(jax.vmap, axis_name=AXIS, in_axes=(None, 0, 0, 0))
def update_devices(kept, ids, logits, labels):
    return presentations.update(kept, ids, metrics.Examples(logits, labels, labels), AXIS)


def updated(kept, ids, logits, labels, count):
    """Returns the accumulators of each of `count` devices after a presentation."""

    parts = jax.tree.map(lambda leaf: leaf.reshape(count, -1, *leaf.shape[1:]), (ids, logits, labels))
    return jax.device_get(update_devices(kept, *parts))


def test_the_same_logits_give_the_same_bits_on_any_number_of_devices_and_those_of_numpy():
    draw, history = np.random.default_rng(0), {int(i): [] for i in IDS}
    kept = dict.fromkeys((1, 2, 4), jax.tree.map(jnp.asarray, presentations.start(draw.permutation(IDS))))
    for _ in range(12):
        ids, labels = draw.choice(IDS, BATCH, replace=False), draw.integers(0, CLASSES, BATCH).astype(np.int32)
        logits = draw.normal(size=(BATCH, CLASSES)).astype(np.float32)
        for i, values, label in zip(ids, logits, labels, strict=True):
            history[int(i)].append(measure(values, label))
        for count in kept:
            of_devices = updated(kept[count], ids, logits, labels, count)
            kept[count] = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), of_devices)
            assert all(np.all(leaf == leaf[:1]) for leaf in of_devices)  # the same everywhere
    for other in (2, 4):
        assert all(np.all(a == b) for a, b in zip(kept[1], kept[other], strict=True))
    assert_seen(presentations.to_record(jax.device_get(kept[1])), history)
    assert recompute(history)[2].sum() >= 4  # some were forgotten


def test_an_example_that_never_came_is_all_zeros():
    record = presentations.to_record(presentations.start(IDS))
    assert set(record.first_correct) == {-1}
    assert not any(np.any(values) for name, values in record._asdict().items() if name not in ("ids", "first_correct"))


def test_a_sum_of_a_hundred_thousand_is_as_exact_as_its_terms():
    logits, label = np.float32([[5.3, 0.1, -2.2]]), np.int32([0])

    def once(kept, _):
        return presentations.update(kept, IDS[:1], metrics.Examples(jnp.asarray(logits), label, label), AXIS), ()

    many = jax.vmap(lambda kept: jax.lax.scan(once, kept, None, 10**5)[0], axis_size=1, axis_name=AXIS, in_axes=None)
    start = jax.tree.map(jnp.asarray, presentations.start(IDS))
    record, one = (
        presentations.to_record(jax.tree.map(lambda leaf: np.asarray(leaf)[0], kept))
        for kept in (many(start), updated(start, IDS[:1], logits, label, 1))
    )
    assert record.count[0] == record.correct[0] == 10**5
    for sums, term in zip(record[5:], one[5:], strict=True):
        assert sums[0] == pytest.approx(1e5 * term[0], rel=1e-7)  # float32 alone: 1e-3


class Network(nn.Module):
    """Logits that are linear in the image."""

    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(CLASSES)(images)


@functools.cache
def trainer():
    """Returns (the step, the start, the data of all examples) of a network with little data and a high rate."""
    tx, model = optax.sgd(5.0), Network()
    train_step = step.make_train_step(
        model,
        tx,
        lambda now, batch: batch.images + jax.random.normal(jax.random.fold_in(jax.random.key(1), now), (2,)) / 4,
        lambda params: 0.0,
        losses.cross_entropy,
        key=jax.random.key(0),
        auxiliary_weight=0.0,
        precision="float32",
        matmul_precision="highest",
        axis_name=AXIS,
    )
    draw = np.random.default_rng(0)
    labels = draw.integers(0, CLASSES, len(IDS)).astype(np.int32)
    data = step.Batch(draw.normal(size=(len(IDS), 2)).astype(np.float32), labels, labels, IDS, np.zeros((2, 1)))
    start = state.init_state(model, tx, 0, (2,)).replace(presentations=presentations.start(IDS))
    return train_step, start, data


def select(data, item):
    return step.Batch(*(leaf[item] for leaf in data[:4]), data.encoding)


def train(steps_per_call, keep=True):
    """Returns the state after the epochs, as whole runs are trained, and the compiled call."""
    train_step, now, data = trainer()
    call = devices.map_devices(step.make_train_call(train_step, select), donate_state=True)
    rows = select_train_rows(0, 0, 3 * EPOCHS, num_examples=len(IDS), batch_size=3, remainder="wrap")
    now, data = devices.replicate(now if keep else now.replace(presentations=None)), devices.replicate(data)
    compiled = call.lower(now, data, rows[None, :steps_per_call]).compile()
    for first in range(0, len(rows), steps_per_call):
        now, _ = compiled(now, data, rows[None, first : first + steps_per_call])
    return devices.fetch(now), compiled.as_text()


@pytest.fixture(scope="module", params=[1, 9])
def trained(request):
    return request.param, *train(request.param)


def test_training_records_what_its_network_computed_of_each_augmented_example(trained):
    train_step, now, data = trainer()
    history = {int(i): [] for i in IDS}
    step_once = jax.jit(jax.vmap(train_step, axis_size=1, axis_name=AXIS, in_axes=None))
    rows = select_train_rows(0, 0, 3 * EPOCHS, num_examples=len(IDS), batch_size=3, remainder="wrap")
    for number, of_step in enumerate(rows):
        batch = select(data, of_step)
        noise = np.asarray(jax.random.normal(jax.random.fold_in(jax.random.key(1), number), (2,)) / 4)
        params = jax.tree.map(np.float64, now.params)
        logits = (batch.images + noise) @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
        for i, values, label in zip(batch.ids, logits, batch.labels, strict=True):
            history[int(i)].append(measure(values, label))
        now = jax.tree.map(lambda leaf: leaf[0], step_once(now, batch)[0])
    record = presentations.to_record(trained[1].presentations)
    assert_seen(record, history, rtol=1e-5)
    assert record.forgetting_events.sum() >= 1
    assert record.count.min() == EPOCHS and record.count.sum() == 9 * EPOCHS  # "wrap": 9 of 8 in an epoch


def test_no_call_copies_what_is_kept_of_all_examples(trained):
    _, _, text = trained
    assert re.search(rf"s32\[{len(IDS)},5\]", text)
    assert not re.search(rf"(s32\[{len(IDS)},5\]|f32\[{len(IDS)},2,3\])\S* copy\(", text)


def test_what_is_kept_changes_no_bit_of_what_is_learned(trained):
    bare, text = train(trained[0], keep=False)
    assert f"[{len(IDS)},5]" not in text
    same = jax.tree.map(lambda a, b: a.tobytes() == b.tobytes(), bare.params, trained[1].params)
    assert all(jax.tree.leaves(same))


@pytest.mark.parametrize("remainder", ["wrap", "drop"])
@pytest.mark.parametrize("num_examples, batch_size", [(8, 8), (9, 8)])
def test_no_example_comes_twice_in_a_batch(remainder, num_examples, batch_size):
    rows = select_train_rows(0, 0, 12, num_examples=num_examples, batch_size=batch_size, remainder=remainder)
    assert all(len(set(of_step)) == batch_size for of_step in rows)
