"""The interactive figures of a group of runs: those that the static figure registry has.

Computes nothing: the points are those of the static figures, and a lower bound is marked as one.
"""

import csv
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rethink.figures import best_so_far, label_corruption, loss_curves, metric_vs_field, style
from rethink.paper.claims import CONVERGED
from rethink.paper.numbers import STEPS_TO_LOSS
from rethink.report.page import drawing, run_data
from rethink.report.page.run_index import RunGroup, RunRecord
from rethink.results.runs import LoadedRun
from rethink.schema.fields import FIELDS

if TYPE_CHECKING:
    import pandas

LOG_AXIS = {"type": "log", "dtick": "D2", "exponentformat": "e"}
SHOWN_FIRST = 6  # runs of a figure with many: the others are a click away, in its legend


class Plot(NamedTuple):
    """An interactive figure.

    Attributes:
      name: of `registry.FIGURES`, as its static files are called.
      figure: what plotly.js draws.
      columns, rows: its numbers.
    """

    name: str
    title: str
    caption: str
    figure: Mapping[str, Any]
    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]


def draw_plots(group: RunGroup) -> list[Plot]:
    """Returns the figures of a group; none where no run has anything to draw."""
    records = [record for record in group.records if not record.problem]
    name, field = _choose_axis(group, records)
    plots: list[Plot | None] = []
    if name == "label_corruption":
        plots.append(_draw_label_corruption(group))
    elif field:
        plots.append(_draw_metric_vs_field(group, field))
    trained = [record.run for record in records if record.run.kind == "train"]
    if group.name.startswith("figure1a"):
        plots.append(_draw_loss_curves(trained))
    elif trained and (not field or group.name.startswith("figure2")):
        plots.append(_draw_best_so_far(trained))
    return [plot for plot in plots if plot and plot.figure["data"]]


def _choose_axis(group: RunGroup, records: Sequence[RunRecord]) -> tuple[str, str]:
    """Returns the figure against an axis, and its field: those of the static one, else by what the runs differ in."""
    if (group.folder / "figures" / "label_corruption.csv").is_file() and _all_have(records, label_corruption.FIELD):
        return "label_corruption", label_corruption.FIELD
    try:
        with (group.folder / "figures" / "metric_vs_field.csv").open(encoding="utf-8") as text:
            field = metric_vs_field.field_of(next(csv.reader(text), []))
    except (OSError, ValueError, csv.Error):
        field = ""
    if field and _all_have(records, field):
        return "metric_vs_field", field
    field = find_axis(records)
    return "label_corruption" if field == label_corruption.FIELD else "metric_vs_field", field


def find_axis(records: Sequence[RunRecord]) -> str:
    """Returns the numeric field that the runs differ in: one that their names give, or the only one; "" for none."""
    configs = [record.run.config for record in records]
    first = configs[0] if configs else {}
    allowed = [
        field for field in first if field not in FIELDS or FIELDS[field].figure_axis
    ]  # such as model.kwargs.width
    fields = [field for field in allowed if any(config.get(field) != first[field] for config in configs)]
    numeric = [field for field in fields if _all_have(records, field)]
    for field in numeric:
        name = re.compile(rf"(^|-)({re.escape(field)}|{re.escape(field.rpartition('.')[2])})=")
        if all(name.search(record.run.cell) for record in records):
            return field
    return numeric[0] if len(numeric) == 1 and fields == numeric else ""


def _all_have(records: Sequence[RunRecord], field: str) -> bool:
    """Returns whether each run has a number there."""
    values = [record.run.config.get(field) for record in records]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _merge_unnamed(group: RunGroup, points: "pandas.DataFrame") -> "pandas.DataFrame":
    """Returns the points of a group; runs whose names don't give the field are one series."""
    if any("=" in record.run.cell for record in group.records):
        return points
    return points.assign(series="").sort_values(["x", "seed"], ignore_index=True)


def _draw_label_corruption(group: RunGroup) -> Plot:
    points = _merge_unnamed(group, label_corruption.read_points(group.readable()))
    panels: list[tuple[str, list[dict[str, Any]]]] = []
    for accuracy in label_corruption.STEPS:
        title, column = label_corruption.choose_fit_panel(points, accuracy)
        panels.append((title, _draw_series(points, column, named=not panels)))
    panels.append(("test error (%)", _draw_series(points, "test error %", named=False)))
    return Plot(
        "label_corruption",
        "Steps to fit, and test error, against label corruption (figures 1b and 1c)",
        "Hollow triangles are lower bounds: the run did not come to this train accuracy, and is drawn at the steps it "
        "made. Means over seeds; bars are standard deviations.",
        drawing.make_figure(panels, "probability that a label is resampled", range=[-0.03, 1.03]),
        label_corruption.COLUMNS,
        label_corruption.label_corruption_rows(points),
    )


def _draw_metric_vs_field(group: RunGroup, field: str) -> Plot:
    points = _merge_unnamed(group, metric_vs_field.read_points(group.readable(), field))
    panels = [
        (column.replace("%", "(%)"), _draw_series(points, column, named=number == 0))
        for number, column in enumerate(metric_vs_field.ERRORS)
    ]
    is_log = metric_vs_field.spans_decades(points["x"])
    return Plot(
        "metric_vs_field",
        f"Errors against {field}",
        "Means over seeds; bars are standard deviations.",
        drawing.make_figure(panels, field, **(LOG_AXIS if is_log else {})),
        metric_vs_field.metric_columns(field),
        metric_vs_field.metric_rows(points, field),
    )


def _draw_series(points: "pandas.DataFrame", column: str, *, named: bool) -> list[dict[str, Any]]:
    """Returns the traces of means against x: what was measured as lines, what is a lower bound as hollow triangles."""
    traces = []
    for number, (name, curve) in enumerate(metric_vs_field.split_series(points, column)):
        look, shared = drawing.series_look(number), {"name": name or "runs", "legendgroup": name}
        means = list(zip(curve["x"].tolist(), curve["value"].tolist(), curve["is_bound"].tolist(), strict=True))
        measured = [None if is_bound else value for _, value, is_bound in means]
        spread = {"type": "data", "array": curve["deviation"].tolist(), "thickness": 1, "width": 3}
        line = {**shared, **look, "mode": "lines+markers", "showlegend": named, "error_y": spread}
        traces.append({**line, "x": curve["x"].tolist(), "y": measured, "hovertemplate": "%{x:g}: %{y:.2f}"})
        bounds = [(x, value) for x, value, is_bound in means if is_bound]
        if bounds:
            marker = {**look["marker"], "symbol": "triangle-up-open", "size": 12}
            mark = {**shared, "mode": "markers", "marker": marker, "showlegend": False}
            xs, ys = (list(column) for column in zip(*bounds, strict=True))
            traces.append({**mark, "x": xs, "y": ys, "hovertemplate": "%{x:g}: at least %{y:.2f}, not reached"})
    return traces


def _draw_loss_curves(runs: Sequence[LoadedRun]) -> Plot:
    by_cell: dict[str, list[LoadedRun]] = {}
    for run in runs:
        by_cell.setdefault(run.cell, []).append(run)
    conditions = loss_curves.read_losses(by_cell)
    traces = []
    for number, (condition, losses) in enumerate(list(conditions.items())[: metric_vs_field.MOST_SERIES]):
        for place, curve in enumerate(losses):
            shown = run_data.choose_places(len(curve.steps))
            values = [run_data.round_number(curve.losses[index]) for index in shown]
            trace = {**drawing.series_look(number), "mode": "lines", "name": condition, "legendgroup": condition}
            hover = "step %{x}: %{y:.3f}"
            trace |= {"x": [curve.steps[index] for index in shown], "y": values, "hovertemplate": hover}
            traces.append({**trace, "showlegend": place == 0})
    true = STEPS_TO_LOSS["true"]
    return Plot(
        "loss_curves",
        "Training loss against steps (figure 1a)",
        "Each point is a row of the metrics, the mean over the steps since the one before. A replication's steps to a "
        f"loss of {CONVERGED} stand in the table (certainty {true.certainty}; it has {true.value:,.0f} with true "
        "labels).",
        drawing.make_figure([("training loss", traces)], "step"),
        loss_curves.COLUMNS,
        loss_curves.loss_rows(conditions),
    )


def _draw_best_so_far(runs: Sequence[LoadedRun]) -> Plot | None:
    named = [(run.folder.name, run.rows()) for run in runs[: 4 * metric_vs_field.MOST_SERIES]]
    tested = [(name, rows) for name, rows in named if best_so_far.measure_gain(rows) is not None]
    shown = tested[: metric_vs_field.MOST_SERIES]
    if not shown:
        return None
    traces = []
    for number, (name, rows) in enumerate(shown):
        visible = True if number < SHOWN_FIRST or len(shown) <= SHOWN_FIRST else "legendonly"
        traces += [{**trace, "visible": visible} for trace in _draw_accuracies(name, rows, number)]
    more = len(runs) - len(shown)
    left_out = f" {more} further runs are not drawn here: each has its curves below." if more else ""
    return Plot(
        "best_so_far",
        "Train and test accuracy against steps",
        "Solid: test. Dashed: train. Dotted: the best test accuracy so far, an oracle's, as it is chosen by the test "
        f"set. A click on a name shows or hides its run.{left_out}",
        drawing.make_figure([("accuracy (%)", traces)], "step"),
        best_so_far.COLUMNS,
        best_so_far.best_so_far_rows(shown),
    )


def _draw_accuracies(name: str, rows: best_so_far.Rows, number: int) -> list[dict[str, Any]]:
    """Returns the traces of a run: test, train, and the best test accuracy so far."""
    evaluations, test = best_so_far.select_tested(rows)
    best = best_so_far.running_best(test)
    # Thinned, but for the highest point, which the dotted curve is about.
    highest = max((value for value in test if not math.isnan(value)), default=math.nan)
    shown = run_data.choose_places(len(test), [test.index(highest)] if highest in test else [])
    train = [row.get("train_accuracy") for row in evaluations]
    look, steps = drawing.series_look(number), [evaluations[place]["step"] for place in shown]
    mode = "lines+markers" if len(shown) <= 12 else "lines"
    common = {"x": steps, "legendgroup": name, "mode": mode, "marker": {**look["marker"], "size": 5}}
    return [
        {
            **common,
            "name": f"{name}: {what}" if what != "test" else name,
            "showlegend": what == "test",
            "y": values,
            "line": {"color": look["line"]["color"], "width": width, "dash": dash},
            "hovertemplate": f"step %{{x}}: {what} %{{y:.2f}}%",
        }
        for what, values, width, dash in (
            ("test", [run_data.round_number(test[place]) for place in shown], 1.8, "solid"),
            ("train", [run_data.round_number(train[place], 100) for place in shown], 1.2, "dash"),
            ("best test so far", [run_data.round_number(best[place]) for place in shown], 1.0, "dot"),
        )
    ]


def run_template() -> dict[str, Any]:
    """Returns the figure of a run's curves without their points: `meta` of each trace says (kind of row, field)."""
    looks = (  # of the static figures, width, dash, kind of row, and the fields of both panels
        (style.DURING, 1.0, "solid", "train", "loss", "accuracy"),
        (style.TRAIN, 1.8, "solid", "evaluation", "train_loss", "train_accuracy"),
        (style.TEST, 1.8, "dash", "evaluation", "test_loss", "test_accuracy"),
        (style.CLEAN, 1.4, "longdash", "evaluation", None, "train_accuracy_clean"),
        (style.CORRUPTED_GIVEN, 1.4, "dot", "evaluation", None, "train_accuracy_corrupted_given"),
        (style.CORRUPTED_TRUE, 1.4, "dashdot", "evaluation", None, "train_accuracy_corrupted_true"),
    )
    panels: dict[str, list[dict[str, Any]]] = {"loss": [], "accuracy (%)": []}
    for look, width, dash, kind, *fields in looks:
        name, line = look["label"], {"color": look["color"], "width": width, "dash": dash}
        for field, (title, traces) in zip(fields, panels.items(), strict=True):
            trace = {"name": name, "legendgroup": name, "meta": [kind, field], "x": [], "y": [], "line": line}
            trace |= {"mode": "lines", "showlegend": title != "loss", "hovertemplate": f"step %{{x}}: {name} %{{y}}"}
            traces += [trace] if field else []
    return drawing.make_figure(list(panels.items()), "step")
