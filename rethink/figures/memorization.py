"""Figures of memorization: how much of each example is memorized, and pairs of images of which one influences another.

Computes nothing: it draws the arrays that it is given.
"""

from collections.abc import Sequence
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


def draw_pairs(
    pictures: Sequence[np.ndarray],
    labels: Sequence[Sequence[str]],
    influences: Sequence[float],
    stem: Path,
    *,
    title: str,
) -> list[Path]:
    """Draws training images above the test images that they influence most; returns `stem`.png and `stem`.pdf.

    Args:
      pictures: of train and of test, each uint8 [pairs, height, width, channels]; labels: of both, [pairs].
      influences: [pairs].
    """
    with style.open_figure(stem, (0.8 + len(influences), 3.2), title) as (figure, files):
        axes = figure.subplots(2, len(influences), squeeze=False)
        for row, (images, of_images, name) in enumerate(zip(pictures, labels, ("train", "test"), strict=True)):
            for place, image, label in zip(axes[row], images, of_images, strict=True):
                channels = 3 if image.shape[-1] >= 3 else 1
                place.imshow(np.squeeze(image[..., :channels]), cmap="gray", interpolation="nearest")
                place.set(xticks=[], yticks=[])
                place.set_xlabel(label, fontsize=8, parse_math=False)
                place.grid(False)
            axes[row][0].set_ylabel(name)
        for place, value in zip(axes[0], influences, strict=True):
            place.set_title(f"{value:.2f}", fontsize=8)
    return files
