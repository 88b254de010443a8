"""Loads a config file and checks that it has the fields of the schema; a mistake in it is one line with its place.

A file is a program with a function get_config. Only names are checked here, and each value by itself.
"""

import contextlib
import difflib
import inspect
import os
import pathlib
import runpy
import traceback
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict
from ml_collections.config_dict import RequiredValueError, placeholder

from rethink.schema import errors, validation
from rethink.schema.errors import UserError, unknown_name
from rethink.schema.fields import FIELDS

SCHEMA = ("base", "analyses")  # files of configs/ that hold fields, not an experiment
# What other programs call a field.
_OTHER_NAMES = {"lr": "optimizer.learning_rate", "epochs": "train.total_epochs"}


def load_config(path: str, configs: pathlib.Path, overrides: Collection[str]) -> ConfigDict:
    """Returns the config of a file, given as FILE or FILE:ARGUMENTS.

    Args:
      configs: the folder of this package's own config files.
      overrides: the fields that the command line sets, which may be left open.

    Raises:
      UserError: the file is missing or fails, or returns no config with the fields of the schema.
    """
    file, *arguments = path.split(":", 1)
    _check_file(file, configs)
    with _mistakes_in(path, file):
        get_config = runpy.run_path(file).get("get_config")
    if not callable(get_config):
        raise UserError(f"--config={path} defines no function get_config: begin with a copy of a file of configs/.")
    try:
        inspect.signature(get_config).bind(*arguments)
    except TypeError as error:
        raise UserError(f"--config={path}: get_config: {error}; what follows a colon is given to it.") from error
    with _mistakes_in(path, file):
        config = get_config(*arguments)
    if not isinstance(config, ConfigDict) or isinstance(config, FrozenConfigDict):
        raise UserError(f"--config={path}: get_config must return a ConfigDict, not {type(config).__name__}.")
    try:
        _check_section(config, "", overrides)
        _check_schema(config)
        validation.check_fields(config, but=overrides)
    except RecursionError as error:
        raise UserError(f"--config={path}: a section holds itself: give each section fields of its own.") from error
    except UserError as error:
        raise UserError(f"--config={path}: {error}") from error
    return config


def fields_of_cells(path: str, fields: dict[str, Any]) -> dict[str, set[str]]:
    """Returns cell of a sweep -> the fields that it sets.

    Raises:
      UserError: a cell has another form.
    """
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


def free_section(field: str, sections: Iterable[str]) -> str | None:
    """Returns which of some sections in which names can be chosen is `field` or holds it, None for none."""
    return next((section for section in sections if f"{field}.".startswith(f"{section}.")), None)


def describe_no_field(wrong: str, fields: Sequence[str]) -> str:
    """Returns the end of a line about a field that there is not: the one spelt most alike, or the section's fields."""
    section, _, name = wrong.rpartition(".")
    names = {field.rpartition(".")[2]: field for field in fields}
    near = [names[match] for match in difflib.get_close_matches(name, names, n=1, cutoff=0.7)]
    if name in _OTHER_NAMES:
        near = [_OTHER_NAMES[name]]
    if difflib.get_close_matches(section, [validation.KWARGS], cutoff=0.8):
        near = [f"{validation.KWARGS}.{name}"]
    inside = [field for field in fields if section and field.rpartition(".")[0] == section]
    hint = "."
    if near:
        hint = f"; did you mean config.{near[0]}?"
    elif inside:
        hint = f"; config.{section} has: {', '.join(inside)}."
    return f"is no field{hint} All fields are in configs/base.py."


def _check_file(file: str, configs: pathlib.Path) -> None:
    """Checks that there is a file, and that it may be read."""
    try:
        with open(file):
            return
    except PermissionError as error:
        raise errors.unreadable(f"--config={file}", error) from error
    except OSError as error:
        choices = sorted(os.path.relpath(other) for other in configs.rglob("*.py") if other.stem not in SCHEMA)
        raise UserError(unknown_name("--config", file, choices)) from error


@contextlib.contextmanager
def _mistakes_in(path: str, file: str) -> Iterator[None]:
    """Reports in one line, with its place, whatever a config file raises: it is a program."""
    try:
        yield
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = ([frame for frame in frames if frame.filename == file] or frames)[-1]
        known = isinstance(error, ValueError | SyntaxError)  # which hold their place, or are meant for the user
        where = "" if known else f" ({type(error).__name__}, {place.filename}:{place.lineno})"
        raise UserError(f"--config={path}: {errors.say(error)}{where}") from error


def _check_section(section: ConfigDict, prefix: str, overrides: Collection[str]) -> None:
    """Checks that names are texts, and that what a config file leaves open is set by the command line."""
    try:
        names = list(section)  # sorted, which numbers among texts can't be
    except TypeError:
        names = [None]
    if not all(isinstance(name, str) for name in names):
        raise UserError(f"{f'config.{prefix}'.rstrip('.')} has a name that is no text: write 'NAME', in quotes.")
    for name in names:
        field = f"{prefix}{name}"
        try:
            value = section[name]
        except RequiredValueError as error:
            if field not in overrides:
                raise UserError(f"config.{field} is left open: set it, --config.{field}=VALUE.") from error
            kind = dict(section.items(preserve_field_references=True))[name].get_type()
            with section.unlocked():
                del section[name]
                section[name] = placeholder(kind)
        else:
            if isinstance(value, ConfigDict):
                _check_section(value, f"{field}.", overrides)


def _check_schema(config: ConfigDict) -> None:
    """Checks that a config has every field of the schema, and no other: one that nothing reads is a mistake."""
    fields = dict(validation.flatten(config))
    free = [field for field, row in FIELDS.items() if row.type is dict]
    for field in fields:
        if field not in FIELDS and not free_section(field, free):
            raise UserError(f"config.{field} {describe_no_field(field, sorted(FIELDS))}")
    for field, row in FIELDS.items():
        if field not in fields and row.type is not dict:
            raise UserError(f"config.{field} is missing: begin with base.get_config().")
