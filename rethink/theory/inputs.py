"""Inputs: checks arrays and numbers where they enter theory, so that each mistake is one line."""

import numpy as np

from rethink.schema.errors import UserError

ROWS = 256  # checked at a time, since a mask of all the values would take an eighth of their memory again


def check_array(name: str, values: np.ndarray, *shapes: str, rows: int | None = None) -> np.ndarray:
    """Returns values as an array of finite real numbers, not empty.

    Args:
      shapes: which it may have, such as "[n]" and "[n, k]"; rows: how many it must have, where that is given.

    Raises:
      UserError: it is no such array.
    """
    values = np.asarray(values)
    wanted = " or ".join(shapes)
    if values.dtype.kind not in "buif":
        raise UserError(f"{name} are of type {values.dtype}: give real numbers of shape {wanted}.")
    if values.ndim not in [shape.count(",") + 1 for shape in shapes] or not values.size:
        raise UserError(f"{name} are of shape {list(values.shape)}: give {wanted}, at least one of each.")
    if rows not in (None, len(values)):
        raise UserError(f"{rows:,} examples have {len(values):,} {name}: give {wanted}, one row for each.")
    if values.dtype.kind == "f":
        blocks = [values[start : start + ROWS].reshape(-1, values[0].size) for start in range(0, len(values), ROWS)]
        wrong = np.flatnonzero(~np.concatenate([np.isfinite(block).all(axis=1) for block in blocks]))
        if len(wrong):
            row = np.ravel(values[wrong[0]])
            raise UserError(
                f"{name} have the value {row[~np.isfinite(row)][0]} in row {wrong[0]}, the first of {len(wrong)} such "
                "rows: give finite numbers, or leave those examples out."
            )
    return values


def check_range(name: str, value: int, low: int, high: int, what: str = "") -> None:
    """Checks that a number lies between two others, both included; `what` says of which data the limits are.

    Raises:
      UserError: it does not.
    """
    if not low <= value <= high:
        raise UserError(f"{name}={value} is out of range: it must be in [{low}, {high}]{what}.")
