"""The metrics of a run, one row each: what is summed over examples, on which splits, under which name and label.

A new metric is a new row of `METRICS`: the steps sum it, rows of metrics.jsonl record it, the closing table shows it.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rethink.training import losses
from rethink.training.losses import Loss

Sums = Mapping[str, Any]  # name of a sum -> number


class Examples:
    """One device's part of a batch, with what the network computed of it; what several metrics read is computed once.

    Attributes:
      logits: float32 [batch, classes].
      labels (as given), true_labels: int32 [batch].
      loss: that the network is trained on.
    """

    def __init__(self, logits: jax.Array, labels: jax.Array, true_labels: jax.Array, loss: Loss = losses.cross_entropy):
        self.logits, self.labels, self.true_labels, self.loss = logits, labels, true_labels, loss

    @functools.cached_property
    def losses(self) -> jax.Array:
        """The loss against the given labels, float32 [batch]."""
        return self.loss(self.logits, self.labels)

    @functools.cached_property
    def cross_entropies(self) -> jax.Array:
        """Cross-entropy against the given labels, whatever the loss: float32 [batch]."""
        return losses.cross_entropy(self.logits, self.labels)

    @functools.cached_property
    def margins(self) -> jax.Array:
        """The logit of the given label less the largest other one, float32 [batch]."""
        is_given = jnp.arange(self.logits.shape[-1], dtype=jnp.int32) == self.labels[:, None]
        of_label = jnp.sum(jnp.where(is_given, self.logits, 0), -1)
        return of_label - jnp.max(jnp.where(is_given, -jnp.inf, self.logits), -1)

    @functools.cached_property
    def errors(self) -> jax.Array:
        """The Euclidean norm of the probabilities less the one-hot given label, 0 to sqrt(2): float32 [batch]."""
        one_hot = jax.nn.one_hot(self.labels, self.logits.shape[-1])
        return jnp.linalg.norm(jax.nn.softmax(self.logits) - one_hot, axis=-1)

    @functools.cached_property
    def predicted(self) -> jax.Array:
        """The class of the largest logit, of equal ones the smallest class: int32 [batch]."""
        return jnp.argmax(self.logits, -1)

    @functools.cached_property
    def is_corrupted(self) -> jax.Array:
        """Whether the given label is another one than the true one, bool [batch]."""
        return self.labels != self.true_labels


# What a metric sums: Examples -> a number or a bool of each example, [batch]. The sum has the name of its function.
# None: it says nothing new of a run with this loss, and is left out of its rows.
PerExample = Callable[[Examples], jax.Array | None]


def loss(examples: Examples) -> jax.Array:
    """Returns the loss that is trained on, against the given labels."""
    return examples.losses


def cross_entropy(examples: Examples) -> jax.Array | None:
    """Returns the cross-entropy against the given labels, by which losses compare; None where it is the loss."""
    return None if examples.loss is losses.cross_entropy else examples.cross_entropies


def correct(examples: Examples) -> jax.Array:
    """Returns whether the given label is predicted."""
    return examples.predicted == examples.labels


def top5_correct(examples: Examples) -> jax.Array:
    """Returns whether fewer than 5 logits come before that of the given label.

    Larger ones come before it, and of equal ones those of smaller classes, as for the top 1.
    """
    labels = examples.labels[:, None]
    of_label = jnp.take_along_axis(examples.logits, labels, axis=-1)
    classes = jnp.arange(examples.logits.shape[-1], dtype=jnp.int32)
    before = (examples.logits > of_label) | ((examples.logits == of_label) & (classes < labels))
    return (jnp.sum(before, axis=-1) < 5) & jnp.isfinite(of_label[:, 0])


def clean_correct(examples: Examples) -> jax.Array:
    """Returns whether an example is clean, and its label is predicted."""
    return correct(examples) & ~examples.is_corrupted


def corrupted_given(examples: Examples) -> jax.Array:
    """Returns whether an example is corrupted, and its given label is predicted."""
    return correct(examples) & examples.is_corrupted


def corrupted_true(examples: Examples) -> jax.Array:
    """Returns whether an example is corrupted, and its true label is predicted."""
    return (examples.predicted == examples.true_labels) & examples.is_corrupted


# Which examples a metric is the mean over -> how many they are. A mean over none of them is None.
OVER: dict[str, Callable[[Sums], Any]] = {
    "all": lambda sums: sums["count"],
    "clean": lambda sums: sums["count"] - sums["corrupted_count"],
    "corrupted": lambda sums: sums["corrupted_count"],
    "all, if some are corrupted": lambda sums: sums["count"] if sums["corrupted_count"] else 0,
}
WINDOW = "window"  # not a split: the batches of training since the last training row, as the network met them
PREFIXES = {WINDOW: "", "train": "train_", "test": "test_", "validation": "validation_"}


class Metric(NamedTuple):
    """A metric: the mean of a value over examples.

    Attributes:
      name: in a row, behind the prefix of the split: "accuracy" is recorded as `train_accuracy` and `test_accuracy`.
      numerator: functions whose sums are added.
      over: key of `OVER`: the examples to divide by; in a window "all".
      labels: split -> label in the closing table, which shows fractions in percent; "" where it shows the metric in
        another way or not at all. On other splits the metric is not taken.
    """

    name: str
    numerator: tuple[PerExample, ...]
    over: str
    labels: Mapping[str, str]


METRICS: tuple[Metric, ...] = (
    Metric("loss", (loss,), "all", {WINDOW: "", "train": "", "test": "", "validation": ""}),
    Metric("cross_entropy", (cross_entropy,), "all", {"train": "", "test": "", "validation": ""}),
    Metric(
        "accuracy",
        (correct,),
        "all",
        {
            WINDOW: "",
            "train": "train accuracy, given labels",
            "test": "",  # shown beside the level of chance
            "validation": "held-out accuracy, given labels",
        },
    ),
    Metric("top5_accuracy", (top5_correct,), "all", {"train": "", "test": ""}),
    Metric("accuracy_clean", (clean_correct,), "clean", {"train": "  examples with true labels"}),
    Metric("accuracy_corrupted_given", (corrupted_given,), "corrupted", {"train": "  corrupted labels, as given"}),
    Metric("accuracy_corrupted_true", (corrupted_true,), "corrupted", {"train": "  corrupted labels, true ones"}),
    Metric("accuracy_true", (clean_correct, corrupted_true), "all, if some are corrupted", {"test": ""}),
    Metric("accuracy_true", (clean_correct, corrupted_true), "all", {"validation": "held-out accuracy, true labels"}),
)


def sum_batch(examples: Examples) -> dict[str, jax.Array]:
    """Returns the sums of one device's part of a batch of training, float32 scalars: those of the window's metrics."""
    sums = {name: jnp.sum(values.astype(jnp.float32)) for name, values in _compute([WINDOW], examples)}
    return {**sums, "count": jnp.float32(len(examples.labels))}


def sum_weighted(examples: Examples, weights: jax.Array) -> dict[str, jax.Array]:
    """Returns the sums of one device's part of a batch of evaluation, float32 scalars: those of all splits' metrics.

    Args:
      weights: float32 [batch], 1 for an example and 0 for padding.
    """
    splits = [split for split in PREFIXES if split != WINDOW]
    sums = {name: jnp.sum(weights * values) for name, values in _compute(splits, examples)}
    return {**sums, "count": jnp.sum(weights), "corrupted_count": jnp.sum(weights * examples.is_corrupted)}


def empty_window() -> dict[str, float]:
    """Returns the sums of a window before its first step."""
    return dict.fromkeys([*_summed([WINDOW]), "count"], 0.0)


def mean_metrics(split: str, sums: Sums) -> dict[str, float | None]:
    """Returns name in a row -> the mean over a split or a window; None over no examples.

    Args:
      sums: of the whole split, as of `sum_weighted`; of a window as of `sum_batch`.
    """
    means: dict[str, float | None] = {}
    for metric in METRICS:
        if split in metric.labels and all(function.__name__ in sums for function in metric.numerator):
            total = sum(sums[function.__name__] for function in metric.numerator)
            count = OVER[metric.over](sums)
            means[PREFIXES[split] + metric.name] = float(total) / float(count) if count else None
    return means


def closing_labels() -> dict[str, str]:
    """Returns label in the closing table -> name in an evaluation row, split by split."""
    return {
        metric.labels[split]: prefix + metric.name
        for split, prefix in PREFIXES.items()
        for metric in METRICS
        if metric.labels.get(split)
    }


def _summed(splits: list[str]) -> dict[str, PerExample]:
    """Returns name of a sum -> function, each once, of the metrics that are taken on any of these splits."""
    metrics = (metric for metric in METRICS if any(split in metric.labels for split in splits))
    return {function.__name__: function for metric in metrics for function in metric.numerator}


def _compute(splits: list[str], examples: Examples) -> Iterator[tuple[str, jax.Array]]:
    """Yields (name of a sum, values [batch]) of the metrics that are taken on any of these splits."""
    for name, function in _summed(splits).items():
        if (values := function(examples)) is not None:
            yield name, values
