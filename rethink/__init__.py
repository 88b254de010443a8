"""What does a network learn when the data says nothing? Randomization tests, memorization and generalization.

As a library: docs/api.md. Its names are those of api.py, imported when the first is used: a part of the package that
reads records imports no JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rethink.api import Run, Sweep, UserError, config, corrupt_labels, load, sweep, train
    from rethink.memorization.given_probabilities import find_label_issues
    from rethink.memorization.logits import score_history

_WITHOUT_JAX = {  # name -> its module
    "find_label_issues": "rethink.memorization.given_probabilities",
    "score_history": "rethink.memorization.logits",
}
__all__ = [
    "Run",
    "Sweep",
    "UserError",
    "config",
    "corrupt_labels",
    "find_label_issues",
    "load",
    "score_history",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    """Returns a name of the API."""
    if name in __all__:
        return getattr(importlib.import_module(_WITHOUT_JAX.get(name, "rethink.api")), name)
    raise AttributeError(f"module 'rethink' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
