"""Which runs a config stands for: cells, axes, seeds and patterns; a mistake in any of them is named."""

import runpy

import pytest
from made_up import RANDOM, TRUE, make_sweep
from ml_collections import ConfigDict

from rethink.configs import base
from rethink.configs.paper import table3
from rethink.paper import protocol
from rethink.paper.claims import ORDERINGS
from rethink.paper.numbers import TABLES
from rethink.schema import grid, validation
from rethink.schema.errors import UserError


def test_a_run_is_the_config_with_the_fields_of_its_cell():
    config = make_sweep(true=TRUE, random=RANDOM)
    configs = {run.name: run.config for run in grid.expand_grid(config)}
    assert configs["true"].corruption.labels == "none" and configs["random"].optimizer.learning_rate == 0.2
    for cell, run in configs.items():
        flat, before = dict(validation.flatten(run)), dict(validation.flatten(config))
        assert flat.pop("cells") == ConfigDict() and flat.pop("name") == f"made_up-{cell}"
        changed = {field for field, value in flat.items() if before[field] != value}
        assert changed <= set(dict(config.cells[cell]))
    assert config.corruption.labels == "uniform" and len(config.cells) == 2  # unchanged


def test_seeds_count_on_from_the_first_and_name_the_directories():
    runs = grid.expand_grid(make_sweep(seeds=2, true=TRUE, random=RANDOM))
    assert [(run.folder, run.config.seed) for run in runs] == [
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
    config = make_sweep(only, **{cell: TRUE for cell in ("a-one", "a-two", "b-one")})
    assert {run.name for run in grid.expand_grid(config)} == cells


@pytest.mark.parametrize(
    "config, words",
    [
        (make_sweep("tru", true=TRUE), ["filter='tru'", "'true'"]),
        (make_sweep(true={"corruption.label": "none"}), ["cells.true", "corruption.label", "corruption.labels"]),
        (
            make_sweep(true={"optimizer.learning_rate": "fast"}),
            ["cells.true", "optimizer.learning_rate='fast'", "float"],
        ),
        (make_sweep(true={"seed": 3}), ["cells.true sets seed=3", "config.seed"]),
        (
            make_sweep(true={"hardware.cpu_devices": 2}),
            ["cells.true sets hardware.cpu_devices=2", "config.hardware.cpu"],
        ),
        (make_sweep(**{"a/x": TRUE}), ["cells='a/x'", "directory"]),
        (make_sweep(seeds=0, true=TRUE), ["seeds=0", "in [1, 1000]"]),
        (make_sweep(seeds=10**9, true=TRUE), ["seeds=1000000000", "in [1, 1000]"]),
        (make_sweep(seeds=None, true=TRUE), ["seeds=None"]),
        (make_sweep(filter=None, true=TRUE), ["filter=None"]),
    ],
)
def test_a_mistake_in_a_table_is_named(config, words):
    with pytest.raises(UserError) as caught:
        grid.expand_grid(config)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_cells_asked_for_share_a_directory_with_the_others():
    assert len({validation.digest(make_sweep(only, true=TRUE)) for only in ("*", "t*")}) == 1
    assert validation.digest(make_sweep(true=TRUE)) == validation.digest(make_sweep(true=TRUE, random=RANDOM))


def swept(axes, only="*", **cells):
    config = make_sweep(only, **cells)
    config.axes = axes
    return config


def test_every_cell_is_run_at_every_point_of_the_axes():
    axes = "corruption.label_probability=0.0, 0.5;train.batch_size=32,64"
    runs = grid.expand_grid(swept(axes, a={**RANDOM, "optimizer.momentum": 0.0}, b=RANDOM))
    assert [run.name for run in runs] == [
        f"{cell}-label_probability={p}-batch_size={size}" for cell in "ab" for p in (0.0, 0.5) for size in (32, 64)
    ]
    for run in runs:
        config = run.config
        assert f"label_probability={config.corruption.label_probability}-batch_size={config.train.batch_size}" in (
            run.name
        )
        assert config.axes == "" and not config.cells and run.folder == f"{run.name}-seed5"
        validation.validate(config)
    assert len({validation.to_json(run.config) for run in runs}) == 8


def test_axes_make_a_sweep_of_a_config_without_cells():
    config = swept("model.name=mlp_tiny,my.package:Net;log.tensorboard=false,true")
    assert validation.is_sweep(config) and not validation.is_sweep(make_sweep())
    configs = {run.name: run.config for run in grid.expand_grid(config)}
    assert list(configs)[:3] == [
        "name=mlp_tiny-tensorboard=False",
        "name=mlp_tiny-tensorboard=True",
        "name=my.package.Net-tensorboard=False",
    ]
    assert configs["name=my.package.Net-tensorboard=False"].model.name == "my.package:Net"


def test_axes_of_one_name_in_two_sections_keep_their_sections():
    (run,) = grid.expand_grid(swept("weight_decay.kind=l2;batch_norm.kind=none"))
    assert run.name == "weight_decay.kind=l2-batch_norm.kind=none"


def test_fields_of_a_model_are_axes_and_in_cells_whether_the_config_has_them_or_not():
    config = swept("model.kwargs.width=4,0.5;model.kwargs.sizes=(),(3, 4);model.kwargs.act=relu,None", a=RANDOM)
    config.lock()
    runs = {run.name: run.config.model.kwargs.to_dict() for run in grid.expand_grid(config)}
    assert len(runs) == 8
    assert runs["a-width=4-sizes=none-act=relu"] == {"width": 4, "sizes": (), "act": "relu"}
    assert runs["a-width=0.5-sizes=3x4-act=None"] == {"width": 0.5, "sizes": (3, 4), "act": None}
    assert grid.choose_figure(config) == grid.FigureChoice("metric_vs_field", "model.kwargs.width")
    assert grid.choose_figure(swept("model.kwargs.sizes=(3,4),(5,)")) == grid.FigureChoice("best_so_far", "")
    (run,) = grid.expand_grid(make_sweep(a={"model.kwargs.width": 3}))
    assert run.config.model.kwargs.width == 3


@pytest.mark.parametrize(
    "values, first, second",
    [
        ("'None',None", "'None'", "None"),
        ("'64',64", "'64'", "64"),
        ("(1,2),1x2", "(1, 2)", "'1x2'"),
        ("a:b,a.b", "'a:b'", "'a.b'"),
    ],
)
def test_two_values_that_would_name_one_run_are_refused(values, first, second):
    with pytest.raises(UserError) as error:
        grid.expand_grid(swept(f"model.kwargs.a={values};model.kwargs.b=3", cell=RANDOM))
    assert str(error.value).startswith(
        f"axes: model.kwargs.a={first} and model.kwargs.a={second} would be one run, cell-a="
    )


def test_patterns_choose_points_of_axes():
    runs = grid.expand_grid(swept("corruption.label_probability=0.0,0.5", only="a-*=0.5", a=RANDOM, b=RANDOM))
    assert [run.name for run in runs] == ["a-label_probability=0.5"]


def test_the_figure_is_drawn_against_the_first_axis_of_several_numbers():
    config = swept("log.tensorboard=true,false;train.batch_size=32")
    steps = grid.FigureChoice("best_so_far", "")
    assert grid.choose_figure(config) == steps and grid.choose_figure(make_sweep(a=TRUE)) == steps
    seeds = make_sweep(seeds=3)
    assert grid.choose_figure(seeds) == grid.FigureChoice("none", "")
    seeds.early_stopping.monitor = "oracle"
    assert grid.choose_figure(seeds) == steps
    assert grid.choose_figure(table3.get_config()) == grid.FigureChoice("none", "")  # solved, not trained
    config.axes += ",64;optimizer.momentum=0.0,0.9"
    assert grid.choose_figure(config) == grid.FigureChoice("metric_vs_field", "train.batch_size")
    config.figure = "loss_curves"
    assert grid.choose_figure(config) == grid.FigureChoice("loss_curves", "")


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
        (f"data.dir={'d' * 100}", ["can't name a directory"]),
        ("model.kwargs=1", ["model.kwargs can't be one"]),
        ("model.kwargs.width=3,3", ["model.kwargs.width has 3 twice"]),
    ],
)
def test_a_mistake_in_the_axes_is_named(axes, words):
    with pytest.raises(UserError) as caught:
        grid.expand_grid(swept(axes, a=RANDOM))
    assert all(word in str(caught.value) for word in words), str(caught.value)


SIZES = {"table1": 19, "table2": 7, "table3": 5, "table4": 6}


@pytest.mark.parametrize("name", [*SIZES, "figure1a", "figure1bc", "figure2a", "figure2b", "table4_alexnet"])
def test_a_file_of_the_paper_has_its_cells_and_every_run_is_valid(name):
    config = runpy.run_path(f"configs/paper/{name}.py")["get_config"]()
    runs = grid.expand_grid(config)
    for run in runs:
        validation.validate(run.config)
        assert dict(validation.flatten(run.config)).keys() == dict(validation.flatten(base.get_config())).keys()
        assert run.config.stop.train_accuracy == 0 and run.config.early_stopping.monitor == "none"
    if name in SIZES:
        assert len(runs) == SIZES[name]
        assert {run.name for run in runs} == set(TABLES[name].cells)
        for run in runs:  # what a comparison takes a cell for is what its file makes of it
            flat = dict(validation.flatten(run.config))
            filters = ["kernel.filters: 1000"] if "random_convolutions" in run.name else []
            train, test = protocol.EXAMPLES[flat["data.name"]]
            full = {"train_examples": train, "test_examples": test}
            assert protocol.expected_fields(name, run.name)
            assert protocol.mismatches(name, run.name, flat) == filters and protocol.caveats(flat, full) == []
        assert ORDERINGS[name]


@pytest.mark.parametrize("name", ["table1", "table2", "table4"])
def test_a_cell_is_what_its_name_says(name):
    for cell, *_, config in map(tuple, grid.expand_grid(runpy.run_path(f"configs/paper/{name}.py")["get_config"]())):
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
        grid.expand_grid(swept(axes, a=TRUE))


def test_a_sweep_has_another_directory_than_its_config_alone():
    config = swept("train.batch_size=32,64", a=TRUE)
    alone = make_sweep(a=TRUE)
    assert validation.digest(config) != validation.digest(alone)
    alone.axes = "train.batch_size=32, 64,128"  # one value more: the same directory
    assert validation.digest(config) == validation.digest(alone)
    alone.axes = "optimizer.momentum=0.0,0.9"
    assert validation.digest(config) != validation.digest(alone)


@pytest.mark.parametrize("only, wrong", [("a, c*", "c"), ("tabel,a", "tabel")])
def test_a_pattern_that_matches_nothing_is_named(only, wrong):
    with pytest.raises(UserError, match=f"^filter='{wrong}"):
        grid.expand_grid(make_sweep(only, a=TRUE, b=TRUE))
    assert [run.name for run in grid.expand_grid(make_sweep(" b , a", a=TRUE, b=TRUE))] == ["a", "b"]


def test_several_seeds_make_a_sweep_of_a_single_run_in_a_directory_of_its_own():
    single, several = make_sweep(), make_sweep()
    several.seeds = 3
    runs = grid.expand_grid(several)
    assert [(run.folder, run.config.seed) for run in runs] == [(f"{several.name}-seed{n}", n) for n in range(5, 8)]
    assert all(run.config.name == several.name and run.config.seeds == 1 for run in runs)
    assert validation.digest(several) != validation.digest(single)
    more = make_sweep()
    more.seeds = 5
    assert validation.digest(several) == validation.digest(more)


@pytest.mark.parametrize(
    "fields, axes, effective",
    [
        ({"weight_decay.coefficient": 0.001}, "", False),
        ({"weight_decay.coefficient": 0.001, "weight_decay.kind": "l2"}, "", True),
        ({"weight_decay.coefficient": 0.001}, "weight_decay.kind=none,l2", True),
        ({"weight_decay.coefficient": 0.001}, "optimizer.learning_rate=0.1,0.2", False),
        ({"corruption.label_probability": 0.4}, "", False),
        ({"corruption.test_pixels": True}, "", False),
        ({"corruption.test_pixels": False}, "", True),  # off itself
        ({"optimizer.decay_factor": 0.9, "optimizer.schedule": "constant"}, "", False),
        ({"optimizer.decay_factor": 0.9}, "", True),
        ({"optimizer.momentum": 0.5, "optimizer.name": "adam"}, "", False),
        ({"early_stopping.min_delta": 0.1}, "", False),
    ],
)
def test_an_override_that_changes_no_run_is_refused(fields, axes, effective):
    config = base.get_config()
    config.update_from_flattened_dict(fields)
    config.axes = axes
    if effective:
        return grid.check_overrides_matter({"": config}, fields)
    with pytest.raises(
        UserError, match=f"^--config.{min(fields)} has no effect, as .*: set --config.* or leave it out"
    ):
        grid.check_overrides_matter({"": config}, fields)


def test_an_override_of_a_suite_need_change_only_one_of_its_experiments():
    parts = {"plain": base.get_config(), "decayed": base.get_config()}
    parts["decayed"].weight_decay.kind = "l2"
    for override in ("weight_decay.coefficient", "experiments.decayed.weight_decay.coefficient"):
        grid.check_overrides_matter(parts, [override])
    override = "experiments.plain.weight_decay.coefficient"
    with pytest.raises(UserError, match=f"^--config.{override} has no effect"):
        grid.check_overrides_matter(parts, [override])


@pytest.mark.parametrize(
    "axes, said",
    [
        ("model.kwargs.width=32 256", "values are separated by commas"),
        ("seed=0,1", "type --config.seeds=2"),
        ("train.batch_size=32,64,optimizer.learning_rate=0.1", "separated by ; and not by a comma"),
    ],
)
def test_an_axis_of_another_form_is_answered_with_what_to_write(axes, said):
    with pytest.raises(UserError, match=f"^axes: .*{said}"):
        grid.expand_grid(swept(axes))
