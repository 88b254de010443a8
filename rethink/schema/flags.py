"""Owns the reading of the command line: `--config` and its overrides, and one line for each mistake in them.

Refuses to judge values beyond their type: ranges and choices are in settings.py.
"""

import difflib
import logging
import os
import pathlib
import re
import runpy
import traceback
from typing import Any

import absl.logging
from absl import flags
from ml_collections import ConfigDict, config_flags

from rethink.schema import grid, validation
from rethink.schema.errors import UserError, unknown_name

SCHEMA = ("base", "studies")  # of configs/: the fields, not an experiment
_log = logging.getLogger(__name__)
_OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]*)")


def configure_logging() -> None:
    """Shows what the project says, and of the libraries below it only errors."""
    log = logging.getLogger("rethink")
    log.addHandler(logging.StreamHandler())
    log.setLevel(logging.INFO)
    log.propagate = False
    absl.logging.set_verbosity(absl.logging.ERROR)


def define_config(argv: list[str], default: str) -> flags.FlagHolder[ConfigDict]:
    """Defines `--config` and its overrides, with the names in `argv` checked first.

    Raises:
      UserError: the config file is missing or fails, or has not the fields of base.py beside `default`; an override
        names no field, or stands before `--config`; there are two of that, or a file of flags that can't be read.
    """
    paths: list[str] = []
    early: list[str] = []
    overrides: dict[str, str] = {}
    for argument, following in zip(argv, [*argv, ""][1:], strict=True):
        if re.fullmatch(r"--?config(=.*)?", argument):
            paths.append(argument.partition("=")[2] or following)
            if early:
                raise UserError(f"{early[0]} stands before --config={paths[0]}, which it changes: put --config first.")
        elif match := _OVERRIDE.match(argument):
            early.append(argument)
            overrides[match[1]] = argument.partition("=")[2] if "=" in argument else following
    if len(paths) > 1:
        raise UserError(f"--config is given {len(paths)} times ({', '.join(paths)}): choose one.")
    path = paths[0] if paths else default
    configs = pathlib.Path(default).parent
    fields = dict(validation.flatten(_load(path, configs)))
    cells = _fields_of_cells(path, fields)
    axes = grid.read_axes(str(overrides.get("axes", fields["axes"])), fields)
    for field in overrides:
        _check_override(field, fields)
        _check_cells(field, path, cells)
        if field in (axis.field for axis in axes):
            raise UserError(f"--config.{field} would change nothing, as it is an axis: give its values in config.axes.")
    _warn_of_model(path, configs, fields, overrides)
    try:
        return config_flags.DEFINE_config_file("config", default, "Config file; its arguments follow a colon.")
    except flags.Error as error:  # --flagfile, which is read here
        raise UserError(f"{error}. See --help.") from error


def parse_flags(argv: list[str]) -> list[str]:
    """Parses all flags; returns what is left over.

    Raises:
      UserError: an unknown flag, or a value of the wrong type.
    """
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        match = re.match(r"flag --(config\.(\S+?))=(.*?): ", str(error), re.DOTALL)
        if not match:
            raise UserError(f"{error}. See --help.") from error
        default = dict(validation.flatten(flags.FLAGS["config"].value)).get(match[2])
        raise UserError(
            f"--{match[1]}={match[3]} is no {type(default).__name__}: type a value such as --{match[1]}={default!r}."
        ) from error


def overridden_fields() -> list[str]:
    """Returns the fields of the config that the command line sets, after `parse`."""
    return list(config_flags.get_override_values(flags.FLAGS["config"]))


def refuse_arguments(arguments: list[str]) -> None:
    """Refuses what is left of the command line beside the program's name."""
    if len(arguments) > 1:
        raise UserError(f"'{arguments[1]}' is no flag: did you mean --config={arguments[1]}?")


def _load(path: str, configs: pathlib.Path) -> ConfigDict:
    """Returns the config of a file, given as FILE or FILE:ARGUMENTS; `configs` is where the project's own are."""
    file, *arguments = path.split(":", 1)
    if not pathlib.Path(file).is_file():
        choices = sorted(os.path.relpath(other) for other in configs.rglob("*.py") if other.stem not in SCHEMA)
        raise UserError(unknown_name("--config", file, choices))
    try:
        config = runpy.run_path(file)["get_config"](*arguments)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = ([frame for frame in frames if frame.filename == file] or frames)[-1]
        where = "" if isinstance(error, ValueError) else f" ({type(error).__name__}, {place.filename}:{place.lineno})"
        raise UserError(f"--config={path}: {' '.join(str(error).split())}{where}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"--config={path}: get_config must return a ConfigDict, not {type(config).__name__}.")
    _check_schema(path, config, runpy.run_path(str(configs / "base.py"))["get_config"]())
    return config


def _check_schema(path: str, config: ConfigDict, schema: ConfigDict) -> None:
    """Checks that a config has every field of the schema, and no other: one that nothing reads is a mistake."""
    fields, known = dict(validation.flatten(config)), dict(validation.flatten(schema))
    for field in fields:
        if field not in known and not _free_section(field, known):
            raise UserError(f"--config={path}: config.{field} {_no_field(field, list(known))}")
    for field, value in known.items():
        if field not in fields and not isinstance(value, ConfigDict):
            raise UserError(f"--config={path}: config.{field} is missing: begin with base.get_config().")


def _check_override(field: str, fields: dict[str, Any]) -> None:
    """Checks that an override names a field."""
    free = _free_section(field, fields)
    if free:
        raise UserError(
            f"config.{free} takes names of your own: set them in a config file, config.{free}.NAME = VALUE."
        )
    if field in fields:
        return
    inside = [other for other in fields if other.startswith(f"{field}.")]
    if inside:
        raise UserError(f"config.{field} is a section: set one of its fields, {', '.join(inside)}.")
    raise UserError(f"--config.{field} {_no_field(field, list(fields))}")


def _fields_of_cells(path: str, fields: dict[str, Any]) -> dict[str, set[str]]:
    """Returns cell of a table -> the fields that it sets."""
    found = {}
    for name, value in fields.items():
        if name.startswith("cells."):
            try:
                found[name] = {field for field, _ in value}
            except (TypeError, ValueError) as error:
                raise UserError(
                    f"--config={path}: config.{name}={value!r} is no cell: write ((field, value), ...), such as "
                    "(('corruption.labels', 'none'),)."
                ) from error
    return found


def _check_cells(field: str, path: str, cells: dict[str, set[str]]) -> None:
    """Refuses an override that changes no cell of a table, and names the cells that it leaves as they are."""
    setters = [cell.removeprefix("cells.") for cell, fields in cells.items() if field in fields]
    if setters and len(setters) == len(cells):
        raise UserError(f"--config.{field} would change nothing, as all cells of {path} set it: change a copy of it.")
    if setters:
        _log.warning("--config.%s leaves the cells that set it themselves as they are: %s.", field, ", ".join(setters))


def _warn_of_model(path: str, configs: pathlib.Path, fields: dict[str, Any], overrides: dict[str, str]) -> None:
    """Says which fields an override of the model's name leaves at what suits another model, and how they come along."""
    name = overrides.get("model.name", fields["model.name"])
    brings = runpy.run_path(str(configs / "base.py"))["MODELS"].get(name, {})
    if name == fields["model.name"] or not brings:
        return
    given = f"{path.partition(':')[0]}:{name}"
    try:
        brought = dict(validation.flatten(_load(given, configs)))
    except UserError:  # a file of the user's own that takes no model
        return
    kept = [field for field in brings if field not in overrides and brought[field] != fields[field]]
    if kept:
        _log.warning(
            "model.name=%s by override keeps %s; --config=%s brings %s.",
            name,
            " and ".join(f"{field}={fields[field]}" for field in kept),
            given,
            " and ".join(str(brought[field]) for field in kept),
        )


def _free_section(field: str, fields: dict[str, Any]) -> str | None:
    """Returns the empty section that is `field` or holds it: there, any name may be added."""
    empty = (name for name, value in fields.items() if isinstance(value, ConfigDict))
    return next((name for name in empty if f"{field}.".startswith(f"{name}.")), None)


def _no_field(given: str, fields: list[str]) -> str:
    """Returns the end of a line about a field that there is not: the one spelt most alike, or the section's fields."""
    section, _, name = given.rpartition(".")
    names = {field.rpartition(".")[2]: field for field in fields}
    near = [names[match] for match in difflib.get_close_matches(name, names, n=1, cutoff=0.7)]
    inside = [field for field in fields if section and field.rpartition(".")[0] == section]
    hint = "."
    if near:
        hint = f"; did you mean config.{near[0]}?"
    elif inside:
        hint = f"; config.{section} has: {', '.join(inside)}."
    return f"is no field{hint} All fields are in configs/base.py."
