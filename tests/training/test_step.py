"""One step of training and of evaluation, on devices simulated by vmap: against NumPy, padded, in one call or many."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rethink.regularization.batch_norm import NONE, BatchNorm
from rethink.regularization.mixup import Mixup
from rethink.training import losses, state, step
from rethink.training.step import Batch

AXIS = "devices"
CLASSES, SHAPE = 3, (2, 2, 1)
RATE, MOMENTUM = 0.1, 0.9


class Linear(nn.Module):
    """Logits that are linear in the image."""

    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(CLASSES)(images.reshape(len(images), -1))


class Normed(nn.Module):
    """Linear behind a batch norm on the image itself, whose statistics are those of the images."""

    norm: BatchNorm

    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(CLASSES)(self.norm(images, train=train).reshape(len(images), -1))


def normed(kind):
    axis = AXIS if kind == "across_devices" else None
    return Normed(BatchNorm(kind, True, True, momentum=0.9, epsilon=1e-3, evaluation="running", axis_name=axis))


def view(images):
    return images.astype(jnp.float32) / 255


def evaluation_view(batch):
    return view(batch.images)


def training_view(now, batch):
    return view(batch.images)


def make_batch(seed, size):
    draw = np.random.default_rng(seed)
    labels, true_labels = draw.integers(0, CLASSES, (2, size)).astype(np.int32)
    images = draw.integers(0, 256, (size, *SHAPE), np.uint8)
    return Batch(images, labels, true_labels, np.arange(size, dtype=np.uint32), encoding=())


def evaluator(model, *, loss=losses.cross_entropy, precision="float32", matmul="highest"):
    return step.make_evaluation_step(
        model, evaluation_view, loss, precision=precision, matmul_precision=matmul, axis_name=AXIS
    )


def on_devices(function, devices):
    """Returns (state, *whole batches) -> what the devices return, stacked: each has the state and its part."""
    mapped = jax.jit(lambda state, *parts: jax.vmap(lambda *part: function(state, *part), axis_name=AXIS)(*parts))

    def call(state, *wholes):
        parts = jax.tree.map(lambda leaf: leaf.reshape(devices, -1, *leaf.shape[1:]), wholes)
        return jax.device_get(mapped(state, *parts))

    return call


def on_one_device(function):
    """Returns (state, *batches) -> what a single device returns."""
    return lambda *inputs: first(on_devices(function, 1)(*inputs))


def first(tree):
    return jax.tree.map(lambda leaf: leaf[0], tree)


def assert_close(actual, expected, rtol):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7), actual, expected)


def trainer(
    model,
    *,
    view=training_view,
    penalty=lambda params: 0.0,
    loss=losses.cross_entropy,
    mixing=None,
    auxiliary_weight=0.0,
    precision="float32",
    matmul="highest",
    streams=(),
):
    """Returns (its train step, its state before the first)."""
    tx = optax.sgd(RATE, momentum=MOMENTUM)
    train_step = step.make_train_step(
        model,
        tx,
        view,
        penalty,
        loss,
        key=jax.random.key(0),
        mixing=mixing,
        auxiliary_weight=auxiliary_weight,
        precision=precision,
        matmul_precision=matmul,
        axis_name=AXIS,
        streams=streams,
    )
    return train_step, state.init_state(model, tx, 0, SHAPE)


class Noisy(Linear):
    """Linear, with what it drew from two random streams of its own in a collection, uint32 [2, 2]."""

    @nn.compact
    def __call__(self, images, *, train):
        drawn = self.variable("drawn", "keys", jnp.zeros, (2, 2), jnp.uint32)
        if train:
            drawn.value = jnp.stack([jax.random.key_data(self.make_rng(name)) for name in ("noise", "mask")])
        return nn.Dense(CLASSES)(images.reshape(len(images), -1))


def test_each_random_stream_of_a_network_has_a_key_of_its_own_for_each_step():
    train_step, start = trainer(Noisy(), streams=("noise", "mask"))
    step_once, batch = on_one_device(train_step), make_batch(0, 4)
    now, drawn = start, []
    for _ in range(2):
        now, _ = step_once(now, batch)
        drawn.extend(map(tuple, now.collections["drawn"]["keys"]))
    assert len(set(drawn)) == 4
    again, _ = step_once(start, batch)  # as after a resumption
    assert [tuple(keys) for keys in again.collections["drawn"]["keys"]] == drawn[:2]


def gradient_by_hand(weights, bias, batch):
    """Returns (dL/dW, dL/db, losses, logits) of the mean cross-entropy in float64."""
    x = (batch.images.astype(np.float64) / 255).reshape(len(batch.labels), -1)
    logits = x @ weights + bias
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    losses = -np.log(probabilities[np.arange(len(x)), batch.labels])
    error = (probabilities - np.eye(CLASSES)[batch.labels]) / len(x)
    return x.T @ error, error.sum(0), losses, logits


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_a_step_is_that_of_sgd_with_momentum_on_the_whole_batch(devices):
    train_step, now = trainer(Linear())
    train_step = on_devices(train_step, devices)
    weights, bias = (np.float64(now.params["Dense_0"][name]) for name in ("kernel", "bias"))
    weights_trace, bias_trace = np.zeros_like(weights), np.zeros_like(bias)
    for i in range(3):
        batch = make_batch(i, 8)
        gradient, bias_gradient, losses, logits = gradient_by_hand(weights, bias, batch)
        weights_trace = MOMENTUM * weights_trace + gradient
        bias_trace = MOMENTUM * bias_trace + bias_gradient
        weights, bias = weights - RATE * weights_trace, bias - RATE * bias_trace

        states, sums = train_step(now, batch)
        now = first(states)
        assert_close(now.params["Dense_0"], {"kernel": weights, "bias": bias}, rtol=1e-5)
        assert now.step == i + 1
        for device in range(devices):  # all hold the same state and the sums of the whole batch, no means
            jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda leaf, d=device: leaf[d], states), now)
            assert sums["loss"][device] == pytest.approx(losses.sum(), rel=1e-5)
            assert sums["correct"][device] == (logits.argmax(1) == batch.labels).sum()
            assert sums["count"][device] == 8


def test_training_learns_the_labels_as_given_and_not_the_true_ones():
    train_step, now = trainer(Linear())
    train_step = on_devices(train_step, 1)
    batch = make_batch(0, 8)
    other_truth = batch._replace(true_labels=(batch.true_labels + 1) % CLASSES)
    other_labels = batch._replace(labels=(batch.labels + 1) % CLASSES)
    kernels = [train_step(now, b)[0].params["Dense_0"]["kernel"] for b in (batch, other_truth, other_labels)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.any(kernels[0] != kernels[2])


@pytest.mark.parametrize("model", [Linear(), normed("across_devices")], ids=["linear", "normed"])
@pytest.mark.parametrize("devices", [1, 2])
def test_padding_of_weight_zero_changes_no_sum(model, devices):
    _, now = trainer(model)
    evaluation_step = evaluator(model)
    batch, junk = make_batch(1, 6), make_batch(2, 2)
    padded = jax.tree.map(lambda *pair: np.concatenate(pair), batch, junk)
    weights = np.array([1, 1, 1, 1, 1, 1, 0, 0], np.float32)
    expected = on_one_device(evaluation_step)(now, batch, np.ones(6, np.float32)).sums
    sums = first(on_devices(evaluation_step, devices)(now, padded, weights)).sums
    assert sums["count"] == 6
    assert_close(sums, expected, rtol=1e-6)


class Oracle(nn.Module):
    """Predicts the class that the image's first pixel names."""

    @nn.compact
    def __call__(self, images, *, train):
        assert not train  # evaluation mode
        return 5.0 * jax.nn.one_hot(jnp.round(255 * images[:, 0, 0, 0]).astype(jnp.int32), CLASSES)


@pytest.mark.parametrize("devices", [1, 2])
def test_an_evaluation_counts_each_part_by_its_own_labels(devices):
    predicted = [0, 0, 1, 1, 2, 2, 0, 1]
    labels = [0, 1, 1, 1, 0, 2, 2, 1]
    true_labels = [0, 1, 1, 0, 2, 0, 0, 1]  # rows 3, 4, 5, 6 are corrupted
    weights = [1, 1, 1, 1, 1, 1, 1, 0]
    images = np.zeros((8, *SHAPE), np.uint8)
    images[:, 0, 0, 0] = predicted
    batch = Batch(images, np.int32(labels), np.int32(true_labels), np.arange(8, dtype=np.uint32), encoding=())
    evaluation_step = evaluator(Oracle())
    now = state.TrainState(step=0, params={}, collections={}, opt_state=())
    evaluation = on_devices(evaluation_step, devices)(now, batch, np.float32(weights))
    assert [np.ravel(values).tolist() for values in evaluation.examples[:3]] == [list(range(8)), weights, predicted]
    assert [margin > 0 for margin in np.ravel(evaluation.examples.margins)] == list(np.equal(predicted, labels))
    sums = first(evaluation.sums)
    right, wrong = -np.log(np.exp(5) / (np.exp(5) + 2)), -np.log(1 / (np.exp(5) + 2))
    assert sums.pop("loss") == pytest.approx(4 * right + 3 * wrong, rel=1e-6)
    assert {name: float(value) for name, value in sums.items()} == {
        "correct": 4,  # rows 0, 2, 3, 5
        "top5_correct": 7,  # of 3 classes
        "count": 7,
        "clean_correct": 2,  # rows 0, 2 of 0, 1, 2
        "corrupted_given": 2,  # rows 3, 5 of 3, 4, 5, 6
        "corrupted_true": 2,  # rows 4, 6
        "corrupted_count": 4,
    }


def row_of(data, item):
    return jax.tree.map(lambda leaf: leaf[item], data)


def calls_of(train_step, now, data, items, size):
    """Returns (state, sums of each step) after the steps of `items`, `size` of them in a call."""
    train_call = jax.jit(
        jax.vmap(step.make_train_call(train_step, row_of), axis_name=AXIS, axis_size=1, in_axes=(None, None, None))
    )
    sums = []
    for begin in range(0, len(items), size):
        now, made = first(train_call(now, data, items[begin : begin + size]))
        sums.append(made)
    return now, {name: np.concatenate([made[name] for made in sums]) for name in sums[0]}


@pytest.mark.parametrize("model", [Linear(), normed("per_device")], ids=["linear", "normed"])
def test_steps_in_one_call_equal_the_same_steps_one_by_one(model):
    train_step, now = trainer(model)
    data = make_batch(0, 24)
    items = np.random.default_rng(1).permutation(24).reshape(4, 6)
    one_by_one, sums = calls_of(train_step, now, data, items, 1)
    together, sums_together = calls_of(train_step, now, data, items, 4)
    assert_close(together, one_by_one, rtol=1e-4)
    assert_close(sums_together, sums, rtol=1e-5)
    assert together.step == 4 and sums_together["loss"].shape == (4,)
    learned = (one_by_one.params, one_by_one.collections), (now.params, now.collections)
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: np.any(a != b), *learned)))


def test_a_call_of_a_single_step_has_no_loop():
    train_step, now = trainer(Linear())
    train_call = jax.vmap(step.make_train_call(train_step, row_of), axis_name=AXIS, axis_size=1, in_axes=None)
    data, items = make_batch(0, 24), np.arange(24).reshape(4, 6)
    assert "scan" in str(jax.make_jaxpr(train_call)(now, data, items))
    assert "scan" not in str(jax.make_jaxpr(train_call)(now, data, items[:1]))


@pytest.mark.parametrize("kind, devices", [("per_device", 1), ("per_device", 2), ("across_devices", 2)])
def test_a_step_moves_the_running_statistics_alike_on_every_device(kind, devices):
    train_step, now = trainer(normed(kind))
    batch = make_batch(0, 8)
    parts = (np.float64(batch.images) / 255).reshape(1 if kind == "across_devices" else devices, -1, *SHAPE)
    mean = parts.mean((1, 2, 3)).mean(0)  # those of single devices are averaged
    variance = parts.var((1, 2, 3)).mean(0)
    states, _ = on_devices(train_step, devices)(now, batch)
    for device in range(devices):
        statistics = states.collections["batch_stats"]["BatchNorm_0"]
        np.testing.assert_allclose(statistics["mean"][device], 0.1 * mean, rtol=1e-5)
        np.testing.assert_allclose(statistics["var"][device], 0.9 + 0.1 * variance, rtol=1e-5)


def test_evaluation_uses_the_running_statistics_and_not_those_of_its_batch():
    model = normed("per_device")
    _, now = trainer(model)
    evaluate = on_one_device(evaluator(model))
    batch, other = make_batch(0, 4), make_batch(1, 4)
    both = jax.tree.map(lambda *pair: np.concatenate(pair), batch, other)
    apart = [evaluate(now, part, np.ones(4, np.float32)).sums["loss"] for part in (batch, other)]
    assert evaluate(now, both, np.ones(8, np.float32)).sums["loss"] == pytest.approx(sum(apart), rel=1e-6)
    moved = now.replace(collections=jax.tree.map(lambda leaf: leaf + 1, now.collections))
    assert evaluate(moved, batch, np.ones(4, np.float32)).sums["loss"] != apart[0]


class Watched(nn.Module):
    """A linear map that says in what it computes."""

    note: Callable

    @nn.compact
    def __call__(self, images, *, train):
        logits = nn.Dense(CLASSES)(images.reshape(len(images), -1))
        self.note(logits.dtype)
        return logits


def test_in_bfloat16_the_network_computes_and_all_that_is_kept_is_float32():
    batch, results, dtypes = make_batch(0, 8), {}, []
    for precision in step.PRECISIONS:
        train_step, now = trainer(Watched(dtypes.append), precision=precision)
        dtypes.clear()
        now, sums = first(on_devices(train_step, 2)(now, batch))
        evaluation_step = evaluator(Watched(dtypes.append), precision=precision, matmul="default")
        evaluated = on_one_device(evaluation_step)(now, batch, np.ones(8, np.float32)).sums
        results[precision] = (now, sums, evaluated)
        assert set(dtypes) == {jnp.dtype(precision)}
    assert all(leaf.dtype != jnp.bfloat16 for leaf in jax.tree.leaves(results["bfloat16"]))
    (rough, *rough_sums), (exact, *exact_sums) = results["bfloat16"], results["float32"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), rough.params, exact.params)
    assert [sums["loss"] for sums in rough_sums] == pytest.approx([sums["loss"] for sums in exact_sums], rel=0.01)
    kernels = [now.params["Dense_0"]["kernel"] for now, _, _ in results.values()]
    assert np.any(kernels[0] != kernels[1])


class Convolved(nn.Module):
    """A convolution with a bias, as anybody would write it."""

    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(CLASSES)(jnp.mean(nn.relu(nn.Conv(4, (3, 3))(images)), axis=(1, 2)))


def test_in_bfloat16_every_parameter_has_the_gradient_of_float32_to_a_few_roundings():
    images = np.random.default_rng(0).integers(0, 256, (32, 24, 24, 1), np.uint8)
    batch = make_batch(0, 32)._replace(images=images)
    moves = {}
    for precision in step.PRECISIONS:
        train_step, now = trainer(Convolved(), precision=precision)
        after, _ = on_one_device(train_step)(now, batch)
        moves[precision] = jax.tree.map(np.subtract, after.params, now.params)
    errors = jax.tree.map(lambda a, b: np.linalg.norm(a - b) / np.linalg.norm(b), moves["bfloat16"], moves["float32"])
    assert all(error < 0.05 for error in jax.tree.leaves(errors)), errors


def test_a_network_without_a_norm_has_no_statistics():
    train_step, now = trainer(Normed(NONE))
    assert now.collections == {}
    assert on_devices(train_step, 2)(now, make_batch(0, 8))[0].collections == {}


def test_the_loss_is_what_every_head_is_trained_on_and_what_every_split_reports():
    loss = functools.partial(losses.generalized_cross_entropy, q=0.7)
    batch, evaluate = make_batch(0, 8), evaluator(Helped(), loss=loss)
    train_step, now = trainer(Helped(), loss=loss, auxiliary_weight=0.5)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient_by_autodiff(params):
        x = view(jnp.asarray(batch.images)).reshape(8, -1)
        own, helper = (x @ params[name]["kernel"] + params[name]["bias"] for name in ("own", "helper"))
        losses_of_own = loss(own, batch.labels)
        sums = {"loss": losses_of_own.sum(), "cross_entropy": losses.cross_entropy(own, batch.labels).sum()}
        return jnp.mean(losses_of_own) + 0.5 * jnp.mean(loss(helper, batch.labels)), sums

    gradient, expected = gradient_by_autodiff(now.params)
    after, sums = on_one_device(train_step)(now, batch)
    assert_close(after.params, jax.tree.map(lambda params, slope: params - RATE * slope, now.params, gradient), 1e-5)
    evaluated = on_one_device(evaluate)(now, batch, np.ones(8, np.float32)).sums
    assert_close({name: evaluated[name] for name in expected}, expected, rtol=1e-5)
    assert_close(sums["loss"], expected["loss"], rtol=1e-5)
    assert "cross_entropy" not in sums


@pytest.mark.parametrize("devices, precision", [(1, "float32"), (4, "float32"), (2, "bfloat16")])
def test_mixup_trains_on_both_labels_by_their_shares_on_any_number_of_devices(devices, precision):
    """The next row of the whole batch is the partner, whatever device it lies on."""
    batch, key = make_batch(0, 8), jax.random.key(3)
    settings = Mixup(0.4, AXIS)
    train_step, now = trainer(Linear(), mixing=(settings, key), precision=precision)
    after, sums = first(on_devices(train_step, devices)(now, batch))
    # By hand: the mixed images, with each of both labels.
    share = float(settings.draw_share(jax.random.fold_in(key, 0)))
    assert 0.01 < share < 0.99
    images = share * np.float64(batch.images) + (1 - share) * np.roll(batch.images, -1, 0)
    weights, bias = (np.float64(now.params["Dense_0"][name]) for name in ("kernel", "bias"))
    mixed = batch._replace(images=images)
    own, other = (
        gradient_by_hand(weights, bias, mixed._replace(labels=labels))
        for labels in (batch.labels, np.roll(batch.labels, -1))
    )
    gradient = share * own[0] + (1 - share) * other[0]
    rough = precision == "bfloat16"
    np.testing.assert_allclose(
        after.params["Dense_0"]["kernel"], weights - RATE * gradient, rtol=2e-2 if rough else 1e-4, atol=1e-3 * rough
    )
    assert sums["loss"] == pytest.approx(
        share * own[2].sum() + (1 - share) * other[2].sum(), rel=0.01 if rough else 1e-5
    )
    if not rough:
        right = [(own[3].argmax(1) == labels).sum() for labels in (batch.labels, np.roll(batch.labels, -1))]
        assert sums["correct"] == pytest.approx(share * right[0] + (1 - share) * right[1], rel=1e-6)
    assert sums["count"] == 8  # exactly, so that accuracies are


def test_mixup_draws_another_share_in_each_step():
    batch = make_batch(0, 8)
    train_step, now = trainer(Linear(), mixing=(Mixup(1.0, AXIS), jax.random.key(0)))
    step_once = on_one_device(train_step)
    drawn = [step_once(now.replace(step=number), batch)[1]["loss"] for number in (0, 1, 0)]
    assert drawn[0] == drawn[2] != drawn[1]


class Ranked(nn.Module):
    """Logits that fall from class 0 to class 9."""

    @nn.compact
    def __call__(self, images, *, train):
        return jnp.broadcast_to(-jnp.arange(10.0), (len(images), 10))


def test_the_top_five_are_five():
    batch = make_batch(0, 10)._replace(labels=np.arange(10, dtype=np.int32))
    evaluation_step = evaluator(Ranked())
    now = state.TrainState(step=0, params={}, collections={}, opt_state=())
    assert on_one_device(evaluation_step)(now, batch, np.ones(10, np.float32)).sums["top5_correct"] == 5


@pytest.mark.parametrize("devices", [1, 2])
def test_a_penalty_is_in_the_gradient_and_not_in_the_loss_that_is_reported(devices):
    def penalty(params):
        return 3.0 * jnp.sum(params["Dense_0"]["kernel"])

    batch = make_batch(0, 8)
    plain, now = trainer(Linear())
    penalized, _ = trainer(Linear(), penalty=penalty)
    without, sums = map(first, on_devices(plain, devices)(now, batch))
    with_penalty, sums_with = map(first, on_devices(penalized, devices)(now, batch))
    moved = with_penalty.params["Dense_0"]["kernel"] - without.params["Dense_0"]["kernel"]
    np.testing.assert_allclose(moved, -RATE * 3.0, rtol=1e-5)
    assert sums["loss"] == sums_with["loss"]


class Helped(nn.Module):
    """A network with a second set of logits beside its own, from parameters of their own."""

    @nn.compact
    def __call__(self, images, *, train):
        x = images.reshape(len(images), -1)
        self.sow("auxiliary_logits", "auxiliary", nn.Dense(CLASSES, name="helper")(x))
        return nn.Dense(CLASSES, name="own")(x)


def test_an_auxiliary_head_learns_by_its_weight_and_leaves_the_rest_alone():
    batch = make_batch(0, 8)
    kernels = {}
    for weight in (0.0, 0.5, 1.0):
        train_step, now = trainer(Helped(), auxiliary_weight=weight)
        params = on_one_device(train_step)(now, batch)[0].params
        kernels[weight] = {name: params[name]["kernel"] - now.params[name]["kernel"] for name in ("own", "helper")}
    assert not np.any(kernels[0.0]["helper"])
    np.testing.assert_allclose(2 * kernels[0.5]["helper"], kernels[1.0]["helper"], rtol=1e-4, atol=1e-8)
    np.testing.assert_array_equal(kernels[0.0]["own"], kernels[1.0]["own"])


def test_training_sees_the_images_of_its_own_view_at_each_step():
    def view_of_step(now, batch):
        return view(batch.images) * (now == 0)

    train_step, now = trainer(Linear(), view=view_of_step)
    train_step = on_one_device(train_step)
    once, _ = train_step(now, make_batch(0, 8))
    assert np.any(once.params["Dense_0"]["kernel"] != now.params["Dense_0"]["kernel"])
    again, _ = train_step(now.replace(step=np.int32(1)), make_batch(0, 8))  # all black: kernels have no gradient
    np.testing.assert_array_equal(again.params["Dense_0"]["kernel"], now.params["Dense_0"]["kernel"])


class Dropped(nn.Module):
    """All of the input or, in training, a random part of it."""

    @nn.compact
    def __call__(self, images, *, train):
        kept = nn.Dropout(0.5, deterministic=not train)(jnp.ones((len(images), 1000)))
        return nn.Dense(3)(images.reshape(len(images), -1)) * 0 + jnp.mean(kept, -1, keepdims=True) * jnp.arange(3.0)


def test_a_model_with_dropout_draws_another_mask_in_every_step_and_the_same_one_again():
    train_step, start = trainer(Dropped(), streams=("dropout",))
    call = on_one_device(train_step)
    batch = make_batch(0, 8)

    def losses():
        state, losses = start, []
        for _ in range(3):
            state, sums = call(state, batch)
            losses.append(float(sums["loss"]))
        return losses

    first_time = losses()
    assert first_time == losses() and len(set(first_time)) == 3


class Remembering(nn.Module):
    """A linear map that remembers the mean image and counts the examples of a device, in evaluation too."""

    @nn.compact
    def __call__(self, images, *, train):
        x = images.reshape(len(images), -1)
        mean = self.variable("memory", "mean", jnp.zeros, x.shape[-1])
        count = self.variable("memory", "count", jnp.zeros, (), jnp.int32)
        if not self.is_initializing():
            mean.value, count.value = x.mean(0), count.value + len(x)
        return nn.Dense(CLASSES)(x - mean.value)


@pytest.mark.parametrize("precision", step.PRECISIONS)
@pytest.mark.parametrize("devices", [1, 2])
def test_a_models_own_collection_is_carried_averaged_over_devices_and_left_alone_by_evaluation(devices, precision):
    train_step, now = trainer(Remembering(), precision=precision)
    assert now.collections == {"memory": {"mean": pytest.approx(np.zeros(4)), "count": 0}}
    batch = make_batch(0, 8)
    for steps in (1, 2):
        states, _ = on_devices(train_step, devices)(now, batch)
        now = first(states)
        memory = now.collections["memory"]
        assert memory["count"] == steps * 8 // devices and memory["mean"].dtype == np.float32
        mean = (batch.images / 255).reshape(8, -1).mean(0)
        np.testing.assert_allclose(memory["mean"], mean, rtol=1e-6 if precision == "float32" else 0.01)
        jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf[0], leaf[-1]), states)
    assert (
        on_one_device(evaluator(Remembering(), precision=precision))(now, batch, np.ones(8, np.float32)).sums["count"]
        == 8
    )
