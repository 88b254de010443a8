"""Checks a config against the table of fields, flattens it, and tells which configs are the same run.

No fact about a single field stands here: those are the rows of fields.py.
"""

import ast
import contextlib
import hashlib
import json
import logging
import math
import pathlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from rethink.schema.errors import UserError, unknown_name
from rethink.schema.field_rows import Field
from rethink.schema.fields import FIELDS

_log = logging.getLogger(__name__)

GIVEN = "given-in-python"  # in place of a name, of data and networks that only the program has which gave them
KWARGS = "model.kwargs"  # the section whose fields are those of a model's class: models/registry.py checks them
_LITERALS = {"true": True, "false": False, "none": None}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+=-]{0,99}")  # of a directory, a title and a line of a table


def validate(config: ConfigDict) -> None:
    """Checks the type, interval and choices of every field, and that every value can be recorded.

    Raises:
      UserError: the first field that is off.
    """
    to_json(config)
    check_fields(config)
    check_name("name", config.name)
    if not (is_sweep(config) or config.experiments):
        _check_single_run(config)
    if config.get("jobs") and config.executor == "sequential":
        raise UserError(
            f"jobs={config.jobs} would change nothing with executor='sequential': set config.executor='processes' or "
            "'ray', or leave it out."
        )


def check_fields(config: ConfigDict, but: Collection[str] = ()) -> None:
    """Checks the type, interval and choices of every field for itself, except for those in `but`.

    Raises:
      UserError: the first field that is off.
    """
    for field, value in flatten(config):
        if field in but:
            continue
        if field in FIELDS:
            row = FIELDS[field]
            check = _CHECKS[row.type] if row.least_length is None else _check_tuple
            check(field, value, row)
        elif value is None and not field.startswith("model.kwargs."):
            raise UserError(_not_a(field, value, "value"))
        if isinstance(value, str) and not value.isprintable():
            raise UserError(f"{field}={value!r} holds a character that can't be printed: leave it out.")


def is_sweep(config: ConfigDict) -> bool:
    """Returns whether a config stands for several runs."""
    return bool(config.cells or config.axes) or config.seeds > 1


def _check_single_run(config: ConfigDict) -> None:
    """Checks that a config of one run sets no field that is for sweeps."""
    for field, row in FIELDS.items():
        alone = row.single_run
        if alone not in (None, {}) and config.get(field, alone) != alone:
            raise UserError(
                f"{field}={config[field]!r} is for sweeps, and this config is one run: set it to {alone!r}, or make it "
                "a sweep by several seeds (--config.seeds=3) or by --config.axes=FIELD=VALUE,VALUE."
            )


def suggest_value(text: str, default: Any) -> str:
    """Returns what to type instead of a text that is no value of the default's type: the nearest, else the default."""
    if isinstance(default, bool):
        return {"yes": "True", "on": "True", "no": "False", "off": "False"}.get(text.lower(), "True or False")
    if isinstance(default, int):
        with contextlib.suppress(ValueError, OverflowError):
            return str(int(float(text)))
    return repr(default)


def _not_a(field: str, value: Any, noun: str) -> str:
    return f"{field}={value!r} is no {noun}: set it to one like its default in configs/base.py."


def _check_number(field: str, value: Any, row: Field) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{field}={value!r} is no number: it must be {row.interval}.")
    if row.type is int and isinstance(value, float):
        raise UserError(f"{field}={value!r} is no whole number: it must be one, {row.interval}.")
    if row.interval is not None and value not in row.interval:
        raise UserError(f"{field}={value} is out of range: it must be {row.interval}.")


def _check_tuple(field: str, values: Any, row: Field) -> None:
    least = row.least_length or 0
    if not isinstance(values, list | tuple) or len(values) < least:
        raise UserError(f"{field}={values!r} is no tuple of {least} numbers or more: write a value such as (1, 2).")
    for value in values:
        try:
            _check_number(field, value, row)
        except UserError as error:
            kind = "whole and " if row.type is int else ""
            raise UserError(f"{field}={values!r} holds {value!r}: each must be {kind}{row.interval}.") from error


def _check_switch(field: str, value: Any, row: Field) -> None:
    if not isinstance(value, bool):
        raise UserError(_not_a(field, value, "value" if value is None else "bool (True or False)"))


def _check_text(field: str, value: Any, row: Field) -> None:
    if not isinstance(value, str):
        raise UserError(_not_a(field, value, "value" if value is None else "text"))
    name, _, argument = value.partition(":")
    known = any(choice.startswith(f"{name}:") for choice in row.choices) if argument else value in row.choices
    if row.choices and value.isprintable() and not known:
        raise UserError(unknown_name(field, value, row.choices))


def _check_section(field: str, value: Any, row: Field) -> None:
    if not isinstance(value, ConfigDict):
        raise UserError(_not_a(field, value, "section"))


_CHECKS: dict[type, Callable[[str, Any, Field], None]] = {
    int: _check_number,
    float: _check_number,
    bool: _check_switch,
    str: _check_text,
    dict: _check_section,
}


def read_literal(text: str) -> Any:
    """Returns the value that a text stands for: a finite number, True, False, None or a tuple of these, else the text.

    A list is a tuple, as it is in a config that was recorded.
    """
    if text.lower() in _LITERALS:
        return _LITERALS[text.lower()]
    try:
        value = tuples(ast.literal_eval(text))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return text
    return value if is_plain(value) else text


def is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def is_kwarg(field: str) -> bool:
    """Returns whether a field, one of an experiment included, is one that a model's class defines."""
    section, _, name = field.rpartition(".")
    return name.isidentifier() and (section == KWARGS or section.endswith(f".{KWARGS}"))


def name_after_parts(config: ConfigDict, changes: Mapping[str, Any]) -> None:
    """Names a config after the model and the data that changes of fields will set, or after none where it is an axis.

    The name changes where words of it, with - between, are those of the model or the data, as configs/base.py and
    configs/own.py make it; and not where the changes set it.
    """
    if "name" in changes:
        return
    axes, name = axis_fields(changes.get("axes", "")), f"-{config.name}-"
    for field, word in (("model.name", model_word), ("data.name", data_word)):
        section, _, _ = field.partition(".")
        before = config[section].name or section  # None is left open
        now = "" if field in axes else word(str(changes.get(field, before)))
        name = name.replace(f"-{word(before)}-", f"-{now}-" if now else "-")
    config.name = name.strip("-")


def model_word(model: str) -> str:
    """Returns the name of a model as a word of a directory's name, where package.module:ClassName can't stand."""
    return re.sub(r"[^A-Za-z0-9_.+=-]", ".", model)


def data_word(data: str) -> str:
    """Returns the last part of a data set's path or name as a word of a directory's name, cut to 40 characters."""
    return model_word(pathlib.PurePath(data.partition(":")[2] or data).name)[:40]


def check_name(field: str, name: str) -> None:
    """Checks that a name can be that of a directory, wherever it is."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{field}='{name}' can't name a directory: choose up to 100 letters, digits and any of _ . + = -, with a "
            "letter or digit first."
        )


def flatten(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted field, value) of every leaf, sorted by name; an empty section is a leaf."""
    for name in config:
        field, value = f"{prefix}{name}", config[name]
        if isinstance(value, ConfigDict) and len(value):
            yield from flatten(value, f"{field}.")
        else:
            yield field, value


def from_flat(leaves: Mapping[str, Any]) -> ConfigDict:
    """Returns the config of flat fields as `to_json` has them; lists become tuples."""
    config = ConfigDict()
    for field, value in leaves.items():
        section = config
        *above, last = field.split(".")
        for name in above:
            if name not in section:
                section[name] = ConfigDict()
            section = section[name]
        section[last] = ConfigDict(value) if isinstance(value, dict) else tuples(value)
    return config


def tuples(value: Any) -> Any:
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def resumable_fields(config: ConfigDict) -> frozenset[str]:
    """Returns the fields that may change when a run is resumed: those on which nothing that it computes depends."""
    tied = set()
    if config.kind == "influence" or config.optimizer.schedule == "cosine":
        # All networks are trained alike; or the learning rate of every step depends on the last one.
        tied.add("train.total_epochs")
    if config.kind == "label_issues":  # whose networks are read at the same steps
        tied |= {"train.total_epochs", "evaluate.every_epochs"}
    if config.early_stopping.monitor != "none":  # which counts evaluations
        tied.add("evaluate.every_epochs")
    if device_ties(config.batch_norm):
        tied.add("hardware.cpu_devices")
    return frozenset(field for field, row in FIELDS.items() if row.resumable) - tied


def device_ties(norm: ConfigDict) -> list[str]:
    """Returns "FIELD=VALUE" of each field of the section `batch_norm` that makes results depend on how many devices.

    Statistics are then those of a device's part of the batch, or of an evaluation batch, which divides by the devices.
    """
    ties = {"kind": norm.kind == "per_device", "evaluation": norm.kind != "none" and norm.evaluation == "batch"}
    return [f"batch_norm.{name}={norm[name]}" for name, is_tied in ties.items() if is_tied]


def cross_host_json(config: ConfigDict) -> str:
    """Returns what all processes of a run must agree on, as JSON: all fields but those that are each host's own."""
    leaves = json.loads(to_json(config))
    host_local = {field for field, row in FIELDS.items() if row.host_local}
    return json.dumps({field: value for field, value in leaves.items() if field not in host_local})


def changed_fields(config: ConfigDict, before: Mapping[str, Any]) -> list[str]:
    """Returns one `field: before -> now` for each field that makes `config` another run than the one recorded before.

    Args:
      before: a flat config, as `dict(flatten(config))` from JSON.
    """
    now = json.loads(to_json(config))
    free = resumable_fields(config)
    fields = [field for field in {**before, **now} if field not in free and before.get(field) != now.get(field)]
    return [f"{field}: {before.get(field)!r} -> {now.get(field)!r}" for field in fields]


def to_json(config: ConfigDict) -> str:
    """Returns the flat config as a JSON object, one field a line.

    Raises:
      UserError: a value is none of JSON.
    """
    leaves = {field: dict(value) if isinstance(value, ConfigDict) else value for field, value in flatten(config)}
    for field, value in leaves.items():
        try:
            json.dumps(value, allow_nan=field in FIELDS)  # whose intervals are checked
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{field}={value!r} can't be recorded: give a finite number, a text, True, False, None, or a tuple of "
                "these."
            ) from error
    return json.dumps(leaves, indent=2)


def digest(config: ConfigDict, overridden: Collection[str] = ()) -> str:
    """Returns 8 hex digits that differ between configs which compute different things.

    Cells and experiments do not count, so that more of them can be added in the same directory. Of axes the fields
    count, and not the values: a sweep that gets one more value keeps its directory. Of seeds counts that there are
    several, where nothing else makes a sweep.

    Args:
      overridden: the fields that the command line sets; those of single experiments, experiments.NAME.FIELD, count.
    """
    leaves = json.loads(to_json(config))
    free = resumable_fields(config)
    several = ("cells", "experiments")
    kept = {name: value for name, value in leaves.items() if name not in free and name.split(".")[0] not in several}
    for field in overridden:
        if field.startswith("experiments.") and field.split(".", 2)[2] not in free:
            kept[field] = leaves[field]
    if config.axes:
        kept["axes"] = sorted(axis_fields(config.axes))
    elif is_sweep(config) and not config.cells:  # it can't lie where the run of the same config lies
        kept["seeds"] = "several"
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]


def axis_fields(axes: str) -> list[str]:
    """Returns the fields that a text of axes, FIELD=VALUE,VALUE;FIELD=VALUE, sets; the text is checked by read_axes."""
    return [axis.partition("=")[0].strip() for axis in axes.split(";")]


def expand_path(path: str, field: str) -> pathlib.Path:
    """Returns a path of the user's with `~` and `~user` replaced; `field` names it in an error.

    Raises:
      UserError: there is no such user, or no home directory.
    """
    try:
        return pathlib.Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{field}='{path}' names a home directory that there is not: write it in full.") from error


def expand_cache_path(path: str, field: str) -> pathlib.Path | None:
    """Returns a path as `expand_path` does; None, with a warning, where this process has no home directory for `~`.

    So it is in a container whose user the system doesn't know: it goes on without a cache.

    Raises:
      UserError: there is no such user.
    """
    try:
        return expand_path(path, field)
    except UserError as error:
        if not path.startswith("~/"):
            raise
        _log.warning("%s It is not used.", error)
        return None
