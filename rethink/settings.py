"""Owns what a valid config is: choices, ranges, and epochs turned into steps.

Refuses to know any model or data set: the choices are handed in by the caller.
"""

import dataclasses
import difflib
import hashlib
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from ml_collections import ConfigDict

T = TypeVar("T")


class UserError(Exception):
    """A mistake of the user's: one line that names the field, what was given and what to type instead."""


@dataclasses.dataclass(frozen=True)
class Range:
    """An interval of numbers; an end that is `open` does not belong to it."""

    low: float
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = self.low < value if self.low_open else self.low <= value
        below = value < self.high if self.high_open else value <= self.high
        return math.isfinite(value) and above and below

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"a finite number {'above' if self.low_open else 'of at least'} {self.low}"
        return f"in {'(' if self.low_open else '['}{self.low}, {self.high}{')' if self.high_open else ']'}"


POSITIVE = Range(0, low_open=True)
COUNT = Range(1)
COUNT_OR_NONE = Range(0)

RANGES: dict[str, Range] = {
    "seed": Range(0, 2**32, high_open=True),
    "data.train_examples": COUNT_OR_NONE,
    "data.split_seed": Range(0, 2**32, high_open=True),
    "data.test_fraction": Range(0, 1, low_open=True, high_open=True),
    "data.image_size": COUNT_OR_NONE,
    "data.resident_limit_gib": POSITIVE,
    "data.workers": COUNT_OR_NONE,
    "corruption.label_probability": Range(0, 1),
    "preprocess.crop": COUNT_OR_NONE,
    "batch_norm.momentum": Range(0, 1, high_open=True),
    "batch_norm.epsilon": POSITIVE,
    "optimizer.learning_rate": POSITIVE,
    "optimizer.momentum": Range(0, 1, high_open=True),
    "optimizer.decay_factor": Range(0, 1, low_open=True),
    "optimizer.decay_every": POSITIVE,
    "train.batch_size": COUNT,
    "train.total_epochs": POSITIVE,
    "train.steps_per_call": COUNT_OR_NONE,
    "stop.train_accuracy": Range(0, 1),
    "evaluate.every_epochs": POSITIVE,
    "evaluate.batch_size": COUNT,
    "log.every_steps": COUNT,
    "log.patience_hours": POSITIVE,
    "checkpoint.every_epochs": POSITIVE,
    "checkpoint.keep": COUNT,
    "hardware.cpu_devices": COUNT,
}

# What a run may change when it is resumed: where things are and how often they happen, not what is computed.
MAY_CHANGE = (
    "name",
    "data.dir",
    "data.cache_dir",
    "data.feed",
    "data.resident_limit_gib",
    "data.workers",
    "train.total_epochs",
    "stop.train_accuracy",
    "evaluate.every_epochs",
    "evaluate.batch_size",
    "log.every_steps",
    "log.tensorboard",
    "log.patience_hours",
    "checkpoint.every_epochs",
    "checkpoint.keep",
    "hardware.cpu_devices",
    "hardware.compilation_cache",
)


def validate(config: ConfigDict, choices: Mapping[str, Collection[str]]) -> None:
    """Checks every field that has a range or a closed set of choices.

    Args:
      choices: field -> what it may be.

    Raises:
      UserError: the first field that is off.
    """
    for field, value in flatten(config):
        if field in choices and value not in choices[field]:
            raise UserError(unknown(field, value, choices[field]))
        if field in RANGES and value not in RANGES[field]:
            raise UserError(f"{field}={value} is out of range: it must be {RANGES[field]}.")


def flatten(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted field, value) of every leaf, in order of definition; an empty section is a leaf."""
    for name in config:
        field, value = f"{prefix}{name}", config[name]
        if isinstance(value, ConfigDict) and len(value):
            yield from flatten(value, f"{field}.")
        else:
            yield field, value


def changes(config: ConfigDict, before: Mapping[str, Any]) -> list[str]:
    """Returns one `field: before -> now` for each field that makes `config` another run than the one recorded before.

    Args:
      before: a flat config, as `dict(flatten(config))` from JSON.
    """
    now = json.loads(to_json(config))
    fields = [field for field in {**before, **now} if field not in MAY_CHANGE and before.get(field) != now.get(field)]
    return [f"{field}: {before.get(field)!r} -> {now.get(field)!r}" for field in fields]


def to_json(config: ConfigDict) -> str:
    """Returns the flat config as a JSON object, one field a line."""
    leaves = {field: dict(value) if isinstance(value, ConfigDict) else value for field, value in flatten(config)}
    return json.dumps(leaves, indent=2)


def digest(config: ConfigDict) -> str:
    """Returns 8 hex digits that tell apart configs which make different runs."""
    leaves = json.loads(to_json(config))
    kept = {field: value for field, value in leaves.items() if field not in MAY_CHANGE}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]


def to_steps(epochs: float, steps_per_epoch: int) -> int:
    """Returns a duration in steps, at least 1."""
    return max(1, round(epochs * steps_per_epoch))


def due(every: int, before: int, now: int) -> bool:
    """Returns whether a multiple of `every` lies in (before, now]."""
    return now // every > before // every


def pick(table: Mapping[str, T], name: str, field: str) -> T:
    """Returns `table[name]`.

    Raises:
      UserError: `name` is not in the table; the message lists the choices and the nearest one.
    """
    if name not in table:
        raise UserError(unknown(field, name, table))
    return table[name]


def unknown(field: str, given: str, choices: Iterable[str]) -> str:
    """Returns one line for a name that is none of `choices`: the field, the name, the nearest choice, all choices."""
    choices = list(choices)
    near = difflib.get_close_matches(str(given), choices, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return f"{field}='{given}' is unknown{hint} Choices: {', '.join(choices)}."
