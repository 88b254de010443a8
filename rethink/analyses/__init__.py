"""Owns the table of studies: what the paper proves and solves, each made on a data set and recorded like a run.

Refuses to train: a study that needs networks is handed the function that trains them.
"""

from collections.abc import Callable
from typing import Any

from rethink.analyses import capacity, kernel, linear, theorem1
from rethink.analyses.analysis import Analysis

ANALYSES: dict[str, Callable[[Analysis], dict[str, Any]]] = {
    "theorem1": theorem1.run,
    "linear": linear.run,
    "capacity": capacity.run,
    "kernel": kernel.run,
}
