"""Which score finds wrong labels, read at which epoch, in runs whose truth is known; and what memorizing them costs.

A positive is a given label that differs from the true one. Runs of one cell that hold out each another fold are joined:
then each example is seen by the run that was not trained on it.
"""

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rethink.figures import best_so_far, metric_vs_field, style
from rethink.memorization import readings
from rethink.memorization.detection import Detection
from rethink.memorization.dynamics import PRESENTATION_SCORES
from rethink.memorization.several_runs import join_folds
from rethink.results import tables
from rethink.results.runs import LoadedRun, RunsByCell
from rethink.schema.errors import UserError

PANEL = (3.6, 2.9)  # inches, width and height
LEGEND = 1.1  # inches of height for the title and the legend
NEAR = 0.005  # of AUROC: as good as the best
IN_SAMPLE, OUT_OF_FOLD = "in sample", "out of fold"
FITTED = {"color": "#999999", "linewidth": 1.2, "label": "wrong labels that are fitted (share)"}
SHOWN_EPOCHS = (1, 2, 5, 10, 20, 40)  # in columns of the printed table; the file has all
COLUMNS = (
    *("labels", "reading", "score", *(f"@ {epoch}" for epoch in SHOWN_EPOCHS), "last", "best", "at epoch", "behind"),
    *("error", "deviation", "seeds", "precision", "best precision"),
)
EPOCH_COLUMNS = (
    *("labels", "reading", "seeds", "epoch", "score", "AUROC", "error", "deviation", "average precision"),
    "fitted",
)
CHOICE_COLUMNS = (
    *("labels", "reading", "seeds", "best", "best AUROC", "chosen", "share", "AUROC", "behind", "worst", "near"),
)
RULE_COLUMNS = ("reading", "rule", "cells", "behind", "worst", "near")
ACCURACY_COLUMNS = (
    *("labels", "seeds", "best test %", "at epoch", "last test %", "deviation", "cost", "given back"),
    "fitted %",
)


class Point(NamedTuple):
    """What a score finds at an evaluation, means over seeds.

    Attributes:
      error: standard error of the AUROC over examples.
      deviation: of the AUROC over seeds; None of one seed.
      fitted: the share of the wrong labels that are predicted.
    """

    epoch: float
    auroc: float
    error: float
    deviation: float | None
    precision: float
    fitted: float


class Series(NamedTuple):
    """What is read of the runs of a cell.

    Attributes:
      reading: in sample, out of fold, or the mean over seeds.
      seeds: how many values each point is the mean of.
      points: score -> its points, by ascending epoch.
      choices: of each draw of known labels and each seed; `evaluation` is a place in `epochs`.
    """

    cell: str
    reading: str
    seeds: int
    epochs: Sequence[float]
    points: Mapping[str, Sequence[Point]]
    choices: Sequence[readings.Chosen]

    @property
    def best(self) -> tuple[str, Point]:
        """The score and the point with the largest AUROC."""
        best = {score: max(points, key=lambda point: point.auroc) for score, points in self.points.items()}
        return max(best.items(), key=lambda item: item[1].auroc)


def read_series(runs: RunsByCell) -> list[Series]:
    """Returns what is read of the runs that came to a result and have wrong labels, cell after cell.

    Folds of which one is missing are left out.

    Raises:
      UserError: there is nothing to read, or files of a run are damaged.
    """
    cells: dict[tuple[str, bool], list[LoadedRun]] = {}
    for run in (run for loaded in runs.values() for run in loaded if run.has_result and run.kind == "train"):
        folds = bool(run.config.get("data.folds"))
        name = metric_vs_field.series_name(run.cell, "data.fold", run.config["data.fold"]) if folds else run.cell
        cells.setdefault((name, folds), []).append(run)
    series = [
        one
        for (cell, folds), members in cells.items()
        for one in (_read_folds(cell, members) if folds else _read_runs(cell, members))
    ]
    if not series:
        raise UserError(
            "No run here has wrong labels and a record of its examples: train on a kind of corruption.labels with "
            "log.examples='all'."
        )
    return series


def _read_runs(cell: str, runs: Sequence[LoadedRun]) -> Iterator[Series]:
    """Yields what is read of each seed by itself, and of all of them together where their noise is the same."""
    histories, found = [], []
    for run in runs:
        if (history := run.example_history()) and readings.can_detect(history):
            seen = run.presentations()
            of_training = {name: score.compute(seen) for name, score in PRESENTATION_SCORES.items()} if seen else {}
            histories.append(history)
            found.append(readings.read_scores([history], of_training))
    if not histories:
        return
    epochs = _read_epochs(runs[0])
    yield _make_series(cell, IN_SAMPLE, epochs, found)
    first, *others = histories
    alike = all(
        np.array_equal(getattr(first, name), getattr(other, name))
        for other in others
        for name in ("steps", "ids", "given_labels")
    )
    if others and alike:
        yield _make_series(cell, f"mean of {len(histories)} seeds", epochs, [readings.read_scores(histories)])


def _read_folds(cell: str, runs: Sequence[LoadedRun]) -> Iterator[Series]:
    """Yields what is read of held-out examples, the folds of each seed joined."""
    found = []
    for seed in sorted({run.seed for run in runs}):
        folds = [run for run in runs if run.seed == seed]
        histories = [history for run in folds if (history := run.example_history("validation"))]
        if len(histories) == folds[0].config["data.folds"] and readings.can_detect(joined := join_folds(histories)):
            found.append(readings.read_scores([joined]))
    if found:
        yield _make_series(cell, OUT_OF_FOLD, _read_epochs(runs[0]), found)


def _read_epochs(run: LoadedRun) -> dict[int, float]:
    """Returns step of an evaluation -> epoch."""
    return {row["step"]: row["epoch"] for row in run.rows("evaluation")}


def _make_series(cell: str, reading: str, epochs: Mapping[int, float], found: Sequence[readings.Readings]) -> Series:
    """Returns a series; of seeds that ended at different times, the evaluations that all have."""
    shortest = min(found, key=lambda one: len(one.steps))
    places = [epochs.get(step, math.nan) for step in shortest.steps.tolist()]
    fitted = np.mean([one.fitted[: len(places)] for one in found], axis=0)
    points = {
        score: [
            _make_point(epoch, fitted[place], [one.detections[score][place] for one in found])
            for place, epoch in enumerate(places)
            if all(place in one.detections[score] for one in found)
        ]
        for score in shortest.detections
    }
    choices = [chosen for one in found for chosen in one.choices]
    return Series(cell, reading, len(found), places, points, choices)


def _make_point(epoch: float, fitted: float, found: Sequence[Detection]) -> Point:
    aurocs = [one.auroc for one in found]
    return Point(
        epoch,
        statistics.fmean(aurocs),
        statistics.fmean(one.standard_error or math.nan for one in found),
        statistics.stdev(aurocs) if len(aurocs) > 1 else None,
        statistics.fmean(one.average_precision for one in found),
        float(fitted),
    )


# Tables


def score_rows(series: Sequence[Series]) -> list[dict[str, Any]]:
    """Returns the row of each score in each series, AUROCs, the best at last first; the columns are `COLUMNS`.

    `behind`, `error`, `deviation`, `precision`: of the last epoch; the first is to the best score at its best epoch.
    """
    rows = []
    for one in series:
        best_auroc = one.best[1].auroc
        for score, points in sorted(one.points.items(), key=lambda item: -item[1][-1].auroc):
            best, last = max(points, key=lambda point: point.auroc), points[-1]
            aurocs = {point.epoch: f"{point.auroc:.4f}" for point in points}
            rows.append(
                {
                    **_name(one),
                    "score": score,
                    **{f"@ {epoch}": aurocs.get(epoch, "") for epoch in SHOWN_EPOCHS},
                    "last": f"{last.auroc:.4f}",
                    "best": f"{best.auroc:.4f}",
                    "at epoch": f"{best.epoch:g}",
                    "behind": f"{best_auroc - last.auroc:.4f}",
                    **_spread(last),
                    "precision": f"{last.precision:.4f}",
                    "best precision": f"{max(point.precision for point in points):.4f}",
                }
            )
    return rows


def epoch_rows(series: Sequence[Series]) -> list[dict[str, Any]]:
    """Returns the row of each point of each score; the columns are `EPOCH_COLUMNS`."""
    return [
        {
            **_name(one),
            "epoch": f"{point.epoch:g}",
            "score": score,
            "AUROC": f"{point.auroc:.5f}",
            **_spread(point),
            "average precision": f"{point.precision:.5f}",
            "fitted": f"{point.fitted:.4f}",
        }
        for one in series
        for score, points in one.points.items()
        for point in points
    ]


def choice_rows(series: Sequence[Series]) -> list[dict[str, Any]]:
    """Returns what a few known wrong labels choose in each series; the columns are `CHOICE_COLUMNS`.

    `chosen` is the most frequent choice, `share` the part of the draws that make it; AUROC, of the labels that are not
    known, and what it is behind the best one of these, are means over draws.
    """
    rows = []
    for one in series:
        counts = Counter((chosen.score, chosen.evaluation) for chosen in one.choices)
        (score, place), times = counts.most_common(1)[0]
        behind = [chosen.best - chosen.auroc for chosen in one.choices]
        best_score, best = one.best
        rows.append(
            {
                **_name(one),
                "best": f"{best_score} @ {best.epoch:g}",
                "best AUROC": f"{best.auroc:.4f}",
                "chosen": f"{score} @ {one.epochs[place]:g}",
                "share": f"{times / len(one.choices):.2f}",
                "AUROC": f"{statistics.fmean(chosen.auroc for chosen in one.choices):.4f}",
                **_behind(behind),
            }
        )
    return rows


def rule_rows(series: Sequence[Series]) -> list[dict[str, Any]]:
    """Returns how far rules that know no truth stay behind the best, over cells; the columns are `RULE_COLUMNS`.

    A rule is a score at the last epoch, or the choice of a few known wrong labels. The nearest one comes first. Cells
    NOISE-LOSS stand apart from the cells NOISE.
    """
    behind: dict[tuple[str, str], list[float]] = {}
    cells = {one.cell for one in series}
    for one in series:
        reading = "mean of seeds" if one.reading.startswith("mean") else one.reading
        noise, _, loss = one.cell.rpartition("-")
        if noise in cells:
            reading += f", {loss}"
        chosen = statistics.fmean(chosen.best - chosen.auroc for chosen in one.choices)
        behind.setdefault((reading, "chosen by known wrong labels"), []).append(chosen)
        for score, points in one.points.items():
            rule = (reading, f"{score} at the last epoch")
            behind.setdefault(rule, []).append(one.best[1].auroc - points[-1].auroc)
    ordered = sorted(behind.items(), key=lambda item: (item[0][0], statistics.fmean(item[1])))
    return [
        {"reading": reading, "rule": rule, "cells": len(values), **_behind(values)}
        for (reading, rule), values in ordered
    ]


def accuracy_rows(runs: RunsByCell) -> list[dict[str, Any]]:
    """Returns what memorization costs each cell in test accuracy; the columns are `ACCURACY_COLUMNS`.

    `cost`: the best evaluation less the last one, points, means over seeds. `given back`: by a cell NOISE-LOSS, at the
    last one, over the cell NOISE. Runs that hold out a fold are left out.
    """
    described: list[dict[str, Any]] = []
    last_tests: dict[str, float] = {}
    for cell, loaded in sorted(runs.items()):
        curves = [
            best_so_far.select_tested(run.rows())
            for run in loaded
            if run.has_result and run.kind == "train" and not run.config.get("data.folds")
        ]
        if not curves or not all(evaluations for evaluations, _ in curves):
            continue
        best = [max(tests) for _, tests in curves]
        last = [tests[-1] for _, tests in curves]
        last_tests[cell] = statistics.fmean(last)
        epochs = [evaluations[int(np.argmax(tests))]["epoch"] for evaluations, tests in curves]
        plain = last_tests.get(cell.rpartition("-")[0])
        fitted = [style.finite(rows[-1].get("train_accuracy_corrupted_given")) for rows, _ in curves]
        described.append(
            {
                "labels": cell,
                "seeds": len(curves),
                "best test %": f"{statistics.fmean(best):.2f}",
                "at epoch": f"{statistics.median(epochs):g}",
                "last test %": f"{last_tests[cell]:.2f}",
                "deviation": f"{statistics.stdev(last):.2f}" if len(last) > 1 else "",
                "cost": f"{statistics.fmean(best) - last_tests[cell]:.2f}",
                "given back": "" if plain is None else f"{last_tests[cell] - plain:+.2f}",
                "fitted %": "" if any(map(math.isnan, fitted)) else tables.percent(statistics.fmean(fitted)),
            }
        )
    return described


def _name(series: Series) -> dict[str, Any]:
    return {"labels": series.cell, "reading": series.reading, "seeds": series.seeds}


def _spread(point: Point) -> dict[str, str]:
    deviation = "" if point.deviation is None else f"{point.deviation:.4f}"
    return {"error": f"{point.error:.4f}", "deviation": deviation}


def _behind(values: Sequence[float]) -> dict[str, str]:
    near = sum(value <= NEAR for value in values) / len(values)
    return {"behind": f"{statistics.fmean(values):.4f}", "worst": f"{max(values):.4f}", "near": f"{near:.2f}"}


# The figure


def draw_label_issues(series: Sequence[Series], stem: Path, *, title: str) -> list[Path]:
    """Draws the AUROC of each score against epochs, a panel for each series; returns `stem`.png and `stem`.pdf.

    In grey the share of the wrong labels that are fitted. Scores that are of the end alone are no curve.
    """
    shown = series[: metric_vs_field.MOST_SERIES]
    columns = best_so_far.WIDTHS.get(len(shown), 3)
    lines = math.ceil(len(shown) / columns)
    size = (max(columns, 2) * PANEL[0], lines * PANEL[1] + LEGEND)
    names = list(dict.fromkeys(name for one in shown for name in one.points))
    with style.open_figure(stem, size, title, round(12 * size[0])) as (figure, files):
        panels = list(figure.subplots(lines, columns, squeeze=False).flat)
        artists: dict[str, Any] = {}
        for one, axes in itertools.zip_longest(shown, panels):
            if one is None:
                axes.set_axis_off()
                continue
            _draw_panel(axes, one, names)
            artists |= {line.get_label(): line for line in axes.lines}
        figure.legend(handles=list(artists.values()), loc="outside lower center", ncols=columns + 1, frameon=False)
    return files


def _draw_panel(axes, series: Series, names: Sequence[str]) -> None:
    curves = {score: points for score, points in series.points.items() if len(points) == len(series.epochs)}
    axes.plot(series.epochs, [point.fitted for point in next(iter(curves.values()))], **FITTED)
    for score, points in curves.items():
        number = names.index(score)
        look = style.SERIES_STYLES[number % len(style.SERIES_STYLES)]
        line = ("-", "--", ":")[number // len(style.SERIES_STYLES) % 3]
        every = max(1, len(points) // 5)
        axes.plot(
            series.epochs,
            [point.auroc for point in points],
            label=score,
            linestyle=line,
            markevery=(number % every, every),
            linewidth=1.1,
            **look,
        )
    axes.set(xlabel="epoch", ylabel="AUROC", ylim=(-0.02, 1.02))
    axes.set_title(f"{series.cell}, {series.reading}", loc="left", fontsize=9, parse_math=False)
