"""A suite: its experiments get what the command line changes, a failure stops no other, what is done is skipped."""

import json
import runpy

import pytest
from made_up import RANDOM, RUN_FUNCTIONS, TRUE, make_sweep

from rethink.configs import base
from rethink.configs.paper import all as everything
from rethink.paper.numbers import TABLES
from rethink.schema import grid, validation
from rethink.schema.errors import UserError
from rethink.sweeps.reproduce import EXIT_FAILED, expand_suite, run_sweep_or_suite


def make_suite(**experiments):
    config = base.get_config()
    config.name = "whole"
    for name, experiment in experiments.items():
        config.experiments[name] = experiment
    return config


def make_run():
    config = make_sweep()
    config.name = "single"
    return config


def run_suite(config, workdir, overridden=()):
    return run_sweep_or_suite(config, overridden, str(workdir), RUN_FUNCTIONS)


def test_what_the_command_line_sets_is_set_in_every_experiment_and_nothing_else_is(capsys):
    config = make_suite(one=make_sweep(true=TRUE), two=make_run())
    config.data.dir, config.seed, config.seeds, config.train.total_epochs = "/data", 3, 2, 7.0
    one, two = expand_suite(config, ["data.dir", "seed", "seeds"])
    assert (one.name, two.name) == ("one", "two") and (one.config.name, two.config.name) == ("made_up", "single")
    for experiment in (one, two):
        config_of = experiment.config
        assert (config_of.data.dir, config_of.seed, config_of.train.total_epochs) == ("/data", 3, 1.0)
    assert (one.config.seeds, two.config.seeds) == (2, 1)
    assert (
        "two: --config.seeds leaves it at one run: --config.experiments.two.seeds=2 repeats" in capsys.readouterr().out
    )
    config.experiments.two.seeds = 2
    assert expand_suite(config, ["seeds", "experiments.two.seeds"])[1].config.seeds == 2
    assert config.experiments.one.data.dir == ""  # as it was


def test_what_is_set_for_one_experiment_wins_over_what_is_set_for_all(capsys):
    config = make_suite(one=make_sweep(true=TRUE, other=RANDOM), two=make_sweep(true=TRUE))
    config.train.total_epochs, config.experiments.one.train.total_epochs = 7.0, 3.0
    config.seeds, config.experiments.one.seeds = 4, 2
    config.optimizer.learning_rate = 0.3
    overridden = ["train.total_epochs", "experiments.one.train.total_epochs", "seeds", "experiments.one.seeds"]
    one, two = expand_suite(config, [*overridden, "optimizer.learning_rate"])
    assert (one.config.train.total_epochs, two.config.train.total_epochs) == (3.0, 7.0)
    assert (one.config.seeds, two.config.seeds) == (2, 4)
    line = "one: --config.optimizer.learning_rate leaves the cells that set it themselves as they are: other\n"
    assert capsys.readouterr().out == line


@pytest.mark.parametrize("field, value", [("axes", "train.batch_size=32,64"), ("figure", "metric_vs_field")])
def test_what_each_experiment_has_for_itself_is_not_set_for_all(field, value):
    config = make_suite(one=make_sweep(true=TRUE))
    config[field] = value
    with pytest.raises(UserError, match=f"^{field}='{value}' would change nothing in whole"):
        expand_suite(config, [field])


def test_a_suite_writes_its_page(tmp_path, capsys):
    assert run_suite(make_suite(one=make_sweep(true=TRUE), two=make_run()), tmp_path) == 0
    text = (tmp_path / "index.html").read_text()
    assert "true-seed5" in text and f"Page: {tmp_path / 'index.html'}" in capsys.readouterr().out


def test_neither_a_sweep_nor_a_suite_writes_into_the_directory_of_a_run(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    for config in (make_sweep(true=TRUE), make_suite(one=make_run())):
        with pytest.raises(UserError, match=f"^--workdir={tmp_path} holds a single run .*: choose another"):
            run_suite(config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_experiments_are_chosen_by_patterns():
    config = make_suite(table1=make_run(), table2=make_run(), figure=make_run())
    config.filter = "table*"
    assert [experiment.name for experiment in expand_suite(config, ["filter"])] == ["table1", "table2"]
    config.filter = "tabel1"
    with pytest.raises(UserError, match="filter='tabel1' is unknown; did you mean 'table1'"):
        expand_suite(config, ["filter"])


def test_experiments_run_in_directories_of_their_own_and_a_second_time_nothing_does(tmp_path, capsys):
    config = make_suite(one=make_sweep(true=TRUE, random=RANDOM), two=make_run())
    assert run_suite(config, tmp_path) == 0
    manifests = {path: path.read_bytes() for path in tmp_path.rglob("manifest.json")}
    folders = {path.parent.relative_to(tmp_path).as_posix() for path in manifests}
    assert folders == {"one/true-seed5", "one/random-seed5", "two"}
    assert {json.loads(content)["status"] for content in manifests.values()} == {"done"}
    capsys.readouterr()
    assert run_suite(config, tmp_path) == 0
    assert capsys.readouterr().out.count("(earlier)\n") == 3  # one line a run
    assert {path: path.read_bytes() for path in manifests} == manifests


def test_an_experiment_that_fails_is_named_and_the_others_run(tmp_path, capsys):
    wrong = make_run()
    wrong.train.batch_size = 100_000  # more than there are examples, which is known when the data are opened
    config = make_suite(wrong=wrong, table=make_sweep(bad={"train.batch_size": 100_000}), right=make_run())
    assert run_suite(config, tmp_path) == EXIT_FAILED
    shown = capsys.readouterr()
    assert "Failed, in whole or in part: table, wrong" in shown.out and "train.batch_size=100000" in shown.err
    assert "Traceback" not in shown.err
    assert json.loads((tmp_path / "right/manifest.json").read_text())["status"] == "done"


def test_findings_that_can_not_be_told_hide_no_failure(tmp_path, capsys):
    wrong = make_run()
    wrong.train.batch_size = 100_000
    assert run_suite(make_suite(wrong=wrong), tmp_path) == EXIT_FAILED  # which leaves no run
    shown = capsys.readouterr()
    assert "Failed, in whole or in part: wrong." in shown.out and "No page: there is no run" in shown.out
    assert "there is no run in" in shown.err and "Traceback" not in shown.err


@pytest.mark.parametrize(
    "fields, line",
    [
        ({"model.name": "mlp_tin"}, "experiments.z: model.name='mlp_tin' is unknown; did you mean 'mlp_tiny'"),
        ({"corruption.pixels": "noise"}, "experiments.z: corruption.pixels='noise' is unknown"),
    ],
)
def test_a_mistake_in_the_last_experiment_is_found_before_the_first_runs(tmp_path, fields, line):
    last = make_run()
    last.update_from_flattened_dict(fields)
    for experiment in (last, make_sweep(bad=fields)):
        with pytest.raises(UserError) as error:
            run_suite(make_suite(a=make_run(), z=experiment), tmp_path)
        assert line in str(error.value) and not (tmp_path / "a").exists()


def test_another_experiment_gives_the_suite_another_directory():
    config = make_suite(one=make_sweep(true=TRUE))
    plain = validation.digest(config)
    config.experiments.one.optimizer.learning_rate = 0.5
    assert validation.digest(config, ["experiments.one.optimizer.learning_rate"]) != plain
    assert validation.digest(config, ["experiments.one.train.total_epochs"]) == plain  # which may change on resuming


@pytest.mark.parametrize("tier", everything.TIERS)
def test_a_tier_has_every_table_and_figure_and_all_its_runs_are_valid(tier):
    config = runpy.run_path("configs/paper/all.py")["get_config"](tier)
    experiments = {experiment.name: experiment.config for experiment in expand_suite(config, [])}
    names = {name.partition("-")[0] for name in experiments}
    missing = {"table2"} if tier == "cpu" else set()  # ImageNet
    for wanted in {*TABLES, "figure1a", "figure1bc", "figure2a", "figure2b", "theorem1", "linear", "capacity"}:
        assert (wanted in names) == (wanted not in missing), wanted
    for name in TABLES.keys() - missing:
        of_table = [sweep for key, sweep in experiments.items() if key.partition("-")[0] == name]
        runs = {run.name for sweep in of_table for run in grid.expand_grid(sweep)}
        on_digits = tier == "minutes" and name == "table3"  # whose cells have the name of their data
        cells = {f"digits-{cell.partition('-')[2]}" for cell in TABLES[name].cells} if on_digits else TABLES[name].cells
        assert runs >= set(cells)
    for experiment in experiments.values():
        runs = [run.config for run in grid.expand_grid(experiment)] if validation.is_sweep(experiment) else [experiment]
        for run in runs:
            validation.validate(run)
            assert not run.experiments and (tier != "minutes" or run.data.name == "digits")


def test_an_unknown_tier_is_named():
    with pytest.raises(ValueError, match="'hours' is no tier: choose from minutes, cpu, full"):
        everything.get_config("hours")
