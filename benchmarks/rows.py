"""Summarizes repeats: a row with median, least and most, ratios of repeats that took turns, the table.

Nothing is measured here.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

COLUMNS = ("what", "by", "median", "min", "max", "unit", "n", "mean s")

Row = dict[str, Any]


def row(what: str, by: str, unit: str, values: Sequence[float], **facts: Any) -> Row:
    """Returns the row of repeated measurements.

    Args:
      by: who is measured.
      facts: further entries for the file; `seconds`, of each repeat, is shown by its mean.
    """
    spread = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {"what": what, "by": by, "unit": unit, **spread, "n": len(values), "values": list(values), **facts}


def rate_row(what: str, by: str, repeats: Sequence[Mapping[str, Any]], **facts: Any) -> Row:
    """Returns the row of repeats that are seconds for a number of images, as images/s."""
    seconds = [repeat["seconds"] for repeat in repeats]
    rates = [repeat["images"] / repeat["seconds"] for repeat in repeats]
    return row(what, by, "images/s", rates, seconds=seconds, **facts)


def ratio_row(what: str, by: str, above: Sequence[float], below: Sequence[float], unit: str = "ratio") -> Row:
    """Returns the row of the ratios of repeats, each to the one that was taken in the same turn."""
    return row(what, by, unit, [a / b for a, b in zip(above, below, strict=True)])


def take_turns(measures: Mapping[Any, Callable[[], Any]], repeats: int) -> dict[Any, list[Any]]:
    """Returns the repeats of each measure; they take turns, so that what else the machine does hits all of them."""
    found: dict[Any, list[Any]] = {name: [] for name in measures}
    for _ in range(repeats):
        for name, measure in measures.items():
            found[name].append(measure())
    return found


@contextlib.contextmanager
def stopwatch(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Writes the seconds of a block below its name."""
    began = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] = round(time.perf_counter() - began, 1)


def show(rows: Sequence[Row]) -> str:
    """Returns the table of rows."""
    cells = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    signs = ["<" if i in (0, 1, 5) else ">" for i in range(len(COLUMNS))]  # text to the left, numbers to the right
    formats = [f"{{:{sign}{width}}}" for sign, width in zip(signs, widths, strict=True)]
    lines = ("  ".join(form.format(cell) for form, cell in zip(formats, line, strict=True)) for line in cells)
    return "\n".join(line.rstrip() for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    numbers = (_number(row[name]) for name in ("median", "min", "max"))
    mean = _number(statistics.fmean(row["seconds"])) if "seconds" in row else ""
    return (row["what"], row["by"], *numbers, row["unit"], str(row["n"]), mean)


def _number(value: float) -> str:
    """Returns a number with four digits or, above them, all before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
