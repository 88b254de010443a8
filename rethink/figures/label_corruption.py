"""Figures 1b and 1c: steps to fit, and test error, against the probability that a label is resampled.

A run that did not fit, as it was short or diverged, is not left out: it is drawn at the steps that it made, as a lower
bound. One that diverged has no test error.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rethink.figures import metric_vs_field, style
from rethink.figures.metric_vs_field import IS_BOUND
from rethink.paper import protocol
from rethink.paper.claims import FIT_FRACTION
from rethink.results.runs import RunsByCell, read_numbers

if TYPE_CHECKING:
    import pandas

FIELD = "corruption.label_probability"
FIT = str(FIT_FRACTION)  # a train accuracy as records name it
STRICT = "0.99"  # of the second panel
STEPS = {accuracy: f"steps to {float(accuracy):.0%}" for accuracy in (FIT, STRICT)}
RELATIVE = {FIT: "relative", STRICT: "relative, strict"}  # to the mean of the same series at p = 0
MEASURES = (STEPS[FIT], RELATIVE[FIT], STEPS[STRICT], RELATIVE[STRICT], "test error %")
COLUMNS = ("series", "p", "n", *MEASURES, "deviation", "notes")
FORMS = {**dict.fromkeys(STEPS.values(), "{:.0f}"), **dict.fromkeys((*RELATIVE.values(), "test error %"), "{:.2f}")}


def read_points(runs: RunsByCell) -> "pandas.DataFrame":
    """Returns the points of runs against the probability that a label is resampled; true labels are at 0.

    Beside the columns of metric_vs_field.read_points there are those of `STEPS` and `RELATIVE`, nan where they are not
    known, each with one that says whether it is a lower bound.
    """
    points = metric_vs_field.read_points(runs, FIELD, resampled_fraction, protocol.figure_mismatches)
    for accuracy in STEPS:
        _add_steps(points, accuracy)
    return points


def resampled_fraction(config: Mapping[str, Any]) -> float:
    """Returns the probability with which a flat config has a label resampled."""
    return 0.0 if config.get("corruption.labels") == "none" else config[FIELD]


def _add_steps(points: "pandas.DataFrame", accuracy: str) -> None:
    """Adds the columns of a train accuracy: steps until an evaluation finds it, as they are and relative to p = 0."""
    steps, reached = read_numbers(points, f"steps to {accuracy}"), read_numbers(points, f"reached {accuracy}")
    at_zero = points["x"] == 0
    bases = steps[at_zero].groupby(points["series"]).mean()
    # A base of which a part is not known, or only a bound, is none.
    bases = bases[(reached[at_zero] == 1).groupby(points["series"]).all()]
    points[STEPS[accuracy]], points[RELATIVE[accuracy]] = steps, steps / points["series"].map(bases)
    for column in (STEPS[accuracy], RELATIVE[accuracy]):
        points[column + IS_BOUND] = reached == 0


def choose_fit_panel(points: "pandas.DataFrame", accuracy: str) -> tuple[str, str]:
    """Returns the title and the column of a panel of figure 1b: `RELATIVE`, `STEPS` where no run has that."""
    if points[RELATIVE[accuracy]].notna().any():
        return f"{STEPS[accuracy]} / at p = 0", RELATIVE[accuracy]
    return STEPS[accuracy], STEPS[accuracy]


def draw_label_corruption(points: "pandas.DataFrame", stem: Path, *, title: str) -> list[Path]:
    """Draws figure 1b, for both train accuracies, and figure 1c; returns the paths of `stem`.png and `stem`.pdf."""
    with style.open_figure(stem, (metric_vs_field.SIZE[0], 3 * metric_vs_field.SIZE[1]), title) as (figure, files):
        *upper, lower = figure.subplots(3, 1, sharex=True)
        for axes, accuracy in zip(upper, STEPS, strict=True):
            label, column = choose_fit_panel(points, accuracy)
            any_bound = metric_vs_field.draw_series(axes, points, column)
            axes.set_ylabel(label)
            style.from_zero(axes)
            if any_bound:
                axes.set_title("triangles: not reached, a lower bound", loc="right", fontsize=7, color="#555555")
        metric_vs_field.draw_series(lower, points, "test error %")
        lower.set(ylabel="test error (%)", xlabel="probability that a label is resampled", ylim=(0, 100))
        style.add_legend(figure, lower)
    return files


def label_corruption_rows(points: "pandas.DataFrame") -> list[dict[str, Any]]:
    """Returns the printed row of each series and p, means over seeds; the columns are `COLUMNS`."""
    return metric_vs_field.describe_places(points, "p", FORMS)
