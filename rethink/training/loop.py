"""The training loop: what happens at which step of a run, as a generator of events.

Nothing is computed on devices or written here: the compiled functions are arguments, and the events are acted on by the
caller.
"""

import base64
import dataclasses
import functools
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import numpy as np

from rethink.regularization import early_stopping
from rethink.regularization.early_stopping import EarlyStopping
from rethink.training import metrics
from rethink.training.state import TrainState
from rethink.training.step import Evaluation, PerExample

DIVERGED = "diverged"
THRESHOLDS = (0.9, 0.95, 0.99, 0.999, 1.0)  # train accuracies whose first step is recorded

Sums = dict[str, np.ndarray]


def to_steps(epochs: float, steps_per_epoch: int) -> int:
    """Returns a duration in steps, at least 1."""
    return max(1, round(epochs * steps_per_epoch))


def crossed_multiple(every: int, before: int, now: int) -> bool:
    """Returns whether a multiple of `every` lies in (before, now]."""
    return now // every > before // every


@dataclasses.dataclass(frozen=True)
class Plan:
    """When things happen, in steps.

    Attributes:
      splits: those that are evaluated: "train", "test", and "validation" where examples are held out.
      stop_accuracy: the train accuracy to end at; 0 means: run the full schedule.
      has_gap: whether train and test images are of one distribution, so that accuracies have a generalization gap.
    """

    total_steps: int
    steps_per_epoch: int
    steps_per_call: int
    evaluate_every: int
    checkpoint_every: int
    log_every: int
    splits: tuple[str, ...]
    stop_accuracy: float
    has_gap: bool
    early_stopping: EarlyStopping


@dataclasses.dataclass
class History:
    """What the loop remembers between steps; JSON values only, saved with each checkpoint.

    Attributes:
      step: updates made.
      window: sums since the last training row.
      evaluation: the last evaluation row, None before the first.
      best: the evaluation row that early stopping found best, None where early stopping is off.
      predicted: what `predicted_classes` reads, as text: a list would be copied number by number at each checkpoint.
      monitored: the accuracies that early stopping goes by, of all evaluations but that of the start.
      steps_to_train_accuracy: threshold -> first evaluated step that reached it, None where none has.
    """

    step: int = 0
    window: dict[str, float] = dataclasses.field(default_factory=metrics.empty_window)
    evaluation: dict[str, Any] | None = None
    best: dict[str, Any] | None = None
    predicted: str = ""
    monitored: list[float] = dataclasses.field(default_factory=list)
    steps_to_train_accuracy: dict[str, int | None] = dataclasses.field(
        default_factory=lambda: {str(threshold): None for threshold in THRESHOLDS}
    )

    @property
    def is_evaluated(self) -> bool:
        """Whether the last evaluation was made at this step."""
        return self.evaluation is not None and self.evaluation["step"] == self.step

    @property
    def predicted_classes(self) -> np.ndarray:
        """What the run's result so far predicts on the test set, by ascending id: int32 [examples].

        Which evaluation that is: `select_result`. Empty before the first one.
        """
        return np.frombuffer(base64.b64decode(self.predicted), "<i4")

    @predicted_classes.setter
    def predicted_classes(self, classes: np.ndarray) -> None:
        self.predicted = base64.b64encode(classes.astype("<i4").tobytes()).decode()


@dataclasses.dataclass(frozen=True)
class Event:
    """What happened at `step`.

    Attributes:
      kind: "advance" (steps were dispatched), "train" or "evaluation" (`row` is due in the metrics), "checkpoint"
        (`state` is due to be saved), "end" (`state` is the last one, but of a run that diverged).
      row: of an end by divergence, the `step` after which the loss is not finite, and the `learning_rate` of it.
      examples: of an evaluation, split -> what it saw of each example, where that is kept.
      status: of an end: "fitted", "stopped early", "done", "diverged" or "interrupted".
    """

    kind: str
    step: int
    row: dict[str, Any] = dataclasses.field(default_factory=dict)
    state: TrainState | None = None
    status: str = ""
    examples: Mapping[str, PerExample] = dataclasses.field(default_factory=dict)


def train(
    plan: Plan,
    state: TrainState,
    history: History,
    *,
    train_call: Callable[[TrainState, int, int], tuple[TrainState, Any]],
    evaluate: Callable[[TrainState, str], Evaluation | None],
    fetch: Callable[[Any], Sums],
    learning_rate: Callable[[int], float],
    is_finite: Callable[[TrainState], bool],
    should_stop: Callable[[bool], bool],
) -> Iterator[Event]:
    """Trains from `history.step` on and yields what happens; `history` is kept up to date in place.

    Args:
      state: donated to the first call; the state to keep is the one of the "checkpoint" events, until the next event.
      train_call: (state, first step, steps) -> (state, sums with an axis of steps, still on the devices).
      evaluate: (state, split) -> sums over the split, of the test set the examples too; None where the run was
        interrupted meanwhile.
      fetch: brings a call's sums to the host, each [steps].
      learning_rate: step -> the rate of that update.
      is_finite: whether all of a state is; one that is not is never saved.
      should_stop: whether all processes are about to fetch sums, as they do at the same steps -> whether to end here.
    """
    evaluate_run = functools.partial(_evaluate, plan, history, evaluate, learning_rate)
    pending: list[Any] = []  # sums of calls that were dispatched and not fetched yet

    # At the start, or where the run was interrupted before an evaluation.
    is_missing = _evaluation_due(plan, history.step) and not history.is_evaluated
    status = (yield from evaluate_run(state)) if is_missing else ""
    status = status or _end_status(plan, history)
    while not status:
        # One call, dispatched and not waited for.
        before = history.step
        steps = next_call(plan, before)
        state, sums = train_call(state, before, steps)
        pending.append(sums)
        history.step = step = before + steps
        yield Event("advance", step)

        # What is due at this step. Sums are fetched only then: it waits for the devices.
        evaluation_due = _evaluation_due(plan, step)
        checkpoint_due = crossed_multiple(plan.checkpoint_every, before, step)
        log_due = crossed_multiple(plan.log_every, before, step) or evaluation_due
        status = "interrupted" if should_stop(log_due or checkpoint_due) else ""
        if log_due or checkpoint_due or status:
            bad_step = _add_to_window(history, [fetch(sums) for sums in pending])
            pending.clear()
            if bad_step is not None:
                yield _diverged(history, bad_step, learning_rate)
                return
        if log_due:
            yield Event("train", step, row=_make_train_row(plan, history, learning_rate))
        if evaluation_due and not status:
            status = yield from evaluate_run(state)
        status = status or _end_status(plan, history)
        if status == DIVERGED:
            return

        # The end is always saved, and so is the best evaluation so far.
        if checkpoint_due or status or (evaluation_due and history.best is history.evaluation):
            if not is_finite(state):
                yield _diverged(history, step, learning_rate)
                return
            yield Event("checkpoint", step, state=state)
    if status != DIVERGED:
        yield Event("end", history.step, state=state, status=status)


def next_call(plan: Plan, step: int) -> int:
    """Returns how many steps the call from `step` makes: up to the next point of the fixed grid.

    The grid is the multiples of `steps_per_call` counted from each evaluation, the evaluations, and the end.
    """
    evaluated = step // plan.evaluate_every * plan.evaluate_every
    call_end = evaluated + ((step - evaluated) // plan.steps_per_call + 1) * plan.steps_per_call
    return min(call_end, evaluated + plan.evaluate_every, plan.total_steps) - step


def make_evaluation_row(plan: Plan, step: int, sums: Mapping[str, Sums]) -> dict[str, Any]:
    """Returns the metrics of an evaluation; accuracies are fractions, None where there are no such examples.

    Args:
      sums: split -> sums over it, of each of the plan's splits.
    """
    row: dict[str, Any] = {"kind": "evaluation", "step": step, "epoch": step / plan.steps_per_epoch}
    row |= metrics.mean_metrics("train", sums["train"])
    row |= metrics.mean_metrics("test", sums["test"])
    if plan.has_gap:
        row["generalization_gap"] = row["train_accuracy"] - row["test_accuracy"]
    if "validation" in sums:
        row |= metrics.mean_metrics("validation", sums["validation"])
    return row


def select_result(plan: Plan, history: History) -> dict[str, Any] | None:
    """Returns the evaluation row that is a run's result so far: the last, or of a run that restores its best that one.

    None before the first evaluation.
    """
    return (history.best if plan.early_stopping.restore_best else None) or history.evaluation


def _evaluate(
    plan: Plan,
    history: History,
    evaluate: Callable[[TrainState, str], Evaluation | None],
    learning_rate: Callable[[int], float],
    state: TrainState,
) -> Generator[Event, None, str]:
    """Yields the event of an evaluation, and takes it into the history; returns how it ended the run, "" if it didn't.

    It ends the run where that was interrupted meanwhile, and where the last update made a loss that is not finite: no
    training step has computed that loss yet.
    """
    evaluations: dict[str, Evaluation] = {}
    for split in plan.splits:
        evaluation = evaluate(state, split)
        if evaluation is None:
            return "interrupted"
        evaluations[split] = evaluation
    row = make_evaluation_row(plan, history.step, {split: sums for split, (sums, _) in evaluations.items()})
    if not all(np.isfinite(row[f"{split}_loss"]) for split in plan.splits):
        yield _diverged(history, history.step, learning_rate)
        return DIVERGED
    # The history: the newest evaluation, the best one, and when each train accuracy was first reached.
    history.evaluation = row
    _monitor(plan.early_stopping, history, row)
    if select_result(plan, history) is row:
        examples = evaluations["test"].examples
        assert examples is not None
        history.predicted_classes = examples.predicted
    for threshold, reached in history.steps_to_train_accuracy.items():
        if reached is None and row["train_accuracy"] >= float(threshold):
            history.steps_to_train_accuracy[threshold] = history.step
    seen = {split: examples for split, (_, examples) in evaluations.items() if examples is not None}
    yield Event("evaluation", history.step, row=row, examples=seen)
    return ""


def _monitor(stopping: EarlyStopping, history: History, row: dict[str, Any]) -> None:
    """Takes an evaluation into what early stopping remembers, and the best so far into the row."""
    accuracy = stopping.monitored_accuracy(row)
    if accuracy is None or not history.step:  # the start is no result
        return
    history.monitored.append(accuracy)
    best = early_stopping.find_best_so_far(history.monitored, stopping.min_delta)[-1]
    if best == len(history.monitored) - 1:
        history.best = row
    assert history.best is not None
    row[f"{stopping.monitor}_best_accuracy"] = history.monitored[best]
    row[f"{stopping.monitor}_best_step"] = history.best["step"]


def _diverged(history: History, step: int, learning_rate: Callable[[int], float]) -> Event:
    """Returns the end of a run whose loss is not finite after `step` updates."""
    row = {"step": step, "learning_rate": float(learning_rate(max(step - 1, 0)))}
    return Event("end", history.step, row=row, status=DIVERGED)


def _make_train_row(plan: Plan, history: History, learning_rate: Callable[[int], float]) -> dict[str, Any]:
    """Returns the means over the window and empties it; the learning rate is the last update's."""
    row = {
        "kind": "train",
        "step": history.step,
        "epoch": history.step / plan.steps_per_epoch,
        **metrics.mean_metrics(metrics.WINDOW, history.window),
        "learning_rate": float(learning_rate(history.step - 1)),
    }
    history.window = metrics.empty_window()
    return row


def _add_to_window(history: History, calls: list[Sums]) -> int | None:
    """Adds the sums of calls to the window; returns the first step after which the loss is not finite, if there is one.

    Step by step in order, so that it makes no difference where a checkpoint divided the window.
    """
    sums = {name: np.concatenate([call[name] for call in calls]).astype(np.float64) for name in history.window}
    for name, values in sums.items():
        history.window[name] = float(np.cumsum(np.concatenate([[history.window[name]], values]))[-1])
    bad = np.flatnonzero(~np.isfinite(sums["loss"]))
    return history.step - len(sums["loss"]) + int(bad[0]) if len(bad) else None


def _evaluation_due(plan: Plan, step: int) -> bool:
    return step % plan.evaluate_every == 0 or step == plan.total_steps


def _end_status(plan: Plan, history: History) -> str:
    """Returns how the run has ended, "" where it continues. Only an evaluation at this very step can stop it."""
    if history.evaluation and history.is_evaluated:
        if plan.stop_accuracy and history.evaluation["train_accuracy"] >= plan.stop_accuracy:
            return "fitted"
        if plan.early_stopping.patience_ran_out(history.monitored):
            return "stopped early"
    return "done" if history.step >= plan.total_steps else ""
