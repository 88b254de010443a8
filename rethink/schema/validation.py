"""Owns what a valid config is: choices, ranges, and epochs turned into steps.

Refuses to know any model or data set: the choices are handed in by the caller.
"""

import hashlib
import json
import pathlib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from rethink.schema.errors import UserError, unknown_name
from rethink.schema.fields import RANGES, SEVERAL

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+=-]{0,99}")  # of a directory, a title and a line of a table

# Where things are and how often they happen, not what is computed.
_HOST_LOCAL_FIELDS = ("data.dir", "data.cache_dir", "data.workers", "hardware.compilation_cache")
RUNTIME_FIELDS = (
    "name",
    "axes",
    "figure",
    "filter",
    "seeds",
    "executor",
    "jobs",
    "data.dir",
    "data.cache_dir",
    "data.feed",
    "data.resident_limit_gib",
    "data.workers",
    "train.total_epochs",
    "stop.train_accuracy",
    "evaluate.every_epochs",
    "log.every_steps",
    "log.tensorboard",
    "log.patience_hours",
    "checkpoint.every_epochs",
    "checkpoint.keep",
    "hardware.cpu_devices",
    "hardware.heartbeat_timeout_seconds",
    "hardware.compilation_cache",
)
_SINGLE_RUN_VALUES = {
    "filter": "*",
    "seeds": 1,
    "executor": "sequential",
    "jobs": 0,
}  # of tables: what a run by itself has


def validate(config: ConfigDict, choices: Mapping[str, Collection[str]]) -> None:
    """Checks every field that has a range or a closed set of choices, and that every value can be recorded.

    Args:
      choices: field -> what it may be.

    Raises:
      UserError: the first field that is off.
    """
    to_json(config)
    for field, value in flatten(config):
        _check_value(field, value)
        if field in choices and value not in choices[field]:
            raise UserError(unknown_name(field, value, choices[field]))
    check_name("name", config.name)
    for field, alone in _SINGLE_RUN_VALUES.items():
        if config.get(field, alone) != alone and not (config.cells or config.axes or config.experiments):
            raise UserError(
                f"{field}={config[field]!r} is for tables, and this config has no cells and no axes: set it to "
                f"{alone!r}, or choose a table, such as --config=configs/paper/table1.py."
            )
    if config.get("jobs") and config.executor == "sequential":
        raise UserError(
            f"jobs={config.jobs} would change nothing with executor='sequential': set config.executor to 'vmapped', "
            "'processes' or 'ray', or leave it out."
        )


def _check_value(field: str, value: Any) -> None:
    """Checks what can be said of one value alone."""
    if field in RANGES and not isinstance(value, int | float):
        raise UserError(f"{field}={value} is no number: it must be {RANGES[field]}.")
    if field in RANGES and value not in RANGES[field]:
        raise UserError(f"{field}={value} is out of range: it must be {RANGES[field]}.")
    if field in SEVERAL:
        _check_several(field, value)
    if value is None and not field.startswith("model.kwargs."):
        raise UserError(f"{field}=None is no value: set it to one like its default in configs/base.py.")
    if isinstance(value, str) and not value.isprintable():
        raise UserError(f"{field}={value!r} holds a character that can't be printed: leave it out.")


def _check_several(field: str, values: Any) -> None:
    """Checks a field that holds several numbers."""
    interval, least = SEVERAL[field]
    if not isinstance(values, list | tuple) or len(values) < least:
        raise UserError(f"{field}={values!r} is no tuple of {least} numbers or more: write a value such as (1, 2).")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or value not in interval:
            raise UserError(f"{field}={values!r} holds {value!r}: each must be {interval}.")


def check_name(field: str, name: str) -> None:
    """Checks that a name can be that of a directory, wherever it is."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{field}='{name}' can't name a directory: choose up to 100 letters, digits and any of _ . + = -, with a "
            "letter or digit first."
        )


def flatten(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted field, value) of every leaf, in order of definition; an empty section is a leaf."""
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
        section[last] = ConfigDict(value) if isinstance(value, dict) else _tuples(value)
    return config


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def resumable_fields(config: ConfigDict) -> frozenset[str]:
    """Returns the fields that may change when a run is resumed: those that change nothing of what it computes."""
    tied = set()
    if config.optimizer.schedule == "cosine":  # the learning rate of every step depends on the last one
        tied.add("train.total_epochs")
    if config.early_stopping.monitor != "none":  # which counts evaluations
        tied.add("evaluate.every_epochs")
    norm = config.batch_norm
    if norm.kind == "per_device" or (norm.kind != "none" and norm.evaluation == "batch"):
        # Statistics of a device's part of the batch, or of an evaluation batch, which divides by the devices.
        tied.add("hardware.cpu_devices")
    return frozenset(RUNTIME_FIELDS) - tied


def cross_host_json(config: ConfigDict) -> str:
    """Returns what all processes of a run must agree on, as text: all but where things are on each host."""
    leaves = json.loads(to_json(config))
    return json.dumps({field: value for field, value in leaves.items() if field not in _HOST_LOCAL_FIELDS})


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
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{field}={value!r} can't be recorded: give a number, a text, True, False, None, or a tuple of these."
            ) from error
    return json.dumps(leaves, indent=2)


def digest(config: ConfigDict, overridden: Collection[str] = ()) -> str:
    """Returns 8 hex digits that tell apart configs which make different runs; cells and parts do not count.

    The fields of axes do, and not their values: a sweep that gets one more value keeps its directory.

    Args:
      overridden: the fields that the command line sets; those of parts, experiments.NAME.FIELD, count.
    """
    leaves = json.loads(to_json(config))
    free = resumable_fields(config)
    several = ("cells", "experiments")
    kept = {name: value for name, value in leaves.items() if name not in free and name.split(".")[0] not in several}
    for field in overridden:
        if field.startswith("experiments.") and field.split(".", 2)[2] not in free:
            kept[field] = leaves[field]
    if config.axes:
        kept["axes"] = sorted(axis.partition("=")[0].strip() for axis in config.axes.split(";"))
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]


def expand_path(path: str, field: str) -> pathlib.Path:
    """Returns a path of the user's with `~` and `~user` replaced; `field` names it in an error.

    Raises:
      UserError: there is no such user, or no home directory.
    """
    try:
        return pathlib.Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{field}='{path}' names a home directory that there is not: write it in full.") from error
