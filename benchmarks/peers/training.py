"""What both ways of training in PyTorch share: the update, a fit, and the choice of the faster candidate.

It runs in a worker process and returns seconds; comparisons are made in benchmarks/parts.

Networks, batches, order, crop, whitening and update are those of this package. Where an even image is padded on one
side, it is the other side than in this package's networks, at the same cost.
"""

import contextlib
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from benchmarks import workers
from benchmarks.peers import networks

DECAY = 0.95  # of the learning rate, at each epoch
EVALUATION_BATCH = 1000


@contextlib.contextmanager
def make(
    kind: type["Training"], *, model: str, folder: str, threads: int, learning_rate: float, accuracy: float = 1.0
) -> Iterator["Training"]:
    """Yields training on the data in a folder, set up and warm.

    Args:
      accuracy: that a fit ends at.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    yield kind(model, folder, learning_rate, accuracy)


class Training:
    """Training whose parts are called one after the other; each way of writing it adds the rest.

    Attributes:
      candidates: of which the fastest that runs is taken, by `trial_steps` of each, after as many to warm up.
    """

    candidates: tuple[str, ...]
    trial_steps: int
    tuned: bool

    def __init__(self, model: str, folder: str, learning_rate: float, accuracy: float):
        """Reads the data, builds the network and tries the candidates."""
        self._learning_rate, self._accuracy = learning_rate, accuracy
        self._data = {split: _load(pathlib.Path(folder), split) for split in ("train", "test")}
        self._network = networks.build(model, tuned=self.tuned)
        self._begin()
        self._trials: dict[str, Any] = {}
        for candidate in self.candidates:
            try:
                self._use(candidate)
                self._run(self.trial_steps)
                began = time.perf_counter()
                self._run(self.trial_steps)
                self._trials[candidate] = time.perf_counter() - began
            except Exception as error:  # a compiler that is not there, and whatever else it may lack
                self._trials[candidate] = f"{type(error).__name__}: {error}".splitlines()[0]
        ran = {candidate: seconds for candidate, seconds in self._trials.items() if isinstance(seconds, float)}
        if not ran:
            raise RuntimeError(f"Nothing runs: {self._trials}")
        self._choice = min(ran, key=ran.__getitem__)
        self._use(self._choice)
        self._begin()

    def _begin(self) -> None:
        """Draws the parameters, and forgets all updates."""
        networks.initialize(self._network)
        trained = [p for p in self._network.parameters() if p.requires_grad]
        fused = {"fused": True} if self.tuned else {}
        self._optimizer = torch.optim.SGD(trained, lr=self._learning_rate, momentum=0.9, **fused)
        self._schedule = torch.optim.lr_scheduler.ExponentialLR(self._optimizer, DECAY)

    def _use(self, candidate: str) -> None:
        """Prepares for a candidate's steps."""
        raise NotImplementedError

    def _run(self, most_steps: int | None) -> int:
        """Trains for an epoch, or for some steps of one, and reads the sums; returns the images."""
        raise NotImplementedError

    def _evaluate(self, split: str) -> float:
        """Returns the accuracy on a split."""
        raise NotImplementedError

    def epoch(self) -> dict[str, Any]:
        """Returns the seconds of an epoch."""
        began = time.perf_counter()
        images = self._run(None)
        self._schedule.step()
        seconds = time.perf_counter() - began
        facts = {"choice": self._choice, "trials": self._trials, "peak_mib": workers.peak_mib()}
        return {"seconds": seconds, "images": images, **facts}

    def fit(self, most_epochs: int) -> dict[str, Any]:
        """Returns the seconds until the train accuracy is reached, train and test evaluated at the start and each
        epoch."""
        self._begin()
        self._evaluate("train"), self._evaluate("test")  # compiled before the clock starts
        began, epochs = time.perf_counter(), 0
        while True:
            accuracy, _ = self._evaluate("train"), self._evaluate("test")
            if accuracy >= self._accuracy or epochs >= most_epochs:
                break
            self._run(None)
            self._schedule.step()
            epochs += 1
        seconds = time.perf_counter() - began
        reached = accuracy >= self._accuracy
        return {"seconds": seconds, "epochs": epochs, "accuracy": accuracy, "reached": reached, "choice": self._choice}


def _load(folder: pathlib.Path, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns (images uint8 [n, height, width, channels], labels int64 [n])."""
    images, labels = (np.load(folder / f"{split}_{part}.npy", allow_pickle=False) for part in ("images", "labels"))
    return torch.from_numpy(images), torch.from_numpy(labels).long()
