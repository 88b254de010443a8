"""Corollary 1: makes the network of theorem 1 deep and narrow, with about as many weights.

Nothing is solved: the units of a given network are spread over layers. Everything is NumPy float64.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import scipy.sparse

from rethink.schema.errors import UserError
from rethink.theory.inputs import check_array, check_range
from rethink.theory.theorem1.certificates import Fit, measure_fit
from rethink.theory.theorem1.expressivity import ROWS, TwoLayerNetwork, check_sample, project_points


class Layer(NamedTuple):
    """An affine map: matrix float64 [outputs, inputs], of which stored entries exist, and bias float64 [outputs]."""

    matrix: scipy.sparse.csr_array
    bias: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class DeepNetwork:
    """A ReLU network of depth k, the number of its affine maps: k - 1 hidden layers and a linear output.

    The units of the first hidden layer share one projection, max(<a, x> - b_j, 0), as in theorem 1.

    Attributes:
      projection: a, float64 [d].
      thresholds: b of the first hidden layer, float64 [width].
      layers: those that follow; ReLU after each but the last.
      output_shape: of the values of one point: () or (k,).
    """

    projection: np.ndarray
    thresholds: np.ndarray
    layers: tuple[Layer, ...]
    output_shape: tuple[int, ...]

    @property
    def depth(self) -> int:
        """Affine maps, the output included; theorem 1's network has 2."""
        return 1 + len(self.layers)

    @property
    def width(self) -> int:
        """Units of the widest hidden layer."""
        return max(len(self.thresholds), *(layer.matrix.shape[1] for layer in self.layers))

    @property
    def weight_count(self) -> int:
        """Weights that exist and biases that are not zero, the shared projection counted once."""
        maps = sum(layer.matrix.nnz + np.count_nonzero(layer.bias) for layer in self.layers)
        return int(self.projection.size + self.thresholds.size + maps)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Returns the values, float64 [m] or [m, outputs], of points [m, d], layer by layer.

        Raises:
          UserError: points of another dimension or shape, or not finite.
        """
        positions, blocks = project_points(check_array("points", points, "[n, d]"), self.projection), []
        for start in range(0, len(positions), ROWS):
            values = positions[start : start + ROWS] - self.thresholds[:, None]  # [units, rows of the block]
            for layer in self.layers:
                values = layer.matrix @ np.maximum(values, 0) + layer.bias[:, None]
            blocks.append(values.T)
        return np.concatenate(blocks).reshape(len(positions), *self.output_shape)


class DepthCertificate(NamedTuple):
    """How well a deep network does what it was built for: the fit by a forward pass, and its size."""

    fit: Fit
    depth: int
    width: int
    weight_count: int


def deepen_network(network: TwoLayerNetwork, depth: int) -> DeepNetwork:
    """Returns a network of this depth that is the same function.

    Splits the units, in the order of their thresholds, into depth - 1 blocks, one for each hidden layer. The sum of a
    block is made constant where the next block begins, by one more unit, so that what is accumulated stays bounded. A
    hidden layer holds its block's units, the position p = max(<a, x> - b_1, 0) that the next layers need, and what the
    blocks before have summed up, shifted so that no ReLU cuts it. With n units and k = depth, for scalar values:
    width at most ceil(n / (k - 1)) + 3, and at most 3n + d + 6k weights.

    Raises:
      UserError: depth is not in 2..n + 1.

    Source: the paper, corollary 1 (of theorem 1, section 4).
    """
    count = len(network.thresholds)
    check_range("depth", depth, 2, count + 1, f" for {count} units")
    blocks = _split_units(network, depth - 1)
    # The first hidden layer, which sees the projection itself.
    start = network.thresholds[0]
    first = blocks[0].thresholds if depth == 2 else np.append(blocks[0].thresholds, start)
    shift = _find_shift(network) if depth > 2 else np.zeros(blocks[0].weights.shape[1])
    # Between hidden layers: units [the block, the position if it is still needed] from the position; then the sums.
    layers = []
    for index, (before, block) in enumerate(zip(blocks[:-1], blocks[1:], strict=True)):
        units, passes_on = len(block.thresholds), int(block is not blocks[-1])
        sums = _sum_up(before, has_position=True, has_sums=index > 0)
        spread = [None, np.ones((units + passes_on, 1))] + [None] * (index > 0)
        matrix = scipy.sparse.block_array([spread, sums], format="csr")
        bias = np.concatenate([start - block.thresholds, np.zeros(passes_on), shift if index == 0 else 0 * shift])
        layers.append(Layer(matrix, bias))
    # The linear output takes the shift back.
    sums = _sum_up(blocks[-1], has_position=False, has_sums=depth > 2)
    layers.append(Layer(scipy.sparse.block_array([sums], format="csr"), -shift))
    return DeepNetwork(network.projection, first, tuple(layers), network.weights.shape[1:])


def certify_depth(network: DeepNetwork, points: np.ndarray, targets: np.ndarray) -> DepthCertificate:
    """Returns how well the network fits points [n, d] and targets [n] or [n, outputs], by a forward pass of each.

    Raises:
      UserError: points and targets that do not fit each other or the network.
    """
    points, targets = check_sample(points, targets, ("[n]", "[n, k]")[len(network.output_shape)])
    values = network(points)
    if values.shape != targets.shape:
        raise UserError(f"targets are of shape {list(targets.shape)}: give {list(values.shape)}, as the network does.")
    return DepthCertificate(measure_fit(values, targets), network.depth, network.width, network.weight_count)


class _Block(NamedTuple):
    """Units of one hidden layer that sum to 0 left of the first threshold: thresholds [m], weights [m, outputs]."""

    thresholds: np.ndarray
    weights: np.ndarray


def _split_units(network: TwoLayerNetwork, count: int) -> list[_Block]:
    """Returns the units in `count` blocks, each but the last with one more unit that makes its sum constant."""
    weights = network.weights.reshape(len(network.thresholds), -1)
    slope = np.zeros(weights.shape[1])  # at which the block before was stopped, and this one starts
    blocks: list[_Block] = []
    for units in np.array_split(np.arange(len(weights)), count):
        thresholds, outgoing = network.thresholds[units], weights[units]
        outgoing[0] += slope
        if len(blocks) < count - 1:
            slope = outgoing.sum(axis=0)
            thresholds = np.append(thresholds, network.thresholds[units[-1] + 1])
            outgoing = np.vstack([outgoing, -slope])
        blocks.append(_Block(thresholds, outgoing))
    return blocks


def _sum_up(block: _Block, *, has_position: bool, has_sums: bool) -> list:
    """Returns, as blocks of a matrix, what adds a hidden layer's block to the sums that the layer holds."""
    keep = [scipy.sparse.eye_array(block.weights.shape[1])]
    return [scipy.sparse.csr_array(block.weights.T)] + [None] * has_position + keep * has_sums


def _find_shift(network: TwoLayerNetwork) -> np.ndarray:
    """Returns, for each output, what keeps the network above 0 up to its last threshold, float64 [outputs].

    It is piecewise linear, so the least of its values at the thresholds is the least of all. The same again on top
    leaves room for roundoff.
    """
    weights = network.weights.reshape(len(network.thresholds), -1)
    rise = np.cumsum(weights, axis=0)[:-1] * np.diff(network.thresholds)[:, None]
    values = np.vstack([np.zeros(weights.shape[1]), np.cumsum(rise, axis=0)])
    return values.max(axis=0) - 2 * values.min(axis=0)
