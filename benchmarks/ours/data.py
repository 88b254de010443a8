"""Times the reading of CIFAR10, decoded and from the cache, and copies it for the other frameworks to train on.

Those train on the same labels as this package: none are drawn here.
"""

import contextlib
import pathlib
import time
from collections.abc import Iterator

import numpy as np

from rethink.configs import cifar_random
from rethink.data.registry import open_dataset
from rethink.experiment.input_pipeline import InputPipeline


@contextlib.contextmanager
def make(*, data_dir: str, examples: int, cache_dir: str = "~/.cache/rethink") -> Iterator["Data"]:
    """Yields CIFAR10 with random labels, not read yet."""
    config = cifar_random.get_config()
    config.data.dir, config.data.train_examples, config.data.cache_dir = data_dir, examples, cache_dir
    yield Data(config)


class Data:
    """A data set to be read or copied."""

    def __init__(self, config):
        self._config = config

    def read(self) -> dict[str, float]:
        """Returns the seconds in which the set is opened (TFDS imported), and those in which both splits are read."""
        began = time.perf_counter()
        opened = open_dataset(self._config.data)
        opened_at = time.perf_counter()
        images = sum(len(split.load().ids) for split in opened.splits.values())
        return {"opening": opened_at - began, "seconds": time.perf_counter() - opened_at, "images": images}

    def copy(self, folder: str) -> None:
        """Writes the images as stored and the labels as trained on: SPLIT_images.npy and SPLIT_labels.npy."""
        splits = InputPipeline(self._config, open_dataset(self._config.data)).corrupt_splits()
        for name, split in splits.items():
            for part in ("images", "labels"):
                np.save(
                    pathlib.Path(folder, f"{name}_{part}.npy"), np.asarray(getattr(split, part)), allow_pickle=False
                )
