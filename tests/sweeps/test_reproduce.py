"""A reproduction: parts get what the command line changes, a failure stops no other, what is done is skipped."""

import json
import runpy

import pytest
from made_up import EXPERIMENT, RANDOM, TRUE, table

from configs import base
from configs.paper import all as everything
from rethink.experiment.run import CHOICES
from rethink.paper.numbers import TABLES
from rethink.schema import grid, validation
from rethink.schema.errors import UserError
from rethink.sweeps.reproduce import EXIT_FAILED, expand_suite, run_sweep_or_suite


def whole(**parts):
    config = base.get_config()
    config.name = "whole"
    for name, part in parts.items():
        config.experiments[name] = part
    return config


def single():
    config = table()
    config.name = "single"
    return config


def run(config, workdir, overridden=()):
    return run_sweep_or_suite(config, overridden, str(workdir), EXPERIMENT)


def test_what_the_command_line_sets_is_set_in_every_part_and_nothing_else_is():
    config = whole(one=table(true=TRUE), two=single())
    config.data.dir, config.seed, config.seeds, config.train.total_epochs = "/data", 3, 2, 7.0
    one, two = expand_suite(config, ["data.dir", "seed", "seeds"])
    assert (one.name, two.name) == ("one", "two") and (one.config.name, two.config.name) == ("made_up", "single")
    for part in (one, two):
        assert (part.config.data.dir, part.config.seed, part.config.train.total_epochs) == ("/data", 3, 1.0)
    assert (one.config.seeds, two.config.seeds) == (2, 1)
    assert config.experiments.one.data.dir == ""  # untouched


def test_what_is_set_for_one_part_wins_over_what_is_set_for_all(capsys):
    config = whole(one=table(true=TRUE, other=RANDOM), two=table(true=TRUE))
    config.train.total_epochs, config.experiments.one.train.total_epochs = 7.0, 3.0
    config.seeds, config.experiments.one.seeds = 4, 2
    config.optimizer.learning_rate = 0.3
    overridden = ["train.total_epochs", "experiments.one.train.total_epochs", "seeds", "experiments.one.seeds"]
    one, two = expand_suite(config, [*overridden, "optimizer.learning_rate"])
    assert (one.config.train.total_epochs, two.config.train.total_epochs) == (3.0, 7.0)
    assert (one.config.seeds, two.config.seeds) == (2, 4)
    said = capsys.readouterr().out
    assert said == "one: --config.optimizer.learning_rate leaves the cells that set it themselves as they are: other\n"


@pytest.mark.parametrize("field, value", [("axes", "train.batch_size=32,64"), ("figure", "metric_vs_field")])
def test_what_each_part_has_of_its_own_is_not_set_for_all(field, value):
    config = whole(one=table(true=TRUE))
    config[field] = value
    with pytest.raises(UserError, match=f"^{field}='{value}' would change nothing in whole"):
        expand_suite(config, [field])


def test_a_reproduction_writes_its_page(tmp_path, capsys):
    assert run(whole(one=table(true=TRUE), two=single()), tmp_path) == 0
    text = (tmp_path / "index.html").read_text()
    assert "true-seed5" in text and f"Page: {tmp_path / 'index.html'}" in capsys.readouterr().out


def test_parts_are_chosen_by_patterns():
    config = whole(table1=single(), table2=single(), figure=single())
    config.filter = "table*"
    assert [part.name for part in expand_suite(config, ["filter"])] == ["table1", "table2"]
    config.filter = "tabel1"
    with pytest.raises(UserError, match="filter='tabel1' is unknown; did you mean 'table1'"):
        expand_suite(config, ["filter"])


def test_parts_run_in_directories_of_their_own_and_a_second_time_nothing_does(tmp_path, capsys):
    config = whole(one=table(true=TRUE, random=RANDOM), two=single())
    assert run(config, tmp_path) == 0
    manifests = {path: path.read_bytes() for path in tmp_path.rglob("manifest.json")}
    folders = {path.parent.relative_to(tmp_path).as_posix() for path in manifests}
    assert folders == {"one/true-seed5", "one/random-seed5", "two"}
    assert {json.loads(content)["status"] for content in manifests.values()} == {"done"}
    capsys.readouterr()
    assert run(config, tmp_path) == 0
    assert capsys.readouterr().out.count("Done before") == 3
    assert {path: path.read_bytes() for path in manifests} == manifests


def test_a_part_that_fails_is_named_and_the_others_run(tmp_path, capsys):
    wrong = single()
    wrong.train.batch_size = 100_000  # more than there are examples, which is known when the data are opened
    config = whole(wrong=wrong, table=table(bad={"train.batch_size": 100_000}), right=single())
    assert run(config, tmp_path) == EXIT_FAILED
    shown = capsys.readouterr()
    assert "Failed, in whole or in part: table, wrong" in shown.out and "train.batch_size=100000" in shown.err
    assert "Traceback" not in shown.err
    assert json.loads((tmp_path / "right/manifest.json").read_text())["status"] == "done"


@pytest.mark.parametrize(
    "fields, line",
    [
        ({"model.name": "mlp_tin"}, "experiments.z: model.name='mlp_tin' is unknown; did you mean 'mlp_tiny'"),
        ({"corruption.pixels": "noise"}, "experiments.z: corruption.pixels='noise' is unknown"),
    ],
)
def test_a_mistake_in_the_last_part_is_found_before_the_first_runs(tmp_path, fields, line):
    last = single()
    last.update_from_flattened_dict(fields)
    for part in (last, table(bad=fields)):
        with pytest.raises(UserError) as error:
            run(whole(a=single(), z=part), tmp_path)
        assert line in str(error.value) and not (tmp_path / "a").exists()


def test_a_part_of_its_own_has_a_directory_of_its_own():
    config = whole(one=table(true=TRUE))
    plain = validation.digest(config)
    config.experiments.one.optimizer.learning_rate = 0.5
    assert validation.digest(config, ["experiments.one.optimizer.learning_rate"]) != plain
    assert validation.digest(config, ["experiments.one.train.total_epochs"]) == plain  # which may change on resuming


@pytest.mark.parametrize("tier", everything.TIERS)
def test_a_tier_has_every_table_and_figure_and_all_its_runs_are_valid(tier):
    config = runpy.run_path("configs/paper/all.py")["get_config"](tier)
    parts = {part.name: part.config for part in expand_suite(config, [])}
    names = {name.partition("-")[0] for name in parts}
    missing = {"table2"} if tier == "cpu" else set()  # ImageNet
    for wanted in {*TABLES, "figure1a", "figure1bc", "figure2a", "figure2b", "theorem1", "linear", "capacity"}:
        assert (wanted in names) == (wanted not in missing), wanted
    for name in TABLES.keys() - missing:
        own = [part for own_name, part in parts.items() if own_name.partition("-")[0] == name]
        assert {member.name for part in own for member in grid.expand_grid(part)} >= set(TABLES[name].cells)
    for part in parts.values():
        asked = [member.config for member in grid.expand_grid(part)] if grid.is_sweep(part) else [part]
        for member in asked:
            validation.validate(member, CHOICES)
            assert not member.experiments and (tier != "minutes" or member.data.name == "digits")


def test_an_unknown_tier_is_named():
    with pytest.raises(ValueError, match="'hours' is no tier: choose from minutes, cpu, full"):
        everything.get_config("hours")
