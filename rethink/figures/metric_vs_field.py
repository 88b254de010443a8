"""Owns what runs show against a field of their configs: points, curves over seeds, and the picture of errors.

Refuses to pass a run that did not end for one that did: it gives no point. One that diverged has no error, and is told.
"""

import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rethink.figures import style
from rethink.paper import protocol
from rethink.results import records
from rethink.results.runs import Runs
from rethink.schema.errors import UserError, unknown_name

SIZE = (4.8, 2.7)  # inches: the width, and the height of a panel
SERIES_STYLES = (  # of series: told apart by colour and by mark
    {"color": "#0072B2", "marker": "o"},
    {"color": "#D55E00", "marker": "s"},
    {"color": "#009E73", "marker": "^"},
    {"color": "#CC79A7", "marker": "D"},
    {"color": "#E69F00", "marker": "v"},
    {"color": "#56B4E9", "marker": "P"},
)
MOST_SERIES = 24  # a picture of more says nothing
ERRORS = {"test": "test_accuracy", "train": "train_accuracy"}


class Point(NamedTuple):
    """What one run says that came to a result, or diverged.

    Attributes:
      series: its name without the value of the field and the seed; "" where nothing else is left.
      x: the value of the field.
      summary: of its manifest; without an evaluation where it diverged.
      caveats: why it is another experiment than the paper's.
    """

    series: str
    x: float
    seed: int
    summary: Mapping[str, Any]
    caveats: Sequence[str]
    diverged: bool


class Curve(NamedTuple):
    """Values of a series against x, over seeds.

    Attributes:
      x: ascending; mean: of the values there; deviation: their sample standard deviation, 0 where n is 1; n: how many.
      bounds: whether a value is only a lower bound.
    """

    x: list[float]
    mean: list[float]
    deviation: list[float]
    n: list[int]
    bounds: list[bool]


Value = Callable[[Point], tuple[float, bool] | None]  # (value, whether it is a lower bound), None where there is none


def read_points(
    runs: Runs,
    field: str,
    at: Callable[[Mapping[str, Any]], float] | None = None,
    unlike: Callable[[Mapping[str, Any]], Sequence[str]] = lambda _: (),
) -> list[Point]:
    """Returns the points of runs that came to a result or diverged, in the order of series, x and seed.

    Args:
      runs: name -> run directories; a name holds FIELD=VALUE, without the section of the field where it can.
      at: flat config -> x, where it is not the field's value.
      unlike: flat config -> further caveats.

    Raises:
      UserError: a run is damaged, or has no such field, or no number there.
    """
    found = []
    for name, folders in runs.items():
        for folder in folders:
            manifest = records.read_run(folder)
            config, summary = manifest["config"], manifest.get("summary")
            if field not in config:
                raise UserError(unknown_name("FIELD", field, list(config)))
            if not summary or manifest["status"] not in records.FINISHED:
                continue
            diverged = manifest["status"] not in records.WITH_RESULT
            value = at(config) if at else config[field]
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UserError(f"FIELD='{field}' is no number ({value!r}): choose one to draw against.")
            others = {other: value for other, value in config.items() if other != field}
            caveats = [*unlike(config), *protocol.caveats(others, manifest.get("data", {}))]
            series = _series(name, field, config[field])
            told = {**summary, "evaluation": None} if diverged else summary
            found.append(Point(series, float(value), config["seed"], told, caveats, diverged))
    return sorted(found, key=lambda point: point[:3])


def _series(name: str, field: str, value: Any) -> str:
    """Returns the name of a run without FIELD=VALUE."""
    for known in (field, field.rpartition(".")[2]):
        word = re.escape(f"{known}={value}".replace(":", "."))
        name = re.sub(rf"(^|-){word}(?=-|$)", "", name)
    return name.removeprefix("-")


def curves(points: Iterable[Point], value: Value) -> dict[str, Curve]:
    """Returns series -> its curve; x where no run has a value is left out."""
    found: dict[str, dict[float, list[tuple[float, bool]]]] = {}
    for point in points:
        series = found.setdefault(point.series, {})
        measured = value(point)
        if measured is not None:
            series.setdefault(point.x, []).append(measured)
    drawn = {}
    for name, series in found.items():
        samples = [[number for number, _ in series[x]] for x in sorted(series)]
        drawn[name] = Curve(
            sorted(series),
            [statistics.fmean(sample) for sample in samples],
            [statistics.stdev(sample) if len(sample) > 1 else 0.0 for sample in samples],
            [len(sample) for sample in samples],
            [any(bound for _, bound in series[x]) for x in sorted(series)],
        )
    return drawn


def error(measure: str) -> Value:
    """Returns the value 100 (1 - accuracy), percent, of a field of a run's evaluation."""

    def value(point: Point) -> tuple[float, bool] | None:
        accuracy = (point.summary["evaluation"] or {}).get(measure)
        return None if accuracy is None else (100 * (1 - accuracy), False)

    return value


def plot(axes, drawn: Mapping[str, Curve]) -> None:
    """Draws curves with their spread; where the value is a lower bound, a hollow triangle points up."""
    for number, (name, curve) in enumerate(list(drawn.items())[:MOST_SERIES]):
        look = SERIES_STYLES[number % len(SERIES_STYLES)]
        style = ("-", "--", ":", "-.")[number // len(SERIES_STYLES) % 4]
        measured = [math.nan if bound else mean for mean, bound in zip(curve.mean, curve.bounds, strict=True)]
        axes.errorbar(curve.x, measured, yerr=curve.deviation, label=name or "runs", linestyle=style, capsize=2, **look)
        bounds = [(x, mean) for x, mean, bound in zip(curve.x, curve.mean, curve.bounds, strict=True) if bound]
        if bounds:
            axes.plot(*zip(*bounds, strict=True), color=look["color"], marker=6, linestyle="none", markersize=7)


def draw_metric_vs_field(points: Sequence[Point], field: str, stem: Path, *, title: str) -> list[Path]:
    """Draws test and train error (percent) against a field; returns the paths of `stem`.png and `stem`.pdf."""

    def make():
        panels = {name: curves(points, error(measure)) for name, measure in ERRORS.items()}
        figure = style.new_figure((SIZE[0], SIZE[1] * len(panels) + 0.4), title, 56)
        for axes, (name, drawn) in zip(figure.subplots(len(panels), 1, sharex=True), panels.items(), strict=True):
            plot(axes, drawn)
            axes.set_ylabel(f"{name} error (%)")
            style.from_zero(axes)
        axes.set_xlabel(field)
        if spans_decades([point.x for point in points]):
            axes.set_xscale("log")
        legend(figure, axes)
        return figure

    return style.save_figure(make, stem)


def legend(figure, axes) -> None:
    """Puts the names of the series below the panels, where they have names."""
    handles, labels = axes.get_legend_handles_labels()
    if any(labels):
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)


def spans_decades(values: Sequence[float]) -> bool:
    """Returns whether the values of a field want a logarithmic axis."""
    return bool(values) and min(values) > 0 and max(values) >= 20 * min(values)


def metric_columns(field: str) -> tuple[str, ...]:
    """Returns the columns of `rows`."""
    return ("series", field, "n", "test error %", "deviation", "train error %", "notes")


def field_of(header: Sequence[str]) -> str:
    """Returns the field of the `columns` in a file's first line; "" where it has others."""
    return header[1] if len(header) > 1 and tuple(header) == metric_columns(header[1]) else ""


def metric_rows(points: Sequence[Point], field: str) -> list[dict[str, Any]]:
    """Returns a row for each series and x, errors in percent; the columns are `columns`."""
    test, train = (curves(points, error(measure)) for measure in ERRORS.values())
    found = []
    for name, x in places(points):
        row = {"series": name, field: f"{x:g}", "n": 0, "deviation": "", "notes": notes(points, name, x)}
        for measure, curve in (("train error %", train[name]), ("test error %", test[name])):
            row[measure] = ""
            if x in curve.x:
                place = curve.x.index(x)
                row |= {measure: f"{curve.mean[place]:.2f}", "n": curve.n[place]}
                if measure.startswith("test") and curve.n[place] > 1:
                    row["deviation"] = f"{curve.deviation[place]:.2f}"
        found.append(row)
    return found


def places(points: Iterable[Point]) -> list[tuple[str, float]]:
    """Returns each series and x, ascending."""
    return sorted({(point.series, point.x) for point in points})


def notes(points: Iterable[Point], series: str, x: float) -> str:
    """Returns what makes the runs at a place other experiments than the paper's, and how many of them diverged."""
    here = [point for point in points if (point.series, point.x) == (series, x)]
    lost = sum(point.diverged for point in here)
    told = [f"{lost} of {len(here)} diverged"] if lost else []
    return "; ".join(dict.fromkeys([*told, *(caveat for point in here for caveat in point.caveats)]))
