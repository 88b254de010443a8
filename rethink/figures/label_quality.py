"""The figure of an audit of labels: what flipped labels say of a threshold, and the quality of all labels."""

from pathlib import Path

import numpy as np

from rethink.figures import style
from rethink.memorization.label_issues import Scored

SIZE = (4.8, 5.0)  # inches, width and height
POINTS = 200  # of a curve


def draw_calibration(scored: Scored, quality: np.ndarray, stem: Path, *, title: str) -> list[Path]:
    """Draws recall and precision of the flipped labels by threshold, and a histogram of the labels' quality.

    Returns the paths of `stem`.png and `stem`.pdf.

    Args:
      scored: the suspicion of flipped and of own labels; quality: of own labels, float64 [n] in 0..1.
    """
    thresholds = np.quantile(np.concatenate([scored.flipped, scored.own]), np.linspace(0, 1, POINTS))
    found, others = ((part[:, None] >= thresholds).sum(axis=0) for part in (scored.flipped, scored.own))
    with style.open_figure(stem, SIZE, title) as (figure, files):
        curves, histogram = figure.subplots(2, 1)
        curves.plot(thresholds, found / len(scored.flipped), color=style.COLOURS[0], label="flipped that are above")
        precision = found / np.maximum(found + others, 1)
        curves.plot(thresholds, precision, color=style.COLOURS[1], linestyle="--", label="above that were flipped")
        curves.set(xlabel="threshold of suspicion", ylabel="share", ylim=(-0.02, 1.02))
        curves.legend(frameon=False, fontsize=8)
        histogram.hist(quality, bins=np.linspace(0, 1, 41), color=style.COLOURS[0], log=True)
        histogram.set(xlabel="quality of a label", ylabel="labels")
    return files
