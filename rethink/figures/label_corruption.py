"""Owns figures 1b and 1c: steps to fit, and test error, against the probability that a label is resampled.

Refuses to leave out a run that did not fit, as it was short or diverged: it is drawn at the steps that it made, as a
lower bound. One that diverged has no test error.
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rethink.figures import metric_vs_field, style
from rethink.figures.metric_vs_field import Point, Value
from rethink.paper import protocol
from rethink.results.runs import Runs

FIELD = "corruption.label_probability"
FIT = "0.95"  # train accuracy that counts as fitted in figure 1b: mlp_1x512 ends at 98 to 99% on random labels
STRICT = "0.99"  # of the second panel
COLUMNS = (
    "series",
    "p",
    "n",
    f"steps to {float(FIT):.0%}",
    "relative",
    f"steps to {float(STRICT):.0%}",
    "relative, strict",
    "test error %",
    "deviation",
    "notes",
)


def read_points(runs: Runs) -> list[Point]:
    """Returns the points of runs against the probability that a label is resampled; true labels are at 0."""
    return metric_vs_field.read_points(runs, FIELD, probability, protocol.figure_mismatches)


def probability(config: Mapping[str, Any]) -> float:
    """Returns the probability with which a flat config has a label resampled."""
    return 0.0 if config.get("corruption.labels") == "none" else config[FIELD]


def steps_to(accuracy: str) -> Value:
    """Returns the value: steps until an evaluation finds this train accuracy; else the steps made, a lower bound."""

    def value(point: Point) -> tuple[float, bool] | None:
        reached = point.summary.get("steps_to_train_accuracy") or {}
        if accuracy not in reached:
            return None
        steps = reached[accuracy]
        return (point.summary["steps"], True) if steps is None else (steps, False)

    return value


def relative(points: Sequence[Point], accuracy: str) -> Value:
    """Returns the value: `steps_to` over the mean of the same series at p = 0; None where that is not known."""
    steps = steps_to(accuracy)
    bases: dict[str, float] = {}
    for series in {point.series for point in points}:
        at_zero = [steps(point) for point in points if point.series == series and point.x == 0]
        if at_zero and all(found and not found[1] for found in at_zero):
            bases[series] = statistics.fmean(found[0] for found in at_zero if found)

    def value(point: Point) -> tuple[float, bool] | None:
        found = steps(point)
        return (found[0] / bases[point.series], found[1]) if found and point.series in bases else None

    return value


def fitting(points: Sequence[Point], accuracy: str) -> tuple[str, Value]:
    """Returns the title and the value of a panel of figure 1b: `relative`, or the steps where that is known of none."""
    title, value = f"steps to {float(accuracy):.0%}", relative(points, accuracy)
    return (f"{title} / at p = 0", value) if any(map(value, points)) else (title, steps_to(accuracy))


def draw_label_corruption(points: Sequence[Point], stem: Path, *, title: str) -> list[Path]:
    """Draws figure 1b, for both train accuracies, and figure 1c; returns the paths of `stem`.png and `stem`.pdf."""

    def make():
        figure = style.new_figure((metric_vs_field.SIZE[0], 3 * metric_vs_field.SIZE[1]), title, 56)
        upper, middle, lower = figure.subplots(3, 1, sharex=True)
        for axes, accuracy in ((upper, FIT), (middle, STRICT)):
            label, value = fitting(points, accuracy)
            drawn = metric_vs_field.curves(points, value)
            metric_vs_field.plot(axes, drawn)
            axes.set_ylabel(label)
            style.from_zero(axes)
            if any(any(curve.bounds) for curve in drawn.values()):
                axes.set_title("triangles: not reached, a lower bound", loc="right", fontsize=7, color="#555555")
        metric_vs_field.plot(lower, metric_vs_field.curves(points, metric_vs_field.error("test_accuracy")))
        lower.set(ylabel="test error (%)", xlabel="probability that a label is resampled", ylim=(0, 100))
        metric_vs_field.legend(figure, lower)
        return figure

    return style.save_figure(make, stem)


def label_corruption_rows(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Returns a row for each series and p, means over seeds; the columns are `COLUMNS`."""
    measured = {
        COLUMNS[3]: (steps_to(FIT), "{:.0f}"),
        COLUMNS[4]: (relative(points, FIT), "{:.2f}"),
        COLUMNS[5]: (steps_to(STRICT), "{:.0f}"),
        COLUMNS[6]: (relative(points, STRICT), "{:.2f}"),
        "test error %": (metric_vs_field.error("test_accuracy"), "{:.2f}"),
    }
    drawn = {column: metric_vs_field.curves(points, value) for column, (value, _) in measured.items()}
    found = []
    for series, x in metric_vs_field.places(points):
        row: dict[str, Any] = {"series": series, "p": f"{x:g}", "n": 0, "deviation": ""}
        for column, (_, form) in measured.items():
            curve = drawn[column][series]
            row[column] = ""
            if x in curve.x:
                place = curve.x.index(x)
                row[column] = (">= " if curve.bounds[place] else "") + form.format(curve.mean[place])
                row["n"] = max(row["n"], curve.n[place])
                if column == "test error %" and curve.n[place] > 1:
                    row["deviation"] = f"{curve.deviation[place]:.2f}"
        found.append({**row, "notes": metric_vs_field.notes(points, series, x)})
    return found
