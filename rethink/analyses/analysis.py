"""What every analysis is handed: the examples in host memory, the screen, and the record that results go to.

Nothing is computed here: theory/ does, and a file beside this one joins a chapter of it to data and records.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rethink.data.corruption.spec import Corrupted
from rethink.data.dataset import Dataset
from rethink.memorization.subset_networks import NetworkParts
from rethink.results import records
from rethink.results.progress import StageProgress
from rethink.schema import validation
from rethink.schema.errors import UserError

BLOCK = 5000  # images preprocessed at a time


class TrainedRun(NamedTuple):
    """A training run that has ended: its manifest's summary, its parameters at the end and at the start."""

    summary: dict[str, Any]
    params: Any
    initial: Any


class Pipeline(Protocol):
    """What an analysis reads of the input pipeline of experiment/."""

    dataset: Dataset

    def show_samples(self, samples: Corrupted) -> dict[str, np.ndarray]:
        """Returns `images` to look at, uint8, of examples, or `vectors`, float32 [n, features]."""


class Analysis(NamedTuple):
    """What an analysis works on.

    Attributes:
      config: of the run.
      num_classes: of the data set.
      view: (images, encoding) -> what a network sees of them in evaluation, float32 [n, ...].
      splits: "train" and "test" in host memory, corrupted as the config says.
      record: of the run; rows, arrays and figures go there.
      stages: the screen.
      train: (config, name) -> an ordinary training run in the sub-folder of that name, ended.
      pipeline: the input of the run; make_networks: number of examples -> the parts of training runs on so many.
    """

    config: ConfigDict
    num_classes: int
    view: Callable[[jax.Array, jax.Array], jax.Array]
    splits: dict[str, Corrupted]
    record: records.Run
    stages: StageProgress
    train: Callable[[ConfigDict, str], TrainedRun]
    pipeline: Pipeline
    make_networks: Callable[[int], NetworkParts]

    def read_rows(self, split: str) -> np.ndarray:
        """Returns the images of a split, preprocessed as for a network in evaluation: float32 [n, features]."""
        examples = self.splits[split]
        blocks = np.split(examples.images, range(BLOCK, len(examples.ids), BLOCK))
        encoding = jnp.asarray(examples.encoding)
        return np.concatenate(
            [np.asarray(self.view(jnp.asarray(block), encoding)).reshape(len(block), -1) for block in blocks]
        )

    def require_raw_pixels(self, what: str) -> None:
        """Refuses a preprocessing of the images that would have no effect, and images that are no pixels of 8 bits.

        Raises:
          UserError: the section `preprocess` sets one, pixels are drawn from an unbounded Gaussian, or images are of
            another type.
        """
        if self.config.corruption.pixels == "gaussian":
            raise UserError(
                f"corruption.pixels='gaussian' has values beyond 0..255, and {what} takes pixels of 8 bits: set "
                "--config.corruption.pixels=gaussian_clipped."
            )
        if (dtype := self.splits["train"].images.dtype) != np.uint8:
            raise UserError(
                f"data.name='{self.config.data.name}' has {dtype} values, and pixels of 8 bits are needed for {what}: "
                "choose other data."
            )
        settings = self.config.preprocess
        if settings.crop or settings.whiten != "none":
            raise UserError(
                f"preprocess.crop={settings.crop} and preprocess.whiten='{settings.whiten}' have no effect here, as "
                f"{what} takes the pixels as stored: set them to 0 and 'none'."
            )


def require_values(config: ConfigDict, values: Mapping[str, Any]) -> None:
    """Refuses fields that have no meaning in an analysis, unless they have these values.

    Raises:
      UserError: the first that has another.
    """
    fields = dict(validation.flatten(config))
    for field, value in values.items():
        if fields[field] != value:
            raise UserError(f"{field}={fields[field]!r} has no meaning in this analysis: leave it at {value!r}.")


def one_hot(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns float64 [n, num_classes] of labels int [n]."""
    return np.eye(num_classes)[labels]
