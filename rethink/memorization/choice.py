"""Which score, read at which evaluation, finds wrong labels best: chosen by a few that are known to be wrong.

The others judge the choice, as nobody knows them where labels are not made wrong on purpose. Imports no JAX.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

REPETITIONS = 20  # draws of the known part


class Placement(NamedTuple):
    """Where wrong labels stand in the orders of suspicion of several readings: a score at an evaluation each.

    Attributes:
      below: how many examples are less suspicious than each wrong one, float32 [readings, wrong]; equal ones, itself
        included, count half.
      below_right: how many of the examples whose label is right, alike.
      examples: how many there are.
    """

    below: np.ndarray
    below_right: np.ndarray
    examples: int

    def choose(self, planted: np.ndarray) -> int:
        """Returns the reading with the largest AUROC of the planted labels against all others, the first of equals.

        Of the other labels nothing is read.

        Args:
          planted: which of the wrong ones are known, bool [wrong].
        """
        count = np.count_nonzero(planted)
        pairs = self.below[:, planted].sum(axis=1, dtype=np.float64) - count**2 / 2
        return int(np.argmax(pairs / (count * (self.examples - count))))

    def judge(self, planted: np.ndarray) -> np.ndarray:
        """Returns the AUROC of each reading, float64 [readings]: of wrong labels that are not known, and right ones."""
        num_right = self.examples - self.below.shape[1]
        return self.below_right[:, ~planted].mean(axis=1, dtype=np.float64) / num_right


class Judged(NamedTuple):
    """What a choice is worth: the reading, its AUROC, and that of the best one, of the labels that are not known."""

    reading: int
    auroc: float
    best: float


def place(orders: Sequence[np.ndarray], wrong: np.ndarray) -> Placement:
    """Returns where the wrong labels stand.

    Args:
      orders: of each reading, places as of `dynamics.suspicion`, int [examples].
      wrong: which labels are, bool [examples]: some, and not all.
    """
    everything = np.ones_like(wrong)
    below, below_right = (
        np.stack([_count_below(order, among)[wrong] for order in orders]) for among in (everything, ~wrong)
    )
    return Placement(below, below_right, len(wrong))


def _count_below(order: np.ndarray, among: np.ndarray) -> np.ndarray:
    counts = np.bincount(order[among], minlength=order.max() + 1)
    return (np.cumsum(counts) - counts / 2)[order].astype(np.float32)


def draw_planted(ids: np.ndarray, count: int, repetition: int) -> np.ndarray:
    """Returns which of some ids are drawn, bool [ids]: `count` of them, a function of (ids, repetition)."""
    keys = [hashlib.blake2b(f"{repetition}:{one}".encode(), digest_size=8).digest() for one in ids.tolist()]
    drawn = np.zeros(len(ids), bool)
    drawn[sorted(range(len(ids)), key=keys.__getitem__)[:count]] = True
    return drawn


def judge_choices(placement: Placement, ids: np.ndarray, share: float) -> list[Judged]:
    """Returns what the planted labels choose, for each of `REPETITIONS` draws of them.

    Args:
      ids: of the wrong labels, uint32 [wrong].
      share: of all examples, as many of the wrong ones are known; half of them at most.
    """
    count = max(1, min(round(share * placement.examples), len(ids) // 2))
    judged = []
    for repetition in range(REPETITIONS):
        planted = draw_planted(ids, count, repetition)
        reading, aurocs = placement.choose(planted), placement.judge(planted)
        judged.append(Judged(reading, float(aurocs[reading]), float(aurocs.max())))
    return judged
