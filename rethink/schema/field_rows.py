"""What a row of the table of config fields holds, and short functions that make one.

The table is fields.py.
"""

import dataclasses
import math
from typing import Any


@dataclasses.dataclass(frozen=True)
class Interval:
    """An interval of numbers; an end that is `open` does not belong to it."""

    low: float
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = self.low < value if self.low_open else self.low <= value
        below = value < self.high if self.high_open else value <= self.high
        return above and below and abs(value) != math.inf

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"a finite number {'above' if self.low_open else 'of at least'} {self.low}"
        return f"in {'(' if self.low_open else '['}{self.low}, {self.high}{')' if self.high_open else ']'}"


@dataclasses.dataclass(frozen=True)
class Field:
    """All that is known of a config field, but its default.

    Attributes:
      type: of its value, or of each value of a tuple: int, float, bool, str; dict for a section with names of its own.
      help: what it means, in a few words.
      unit: of a number, "" where it has none.
      interval: where a number lies.
      choices: the texts that it may hold; empty where any text does. NAME:WORD stands for NAME: with any text behind.
      least_length: of a tuple of numbers; None where it holds one value.
      resumable: whether it may change when a run is resumed, as nothing that is computed depends on it.
      host_local: whether the processes of one run may differ in it.
      depends_on: a field, and the values there that make this one do nothing; () for none.
      same_cost: whether runs must agree in it to take about the same time.
      shared: whether all runs of a sweep have the same value, so that it is no axis and in no cell.
      single_run: what a run by itself has, for a field that describes a sweep; None for a field of runs.
      figure_axis: whether a figure may be drawn against it.
    """

    type: type
    help: str
    unit: str = ""
    interval: Interval | None = None
    choices: tuple[str, ...] = ()
    least_length: int | None = None
    resumable: bool = False
    host_local: bool = False
    depends_on: tuple[Any, ...] = ()
    same_cost: bool = False
    shared: bool = False
    single_run: Any = None
    figure_axis: bool = True


def count(low: int, high: int, help: str, unit: str = "", *, high_open: bool = False, **more: Any) -> Field:
    """Returns the row of a whole number."""
    return Field(int, help, unit, Interval(low, high, high_open=high_open), **more)


def size(help: str, unit: str, **more: Any) -> Field:
    """Returns the row of a whole number that int32 holds."""
    return count(0, 2**31, help, unit, high_open=True, **more)


def number(
    low: float,
    high: float,
    help: str,
    unit: str = "",
    *,
    low_open: bool = False,
    high_open: bool = False,
    **more: Any,
) -> Field:
    """Returns the row of a number that need not be whole."""
    return Field(float, help, unit, Interval(low, high, low_open, high_open), **more)


# The ends of what the compiled functions hold in float32: nothing that becomes 0 or infinite there.
SMALLEST, LARGEST = 1e-37, 1e37


def positive(help: str, unit: str = "", **more: Any) -> Field:
    """Returns the row of a number above 0 that float32 holds."""
    return number(SMALLEST, LARGEST, help, unit, **more)


def not_negative(help: str, unit: str = "", **more: Any) -> Field:
    """Returns the row of a number from 0 that float32 holds."""
    return number(0, LARGEST, help, unit, **more)


def switch(help: str, **more: Any) -> Field:
    """Returns the row of True or False."""
    return Field(bool, help, **more)


def text(help: str, **more: Any) -> Field:
    """Returns the row of any printable text."""
    return Field(str, help, **more)


def choice(*choices: str, help: str, **more: Any) -> Field:
    """Returns the row of one of several texts."""
    return Field(str, help, choices=choices, **more)


def section(help: str, **more: Any) -> Field:
    """Returns the row of a section in which a config file chooses the names."""
    return Field(dict, help, **more)
