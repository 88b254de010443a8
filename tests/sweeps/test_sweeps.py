"""Sweeps: what is done is skipped, a failed run stops no other, and the figure of the runs is drawn."""

import json
import re

import pytest
from made_up import RANDOM, RUN_FUNCTIONS, TRUE, make_sweep

from rethink.experiment.run import EXIT_DIVERGED
from rethink.figures import learning_curve
from rethink.schema import grid
from rethink.schema.errors import UserError
from rethink.sweeps import estimate
from rethink.sweeps.executors.tasks import RunFunctions
from rethink.sweeps.run import EXIT_FAILED, run_sweep


@pytest.fixture(autouse=True)
def without_figures_of_runs(monkeypatch):
    """Leaves out what takes most of the time of a small run; the figure of the sweep is drawn."""
    monkeypatch.setattr(learning_curve, "draw_learning_curve", lambda *_, **__: [])


class Runs:
    """Stands in for `run_one`: records the calls, and fails or diverges in the cells that it is given."""

    def __init__(self, diverged=(), **errors):
        self.calls, self.diverged, self.errors = [], diverged, errors

    def __call__(self, config, workdir):
        cell = config.name.removeprefix("made_up-")
        self.calls.append((cell, config.seed, workdir))
        if cell in self.errors:
            raise self.errors[cell]
        return EXIT_DIVERGED if cell in self.diverged else 0


def without_table(runs):
    return RunFunctions(runs, writes=False)


def test_a_failure_is_reported_and_the_others_run(tmp_path, capsys):
    runs = Runs(a=UserError("no such field"), b=ValueError("a bug"))
    assert run_sweep(make_sweep(a=TRUE, b=TRUE, c=TRUE), str(tmp_path), without_table(runs)) == EXIT_FAILED
    assert [cell for cell, *_ in runs.calls] == ["a", "b", "c"]
    shown = capsys.readouterr()
    assert "Failed: a-seed5: no such field" in shown.out and "Failed: b-seed5: a bug" in shown.out
    assert "Traceback" in shown.err  # a bug is not hidden


@pytest.mark.parametrize(
    "diverged, errors, exit_code",
    [
        ("", {}, 0),
        ("a", {}, EXIT_DIVERGED),
        ("b", {}, EXIT_DIVERGED),
        ("ab", {}, EXIT_DIVERGED),
        ("a", {"b": ValueError("a bug")}, EXIT_FAILED),
    ],
)
def test_the_exit_code_of_a_sweep_is_that_of_its_worst_run(tmp_path, diverged, errors, exit_code):
    assert run_sweep(make_sweep(a=TRUE, b=TRUE), str(tmp_path), without_table(Runs(diverged, **errors))) == exit_code


def test_a_sweep_whose_runs_diverged_has_the_same_exit_code_each_time(tmp_path):
    config = make_sweep(diverges={"optimizer.learning_rate": 1e30})
    for _ in range(2):  # the second time the run has ended before
        assert run_sweep(config, str(tmp_path), RUN_FUNCTIONS) == EXIT_DIVERGED == 3


def test_an_interruption_ends_the_sweep(tmp_path):
    runs = Runs(a=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run_sweep(make_sweep(a=TRUE, b=TRUE), str(tmp_path), without_table(runs))
    assert len(runs.calls) == 1


def test_a_sweep_runs_and_a_second_time_finds_all_done(tmp_path, capsys):
    config = make_sweep(true=TRUE, random=RANDOM)
    assert run_sweep(config, str(tmp_path), RUN_FUNCTIONS) == 0
    first = capsys.readouterr().out
    # One line a run: status, accuracies, steps, time.
    lines = [line for line in first.splitlines() if line.startswith("[")]
    assert re.fullmatch(r"\[1/2\] random-seed5  done  train \d+.\d\d%  test \d+.\d\d%  12 steps  [\d.]+s", lines[0])
    assert len(lines) == 2 and first.count("random-seed5") == 2 and "(earlier)" not in first
    manifests = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/manifest.json")}
    assert [json.loads(path.read_text())["status"] for path in manifests] == ["done", "done"]
    assert (tmp_path / "figures" / "best_so_far.png").stat().st_size > 1000
    assert run_sweep(config, str(tmp_path), RUN_FUNCTIONS) == 0
    second = capsys.readouterr().out
    assert second.count("(earlier)\n") == 2
    assert {path: path.stat().st_mtime_ns for path in manifests} == manifests
    assert first.splitlines()[-4:] == second.splitlines()[-4:]  # the same table


def test_a_sweep_is_drawn_against_its_numeric_axis(tmp_path, capsys):
    config = make_sweep(true=TRUE)
    config.axes = "train.batch_size=64,128"
    assert run_sweep(config, str(tmp_path), RUN_FUNCTIONS) == 0
    shown = capsys.readouterr().out
    assert "2 runs: 0 done, 0 to resume, 2 new\n" in shown and "metric_vs_field.png" in shown
    lines = (tmp_path / "figures" / "metric_vs_field.csv").read_text().splitlines()
    assert [line.split(",")[:3] for line in lines[1:]] == [["true", "64", "1"], ["true", "128", "1"]]


def test_what_the_paper_says_of_a_figure_stands_beneath_it(tmp_path, capsys):
    config = make_sweep(mlp=RANDOM)
    config.name, config.figure = "figure1bc", "label_corruption"
    config.axes = "corruption.label_probability=0.0,1.0"
    assert run_sweep(config, str(tmp_path), RUN_FUNCTIONS) == 0
    claims = capsys.readouterr().out.partition("label_corruption.png")[2]
    assert "What the paper says of it" in claims and "mlp: test error rises from each p to the next (0, 1)" in claims


def test_the_plan_says_what_is_done_and_what_the_rest_will_take(tmp_path, capsys):
    config = make_sweep(true=TRUE, random=RANDOM)
    config.train.total_epochs = 2.0
    config.filter = "true"
    assert run_sweep(config, str(tmp_path), RUN_FUNCTIONS) == 0
    path = tmp_path / "true-seed5" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["summary"]["seconds"] = 100.0
    path.write_text(json.dumps(manifest))
    config.filter, config.data.train_examples = "*", 0
    config.cells["other"] = (("model.name", "conv_tiny"),)
    runs = grid.expand_grid(config)
    (tmp_path / "other-seed5").mkdir()
    (tmp_path / "other-seed5" / "manifest.json").write_text('{"config": {}, "status": "interrupted"}')
    (tmp_path / "damaged-seed0").mkdir()
    (tmp_path / "damaged-seed0" / "manifest.json").write_text("{")
    plan = estimate.describe_plan(runs, tmp_path)
    assert plan.startswith("3 runs: 1 done, 1 to resume, 1 new; about 1m40s of running and ")
    assert plan.endswith("MiB for 1 of them, by those that ended")
    config.train.total_epochs = 4.0  # twice as many: what had ended resumes
    plan = estimate.describe_plan(grid.expand_grid(config), tmp_path)
    # 200 s each, of which the first has run 100
    assert plan.startswith("3 runs: 0 done, 2 to resume, 1 new; about 5m00s of running and ")


def test_a_run_that_ended_at_its_first_evaluation_gives_the_plan_no_cost(tmp_path, capsys):
    config = make_sweep(true=TRUE, random=RANDOM)
    config.stop.train_accuracy, config.filter = 0.001, "true"
    assert run_sweep(config, str(tmp_path), RUN_FUNCTIONS) == 0
    config.filter = "*"
    assert estimate.describe_plan(grid.expand_grid(config), tmp_path) == "2 runs: 1 done, 0 to resume, 1 new"


def test_all_runs_are_checked_before_the_first_one_starts(tmp_path):
    runs = Runs()
    with pytest.raises(UserError, match="corruption.pixels='gausian' is unknown; did you mean 'gaussian'"):
        run_sweep(make_sweep(a=TRUE, b={"corruption.pixels": "gausian"}), str(tmp_path), without_table(runs))
    config = make_sweep(a=TRUE)
    config.figure = "metric_vs_field"
    with pytest.raises(UserError, match="wants an axis of several numbers"):
        run_sweep(config, str(tmp_path), without_table(runs))
    assert not runs.calls


def test_what_can_not_be_shown_is_reported_and_the_runs_stay_run(tmp_path, capsys):
    config = make_sweep(true=TRUE)
    assert run_sweep(config, str(tmp_path), RUN_FUNCTIONS) == 0
    (tmp_path / "true-seed5" / "metrics.jsonl").write_text("{\n")
    assert run_sweep(config, str(tmp_path), RUN_FUNCTIONS) == EXIT_FAILED
    assert "metrics.jsonl is damaged" in capsys.readouterr().err
    diverged = make_sweep(diverges={"optimizer.learning_rate": 1e30})
    assert run_sweep(diverged, str(tmp_path), RUN_FUNCTIONS) == EXIT_FAILED  # the damaged one is there still
