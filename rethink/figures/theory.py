"""Figures of the analyses: theorem 1's network, the way of linear models to the least-norm interpolant, bounds.

Computes nothing: it draws the arrays that it is given.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rethink.figures import style

SIZE = (4.8, 4.6)  # inches, width and height, of two panels one above the other
POINT = {"color": "#D55E00", "marker": "o", "linestyle": "none", "markersize": 4, "label": "labels of the sample"}
LINE = {"color": "#0072B2", "linewidth": 1.2}


class Curve(NamedTuple):
    """A network along its projection, float64: grid [m], values [m] or [m, k]; its points likewise, of size p."""

    grid: np.ndarray
    values: np.ndarray
    positions: np.ndarray
    targets: np.ndarray


def draw_theorem1(curve: Curve, growth: Sequence[Mapping[str, Any]], stem: Path, *, title: str) -> list[Path]:
    """Draws the network between neighbouring points and, where sizes were measured, the seconds of its construction.

    Returns the paths of `stem`.png and `stem`.pdf.

    Args:
      curve: of one output, or of several, of which the first is drawn.
      growth: `points` and `seconds` of each size.
    """
    with style.open_figure(stem, SIZE if growth else (SIZE[0], SIZE[1] / 2 + 0.4), title) as (figure, files):
        axes = np.atleast_1d(figure.subplots(2 if growth else 1, 1))
        values, targets = (part.reshape(len(part), -1)[:, 0] for part in (curve.values, curve.targets))
        axes[0].plot(curve.grid, values, label="the network", **LINE)
        axes[0].plot(curve.positions, targets, **POINT)
        axes[0].set(xlabel="projection <a, x>", ylabel="value")
        axes[0].locator_params(axis="x", nbins=5)
        axes[0].legend(frameon=False, fontsize=8)
        if growth:
            points, seconds = ([row[field] for row in growth] for field in ("points", "seconds"))
            axes[1].loglog(points, seconds, marker="s", label="construction", **LINE)
            slope = np.asarray(points) * np.log(points)
            axes[1].loglog(points, slope * seconds[-1] / slope[-1], color="#555555", linestyle="--", label="n log n")
            axes[1].set(xlabel="points n", ylabel="seconds")
            axes[1].legend(frameon=False, fontsize=8)
    return files


def draw_least_norm_paths(paths: Mapping[str, Mapping[str, Any]], stem: Path, *, title: str) -> list[Path]:
    """Draws the distance to the least-norm interpolant against steps, beside the rate that theory predicts.

    Returns the paths of `stem`.png and `stem`.pdf.

    Args:
      paths: name -> `steps`, `distances` (relative) and `predicted_rate` (a factor a step, of SGD a bound on it, None
        where none is known).
    """
    with style.open_figure(stem, (SIZE[0], 3.4), title) as (figure, files):
        axes = figure.subplots()
        for colour, (name, path) in zip(style.COLOURS, paths.items(), strict=False):
            steps, distances = np.asarray(path["steps"]), np.asarray(path["distances"])
            axes.loglog(steps[1:], distances[1:], color=colour, label=name)
            rate = path["predicted_rate"]
            if rate is not None and 0 < rate < 1:
                predicted = distances[0] * rate ** steps[1:].astype(float)
                shown = predicted > max(distances[1:].min() / 10, 1e-16)
                axes.loglog(steps[1:][shown], predicted[shown], color=colour, linestyle=":", linewidth=1)
        axes.set(xlabel="step", ylabel="distance to the limit, relative")
        axes.legend(frameon=False, fontsize=8, title="dotted: the rate of theory, where known", title_fontsize=8)
    return files


def draw_bounds(bounds: Mapping[str, Sequence[Any]], stem: Path, *, title: str, vacuous_from: float) -> list[Path]:
    """Draws each bound beside the gap that was measured, on a logarithmic axis.

    Returns the paths of `stem`.png and `stem`.pdf.

    Args:
      bounds: labels of the run -> rows with `name`, `value` and `gap`.
      vacuous_from: the value from which on a bound is no better than guessing.
    """
    with style.open_figure(stem, (SIZE[0] + 0.8, 3.4), title) as (figure, files):
        axes = figure.subplots()
        names = [row.name for row in next(iter(bounds.values()))]
        for number, (labels, rows) in enumerate(bounds.items()):
            places = np.arange(len(names)) + 0.15 * (2 * number - 1)
            look = {"color": style.COLOURS[number], "marker": "os"[number % 2], "linestyle": "none"}
            axes.plot([row.value for row in rows], places, label=f"{labels} labels: bound", **look)
            gap = {
                "color": style.COLOURS[number],
                "linestyle": ":",
                "label": f"{labels}: measured gap, {rows[0].gap:.3f}",
            }
            axes.axvline(rows[0].gap if rows[0].gap > 0 else np.nan, **gap)
        axes.axvline(vacuous_from, color="#555555", linestyle="--", label="vacuous from here on")
        axes.set(xscale="log", xlabel="test error - train error", yticks=range(len(names)), yticklabels=names)
        axes.invert_yaxis()
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return files
