"""Owns the learning curve of a run, drawn from its rows, and how every figure looks and is written: PNG and PDF.

Refuses to train, to smooth and to measure: it draws what the rows say, and no point that they do not hold.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rethink.figures import style

SIZE = (4.8, 5.4)  # inches, width and height; the type still reads when scaled to a column of 3.3 inches


def draw_learning_curve(rows: Sequence[Mapping[str, Any]], stem: Path, *, title: str, num_classes: int) -> list[Path]:
    """Draws loss and accuracy (percent) against steps; returns the paths of `stem`.png and `stem`.pdf.

    The same rows give the same bytes. Values that are null or not finite leave a gap. The folder of `stem` must exist.

    Args:
      rows: train and evaluation rows, in the order of their steps; there may be none.
      num_classes: the chance level is 1 / num_classes.
    """
    return style.save_figure(lambda: _draw(rows, title, num_classes), stem)


def _draw(rows: Sequence[Mapping[str, Any]], title: str, num_classes: int):
    figure = style.new_figure(SIZE, title, 56)
    upper, lower = figure.subplots(2, 1, sharex=True)

    losses = [
        style.curve(upper, rows, "train", "loss", style.DURING),
        style.curve(upper, rows, "evaluation", "train_loss", style.TRAIN),
        style.curve(upper, rows, "evaluation", "test_loss", style.TEST),
    ]
    positive = [value for values in losses for value in values if value > 0]
    if positive and max(positive) > style.LOG_SPAN * min(positive):
        upper.set_yscale("log")
    elif positive:
        upper.set_ylim(0, 1.08 * max(positive))  # from zero: noise about a constant loss shall not look like a fall
    upper.set_ylabel("loss")

    style.curve(lower, rows, "train", "accuracy", style.DURING, scale=100)
    style.curve(lower, rows, "evaluation", "train_accuracy", style.TRAIN, scale=100)
    style.curve(lower, rows, "evaluation", "test_accuracy", style.TEST, scale=100)
    style.curve(lower, rows, "evaluation", "train_accuracy_corrupted_true", style.CORRUPTED, scale=100)
    lower.axhline(100 / num_classes, **style.CHANCE)
    lower.set(ylabel="accuracy (%)", xlabel="step", ylim=(-3, 103))

    last_step = max((row["step"] for row in rows), default=0)
    lower.locator_params(axis="x", nbins=5)
    lower.set_xlim(-0.02 * max(last_step, 1), 1.02 * max(last_step, 1))
    _epoch_axis(upper, rows)
    entries = {line.get_label(): line for line in [*upper.lines, *lower.lines]}
    figure.legend(handles=list(entries.values()), loc="outside lower center", ncols=2, frameon=False)
    return figure


def _epoch_axis(axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """A second axis on top, in epochs, where a row tells how many steps an epoch has."""
    steps_per_epoch = next((row["step"] / row["epoch"] for row in reversed(rows) if row["epoch"]), None)
    if steps_per_epoch:
        ways = (lambda steps: steps / steps_per_epoch, lambda epochs: epochs * steps_per_epoch)
        axes.secondary_xaxis("top", functions=ways, zorder=3).set_xlabel("epoch")
