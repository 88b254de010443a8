"""Capacity: the weights of a fully connected ReLU network as matrices, as the bounds of section 2.2 take them.

Every other architecture is refused: for a convolution or a norm these theorems are not stated.
"""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rethink.schema.errors import UserError

ROUNDED = 0.01  # of the examples, and at least one, which a shorter precision may put into another class than float64


class WeightMatrices(NamedTuple):
    """f(x) = relu(... relu(x W_1 + b_1) ...) W_L + b_L: weights float64 [inputs, outputs], biases [outputs]."""

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """(inputs, hidden units of each layer, outputs)."""
        return (len(self.weights[0]), *(matrix.shape[1] for matrix in self.weights))

    @property
    def has_biases(self) -> bool:
        """Whether any bias is not 0."""
        return any(bias.any() for bias in self.biases)

    def compute_logits(self, rows: np.ndarray) -> np.ndarray:
        """Returns f, float64 [n, outputs], of rows [n, inputs]."""
        values = rows.astype(np.float64)
        for weights, biases in zip(self.weights[:-1], self.biases[:-1], strict=True):
            values = np.maximum(values @ weights + biases, 0)
        return values @ self.weights[-1] + self.biases[-1]


def read_params(params: Mapping[str, Any]) -> WeightMatrices:
    """Returns the network of the parameters of an MLP of models/mlp.py without batch norm.

    Args:
      params: {"Dense_0": {"kernel": [inputs, outputs], "bias": [outputs]}, "Dense_1": ...}, as in a train state.

    Raises:
      UserError: other layers, for which only a count of parameters applies; shapes that do not follow each other; or
        values that are not finite.
    """
    names = [f"Dense_{i}" for i in range(len(params))]
    others = sorted(set(params) - set(names))
    if others or not names or not all(set(params[name]) <= {"kernel", "bias"} for name in names):
        raise UserError(
            f"The bounds are for fully connected ReLU networks, this one has {', '.join(others) or 'no layers'}: "
            "take an mlp without batch norm; of others only the parameters can be counted."
        )
    weights = tuple(np.asarray(params[name]["kernel"], np.float64) for name in names)
    biases = tuple(
        np.asarray(params[name].get("bias", np.zeros(matrix.shape[-1])), np.float64)
        for name, matrix in zip(names, weights, strict=True)
    )
    return make_weight_matrices(weights, biases)


def make_weight_matrices(weights: tuple[np.ndarray, ...], biases: tuple[np.ndarray, ...]) -> WeightMatrices:
    """Returns the network of these matrices and vectors, checked.

    Raises:
      UserError: shapes that do not follow each other, or values that are not finite.
    """
    shapes = [matrix.shape for matrix in weights]
    are_layers = all(len(shape) == 2 and min(shape) for shape in shapes) and bool(shapes)
    are_layers = are_layers and all(before[1] == after[0] for before, after in itertools.pairwise(shapes))
    if not are_layers or [bias.shape for bias in biases] != [shape[1:] for shape in shapes]:
        raise UserError(
            f"Weights {shapes} with biases {[bias.shape for bias in biases]} are no network: give [inputs, outputs] "
            "and [outputs] for each layer, its inputs the outputs before."
        )
    if not all(np.isfinite(array).all() for array in (*weights, *biases)):
        raise UserError("The weights are not finite: the run diverged, and no bound applies to it.")
    return WeightMatrices(tuple(weights), tuple(biases))


def require_train_error(logits: np.ndarray, labels: np.ndarray, train_error: float) -> None:
    """Refuses matrices that are not those of the run: their logits err on another part of the train set.

    Args:
      logits: of `WeightMatrices.compute_logits`, [n, outputs]; labels: int [n]; train_error: by the run's evaluation.

    Raises:
      UserError: the errors differ by more than rounding explains, `ROUNDED`.
    """
    error = float((logits.argmax(axis=1) != labels).mean())
    if abs(error - train_error) * len(labels) > max(1.5, ROUNDED * len(labels)):
        raise UserError(
            f"The weights err on {error:.4f} of the train set and the run's evaluation on {train_error:.4f}: they are "
            "not those of its end. Start the analysis again in another --workdir."
        )


def fold_biases(network: WeightMatrices, *, always: bool) -> tuple[np.ndarray, ...]:
    """Returns weights that compute the same function of (x, 1) without biases, which the theorems do not have.

    Each hidden layer hands the 1 on to the next by a unit of its own. Where every bias is 0, the weights come back as
    they are, of x alone, unless `always`.
    """
    if not (network.has_biases or always):
        return network.weights
    folded = []
    # [W 0; b 1]: a column more that is 1 for the input 1 and 0 for the others. ReLU leaves it as it is.
    for matrix, bias in zip(network.weights[:-1], network.biases[:-1], strict=True):
        one = np.zeros((len(matrix) + 1, 1))
        one[-1] = 1
        folded.append(np.hstack([np.vstack([matrix, bias]), one]))
    return (*folded, np.vstack([network.weights[-1], network.biases[-1]]))
