"""Capacity: evaluates the bounds for a trained network, beside the gap that was measured (paper, section 2.2).

The formulas stand in bounds.py; what they are given is checked here. A bound of 1 or more is vacuous: no gap between
errors is larger.
"""

import math
from typing import NamedTuple

import numpy as np

from rethink.schema.errors import UserError
from rethink.theory.capacity import bounds, weight_matrices

VC = "VC dimension"
MEASURED = "Rademacher complexity, as measured"
FROBENIUS = "Frobenius norms"
PATH = "path norm"
GOLOWICH = "Frobenius norms, no 2^L"
SPECTRAL = "spectral complexity"
DISTANCE = "spectral complexity, from the initial weights"

SOURCES = {
    VC: "Bartlett, Harvey, Liaw & Mehrabian (2019), theorem 7",
    MEASURED: "Bartlett & Mendelson (2002)",
    FROBENIUS: "Neyshabur, Tomioka & Srebro (2015), corollary 2",
    PATH: "Neyshabur, Tomioka & Srebro (2015), corollary 2",
    GOLOWICH: "Golowich, Rakhlin & Shamir (2018), theorem 1",
    SPECTRAL: "Bartlett, Foster & Telgarsky (2017), theorem 1.1",
    DISTANCE: "Bartlett, Foster & Telgarsky (2017), theorem 1.1",
}


class Measures(NamedTuple):
    """What was measured of a trained network.

    Attributes:
      examples: n, of the train set.
      input_norm, input_entry: the largest l2 norm and the largest absolute value of an image that was trained on.
      margin: of the bounds with one; margin_error: the fraction of the train set with at most this margin.
      train_error, test_error: fractions, with the labels as given in training.
    """

    examples: int
    input_norm: float
    input_entry: float
    margin: float
    margin_error: float
    train_error: float
    test_error: float


class BoundValue(NamedTuple):
    """A bound beside the measured gap: value bounds test error - train error; vacuous says that it is at least 1."""

    name: str
    source: str
    value: float
    vacuous: bool
    gap: float


def measure_margins(logits: np.ndarray, labels: np.ndarray, *, quantile: float) -> tuple[float, float]:
    """Returns (margin at this quantile, fraction of examples with at most that margin), for `Measures`.

    The margin of an example is the logit of its label minus the largest other one, negative where it is misclassified.

    Args:
      logits: [n, classes], classes >= 2; labels: int [n], as given in training; quantile: in 0..1.

    Raises:
      UserError: other shapes, labels or quantile, or logits that are not finite.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.ndim != 2 or logits.shape[1] < 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise UserError(f"Logits {logits.shape}, labels {labels.shape}: give [n, classes >= 2] and [n].")
    possible = (labels >= 0) & (labels < logits.shape[1])
    if not np.isfinite(logits).all() or not 0 <= quantile <= 1 or not possible.all():
        raise UserError(f"quantile={quantile}: give 0..1, finite logits and labels in 0..{logits.shape[1] - 1}.")
    rows = np.arange(len(labels))
    others = logits.copy()
    others[rows, labels] = -np.inf
    margins = logits[rows, labels] - others.max(axis=1)
    margin = float(np.quantile(margins, quantile, method="inverted_cdf"))
    return margin, float(np.mean(margins <= margin))


def evaluate_bounds(
    network: weight_matrices.WeightMatrices,
    measures: Measures,
    *,
    delta: float,
    initial: weight_matrices.WeightMatrices | None = None,
    rademacher: float | None = None,
) -> list[BoundValue]:
    """Returns every bound on test error - train error, each with probability 1 - delta, beside that gap as measured.

    Biases are folded into the weights (`weight_matrices.fold_biases`), and the input norms changed accordingly.

    Args:
      delta: in (0, 1).
      initial: the network before training, for another row: the spectral bound by the distance from there.
      rademacher: the complexity of the network's +-1 classifiers (`rademacher.measure_rademacher`), for another row: it
        stands for that of its errors, which are as rich.

    Raises:
      UserError: delta, the number of examples or a measure out of its range, or `initial` of another shape.
    """
    _check_measures(measures, delta)
    if initial is not None and initial.sizes != network.sizes:
        raise UserError(f"initial has sizes {initial.sizes}, the network {network.sizes}: give the same network's.")
    # A bias is the weight of an input of 1.
    is_folded = network.has_biases or (initial is not None and initial.has_biases)
    weights = weight_matrices.fold_biases(network, always=is_folded)
    norm, entry = measures.input_norm, measures.input_entry
    if is_folded:
        norm, entry = math.hypot(norm, 1), max(entry, 1.0)
    n, outputs = measures.examples, network.sizes[-1]
    # Bounds on the gap itself.
    values = {VC: bounds.vc_bound(bounds.vc_dimension(network.sizes, biases=is_folded), n, delta)}
    if rademacher is not None:
        values[MEASURED] = bounds.rademacher_bound(rademacher, n, delta)
    # Bounds on test error - train error with a margin, whose train error is larger.
    beyond = measures.margin_error - measures.train_error
    for name, complexity in (
        (FROBENIUS, bounds.frobenius_complexity(weights, norm, n)),
        (PATH, bounds.path_complexity(weights, entry, n)),
        (GOLOWICH, bounds.golowich_complexity(weights, norm, n)),
    ):
        bound = bounds.margin_bound(complexity, margin=measures.margin, outputs=outputs, examples=n, delta=delta)
        values[name] = beyond + bound
    spectral = {SPECTRAL: bounds.spectral_complexity(weights)}
    if initial is not None:
        spectral[DISTANCE] = bounds.spectral_complexity(weights, weight_matrices.fold_biases(initial, always=is_folded))
    width = max(max(matrix.shape) for matrix in weights)
    for name, complexity in spectral.items():
        values[name] = beyond + bounds.spectral_bound(
            complexity, width=width, input_norm=norm, margin=measures.margin, examples=n, delta=delta
        )
    gap = measures.test_error - measures.train_error
    return [BoundValue(name, SOURCES[name], value, not value < 1, gap) for name, value in values.items()]


def _check_measures(measures: Measures, delta: float) -> None:
    if not all(np.isfinite(measures)) or min(measures.input_norm, measures.input_entry) < 0:
        raise UserError(f"{measures}: the measures of a trained network are finite, and norms not negative.")
    if measures.examples < 2:
        raise UserError(f"examples={measures.examples}: a bound with a factor ln(n) takes at least 2.")
    if not 0 < delta < 1:
        raise UserError(f"delta={delta}: give the probability that the bound may fail with, in (0, 1).")
