"""Self-influence and gradient norms of a run's training examples, from its checkpoints and its data."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rethink.experiment.input_pipeline import InputPipeline
from rethink.experiment.setup import Given, open_dataset_once
from rethink.experiment.trained import Saved, Trained
from rethink.memorization.dynamics import GRADIENT_SCORES
from rethink.memorization.gradients import Gradients, chunk_size, make_norms
from rethink.schema.errors import UserError
from rethink.training import losses, step
from rethink.training.state import TrainState

if TYPE_CHECKING:
    import pandas


def make_gradient_table(
    config: ConfigDict, manifest: Mapping[str, Any], saved: Saved, given: Given
) -> "pandas.DataFrame":
    """Returns a row for each training example: id, given_label, self_influence, gradient_norm_STEP of each checkpoint.

    Args:
      manifest: of the run; saved: its checkpoints, all of which are read; given: as the run was trained with.

    Raises:
      UserError: as `measure_gradients`.
    """
    import pandas

    labels, gradients = measure_gradients(config, manifest, saved, given)
    scores = {name: score.compute(gradients) for name, score in GRADIENT_SCORES.items()}
    norms = {f"gradient_norm_{at}": row for at, row in zip(gradients.steps, gradients.norms, strict=True)}
    return pandas.DataFrame({"id": gradients.ids, "given_label": labels, **scores, **norms})


def measure_gradients(
    config: ConfigDict, manifest: Mapping[str, Any], saved: Saved, given: Given
) -> tuple[np.ndarray, Gradients]:
    """Returns the given labels, int32 [examples], and the gradients of the loss that was trained on, in float32.

    Raises:
      UserError: the data are streamed, or others than the run had; or as `Trained`.
    """
    # The run's examples, as it was trained on them.
    pipeline = InputPipeline(config, open_dataset_once(config, given.data))
    if pipeline.feed_kind != "resident":
        raise UserError(
            "Gradients of examples want data in memory, and these are streamed: train with --config.data.feed=resident."
        )
    train = pipeline.corrupt_splits()["train"]
    for name, value in pipeline.fingerprint_splits().items():
        if manifest["fingerprints"].get(name, value) != value:
            raise UserError(
                f"The fingerprint of {name.replace('_', ' ')} has changed, so the data are not those that the run was "
                "trained on: bring them back."
            )

    # The loss of one of them.
    trained = Trained(config, manifest, saved, given.network)
    matmul_precision = step.resolve_matmul_precision(config.train.matmul_precision, "float32")
    compute_logits = step.make_prediction(
        trained.network.model, pipeline.evaluation_view, precision="float32", matmul_precision=matmul_precision
    )
    loss, encoding = losses.loss_from_config(config.train), jnp.asarray(train.encoding)

    def loss_of_example(params: Any, example: Any, collections: Any) -> jax.Array:
        images, labels, true_labels, ids = (values[None] for values in example)
        batch = step.Batch(images, labels, true_labels, ids, encoding)
        state = TrainState(step=jnp.zeros((), jnp.int32), params=params, collections=collections, opt_state=())
        return loss(compute_logits(state, batch), labels)[0]

    # Its gradient at each checkpoint, in chunks.
    examples = (train.images, train.labels, train.true_labels, train.ids)
    compute_norms, size = make_norms(loss_of_example), chunk_size(trained.like.params)
    chunks = [slice(start, start + size) for start in range(0, len(train.ids), size)]
    steps = saved.steps()
    norms = np.empty((len(steps), len(train.ids)), np.float32)
    for row, at in zip(norms, steps, strict=True):
        state = saved.read(at, trained.like)
        for chunk in chunks:
            row[chunk] = compute_norms(state.params, tuple(values[chunk] for values in examples), state.collections)
    rates = np.array([float(trained.schedule(max(at - 1, 0))) for at in steps])
    return train.labels, Gradients(train.ids, np.array(steps), rates, norms)
