"""The learning curve of one run: loss and accuracy against steps, drawn from its metrics rows.

Nothing is smoothed or measured: each point is a row.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rethink.figures import style

SIZE = (4.8, 5.4)  # inches, width and height; the type still reads when scaled to a column of 3.3 inches
LABEL_LENGTH = 22  # signs in a line of the upper axis' label, which is the shorter one


def draw_learning_curve(
    rows: Sequence[Mapping[str, Any]],
    stem: Path,
    *,
    title: str,
    num_classes: int,
    has_parts: bool = False,
    loss: str = "",
) -> list[Path]:
    """Draws loss and accuracy (percent) against steps; returns the paths of `stem`.png and `stem`.pdf.

    Values that are null or not finite leave a gap.

    Args:
      rows: train and evaluation rows, in the order of their steps; there may be none.
      num_classes: the chance level is 1 / num_classes.
      has_parts: whether labels were corrupted in part: what is learned of true and of corrupted ones has curves too.
      loss: which one it is; "" for cross-entropy.
    """
    with style.open_figure(stem, SIZE, title) as (figure, files):
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3) if has_parts else (1, 1))

        # Loss: a logarithmic axis where a linear one would show only the start.
        losses = [
            style.draw_curve(upper, rows, "train", "loss", style.DURING),
            style.draw_curve(upper, rows, "evaluation", "train_loss", style.TRAIN),
            style.draw_curve(upper, rows, "evaluation", "test_loss", style.TEST),
        ]
        positive = [value for values in losses for value in values if value > 0]
        if positive and max(positive) > style.LOG_SPAN * min(positive):
            upper.set_yscale("log")
        elif positive:
            upper.set_ylim(0, 1.08 * max(positive))  # from zero: noise about a constant loss must not look like a fall
        upper.set_ylabel(textwrap.fill(f"loss: {loss}", LABEL_LENGTH) if loss else "loss")

        # Accuracy, in percent; the curves that no row has are left out.
        style.draw_curve(lower, rows, "train", "accuracy", style.DURING, scale=100)
        style.draw_curve(lower, rows, "evaluation", "train_accuracy", style.TRAIN, scale=100)
        style.draw_curve(lower, rows, "evaluation", "test_accuracy", style.TEST, scale=100)
        if has_parts:
            style.draw_curve(lower, rows, "evaluation", "train_accuracy_clean", style.CLEAN, scale=100)
            given = "train_accuracy_corrupted_given"
            style.draw_curve(lower, rows, "evaluation", given, style.CORRUPTED_GIVEN, scale=100)
        style.draw_curve(lower, rows, "evaluation", "train_accuracy_corrupted_true", style.CORRUPTED_TRUE, scale=100)
        lower.axhline(100 / num_classes, **style.CHANCE)
        lower.set(ylabel="accuracy (%)", xlabel="step", ylim=(-3, 103))

        # Room at both ends for the marks, however short the run.
        last_step = max((row["step"] for row in rows), default=0)
        lower.locator_params(axis="x", nbins=5)
        lower.set_xlim(-0.02 * max(last_step, 1), 1.02 * max(last_step, 1))
        _add_epoch_axis(upper, rows)
        labelled = {line.get_label(): line for line in [*upper.lines, *lower.lines]}
        figure.legend(handles=list(labelled.values()), loc="outside lower center", ncols=2, frameon=False)
    return files


def _add_epoch_axis(axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds a second axis on top, in epochs, where a row has a step and an epoch to convert by."""
    steps_per_epoch = next((row["step"] / row["epoch"] for row in reversed(rows) if row["epoch"]), None)
    if steps_per_epoch:
        ways = (lambda steps: steps / steps_per_epoch, lambda epochs: epochs * steps_per_epoch)
        axes.secondary_xaxis("top", functions=ways, zorder=3).set_xlabel("epoch")
