"""Compares what corruption did to a split with what was declared.

The chances are exact, so that a difference by chance is never taken for an error.
"""

from typing import Any, NamedTuple

import scipy.special

from rethink.data.corruption.labels import LABEL_NOISE
from rethink.data.corruption.spec import CorruptionSpec
from rethink.schema.errors import UserError

CHANCE = 1e-12  # of a rate that is as far off or farther, below which it is no chance
RESOLUTION = 2**-23  # of the uniform float32 number that is compared with a probability


class Counts(NamedTuple):
    """How many examples of a split there are, and of how many labels were resampled, labels and images changed."""

    examples: int
    resampled: int
    changed_labels: int
    changed_images: int


def compare_rates(spec: CorruptionSpec, counts: Counts, split: str) -> dict[str, Any]:
    """Returns declared and realized rates, fractions of a split's examples, for the manifest; {} where all are clean.

    Raises:
      UserError: pixels are corrupted, and no training image has changed.
      RuntimeError: no chance makes the realized rates of labels from the declared ones.
    """
    rates: dict[str, Any] = {}
    if spec.labels != "none":
        changed = spec.label_probability * LABEL_NOISE[spec.labels].changed(spec.num_classes)
        declared = {
            "labels_resampled": (spec.label_probability, counts.resampled),
            "labels_changed": (changed, counts.changed_labels),
        }
        for name, (rate, count) in declared.items():
            if _tail(count, counts.examples, rate) < CHANCE:
                raise RuntimeError(
                    f"{name} of {split}: {count:,} of {counts.examples:,}, and the declared rate is {rate:g}: "
                    f"the label noise '{spec.labels}' does not do what it declares."
                )
            rates[name] = {"declared": rate, "realized": count / counts.examples}
    if spec.pixels != "none":
        if split == "train" and not counts.changed_images:
            raise UserError(
                f"corruption.pixels='{spec.pixels}' leaves all {counts.examples:,} training images as they are, as it "
                "does where each has a single colour: set --config.corruption.pixels=none, or choose other data."
            )
        rates["images_changed"] = {"declared": 1.0, "realized": counts.changed_images / counts.examples}
    return rates


def _tail(count: int, examples: int, rate: float) -> float:
    """Returns the chance of so few or so many of the examples at this rate, whichever is smaller."""
    fewer = scipy.special.bdtr(count, examples, rate)
    more = scipy.special.bdtrc(count - 1, examples, min(1.0, rate + RESOLUTION)) if count else 1.0
    return min(fewer, more)
