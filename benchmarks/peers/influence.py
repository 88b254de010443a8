"""Networks on random subsets in PyTorch, tuned for speed; timed by benchmarks/influence.py.

Images are whitened once and in memory as float32; a step takes its rows of them. The update is PyTorch's fused one, no
sum is read, and the step runs eagerly or by torch.compile, whichever is faster.
"""

import contextlib
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.influence import BATCH, EPOCHS, MEMBERS, SIZES


@contextlib.contextmanager
def make(*, folder: str, threads: int) -> Iterator["Networks"]:
    """Yields the networks, set up and warm."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    yield Networks(pathlib.Path(folder))


class Networks:
    """Trains networks one after the other."""

    def __init__(self, folder: pathlib.Path):
        """Reads the data and tries the candidates."""
        arrays = (np.load(folder / f"{part}.npy", allow_pickle=False) for part in ("images", "labels"))
        self._images, self._labels = map(torch.from_numpy, arrays)  # train's first
        layers = [part for pair in zip(SIZES[:-1], SIZES[1:], strict=True) for part in (nn.Linear(*pair), nn.ReLU())]
        self._network = nn.Sequential(*layers[:-1])

        def loss_of(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return functional.cross_entropy(self._network(images), labels)

        candidates = {"eager": loss_of, "torch.compile": torch.compile(loss_of, dynamic=False)}
        self._trials: dict[str, Any] = {}
        for name, self._loss_of in candidates.items():
            try:
                self._train_one(1)
                began = time.perf_counter()
                self._train_one(1)
                self._trials[name] = time.perf_counter() - began
            except Exception as error:  # a compiler that is not there, and whatever else it may lack
                self._trials[name] = f"{type(error).__name__}: {error}".splitlines()[0]
        ran = {name: seconds for name, seconds in self._trials.items() if isinstance(seconds, float)}
        self._choice = min(ran, key=ran.__getitem__)
        self._loss_of = candidates[self._choice]

    def train(self, networks: int) -> dict[str, Any]:
        """Returns the seconds of some networks, and of the processor."""
        began, processor = time.perf_counter(), time.process_time()
        accuracies = [self._train_one(EPOCHS) for _ in range(networks)]
        seconds, processor = time.perf_counter() - began, time.process_time() - processor
        facts = {"choice": self._choice, "trials": self._trials, "accuracy": float(np.mean(accuracies))}
        return {"seconds": seconds, "processor": processor, **facts}

    def _train_one(self, epochs: int) -> float:
        """Trains a network from new parameters; returns the share of all examples that it predicts."""
        for layer in self._network:
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
        optimizer = torch.optim.SGD(self._network.parameters(), lr=0.1, momentum=0.9, fused=True)
        subset = torch.randperm(10_000)[:MEMBERS]
        for _ in range(epochs):
            order = subset[torch.randperm(MEMBERS)]
            order = torch.cat([order, order[: -MEMBERS % BATCH]])  # the last batch is completed from the epoch's first
            for rows in order.split(BATCH):
                loss = self._loss_of(self._images[rows], self._labels[rows])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
        with torch.no_grad():
            batches = zip(self._images.split(1000), self._labels.split(1000), strict=True)
            correct = [self._network(images).argmax(1) == labels for images, labels in batches]
        return float(torch.cat(correct).float().mean())
