"""What does a network learn when the data says nothing? Randomization tests, memorization and generalization.

As a library: docs/api.md. Its names are those of api.py, imported when the first is used: a part of the package that
reads records imports no JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rethink.api import Run, Sweep, UserError, config, corrupt_labels, load, sweep, train
    from rethink.memorization.logits import score_history

_WITHOUT_JAX = {"score_history": "rethink.memorization.logits"}  # name -> its module
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


def find_label_issues(
    train: Any = None,
    *,
    labels: Any = None,
    pred_probs: Any = None,
    class_names: Any = (),
    model: Any = None,
    config: Any = None,
    workdir: Any = None,
    quiet: bool = False,
) -> Any:
    """Returns which labels are suspicious, the worst first, as `.table`: docs/memorization.md.

    Networks are trained on `train`, a pair (images or feature vectors, labels), or on the data of `config`, and say how
    many labels are wrong: `rethink.experiment.find_label_issues.find_in_data`, which has the other arguments. With
    `labels`, `pred_probs` and `class_names` nothing is trained, and no JAX is imported:
    `rethink.memorization.given_probabilities.find_label_issues`.

    Raises:
      UserError: arguments of both are given, or they are something else.
    """
    of_training = {"train": train, "model": model, "config": config, "workdir": workdir}
    if labels is None and pred_probs is None and not len(class_names):
        return importlib.import_module("rethink.api").audit_labels(**of_training, quiet=quiet)
    from rethink.memorization import given_probabilities
    from rethink.schema.errors import UserError

    if mixed := [f"{name}=" for name, value in of_training.items() if value is not None]:
        raise UserError(
            f"{' and '.join(mixed)} would do nothing, as labels=, pred_probs= or class_names= are given: nothing is "
            "trained then: leave one of them out."
        )
    if labels is None or pred_probs is None:
        raise UserError("labels= and pred_probs= go together: give both, or train=(x, y) for networks to be trained.")
    return given_probabilities.find_label_issues(labels=labels, pred_probs=pred_probs, class_names=class_names)


def __getattr__(name: str) -> Any:
    """Returns a name of the API."""
    if name in __all__:
        return getattr(importlib.import_module(_WITHOUT_JAX.get(name, "rethink.api")), name)
    raise AttributeError(f"module 'rethink' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
