"""Loads a config file and checks that it has the fields of the schema; a mistake in it is one line with its place.

A file is a program with a function get_config. Only names are checked here, and each value by itself.
"""

import contextlib
import difflib
import inspect
import logging
import os
import pathlib
import runpy
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict
from ml_collections.config_dict import RequiredValueError, placeholder

from rethink.schema import errors, grid, validation
from rethink.schema.errors import UserError, unknown_name
from rethink.schema.fields import FIELDS

CONFIGS = (pathlib.Path(__file__).parents[1] / "configs").resolve()  # this package's own config files
SCHEMA = ("base", "analyses")  # files of configs/ that hold fields, not an experiment
# What other programs call a field.
_OTHER_NAMES = {
    "lr": "optimizer.learning_rate",
    "epochs": "train.total_epochs",
    "loss": "train.loss",
    "mixup": "augmentation.mixup",
    **dict.fromkeys(("noise", "noise_rate", "label_noise"), "corruption.label_probability"),
}
_log = logging.getLogger(__name__)


def load_config(path: str, overrides: Collection[str]) -> ConfigDict:
    """Returns the config of a file, given as FILE or FILE:ARGUMENTS.

    FILE is a path, or the name of one of this package's own files: cifar_random, paper/table1.

    Args:
      overrides: the fields that the command line sets, which may be left open.

    Raises:
      UserError: the file is missing or fails, or returns no config with the fields of the schema.
    """
    name, *arguments = path.split(":", 1)
    file = _find_file(name)
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


def make_config(source: str | ConfigDict, fields: Mapping[str, Any]) -> ConfigDict:
    """Returns a new config: that of a file, as of `load_config`, or a copy of one, with some fields set.

    Args:
      fields: dotted field -> value, of the field's type; a whole number where it is a number, a list where a tuple.

    Raises:
      UserError: as `load_config` and `check_overrides`; a value is off.
    """
    if isinstance(source, str):
        config = load_config(source, {*fields, "data.name"})
        if config.data.name is None:  # left open, for what is given to `rethink.train`
            fields = {"data.name": validation.GIVEN, **fields}
        check_overrides(source, config, fields)
    elif isinstance(source, ConfigDict):
        config = source.copy_and_resolve_references()
        check_overrides(str(config.name), config, fields)
    else:
        raise UserError(
            f"A config is named by a text such as 'cifar_random:mlp_1x512', or is a ConfigDict, and not {source!r}."
        )
    validation.name_after_parts(config, fields)
    with config.unlocked(), config.ignore_type():
        for field, value in fields.items():
            *above, name = field.split(".")
            section = config
            for part in above:
                section = section[part]
            section[name] = _as_stored(value, FIELDS[field].type if field in FIELDS else None)
    validation.check_fields(config)
    if not config.experiments:
        grid.check_overrides_matter({"": config}, list(fields))
    return config


def _as_stored(value: Any, kind: type | None) -> Any:
    """Returns a value of a Python program as a config file would have it."""
    value = value.tolist() if hasattr(value, "tolist") else value  # of NumPy
    if kind is float and type(value) is int:
        return float(value)
    return validation.tuples(value)


def check_overrides(path: str, config: ConfigDict, overrides: Mapping[str, Any]) -> None:
    """Checks that each override, field -> value, names a field and changes something of the config of a file.

    Raises:
      UserError: one doesn't.
    """
    fields = dict(validation.flatten(config))
    cells = _fields_of_cells(path, fields)
    axes = validation.axis_fields(str(overrides.get("axes", fields["axes"])))
    for field in overrides:
        _check_override(field, fields)
        _check_cells(field, path, cells)
        if field in axes:
            raise UserError(f"--config.{field} would change nothing, as it is an axis: give its values in config.axes.")
    _warn_of_model(path, fields, overrides)


def _fields_of_cells(path: str, fields: dict[str, Any]) -> dict[str, set[str]]:
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


def _check_override(field: str, fields: dict[str, Any]) -> None:
    """Checks that an override names a field."""
    if validation.is_kwarg(field) and f"{field.rsplit('.', 2)[0]}.name" in fields:
        return
    free = _free_section(field, [name for name, value in fields.items() if isinstance(value, ConfigDict)])
    if free and free.endswith(validation.KWARGS):
        raise UserError(f"config.{free} has the fields of the model: set one, --config.{free}.NAME=VALUE.")
    if free:
        raise UserError(
            f"config.{free} takes names of your own: set them in a config file, config.{free}.NAME = VALUE."
        )
    if field in fields:
        return
    inside = [other for other in fields if other.startswith(f"{field}.")]
    if inside:
        raise UserError(f"config.{field} is a section: set one of its fields, {', '.join(inside)}.")
    raise UserError(f"--config.{field} {_describe_no_field(field, list(fields))}")


def _check_cells(field: str, path: str, cells: dict[str, set[str]]) -> None:
    """Refuses an override that changes no cell of a sweep, and warns of the cells that it leaves as they are."""
    setters = [cell.removeprefix("cells.") for cell, fields in cells.items() if field in fields]
    if setters and len(setters) == len(cells):
        raise UserError(f"--config.{field} would change nothing, as all cells of {path} set it: change a copy of it.")
    if setters:
        _log.warning("--config.%s leaves the cells that set it themselves as they are: %s.", field, ", ".join(setters))


def _warn_of_model(path: str, fields: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    """Warns of fields that an override of the model's name leaves at what suits another model, and how to set them."""
    name = overrides.get("model.name", fields["model.name"])
    brings = runpy.run_path(str(CONFIGS / "base.py"))["MODELS"].get(name, {})
    if name == fields["model.name"] or not brings:
        return
    with_model = f"{path.partition(':')[0]}:{name}"
    try:
        brought = dict(validation.flatten(load_config(with_model, overrides)))
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


def _describe_no_field(wrong: str, fields: Sequence[str]) -> str:
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


def _find_file(name: str) -> str:
    """Returns the path of a config file that may be read: `name`, or this package's own: NAME, configs/NAME.py."""
    own = {path.relative_to(CONFIGS).with_suffix("").as_posix(): path for path in CONFIGS.rglob("*.py")}
    own = {key: path for key, path in own.items() if path.stem not in SCHEMA}
    packaged = name.removeprefix("configs/").removesuffix(".py")
    is_own = name in own or (name == f"configs/{packaged}.py" and packaged in own and not os.path.lexists(name))
    file = str(own[packaged]) if is_own else name
    try:
        with open(file):
            return file
    except PermissionError as error:
        raise errors.unreadable(f"--config={name}", error) from error
    except OSError as error:
        by_path = (not name or "." in name) and pathlib.Path.cwd() in CONFIGS.parents
        choices = map(os.path.relpath, own.values()) if by_path else own
        raise UserError(unknown_name("--config", name, sorted(choices))) from error


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
        if field not in FIELDS and not _free_section(field, free):
            raise UserError(f"config.{field} {_describe_no_field(field, sorted(FIELDS))}")
    for field, row in FIELDS.items():
        if field not in fields and row.type is not dict:
            raise UserError(f"config.{field} is missing: begin with base.get_config().")
