"""The training loop with made-up compiled functions: what happens at which step, what is recorded, how a run ends."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rethink.regularization.early_stopping import EarlyStopping
from rethink.training import loop
from rethink.training.step import Evaluation, PerExample

OFF = EarlyStopping("none", "given", patience=0, min_delta=0.0, restore_best=True)
PLAN = loop.Plan(
    total_steps=20,
    steps_per_epoch=10,
    steps_per_call=1,
    evaluate_every=10,
    checkpoint_every=10,
    log_every=5,
    splits=("train", "test"),
    stop_accuracy=0.0,
    has_gap=True,
    early_stopping=OFF,
)
BATCH = 8.0


@st.composite
def plans(draw):
    def count(most):
        return draw(st.integers(1, most))

    return loop.Plan(
        total_steps=count(60),
        steps_per_epoch=count(15),
        steps_per_call=count(12),
        evaluate_every=count(25),
        checkpoint_every=count(25),
        log_every=count(25),
        splits=("train", "test"),
        stop_accuracy=0.0,
        has_gap=True,
        early_stopping=OFF,
    )


def rate(step):
    return 0.1 * 0.97**step


class FakeFns:
    """Stands in for the network: the state is the number of updates, and every figure is a function of it."""

    def __init__(self, *, accuracy=lambda step: 0.25, bad=(), bad_from=math.inf):
        self.accuracy, self.bad, self.bad_from = accuracy, dict(bad), bad_from
        self.fetched, self.calls = 0, []

    def loss(self, step):
        # Of very different sizes, so that their sum depends on the order of the additions.
        return self.bad.get(step, np.float32((2 + math.sin(1.7 * step)) * 10.0 ** (step * 7 % 17 - 8)))

    def train_call(self, state, first_step, steps):
        assert state == first_step
        self.calls.append((first_step, steps))
        made = range(first_step + 1, first_step + steps + 1)
        sums = {
            "loss": np.array([BATCH * self.loss(step) for step in made], np.float32),
            "correct": np.array([step % 7 for step in made], np.float32),
            "count": np.full(steps, BATCH, np.float32),
        }
        return state + steps, sums

    def evaluate(self, state, split):
        right = self.accuracy(state) if split == "train" else 0.125
        loss = math.nan if state >= self.bad_from else 1.5
        parts = {"clean_correct": 1.0, "corrupted_given": 1.0, "corrupted_true": 1.0, "corrupted_count": 2.0}
        sums = {"loss": 64 * loss, "correct": 64 * right, "top5_correct": 64 * right, "count": 64.0, **parts}
        predicted = np.full(64, state, np.int32)  # a class that names the step
        zeros = np.zeros(64, np.float16)
        examples = PerExample(np.arange(64, dtype=np.uint32), np.ones(64, np.float32), predicted, *3 * [zeros])
        return Evaluation(sums, examples if split == "test" else None)

    def fetch(self, sums):
        self.fetched += len(sums["loss"])
        return sums

    def events(self, plan, *, state=0, history=None, should_stop=lambda together: False, is_finite=lambda state: True):
        """Yields the events; the state is that of `history`."""
        return loop.train(
            plan,
            state,
            loop.History() if history is None else history,
            train_call=self.train_call,
            evaluate=self.evaluate,
            fetch=self.fetch,
            learning_rate=rate,
            is_finite=is_finite,
            should_stop=should_stop,
        )


def run(plan, **kwargs):
    return list(FakeFns(**kwargs).events(plan))


def rows(events):
    return [event.row for event in events if event.kind in ("train", "evaluation")]


def boundaries(plan, step=0):
    steps = []
    while step < plan.total_steps:
        step += loop.next_call(plan, step)
        steps.append(step)
    return steps


@given(plans())
@settings(max_examples=200, deadline=None)
def test_calls_are_whole_unless_an_evaluation_or_the_end_cuts_them(plan):
    grid = boundaries(plan)
    evaluations = set(range(plan.evaluate_every, plan.total_steps + 1, plan.evaluate_every))
    assert evaluations | {plan.total_steps} <= set(grid)
    for before, now in zip([0, *grid], grid, strict=False):
        assert 1 <= now - before <= plan.steps_per_call
        assert now - before == plan.steps_per_call or now in evaluations | {plan.total_steps}


@given(plans())
@settings(max_examples=200, deadline=None)
def test_the_grid_of_calls_is_the_same_from_each_of_its_steps(plan):
    grid = boundaries(plan)
    for step in grid:
        assert boundaries(plan, step) == [later for later in grid if later > step]


def test_a_run_that_is_extended_comes_back_to_the_grid_of_the_longer_one():
    plan = dataclasses.replace(PLAN, total_steps=40, evaluate_every=10, steps_per_call=4)
    assert boundaries(plan, 25) == [28, 30, 34, 38, 40]
    assert set(boundaries(plan, 25)) <= set(boundaries(plan))


def test_the_loop_makes_the_calls_of_the_grid():
    plan = dataclasses.replace(PLAN, total_steps=25, steps_per_call=4)
    fns = FakeFns()
    list(fns.events(plan))
    assert fns.calls == [(0, 4), (4, 4), (8, 2), (10, 4), (14, 4), (18, 2), (20, 4), (24, 1)]


def test_events_come_in_order():
    plan = dataclasses.replace(PLAN, total_steps=5, evaluate_every=2, checkpoint_every=4, log_every=3)
    assert [(event.kind, event.step) for event in run(plan)] == [
        ("evaluation", 0),
        ("advance", 1),
        ("advance", 2),
        ("train", 2),  # before each evaluation, so that no window reaches across one
        ("evaluation", 2),
        ("advance", 3),
        ("train", 3),
        ("advance", 4),
        ("train", 4),
        ("evaluation", 4),
        ("checkpoint", 4),
        ("advance", 5),
        ("train", 5),
        ("evaluation", 5),
        ("checkpoint", 5),  # the end is always saved
        ("end", 5),
    ]


def test_checkpoints_hold_the_state_of_their_step():
    plan = dataclasses.replace(PLAN, checkpoint_every=3, steps_per_call=4)
    saved = [(event.step, event.state) for event in run(plan) if event.kind == "checkpoint"]
    assert saved == [(4, 4), (8, 8), (10, 10), (14, 14), (18, 18), (20, 20)]


@given(plans())
@settings(max_examples=100, deadline=None)
def test_evaluations_are_at_the_start_at_the_cadence_and_at_the_end(plan):
    steps = [event.step for event in run(plan) if event.kind == "evaluation"]
    assert steps == sorted({*range(0, plan.total_steps + 1, plan.evaluate_every), plan.total_steps})


def test_nothing_is_fetched_before_a_row_is_due():
    fns = FakeFns()
    for event in fns.events(PLAN):
        if event.kind == "advance":
            assert fns.fetched == (event.step - 1) // PLAN.log_every * PLAN.log_every
    assert fns.fetched == PLAN.total_steps


def test_train_rows_are_means_over_their_window():
    fns = FakeFns()
    train_rows = [event.row for event in fns.events(PLAN) if event.kind == "train"]
    assert [row["step"] for row in train_rows] == [5, 10, 15, 20]
    for row in train_rows:
        window = range(row["step"] - 4, row["step"] + 1)
        assert row["epoch"] == row["step"] / 10
        assert row["loss"] == pytest.approx(np.mean([fns.loss(step) for step in window]), rel=1e-6)
        assert row["accuracy"] == sum(step % 7 for step in window) / (5 * BATCH)
        assert row["learning_rate"] == rate(row["step"] - 1)  # that of the last update


@given(plans())
@settings(max_examples=60, deadline=None)
def test_a_run_resumes_from_any_checkpoint_as_if_uninterrupted(plan):
    history, saved, events_before = loop.History(), [], []
    for event in FakeFns().events(plan, history=history):
        if event.kind == "checkpoint":
            saved.append((len(events_before), event.state, json.dumps(dataclasses.asdict(history))))
        else:
            events_before.append((event.kind, event.step, event.row, event.status))
    for before, state, text in saved:
        restored = loop.History(**json.loads(text))
        events = list(FakeFns().events(plan, state=state, history=restored))
        again = [(event.kind, event.step, event.row, event.status) for event in events if event.kind != "checkpoint"]
        assert again == events_before[before:]
        assert restored == history


@given(plans(), st.integers(1, 25))
@settings(max_examples=60, deadline=None)
def test_rows_do_not_depend_on_where_checkpoints_cut(plan, checkpoint_every):
    other = dataclasses.replace(plan, checkpoint_every=checkpoint_every)
    assert rows(run(plan)) == rows(run(other))


def test_a_run_stops_at_the_fit_and_saves_it():
    plan = dataclasses.replace(PLAN, total_steps=100, stop_accuracy=1.0, checkpoint_every=1000)
    events = run(plan, accuracy=lambda step: min(step / 30, 1))
    assert [(event.kind, event.step) for event in events[-3:]] == [("evaluation", 30), ("checkpoint", 30), ("end", 30)]
    assert events[-1].status == "fitted"


def test_a_run_without_a_stop_goes_through_its_schedule():
    events = run(PLAN, accuracy=lambda step: 1.0)
    assert (events[-1].step, events[-1].status) == (PLAN.total_steps, "done")


def test_a_run_that_fits_at_its_last_step_is_fitted():
    plan = dataclasses.replace(PLAN, stop_accuracy=1.0)
    assert run(plan, accuracy=lambda step: step / 20)[-1].status == "fitted"


def test_only_an_evaluation_at_its_own_step_stops_a_run():
    first = FakeFns(accuracy=lambda step: 0.8)
    history = loop.History()
    for event in first.events(PLAN, history=history):
        if event.kind == "advance" and event.step == 15:
            break
    plan = dataclasses.replace(PLAN, stop_accuracy=0.5)  # that the evaluation at 10 had reached
    events = list(first.events(plan, state=15, history=history))
    assert (events[-1].step, events[-1].status) == (20, "fitted")


def test_the_first_evaluated_step_at_each_accuracy_is_recorded():
    reached = {0: 0.1, 10: 0.93, 20: 0.91, 30: 0.96, 40: 0.9989}
    history = loop.History()
    plan = dataclasses.replace(PLAN, total_steps=40)
    list(FakeFns(accuracy=reached.get).events(plan, history=history))
    assert history.steps_to_train_accuracy == {"0.9": 10, "0.95": 30, "0.99": 40, "0.999": None, "1.0": None}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("steps_per_call", [1, 4])
def test_a_run_that_diverges_names_the_step_after_which_the_loss_is_bad_and_saves_nothing_later(value, steps_per_call):
    plan = dataclasses.replace(PLAN, checkpoint_every=2, log_every=9, steps_per_call=steps_per_call)
    events = run(plan, bad={7: value, 8: math.nan, 9: math.nan})
    assert events[-1].kind == "end" and events[-1].status == "diverged"
    assert events[-1].row == {"step": 6, "learning_rate": rate(5)}
    assert all(event.step < 7 for event in events if event.kind in ("checkpoint", "train", "evaluation"))


def test_a_bad_step_is_found_before_the_checkpoint_that_falls_on_it():
    plan = dataclasses.replace(PLAN, checkpoint_every=4, log_every=1000)
    events = run(plan, bad={8: math.nan})
    assert [(event.kind, event.step) for event in events[-2:]] == [("advance", 8), ("end", 8)]
    assert events[-1].row["step"] == 7
    assert [event.step for event in events if event.kind == "checkpoint"] == [4]


def test_a_last_update_that_ruins_the_parameters_is_no_success():
    events = run(PLAN, bad_from=20)  # the loss of every step is finite, the one after the last update is not
    assert events[-1].status == "diverged"
    assert events[-1].row == {"step": 20, "learning_rate": rate(19)}
    assert [event.step for event in events if event.kind == "checkpoint"] == [10]
    assert [event.step for event in events if event.kind == "evaluation"] == [0, 10]  # no row holds a NaN


def test_parameters_that_are_not_finite_are_not_saved_though_every_loss_was():
    plan = dataclasses.replace(PLAN, checkpoint_every=4)
    events = list(FakeFns().events(plan, is_finite=lambda state: state < 8))
    assert [event.step for event in events if event.kind == "checkpoint"] == [4]
    assert (events[-1].status, events[-1].row) == ("diverged", {"step": 8, "learning_rate": rate(7)})


@pytest.mark.parametrize("split", PLAN.splits)
def test_a_loss_that_is_not_finite_on_any_split_ends_the_run_and_stands_in_no_row(split):
    fns = FakeFns()
    plain = fns.evaluate
    bad = {"loss": math.inf}

    def evaluate(state, of):
        sums, examples = plain(state, of)
        return Evaluation(sums | (bad if (state, of) == (10, split) else {}), examples)

    fns.evaluate = evaluate
    events = list(fns.events(PLAN))
    assert (events[-1].status, events[-1].row["step"]) == ("diverged", 10)
    assert [event.step for event in events if event.kind == "evaluation"] == [0]
    json.dumps(rows(events), allow_nan=False)


def test_a_network_that_starts_with_an_infinite_loss_makes_no_step():
    events = run(PLAN, bad_from=0)
    assert [(event.kind, event.status, event.row["step"]) for event in events] == [("end", "diverged", 0)]


@given(plans(), st.data())
@settings(max_examples=100, deadline=None)
def test_a_run_that_is_interrupted_saves_at_the_end_of_the_call_and_resumes_from_there(plan, data):
    stop = data.draw(st.sampled_from(boundaries(plan)))
    fns, history = FakeFns(), loop.History()
    made = lambda together: fns.calls[-1][0] + fns.calls[-1][1]  # noqa: E731
    first = list(fns.events(plan, history=history, should_stop=lambda together: made(together) >= stop))
    assert (first[-1].status, first[-1].step) == ("interrupted", stop)
    assert first[-2].kind == "checkpoint" and first[-2].step == stop
    saved = loop.History(**json.loads(json.dumps(dataclasses.asdict(history))))
    first += FakeFns().events(plan, state=stop, history=saved)
    assert json.dumps(rows(first)) == json.dumps(rows(run(plan)))


@given(plans(), st.data())
@settings(max_examples=100, deadline=None)
def test_an_evaluation_that_was_interrupted_is_made_first_thing_on_resuming(plan, data):
    evaluations = [step for step in boundaries(plan) if step % plan.evaluate_every == 0 or step == plan.total_steps]
    broken = data.draw(st.sampled_from(evaluations))
    fns, history = FakeFns(), loop.History()
    plain = fns.evaluate
    fns.evaluate = lambda state, split: None if state == broken and split == "test" else plain(state, split)
    first = list(fns.events(plan, history=history))
    assert (first[-1].kind, first[-1].status, first[-1].step) == ("end", "interrupted", broken)
    assert first[-2].kind == "checkpoint" and first[-2].step == broken
    assert not any(event.kind == "evaluation" and event.step == broken for event in first)
    saved = loop.History(**json.loads(json.dumps(dataclasses.asdict(history))))
    first += FakeFns().events(plan, state=broken, history=saved)
    assert json.dumps(rows(first)) == json.dumps(rows(run(plan)))


def test_a_first_evaluation_that_was_interrupted_leaves_nothing():
    fns = FakeFns()
    fns.evaluate = lambda state, split: None
    assert [(event.kind, event.status) for event in fns.events(PLAN)] == [("end", "interrupted")]


def test_several_processes_can_agree_wherever_sums_are_fetched():
    calls = []
    list(FakeFns().events(PLAN, should_stop=lambda together: calls.append(together) or False))
    assert [step for step, together in enumerate(calls, start=1) if together] == [5, 10, 15, 20]


def watching(**changes):
    fields = {"patience": 0, "min_delta": 0.0, "restore_best": True, **changes}
    return dataclasses.replace(
        PLAN, total_steps=100, evaluate_every=10, early_stopping=EarlyStopping("oracle", "given", **fields)
    )


def oracle(accuracies):
    """Returns fns whose test accuracy at evaluation i is `accuracies[i]`; before the first step it is 1."""
    fns = FakeFns()
    plain = fns.evaluate

    def evaluate(state, split):
        sums, examples = plain(state, split)
        right = 1.0 if not state else accuracies[state // 10 - 1]
        return Evaluation({**sums, "correct": 64 * right} if split == "test" else sums, examples)

    fns.evaluate = evaluate
    return fns


def test_the_best_so_far_is_in_every_row_and_its_state_is_saved():
    accuracies = [0.2, 0.5, 0.4, 0.5, 0.6, 0.1, 0.1, 0.1, 0.1, 0.1]
    plan = dataclasses.replace(watching(), checkpoint_every=1000)
    history = loop.History()
    events = list(oracle(accuracies).events(plan, history=history))
    evaluations = [event.row for event in events if event.kind == "evaluation"][1:]  # the start is no candidate
    assert [row["oracle_best_accuracy"] for row in evaluations] == [0.2, 0.5, 0.5, 0.5, *[0.6] * 6]
    assert [row["oracle_best_step"] for row in evaluations] == [10, 20, 20, 20, *[50] * 6]
    assert [event.step for event in events if event.kind == "checkpoint"] == [10, 20, 50, 100]
    assert history.best["step"] == 50 and history.evaluation["step"] == 100


def test_the_predictions_are_those_of_the_evaluation_that_is_the_result_before_and_after_an_interruption():
    for restore_best, result in ((True, 50), (False, 100)):
        plan, history = watching(restore_best=restore_best), loop.History()
        fns = oracle([0.2, 0.5, 0.4, 0.5, 0.6, 0.1, 0.1, 0.1, 0.1, 0.1])
        list(fns.events(plan, history=history, should_stop=lambda _, fns=fns: fns.calls[-1][0] >= 60))
        saved = loop.History(**json.loads(json.dumps(dataclasses.asdict(history))))
        list(fns.events(plan, state=history.step, history=saved))
        assert loop.select_result(plan, saved)["step"] == result
        assert saved.predicted_classes.tolist() == [result] * 64  # the fake predicts the step


def test_patience_ends_a_run_as_stopped_early_and_a_longer_plan_does_not_change_that():
    accuracies = [0.2, 0.5, 0.4, 0.5, 0.6, 0.1, 0.1, 0.1, 0.1, 0.1]
    for patience, end in ((1, 30), (2, 40), (3, 80), (0, 100)):
        history = loop.History()
        events = list(oracle(accuracies).events(watching(patience=patience), history=history))
        assert (events[-1].step, events[-1].status) == (end, "stopped early" if patience else "done")
        again = list(oracle(accuracies).events(watching(patience=patience), state=end, history=history))
        assert [event.kind for event in again] == ["end"]


def test_early_stopping_resumes_from_a_checkpoint_as_if_uninterrupted():
    accuracies = [0.2, 0.5, 0.4, 0.5, 0.6, 0.1, 0.1, 0.1, 0.1, 0.1]
    plan, history = watching(patience=3), loop.History()
    whole = rows(oracle(accuracies).events(plan))
    fns = oracle(accuracies)
    parts = list(fns.events(plan, history=history, should_stop=lambda _: fns.calls[-1][0] >= 60))
    saved = loop.History(**json.loads(json.dumps(dataclasses.asdict(history))))
    parts += oracle(accuracies).events(plan, state=history.step, history=saved)
    assert json.dumps(rows(parts)) == json.dumps(whole)


SUMS = {
    "loss": 120.0,
    "correct": 30.0,
    "top5_correct": 35.0,
    "count": 40.0,
    "clean_correct": 9.0,
    "corrupted_given": 21.0,
    "corrupted_true": 3.0,
    "corrupted_count": 28.0,
}
TEST_SUMS = {"loss": 25.0, "correct": 5.0, "top5_correct": 12.0, "count": 20.0, "corrupted_count": 0.0}


def test_an_evaluation_divides_each_sum_by_its_own_count():
    assert loop.make_evaluation_row(PLAN, 25, {"train": SUMS, "test": {**SUMS, **TEST_SUMS}}) == {
        "kind": "evaluation",
        "step": 25,
        "epoch": 2.5,
        "train_loss": 3.0,
        "train_accuracy": 0.75,
        "train_top5_accuracy": 0.875,
        "train_accuracy_clean": 9 / 12,
        "train_accuracy_corrupted_given": 21 / 28,
        "train_accuracy_corrupted_true": 3 / 28,
        "test_loss": 1.25,
        "test_accuracy": 0.25,
        "test_top5_accuracy": 0.6,
        "test_accuracy_true": None,
        "generalization_gap": 0.5,
    }


def test_no_gap_is_recorded_between_images_of_two_distributions():
    sums = {"train": SUMS, "test": {**SUMS, **TEST_SUMS}}
    shifted = loop.make_evaluation_row(dataclasses.replace(PLAN, has_gap=False), 25, sums)
    row = loop.make_evaluation_row(PLAN, 25, sums)
    assert shifted == {field: value for field, value in row.items() if field != "generalization_gap"}


@pytest.mark.parametrize(
    "corrupted_count, missing",
    [
        (0.0, {"train_accuracy_corrupted_given", "train_accuracy_corrupted_true"}),
        (40.0, {"train_accuracy_clean"}),
    ],
)
def test_the_accuracy_of_no_examples_is_none(corrupted_count, missing):
    row = loop.make_evaluation_row(
        PLAN, 0, {"train": {**SUMS, "corrupted_count": corrupted_count}, "test": {**SUMS, **TEST_SUMS}}
    )
    assert {name for name, value in row.items() if value is None} == missing | {"test_accuracy_true"}


def test_test_labels_that_were_corrupted_are_never_taken_for_true_ones():
    corrupted = {"corrupted_count": 18.0, "clean_correct": 1.0, "corrupted_true": 7.0}
    row = loop.make_evaluation_row(PLAN, 0, {"train": SUMS, "test": {**SUMS, **TEST_SUMS, **corrupted}})
    assert row["test_accuracy"] == 0.25 and row["test_accuracy_true"] == (1 + 7) / 20
