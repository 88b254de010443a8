"""What early stopping could gain, after the paper's figure 2: a panel for each run, and a table.

The best so far is chosen by the test set: nobody can have that gain, so that it is labelled an oracle's.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rethink.figures import style

Rows = Sequence[Mapping[str, Any]]

PANEL = (3.5, 2.7)  # inches, width and height
MARGIN = 0.8  # inches of height for the title and the legend
WIDTHS = {1: 1, 2: 2, 4: 2}  # panels -> columns; other numbers get three
COLUMNS = ("run", "last test %", "oracle's best %", "at step", "gain", "noise")
LABEL_WIDTH = 40  # letters of a panel's label on a line
BAND = {
    "label": "best test so far (an oracle: chosen by the test set)",
    "color": "#E69F00",
    "alpha": 0.45,
    "linewidth": 0,
}
BEST = {"color": "#E69F00", "linewidth": 1.0, "zorder": 1.8}
TRAIN = {**style.TRAIN, "label": "train", "linewidth": 1.2}
TEST = {"label": "test", "color": style.TEST["color"], "linewidth": 1.2}  # no marks: they would hide a narrow band


def draw_best_so_far(runs: Sequence[tuple[str, Rows]], stem: Path, *, title: str) -> list[Path]:
    """Draws train and test accuracy (percent) against steps; returns the paths of `stem`.png and `stem`.pdf.

    Shaded above the test curve: up to the best test accuracy so far. Each panel says what the best is above the last
    one (`gain`), and how noisy the curve is (`noise`), in points. Values that are null or not finite leave a gap.

    Args:
      runs: (label, rows) of at least one run; of its rows, in the order of their steps, the evaluations are drawn.
    """
    columns = WIDTHS.get(len(runs), 3)
    lines = math.ceil(len(runs) / columns)
    size = (max(columns, 1.35) * PANEL[0], lines * PANEL[1] + MARGIN)
    with style.open_figure(stem, size, title, round(12 * size[0])) as (figure, files):
        panels = list(figure.subplots(lines, columns, sharey=True, squeeze=False).flat)
        artists: dict[str, Any] = {}
        for (label, rows), axes in zip(runs, panels, strict=False):
            _draw_panel(axes, label, rows)
            artists |= {artist.get_label(): artist for artist in [*axes.lines, *axes.collections]}
        # The last panel of each column has the steps below it; the places that are left over stay empty.
        for number, axes in enumerate(panels):
            if number >= len(runs):
                axes.set_axis_off()
            elif number + columns >= len(runs):
                axes.set_xlabel("step")
            if number % columns == 0:
                axes.set_ylabel("accuracy (%)")
        shown = [artist for label, artist in artists.items() if not label.startswith("_")]
        figure.legend(handles=shown, loc="outside lower center", ncols=1 if columns == 1 else 3, frameon=False)
    return files


def measure_gain(rows: Rows) -> tuple[float, int] | None:
    """Returns the best test accuracy minus the last one, in points, and the step of the best; None where none is known.

    Of equal ones the first is the best.
    """
    evaluations, accuracies = select_tested(rows)
    points = [(row["step"], value) for row, value in zip(evaluations, accuracies, strict=True) if not math.isnan(value)]
    if not points:
        return None
    step, best = max(points, key=lambda point: point[1])
    return best - points[-1][1], step


def measure_noise(rows: Rows) -> float | None:
    """Returns how noisy the test curve is, points: the root mean square of its second differences over sqrt(6).

    Of independent errors about a straight line that estimates their standard deviation, whatever the line's slope.
    None with fewer than three evaluations, or where a value is missing.
    """
    accuracies = np.asarray(select_tested(rows)[1])
    if len(accuracies) < 3 or np.isnan(accuracies).any():
        return None
    return float(np.sqrt(np.mean(np.diff(accuracies, 2) ** 2) / 6))


def best_so_far_rows(runs: Sequence[tuple[str, Rows]]) -> list[dict[str, Any]]:
    """Returns the printed row of each run that was tested, in percent and points; the columns are `COLUMNS`."""
    described = []
    for label, rows in runs:
        gain, noise = measure_gain(rows), measure_noise(rows)
        if gain is not None:
            last = [value for value in select_tested(rows)[1] if not math.isnan(value)][-1]
            numbers = (f"{last:.2f}", f"{last + gain[0]:.2f}", gain[1], f"{gain[0]:.2f}")
            described.append(
                dict(zip(COLUMNS, (label, *numbers, "" if noise is None else f"{noise:.2f}"), strict=True))
            )
    return described


def select_tested(rows: Rows) -> tuple[list[Mapping[str, Any]], list[float]]:
    """Returns the evaluation rows but that of the start, which is no result, and their test accuracy in percent.

    The accuracy is nan where it is null or not finite.
    """
    evaluations = [row for row in rows if row["kind"] == "evaluation" and row["step"]]
    return evaluations, [100 * style.finite(row.get("test_accuracy")) for row in evaluations]


def running_best(values: Sequence[float]) -> list[float]:
    """Returns the largest value up to each one; nan where the value is, so that the gap is one of the band as well."""
    largest = np.fmax.accumulate([-math.inf, *values])[1:]
    return np.where(np.isnan(values), math.nan, largest).tolist()


def _draw_panel(axes, label: str, rows: Rows) -> None:
    from matplotlib.ticker import EngFormatter

    style.draw_curve(axes, rows, "evaluation", "train_accuracy", TRAIN, scale=100)
    evaluations, test = select_tested(rows)
    steps, best = [row["step"] for row in evaluations], running_best(test)
    axes.fill_between(steps, test, best, **BAND)
    axes.plot(steps, best, **BEST)
    style.draw_curve(axes, rows, "evaluation", "test_accuracy", TEST, scale=100)
    # Room at both ends for the marks, however short the run.
    last_step = max([1, *steps])
    axes.set(xlim=(-0.02 * last_step, 1.02 * last_step), ylim=(-3, 103))
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    gain, noise = measure_gain(rows), measure_noise(rows)
    text = "no test accuracy" if gain is None else f"oracle's gain: {gain[0]:.2f} points (best at step {gain[1]:,})"
    text += "" if noise is None else f"\nnoise: {noise:.2f} points"
    axes.set_title(f"{textwrap.fill(label, LABEL_WIDTH)}\n{text}", fontsize=9, loc="left", parse_math=False)
