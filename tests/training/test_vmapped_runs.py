"""Runs of a sweep that are trained together: each leaves what it leaves when it runs alone."""

import json
import math
import os
import pathlib
import signal

import flax.linen as nn
import jax
import numpy as np
import pytest
from made_up import BRIEF, RUN_FUNCTIONS, assert_predicted, make_sweep

from rethink.experiment import run as run_module
from rethink.experiment.reporter import Reporter
from rethink.experiment.run import EXIT_DIVERGED, run_experiment, run_group
from rethink.experiment.setup import set_up_run, state
from rethink.experiment.train import run_lockstep
from rethink.figures import learning_curve
from rethink.regularization.explicit import Dropout
from rethink.results import records
from rethink.schema import grid
from rethink.sweeps.executors import vmapped
from rethink.sweeps.executors.tasks import Task
from rethink.sweeps.run import run_sweep
from rethink.training import checkpoints, devices, preemption, vmapped_runs

ROWS = ("evaluation", "train")


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """Leaves out the figures of runs, which take most of the time."""
    monkeypatch.setattr(learning_curve, "draw_learning_curve", lambda *_, **__: None)


@pytest.fixture
def make_runs():
    """Returns (axes, fields) -> the runs of a table that may all be trained together."""

    def make(axes="corruption.label_probability=0.0,0.5,1.0", seeds=1, **fields):
        config = make_sweep(seeds=seeds)
        config.axes = axes
        config.train.total_epochs = 4.0
        config.log.every_steps = 5
        config.train.steps_per_call = 1  # that a signal may come between any two
        config.update_from_flattened_dict({field.replace("__", "."): value for field, value in fields.items()})
        return grid.expand_grid(config)

    return make


def run_together(runs, folder):
    return run_group([(run.config, str(folder / run.folder)) for run in runs], BRIEF)


def run_alone(runs, folder):
    return [run_experiment(run.config, str(folder / run.folder), BRIEF) for run in runs]


def manifests(runs, folder):
    return [records.read_run(folder / run.folder) for run in runs]


def statuses(runs, folder):
    return [recorded["status"] for recorded in manifests(runs, folder)]


def rows(runs, folder):
    return [records.read_rows(folder / run.folder / "metrics.jsonl") for run in runs]


def without_times(recorded):
    return {**recorded, "launches": [], "summary": {**recorded["summary"], "seconds": 0}}


def assert_close(one, other, path=""):
    """The same structure, and numbers that agree to a relative 1e-5."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for name in one:
            assert_close(one[name], other[name], f"{path}/{name}")
    elif isinstance(one, list):
        assert len(one) == len(other), path
        for number, pair in enumerate(zip(one, other, strict=True)):
            assert_close(*pair, f"{path}/{number}")
    elif isinstance(one, float):
        assert math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-9), f"{path}: {one} and {other}"
    else:
        assert one == other, path


def assert_as_alone(runs, grouped, alone):
    assert_close(rows(runs, grouped), rows(runs, alone))
    assert_close(*([without_times(recorded) for recorded in manifests(runs, folder)] for folder in (grouped, alone)))


def trained(compiled_fns, start, steps):
    """Returns the parameters of runs after some steps, as one vector each; their states go on side by side."""
    states = [one.place(state) for one, state in zip(compiled_fns, start, strict=True)]
    yield  # for a group to stack them
    for step in range(steps):
        for number, one in enumerate(compiled_fns):
            states[number], _ = one.train_call(states[number], step, 1)
        yield
    yield [ravel(one.fetch(state).params) for one, state in zip(compiled_fns, states, strict=True)]


def ravel(params):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


def difference(one, other):
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


class Smooth(nn.Module):
    """A network without kinks: at those of ReLU, a rounding error now and then becomes a thousand times larger."""

    num_classes: int
    dropout: Dropout

    @nn.compact
    def __call__(self, images, *, train):
        x = nn.tanh(nn.Dense(32)(images.reshape(len(images), -1)))
        x = nn.Dropout(0.1, deterministic=not train)(self.dropout(x, "last", train=train))
        return nn.Dense(self.num_classes)(x)


DRAWING = {"dropout__rate": 0.2, "augmentation__crop": "random", "augmentation__padding": 1}
DRAWING |= {"augmentation__mixup": 0.4}


@pytest.mark.parametrize(
    "steps, fields",
    [
        pytest.param(200, {"model__name": f"{__name__}:Smooth", **DRAWING}, marks=pytest.mark.slow),
        pytest.param(200, {"model__name": f"{__name__}:Smooth"}, marks=pytest.mark.slow),
        pytest.param(10, {"model__name": "mlp_1x512", **DRAWING}, marks=pytest.mark.slow),
        (10, {"model__name": "conv_tiny", "batch_norm__kind": "across_devices"}),
    ],
    ids=["smooth, drawing", "smooth", "mlp, drawing", "conv with batch norm"],
)
def test_runs_learn_what_they_learn_alone(make_runs, steps, fields):
    runs = make_runs("corruption.label_probability=0.0,0.5;corruption.pixels=none,gaussian", **fields)
    # As the third, with the same labels and another initialization and order.
    runs += make_runs("corruption.label_probability=0.5", seeds=2, corruption__seed=0, **fields)[1:]
    assert len(runs) == 5
    group = vmapped_runs.VmappedRuns(lambda: False)
    joined = [set_up_run(run.config, group.join) for run in runs]
    setups = [set_up_run(run.config) for run in runs]
    start = [setup.start for setup in setups]
    by_an_ulp = [
        one.replace(params=jax.tree.map(lambda leaf: leaf * np.float32(1 + 2**-23), one.params)) for one in start
    ]

    def ends(compiled_fns, start, advance):
        steps_of_all = trained(compiled_fns, start, steps)
        while (params := next(steps_of_all)) is None:
            advance()
        return params

    together = ends([setup.compiled for setup in joined], start, group.advance)
    alone = ends([setup.compiled for setup in setups], start, lambda: None)
    changed = ends([setup.compiled for setup in setups], by_an_ulp, lambda: None)
    distances = [difference(one, other) for one, other in zip(together, alone, strict=True)]
    floor = [difference(one, other) for one, other in zip(changed, alone, strict=True)]
    print(f"{steps} steps, n={len(runs)}: group and alone {max(distances):.1e}, one rounding error {max(floor):.1e}")
    assert max(distances) < max(1e-5, 2 * max(floor))
    assert max(floor) < 1e-5
    apart = [difference(alone[i], alone[j]) for i in range(5) for j in range(i)]
    assert min(apart) > 1e-2  # data, order and keys are each run's own


@pytest.mark.slow
def test_runs_leave_the_records_of_runs_alone(make_runs, tmp_path, capsys):
    fields = {"stop__train_accuracy": 0.5, "train__steps_per_call": 0}  # 0: as many as suit
    fields |= {"train__loss": "label_smoothing", "train__label_smoothing": 0.05}
    runs = make_runs("corruption.label_probability=0.0,0.4,1.0", seeds=2, **fields)[:5]
    exit_codes = run_together(runs, tmp_path / "group")
    shown = capsys.readouterr().out
    assert run_alone(runs, tmp_path / "alone") == exit_codes == [0] * 5
    assert sorted(set(statuses(runs, tmp_path / "group"))) == ["done", "fitted"]  # some end before the others
    assert_as_alone(runs, tmp_path / "group", tmp_path / "alone")
    kinds = [{row["kind"] for row in run_rows} for run_rows in rows(runs, tmp_path / "group")]
    assert all(run_rows == set(ROWS) for run_rows in kinds)
    # What all share is shown once; the rest with the name of the run.
    assert shown.count(": Model: mlp_tiny") == 1 and shown.count(": Directory: ") == 5
    assert f"{runs[2].folder}: step 48/48" in shown and "\x1b" not in shown
    for run in runs:
        files = {path.name for path in (tmp_path / "group" / run.folder).iterdir()}
        assert files == {path.name for path in (tmp_path / "alone" / run.folder).iterdir()}


def test_each_run_of_a_group_keeps_what_it_predicts(make_runs, tmp_path):
    fields = {"early_stopping__monitor": "oracle", "corruption__test_labels": True, "evaluate__batch_size": 100}
    runs = make_runs("corruption.label_probability=0.0,1.0", seeds=2, **fields)
    assert run_together(runs, tmp_path) == [0] * 4
    kept = [assert_predicted(tmp_path / run.folder) for run in runs]
    assert len({predictions.predicted.tobytes() for predictions in kept}) == 4
    assert len({recorded["summary"]["evaluation"]["step"] for recorded in manifests(runs, tmp_path)}) > 1


@pytest.mark.slow
def test_a_second_launch_finds_all_done(make_runs, tmp_path, capsys):
    runs = make_runs()
    assert run_together(runs[:2], tmp_path) == [0, 0]
    before = rows(runs[:2], tmp_path)
    assert run_together(runs, tmp_path) == [0, 0, 0]
    assert capsys.readouterr().out.count("Done before") == 2
    assert rows(runs[:2], tmp_path) == before and statuses(runs, tmp_path) == ["done"] * 3


def at_step(monkeypatch, step, act):
    """Acts once, when a group has made the steps from `step` on."""
    advance = vmapped_runs._Stack.advance

    def watched(stack, first_step, steps):
        advance(stack, first_step, steps)
        if first_step == step and not acted:
            acted.append(step)
            act()

    acted = []
    monkeypatch.setattr(vmapped_runs._Stack, "advance", watched)


@pytest.mark.parametrize(
    "number, status", [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_a_group_that_was_interrupted_resumes_as_if_it_had_not_been(make_runs, tmp_path, monkeypatch, number, status):
    runs = make_runs("corruption.label_probability=0.0,0.4,0.7,1.0", stop__train_accuracy=0.7)
    assert run_together(runs, tmp_path / "whole") == [0] * 4
    at_step(monkeypatch, 19, lambda: os.kill(os.getpid(), number))
    with pytest.raises(preemption.Interrupted) as interruption:
        run_together(runs, tmp_path / "parts")
    assert interruption.value.exit_code == status
    run_statuses = statuses(runs, tmp_path / "parts")
    assert run_statuses.count("interrupted") >= 2 and "fitted" in run_statuses
    for run, status in zip(runs, run_statuses, strict=True):
        saved = {int(path.name) for path in (tmp_path / "parts" / run.folder / "checkpoints").glob("[0-9]*")}
        assert status == "fitted" or max(saved) == 20
    assert run_together(runs, tmp_path / "parts") == [0] * 4
    assert rows(runs, tmp_path / "parts") == rows(runs, tmp_path / "whole")  # bit for bit
    assert statuses(runs, tmp_path / "parts") == statuses(runs, tmp_path / "whole")


@pytest.mark.slow
def test_a_signal_in_an_evaluation_ends_all_runs_at_its_step(make_runs, tmp_path, monkeypatch):
    runs = make_runs(evaluate__batch_size=200)
    assert run_together(runs, tmp_path / "whole") == [0] * 3
    evaluate = vmapped_runs._Stack.evaluate

    def signalled(stack, split, should_stop):
        if stack.runs[0].requested_steps == (23, 1) and split == "test" and not signalled_in:
            signalled_in.append(split)
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(stack, split, should_stop)

    signalled_in = []
    monkeypatch.setattr(vmapped_runs._Stack, "evaluate", signalled)
    with pytest.raises(preemption.Interrupted):
        run_together(runs, tmp_path / "parts")
    assert signalled_in and statuses(runs, tmp_path / "parts") == ["interrupted"] * 3
    assert [run_rows[-1]["step"] for run_rows in rows(runs, tmp_path / "parts")] == [24] * 3
    assert run_together(runs, tmp_path / "parts") == [0] * 3
    assert rows(runs, tmp_path / "parts") == rows(runs, tmp_path / "whole")


@pytest.mark.slow
def test_runs_that_are_at_other_steps_resume_from_there(make_runs, tmp_path, monkeypatch):
    runs = make_runs()
    assert run_together(runs, tmp_path / "whole") == [0] * 3
    save = checkpoints.Checkpoints.save

    def killed(self, state, history):
        if history.step == 24 and "0.5" in str(self._folder):  # its checkpoint was not written any more
            return
        save(self, state, history)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints.Checkpoints, "save", killed)
        at_step(patched, 24, lambda: os.kill(os.getpid(), signal.SIGTERM))
        at_step(patched, 25, lambda: os.kill(os.getpid(), signal.SIGTERM))  # which does not wait: nothing is saved
        patched.setattr(preemption.Signals, "stop_requested", lambda self, together: False)
        with pytest.raises(preemption.Interrupted):
            run_together(runs, tmp_path / "parts")
    assert statuses(runs, tmp_path / "parts") == ["interrupted"] * 3
    first_steps = []
    make = vmapped_runs._Stack.__init__
    monkeypatch.setattr(
        vmapped_runs._Stack,
        "__init__",
        lambda self, *args: (make(self, *args), first_steps.append(self.runs[0].requested_steps[0]))[0],
    )
    assert run_together(runs, tmp_path / "parts") == [0] * 3
    assert sorted(first_steps) == [12, 24]
    assert_close(rows(runs, tmp_path / "parts"), rows(runs, tmp_path / "whole"))


@pytest.mark.slow
def test_a_signal_before_the_first_step_leaves_no_run_started(make_runs, tmp_path, monkeypatch):
    runs = make_runs()
    make = Reporter.__init__

    def signalled(self, *arguments):
        make(self, *arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Reporter, "__init__", signalled)
    with pytest.raises(preemption.Interrupted):
        run_together(runs, tmp_path)
    assert records.read_run(tmp_path / runs[0].folder)["status"] == "interrupted"  # which had begun, unlike the others
    assert not any((tmp_path / run.folder).exists() for run in runs[1:])
    monkeypatch.undo()
    assert run_together(runs, tmp_path) == [0] * 3


@pytest.mark.slow
def test_a_run_that_diverges_or_fails_leaves_and_the_others_are_as_alone(make_runs, tmp_path, monkeypatch):
    runs = make_runs("corruption.label_probability=0.0,0.3,0.6,0.9,1.0")
    alone = [runs[0], runs[3], runs[4]]
    run_alone(alone, tmp_path / "alone")
    take, init = Reporter.handle_event, state.init_state
    made = []

    def diverging(*arguments):
        start = init(*arguments)
        made.append(start)
        return start if len(made) != 2 else start.replace(params=jax.tree.map(lambda leaf: leaf * 1e18, start.params))

    def failing(self, event, history):
        if event.step == 15 and "0.6" in self._record.folder.name:
            raise ValueError("made up")
        take(self, event, history)

    monkeypatch.setattr(state, "init_state", diverging)
    monkeypatch.setattr(Reporter, "handle_event", failing)
    exit_codes = run_together(runs, tmp_path / "group")
    assert exit_codes[:2] == [0, EXIT_DIVERGED] and exit_codes[3:] == [0, 0]
    assert isinstance(exit_codes[2], ValueError)
    assert statuses(runs, tmp_path / "group") == ["done", "diverged", "failed", "done", "done"]
    assert manifests(runs, tmp_path / "group")[2]["error"] == "ValueError: made up"
    assert_as_alone(alone, tmp_path / "group", tmp_path / "alone")


@pytest.mark.slow
def test_what_fails_for_all_is_recorded_by_all(make_runs, tmp_path, monkeypatch):
    runs = make_runs()

    def exhausted():
        raise MemoryError("made up")

    at_step(monkeypatch, 7, exhausted)
    exit_codes = run_together(runs, tmp_path)
    assert [type(status) for status in exit_codes] == [MemoryError] * 3
    assert statuses(runs, tmp_path) == ["failed"] * 3
    assert run_together(runs, tmp_path) == [0] * 3  # they begin anew


def test_a_directory_that_is_off_fails_alone(make_runs, tmp_path):
    runs = make_runs()
    (tmp_path / runs[1].folder).mkdir()
    (tmp_path / runs[1].folder / "diary.txt").write_text("")
    exit_codes = run_together(runs, tmp_path)
    assert exit_codes[0] == exit_codes[2] == 0 and "holds files but no run" in str(exit_codes[1])


@pytest.mark.slow
def test_a_streamed_feed_runs_one_by_one(make_runs, tmp_path, monkeypatch):
    runs = make_runs(data__feed="streamed", data__workers=0, train__total_epochs=1.0)
    monkeypatch.setattr(vmapped_runs, "VmappedRuns", None)
    assert run_together(runs, tmp_path) == [0] * 3


@pytest.mark.parametrize(
    "pixels, seeds, corruption_seed, alone",
    [("none", 2, -1, False), ("gaussian", 1, -1, False), ("gaussian", 2, -1, True), ("gaussian", 2, 0, False)],
)
def test_runs_whose_images_are_too_large_together_run_one_by_one(
    make_runs, tmp_path, monkeypatch, pixels, seeds, corruption_seed, alone
):
    limit = 3 * 1797 * 64 / 2**30  # of copies of the digits; four runs hold four, as soon as two of them differ
    fields = {
        "corruption__pixels": pixels,
        "corruption__seed": corruption_seed,
        "data__resident_limit_gib": limit,
    }
    ran = []
    monkeypatch.setattr(run_module, "run_experiment", lambda config, workdir, launch: ran.append(workdir) or 0)
    monkeypatch.setattr(run_module, "run_lockstep", lambda steps, group: [0] * len(steps))
    runs = make_runs("corruption.label_probability=0.0,1.0", seeds, **fields)
    assert run_together(runs, tmp_path) == [0] * 2 * seeds
    assert len(ran) == 2 * seeds * alone


def test_runs_that_share_compiled_functions_are_grouped_up_to_the_size():
    config = make_sweep(seeds=2)
    config.axes = "corruption.labels=none,uniform;train.batch_size=64,128"

    def group_names(size):
        runs = grid.expand_grid(config)
        tasks = [Task(run.folder, run.config, pathlib.Path()) for run in runs]
        return [[task.name for task in group] for group in vmapped.group_tasks(tasks, size)]

    assert all(len(group) == 1 for group in group_names(1)) and len(group_names(1)) == 8
    assert [len(group) for group in group_names(3)] == [3, 3, 1, 1]
    small, large = group_names(0)
    assert small == [name for name in sum(group_names(1), []) if "batch_size=64" in name]
    assert large == [name for name in sum(group_names(1), []) if "batch_size=128" in name]
    config.kind = "capacity"  # of networks that are trained one after the other
    assert all(len(group) == 1 for group in group_names(0))


@pytest.mark.slow
def test_a_sweep_runs_its_groups(tmp_path, capsys, monkeypatch):
    made, lockstep = [], run_lockstep
    monkeypatch.setattr(
        run_module, "run_lockstep", lambda steps, group: (made.append(len(steps)), lockstep(steps, group))[1]
    )
    config = make_sweep(seeds=2)
    config.axes = "corruption.label_probability=0.0,1.0;train.batch_size=64,128"
    config.executor, config.jobs = "vmapped", 3
    assert run_sweep(config, str(tmp_path), RUN_FUNCTIONS) == 0
    first = capsys.readouterr().out
    assert all(f"[{number}/8] " in first for number in range(1, 9)) and made == [3, 3]
    recorded_statuses = [json.loads(path.read_text())["status"] for path in tmp_path.glob("*/manifest.json")]
    assert recorded_statuses == ["done"] * 8
    assert run_sweep(config, str(tmp_path), RUN_FUNCTIONS) == 0
    second = capsys.readouterr().out
    assert second.count("done before: ") == 8
    assert first.splitlines()[-4:] == second.splitlines()[-4:]  # the same table


def test_what_all_runs_share_is_kept_once(make_runs):
    runs = make_runs()
    group = vmapped_runs.VmappedRuns(lambda: False)
    joined = [set_up_run(run.config, group.join) for run in runs]
    held = [setup.compiled.place(setup.start) for setup in joined]
    group.advance()
    data = held[0].stack._data["train"]
    count = devices.describe_hardware()["devices"]
    assert data.images.shape == (count, 1437, 8, 8, 1) and data.labels.shape == (count, 3, 1437)
    first = joined[0].feed.splits["test"]
    assert all(array is first[number] for setup in joined for number, array in enumerate(setup.feed.splits["test"]))


@pytest.mark.parametrize("fields", [{"channels_together": False}, {"pixels": "shuffled_pixels"}, {"seed": 1}])
def test_runs_of_other_images_count_as_such(fields):
    one = make_sweep()
    one.corruption.pixels = "random_pixels"
    other = make_sweep()
    other.corruption.update({"pixels": "random_pixels", **fields})
    assert run_module._image_identity(one) != run_module._image_identity(other)


def test_runs_of_other_seeds_and_one_corruption_seed_share_labels_and_images(make_runs):
    runs = make_runs(
        "corruption.label_probability=1.0", seeds=2, corruption__seed=7, corruption__pixels="random_pixels"
    )
    group = vmapped_runs.VmappedRuns(lambda: False)
    held = [setup.compiled.place(setup.start) for setup in [set_up_run(run.config, group.join) for run in runs]]
    group.advance()
    data = held[0].stack._data["train"]
    count = devices.describe_hardware()["devices"]
    assert data.images.shape == (count, 1437, 8, 8, 1) and data.labels.shape == (count, 1437)
