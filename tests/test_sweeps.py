"""Tables of runs: which members a config stands for, what is done is skipped, and a failure stops no other."""

import functools
import json
import runpy

import pytest
from ml_collections import ConfigDict

from configs import base, digits_random
from rethink import experiment, settings, sweeps
from rethink.results import orderings, paper
from rethink.settings import UserError


def table(only="*", seeds=1, **cells):
    config = digits_random.get_config("mlp_tiny")
    config.name = "made_up"
    config.only, config.seeds, config.seed = only, seeds, 5
    config.train.total_epochs = 1.0
    config.checkpoint.every_epochs = 1.0
    for cell, fields in cells.items():
        config.cells[cell] = tuple(fields.items())
    return config


TRUE, RANDOM = {"corruption.labels": "none"}, {"corruption.labels": "uniform", "optimizer.learning_rate": 0.2}


def test_a_member_is_the_config_with_the_fields_of_its_cell():
    config = table(true=TRUE, random=RANDOM)
    found = {member.cell: member.config for member in sweeps.members(config)}
    assert found["true"].corruption.labels == "none" and found["random"].optimizer.learning_rate == 0.2
    for cell, member in found.items():
        flat, before = dict(settings.flatten(member)), dict(settings.flatten(config))
        assert flat.pop("cells") == ConfigDict() and flat.pop("name") == f"made_up-{cell}"
        changed = {field for field, value in flat.items() if before[field] != value}
        assert changed <= set(dict(config.cells[cell]))
    assert config.corruption.labels == "uniform" and len(config.cells) == 2  # untouched


def test_seeds_count_on_from_the_first_and_name_the_directories():
    found = sweeps.members(table(seeds=2, true=TRUE, random=RANDOM))
    assert [(member.folder, member.config.seed) for member in found] == [
        ("random-seed5", 5),
        ("true-seed5", 5),
        ("random-seed6", 6),
        ("true-seed6", 6),
    ]


@pytest.mark.parametrize(
    "only, cells",
    [
        ("*", {"a-one", "a-two", "b-one"}),
        ("a-*", {"a-one", "a-two"}),
        ("*-one", {"a-one", "b-one"}),
        ("b*,a-one", {"a-one", "b-one"}),
    ],
)
def test_patterns_choose_cells(only, cells):
    config = table(only, **{cell: TRUE for cell in ("a-one", "a-two", "b-one")})
    assert {member.cell for member in sweeps.members(config)} == cells


@pytest.mark.parametrize(
    "config, words",
    [
        (table("tru", true=TRUE), ["only='tru'", "'true'"]),
        (table(true={"corruption.label": "none"}), ["cells.true", "corruption.label", "corruption.labels"]),
        (table(true={"optimizer.learning_rate": "fast"}), ["cells.true", "optimizer.learning_rate='fast'", "float"]),
        (table(true={"seed": 3}), ["cells.true sets seed=3", "config.seed"]),
        (table(true={"hardware.cpu_devices": 2}), ["cells.true sets hardware.cpu_devices=2", "config.hardware.cpu"]),
        (table(**{"a/x": TRUE}), ["cells='a/x'", "directory"]),
        (table(seeds=0, true=TRUE), ["seeds=0", "in [1, 1000]"]),
        (table(seeds=10**9, true=TRUE), ["seeds=1000000000", "in [1, 1000]"]),
        (table(seeds=None, true=TRUE), ["seeds=None"]),
        (table(only=None, true=TRUE), ["only=None"]),
    ],
)
def test_a_mistake_in_a_table_is_named(config, words):
    with pytest.raises(UserError) as caught:
        sweeps.members(config)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_cells_asked_for_share_a_directory_with_the_others():
    assert len({settings.digest(table(only, true=TRUE)) for only in ("*", "t*")}) == 1
    assert settings.digest(table(true=TRUE)) == settings.digest(table(true=TRUE, random=RANDOM))


class Runs:
    """Stands in for the runs: notes which members are asked for, and fails or diverges where it is told to."""

    def __init__(self, diverged=(), **errors):
        self.asked, self.diverged, self.errors = [], diverged, errors

    def __call__(self, config, workdir):
        cell = config.name.removeprefix("made_up-")
        self.asked.append((cell, config.seed, workdir))
        if cell in self.errors:
            raise self.errors[cell]
        return experiment.EXIT_DIVERGED if cell in self.diverged else 0, False


def test_a_failure_is_reported_and_the_others_run(tmp_path, capsys):
    runs = Runs(a=UserError("no such field"), b=ValueError("a bug"))
    assert sweeps.run(table(a=TRUE, b=TRUE, c=TRUE), str(tmp_path), runs) == sweeps.EXIT_FAILED
    assert [cell for cell, *_ in runs.asked] == ["a", "b", "c"]
    shown = capsys.readouterr()
    assert "Failed: a-seed5: no such field" in shown.out and "Failed: b-seed5: a bug" in shown.out
    assert "Traceback" in shown.err  # a bug is not hidden


@pytest.mark.parametrize(
    "diverged, errors, status",
    [
        ("", {}, 0),
        ("a", {}, experiment.EXIT_DIVERGED),
        ("b", {}, experiment.EXIT_DIVERGED),
        ("ab", {}, experiment.EXIT_DIVERGED),
        ("a", {"b": ValueError("a bug")}, sweeps.EXIT_FAILED),
    ],
)
def test_the_status_of_a_table_is_that_of_its_worst_run(tmp_path, diverged, errors, status):
    assert sweeps.run(table(a=TRUE, b=TRUE), str(tmp_path), Runs(diverged, **errors)) == status


def test_a_table_whose_runs_diverged_says_so_each_time_by_its_status(tmp_path):
    config = table(diverges={"optimizer.learning_rate": 1e30})
    run_member = functools.partial(experiment.run_member, experiment.Launch())
    for _ in range(2):  # the second time the run has ended before
        assert sweeps.run(config, str(tmp_path), run_member) == experiment.EXIT_DIVERGED == 3


def test_an_interruption_ends_the_table(tmp_path):
    runs = Runs(a=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        sweeps.run(table(a=TRUE, b=TRUE), str(tmp_path), runs)
    assert len(runs.asked) == 1


def test_a_table_runs_and_a_second_time_finds_all_done(tmp_path, capsys):
    config = table(true=TRUE, random=RANDOM)
    run_member = functools.partial(experiment.run_member, experiment.Launch())
    assert sweeps.run(config, str(tmp_path), run_member) == 0
    first = capsys.readouterr().out
    assert "[1/2] random-seed5" in first and "Done before" not in first
    manifests = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/manifest.json")}
    assert [json.loads(path.read_text())["fate"] for path in manifests] == ["done", "done"]
    assert (tmp_path / "figures" / "best_so_far.png").stat().st_size > 1000
    assert sweeps.run(config, str(tmp_path), run_member) == 0
    second = capsys.readouterr().out
    assert second.count("Done before") == 2
    assert {path: path.stat().st_mtime_ns for path in manifests} == manifests
    assert first.splitlines()[-4:] == second.splitlines()[-4:]  # the same table


TABLES = {"table1": 19, "table2": 7, "table4": 6}


@pytest.mark.parametrize("name", [*TABLES, "figure2a", "figure2b", "table4_alexnet"])
def test_a_file_of_the_paper_has_its_cells_and_every_member_is_valid(name):
    config = runpy.run_path(f"configs/paper/{name}.py")["get_config"]()
    found = sweeps.members(config)
    for member in found:
        settings.validate(member.config, experiment.CHOICES)
        assert dict(settings.flatten(member.config)).keys() == dict(settings.flatten(base.get_config())).keys()
        assert member.config.stop.train_accuracy == 0 and member.config.early_stopping.monitor == "none"
    if name in TABLES:
        assert len(found) == TABLES[name]
        assert {member.cell for member in found} == set(paper.TABLES[name].cells)
        assert orderings.ORDERINGS[name]


@pytest.mark.parametrize("name", TABLES)
def test_a_cell_is_what_its_name_says(name):
    for cell, *_, config in map(tuple, sweeps.members(runpy.run_path(f"configs/paper/{name}.py")["get_config"]())):
        model, *conditions = cell.split("-")
        assert ("wd" in conditions) == (config.weight_decay.kind != "none")
        assert (config.augmentation.crop != "none") == bool({"crop", "aug", "augmentation"} & set(conditions))
        assert (config.corruption.labels == "uniform") == (name == "table4" or "random" in cell)
        assert ("dropout" in conditions) == (config.dropout.rate > 0)
        if name != "table2":
            assert config.model.name == model.removesuffix("_no_bn")
            assert (config.batch_norm.kind != "none") == (model == "inception")
