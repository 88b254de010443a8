"""Owns the reading of the command line: `--config` and its overrides, and one line for each mistake in them.

Refuses to judge values beyond their type: ranges and choices are in settings.py.
"""

import difflib
import pathlib
import re
import runpy
import traceback

from absl import flags
from ml_collections import ConfigDict, config_flags

from rethink import settings
from rethink.settings import UserError

_OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]+)")


def define_config(argv: list[str], default: str) -> flags.FlagHolder[ConfigDict]:
    """Defines `--config` and its overrides, with the names in `argv` checked first.

    Raises:
      UserError: the config file is missing or fails, or an override names no field.
    """
    path = default
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        if re.fullmatch(r"--?config(=.*)?", argument):
            path = argument.partition("=")[2] or following
    config = _load(path, pathlib.Path(default).parent)
    fields = dict(settings.flatten(config))
    for argument in argv:
        match = _OVERRIDE.match(argument)
        if not match or match[1] in fields:
            continue
        inside = [field for field in fields if field.startswith(f"{match[1]}.")]
        if inside:
            raise UserError(f"config.{match[1]} is a section: set one of its fields, {', '.join(inside)}.")
        raise UserError(_unknown_field(match[1], list(fields)))
    return config_flags.DEFINE_config_file("config", default, "Config file; its arguments follow a colon.")


def parse(argv: list[str]) -> list[str]:
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
        default = dict(settings.flatten(flags.FLAGS["config"].value)).get(match[2])
        raise UserError(
            f"--{match[1]}={match[3]} is no {type(default).__name__}: type a value such as --{match[1]}={default!r}."
        ) from error


def _load(path: str, configs: pathlib.Path) -> ConfigDict:
    """Returns the config of a file, given as FILE or FILE:ARGUMENTS; `configs` is where the project's own are."""
    file, *arguments = path.split(":", 1)
    if not pathlib.Path(file).is_file():
        choices = sorted(f"configs/{other.name}" for other in configs.glob("*.py") if other.stem != "base")
        raise UserError(settings.unknown("--config", file, choices))
    try:
        config = runpy.run_path(file)["get_config"](*arguments)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = "" if isinstance(error, ValueError) else f" ({type(error).__name__}, {place.filename}:{place.lineno})"
        raise UserError(f"--config={path}: {error}{where}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"--config={path}: get_config must return a ConfigDict, not {type(config).__name__}.")
    return config


def _unknown_field(given: str, fields: list[str]) -> str:
    """Returns one line for a field that does not exist, with the one whose last name is spelt most alike."""
    section, _, name = given.rpartition(".")
    names = {field.rpartition(".")[2]: field for field in fields}
    near = [names[match] for match in difflib.get_close_matches(name, names, n=1, cutoff=0.7)]
    inside = [field for field in fields if section and field.rpartition(".")[0] == section]
    hint = "."
    if near:
        hint = f"; did you mean config.{near[0]}?"
    elif inside:
        hint = f"; config.{section} has: {', '.join(inside)}."
    return f"--config.{given} is no field{hint} All fields are in configs/base.py."
