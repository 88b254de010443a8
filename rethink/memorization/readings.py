"""How well every score, read at every evaluation, finds wrong labels whose truth is known. Imports no JAX."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from rethink.memorization import choice
from rethink.memorization.detection import Detection, measure_detection
from rethink.memorization.dynamics import FIRST_COUNTED_STEP, RUN_SCORES, SCORES, suspicion, take_evaluations
from rethink.memorization.several_runs import compute_run_scores
from rethink.results.example_history import ExampleHistory

PLANTED = 0.05  # of all labels: as many of the wrong ones are taken as known


class Chosen(NamedTuple):
    """What known wrong labels choose: score and evaluation, its AUROC of the others, and that of the best reading."""

    score: str
    evaluation: int
    auroc: float
    best: float


class Readings(NamedTuple):
    """What the scores of a history, or of the histories of several seeds, find.

    Attributes:
      steps: int64 [evaluations], without that of a network that has learned nothing.
      fitted: the share of the wrong labels that are predicted, float64 [evaluations].
      detections: score -> place of an evaluation in `steps` -> what it finds there.
      choices: of each draw of the known labels.
    """

    steps: np.ndarray
    fitted: np.ndarray
    detections: dict[str, dict[int, Detection]]
    choices: list[Chosen]


def find_wrong(history: ExampleHistory) -> np.ndarray:
    """Returns which given labels differ from the true ones, bool [examples]."""
    return history.given_labels != history.true_labels


def can_detect(history: ExampleHistory) -> bool:
    """Returns whether there is an evaluation to read, and at least two labels are wrong, and two are not."""
    wrong = np.count_nonzero(find_wrong(history))
    return bool(2 <= wrong <= len(history.ids) - 2 and np.any(history.steps >= FIRST_COUNTED_STEP))


def read_scores(histories: Sequence[ExampleHistory], last: Mapping[str, np.ndarray] = MappingProxyType({})) -> Readings:
    """Returns what the scores find; of several histories their means over these, and the scores of several runs.

    Args:
      histories: of one run, or of several of the same examples, labels and steps, for which `can_detect`.
      last: name of a further score -> its values at the last evaluation, [examples].
    """
    first = histories[0]
    counted = first.steps >= FIRST_COUNTED_STEP
    wrong, end = find_wrong(first), int(np.count_nonzero(counted)) - 1
    detections: dict[str, dict[int, Detection]] = {}
    orders: list[np.ndarray] = []
    places: list[tuple[str, int]] = []
    further = ((name, end, row[None]) for name, row in last.items())
    for name, first_place, values in (*((name, 0, rows[counted]) for name, rows in _score(histories)), *further):
        found = (measure_detection(name, row, wrong) for row in values)
        detections[name] = dict(enumerate(filter(None, found), start=first_place))
        orders += [suspicion(name, row).astype(np.int32) for row in values]
        places += [(name, place) for place in detections[name]]
    judged = choice.judge_choices(choice.place(orders, wrong), first.ids[wrong], PLANTED)
    fitted = np.mean([history.correct[counted][:, wrong].mean(axis=1) for history in histories], axis=0)
    choices = [Chosen(*places[one.reading], one.auroc, one.best) for one in judged]
    return Readings(first.steps[counted], fitted, detections, choices)


def _score(histories: Sequence[ExampleHistory]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields name, float64 [evaluations, examples] of each score."""
    for name, score in SCORES.items():
        yield name, np.mean([score.compute(history) for history in histories], axis=0)
    if len(histories) > 1:
        steps = range(len(histories[0].steps))
        rows = [compute_run_scores([take_evaluations(one, step) for one in histories]) for step in steps]
        for name in RUN_SCORES:
            yield name, np.stack([row[name] for row in rows])
