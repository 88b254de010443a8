"""Owns figure 1a: the training loss against steps, a curve a condition, and when each has converged.

Refuses to smooth: a point is a row, the mean over the steps between two of them.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rethink.figures import metric_vs_field, style
from rethink.paper import protocol
from rethink.paper.numbers import REPLICATED_TEST_ACCURACY, STEPS_TO_LOSS
from rethink.results import records, tables
from rethink.results.runs import Runs

CONVERGED = 0.1  # a training loss at most this, as in the replication whose steps paper.py has
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


class Loss(NamedTuple):
    """A run's training loss [m] at steps [m], the loss of guessing, None where the classes are not recorded yet, how
    the run is unlike the replication's, and its test accuracy, None where it has come to no result.
    """

    steps: list[int]
    losses: list[float]
    guessing: float | None
    notes: Sequence[str]
    test_accuracy: float | None

    def first_below(self, level: float | None) -> int | None:
        """Returns the step of the first row at most `level`; None where there is none, and for no level."""
        if level is None:
            return None
        return next((step for step, loss in zip(self.steps, self.losses, strict=True) if loss <= level), None)

    def started(self) -> int | None:
        """Returns the step of the first row that is clearly better than guessing."""
        return self.first_below(None if self.guessing is None else STARTED * self.guessing)


def read_losses(runs: Runs) -> dict[str, list[Loss]]:
    """Returns condition -> the losses of its runs; `runs`: condition -> run directories."""
    found = {name: [loss for loss in map(_loss, folders) if loss.steps] for name, folders in runs.items()}
    return {name: losses for name, losses in found.items() if losses}


def _loss(folder: Path) -> Loss:
    rows = [row for row in records.read_rows(folder / "metrics.jsonl") if row["kind"] == "train"]
    seen = [(row["step"], row["loss"]) for row in rows if math.isfinite(style.finite(row.get("loss")))]
    manifest = records.read_run(folder)
    summary = manifest.get("summary") or {}
    classes, test = summary.get("num_classes"), (summary.get("evaluation") or {}).get("test_accuracy")
    plain = {field: value for field, value in manifest["config"].items() if field != "corruption.pixels"}
    notes = [*protocol.figure_mismatches(plain), *protocol.caveats(plain, manifest.get("data") or {})]
    if manifest["status"] not in records.WITH_RESULT:
        notes.insert(0, manifest["status"])
    if plain.get("train.batch_size") != BATCH:
        notes.insert(0, f"batch: {plain.get('train.batch_size')}")
    if plain.get("model.name") != "inception":
        notes.insert(0, f"network: {plain.get('model.name')}")
    guessing = math.log(classes) if classes else None
    return Loss([step for step, _ in seen], [loss for _, loss in seen], guessing, notes, test)


def draw_loss_curves(found: Mapping[str, Sequence[Loss]], stem: Path, *, title: str) -> list[Path]:
    """Draws the curves of all runs, those of a condition in one colour; returns `stem`.png and `stem`.pdf."""

    def make():
        figure = style.new_figure((metric_vs_field.SIZE[0], 3.6), title, 56)
        axes = figure.subplots()
        for number, (condition, runs) in enumerate(list(found.items())[: metric_vs_field.MOST_SERIES]):
            look = metric_vs_field.SERIES_STYLES[number % len(metric_vs_field.SERIES_STYLES)]
            for place, run in enumerate(runs):
                every = max(1, len(run.steps) // 8)
                label = condition if place == 0 else f"_{condition}"
                axes.plot(run.steps, run.losses, label=label, markevery=(number, every), linewidth=1.2, **look)
        axes.set(xlabel="step", ylabel="training loss")
        style.from_zero(axes)
        metric_vs_field.legend(figure, axes)
        return figure

    return style.save_figure(make, stem)


def loss_rows(found: Mapping[str, Sequence[Loss]]) -> list[dict[str, Any]]:
    """Returns a row for each condition, medians over runs; blank where a run has not come there."""
    base = _converged(found.get("true", ()))
    return [
        {
            "condition": condition,
            "n": len(runs),
            "steps to start": _text(_steps([run.started() for run in runs])),
            "steps to loss 0.1": _text(_converged(runs)),
            "relative to true": _ratio(_converged(runs), base),
            **_replicated(condition),
            "test accuracy %": tables.percent(_mean([run.test_accuracy for run in runs])),
            "notes": "; ".join(dict.fromkeys(note for run in runs for note in run.notes)),
        }
        for condition, runs in found.items()
    ]


def _replicated(condition: str) -> dict[str, str]:
    """Returns what the replication has of a condition; blank where it has none."""
    steps, test = STEPS_TO_LOSS.get(condition), REPLICATED_TEST_ACCURACY.get(condition)
    return {
        "replication's": _text(steps.value if steps else None),
        "relative": _ratio(steps.value if steps else None, STEPS_TO_LOSS["true"].value),
        "replication's %": test.text() if test else "",
        "certainty": steps.certainty if steps else "",
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _converged(runs: Sequence[Loss]) -> float | None:
    return _steps([run.first_below(CONVERGED) for run in runs])


def _steps(reached: Sequence[int | None]) -> float | None:
    """Returns the median over runs, None where one has not come there."""
    known = [step for step in reached if step is not None]
    return statistics.median(known) if known and len(known) == len(reached) else None


def _text(steps: float | None) -> str:
    return "" if steps is None else f"{steps:.0f}"


def _ratio(steps: float | None, base: float | None) -> str:
    return "" if steps is None or not base else f"{steps / base:.2f}"
