"""Capacity: the classical bounds on the generalization of a ReLU network, beside its measured gap (paper, section 2.2).

Nothing flatters the network: where a theorem needs norms that were fixed in advance, the trained ones are put in
without the price of a union bound. `find_vacuous_from` says from where on a bound is vacuous.

`evaluate_bounds` checks what the formulas below it are given. Throughout, weights are a sequence of float64
[inputs, outputs], f(x) = relu(... relu(x W_1) ...) W_L; n examples; a bound holds with probability 1 - delta.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rethink.schema.errors import UserError
from rethink.theory.capacity.weight_matrices import WeightMatrices, fold_biases

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
      test_examples: of the test set.
    """

    examples: int
    input_norm: float
    input_entry: float
    margin: float
    margin_error: float
    train_error: float
    test_error: float
    test_examples: int


class BoundValue(NamedTuple):
    """A bound beside the measured gap: value bounds test error - train error; vacuous as `find_vacuous_from` says."""

    name: str
    source: str
    value: float
    vacuous: bool
    gap: float


def find_vacuous_from(classes: int, test_examples: int) -> float:
    """Returns the value from which on a bound on test error - train error is vacuous: no better than guessing.

    Guessing errs on 1 - 1 / classes; three standard errors of an error on so many test examples are taken off, as a gap
    that was measured there stands for a bound too (`rademacher.bound_stability`).
    """
    guessing = 1 - 1 / classes
    return guessing - 3 * math.sqrt(guessing * (1 - guessing) / test_examples)


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
    network: WeightMatrices,
    measures: Measures,
    *,
    delta: float,
    initial: WeightMatrices | None = None,
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
    if not all(np.isfinite(measures)) or min(measures.input_norm, measures.input_entry) < 0:
        raise UserError(f"{measures}: the measures of a trained network are finite, and norms not negative.")
    if measures.examples < 2 or measures.test_examples < 1:
        raise UserError(
            f"examples={measures.examples}, test_examples={measures.test_examples}: a bound with a factor ln(n) takes "
            "at least 2, and its gap at least 1."
        )
    if not 0 < delta < 1:
        raise UserError(f"delta={delta}: give the probability that the bound may fail with, in (0, 1).")
    if initial is not None and initial.sizes != network.sizes:
        raise UserError(f"initial has sizes {initial.sizes}, the network {network.sizes}: give the same network's.")
    # A bias is the weight of an input of 1.
    is_folded = network.has_biases or (initial is not None and initial.has_biases)
    weights = fold_biases(network, always=is_folded)
    norm, entry = measures.input_norm, measures.input_entry
    if is_folded:
        norm, entry = math.hypot(norm, 1), max(entry, 1.0)
    n, margin, outputs = measures.examples, measures.margin, network.sizes[-1]
    # Bounds on the gap itself.
    values = {VC: vc_bound(vc_dimension(network.sizes, biases=is_folded), n, delta)}
    if rademacher is not None:
        values[MEASURED] = rademacher_bound(rademacher, n, delta)
    # Bounds on test error - train error with a margin, whose train error is larger.
    beyond = measures.margin_error - measures.train_error
    for name, complexity in (
        (FROBENIUS, frobenius_complexity(weights, norm, n)),
        (PATH, path_complexity(weights, entry, n)),
        (GOLOWICH, golowich_complexity(weights, norm, n)),
    ):
        values[name] = beyond + margin_bound(complexity, margin=margin, outputs=outputs, examples=n, delta=delta)
    spectral = {SPECTRAL: spectral_complexity(weights)}
    if initial is not None:
        spectral[DISTANCE] = spectral_complexity(weights, fold_biases(initial, always=is_folded))
    width = max(max(matrix.shape) for matrix in weights)
    for name, complexity in spectral.items():
        values[name] = beyond + spectral_bound(
            complexity, width=width, input_norm=norm, margin=margin, examples=n, delta=delta
        )
    gap = measures.test_error - measures.train_error
    vacuous_from = find_vacuous_from(max(outputs, 2), measures.test_examples)
    return [BoundValue(name, SOURCES[name], value, not value < vacuous_from, gap) for name, value in values.items()]


def vc_dimension(sizes: Sequence[int], *, biases: bool) -> float:
    """Returns a bound on the VC dimension of the errors 1[argmax f(x) != y] of a fully connected ReLU network.

    L + S log2(4 e R log2(2 e R)), S = sum_i W_i, R = sum_i i k_i: layer i has k_i units, and W_i counts the weights and
    biases in layers 1 to i. Of order W L log W. The output layer counts as its max(1, outputs - 1) comparisons
    f_y - f_j: the proof counts sign patterns of polynomials, and these are as many.

    Args:
      sizes: (inputs, hidden units of each layer, outputs), each at least 1; biases: whether there are any.

    Source: Bartlett, Harvey, Liaw & Mehrabian, "Nearly-tight VC-dimension and pseudodimension bounds for piecewise
      linear neural networks" (2019), theorem 7 with one breakpoint (p = 1) and degree d = 1.
    """
    units = [*sizes[1:-1], max(1, sizes[-1] - 1)]
    parameters = np.cumsum([(before + biases) * after for before, after in itertools.pairwise(sizes)])
    reach = max(sum(i * k for i, k in enumerate(units, start=1)), 3)  # the theorem asks for more than 2 units
    logarithm = math.log2(4 * math.e * reach * math.log2(2 * math.e * reach))
    return float(len(units) + parameters.sum() * logarithm)


def vc_bound(dimension: float, examples: int, delta: float) -> float:
    """Returns sqrt(2 ln G / n) + sqrt(ln(1 / delta) / 2n), G = (e n / D)^D, or 2^n where n <= D.

    Source: Vapnik & Chervonenkis (1971), in the form of Mohri, Rostamizadeh & Talwalkar (2018), corollaries 3.9, 3.18.
    """
    growth = examples * math.log(2)
    if examples > dimension:
        growth = min(growth, dimension * math.log(math.e * examples / dimension))
    return math.sqrt(2 * growth / examples) + math.sqrt(math.log(1 / delta) / (2 * examples))


def rademacher_bound(complexity: float, examples: int, delta: float) -> float:
    """Returns R + 3 sqrt(ln(2 / delta) / 2n), R the empirical Rademacher complexity of a class of +-1 classifiers.

    With an R that was bounded from below by training it is the least that this theorem can give.

    Source: Bartlett & Mendelson (2002); Mohri, Rostamizadeh & Talwalkar (2018), theorem 3.5.
    """
    return complexity + _confidence(examples, delta)


def frobenius_complexity(weights: Sequence[np.ndarray], input_norm: float, examples: int) -> float:
    """Returns 2^(L - 1) prod_j |W_j|_F input_norm / sqrt(n), bounding the empirical Rademacher complexity of an output.

    Of the last layer's columns the longest counts: an output has one.

    Source: Neyshabur, Tomioka & Srebro, "Norm-based capacity control in neural networks" (2015), corollary
      2 with p = q = 2.
    """
    return 2 ** (len(weights) - 1) * _multiply_norms(weights) * input_norm / math.sqrt(examples)


def path_complexity(weights: Sequence[np.ndarray], input_entry: float, examples: int) -> float:
    """Returns 2^(L - 1) path input_entry sqrt(2 ln(2 d) / n), bounding the complexity of an output on inputs [n, d].

    path is the largest over the outputs of the sum over all ways from an input of the product of |weights| on it.

    Source: Neyshabur, Tomioka & Srebro (2015), corollary 2 with p = 1, q = infinity: that norm is this one once the
      units are rescaled. The factor of the input layer is Massart's lemma on the 2 d signed coordinates.
    """
    paths = np.ones(len(weights[0]))
    for matrix in weights:
        paths = paths @ np.abs(matrix)  # of each unit, the sum over all ways to it
    layer = input_entry * math.sqrt(2 * math.log(2 * len(weights[0])) / examples)
    return 2 ** (len(weights) - 1) * float(paths.max()) * layer


def golowich_complexity(weights: Sequence[np.ndarray], input_norm: float, examples: int) -> float:
    """Returns prod_j |W_j|_F (sqrt(2 ln(2) L) + 1) input_norm / sqrt(n): as `frobenius_complexity`, with no 2^L.

    Source: Golowich, Rakhlin & Shamir, "Size-independent sample complexity of neural networks" (2018), theorem 1.
    """
    return _multiply_norms(weights) * (math.sqrt(2 * math.log(2) * len(weights)) + 1) * input_norm / math.sqrt(examples)


def margin_bound(complexity: float, *, margin: float, outputs: int, examples: int, delta: float) -> float:
    """Returns (4 k / margin) R + 3 sqrt(ln(2 / delta) / 2n), on test error - train margin error; 2 R for one output.

    Infinite where the margin is not positive. R bounds the empirical complexity of every one of the k outputs.

    Source: Koltchinskii & Panchenko (2002); Mohri, Rostamizadeh & Talwalkar (2018), theorems 5.8 and 9.2.
    """
    if margin <= 0:
        return math.inf
    factor = 2 if outputs == 1 else 4 * outputs
    return factor / margin * complexity + _confidence(examples, delta)


def spectral_complexity(weights: Sequence[np.ndarray], references: Sequence[np.ndarray] | None = None) -> float:
    """Returns prod_i s_i (sum_i (b_i / s_i)^(2/3))^(3/2), s_i the spectral norm of W_i, b_i a norm of W_i - M_i.

    b_i sums the l2 norms of its columns, one a unit of the layer; the references M_i are 0 where they are not given.

    Source: Bartlett, Foster & Telgarsky, "Spectrally-normalized margin bounds for neural networks" (2017), theorem 1.1.
    """
    spectral = np.asarray([np.linalg.norm(matrix, 2) for matrix in weights])
    if not spectral.all():
        return 0.0  # the network is constant
    changes = [m - r for m, r in zip(weights, references, strict=True)] if references is not None else weights
    groups = np.asarray([np.linalg.norm(change, axis=0).sum() for change in changes])
    return float(np.prod(spectral) * np.sum((groups / spectral) ** (2 / 3)) ** 1.5)


def spectral_bound(
    complexity: float, *, width: int, input_norm: float, margin: float, examples: int, delta: float
) -> float:
    """Returns 8 / n^1.5 + 72 ln(n) sqrt(ln(2 width^2)) c + 3 sqrt(ln(2 / delta) / 2n), on test - train margin error.

    c is input_norm * complexity / (margin sqrt(n)). Theorem 1.1 of the source hides its constants. These follow from
    its lemma 3.1, theorem 3.3 and lemma A.5 at alpha = 1 / n, the ramp loss of the margin being 2 / margin-Lipschitz.
    Infinite where the margin is not positive.

    Args:
      complexity: of `spectral_complexity`; width: the largest number of inputs or units of a layer; examples: n >= 2.

    Source: Bartlett, Foster & Telgarsky (2017).
    """
    if margin <= 0:
        return math.inf
    covering = input_norm * complexity * math.sqrt(math.log(2 * width**2)) / (margin * math.sqrt(examples))
    return 8 / examples**1.5 + 72 * math.log(examples) * covering + _confidence(examples, delta)


def _multiply_norms(weights: Sequence[np.ndarray]) -> float:
    """Returns the product of the Frobenius norms, of the last matrix the norm of its longest column."""
    hidden = math.prod(float(np.linalg.norm(matrix)) for matrix in weights[:-1])
    return hidden * float(np.linalg.norm(weights[-1], axis=0).max())


def _confidence(examples: int, delta: float) -> float:
    """Returns what an empirical complexity costs over an expected one, with the deviation of the train error."""
    return 3 * math.sqrt(math.log(2 / delta) / (2 * examples))
