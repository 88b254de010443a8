"""Owns what a valid config is: types, choices, ranges, and epochs turned into steps.

Refuses to know any model or data set: the choices are handed in by the caller.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class UserError(Exception):
    """A mistake of the user's: one line that names the field, what was given and what to type instead."""


def pick(table: Mapping[str, T], name: str, field: str) -> T:
    """Returns `table[name]`.

    Raises:
      UserError: `name` is not in the table; the message lists the choices and the nearest one.
    """
    if name not in table:
        raise UserError(unknown(field, name, table))
    return table[name]


def unknown(field: str, given: str, choices: Iterable[str]) -> str:
    """One line for a name that is none of `choices`: the field, the name, the nearest choice, all choices."""
    choices = list(choices)
    near = difflib.get_close_matches(given, choices, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"{field}='{given}' is unknown{hint} Choices: {', '.join(choices)}."
