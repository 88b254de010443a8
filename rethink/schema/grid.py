"""Owns which runs a config with cells or axes stands for: their names, directories and configs.

Refuses to run them: sweeps.py does. `axes` is a text, so that any config becomes a sweep on the command line:

    --config.axes='corruption.label_probability=0.0,0.5,1.0;optimizer.learning_rate=0.01,0.1'
"""

import fnmatch
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from rethink.schema import validation
from rethink.schema.errors import UserError, unknown_name

# What all runs of a table share, as they share a process.
_SHARED = (
    "name",
    "experiments",
    "filter",
    "seeds",
    "seed",
    "axes",
    "figure",
    "executor",
    "jobs",
    "hardware.cpu_devices",
)
DEPENDS_ON = {  # field -> the field that it depends on, and the value there that makes it do nothing
    "corruption.label_probability": ("corruption.labels", "none"),
    "corruption.channels_together": ("corruption.pixels", "none"),
    "weight_decay.coefficient": ("weight_decay.kind", "none"),
    "weight_decay.parameters": ("weight_decay.kind", "none"),
    "dropout.place": ("dropout.rate", 0.0),
    "augmentation.padding": ("augmentation.crop", "none"),
    "batch_norm.momentum": ("batch_norm.kind", "none"),
    "batch_norm.evaluation": ("batch_norm.kind", "none"),
}
_BOOLEANS = {"true": True, "false": False}


class SweepRun(NamedTuple):
    """A run of a table: its name there (cell and values of the axes), its directory's name, its config."""

    name: str
    folder: str
    config: ConfigDict


class Axis(NamedTuple):
    """A field and the values that it takes, of its type."""

    field: str
    values: tuple[Any, ...]


class FigureChoice(NamedTuple):
    """Which figure of results/gallery.py shows a table, or "none"; the field that it is drawn against, "" for steps."""

    name: str
    field: str


def is_sweep(config: ConfigDict) -> bool:
    """Returns whether a config stands for several runs."""
    return bool(config.cells or config.axes)


def choose_figure(config: ConfigDict) -> FigureChoice:
    """Returns the figure that a table asks for; "auto" is one against its first axis of numbers, where it has one, and
    none of studies that have no such axis.

    Raises:
      UserError: it is to be drawn against an axis, and there is none of numbers.
    """
    axis = _numeric_axis(config)
    steps = "best_so_far" if config.kind == "train" else "none"
    name = config.figure if config.figure != "auto" else "metric_vs_field" if axis else steps
    if name == "metric_vs_field" and not axis:
        raise UserError(
            "figure='metric_vs_field' wants an axis of several numbers: set config.axes, such as "
            "'optimizer.learning_rate=0.01,0.1', or choose another figure."
        )
    return FigureChoice(name, axis.field if axis and name == "metric_vs_field" else "")


def expand_grid(config: ConfigDict) -> list[SweepRun]:
    """Returns each cell at each point of the axes, those that `filter` asks for, seed after seed.

    Raises:
      UserError: none is asked for, or a cell or an axis sets a field that there is not, or to a value of another
        type; a field of the table itself is off.
    """
    validation.validate(config, {})
    fields = dict(validation.flatten(config))
    axes = read_axes(config.axes, fields)
    points = {
        _name(cell, point): [*_cell(cell, config), *((axis.field, value) for axis, value in point.items())]
        for cell in (config.cells or [""])
        for point in _points(axes, _cell(cell, config), cell)
    }
    asked = filter_names(points, config.filter)
    found = [
        SweepRun(name, f"{name}-seed{seed}", _run_config(config, name, points[name], seed))
        for seed in range(config.seed, config.seed + config.seeds)
        for name in asked
    ]
    _check_that_axes_matter(axes, found)
    return found


def _check_that_axes_matter(axes: Sequence[Axis], found: Sequence[SweepRun]) -> None:
    """Refuses an axis along which runs would be the same."""
    for axis in axes:
        switch, off = DEPENDS_ON.get(axis.field, ("", None))
        same = next((member for member in found if switch and _value(member.config, switch) == off), None)
        if same:
            raise UserError(
                f"axes: {axis.field} changes nothing in {same.name}, as {switch}={off!r} there: set it to another, or "
                "leave these runs out."
            )


def _value(config: ConfigDict, field: str) -> Any:
    section, _, name = field.rpartition(".")
    return (config[section] if section else config)[name]


def filter_names(names: Iterable[str], only: str) -> list[str]:
    """Returns the names that match any of the patterns in `filter`, separated by commas.

    Raises:
      UserError: a pattern matches none.
    """
    names, patterns = list(names), [pattern.strip() for pattern in only.split(",")]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise UserError(f"{unknown_name('filter', pattern, names)} Patterns such as '*-wd' do.")
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]


def read_axes(text: str, fields: Mapping[str, Any]) -> list[Axis]:
    """Returns the axes of a text FIELD=VALUE,VALUE;FIELD=VALUE,VALUE.

    Args:
      fields: of the config, with values of their types.

    Raises:
      UserError: the text is none such, names a field twice, or one that there is not or that can't be an axis, or
        gives a value twice, or one of another type.
    """
    found: list[Axis] = []
    if text and not text.strip(" ;"):
        raise UserError(f"axes={text!r} names no field: write FIELD=VALUE,VALUE, or leave it empty.")
    for part in filter(None, (part.strip() for part in text.split(";"))):
        field, equals, values = (word.strip() for word in part.partition("="))
        if not equals:
            raise UserError(f"axes: '{part}' is no axis: write --config.axes='FIELD=VALUE,VALUE', with ; between axes.")
        if field not in fields:
            raise UserError(unknown_name("axes", field, [name for name in fields if name not in _SHARED]))
        if field in _SHARED or not isinstance(fields[field], bool | int | float | str):
            raise UserError(f"axes: {field} can't be one: choose a field that differs between runs.")
        if field in (axis.field for axis in found):
            raise UserError(f"axes: {field} stands there twice: put all its values together.")
        read = tuple(_read_value(field, value.strip(), fields[field]) for value in values.split(","))
        twice = next((value for value in read if read.count(value) > 1), None)
        if twice is not None:
            raise UserError(f"axes: {field} has {twice!r} twice: leave one out.")
        found.append(Axis(field, read))
    return found


def _numeric_axis(config: ConfigDict) -> Axis | None:
    """Returns the first axis of several numbers, None where there is none."""
    axes = read_axes(config.axes, dict(validation.flatten(config)))
    numbers = (axis for axis in axes if not any(isinstance(value, bool | str) for value in axis.values))
    return next((axis for axis in numbers if len(axis.values) > 1), None)


def _read_value(field: str, text: str, default: Any) -> Any:
    kind = type(default)
    try:
        return _BOOLEANS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        raise UserError(f"axes: {field}={text} is no {kind.__name__}: write a value such as {default!r}.") from error


def _points(axes: Sequence[Axis], cell: Iterable[tuple[str, Any]], name: str) -> list[dict[Axis, Any]]:
    """Returns every combination of values, each as axis -> value; the last axis runs fastest."""
    both = {field for field, _ in cell} & {axis.field for axis in axes}
    if both:
        raise UserError(f"cells.{name} sets {min(both)}, which is an axis too: leave it out of one of them.")
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*(axis.values for axis in axes))]


def _name(cell: str, point: Mapping[Axis, Any]) -> str:
    """Returns CELL-FIELD=VALUE-..., fields without their section where that tells them apart."""
    last = [axis.field.rpartition(".")[2] for axis in point]
    words = [cell] if cell else []
    for axis, short in zip(point, last, strict=True):
        words.append(f"{short if last.count(short) == 1 else axis.field}={point[axis]}".replace(":", "."))
    return "-".join(words)


def _cell(cell: str, config: ConfigDict) -> tuple[tuple[str, Any], ...]:
    return config.cells[cell] if cell else ()


def _run_config(config: ConfigDict, name: str, changes: Iterable[tuple[str, Any]], seed: int) -> ConfigDict:
    validation.check_name("cells", name)
    member = config.copy_and_resolve_references()
    member.cells, member.axes, member.figure = ConfigDict(), "", "auto"
    member.filter, member.seeds, member.executor, member.jobs = "*", 1, "sequential", 0
    member.name, member.seed = f"{config.name}-{name}", seed
    fields = dict(validation.flatten(member))
    for field, value in changes:
        if field not in fields:
            raise UserError(unknown_name(f"cells.{name}", field, list(fields)))
        if field in _SHARED:
            raise UserError(
                f"cells.{name} sets {field}={value!r}, which all runs of a table share: set config.{field} instead."
            )
        section, _, last = field.rpartition(".")
        try:
            (member[section] if section else member)[last] = value
        except TypeError as error:
            raise UserError(
                f"cells.{name}: {field}={value!r} is no {type(fields[field]).__name__}: write a value such as "
                f"{fields[field]!r}."
            ) from error
    return member
