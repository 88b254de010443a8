"""Metrics of runs against a field of their configs: points, means over seeds, and the figure of errors.

A run that has not ended gives no point. One that diverged has no error, and is counted in the notes.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rethink.figures import style
from rethink.paper import protocol
from rethink.results import records
from rethink.results.runs import LoadedRun, RunsByCell, read_numbers, run_table
from rethink.schema.errors import UserError, unknown_name

if TYPE_CHECKING:
    import pandas

SIZE = (4.8, 2.7)  # inches: the width, and the height of a panel
MOST_SERIES = 24  # a figure of more can't be read
ERRORS = {"test error %": "test_accuracy", "train error %": "train_accuracy"}  # column -> field of the evaluation
FORMS = dict.fromkeys(ERRORS, "{:.2f}")
IS_BOUND = " is a lower bound"  # ends the name of the column beside a measure's own

Config = Mapping[str, Any]


def read_points(
    runs: RunsByCell,
    field: str,
    position: Callable[[Config], Any] | None = None,
    mismatches: Callable[[Config], Sequence[str]] = lambda config: (),
) -> "pandas.DataFrame":
    """Returns a row for each run that came to a result or diverged, in the order of series, x and seed.

    Its columns are those of `run_table`, and `series` (the run's name without the value of the field and the seed; ""
    where nothing else is left), `x` (the value of the field) and `ERRORS`, percent, nan where the run diverged.
    `notes`: why a run is another experiment than the paper's.

    Args:
      runs: a name holds FIELD=VALUE, without the section of the field where it can.
      position: flat config -> x, where it is not the field's value.
      mismatches: flat config -> further notes.

    Raises:
      UserError: a run has no such field, or no number there.
    """
    ended, places = [], []
    for run in (run for loaded in runs.values() for run in loaded):
        if field not in run.config:
            raise UserError(unknown_name("FIELD", field, list(run.config)))
        if not run.summary or run.status not in records.FINISHED:
            continue
        x = position(run.config) if position else run.config[field]
        if isinstance(x, bool) or not isinstance(x, int | float):
            raise UserError(f"FIELD='{field}' is no number ({x!r}): choose one to draw against.")
        ended.append(run)
        places.append((series_name(run.cell, field, run.config[field]), float(x)))

    def notes(run: LoadedRun) -> list[str]:
        others = {other: value for other, value in run.config.items() if other != field}
        return [*mismatches(run.config), *protocol.caveats(others, run.data)]

    points = run_table(ended, notes)
    points["series"], points["x"] = [name for name, _ in places], [x for _, x in places]
    ended_well = points["has_result"].astype(bool)
    for column, measure in ERRORS.items():
        points[column] = (100 * (1 - read_numbers(points, measure))).where(ended_well)
    return points.sort_values(["series", "x", "seed"], ignore_index=True)


def series_name(name: str, field: str, value: Any) -> str:
    """Returns the name of a run without FIELD=VALUE."""
    for written in (field, field.rpartition(".")[2]):
        word = re.escape(f"{written}={value}".replace(":", "."))
        name = re.sub(rf"(^|-){word}(?=-|$)", "", name)
    return name.removeprefix("-")


def estimate_means(points: "pandas.DataFrame", column: str) -> "pandas.DataFrame":
    """Returns the means over seeds of a measure: a row for each series and x at which a run has a value, ascending.

    The columns are `series`, `x`, `value`, `deviation` (the sample standard deviation; 0 where n is 1), `n`, and
    `is_bound`: whether a value among them is only a lower bound.
    """
    measured = points[points[column].notna()]
    bounds = measured.get(column + IS_BOUND, False)
    groups = measured.assign(bound=bounds).groupby(["series", "x"])
    means = groups.agg(value=(column, "mean"), deviation=(column, "std"), n=(column, "size"), is_bound=("bound", "any"))
    return means.fillna({"deviation": 0.0}).reset_index()


def split_series(points: "pandas.DataFrame", column: str) -> "Iterator[tuple[str, pandas.DataFrame]]":
    """Yields each series that is drawn, with its rows of `estimate_means`, which may be none."""
    means = estimate_means(points, column)
    for name in points["series"].unique()[:MOST_SERIES]:
        yield name, means[means["series"] == name]


def draw_series(axes, points: "pandas.DataFrame", column: str) -> bool:
    """Draws a measure with its spread; returns whether a value is a lower bound, drawn as a hollow triangle."""
    any_bound = False
    for number, (name, curve) in enumerate(split_series(points, column)):
        look = style.SERIES_STYLES[number % len(style.SERIES_STYLES)]
        line = ("-", "--", ":", "-.")[number // len(style.SERIES_STYLES) % 4]
        measured = curve["value"].mask(curve["is_bound"])
        spread = {"yerr": curve["deviation"], "capsize": 2}
        axes.errorbar(curve["x"], measured, label=name or "runs", linestyle=line, **spread, **look)
        bounds = curve[curve["is_bound"]]
        if len(bounds):
            any_bound = True
            triangle = {"marker": 6, "linestyle": "none", "markersize": 7}
            axes.plot(bounds["x"], bounds["value"], color=look["color"], **triangle)
    return any_bound


def draw_metric_vs_field(points: "pandas.DataFrame", field: str, stem: Path, *, title: str) -> list[Path]:
    """Draws test and train error (percent) against a field; returns the paths of `stem`.png and `stem`.pdf."""
    with style.open_figure(stem, (SIZE[0], SIZE[1] * len(ERRORS) + 0.4), title) as (figure, files):
        for axes, column in zip(figure.subplots(len(ERRORS), 1, sharex=True), ERRORS, strict=True):
            draw_series(axes, points, column)
            axes.set_ylabel(column.replace("%", "(%)"))
            style.from_zero(axes)
        axes.set_xlabel(field)
        if spans_decades(points["x"]):
            axes.set_xscale("log")
        style.add_legend(figure, axes)
    return files


def spans_decades(values: "pandas.Series") -> bool:
    """Returns whether the values of a field want a logarithmic axis."""
    return len(values) > 0 and values.min() > 0 and values.max() >= 20 * values.min()


def metric_columns(field: str) -> tuple[str, ...]:
    """Returns the columns of `metric_rows`."""
    return ("series", field, "n", "test error %", "deviation", "train error %", "notes")


def field_of(header: Sequence[str]) -> str:
    """Returns the field of the `metric_columns` in a file's first line; "" where it has others."""
    return header[1] if len(header) > 1 and tuple(header) == metric_columns(header[1]) else ""


def metric_rows(points: "pandas.DataFrame", field: str) -> list[dict[str, Any]]:
    """Returns the printed row of each series and x; the columns are `metric_columns`."""
    return describe_places(points, field, FORMS)


def describe_places(points: "pandas.DataFrame", x_name: str, forms: Mapping[str, str]) -> list[dict[str, Any]]:
    """Returns the printed row of each series and x: means over seeds, n, the deviation of the test error, notes.

    Args:
      x_name: the column of x; forms: column of a measure -> how its number is written.
    """
    means = {column: estimate_means(points, column).set_index(["series", "x"]) for column in forms}
    rows = []
    for place, here in points.groupby(["series", "x"]):
        row: dict[str, Any] = {"series": place[0], x_name: f"{place[1]:g}", "n": 0, "deviation": ""}
        for column, form in forms.items():
            row[column] = ""
            if place in means[column].index:
                mean = means[column].loc[place]
                row[column] = (">= " if mean["is_bound"] else "") + form.format(mean["value"])
                row["n"] = max(row["n"], int(mean["n"]))
                if column == "test error %" and mean["n"] > 1:
                    row["deviation"] = f"{mean['deviation']:.2f}"
        rows.append({**row, "notes": _describe_notes(here)})
    return rows


def _describe_notes(here: "pandas.DataFrame") -> str:
    """Returns how many of the runs at a place diverged, and what makes them other experiments than the paper's."""
    diverged = int((~here["has_result"].astype(bool)).sum())
    lost = [f"{diverged} of {len(here)} diverged"] if diverged else []
    return "; ".join(dict.fromkeys([*lost, *(note for notes in here["notes"] for note in notes)]))
