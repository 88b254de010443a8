"""Owns what every study shares: the examples it is made on, in host memory, and where its results go.

Refuses theory: what is computed stands in theory/, and a file beside this one says of what.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rethink.data import preprocessing
from rethink.data.corruption.spec import Corrupted
from rethink.results import records
from rethink.results.progress import StageProgress
from rethink.schema.errors import UserError

BLOCK = 5000  # images seen at a time


class TrainedRun(NamedTuple):
    """What a study learns of a training run: its manifest's summary, its parameters at the end and at the start."""

    summary: dict[str, Any]
    params: Any
    initial: Any


class Analysis(NamedTuple):
    """What a study is handed.

    Attributes:
      config: of the run.
      num_classes: of the data set.
      splits: "train" and "test" in host memory, corrupted as the config says.
      record: of the run; rows, arrays and figures go there.
      stages: the screen.
      train: (config, name) -> an ordinary training run in the sub-folder of that name, ended.
    """

    config: ConfigDict
    num_classes: int
    splits: dict[str, Corrupted]
    record: records.Run
    stages: StageProgress
    train: Callable[[ConfigDict, str], TrainedRun]

    def rows(self, split: str) -> np.ndarray:
        """Returns the images of a split as the section `preprocess` has them seen: float32 [n, features]."""
        asked, images = self.config.preprocess, self.splits[split].images
        blocks = [
            np.asarray(
                preprocessing.preprocess_images(jnp.asarray(block), crop=asked.crop, whitening=asked.whiten)
            ).reshape(len(block), -1)
            for block in np.split(images, range(BLOCK, len(images), BLOCK))
        ]
        return np.concatenate(blocks)

    def require_raw_pixels(self, what: str) -> None:
        """Refuses a view of the images that would not be looked at.

        Raises:
          UserError: the section `preprocess` asks for one.
        """
        asked = self.config.preprocess
        if asked.crop or asked.whiten != "none":
            raise UserError(
                f"preprocess.crop={asked.crop} and preprocess.whiten='{asked.whiten}' have no effect here, as {what} "
                "takes the pixels as stored: set them to 0 and 'none'."
            )


def one_hot(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns float64 [n, num_classes] of labels int [n]."""
    return np.eye(num_classes)[labels]
