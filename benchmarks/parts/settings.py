"""The settings of the benchmark's parts: models, sizes, repeats, and whether PyTorch is installed."""

import dataclasses
import importlib.util

from rethink.configs import base


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured, and how often; fields as the flags of the same names.

    Attributes:
      folder: for what is kept while the benchmark runs.
    """

    models: tuple[str, ...]
    devices: tuple[int, ...]
    examples: int
    repeats: int
    data_dir: str
    fit_accuracy: float
    fit_epochs: int
    folder: str

    @property
    def peers(self) -> tuple[str, ...]:
        """The ways of training in PyTorch, none where it or torchvision is not installed."""
        return ("idiomatic", "tuned") if has_pytorch() else ()


def has_pytorch() -> bool:
    """Returns whether PyTorch and torchvision are installed."""
    return all(importlib.util.find_spec(name) for name in ("torch", "torchvision"))


def learning_rate(model: str) -> float:
    """Returns the rate that a model trains at."""
    return base.CELL_MODELS[model][1]["optimizer.learning_rate"]
