"""Figure 1a: the training loss against steps, a colour for each condition, and when each has converged.

Nothing is smoothed: a point is a metrics row, the mean over the steps since the one before.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rethink.figures import metric_vs_field, style
from rethink.paper import protocol
from rethink.paper.claims import CONVERGED
from rethink.paper.numbers import REPLICATED_TEST_ACCURACY, STEPS_TO_LOSS
from rethink.results import tables
from rethink.results.runs import LoadedRun, RunsByCell, read_numbers, row_table

BATCH = 128  # of the replication, in whose steps that is
STARTED = 0.9  # the loss is below this times that of guessing: the run has begun to converge
COLUMNS = (
    "condition",
    "n",
    "steps to start",
    "steps to loss 0.1",
    "relative to true",
    "replication's",
    "relative",
    "test accuracy %",
    "replication's %",
    "certainty",
    "notes",
)


class LossCurve(NamedTuple):
    """The training loss of a run.

    Attributes:
      steps, losses: float [rows], those whose loss is finite.
      guessing: the loss of guessing; None where the number of classes is not recorded yet, or the loss is no
        cross-entropy.
      notes: how the run is unlike the replication's.
    """

    run: LoadedRun
    steps: Sequence[int]
    losses: Sequence[float]
    guessing: float | None
    notes: Sequence[str]

    def first_below(self, level: float | None) -> int | None:
        """Returns the step of the first row at most `level`; None where there is none, and for no level."""
        if level is None:
            return None
        return next((step for step, loss in zip(self.steps, self.losses, strict=True) if loss <= level), None)

    @property
    def started(self) -> float | None:
        """The loss below which the run is clearly better than guessing."""
        return None if self.guessing is None else STARTED * self.guessing

    def between_rows(self, level: float) -> tuple[float, float]:
        """Returns the steps of the last row above `level` and of the first at most that; inf where there is none."""
        row = next((row for row, loss in enumerate(self.losses) if loss <= level), len(self.losses))
        return float(([0, *self.steps])[row]), float(([*self.steps, math.inf])[row])


def read_losses(runs: RunsByCell) -> dict[str, list[LossCurve]]:
    """Returns condition -> the loss curves of its runs; runs without a finite loss are left out.

    Raises:
      UserError: the metrics of a run are damaged.
    """
    curves = {
        condition: [curve for run in loaded if (curve := _read_loss(run)).steps] for condition, loaded in runs.items()
    }
    return {condition: losses for condition, losses in curves.items() if losses}


def _read_loss(run: LoadedRun) -> LossCurve:
    rows = row_table([run], "train")
    losses = read_numbers(rows, "loss")
    finite = losses.abs() < math.inf
    classes = run.summary.get("num_classes")
    is_cross_entropy = run.config.get("train.loss", "cross_entropy") == "cross_entropy"
    guessing = math.log(classes) if classes and is_cross_entropy else None
    steps = rows["step"][finite].tolist() if len(rows) else []
    return LossCurve(run, steps, losses[finite].tolist(), guessing, _compare_setup(run))


def _compare_setup(run: LoadedRun) -> list[str]:
    """Returns how a run is unlike the replication's, but for its pixels, where they are those of a condition."""
    is_condition = run.config.get("corruption.pixels") in protocol.PIXELS
    plain = {field: value for field, value in run.config.items() if not (is_condition and field == "corruption.pixels")}
    network, batch = plain.get("model.name"), plain.get("train.batch_size")
    return [
        *([f"network: {network}"] if network != "inception" else []),
        *([f"batch: {batch}"] if batch != BATCH else []),
        *([] if run.has_result else [run.status]),
        *protocol.figure_mismatches(plain),
        *protocol.caveats(plain, run.data),
    ]


def draw_loss_curves(curves: Mapping[str, Sequence[LossCurve]], stem: Path, *, title: str) -> list[Path]:
    """Draws the curves of all runs, those of a condition in one colour; returns `stem`.png and `stem`.pdf."""
    with style.open_figure(stem, (metric_vs_field.SIZE[0], 3.6), title) as (figure, files):
        axes = figure.subplots()
        for number, (condition, losses) in enumerate(list(curves.items())[: metric_vs_field.MOST_SERIES]):
            look = style.SERIES_STYLES[number % len(style.SERIES_STYLES)]
            for place, curve in enumerate(losses):
                # Marks of different conditions are offset, so that none hides another.
                every = max(1, len(curve.steps) // 8)
                label = condition if place == 0 else f"_{condition}"
                axes.plot(curve.steps, curve.losses, label=label, markevery=(number, every), linewidth=1.2, **look)
        axes.set(xlabel="step", ylabel="training loss")
        style.from_zero(axes)
        style.add_legend(figure, axes)
    return files


def loss_rows(curves: Mapping[str, Sequence[LossCurve]]) -> list[dict[str, Any]]:
    """Returns the printed row of each condition, medians over runs; blank where a run has not come there."""
    base = _converged_steps(curves.get("true", ()))
    return [
        {
            "condition": condition,
            "n": len(losses),
            "steps to start": _describe_steps(_median([curve.first_below(curve.started) for curve in losses])),
            "steps to loss 0.1": _describe_steps(_converged_steps(losses)),
            "relative to true": _describe_ratio(_converged_steps(losses), base),
            **_replicated_columns(condition),
            "test accuracy %": _describe_accuracy(losses),
            "notes": "; ".join(dict.fromkeys(note for curve in losses for note in curve.notes)),
        }
        for condition, losses in curves.items()
    ]


def _replicated_columns(condition: str) -> dict[str, str]:
    """Returns what the replication has of a condition; blank where it has none."""
    steps, test = STEPS_TO_LOSS.get(condition), REPLICATED_TEST_ACCURACY.get(condition)
    return {
        "replication's": _describe_steps(steps.value if steps else None),
        "relative": _describe_ratio(steps.value if steps else None, STEPS_TO_LOSS["true"].value),
        "replication's %": test.text() if test else "",
        "certainty": steps.certainty if steps else "",
    }


def _converged_steps(losses: Sequence[LossCurve]) -> float | None:
    return _median([curve.first_below(CONVERGED) for curve in losses])


def _median(reached: Sequence[int | None]) -> float | None:
    """Returns the median over runs; None where one has not come there, and of no runs."""
    steps = [step for step in reached if step is not None]
    return statistics.median(steps) if steps and len(steps) == len(reached) else None


def _describe_accuracy(losses: Sequence[LossCurve]) -> str:
    accuracies = [curve.run.evaluation.get("test_accuracy") for curve in losses]
    recorded = [accuracy for accuracy in accuracies if accuracy is not None]
    return tables.percent(statistics.fmean(recorded)) if recorded else ""


def _describe_steps(steps: float | None) -> str:
    return "" if steps is None else f"{steps:.0f}"


def _describe_ratio(steps: float | None, base: float | None) -> str:
    return "" if steps is None or not base else f"{steps / base:.2f}"
