"""Which runs a config stands for: cells, axes, seeds and patterns; a mistake in any of them is named."""

import runpy

import pytest
from made_up import RANDOM, TRUE, table
from ml_collections import ConfigDict

from configs import base
from configs.paper import table3
from rethink import experiment, members, settings
from rethink.results import orderings, paper, protocol
from rethink.settings import UserError


def test_a_member_is_the_config_with_the_fields_of_its_cell():
    config = table(true=TRUE, random=RANDOM)
    found = {member.name: member.config for member in members.members_of(config)}
    assert found["true"].corruption.labels == "none" and found["random"].optimizer.learning_rate == 0.2
    for cell, member in found.items():
        flat, before = dict(settings.flatten(member)), dict(settings.flatten(config))
        assert flat.pop("cells") == ConfigDict() and flat.pop("name") == f"made_up-{cell}"
        changed = {field for field, value in flat.items() if before[field] != value}
        assert changed <= set(dict(config.cells[cell]))
    assert config.corruption.labels == "uniform" and len(config.cells) == 2  # untouched


def test_seeds_count_on_from_the_first_and_name_the_directories():
    found = members.members_of(table(seeds=2, true=TRUE, random=RANDOM))
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
    assert {member.name for member in members.members_of(config)} == cells


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
        members.members_of(config)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_cells_asked_for_share_a_directory_with_the_others():
    assert len({settings.digest(table(only, true=TRUE)) for only in ("*", "t*")}) == 1
    assert settings.digest(table(true=TRUE)) == settings.digest(table(true=TRUE, random=RANDOM))


def swept(axes, only="*", **cells):
    config = table(only, **cells)
    config.axes = axes
    return config


def test_every_cell_is_run_at_every_point_of_the_axes():
    axes = "corruption.label_probability=0.0, 0.5;train.batch_size=32,64"
    found = members.members_of(swept(axes, a={**RANDOM, "optimizer.momentum": 0.0}, b=RANDOM))
    assert [member.name for member in found] == [
        f"{cell}-label_probability={p}-batch_size={size}" for cell in "ab" for p in (0.0, 0.5) for size in (32, 64)
    ]
    for member in found:
        config = member.config
        assert f"label_probability={config.corruption.label_probability}-batch_size={config.train.batch_size}" in (
            member.name
        )
        assert config.axes == "" and not config.cells and member.folder == f"{member.name}-seed5"
        settings.validate(config, experiment.CHOICES)
    assert len({settings.to_json(member.config) for member in found}) == 8


def test_axes_make_a_sweep_of_a_config_without_cells():
    config = swept("model.name=mlp_tiny,my.package:Net;log.tensorboard=false,true")
    assert members.is_table(config) and not members.is_table(table())
    found = {member.name: member.config for member in members.members_of(config)}
    assert list(found)[:3] == [
        "name=mlp_tiny-tensorboard=False",
        "name=mlp_tiny-tensorboard=True",
        "name=my.package.Net-tensorboard=False",
    ]
    assert found["name=my.package.Net-tensorboard=False"].model.name == "my.package:Net"


def test_axes_of_one_name_in_two_sections_keep_their_sections():
    (member,) = members.members_of(swept("weight_decay.kind=l2;batch_norm.kind=none"))
    assert member.name == "weight_decay.kind=l2-batch_norm.kind=none"


def test_patterns_choose_points_of_axes():
    found = members.members_of(swept("corruption.label_probability=0.0,0.5", only="a-*=0.5", a=RANDOM, b=RANDOM))
    assert [member.name for member in found] == ["a-label_probability=0.5"]


def test_the_figure_is_drawn_against_the_first_axis_of_several_numbers():
    config = swept("log.tensorboard=true,false;train.batch_size=32")
    steps = members.Figure("best_so_far", "")
    assert members.figure_of(config) == steps and members.figure_of(table()) == steps
    assert members.figure_of(table3.get_config()) == members.Figure("none", "")  # solved, not trained
    config.axes += ",64;optimizer.momentum=0.0,0.9"
    assert members.figure_of(config) == members.Figure("against", "train.batch_size")
    config.figure = "loss_curves"
    assert members.figure_of(config) == members.Figure("loss_curves", "")


@pytest.mark.parametrize(
    "axes, words",
    [
        ("corruption.label_probability", ["'corruption.label_probability' is no axis", "FIELD=VALUE"]),
        ("corruption.label_probabilty=0.5", ["corruption.label_probability'"]),
        ("train.batch_size=32,big", ["train.batch_size=big is no int", "128"]),
        ("train.batch_size=", ["train.batch_size= is no int"]),
        ("log.tensorboard=maybe", ["log.tensorboard=maybe is no bool"]),
        ("train.batch_size=32,32", ["32 twice"]),
        ("train.batch_size=32;train.batch_size=64", ["train.batch_size stands there twice"]),
        ("seed=1,2", ["seed can't be one"]),
        ("kernel.ridges=1", ["kernel.ridges can't be one"]),
        ("optimizer.learning_rate=0.1", ["cells.a sets optimizer.learning_rate, which is an axis too"]),
        ("data.dir=/data", ["can't name a directory"]),
    ],
)
def test_a_mistake_in_the_axes_is_named(axes, words):
    with pytest.raises(UserError) as caught:
        members.members_of(swept(axes, a=RANDOM))
    assert all(word in str(caught.value) for word in words), str(caught.value)


TABLES = {"table1": 19, "table2": 7, "table3": 5, "table4": 6}


@pytest.mark.parametrize("name", [*TABLES, "figure1a", "figure1bc", "figure2a", "figure2b", "table4_alexnet"])
def test_a_file_of_the_paper_has_its_cells_and_every_member_is_valid(name):
    config = runpy.run_path(f"configs/paper/{name}.py")["get_config"]()
    found = members.members_of(config)
    for member in found:
        settings.validate(member.config, experiment.CHOICES)
        assert dict(settings.flatten(member.config)).keys() == dict(settings.flatten(base.get_config())).keys()
        assert member.config.stop.train_accuracy == 0 and member.config.early_stopping.monitor == "none"
    if name in TABLES:
        assert len(found) == TABLES[name]
        assert {member.name for member in found} == set(paper.TABLES[name].cells)
        for member in found:  # what a comparison takes a cell for is what its file makes of it
            flat = dict(settings.flatten(member.config))
            filters = ["kernel.filters: 1000"] if "random_convolutions" in member.name else []
            train, test = protocol.EXAMPLES[flat["data.name"]]
            full = {"train_examples": train, "test_examples": test}
            assert protocol.expected(name, member.name)
            assert protocol.unlike(name, member.name, flat) == filters and protocol.caveats(flat, full) == []
        assert orderings.ORDERINGS[name]


@pytest.mark.parametrize("name", ["table1", "table2", "table4"])
def test_a_cell_is_what_its_name_says(name):
    for cell, *_, config in map(tuple, members.members_of(runpy.run_path(f"configs/paper/{name}.py")["get_config"]())):
        model, *conditions = cell.split("-")
        assert ("wd" in conditions) == (config.weight_decay.kind != "none")
        assert (config.augmentation.crop != "none") == bool({"crop", "aug", "augmentation"} & set(conditions))
        assert (config.corruption.labels == "uniform") == (name == "table4" or "random" in cell)
        assert ("dropout" in conditions) == (config.dropout.rate > 0)
        if name != "table2":
            assert config.model.name == model.removesuffix("_no_bn")
            assert (config.batch_norm.kind != "none") == (model == "inception")


@pytest.mark.parametrize(
    "axes, off",
    [
        ("corruption.label_probability=0.0,0.5", "corruption.labels='none'"),
        ("weight_decay.coefficient=1e-4,1e-3", "weight_decay.kind='none'"),
        ("batch_norm.momentum=0.5,0.9", "batch_norm.kind='none'"),
    ],
)
def test_an_axis_that_changes_nothing_is_refused(axes, off):
    with pytest.raises(UserError, match=f"^axes: {axes.partition('=')[0]} changes nothing in a-.*, as {off} there"):
        members.members_of(swept(axes, a=TRUE))


def test_a_sweep_has_another_directory_than_its_config_alone():
    config = swept("train.batch_size=32,64", a=TRUE)
    alone = table(a=TRUE)
    assert settings.digest(config) != settings.digest(alone)
    alone.axes = "train.batch_size=32, 64,128"  # one value more: the same directory
    assert settings.digest(config) == settings.digest(alone)
    alone.axes = "optimizer.momentum=0.0,0.9"
    assert settings.digest(config) != settings.digest(alone)


@pytest.mark.parametrize("only, wrong", [("a, c*", "c"), ("tabel,a", "tabel")])
def test_a_pattern_that_matches_nothing_is_named(only, wrong):
    with pytest.raises(UserError, match=f"^only='{wrong}"):
        members.members_of(table(only, a=TRUE, b=TRUE))
    assert [member.name for member in members.members_of(table(" b , a", a=TRUE, b=TRUE))] == ["a", "b"]
