"""Compares what corruption did to a split with what was declared.

The chances are exact binomial tails, or, where chances differ between examples, above the exact ones: a difference by
chance is never taken for an error.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.special

from rethink.data.corruption.label_file import FileTable, check_clean_labels, count_pairs
from rethink.data.corruption.labels import LABEL_NOISE
from rethink.data.corruption.spec import CorruptionSpec
from rethink.schema.errors import UserError

CHANCE = 1e-12  # of a rate that is as far off or farther, below which it is no chance
RESOLUTION = 2**-23  # of the uniform float32 number that is compared with a probability
MOST_LISTED = 20  # classes whose matrix is listed in the manifest
MOST_COMPARED = 1000  # classes whose matrix is compared cell by cell, which takes a second


def compare_rates(
    spec: CorruptionSpec, labels: Mapping[str, np.ndarray], changed_images: int, split: str
) -> dict[str, Any]:
    """Returns declared and realized rates, fractions of a split's examples, for the manifest; {} where all are clean.

    Of labels there is also `label_counts`, up to `MOST_LISTED` classes: how often each label, a column, was given to
    each true one, a row.

    Args:
      labels: `ids`, `true_labels`, `given_labels` and `resampled` of all examples.
      changed_images: how many images are others than the stored.

    Raises:
      UserError: pixels are corrupted, and no training image has changed; the labels of a file are of other examples.
      RuntimeError: no chance makes the realized rates of labels from the declared ones.
    """
    examples, rates = len(labels["ids"]), {}
    if spec.labels != "none":
        rates = _compare_labels(spec, labels, split)
    if spec.pixels != "none":
        if split == "train" and not changed_images:
            raise UserError(
                f"corruption.pixels='{spec.pixels}' leaves all {examples:,} training images as they are, as it "
                "does where each has a single colour: set --config.corruption.pixels=none, or choose other data."
            )
        rates["images_changed"] = {"declared": 1.0, "realized": changed_images / examples}
    return rates


def _compare_labels(spec: CorruptionSpec, labels: Mapping[str, np.ndarray], split: str) -> dict[str, Any]:
    ids, true, given = (labels[name] for name in ("ids", "true_labels", "given_labels"))
    if isinstance(spec.label_table, FileTable):
        check_clean_labels(spec.label_table, ids, true, f"corruption.labels='{spec.labels}'")
    counts = count_pairs(true, given, spec.num_classes)
    rate, matrix = declare_labels(spec, ids, true)
    of_class, examples = counts.sum(axis=1), len(ids)
    changed = round(float(of_class @ (1 - np.diag(matrix)) / examples), 12)
    realized = {
        "labels_resampled": (rate, int(labels["resampled"].sum())),
        "labels_changed": (changed, int(examples - np.trace(counts))),
    }
    rates: dict[str, Any] = {}
    for name, (declared, count) in realized.items():
        if _tail(count, examples, declared) < CHANCE:
            raise RuntimeError(
                f"{name} of {split}: {count:,} of {examples:,}, and the declared rate is {declared:g}: "
                f"the label noise '{spec.labels}' does not do what it declares."
            )
        rates[name] = {"declared": declared, "realized": count / examples}
    far = np.empty((0, 2), int)
    if spec.num_classes <= MOST_COMPARED:  # any of the cells may be the one that is far off by chance
        far = np.argwhere(_tail(counts, of_class[:, None], matrix) < CHANCE / counts.size)
    if len(far):
        row, column = far[0]
        raise RuntimeError(
            f"labels of {split}: {counts[row, column]:,} of the {of_class[row]:,} of class {row} are given as {column}"
            f", and the declared rate is {matrix[row, column]:g}: the label noise '{spec.labels}' does not do what it "
            "declares."
        )
    if spec.num_classes <= MOST_LISTED:
        rates["label_counts"] = counts.tolist()
    return rates


def declare_labels(spec: CorruptionSpec, ids: np.ndarray, true_labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Returns the part of the labels that is resampled, and P(given label | true label), in expectation.

    The matrix is float64 [classes, classes]; nan where a chance depends on more than the true label.
    """
    noise = LABEL_NOISE[spec.label_kind]
    rate = noise.mean_rate(spec.label_probability, spec.label_table)
    drawn = noise.transition(spec.num_classes, spec.label_table, ids, true_labels)
    return rate, (1 - rate) * np.eye(spec.num_classes) + rate * drawn


def _tail(count: Any, examples: Any, rate: Any) -> Any:
    """Returns the chance of so few or so many of the examples at this rate, whichever is smaller; nan of a nan."""
    # A rate of 0 or 1 is met exactly, others to the resolution of what is drawn.
    slack = np.where((np.asarray(rate) > 0) & (np.asarray(rate) < 1), RESOLUTION, 0.0)
    fewer = scipy.special.bdtr(count, examples, np.maximum(rate - slack, 0))
    more = np.where(count, scipy.special.bdtrc(np.maximum(count, 1) - 1, examples, np.minimum(rate + slack, 1)), 1.0)
    return np.minimum(fewer, more)
