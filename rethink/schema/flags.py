"""Reads the command line: `--config`, its overrides and `--help`; a mistake in them is one line.

Only names and types are checked here: intervals and choices are checked by validation.py.
"""

import logging
import re
import runpy
import sys
import textwrap
from typing import Any

import absl.logging
from absl import flags
from ml_collections import ConfigDict, config_flags

from rethink.schema import config_file, validation
from rethink.schema.errors import UserError
from rethink.schema.field_rows import Field
from rethink.schema.fields import FIELDS

_HELP_FLAGS = {"--help", "-help", "-h", "-?"}
DEFAULT = "digits_random"  # the config that is taken without `--config`
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


def read_words(argv: list[str]) -> list[str]:
    """Returns the words of a command line, with the lines of each `--flagfile` in its place.

    All checks see these, so that a flag means the same by every road.

    Raises:
      UserError: a `--flagfile` can't be read.
    """
    try:
        return flags.FLAGS.read_flags_from_files(argv)
    except (flags.Error, UnicodeDecodeError) as error:
        raise UserError(
            f"--flagfile: {str(error).removeprefix('ERROR:: ')}; name a text file, a flag a line."
        ) from error


def define_config(words: list[str]) -> tuple[flags.FlagHolder[ConfigDict], list[str]]:
    """Defines `--config` and its overrides, after a check of their names.

    Args:
      words: of `read_words`; without `--config` among them, the config is `DEFAULT`.

    Returns:
      The flag, and the words without `--config`, which is read here.

    Raises:
      UserError: the config file is missing or fails, or has not the fields of base.py, or values of other types; an
        override names no field, or would change nothing, or stands before `--config`; `--config` is given twice.
    """
    given, path, rest = _take_config(words)
    # Overrides, each with its value after "=" or as the next word.
    overrides: dict[str, str] = {}
    for word, following in zip(rest, [*rest, ""][1:], strict=True):
        if match := _OVERRIDE.match(word):
            overrides[match[1]] = word.partition("=")[2] if "=" in word else following
    # Load the file here, once: ml_collections reports mistakes in it with a traceback.
    path = path if given else DEFAULT
    config = config_file.load_config(path, overrides)
    config_file.check_overrides(path, config, overrides)
    validation.name_after_parts(config, overrides)
    # Fields of a model are of types that are not known here: ml_collections takes what is None by this parser.
    config_flags.register_flag_parser_for_type(type(None), _LiteralParser())
    for field in filter(validation.is_kwarg, overrides):
        section, _, name = field.rpartition(".")
        with config.unlocked():
            config[section][name] = None
    try:
        return config_flags.DEFINE_config_dict("config", config, sys_argv=rest), rest
    except flags.Error as error:
        raise UserError(f"{error}. See --help.") from error


def _take_config(words: list[str]) -> tuple[bool, str, list[str]]:
    """Returns whether `--config` is given, what it names, and the other words.

    Raises:
      UserError: it is given twice, or stands behind what it would undo.
    """
    places = [place for place, word in enumerate(words) if re.fullmatch(r"--?config(=.*)?", word)]
    lengths = [1 if "=" in words[place] else 2 for place in places]
    paths = [
        "".join(words[place + 1 : place + length]) or words[place].partition("=")[2]
        for place, length in zip(places, lengths, strict=True)
    ]
    if not places:
        return False, "", words
    early = next(filter(_OVERRIDE.match, words[: places[0]]), None)
    if early:
        raise UserError(f"{early} stands before --config={paths[0]}, which it changes: put --config first.")
    if len(paths) > 1:
        raise UserError(f"--config is given {len(paths)} times ({', '.join(paths)}): choose one.")
    return True, paths[0], [*words[: places[0]], *words[places[0] + lengths[0] :]]


class _LiteralParser(flags.ArgumentParser):
    """Reads a value whose type is not known."""

    def parse(self, argument: str) -> Any:
        """Returns the value, as of `validation.read_literal`."""
        return validation.read_literal(argument)


def parse_flags(argv: list[str]) -> list[str]:
    """Parses all flags; returns what is left over.

    Raises:
      UserError: an unknown flag, or a value that is missing or of the wrong type.
    """
    try:
        left = flags.FLAGS(argv)
    except (flags.Error, ValueError) as error:
        match = re.match(r"flag --(config\.(\S+?))=(.*?): ", str(error), re.DOTALL)
        if not match:
            unknown = getattr(error, "flagname", "")
            meant = f" Did you mean --config.{unknown}?" if unknown in FIELDS else ""
            raise UserError(f"{error}.{meant} See --help.") from error
        default = dict(validation.flatten(flags.FLAGS["config"].value)).get(match[2])
        raise UserError(
            f"--{match[1]}={match[3]} is no {type(default).__name__}: type a value such as "
            f"--{match[1]}={validation.suggest_value(match[3], default)}."
        ) from error
    # What would be lost without a word.
    for word in argv[1:]:
        match = _OVERRIDE.match(word)
        if match and match[1] not in overridden_fields() and word not in left:
            raise UserError(f"{word} follows a flag that has no value, and would become it: give that one a value.")
    for name in flags.FLAGS:
        flag = flags.FLAGS[name]
        if flag.present > 1 and not isinstance(flag, flags.MultiFlag):
            _log.warning("--%s is given %d times: the last one counts, %s.", name, flag.present, flag.value)
    return left


def overridden_fields() -> list[str]:
    """Returns the fields of the config that the command line sets, after `parse_flags`."""
    return list(config_flags.get_override_values(flags.FLAGS["config"]))


def refuse_arguments(arguments: list[str]) -> None:
    """Refuses words of the command line that are no flags; the first of `arguments` is the program's name."""
    if len(arguments) > 1:
        word = arguments[1]
        meant = f"--{word}" if word.startswith("config.") else f"--config={word}" if ".py" in word else "--FLAG=VALUE"
        raise UserError(f"'{word}' is no flag: did you mean {meant}?")


def show_help(argv: list[str], usage: str) -> None:
    """Prints the help and exits with 0, if one of the words in `argv` asks for it.

    Args:
      usage: the text that comes first.
    """
    if _HELP_FLAGS.intersection(argv):
        base = runpy.run_path(str(config_file.CONFIGS / "base.py"))
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
