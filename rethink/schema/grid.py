"""Expands a sweep, a config with cells, axes or several seeds, into its runs: their names, directories and configs.

Nothing is run here. `axes` is a text, so that the command line makes a sweep of any config:

    --config.axes='corruption.label_probability=0.0,0.5,1.0;optimizer.learning_rate=0.01,0.1'
"""

import fnmatch
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from rethink.schema import validation
from rethink.schema.errors import UserError, unknown_name
from rethink.schema.fields import FIELDS

_BOOLEANS = {"true": True, "false": False}
Cell = tuple[tuple[str, Any], ...]  # ((field, value), ...)


class SweepRun(NamedTuple):
    """A run of a sweep: its name there (cell and values of the axes), the name of its directory, its config."""

    name: str
    folder: str
    config: ConfigDict


class Axis(NamedTuple):
    """A field and the values that it takes, of its type."""

    field: str
    values: tuple[Any, ...]


class FigureChoice(NamedTuple):
    """The figure of a sweep, or "none"; and the field on its horizontal axis, "" for steps."""

    name: str
    field: str


def choose_figure(config: ConfigDict) -> FigureChoice:
    """Returns the figure of a sweep.

    With figure="auto" it is drawn against the first axis of several numbers; without such an axis it is drawn against
    steps for training, and there is none for an analysis, nor for several seeds alone without early stopping.

    Raises:
      UserError: it is to be drawn against an axis, and there is none of numbers.
    """
    axis = _first_numeric_axis(config)
    name = config.figure
    if name == "auto":
        is_of_seeds = not (config.cells or config.axes) and config.early_stopping.monitor == "none"
        name = "metric_vs_field" if axis else "none" if is_of_seeds or config.kind != "train" else "best_so_far"
    if name == "metric_vs_field" and not axis:
        raise UserError(
            "figure='metric_vs_field' wants an axis of several numbers: set config.axes, such as "
            "'optimizer.learning_rate=0.01,0.1', or choose another figure."
        )
    return FigureChoice(name, axis.field if axis and name == "metric_vs_field" else "")


def expand_grid(config: ConfigDict) -> list[SweepRun]:
    """Returns each cell at each point of the axes, of these the ones that match `filter`, seed after seed.

    Raises:
      UserError: no run matches; a cell or an axis sets a field that there is not, one that all runs share, or a value
        of another type; a field of the sweep itself is off.
    """
    validation.validate(config)
    axes = read_axes(config.axes, dict(validation.flatten(config)))
    # Name of a run -> the fields that its cell and its point of the axes set.
    changes: dict[str, list[tuple[str, Any]]] = {}
    for cell_name, cell in dict(config.cells).items() or [("", ())]:
        for point in _grid_points(axes, cell_name, cell):
            name = _run_name(cell_name, point) or config.name
            change = [*cell, *((axis.field, value) for axis, value in point.items())]
            if name in changes:
                raise UserError(
                    f"axes: {_differing(changes[name], change)} and {_differing(change, changes[name])} would be one "
                    f"run, {name}: leave one out."
                )
            changes[name] = change
    chosen = filter_names(changes, config.filter)
    runs = [
        SweepRun(name, f"{name}-seed{seed}", _run_config(config, name, changes[name], seed))
        for seed in range(config.seed, config.seed + config.seeds)
        for name in chosen
    ]
    _check_axes_matter(axes, runs)
    return runs


def filter_names(names: Iterable[str], patterns: str) -> list[str]:
    """Returns the names that match any of the patterns, which are separated by commas.

    Raises:
      UserError: a pattern matches none.
    """
    names, separate = list(names), [pattern.strip() for pattern in patterns.split(",")]
    for pattern in separate:
        if not fnmatch.filter(names, pattern):
            raise UserError(f"{unknown_name('filter', pattern, names)} Patterns such as '*-wd' do.")
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in separate)]


def read_axes(text: str, fields: Mapping[str, Any]) -> list[Axis]:
    """Returns the axes of a text FIELD=VALUE,VALUE;FIELD=VALUE,VALUE.

    Args:
      fields: field of the config -> a value of its type.

    Raises:
      UserError: the text has another form, names a field twice, one that there is not or that can't be an axis, or
        gives a value twice, or one of another type.
    """
    axes: list[Axis] = []
    if text and not text.strip(" ;"):
        raise UserError(f"axes={text!r} names no field: write FIELD=VALUE,VALUE, or leave it empty.")
    for part in filter(None, (part.strip() for part in text.split(";"))):
        field, equals, values = (word.strip() for word in part.partition("="))
        _check_axis_form(part, field, values if equals else None)
        is_kwarg = validation.is_kwarg(field)
        if field not in fields and not is_kwarg:
            raise UserError(unknown_name("axes", field, [name for name in fields if not _is_shared(name)]))
        if not is_kwarg and (_is_shared(field) or not isinstance(fields[field], bool | int | float | str)):
            raise UserError(f"axes: {field} can't be one: choose a field that differs between runs.")
        if field in (axis.field for axis in axes):
            raise UserError(f"axes: {field} stands there twice: put all its values together.")
        # Its values, of the type that the field has.
        texts = map(str.strip, re.split(r",(?![^(]*\))", values))  # not at the commas of a tuple
        typed = tuple(
            validation.read_literal(text) if is_kwarg else _read_value(field, text, fields[field]) for text in texts
        )
        twice = next((value for value in typed if typed.count(value) > 1), None)
        if twice is not None:
            raise UserError(f"axes: {field} has {twice!r} twice: leave one out.")
        axes.append(Axis(field, typed))
    return axes


def _check_axis_form(part: str, field: str, values: str | None) -> None:
    """Checks how an axis is written, before what it says; `values`: None where it has no "="."""
    if values is None:
        raise UserError(f"axes: '{part}' is no axis: write --config.axes='FIELD=VALUE,VALUE', with ; between axes.")
    if field in ("seed", "seeds"):
        raise UserError(f"axes: {field} can't be one: type --config.seeds=2 for two seeds, counted from --config.seed.")
    if after := re.search(r",\s*([\w.]+)=", values):
        raise UserError(f"axes: '{part}': axes are separated by ; and not by a comma: write ';{after[1]}=...'.")
    if re.search(r"[^\s,]\s+[^\s,]", re.sub(r"\(.*?\)", "", values)):
        raise UserError(f"axes: {field}={values}: values are separated by commas: write {field}=VALUE,VALUE.")


def _is_shared(field: str) -> bool:
    """Returns whether all runs of a sweep have the same value; names of a free section are not in the table."""
    return field in FIELDS and FIELDS[field].shared


def _read_value(field: str, text: str, default: Any) -> Any:
    """Returns a text as a value of the default's type."""
    kind = type(default)
    try:
        return _BOOLEANS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        suggested = validation.suggest_value(text, default)
        raise UserError(f"axes: {field}={text} is no {kind.__name__}: write a value such as {suggested}.") from error


def _first_numeric_axis(config: ConfigDict) -> Axis | None:
    """Returns the first axis of several numbers, None where there is none."""
    for axis in read_axes(config.axes, dict(validation.flatten(config))):
        if len(axis.values) > 1 and all(type(value) in (int, float) for value in axis.values):
            return axis
    return None


def _grid_points(axes: Sequence[Axis], cell_name: str, cell: Cell) -> list[dict[Axis, Any]]:
    """Returns every combination of the axes' values, each as axis -> value; the last axis runs fastest."""
    both = {field for field, _ in cell} & {axis.field for axis in axes}
    if both:
        raise UserError(f"cells.{cell_name} sets {min(both)}, which is an axis too: leave it out of one of them.")
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*(axis.values for axis in axes))]


def _run_name(cell_name: str, point: Mapping[Axis, Any]) -> str:
    """Returns CELL-FIELD=VALUE-...; a field is written without its section where no other axis ends alike."""
    endings = [axis.field.rpartition(".")[2] for axis in point]
    words = [cell_name] if cell_name else []
    for axis, ending in zip(point, endings, strict=True):
        value = point[axis]
        text = "x".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
        words.append(f"{ending if endings.count(ending) == 1 else axis.field}={validation.model_word(text)}")
    return "-".join(words)


def _differing(change: Sequence[tuple[str, Any]], other: Sequence[tuple[str, Any]]) -> str:
    """Returns FIELD=VALUE of each field that a change sets and another does not set so."""
    return " ".join(f"{field}={value!r}" for field, value in change if (field, value) not in other)


def _run_config(config: ConfigDict, name: str, changes: Iterable[tuple[str, Any]], seed: int) -> ConfigDict:
    """Returns the config of one run: that of the sweep, without what describes a sweep, and with its changes."""
    validation.check_name("cells", name)
    # The sweep's config, with the fields that describe a sweep set to those of a single run.
    run = config.copy_and_resolve_references()
    for field, row in FIELDS.items():
        if row.single_run is not None:
            run[field] = ConfigDict() if row.type is dict else row.single_run
    run.name, run.seed = name if name == config.name else f"{config.name}-{name}", seed
    # Changes of this run: each must name a field, of the type that the field has.
    fields = dict(validation.flatten(run))
    for field, value in changes:
        if field not in fields and field != validation.KWARGS and not validation.is_kwarg(field):
            raise UserError(unknown_name(f"cells.{name}", field, list(fields)))
        if _is_shared(field):
            raise UserError(
                f"cells.{name} sets {field}={value!r}, which all runs of a sweep share: set config.{field} instead."
            )
        section, _, last = field.rpartition(".")
        try:
            with run.unlocked():
                if validation.is_kwarg(field) and last in run[section]:
                    del run[section][last]  # which may be of another type: the model's class tells
                (run[section] if section else run)[last] = value
        except TypeError as error:
            raise UserError(
                f"cells.{name}: {field}={value!r} is no {type(fields[field]).__name__}: write a value such as "
                f"{fields[field]!r}."
            ) from error
    return run


def _check_axes_matter(axes: Sequence[Axis], runs: Sequence[SweepRun]) -> None:
    """Refuses an axis along which runs would be the same."""
    for axis in axes:
        for run in runs:
            if off := _find_switch(axis.field, run.config):
                raise UserError(
                    f"axes: {axis.field} changes nothing in {run.name}, as {off} there: set it to another, or leave "
                    "these runs out."
                )


def check_overrides_matter(parts: Mapping[str, ConfigDict], overridden: Iterable[str]) -> None:
    """Checks that what the command line sets changes at least one run.

    Args:
      parts: name of an experiment of a suite -> its config, or "" -> that of a run or sweep by itself.
      overridden: fields, and those of single experiments as experiments.NAME.FIELD.

    Raises:
      UserError: a field is switched off by another in all runs that it is set for.
    """
    for override in overridden:
        field, chosen = override, list(parts.values())
        if override.startswith("experiments."):
            _, name, field = override.split(".", 2)
            chosen = [parts[name]] if name in parts else []
        if not _depends_on(field):
            continue
        runs = [run.config for part in chosen for run in expand_grid(part)]
        switches = [_find_switch(field, run) for run in runs]
        if switches and all(switches):
            raise UserError(
                f"--config.{override} has no effect, as {switches[0]}: set "
                f"--config.{_depends_on(field)} to another, or leave it out."
            )


def _depends_on(field: str) -> str:
    """Returns the field that can switch another one off, "" where none can."""
    return FIELDS[field].depends_on[0] if field in FIELDS and FIELDS[field].depends_on else ""


def _find_switch(field: str, run: ConfigDict) -> str:
    """Returns what switches a field of a run off, as "FIELD='none'", "" where nothing does or it is off itself."""
    if not _depends_on(field):
        return ""
    values = dict(validation.flatten(run))
    other, *offs = FIELDS[field].depends_on
    return f"{other}={values[other]!r}" if values[field] and _without_argument(values[other]) in offs else ""


def _without_argument(value: Any) -> Any:
    """Returns the name of a choice NAME:WORD, any other value as it is."""
    return value.partition(":")[0] if isinstance(value, str) else value
