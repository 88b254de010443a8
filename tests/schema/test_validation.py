"""What a valid config is: ranges, choices, durations, and which configs are the same run."""

import json
import math
import pathlib
import re

import pytest
from ml_collections import ConfigDict

from rethink.configs import base
from rethink.schema import validation
from rethink.schema.errors import UserError, pick, unknown_name
from rethink.schema.field_rows import Interval
from rethink.schema.fields import FIELDS as ROWS
from rethink.training import loop

FIELDS = dict(validation.flatten(base.get_config()))
FREE = validation.resumable_fields(base.get_config())
RANGES = {field: row.interval for field, row in ROWS.items() if row.interval and row.least_length is None}
SEVERAL = {field: row for field, row in ROWS.items() if row.least_length is not None}


def another(value):
    """A value of the same type that differs."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, ConfigDict):
        return ConfigDict({"width": 3})
    if isinstance(value, tuple):
        return (*value, 7)
    return value + ("x" if isinstance(value, str) else 1)


def changed(**fields):
    """The base config with some fields set, written `section__field=value`."""
    config = base.get_config()
    config.update_from_flattened_dict({field.replace("__", "."): value for field, value in fields.items()})
    return config


@pytest.mark.parametrize(
    "interval, inside, outside",
    [
        (Interval(0, 1), (0, 0.5, 1), (-1e-9, 1 + 1e-9)),
        (Interval(0, 1, low_open=True), (1e-9, 1), (0, -0.0, 2)),
        (Interval(0, 1, high_open=True), (0, 1 - 1e-9), (1, -1)),
        (Interval(0, 1, low_open=True, high_open=True), (0.5,), (0, 1)),
        (Interval(1), (1, 10**9, 1e300), (0, 0.999)),
        (Interval(0, low_open=True), (1e-300, 1), (0, -1)),
        (Interval(0, 2**32, high_open=True), (0, 2**32 - 1), (2**32, -1)),
    ],
)
def test_a_range_has_its_closed_ends_and_no_open_end(interval, inside, outside):
    assert all(value in interval for value in inside)
    assert not any(value in interval for value in outside)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_range_has_nan_or_infinity(value):
    assert value not in Interval(0)
    assert value not in Interval(0, 1)
    assert value not in Interval(-math.inf, math.inf)


def test_a_range_says_what_it_allows():
    assert str(Interval(0, low_open=True)) == "a finite number above 0"
    assert str(Interval(1)) == "a finite number of at least 1"
    assert str(Interval(0, 1)) == "in [0, 1]"
    assert str(Interval(0, 1, low_open=True, high_open=True)) == "in (0, 1)"


def test_the_defaults_are_valid():
    validation.validate(base.get_config())


@pytest.mark.parametrize("field", RANGES)
def test_a_value_out_of_range_is_refused_by_the_name_of_its_field(field):
    interval = RANGES[field]
    config = base.get_config()
    config.update_from_flattened_dict({field: type(FIELDS[field])(interval.low - 1)})
    with pytest.raises(UserError) as error:
        validation.validate(config)
    assert f"{field}={interval.low - 1}" in str(error.value)
    assert str(interval) in str(error.value)


@pytest.mark.parametrize(
    "field", ["evaluate.batch_size", "train.batch_size", "train.total_epochs", "data.workers", "checkpoint.keep"]
)
def test_a_number_that_would_exhaust_the_machine_is_refused(field):
    config = base.get_config()
    config.update_from_flattened_dict({field: type(FIELDS[field])(10**8)})
    with pytest.raises(UserError, match=f"^{field}=.* is out of range: it must be in "):
        validation.validate(config)


@pytest.mark.parametrize("field", RANGES)
def test_a_missing_number_is_refused_by_the_name_of_its_field(field):
    config = base.get_config()
    config.update_from_flattened_dict({field: None})
    with pytest.raises(UserError, match=f"^{field}=None is no number: it must be "):
        validation.validate(config)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1.5])
def test_a_probability_that_is_none_is_refused(value):
    with pytest.raises(UserError, match="corruption.label_probability="):
        validation.validate(changed(corruption__label_probability=value))


def test_a_choice_that_there_is_not_is_refused_with_the_nearest():
    validation.validate(changed(corruption__pixels="gaussian"))
    with pytest.raises(UserError) as error:
        validation.validate(changed(corruption__pixels="gausian"))
    assert str(error.value) == (
        "corruption.pixels='gausian' is unknown; did you mean 'gaussian'? Choices: none, shuffled_pixels, "
        "random_pixels, gaussian, gaussian_clipped."
    )


def test_unknown_names_nothing_where_nothing_is_near():
    assert unknown_name("kind", "zzz", ("train", "kernel")) == "kind='zzz' is unknown. Choices: train, kernel."


def test_pick_takes_from_a_table_or_lists_it():
    table = {"sgd": 1, "adam": 2}
    assert pick(table, "adam", "optimizer.name") == 2
    with pytest.raises(
        UserError, match=r"optimizer\.name='adm' is unknown; did you mean 'adam'\? Choices: sgd, adam\."
    ):
        pick(table, "adm", "optimizer.name")


def test_flatten_yields_every_leaf_once_and_an_empty_section_as_a_leaf():
    config = ConfigDict({"b": 1, "a": {"y": 2, "x": {"z": 3}, "empty": {}}})
    leaves = list(validation.flatten(config))
    assert len(leaves) == 4
    assert dict(leaves) == {"b": 1, "a.y": 2, "a.x.z": 3, "a.empty": ConfigDict()}


def test_due_is_true_where_a_multiple_lies_between():
    for every in (1, 2, 3, 7):
        for before in range(20):
            for now in range(before, 25):
                wanted = any(step % every == 0 for step in range(before + 1, now + 1))
                assert loop.crossed_multiple(every, before, now) == wanted, (every, before, now)


def test_durations_become_steps_and_at_least_one():
    assert loop.to_steps(3.0, 391) == 1173
    assert loop.to_steps(0.5, 391) in (195, 196)
    assert loop.to_steps(0.26, 10) == 3
    assert loop.to_steps(1e-9, 391) == 1


@pytest.mark.parametrize("field", FIELDS)
def test_the_digest_changes_with_every_field_that_makes_another_run(field):
    config = base.get_config()
    with config.unlocked():
        config.update_from_flattened_dict({field: another(FIELDS[field])})
    assert dict(validation.flatten(config)) != FIELDS
    same = validation.digest(config) == validation.digest(base.get_config())
    # A sweep's directory has room for further cells, and is another than that of its config's one run.
    assert same == ((field in FREE and field not in ("axes", "seeds")) or field in ("cells", "experiments"))


@pytest.mark.parametrize("field", FIELDS)
def test_changes_names_every_field_that_makes_another_run(field):
    before = json.loads(validation.to_json(base.get_config()))
    config = base.get_config()
    with config.unlocked():
        config.update_from_flattened_dict({field: another(FIELDS[field])})
    lines = validation.changed_fields(config, before)
    assert bool(lines) == (field not in FREE)
    assert all(line.startswith(field) for line in lines)


def test_changes_shows_before_and_now():
    before = json.loads(validation.to_json(base.get_config()))
    assert validation.changed_fields(base.get_config(), before) == []
    assert validation.changed_fields(changed(seed=7, name="other"), before) == ["seed: 0 -> 7"]


def test_changes_names_a_field_that_one_side_lacks():
    before = json.loads(validation.to_json(base.get_config()))
    del before["preprocess.crop"]
    assert validation.changed_fields(base.get_config(), {**before, "gone": 1}) == [
        "gone: 1 -> None",
        "preprocess.crop: None -> 0",
    ]


@pytest.mark.parametrize(
    "field, tie",
    [
        ("train.total_epochs", {"optimizer__schedule": "cosine"}),
        ("hardware.cpu_devices", {"batch_norm__kind": "per_device"}),
    ],
)
def test_a_duration_or_a_place_that_decides_what_is_computed_makes_another_run(field, tie):
    config = changed(**tie)
    other = changed(**tie, **{field.replace(".", "__"): another(FIELDS[field])})
    assert field in FREE - validation.resumable_fields(config)
    assert validation.digest(config) != validation.digest(other)
    assert len(validation.changed_fields(other, json.loads(validation.to_json(config)))) == 1


def test_what_an_evaluation_is_batched_by_makes_another_run():
    assert validation.digest(changed(evaluate__batch_size=7)) != validation.digest(base.get_config())


def test_the_digest_is_8_hex_digits():
    assert re.fullmatch("[0-9a-f]{8}", validation.digest(base.get_config()))


def test_the_json_of_a_config_reads_back_as_its_flat_fields():
    flat = json.loads(validation.to_json(base.get_config()))
    assert flat.pop("model.kwargs") == flat.pop("cells") == flat.pop("experiments") == {}
    whole = {field: list(value) if isinstance(value, tuple) else value for field, value in FIELDS.items()}
    assert flat == {
        field: value for field, value in whole.items() if field not in ("model.kwargs", "cells", "experiments")
    }


@pytest.mark.parametrize("check", [validation.validate, validation.digest])
@pytest.mark.parametrize("value", [print, (1, print), {1, 2}, float("inf"), (1, float("nan"))])
def test_a_value_that_json_does_not_hold_is_refused_by_the_name_of_its_field(check, value):
    config = base.get_config()
    config.model.kwargs = ConfigDict({"activation": value})
    with pytest.raises(UserError, match="model.kwargs.activation=.* can't be recorded"):
        check(config)


def test_a_path_may_begin_with_a_home_directory_that_there_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert validation.expand_path("~/cache", "data.cache_dir") == tmp_path / "cache"
    with pytest.raises(UserError, match="data.cache_dir='~nobody-of-that-name/cache'"):
        validation.expand_path("~nobody-of-that-name/cache", "data.cache_dir")


def test_a_process_without_a_home_goes_on_without_a_cache_and_says_so(monkeypatch, caplog):
    def expand(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(validation.pathlib.Path, "expanduser", expand)  # as for a user that /etc/passwd doesn't know
    assert validation.expand_cache_path("~/cache", "data.cache_dir") is None
    assert "data.cache_dir='~/cache' names a home directory that there is not" in caplog.text
    with pytest.raises(UserError, match="~nobody/cache"):
        validation.expand_cache_path("~nobody/cache", "data.cache_dir")


def test_every_number_has_a_range():
    numbers = {
        field for field, value in FIELDS.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }
    assert numbers == set(RANGES)


def test_every_field_of_several_numbers_has_a_range_of_each():
    assert {field for field, value in FIELDS.items() if isinstance(value, tuple)} == set(SEVERAL)


@pytest.mark.parametrize("field", SEVERAL)
@pytest.mark.parametrize("values", [(-1e300, 2), (2.0, math.nan), ("2", 2), (True, 2), (10**400, 2)])
def test_a_number_of_several_that_is_off_is_named(field, values):
    config = base.get_config()
    config.update_from_flattened_dict({field: values})
    with pytest.raises(UserError, match=f"^{field}=.* holds .*: each must be "):
        validation.validate(config)


@pytest.mark.parametrize("field", ["kernel.multiples", "kernel.ridges"])
def test_candidates_must_not_be_empty(field):
    config = base.get_config()
    config.update_from_flattened_dict({field: ()})
    with pytest.raises(UserError, match=f"^{field}=\\(\\) is no tuple of 1 numbers or more"):
        validation.validate(config)


def with_value(field, value):
    """The base config with a value of any type, as a config file that makes its own ConfigDict may have it."""
    leaves = {name: dict(own) if isinstance(own, ConfigDict) else own for name, own in FIELDS.items()}
    return validation.from_flat({**leaves, field: value})


@pytest.mark.parametrize(
    "field, value, line",
    [
        ("train.batch_size", 3.0, "train.batch_size=3.0 is no whole number: it must be one, in [1, 1048576]."),
        ("train.batch_size", True, "train.batch_size=True is no number: it must be in [1, 1048576]."),
        ("train.batch_size", "3", "train.batch_size='3' is no number: it must be in [1, 1048576]."),
        ("optimizer.momentum", False, "optimizer.momentum=False is no number: it must be in [0, 1)."),
        ("augmentation.flip", 1, "augmentation.flip=1 is no bool (True or False): set it to one like its default in"),
        ("data.name", 3, "data.name=3 is no text: set it to one like its default in configs/base.py."),
        ("optimizer.name", 3, "optimizer.name=3 is no text: set it to one like its default in configs/base.py."),
        ("cells", 3, "cells=3 is no section: set it to one like its default in configs/base.py."),
        ("theorem1.depths", (3.0,), "theorem1.depths=(3.0,) holds 3.0: each must be whole and in [2, 1000000]."),
        ("kernel.ridges", 0.1, "kernel.ridges=0.1 is no tuple of 1 numbers or more: write a value such as (1, 2)."),
    ],
)
def test_a_value_of_another_type_is_refused_by_the_name_of_its_field(field, value, line):
    with pytest.raises(UserError) as error:
        validation.validate(with_value(field, value))
    assert str(error.value).startswith(line)


@pytest.mark.parametrize(
    "field, value", [("train.total_epochs", 3), ("kernel.ridges", (1, 0.5)), ("theorem1.sizes", ())]
)
def test_a_number_that_need_not_be_whole_may_be(field, value):
    validation.validate(with_value(field, value))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("field", [field for field in RANGES if isinstance(FIELDS[field], int)])
def test_an_integer_beyond_all_floats_is_refused(field, sign):
    config = base.get_config()
    config.update_from_flattened_dict({field: sign * 10**400})
    with pytest.raises(UserError, match=f"^{field}=.* is out of range"):
        validation.validate(config)


@pytest.mark.parametrize("value", [1e-300, 1e-45, 1e38, 1e300])
@pytest.mark.parametrize("field", ["optimizer.learning_rate", "optimizer.epsilon", "batch_norm.epsilon"])
def test_a_number_that_float32_does_not_hold_is_refused(field, value):
    with pytest.raises(UserError, match=f"{field}=.* is out of range"):
        validation.validate(changed(**{field.replace(".", "__"): value}))


@pytest.mark.parametrize("name", ["base", "digits_random-mlp_tiny", "a.b-c=1e-3+x", "0", "x" * 100])
def test_a_name_may_be_that_of_a_directory_anywhere(name):
    validation.validate(changed(name=name))


@pytest.mark.parametrize(
    "name",
    ["", "..", "../../x", "a/b", "a\\b", "/tmp/x", ".x", "-x", "a b", "<script>", "$x", "*", "é", "x:y", "x" * 101],
)
def test_a_name_that_could_lead_elsewhere_is_refused(name):
    with pytest.raises(UserError) as error:
        validation.validate(changed(name=name))
    assert str(error.value).startswith(f"name='{name}' can't name a directory: choose")


@pytest.mark.parametrize("field", ["name", "data.dir", "hardware.compilation_cache", "model.name", "optimizer.name"])
@pytest.mark.parametrize("value", ["a\nb", "\0", "\x1b[2J", "\udcff"])
def test_a_text_that_cannot_be_printed_is_refused_in_one_line(field, value):
    with pytest.raises(UserError) as error:
        validation.validate(changed(**{field.replace(".", "__"): value}))
    assert str(error.value).startswith(f"{field}={value!r} holds a character")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("field", [field for field, value in FIELDS.items() if isinstance(value, str | bool)])
def test_a_missing_value_is_refused_by_the_name_of_its_field(field):
    config = base.get_config()
    config.update_from_flattened_dict({field: None})
    with pytest.raises(UserError, match=f"^{field}=None is no value"):
        validation.validate(config)


@pytest.mark.parametrize(
    "fields, line",
    [
        ({"filter": "a*"}, "filter='a*' is for"),
        ({"figure": "none"}, "figure='none' is for"),
    ],
)
def test_what_is_for_sweeps_is_refused_for_one_run(fields, line):
    config = changed(**fields)
    with pytest.raises(UserError, match=re.escape(line)):
        validation.validate(config)
    config.cells.a = (("seed", 1),)
    validation.validate(config)


def test_a_mistake_is_one_line_whatever_it_holds():
    assert str(UserError("a\nb\x1b[2J\udcff'é'")) == r"a\nb\x1b[2J\udcff'é'"


def test_the_notes_name_every_field_that_may_change():
    notes = (pathlib.Path(__file__).parents[2] / "docs" / "design.md").read_text()
    section = re.search(r"^## What may change when a run is resumed$.*?(?=^## )", notes, re.MULTILINE | re.DOTALL)[0]
    assert set(re.findall(r"`([a-z_.]+)`", section)) == FREE
