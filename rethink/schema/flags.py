"""Reads the command line: `--config`, its overrides and `--help`; a mistake in them is one line.

Only names and types are checked here: intervals and choices are checked by validation.py.
"""

import difflib
import logging
import os
import pathlib
import re
import runpy
import sys
import textwrap
import traceback
from collections.abc import Iterable, Sequence
from typing import Any

import absl.logging
from absl import flags
from ml_collections import ConfigDict, config_flags

from rethink.schema import validation
from rethink.schema.errors import UserError, unknown_name
from rethink.schema.fields import FIELDS, Field

SCHEMA = ("base", "analyses")  # files of configs/ that hold fields, not an experiment
_HELP_FLAGS = {"--help", "-help", "-h", "-?"}
_COLUMNS = 100  # of the help text
_KINDS = {int: "whole number", float: "number", bool: "True or False", str: "text", dict: "section"}
_log = logging.getLogger(__name__)
_OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]*)")


def configure_logging() -> None:
    """Shows messages of this package from INFO on, and of absl only errors."""
    log = logging.getLogger("rethink")
    log.addHandler(logging.StreamHandler())
    log.setLevel(logging.INFO)
    log.propagate = False
    absl.logging.set_verbosity(absl.logging.ERROR)


def define_config(argv: list[str], default: str) -> flags.FlagHolder[ConfigDict]:
    """Defines `--config` and its overrides, after a check of the names in `argv`.

    Args:
      argv: the command line without the program's name.
      default: path of the config file that is taken without `--config`; base.py lies beside it.

    Raises:
      UserError: the config file is missing or fails, or has not the fields of base.py; an override names no field, or
        would change nothing, or stands before `--config`; `--config` is given twice, or a `--flagfile` can't be read.
    """
    # Find --config and its overrides, each with its value after "=" or as the next word.
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
    # Load the file itself, as ml_collections reports mistakes in it and in overrides with a traceback.
    path = paths[0] if paths else default
    configs = pathlib.Path(default).parent
    fields = dict(validation.flatten(_load_config(path, configs)))
    # Check that each override names a field and changes something.
    cells = _fields_of_cells(path, fields)
    axes = validation.axis_fields(str(overrides.get("axes", fields["axes"])))
    for field in overrides:
        _check_override(field, fields)
        _check_cells(field, path, cells)
        if field in axes:
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
    """Returns the fields of the config that the command line sets, after `parse_flags`."""
    return list(config_flags.get_override_values(flags.FLAGS["config"]))


def refuse_arguments(arguments: list[str]) -> None:
    """Refuses words of the command line that are no flags; the first of `arguments` is the program's name."""
    if len(arguments) > 1:
        raise UserError(f"'{arguments[1]}' is no flag: did you mean --config={arguments[1]}?")


def show_help(argv: list[str], usage: str, default: str) -> None:
    """Prints the help and exits with 0, if one of the words in `argv` asks for it.

    Args:
      usage: the text that comes first.
      default: as in `define_config`.
    """
    if _HELP_FLAGS.intersection(argv):
        base = runpy.run_path(str(pathlib.Path(default).parent / "base.py"))
        print(_describe_flags(usage, base["get_config"]()))
        sys.exit(0)


def _describe_flags(usage: str, defaults: ConfigDict) -> str:
    """Returns the usage, the flags, and every field of a config with what it may hold and its default."""
    blocks = [usage.strip(), "\nFlags:"]
    for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0]):
        if flag.name != "config":
            blocks.append(_indent(f"  --{flag.name}=VALUE  {flag.help}"))
    blocks.append("\nFields, set by --config.FIELD=VALUE, with the defaults of configs/base.py.")
    blocks.append("Those with a * may change when a run is resumed (but where results depend on them: docs/design.md).")
    values = dict(validation.flatten(defaults))
    above = None
    for field, row in FIELDS.items():
        if (section := field.rpartition(".")[0]) != above:
            above = section
            blocks.append("")
        value = "" if row.type is dict else f"={values[field]!r}"
        star = "*" if row.resumable else " "
        blocks.append(_indent(f"{star} {field}{value}  {_describe_values(row)}"))
        blocks.append(_indent(f"      {row.help}"))
    return "\n".join(blocks)


def _indent(text: str) -> str:
    """Returns a paragraph in lines of at most 100 columns, the further ones indented."""
    return textwrap.fill(text, _COLUMNS, subsequent_indent=" " * 6, break_on_hyphens=False)


def _describe_values(row: Field) -> str:
    """Returns what a field may hold, such as "whole number in [1, 1000], steps"."""
    kind = " | ".join(row.choices) or _KINDS[row.type]
    if row.interval:
        kind += f" {row.interval}"
    if row.least_length is not None:
        kind = f"tuple of {row.least_length} or more, each a {kind}"
    return f"{kind}, {row.unit}" if row.unit else kind


def _load_config(path: str, configs: pathlib.Path) -> ConfigDict:
    """Returns the config of a file, given as FILE or FILE:ARGUMENTS.

    Args:
      configs: the folder of this package's own config files.
    """
    file, *arguments = path.split(":", 1)
    if not pathlib.Path(file).is_file():
        choices = sorted(os.path.relpath(other) for other in configs.rglob("*.py") if other.stem not in SCHEMA)
        raise UserError(unknown_name("--config", file, choices))
    try:
        # A config file is a program: whatever it raises is reported in one line, with its place.
        config = runpy.run_path(file)["get_config"](*arguments)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = ([frame for frame in frames if frame.filename == file] or frames)[-1]
        where = "" if isinstance(error, ValueError) else f" ({type(error).__name__}, {place.filename}:{place.lineno})"
        raise UserError(f"--config={path}: {' '.join(str(error).split())}{where}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"--config={path}: get_config must return a ConfigDict, not {type(config).__name__}.")
    _check_schema(path, config)
    return config


def _check_schema(path: str, config: ConfigDict) -> None:
    """Checks that a config has every field of the schema, and no other: one that nothing reads is a mistake."""
    fields = dict(validation.flatten(config))
    free = [field for field, row in FIELDS.items() if row.type is dict]
    for field in fields:
        if field not in FIELDS and not _free_section(field, free):
            raise UserError(f"--config={path}: config.{field} {_no_field(field, sorted(FIELDS))}")
    for field, row in FIELDS.items():
        if field not in fields and row.type is not dict:
            raise UserError(f"--config={path}: config.{field} is missing: begin with base.get_config().")


def _check_override(field: str, fields: dict[str, Any]) -> None:
    """Checks that an override names a field."""
    free = _free_section(field, [name for name, value in fields.items() if isinstance(value, ConfigDict)])
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
    """Returns cell of a sweep -> the fields that it sets."""
    cells = {}
    for name, value in fields.items():
        if name.startswith("cells."):
            try:
                cells[name] = {field for field, _ in value}
            except (TypeError, ValueError) as error:
                raise UserError(
                    f"--config={path}: config.{name}={value!r} is no cell: write ((field, value), ...), such as "
                    "(('corruption.labels', 'none'),)."
                ) from error
    return cells


def _check_cells(field: str, path: str, cells: dict[str, set[str]]) -> None:
    """Refuses an override that changes no cell of a sweep, and warns of the cells that it leaves as they are."""
    setters = [cell.removeprefix("cells.") for cell, fields in cells.items() if field in fields]
    if setters and len(setters) == len(cells):
        raise UserError(f"--config.{field} would change nothing, as all cells of {path} set it: change a copy of it.")
    if setters:
        _log.warning("--config.%s leaves the cells that set it themselves as they are: %s.", field, ", ".join(setters))


def _warn_of_model(path: str, configs: pathlib.Path, fields: dict[str, Any], overrides: dict[str, str]) -> None:
    """Warns of fields that an override of the model's name leaves at what suits another model, and how to set them."""
    name = overrides.get("model.name", fields["model.name"])
    brings = runpy.run_path(str(configs / "base.py"))["MODELS"].get(name, {})
    if name == fields["model.name"] or not brings:
        return
    with_model = f"{path.partition(':')[0]}:{name}"
    try:
        brought = dict(validation.flatten(_load_config(with_model, configs)))
    except UserError:  # a file of the user's own that takes no model
        return
    kept = [field for field in brings if field not in overrides and brought[field] != fields[field]]
    if kept:
        _log.warning(
            "model.name=%s by override keeps %s; --config=%s brings %s.",
            name,
            " and ".join(f"{field}={fields[field]}" for field in kept),
            with_model,
            " and ".join(str(brought[field]) for field in kept),
        )


def _free_section(field: str, sections: Iterable[str]) -> str | None:
    """Returns which of some sections in which names can be chosen is `field` or holds it, None for none."""
    return next((section for section in sections if f"{field}.".startswith(f"{section}.")), None)


def _no_field(wrong: str, fields: Sequence[str]) -> str:
    """Returns the end of a line about a field that there is not: the one spelt most alike, or the section's fields."""
    section, _, name = wrong.rpartition(".")
    names = {field.rpartition(".")[2]: field for field in fields}
    near = [names[match] for match in difflib.get_close_matches(name, names, n=1, cutoff=0.7)]
    inside = [field for field in fields if section and field.rpartition(".")[0] == section]
    hint = "."
    if near:
        hint = f"; did you mean config.{near[0]}?"
    elif inside:
        hint = f"; config.{section} has: {', '.join(inside)}."
    return f"is no field{hint} All fields are in configs/base.py."
