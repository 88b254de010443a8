"""Training in PyTorch as it is mostly written: a `Dataset` of torchvision's kind, its transforms, a `DataLoader`.

Execution is eager, the loss and the accuracy are read at each step. The loader has 0 or 2 workers,
whichever is faster.
"""

import functools
from typing import Any

import torch
from PIL import Image
from torch.nn import functional
from torch.utils import data
from torchvision import transforms

from benchmarks import architectures
from benchmarks.peers import training

WORKERS = {"no worker": 0, "2 workers": 2}


class Images(data.Dataset):
    """Images as torchvision's CIFAR10 gives them: a PIL image goes through the transform, and comes with its label."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor):
        self._images, self._labels = images.numpy(), labels.tolist()
        crop = transforms.CenterCrop(architectures.CROP)
        self._transform = transforms.Compose([crop, transforms.ToTensor(), whiten])

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self._transform(Image.fromarray(self._images[index])), self._labels[index]


def whiten(image: torch.Tensor) -> torch.Tensor:
    """Returns the image with mean 0 and deviation 1, as `preprocess.whiten=per_image`."""
    std = image.std(correction=0).clamp(min=image.numel() ** -0.5)
    return (image - image.mean()) / std


class Idiomatic(training.Training):
    """Training from a `DataLoader`."""

    candidates = tuple(WORKERS)
    trial_steps = 20
    tuned = False

    def _use(self, candidate: str) -> None:
        workers: dict[str, Any] = {}
        if WORKERS[candidate]:
            workers = {"num_workers": WORKERS[candidate], "persistent_workers": True}
        sets = {split: Images(*parts) for split, parts in self._data.items()}
        self._batches = data.DataLoader(sets["train"], architectures.BATCH, shuffle=True, **workers)
        self._evaluated = {
            split: data.DataLoader(images, training.EVALUATION_BATCH, **workers) for split, images in sets.items()
        }

    def _run(self, most_steps: int | None) -> int:
        self._network.train()
        loss_sum, correct, seen = 0.0, 0, 0
        for step, (images, labels) in enumerate(self._batches):
            if step == most_steps:
                break
            self._optimizer.zero_grad()
            logits = self._network(images)
            loss = functional.cross_entropy(logits, labels)
            loss.backward()
            self._optimizer.step()
            loss_sum += loss.item() * len(labels)
            correct += int((logits.argmax(1) == labels).sum())
            seen += len(labels)
        return seen

    @torch.no_grad()
    def _evaluate(self, split: str) -> float:
        self._network.eval()
        correct = sum(
            int((self._network(images).argmax(1) == labels).sum()) for images, labels in self._evaluated[split]
        )
        return correct / len(self._data[split][1])


make = functools.partial(training.make, Idiomatic)
