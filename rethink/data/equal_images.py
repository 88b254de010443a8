"""Counts examples whose images, or feature vectors, as stored are the same bytes: copies, and test images in train."""

import hashlib
from collections.abc import Mapping

import numpy as np

BYTES = 16  # of a digest: among 10 million images, two that differ have the same with a chance below 1e-24


def digest_images(images: np.ndarray) -> np.ndarray:
    """Returns a digest of each image [examples, ...], uint8 [examples, BYTES]: the first bytes of its SHA-256."""
    rows = np.ascontiguousarray(images).reshape(len(images), -1)
    digests = b"".join(hashlib.sha256(row.data).digest()[:BYTES] for row in rows)
    return np.frombuffer(digests, np.uint8).reshape(len(images), BYTES)


def count_equal_images(digests: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Returns how many examples of each split have the image of another one.

    For each split, it is those whose image another example of the same split has; as "train_and_SPLIT", the examples of
    a split that have the image of a training example.

    Args:
      digests: split -> of `digest_images`, "train" among them.
    """
    keys = {split: values.view(f"S{BYTES}").ravel() for split, values in digests.items()}
    counts = {}
    for split, own in keys.items():
        _, copies = np.unique(own, return_counts=True)
        counts[split] = int(copies[copies > 1].sum())
    others = [split for split in keys if split != "train"]
    return {**counts, **{f"train_and_{split}": int(np.isin(keys[split], keys["train"]).sum()) for split in others}}


def describe_equal_images(counts: Mapping[str, int], examples: Mapping[str, int]) -> str:
    """Returns one line on images that occur more than once, "" where none does.

    Args:
      counts: of `count_equal_images`; examples: of each split.
    """
    parts = [
        f"{counts[split]:,} of {count:,} {split} examples have the image of another one"
        for split, count in examples.items()
        if counts[split]
    ]
    parts += [
        f"{leaked:,} of {count:,} {split} examples have the image of a train example, so that {split} accuracy is in "
        "part of memory (leakage)"
        for split, count in examples.items()
        if (leaked := counts.get(f"train_and_{split}"))
    ]
    return f"Equal images: {'; '.join(parts)}." if parts else ""
