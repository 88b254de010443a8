"""The figure of memorization: how much of each example is memorized, drawn from the arrays that it is given."""

from pathlib import Path

import numpy as np

from rethink.figures import style

BINS = np.linspace(-0.5, 1, 61)


def draw_memorization(values: np.ndarray, is_corrupted: np.ndarray, stem: Path, *, title: str) -> list[Path]:
    """Draws a histogram of memorization, of clean and of corrupted examples; returns `stem`.png and `stem`.pdf.

    Args:
      values: [n], NaN where there is no estimate; is_corrupted: bool [n].
    """
    with style.open_figure(stem, (4.8, 3.2), title) as (figure, files):
        axes = figure.subplots()
        for label, part, colour in (
            ("true labels" if is_corrupted.any() else "all", ~is_corrupted, style.COLOURS[0]),
            ("corrupted labels", is_corrupted, style.COLOURS[1]),
        ):
            shown = np.clip(values[part & ~np.isnan(values)], BINS[0], BINS[-1])
            if len(shown):
                axes.hist(shown, BINS, color=colour, alpha=0.7, label=f"{label} (n={len(shown):,})")
        axes.set(xlabel="memorization", ylabel="examples", yscale="log")
        if axes.patches:
            axes.legend(frameon=False)
    return files
