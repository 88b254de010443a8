"""Scores of examples from the history of a run: how hard an example was to learn, or how likely its label is wrong.

A new score is a new row of `SCORES`: tables, files and the detection of wrong labels then have it. Imports no JAX.
"""

import collections
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from rethink.results.example_history import ExampleHistory
from rethink.results.presentations import Presentations
from rethink.schema.errors import pick

FIRST_COUNTED_STEP = 1  # an evaluation before it is of a network that has learned nothing, and is left out


class Score(NamedTuple):
    """A score of examples.

    Attributes:
      compute: ExampleHistory -> the score at each evaluation, float64 [evaluations, examples], which reads no later
        one; NaN where there is nothing to read yet. Of other tables: -> float64 [examples].
      suspicious: "high" or "low", the end at which examples are hard, or have a wrong label.
      formula: in one line; z logits, p probabilities, y the given label, t evaluations (or presentations).
      source: the paper.
    """

    compute: Callable[[Any], np.ndarray]
    suspicious: str
    formula: str
    source: str


def _counts(history: ExampleHistory) -> np.ndarray:
    """Returns which evaluations count, bool [evaluations, 1]."""
    return (history.steps >= FIRST_COUNTED_STEP)[:, None]


def _numbers(history: ExampleHistory) -> np.ndarray:
    """Returns how many evaluations count up to each, itself included: int [evaluations, 1]."""
    return np.cumsum(_counts(history), axis=0)


def _sum(history: ExampleHistory, values: np.ndarray) -> np.ndarray:
    """Returns the sums of values [evaluations, examples] over the evaluations that count up to each; NaN over none."""
    sums = np.cumsum(np.where(_counts(history), values, 0), axis=0, dtype=np.float64)
    return np.where(_numbers(history), sums, np.nan)


def _mean(history: ExampleHistory, values: np.ndarray) -> np.ndarray:
    return _sum(history, values) / np.maximum(_numbers(history), 1)


def _first_learned(history: ExampleHistory) -> np.ndarray:
    numbers = np.where(history.correct & _counts(history), _numbers(history), np.inf)
    return np.minimum.accumulate(numbers, axis=0)


def _last_learned(history: ExampleHistory) -> np.ndarray:
    last_wrong = np.maximum.accumulate(np.where(history.correct, 0, _numbers(history)), axis=0)
    return np.where(history.correct & _counts(history), last_wrong + 1, np.inf)


def _forgetting_events(history: ExampleHistory) -> np.ndarray:
    correct = history.correct & _counts(history)
    forgotten = np.zeros(correct.shape)
    forgotten[1:] = correct[:-1] & ~correct[1:]
    return np.where(np.logical_or.accumulate(correct, axis=0), np.cumsum(forgotten, axis=0), np.inf)


def _aum(history: ExampleHistory) -> np.ndarray:
    return _mean(history, history.margin)


def _mean_probability(history: ExampleHistory) -> np.ndarray:
    return _mean(history, history.probability)


def _std_probability(history: ExampleHistory) -> np.ndarray:
    centred = history.probability.astype(np.float64) - 0.5  # so that squares of numbers near 1 lose no digits
    return np.sqrt(np.maximum(_mean(history, centred**2) - _mean(history, centred) ** 2, 0))


def _correctness(history: ExampleHistory) -> np.ndarray:
    return _mean(history, history.correct)


def _cumulative_loss(history: ExampleHistory) -> np.ndarray:
    return _sum(history, history.loss)


def _last_loss(history: ExampleHistory) -> np.ndarray:
    return history.loss.astype(np.float64)


def _last_margin(history: ExampleHistory) -> np.ndarray:
    return history.margin.astype(np.float64)


def _el2n(history: ExampleHistory) -> np.ndarray:
    return history.error.astype(np.float64)


_CARTOGRAPHY = "Swayamdipta et al. 2020"
SCORES: dict[str, Score] = {
    "first_learned": Score(
        _first_learned, "high", "the first evaluation that is correct; infinity without one", "Toneva et al. 2019"
    ),
    "last_learned": Score(
        _last_learned,
        "high",
        "the evaluation from which on all are correct; infinity where the last is not",
        "Baldock et al. 2021",
    ),
    "forgetting_events": Score(
        _forgetting_events,
        "high",
        "evaluations that are wrong directly after a correct one; infinity where none is correct",
        "Toneva et al. 2019",
    ),
    "aum": Score(_aum, "low", "mean over t of z_y - max over k != y of z_k", "Pleiss et al. 2020"),
    "mean_probability": Score(_mean_probability, "low", "mean over t of p_y", _CARTOGRAPHY),
    "std_probability": Score(
        _std_probability,
        "low",
        "standard deviation over t of p_y (1/n); high for wrong labels that are fitted in the end",
        _CARTOGRAPHY,
    ),
    "correctness": Score(_correctness, "low", "share of the evaluations that are correct", _CARTOGRAPHY),
    "cumulative_loss": Score(_cumulative_loss, "high", "sum over t of -log p_y", "Huang et al. 2019"),
    "last_loss": Score(_last_loss, "high", "-log p_y at the evaluation", "Arpit et al. 2017"),
    "last_margin": Score(_last_margin, "low", "z_y - max over k != y of z_k at the evaluation", "Pleiss et al. 2020"),
    "el2n": Score(_el2n, "high", "Euclidean norm of p - e_y at the evaluation", "Paul et al. 2021"),
}


def _per_presentation(name: str) -> Callable[[Presentations], np.ndarray]:
    """Returns what gives the mean over presentations of a sum of them, NaN over none."""

    def compute(seen: Presentations) -> np.ndarray:
        counts = np.where(seen.count, seen.count, np.nan)
        return np.asarray(getattr(seen, name), np.float64) / counts

    return compute


def _std_of_presentations(seen: Presentations) -> np.ndarray:
    mean, square = (_per_presentation(name)(seen) for name in ("probability_sum", "probability_square_sum"))
    return np.sqrt(np.maximum(square - mean**2, 0))


def _first_correct(seen: Presentations) -> np.ndarray:
    return np.where(seen.first_correct < 0, np.inf, seen.first_correct + 1)


def _forgetting_of_presentations(seen: Presentations) -> np.ndarray:
    return np.where(seen.first_correct < 0, np.inf, seen.forgetting_events)


# Of the presentations of an example in training, as the network met it there: `Presentations`.
PRESENTATION_SCORES: dict[str, Score] = {
    "training_first_learned": Score(
        _first_correct, "high", "the first presentation that is correct; infinity without one", "Toneva et al. 2019"
    ),
    "training_forgetting_events": Score(
        _forgetting_of_presentations,
        "high",
        "presentations that are wrong directly after a correct one; infinity where none is correct",
        "Toneva et al. 2019",
    ),
    "training_aum": Score(
        _per_presentation("margin_sum"), "low", "mean over t of z_y - max over k != y of z_k", "Pleiss et al. 2020"
    ),
    "training_mean_probability": Score(_per_presentation("probability_sum"), "low", "mean over t of p_y", _CARTOGRAPHY),
    "training_std_probability": Score(
        _std_of_presentations,
        "low",
        "standard deviation over t of p_y (1/n); high for wrong labels that are fitted in the end",
        _CARTOGRAPHY,
    ),
    "training_correctness": Score(
        _per_presentation("correct"), "low", "share of the presentations that are correct", _CARTOGRAPHY
    ),
}


def _mean_el2n(histories: Sequence[ExampleHistory]) -> np.ndarray:
    return np.mean([_el2n(history)[-1] for history in histories], axis=0)


def _disagreement(histories: Sequence[ExampleHistory]) -> np.ndarray:
    pairs = itertools.combinations([history.predicted[-1] for history in histories], 2)
    return np.mean([first != second for first, second in pairs], axis=0)


# Of several runs of the same examples and labels, each at its last evaluation: `several_runs.compute_run_scores`.
RUN_SCORES: dict[str, Score] = {
    "mean_el2n": Score(_mean_el2n, "high", "mean over runs of el2n", "Paul et al. 2021"),
    "disagreement": Score(
        _disagreement, "high", "share of the pairs of runs that predict different classes", "Jiang et al. 2022"
    ),
}


def _self_influence(gradients: Any) -> np.ndarray:
    return np.sum(gradients.learning_rates[:, None] * gradients.norms.astype(np.float64) ** 2, axis=0)


# Of the gradients of examples at checkpoints of a run: `Gradients`.
GRADIENT_SCORES: dict[str, Score] = {
    "self_influence": Score(
        _self_influence,
        "high",
        "sum over checkpoints of the learning rate times the squared norm of the loss's gradient",
        "Pruthi et al. 2020",
    ),
}
_TABLES = (SCORES, PRESENTATION_SCORES, RUN_SCORES, GRADIENT_SCORES)


def find_score(name: str) -> Score:
    """Returns the row of a score, of any of the tables.

    Raises:
      UserError: there is none.
    """
    return pick(collections.ChainMap(*_TABLES), name, "score")


def score_evaluations(history: ExampleHistory) -> Iterator[tuple[str, np.ndarray]]:
    """Yields name, float64 [evaluations, examples]: each score at each evaluation, from those up to it."""
    for name, score in SCORES.items():
        yield name, score.compute(history)


def compute_scores(history: ExampleHistory, last: int | None = None) -> dict[str, np.ndarray]:
    """Returns name -> float64 [examples]: the scores at an evaluation, from those up to it.

    Args:
      last: place of the evaluation in `history.steps`, from 0; None for the last.
    """
    cut = history if last is None else take_evaluations(history, last)
    return {name: values[-1] for name, values in score_evaluations(cut)}


def take_evaluations(history: ExampleHistory, last: int) -> ExampleHistory:
    """Returns a history up to an evaluation; `last` as of `compute_scores`."""
    rows = {name: getattr(history, name)[: last + 1] for name in ("steps", "loss", "margin", "error", "predicted")}
    return history._replace(**rows)


def orient(name: str, values: np.ndarray) -> np.ndarray:
    """Returns the values of a score, of any of the tables, so that a larger one is more suspicious."""
    return values if find_score(name).suspicious == "high" else -values


def suspicion(name: str, values: np.ndarray) -> np.ndarray:
    """Returns the places of values in order, int64 of their shape: from 0, the least suspicious; equal ones have one.

    An infinity lies beyond every number. NaN, of which nothing is known, is the least suspicious.

    Args:
      name: of the score, in any of the tables.
    """
    values = np.asarray(values, np.float64)
    larger = orient(name, values)
    ordered = np.where(np.isnan(larger), -np.inf, larger)
    return np.unique(ordered, return_inverse=True)[1].reshape(values.shape)
