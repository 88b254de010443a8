"""Owns the learning curve of a run, drawn from its rows, and how every figure looks and is written: PNG and PDF.

Refuses to train, to smooth and to measure: it draws what the rows say, and no point that they do not hold.
"""

import math
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

DPI = 150
SIZE = (4.8, 5.4)  # inches, width and height; the type still reads when scaled to a column of 3.3 inches
MARKS = 20  # a curve of more points marks only some of them
LOG_SPAN = 10.0  # losses that span more than this factor get a logarithmic axis
STYLE = {
    "font.size": 10,
    "axes.titlesize": 10,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "lines.markersize": 3.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.handlelength": 3.0,
    "pdf.fonttype": 42,  # TrueType, which journals take and editors can search
}
METADATA = {  # nothing that changes from one drawing to the next
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
# Colours of Okabe and Ito, told apart with any colour vision; the marks tell the curves apart without colour.
DURING = {"label": "train, during training", "color": "#56B4E9", "linewidth": 0.8, "zorder": 1}
TRAIN = {"label": "train, given labels", "color": "#0072B2", "marker": "o"}
TEST = {"label": "test", "color": "#D55E00", "marker": "s"}
CORRUPTED = {
    "label": "corrupted part, true labels",
    "color": "#009E73",
    "marker": "^",
    "linestyle": "-.",
    "markersize": 6,
    "markerfacecolor": "none",
}  # hollow: it often lies on the test curve
CHANCE = {"label": "chance", "color": "#555555", "linewidth": 1.0, "linestyle": "--", "zorder": 1.5}


def learning_curve(rows: Sequence[Mapping[str, Any]], stem: Path, *, title: str, num_classes: int) -> list[Path]:
    """Draws loss and accuracy (percent) against steps; returns the paths of `stem`.png and `stem`.pdf.

    The same rows give the same bytes. Values that are null or not finite leave a gap. The folder of `stem` must exist.

    Args:
      rows: train and evaluation rows, in the order of their steps; there may be none.
      num_classes: the chance level is 1 / num_classes.
    """
    return save(lambda: _draw(rows, title, num_classes), stem)


def from_zero(axes) -> None:
    """Lets the y axis begin at zero, with some room above what is drawn so far."""
    axes.update_datalim([(0, 0)], updatex=False)
    axes.autoscale_view(scalex=False)
    axes.set_ylim(bottom=0)


def save(draw: Callable[[], Any], stem: Path) -> list[Path]:
    """Draws a figure in the house style and writes it; returns the paths of `stem`.png and `stem`.pdf."""
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE]):  # the user's own style stays out of it, and comes back
        figure = draw()
        return [_write(figure, Path(stem), suffix) for suffix in METADATA]


def new_figure(size: tuple[float, float], title: str, title_width: int):
    """Returns an empty figure of `size` inches, its title in lines of `title_width` letters."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(textwrap.fill(title, title_width), fontsize=STYLE["axes.titlesize"], parse_math=False)
    return figure


def _draw(rows: Sequence[Mapping[str, Any]], title: str, num_classes: int):
    figure = new_figure(SIZE, title, 56)
    upper, lower = figure.subplots(2, 1, sharex=True)

    losses = [
        curve(upper, rows, "train", "loss", DURING),
        curve(upper, rows, "evaluation", "train_loss", TRAIN),
        curve(upper, rows, "evaluation", "test_loss", TEST),
    ]
    positive = [value for values in losses for value in values if value > 0]
    if positive and max(positive) > LOG_SPAN * min(positive):
        upper.set_yscale("log")
    elif positive:
        upper.set_ylim(0, 1.08 * max(positive))  # from zero: noise about a constant loss shall not look like a fall
    upper.set_ylabel("loss")

    curve(lower, rows, "train", "accuracy", DURING, scale=100)
    curve(lower, rows, "evaluation", "train_accuracy", TRAIN, scale=100)
    curve(lower, rows, "evaluation", "test_accuracy", TEST, scale=100)
    curve(lower, rows, "evaluation", "train_accuracy_corrupted_true", CORRUPTED, scale=100)
    lower.axhline(100 / num_classes, **CHANCE)
    lower.set(ylabel="accuracy (%)", xlabel="step", ylim=(-3, 103))

    last_step = max((row["step"] for row in rows), default=0)
    lower.locator_params(axis="x", nbins=5)
    lower.set_xlim(-0.02 * max(last_step, 1), 1.02 * max(last_step, 1))
    _epoch_axis(upper, rows)
    entries = {line.get_label(): line for line in [*upper.lines, *lower.lines]}
    figure.legend(handles=list(entries.values()), loc="outside lower center", ncols=2, frameon=False)
    return figure


def curve(
    axes, rows: Sequence[Mapping[str, Any]], kind: str, field: str, look: Mapping[str, Any], scale: float = 1
) -> list[float]:
    """Draws one field of the rows of one kind; returns its values, nan for what is null or not finite."""
    chosen = [row for row in rows if row["kind"] == kind]
    values = [finite(row.get(field)) * scale for row in chosen]
    drawn = sum(not math.isnan(value) for value in values)
    if drawn:
        marks = {"marker": look.get("marker", "o")} if drawn == 1 else {"markevery": math.ceil(len(values) / MARKS)}
        axes.plot([row["step"] for row in chosen], values, **{**look, **marks})
    return values


def finite(value: float | None) -> float:
    return math.nan if value is None or not math.isfinite(value) else float(value)


def _epoch_axis(axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """A second axis on top, in epochs, where a row tells how many steps an epoch has."""
    steps_per_epoch = next((row["step"] / row["epoch"] for row in reversed(rows) if row["epoch"]), None)
    if steps_per_epoch:
        ways = (lambda steps: steps / steps_per_epoch, lambda epochs: epochs * steps_per_epoch)
        axes.secondary_xaxis("top", functions=ways, zorder=3).set_xlabel("epoch")


def _write(figure, stem: Path, suffix: str) -> Path:
    """Writes `stem`.`suffix` whole or not at all: to a file beside it first, which then takes its name.

    What a kill leaves of that file, the next writing replaces.
    """
    path = stem.with_name(f"{stem.name}.{suffix}")
    partial = path.with_name(f".{path.name}")
    try:
        figure.savefig(partial, format=suffix, dpi=DPI, metadata=METADATA[suffix])
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path
