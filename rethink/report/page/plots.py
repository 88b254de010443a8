"""Owns which interactive figures a shelf of runs has, and their traces: those that the static gallery draws.

Refuses to compute: the points are those of the static figures' own files, and a lower bound is marked as one.
"""

import csv
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rethink.figures import best_so_far, label_corruption, loss_curves, metric_vs_field
from rethink.figures.metric_vs_field import Point, Value
from rethink.paper.numbers import STEPS_TO_LOSS
from rethink.report.page import curves, drawing
from rethink.report.page.run_index import RunGroup, RunRecord

SHOWN_FIRST = 6  # runs of a figure with many: the others are a click away, in its legend
PLACES = ("name", "seed", "data.dir", "data.cache_dir", "hardware.compilation_cache")  # no axis of a figure


class Plot(NamedTuple):
    """An interactive figure.

    Attributes:
      name: of `gallery.FIGURES`, as its static files are called.
      figure: what plotly.js draws.
      columns, rows: its numbers.
    """

    name: str
    title: str
    caption: str
    figure: Mapping[str, Any]
    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]


def of_shelf(shelf: RunGroup) -> list[Plot]:
    """Returns the figures of a shelf; none where no run has anything to draw."""
    entries = [entry for entry in shelf.entries if not entry.problem]
    name, field = _against_axis(shelf, entries)
    found: list[Plot | None] = []
    if name == "label_corruption":
        found.append(_label_corruption(shelf))
    elif field:
        found.append(_against(shelf, entries, field))
    trained = [entry for entry in entries if entry.kind == "train"]
    if shelf.name.startswith("figure1a"):
        found.append(_loss_curves(trained))
    elif trained and (not field or shelf.name.startswith("figure2")):
        found.append(_best_so_far(trained))
    return [plot for plot in found if plot and plot.figure["data"]]


def _against_axis(shelf: RunGroup, entries: Sequence[RunRecord]) -> tuple[str, str]:
    """Returns the figure against an axis, and its field: those of the static one, else by what the runs differ in."""
    if (shelf.folder / "figures" / "label_corruption.csv").is_file() and _all_have(entries, label_corruption.FIELD):
        return "label_corruption", label_corruption.FIELD
    try:
        with (shelf.folder / "figures" / "metric_vs_field.csv").open(encoding="utf-8") as text:
            field = metric_vs_field.field_of(next(csv.reader(text), []))
    except (OSError, ValueError, csv.Error):
        field = ""
    if field and _all_have(entries, field):
        return "metric_vs_field", field
    field = axis(entries)
    return "label_corruption" if field == label_corruption.FIELD else "metric_vs_field", field


def axis(entries: Sequence[RunRecord]) -> str:
    """Returns the numeric field that the runs differ in: one that their names give, or the only one; "" for none."""
    configs = [entry.manifest["config"] for entry in entries]
    fields = [field for field in (configs[0] if configs else {}) if field not in PLACES and _varies(configs, field)]
    numeric = [field for field in fields if all(_is_number(config.get(field)) for config in configs)]
    for field in numeric:
        name = re.compile(rf"(^|-)({re.escape(field)}|{re.escape(field.rpartition('.')[2])})=")
        if all(name.search(entry.cell) for entry in entries):
            return field
    return numeric[0] if len(numeric) == 1 and fields == numeric else ""


def _varies(configs: Sequence[Mapping[str, Any]], field: str) -> bool:
    return any(config.get(field) != configs[0].get(field) for config in configs)


def _all_have(entries: Sequence[RunRecord], field: str) -> bool:
    return all(_is_number(entry.manifest["config"].get(field)) for entry in entries)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _named(shelf: RunGroup, points: list[Point]) -> list[Point]:
    """Returns the points of a shelf; runs whose names don't give the field are one series."""
    named = any("=" in entry.cell for entry in shelf.entries)
    return sorted(points if named else [point._replace(series="") for point in points], key=lambda point: point[:3])


def _label_corruption(shelf: RunGroup) -> Plot:
    points = _named(shelf, label_corruption.read_points(shelf.sound()))
    panels: list[tuple[str, list[dict[str, Any]]]] = []
    for accuracy in (label_corruption.FIT, label_corruption.STRICT):
        title, value = label_corruption.fitting(points, accuracy)
        panels.append((title, _series(points, value, named=not panels)))
    panels.append(("test error (%)", _series(points, metric_vs_field.error("test_accuracy"), named=False)))
    return Plot(
        "label_corruption",
        "Steps to fit, and test error, against label corruption (figures 1b and 1c)",
        "Hollow triangles are lower bounds: the run did not come to this train accuracy, and is drawn at the steps it "
        "made. Means over seeds; bars are standard deviations.",
        drawing.figure(panels, "probability that a label is resampled", range=[-0.03, 1.03]),
        label_corruption.COLUMNS,
        label_corruption.label_corruption_rows(points),
    )


def _against(shelf: RunGroup, entries: Sequence[RunRecord], field: str) -> Plot:
    points = _named(shelf, metric_vs_field.read_points(shelf.sound(), field))
    panels = [
        (f"{name} error (%)", _series(points, metric_vs_field.error(measure), named=name == "test"))
        for name, measure in metric_vs_field.ERRORS.items()
    ]
    log = (
        {"type": "log", "dtick": "D2", "exponentformat": "e"}
        if metric_vs_field.spans_decades([point.x for point in points])
        else {}
    )
    return Plot(
        "metric_vs_field",
        f"Errors against {field}",
        "Means over seeds; bars are standard deviations.",
        drawing.figure(panels, field, **log),
        metric_vs_field.metric_columns(field),
        metric_vs_field.metric_rows(points, field),
    )


def _series(points: Sequence[Point], value: Value, *, named: bool) -> list[dict[str, Any]]:
    """Returns the traces of values against x: what was measured as lines, what is a lower bound as hollow triangles."""
    traces = []
    for number, (name, curve) in enumerate(
        list(metric_vs_field.curves(points, value).items())[: metric_vs_field.MOST_SERIES]
    ):
        look, shared = drawing.look(number), {"name": name or "runs", "legendgroup": name}
        measured = [None if bound else mean for mean, bound in zip(curve.mean, curve.bounds, strict=True)]
        spread = {"type": "data", "array": curve.deviation, "thickness": 1, "width": 3}
        hover = "%{x:g}: %{y:.2f}"
        line = {**shared, **look, "mode": "lines+markers", "showlegend": named, "error_y": spread}
        traces.append({**line, "x": curve.x, "y": measured, "hovertemplate": hover})
        bounds = [(x, mean) for x, mean, bound in zip(curve.x, curve.mean, curve.bounds, strict=True) if bound]
        if bounds:
            marker = {**look["marker"], "symbol": "triangle-up-open", "size": 12}
            mark = {**shared, "mode": "markers", "marker": marker, "showlegend": False}
            xs, ys = (list(column) for column in zip(*bounds, strict=True))
            traces.append({**mark, "x": xs, "y": ys, "hovertemplate": "%{x:g}: at least %{y:.2f}, not reached"})
    return traces


def _loss_curves(entries: Sequence[RunRecord]) -> Plot:
    found = loss_curves.read_losses(_by_cell(entries))
    traces = []
    for number, (condition, runs) in enumerate(list(found.items())[: metric_vs_field.MOST_SERIES]):
        for place, run in enumerate(runs):
            shown = curves.places(len(run.steps))
            values = [curves.number(run.losses[index]) for index in shown]
            trace = {**drawing.look(number), "mode": "lines", "name": condition, "legendgroup": condition}
            hover = "step %{x}: %{y:.3f}"
            trace |= {"x": [run.steps[index] for index in shown], "y": values, "hovertemplate": hover}
            traces.append({**trace, "showlegend": place == 0})
    true = STEPS_TO_LOSS["true"]
    return Plot(
        "loss_curves",
        "Training loss against steps (figure 1a)",
        "Each point is a row of the metrics, the mean over the steps since the one before. A replication's steps to a "
        f"loss of {loss_curves.CONVERGED} stand in the table (certainty {true.certainty}; it has {true.value:,.0f} "
        "with true labels).",
        drawing.figure([("training loss", traces)], "step"),
        loss_curves.COLUMNS,
        loss_curves.loss_rows(found),
    )


def _by_cell(entries: Sequence[RunRecord]) -> dict[str, list[Path]]:
    return RunGroup("", Path(), entries).sound()


def _best_so_far(entries: Sequence[RunRecord]) -> Plot | None:
    tested: Callable[[Any], bool] = lambda rows: best_so_far.gain(rows) is not None  # noqa: E731
    named = [(entry.folder.name, entry.rows()) for entry in entries[: 4 * metric_vs_field.MOST_SERIES]]
    shown = [(name, rows) for name, rows in named if tested(rows)][: metric_vs_field.MOST_SERIES]
    if not shown:
        return None
    traces = []
    for number, (name, rows) in enumerate(shown):
        visible = True if number < SHOWN_FIRST or len(shown) <= SHOWN_FIRST else "legendonly"
        traces += [{**trace, "visible": visible} for trace in _accuracies(name, rows, number)]
    more = len(entries) - len(shown)
    left_out = f" {more} further runs are not drawn here: each has its curves below." if more else ""
    return Plot(
        "best_so_far",
        "Train and test accuracy against steps",
        "Solid: test. Dashed: train. Dotted: the best test accuracy so far, an oracle's, as it is chosen by the test "
        f"set. A click on a name shows or hides its run.{left_out}",
        drawing.figure([("accuracy (%)", traces)], "step"),
        best_so_far.COLUMNS,
        best_so_far.best_so_far_rows(shown),
    )


def _accuracies(name: str, rows: best_so_far.Rows, number: int) -> list[dict[str, Any]]:
    """Returns the traces of a run: test, train, and the best test accuracy so far."""
    evaluations, test = best_so_far.tested(rows)
    best = best_so_far.running_best(test)
    highest = max((value for value in test if not math.isnan(value)), default=math.nan)
    shown = curves.places(len(test), [test.index(highest)] if highest in test else [])
    train = [row.get("train_accuracy") for row in evaluations]
    look, steps = drawing.look(number), [evaluations[place]["step"] for place in shown]
    colour = look["line"]["color"]
    mode = "lines+markers" if len(shown) <= 12 else "lines"
    common = {"x": steps, "legendgroup": name, "mode": mode, "marker": {**look["marker"], "size": 5}}
    return [
        {
            **common,
            "name": f"{name}: {what}" if what != "test" else name,
            "showlegend": what == "test",
            "y": values,
            "line": {"color": colour, "width": width, "dash": dash},
            "hovertemplate": f"step %{{x}}: {what} %{{y:.2f}}%",
        }
        for what, values, width, dash in (
            ("test", [curves.number(test[place]) for place in shown], 1.8, "solid"),
            ("train", [curves.number(train[place], 100) for place in shown], 1.2, "dash"),
            ("best test so far", [curves.number(best[place]) for place in shown], 1.0, "dot"),
        )
    ]


def of_a_run() -> dict[str, Any]:
    """Returns the figure of a run's curves without their points: `meta` of each trace says (kind of row, field)."""
    looks = {
        ("train", "loss"): ("train, during training", "#56B4E9", 1.0, "solid"),
        ("evaluation", "train_loss"): ("train, given labels", "#0072B2", 1.8, "solid"),
        ("evaluation", "test_loss"): ("test", "#D55E00", 1.8, "dash"),
        ("train", "accuracy"): ("train, during training", "#56B4E9", 1.0, "solid"),
        ("evaluation", "train_accuracy"): ("train, given labels", "#0072B2", 1.8, "solid"),
        ("evaluation", "test_accuracy"): ("test", "#D55E00", 1.8, "dash"),
        ("evaluation", "train_accuracy_corrupted_true"): ("corrupted part, true labels", "#009E73", 1.4, "dashdot"),
    }
    panels: dict[str, list[dict[str, Any]]] = {"loss": [], "accuracy (%)": []}
    for meta, (name, colour, width, dash) in looks.items():
        is_loss = "loss" in meta[1]
        trace: dict[str, Any] = {"name": name, "legendgroup": name, "meta": list(meta), "x": [], "y": []}
        trace |= {"line": {"color": colour, "width": width, "dash": dash}, "mode": "lines"}
        trace |= {"showlegend": not is_loss, "hovertemplate": f"step %{{x}}: {name} %{{y}}"}
        panels["loss" if is_loss else "accuracy (%)"].append(trace)
    return drawing.figure(list(panels.items()), "step")
