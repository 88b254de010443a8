"""The look that all figures share, the parts that several draw, and how a figure is written: PNG and PDF."""

import contextlib
import math
import os
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rethink.schema.errors import UserError

DPI = 150
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
TRAIN = {"label": "train, all given labels", "color": "#0072B2", "marker": "o"}
TEST = {"label": "test", "color": "#D55E00", "marker": "s"}
CLEAN = {"label": "examples with true labels", "color": "#E69F00", "marker": "D", "linestyle": (0, (5, 1))}
CORRUPTED_GIVEN = {
    "label": "corrupted examples, by their given labels",
    "color": "#CC79A7",
    "marker": "v",
    "linestyle": ":",
}
CORRUPTED_TRUE = {
    "label": "corrupted examples, by their true labels",
    "color": "#009E73",
    "marker": "^",
    "linestyle": "-.",
    "markersize": 6,
    "markerfacecolor": "none",
}  # hollow: it often lies on the test curve
CHANCE = {"label": "chance", "color": "#555555", "linewidth": 1.0, "linestyle": "--", "zorder": 1.5}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SERIES_STYLES = [{"color": colour, "marker": mark} for colour, mark in zip(COLOURS, "os^DvP", strict=True)]


def load_matplotlib() -> None:
    """Imports Matplotlib, whatever backend the environment names: a notebook's is none that every process has.

    A program that has imported it keeps its backend.

    Raises:
      UserError: it can't be imported, as where its settings file is damaged; before a run, not at its end.
    """
    if sys.modules.get("matplotlib"):
        return
    os.environ["MPLBACKEND"] = "agg"
    try:
        import matplotlib  # noqa: F401
    except Exception as error:  # of its settings file anything
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"Matplotlib can't be imported ({type(error).__name__}: {reason}): mend the matplotlibrc that it reads "
            "(here, or in MPLCONFIGDIR or ~/.config/matplotlib), or install it again."
        ) from error


def from_zero(axes) -> None:
    """Lets the y axis begin at zero, with some room above what is drawn so far."""
    axes.update_datalim([(0, 0)], updatex=False)
    axes.autoscale_view(scalex=False)
    axes.set_ylim(bottom=0)


@contextlib.contextmanager
def open_figure(
    stem: Path, size: tuple[float, float], title: str, title_width: int = 56
) -> Iterator[tuple[Any, list[Path]]]:
    """Yields an empty figure in the shared style, and the paths `stem`.png and `stem`.pdf.

    Both are written at the end of the `with` block: each whole or, where the block raises, not at all. The same drawing
    gives the same bytes. The folder of `stem` must exist.

    Args:
      size: width and height, inches.
      title_width: letters on a line of the title.
    """
    load_matplotlib()
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.style.context(["default", STYLE]):  # the user's own style stays out of it, and comes back
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(textwrap.fill(title, title_width), fontsize=STYLE["axes.titlesize"], parse_math=False)
        paths = {suffix: stem.with_name(f"{stem.name}.{suffix}") for suffix in METADATA}
        yield figure, list(paths.values())
        for suffix, path in paths.items():
            # To a file beside it first; what a kill leaves of that, the next writing replaces.
            partial = path.with_name(f".{path.name}")
            try:
                figure.savefig(partial, format=suffix, dpi=DPI, metadata=METADATA[suffix])
                os.replace(partial, path)
            finally:
                partial.unlink(missing_ok=True)


def add_legend(figure, axes) -> None:
    """Puts the names of the series below the panels, where they have names."""
    handles, labels = axes.get_legend_handles_labels()
    if any(labels):
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)


def draw_curve(
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
