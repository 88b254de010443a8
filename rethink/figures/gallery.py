"""A gallery: pictures of examples in rows, each above a caption of one or two lines; or small plots of feature vectors.

Computes nothing. No name is read as a formula; what the font lacks, or the place is too narrow for, is replaced by a
sign that says so.
"""

import textwrap
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rethink.figures import style
from rethink.schema.output import spell_out

# Pixels of the PNG; the numbers of pixels of a picture are enlarged by a whole factor, so that they stay square.
WIDTH, LEAST_WIDTH, MARGIN, GAP, GROUP_GAP = 1000, 600, 14, 10, 34
LARGEST = 168  # a side of a picture
CAPTION_LINE, TITLE_LINE = 19, 26
CAPTION_SIZE, TITLE_SIZE = 7.2, 10  # points
TITLE_LINES = 3
MOST_SIGNS = 60  # of a caption's line, however narrow they are
MISSING, CUT = "\u25a1", "\u2026"  # for a sign that the font lacks; for what is cut
INK, SOFT, FRAME = "#1c1e21", "#4d535b", 205
MOST_BARS = 32  # a vector of more features is a line

Box = tuple[int, int, int, int]  # left, upper, width, height, in pixels


def draw_gallery(
    images: np.ndarray,
    captions: Sequence[tuple[str, ...]],
    stem: Path,
    *,
    title: str,
    columns: int = 5,
    group: int = 1,
) -> list[Path]:
    """Draws pictures in rows, in their order; returns the paths of `stem`.png and `stem`.pdf.

    Small pictures are enlarged without smoothing, large ones reduced. The folder of `stem` must exist.

    Args:
      images: uint8 [n, height, width, channels], of which the first is shown as grey, or the first three as colours; or
        feature vectors, float [n, features], drawn as values against features, all on one scale. n is 1 or more.
      captions: [n], the lines of each; a line that is wider than its picture's place is cut.
      columns: most pictures in a row; groups stay whole.
      group: so many neighbours stand close together: 2 for pairs, such as a training and a test picture.
    """
    is_vectors = images.ndim == 2
    columns = min(columns // group * group, len(images))
    gaps = np.where(np.arange(columns) % group, 0, GROUP_GAP if group > 1 else GAP)
    gaps[0] = 0
    cell = min((WIDTH - 2 * MARGIN - int(gaps.sum())) // columns, LARGEST + 2 * GAP)
    lefts = MARGIN + cell * np.arange(columns) + np.cumsum(gaps)
    width = max(int(lefts[-1]) + cell + MARGIN, LEAST_WIDTH)
    side = min(cell - 2, LARGEST)
    pictures = [] if is_vectors else [fit_picture(image, side) for image in images]
    height = max((len(picture) for picture in pictures), default=side * 2 // 3)
    step = height + 6 + CAPTION_LINE * max(map(len, captions)) + 12

    with style.open_figure(stem, (width / style.DPI, 1), "") as (figure, files):
        write = _Writer(figure)
        heading = textwrap.wrap(write.clean(title), width // 12, max_lines=TITLE_LINES, placeholder=CUT)
        note = _describe_range(images) if is_vectors else describe_channels(images.shape[-1])
        top = MARGIN + TITLE_LINE * len(heading) + CAPTION_LINE * bool(note) + 10
        rows = -(-len(images) // columns)
        total = top + step * rows
        figure.set_size_inches((width + 0.01) / style.DPI, (total + 0.01) / style.DPI)
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(total, 0))
        axes.set_axis_off()
        for number, line in enumerate(heading):
            write.line(axes, MARGIN, MARGIN + TITLE_LINE * number, line, TITLE_SIZE)
        write.line(axes, MARGIN, top - CAPTION_LINE - 10, note, CAPTION_SIZE, SOFT)

        canvas = np.full((total, width, 3), 255, np.uint8)
        for place, lines in enumerate(captions):
            left, upper = int(lefts[place % columns]), top + step * (place // columns)
            if is_vectors:
                _draw_vector(axes, images, place, (left, upper, side, height))
            else:
                _paste(canvas, pictures[place], left, upper)
            for number, line in enumerate(lines):
                write.line(axes, left, upper + height + 4 + CAPTION_LINE * number, write.cut(line, cell), CAPTION_SIZE)
        axes.imshow(canvas, extent=(0, width, total, 0), interpolation="nearest", aspect="auto", zorder=0)
    return files


def describe_channels(channels: int) -> str:
    """Returns what a picture leaves out of so many channels, "" where it shows them all."""
    shown = count_shown(channels)
    return "" if shown == channels else f"Of {channels} channels the first {shown} are shown."


def count_shown(channels: int) -> int:
    """Returns how many of an image's channels a picture has: the first as grey, or the first three as colours."""
    return 3 if channels >= 3 else 1


def fit_picture(image: np.ndarray, side: int) -> np.ndarray:
    """Returns an image uint8 [height, width, channels] as uint8 [height, width, 3 or 1], at most `side` a side.

    A smaller one is enlarged by a whole factor, without smoothing.
    """
    shown = image[:, :, : count_shown(image.shape[2])]
    if max(shown.shape) > side:
        picture = Image.fromarray(np.ascontiguousarray(np.broadcast_to(shown, (*shown.shape[:2], 3))))
        picture.thumbnail((side, side))
        return np.asarray(picture)
    factor = side // max(shown.shape)
    return shown.repeat(factor, axis=0).repeat(factor, axis=1)


def _paste(canvas: np.ndarray, picture: np.ndarray, left: int, upper: int) -> None:
    """Draws a picture with a frame of one pixel, so that its edge is seen, on a canvas uint8 [height, width, 3]."""
    height, width = picture.shape[:2]
    canvas[upper - 1 : upper + height + 1, left - 1 : left + width + 1] = FRAME
    canvas[upper : upper + height, left : left + width] = picture


def _span(vectors: np.ndarray) -> tuple[float, float]:
    """Returns the least and the largest finite value, and zero among them."""
    finite = vectors[np.isfinite(vectors)]
    return float(min(finite.min(initial=0), 0)), float(max(finite.max(initial=0), 0))


def _describe_range(vectors: np.ndarray) -> str:
    low, high = _span(vectors)
    return f"{vectors.shape[1]} features from left to right, all on one scale ({low:.3g} to {high:.3g})"


def _draw_vector(axes: Any, vectors: np.ndarray, place: int, box: Box) -> None:
    """Draws a vector into a box: bars from zero, or a line; gaps for what is not finite."""
    left, upper, width, height = box
    low, high = _span(vectors)
    values = np.where(np.isfinite(vectors[place]), vectors[place], np.nan).astype(float)
    ends = upper + height * (high - values) / ((high - low) or 1)
    zero = upper + height * high / ((high - low) or 1)
    pitch = width / len(values)
    centres = left + pitch * (np.arange(len(values)) + 0.5)
    axes.plot([left, left + width], [zero, zero], color=style.CHANCE["color"], linewidth=0.6)
    if len(values) <= MOST_BARS:
        axes.bar(centres, ends - zero, 0.8 * pitch, bottom=zero, color=style.COLOURS[0])
    else:
        axes.plot(centres, ends, color=style.COLOURS[0], linewidth=0.8)


class _Writer:
    """Writes text that is taken for nothing but text, in signs that the font has."""

    def __init__(self, figure: Any):
        from matplotlib import font_manager

        self._font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
        self._font.set_size(CAPTION_SIZE, style.DPI)

    def clean(self, text: str) -> str:
        """Returns text on one line, in which what can't be printed is spelt out; of piled up accents the first two."""
        kept = ""
        for sign in spell_out(" ".join(text.split())):
            if not all(map(unicodedata.combining, kept[-2:] + sign)):
                kept += sign if self._font.get_char_index(ord(sign)) else MISSING
        return kept

    def cut(self, text: str, room: int) -> str:
        """Returns a caption's line that is at most so many pixels wide."""
        whole = self.clean(text)
        cut = whole[:MOST_SIGNS]
        while cut and self._measure(cut + CUT * (cut != whole)) > room:
            cut = cut[:-1]
        return cut + CUT * (cut != whole)

    def line(self, axes: Any, left: int, upper: int, text: str, size: float, colour: str = INK) -> None:
        """Writes one line below a place, in pixels."""
        axes.text(left, upper + size * style.DPI / 72, text, fontsize=size, color=colour, parse_math=False)

    def _measure(self, text: str) -> float:
        self._font.set_text(text)
        return self._font.get_width_height()[0] / 64
