"""One step of training and of evaluation on one device's part of a batch, and many steps in one call.

Devices, feeds and data sets are not named here: a step has the name of an axis to reduce over, and a function that
makes its batch. Sums leave a step, never means: they are divided once, on the host.
"""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from rethink import randomness
from rethink.regularization import explicit, mixup
from rethink.regularization.mixup import Mixup
from rethink.schema.errors import pick
from rethink.training import metrics, presentations
from rethink.training.losses import Loss
from rethink.training.state import TrainState
from rethink.training.sums import add_in_float32

Sums = dict[str, jax.Array]  # name -> float32 scalar; see training/metrics.py
PRECISIONS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
# "default" is what a platform is fastest with: for float32 TF32 on recent GPUs of NVIDIA, bfloat16 on TPUs.
MATMUL_PRECISIONS = ("auto", "default", "high", "highest")
_AUTO = {"float32": "highest", "bfloat16": "default"}


class Batch(NamedTuple):
    """One device's examples, after corruption, before crop and whitening.

    images: [batch, height, width, channels], of the stored dtype; labels (as given), true_labels: int32 [batch]; ids:
    uint32 [batch]; encoding: float32 [2, channels], what the images' values stand for.
    """

    images: jax.Array
    labels: jax.Array
    true_labels: jax.Array
    ids: jax.Array
    encoding: jax.Array


class PerExample(NamedTuple):
    """What an evaluation computes of each example, [batch]; a new field is computed in the step and kept like these.

    ids: uint32; weights: float32, 0 for padding; predicted: int32, the class. float16, by the given label: losses, its
    cross-entropy; margins and errors, as of `metrics.Examples`.
    """

    ids: Any
    weights: Any
    predicted: Any
    losses: Any
    margins: Any
    errors: Any


class Evaluation(NamedTuple):
    """An evaluation, of a batch on the devices or of a split on the host.

    sums: as of `metrics.sum_weighted`; examples: of a split, each once by ascending id, or None where nothing is kept.
    """

    sums: dict[str, Any]
    examples: PerExample | None


def make_train_step(
    model: nn.Module,
    tx: optax.GradientTransformation,
    view: Callable[[jax.Array, Batch], jax.Array],
    penalty: Callable[[Any], jax.Array],
    loss: Loss,
    *,
    key: jax.Array,
    mixing: tuple[Mixup, jax.Array] | None = None,
    auxiliary_weight: float,
    precision: str,
    matmul_precision: str,
    axis_name: str,
    streams: Collection[str] = (),
) -> Callable[[TrainState, Batch], tuple[TrainState, Sums]]:
    """Returns (state, batch) -> (state, sums): one update on the mean loss of the global batch.

    Every device's part must be of the same size. The sums are those of the window's metrics, over the global batch;
    their `loss` is without penalty and auxiliary heads. With mixup they are shares of those by both labels.

    Args:
      view: (step int32 scalar, batch) -> the model's input, float32 [batch, height, width, channels].
      penalty: params -> what a regularizer adds to the loss, float32 scalar.
      loss: of each example, as of training/losses.py; of auxiliary logits too.
      key: of the model's randomness in training: the stream of `explicit.Dropout` for each step, the same on every
        device, and each of `streams` for each step and device.
      mixing: mixup, and the key of its shares; None where it is off.
      auxiliary_weight: of the mean loss of the logits that a model sows as "auxiliary_logits".
      precision: of `PRECISIONS`: what the network computes in. Parameters, their gradients and updates, statistics and
        the loss are float32 in any, and so are the sums that a bfloat16 network rounds to its own precision.
      matmul_precision: of all matrix products and convolutions, and those of their gradients, as of
        `jax.default_matmul_precision`; a product that has one of its own keeps it.
      streams: names of the further random streams of Linen that the model draws from.
    """

    dtype = pick(PRECISIONS, precision, "train.precision")

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Sums]:
        def loss_of(params):
            # Forward pass, in the precision of the network.
            variables = {"params": _cast(params, dtype), **state.collections}
            of_step = jax.random.fold_in(key, state.step)
            rngs = {explicit.DROPOUT_STREAM: of_step}
            if streams:
                of_device = jax.random.fold_in(of_step, jax.lax.axis_index(axis_name))
                rngs |= {name: randomness.fold_in_name(of_device, name) for name in streams}
            images = view(state.step, batch)
            if mixing:
                settings, mixing_key = mixing
                share = settings.draw_share(jax.random.fold_in(mixing_key, state.step))
                partner_images, partners = settings.take_partners((images, (batch.labels, batch.true_labels)))
                images = mixup.mix(images, partner_images, share)
            mutable = [*state.collections, "auxiliary_logits"]
            outputs: Any = model.apply(variables, _cast(images, dtype), train=True, rngs=rngs, mutable=mutable)
            logits, changed = _cast(outputs, jnp.float32)

            def measure(labels: jax.Array, true_labels: jax.Array) -> tuple[jax.Array, list[jax.Array], Sums]:
                """Returns the mean loss of the logits, those of auxiliary ones, and the sums of the metrics."""
                examples = metrics.Examples(logits, labels, true_labels, loss)
                heads = jax.tree.leaves(changed.get("auxiliary_logits", {}))
                auxiliary = [jnp.mean(loss(head, labels)) for head in heads]
                return jnp.mean(examples.losses), auxiliary, metrics.sum_batch(examples)

            # Metrics, and the loss whose gradient is taken.
            measured = measure(batch.labels, batch.true_labels)
            if mixing:
                measured = mixup.mix(measured, measure(*partners), share)
            total, auxiliary, sums = measured
            total += penalty(params)
            for auxiliary_loss in auxiliary:
                total += auxiliary_weight * auxiliary_loss
            return total, (sums, logits, {name: changed[name] for name in state.collections})

        grads, (sums, logits, collections) = jax.grad(loss_of, has_aux=True)(state.params)
        collections = jax.tree.map(lambda now, before: now.astype(before.dtype), collections, state.collections)
        # What single devices have computed is made one, so that the state is the same everywhere.
        if jax.lax.axis_size(axis_name) > 1:
            grads, collections = _merge_devices((grads, collections), axis_name)
        # The update, the same on every device.
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        presented = state.presentations
        if presented is not None:
            examples = metrics.Examples(logits, batch.labels, batch.true_labels)
            presented = presentations.update(presented, batch.ids, examples, axis_name)
        state = TrainState(state.step + 1, params, collections, opt_state, presented)
        return state, jax.lax.psum(sums, axis_name)

    return _compute_in(train_step, precision, matmul_precision)


def make_evaluation_step(
    model: nn.Module,
    view: Callable[[Batch], jax.Array],
    loss: Loss,
    *,
    precision: str,
    matmul_precision: str,
    axis_name: str,
) -> Callable[[TrainState, Batch, jax.Array], Evaluation]:
    """Returns (state, batch, weights float32 [batch]) -> sums over the global batch, and this device's examples.

    Padding has weight 0. What a model changes in its collections in evaluation is dropped.

    Args:
      view: batch -> the model's input, float32 [batch, height, width, channels].
      loss: as of `make_train_step`.
      precision, matmul_precision: as of `make_train_step`.
    """

    compute_logits = make_prediction(model, view, precision=precision, matmul_precision=matmul_precision)

    def evaluation_step(state: TrainState, batch: Batch, weights: jax.Array) -> Evaluation:
        examples = metrics.Examples(compute_logits(state, batch), batch.labels, batch.true_labels, loss)
        sums = jax.lax.psum(metrics.sum_weighted(examples, weights), axis_name)
        kept = (_to_float16(values) for values in (examples.cross_entropies, examples.margins, examples.errors))
        return Evaluation(sums, PerExample(batch.ids, weights, examples.predicted, *kept))

    return _compute_in(evaluation_step, precision, matmul_precision)


def make_prediction(
    model: nn.Module, view: Callable[[Batch], jax.Array], *, precision: str, matmul_precision: str
) -> Callable[[TrainState, Batch], jax.Array]:
    """Returns (state, batch) -> the logits of evaluation, float32 [batch, classes]; arguments: `make_evaluation_step`.

    Of the state only parameters and collections are read.
    """
    dtype = pick(PRECISIONS, precision, "train.precision")

    def compute_logits(state: TrainState, batch: Batch) -> jax.Array:
        variables = {"params": _cast(state.params, dtype), **state.collections}
        images = _cast(view(batch), dtype)
        logits, _ = model.apply(variables, images, train=False, mutable=list(state.collections))
        return _cast(logits, jnp.float32)

    return _compute_in(compute_logits, precision, matmul_precision)


def resolve_matmul_precision(matmul_precision: str, precision: str) -> str:
    """Returns the precision of matrix products that `train.matmul_precision` names; "auto" follows `precision`."""
    return _AUTO[precision] if matmul_precision == "auto" else matmul_precision


def _compute_in(function: Callable, precision: str, matmul_precision: str) -> Callable:
    """Returns a step with the precision of its products, and with sums of bfloat16 numbers added up in float32."""
    summed = function if precision == "float32" else add_in_float32(function)

    def computed(*arguments: Any) -> Any:
        with jax.default_matmul_precision(matmul_precision):  # it holds where the step is traced
            return summed(*arguments)

    return computed


def _to_float16(values: jax.Array) -> jax.Array:
    """Returns values as float16; what is beyond its range becomes its end."""
    largest = jnp.finfo(jnp.float16).max
    return jnp.clip(values, -largest, largest).astype(jnp.float16)


def _cast(tree: Any, dtype: Any) -> Any:
    """Returns a tree whose floating-point arrays are of a dtype."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)


def _merge_devices(tree: Any, axis_name: str) -> Any:
    """Returns a tree of which each device has its own, as one: the means of floats, of others the largest."""
    leaves, structure = jax.tree.flatten(tree)
    is_float = [jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves]
    means = iter(jax.lax.pmean([leaf for leaf, floats in zip(leaves, is_float, strict=True) if floats], axis_name))
    largest = iter(jax.lax.pmax([leaf for leaf, floats in zip(leaves, is_float, strict=True) if not floats], axis_name))
    return jax.tree.unflatten(structure, [next(means if floats else largest) for floats in is_float])


def is_finite(state: TrainState) -> jax.Array:
    """Returns whether every floating-point number of a state is finite, bool scalar; but what a user's module keeps."""
    kept = (state.params, state.collections.get("batch_stats", {}), state.opt_state)
    leaves = [leaf for leaf in jax.tree.leaves(kept) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


def make_train_call(train_step: Callable, batch_of: Callable[[Any, Any], Batch]) -> Callable:
    """Returns (state, data, items) -> (state, sums [steps]): one step for each of items' leading axis, in one dispatch.

    A single step is called without a loop: XLA on CPU runs convolutions in loops many times slower.

    Args:
      train_step: from `make_train_step`.
      batch_of: (data, item) -> Batch; how the feed makes a batch on the device.
    """

    def train_call(state: TrainState, data: Any, items: Any) -> tuple[TrainState, Sums]:
        def make_step(state, item):
            # Whichever feed made the batch, the step behind the barrier is the same program and gives the same bits.
            return train_step(state, jax.lax.optimization_barrier(batch_of(data, item)))

        if len(jax.tree.leaves(items)[0]) > 1:
            return jax.lax.scan(make_step, state, items)
        state, sums = make_step(state, jax.tree.map(lambda leaf: leaf[0], items))
        return state, jax.tree.map(lambda leaf: leaf[None], sums)

    return train_call


def make_evaluation_call(evaluation_step: Callable, batch_of: Callable[[Any, Any], Batch]) -> Callable:
    """Returns (state, data, item, weights) -> the evaluation of one batch."""

    def evaluation_call(state: TrainState, data: Any, item: Any, weights: jax.Array) -> Evaluation:
        return evaluation_step(state, jax.lax.optimization_barrier(batch_of(data, item)), weights)

    return evaluation_call
