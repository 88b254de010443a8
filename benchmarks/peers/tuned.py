"""Training in PyTorch tuned for speed: all images in memory as uint8, whole batches cropped and whitened.

Nothing that changes the arithmetic is used. Convolutions have their channels last, the update is PyTorch's fused one,
sums are read once an epoch, and the step runs eagerly or by torch.compile, whichever is faster.
"""

import functools

import torch
from torch.nn import functional

from benchmarks import architectures
from benchmarks.peers import training


def view(images: torch.Tensor) -> torch.Tensor:
    """Returns images uint8 [batch, height, width, channels] cropped and whitened: float32, channels second in the shape
    and last in memory."""
    top, left = ((size - architectures.CROP) // 2 for size in images.shape[1:3])
    cropped = images[:, top : top + architectures.CROP, left : left + architectures.CROP].float() / 255
    variance, mean = torch.var_mean(cropped, dim=(1, 2, 3), keepdim=True, correction=0)
    count = cropped[0].numel()
    return ((cropped - mean) / variance.sqrt().clamp(min=count**-0.5)).permute(0, 3, 1, 2)


class Tuned(training.Training):
    """Training from memory."""

    candidates = ("eager", "torch.compile")
    trial_steps = 5
    tuned = True

    def _use(self, candidate: str) -> None:
        def loss_of(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits = self._network(view(images))
            return functional.cross_entropy(logits, labels), (logits.detach().argmax(1) == labels).sum()

        def count(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return (self._network(view(images)).argmax(1) == labels).sum()

        if candidate == "torch.compile":
            loss_of, count = (torch.compile(function, dynamic=False) for function in (loss_of, count))
        self._loss_of, self._count = loss_of, count

    def _run(self, most_steps: int | None) -> int:
        self._network.train()
        images, labels = self._data["train"]
        steps = -(-len(labels) // architectures.BATCH)
        order = torch.randperm(len(labels))
        order = torch.cat([order, order])  # the last batch is completed from the epoch's first
        loss_sum, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        taken = most_steps or steps
        for step in range(taken):
            rows = order[step % steps * architectures.BATCH :][: architectures.BATCH]
            loss, right = self._loss_of(images[rows], labels[rows])
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._optimizer.step()
            loss_sum += loss.detach()
            correct += right
        float(loss_sum), int(correct)
        return taken * architectures.BATCH

    @torch.no_grad()
    def _evaluate(self, split: str) -> float:
        self._network.eval()
        images, labels = (part.split(training.EVALUATION_BATCH) for part in self._data[split])
        correct = sum(self._count(*batch) for batch in zip(images, labels, strict=True))
        return int(correct) / len(self._data[split][1])


make = functools.partial(training.make, Tuned)
