"""A reproduction: parts get what the command line changes, a failure stops no other, what is done is skipped."""

import functools
import json
import runpy

import pytest
from made_up import RANDOM, TRUE, table

from configs import base
from configs.paper import all as everything
from rethink import experiment, members, reproduction, settings, sweeps
from rethink.results import paper
from rethink.settings import UserError


def whole(**parts):
    config = base.get_config()
    config.name = "whole"
    for name, part in parts.items():
        config.parts[name] = part
    return config


def single():
    config = table()
    config.name = "single"
    return config


def run(config, workdir, overridden=()):
    launch = experiment.Launch(brief=True)
    run_table = functools.partial(sweeps.run, run_member=functools.partial(experiment.run_member, launch))
    run_alone = functools.partial(experiment.run, launch=launch)
    return reproduction.run(config, overridden, str(workdir), run_table, run_alone)


def test_what_the_command_line_sets_is_set_in_every_part_and_nothing_else_is():
    config = whole(one=table(true=TRUE), two=single())
    config.data.dir, config.seed, config.seeds, config.train.total_epochs = "/data", 3, 2, 7.0
    one, two = reproduction.parts_of(config, ["data.dir", "seed", "seeds"])
    assert (one.name, two.name) == ("one", "two") and (one.config.name, two.config.name) == ("made_up", "single")
    for part in (one, two):
        assert (part.config.data.dir, part.config.seed, part.config.train.total_epochs) == ("/data", 3, 1.0)
    assert (one.config.seeds, two.config.seeds) == (2, 1)
    assert config.parts.one.data.dir == ""  # untouched


def test_parts_are_chosen_by_patterns():
    config = whole(table1=single(), table2=single(), figure=single())
    config.only = "table*"
    assert [part.name for part in reproduction.parts_of(config, ["only"])] == ["table1", "table2"]
    config.only = "tabel1"
    with pytest.raises(UserError, match="only='tabel1' is unknown; did you mean 'table1'"):
        reproduction.parts_of(config, ["only"])


def test_parts_run_in_directories_of_their_own_and_a_second_time_nothing_does(tmp_path, capsys):
    config = whole(one=table(true=TRUE, random=RANDOM), two=single())
    assert run(config, tmp_path) == 0
    manifests = {path: path.read_bytes() for path in tmp_path.rglob("manifest.json")}
    folders = {path.parent.relative_to(tmp_path).as_posix() for path in manifests}
    assert folders == {"one/true-seed5", "one/random-seed5", "two"}
    assert {json.loads(content)["fate"] for content in manifests.values()} == {"done"}
    capsys.readouterr()
    assert run(config, tmp_path) == 0
    assert capsys.readouterr().out.count("Done before") == 3
    assert {path: path.read_bytes() for path in manifests} == manifests


def test_a_part_that_fails_is_named_and_the_others_run(tmp_path, capsys):
    wrong = single()
    wrong.model.name = "mlp_tin"
    config = whole(wrong=wrong, table=table(bad={"corruption.label": "none"}), right=single())
    assert run(config, tmp_path) == reproduction.EXIT_FAILED
    shown = capsys.readouterr()
    assert "Failed, in whole or in part: table, wrong" in shown.out and "mlp_tin" in shown.err
    assert "Traceback" not in shown.err
    assert json.loads((tmp_path / "right/manifest.json").read_text())["fate"] == "done"


@pytest.mark.parametrize("tier", everything.TIERS)
def test_a_tier_has_every_table_and_figure_and_all_its_runs_are_valid(tier):
    config = runpy.run_path("configs/paper/all.py")["get_config"](tier)
    parts = {part.name: part.config for part in reproduction.parts_of(config, [])}
    names = " ".join(parts)
    missing = {"table2"} if tier == "cpu" else set()  # ImageNet
    for wanted in {*paper.TABLES, "figure1a", "figure1bc", "figure2a", "figure2b", "theorem1", "linear", "capacity"}:
        assert (wanted in names) == (wanted not in missing), wanted
    for part in parts.values():
        asked = [member.config for member in members.members_of(part)] if members.is_table(part) else [part]
        for member in asked:
            settings.validate(member, experiment.CHOICES)
            assert not member.parts and (tier != "minutes" or member.data.name == "digits")


def test_an_unknown_tier_is_named():
    with pytest.raises(ValueError, match="'hours' is no tier: choose from minutes, cpu, full"):
        everything.get_config("hours")
