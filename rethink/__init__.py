"""What does a network learn when the data says nothing? Randomization tests, memorization and generalization.

As a library: docs/api.md. Its names are those of api.py, imported when the first is used: a part of the package that
reads records imports no JAX.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rethink.api import Run, Sweep, UserError, config, corrupt_labels, load, sweep, train
    from rethink.memorization.logits import score_history

__all__ = ["Run", "Sweep", "UserError", "config", "corrupt_labels", "load", "score_history", "sweep", "train"]


def __getattr__(name: str) -> Any:
    """Returns a name of the API."""
    if name == "score_history":  # without JAX
        from rethink.memorization import logits

        return logits.score_history
    if name in __all__:
        from rethink import api

        return getattr(api, name)
    raise AttributeError(f"module 'rethink' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
