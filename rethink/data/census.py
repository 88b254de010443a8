"""Owns what is kept of every example: labels before and after, and the fingerprints of images and labels.

Refuses to keep images. A resident set is counted at once, a streamed one while its first evaluation passes by.
"""

from collections.abc import Callable

import numpy as np

from rethink.data.corruption import Corrupted
from rethink.data.fingerprints import Fingerprint

Gather = Callable[[np.ndarray], np.ndarray]  # stacks an array of every process along a new leading axis


class Census:
    """Counts this process's part of a corrupted split, in any order and in pieces.

    Attributes:
      full: whether every example was added; the one who adds them knows, and says so.
    """

    def __init__(self):
        self.full = False
        self._images = Fingerprint()
        self._labels = Fingerprint()
        self._columns = [np.empty((4, 0), np.int64)]

    def add(self, piece: Corrupted) -> None:
        """Adds examples; each once."""
        self._images.add(piece.ids, piece.images)
        self._labels.add(piece.ids, piece.labels)
        self._columns.append(np.stack([piece.ids, piece.true_labels, piece.labels, piece.redrawn]).astype(np.int64))

    def labels(self, gather: Gather) -> dict[str, np.ndarray]:
        """Returns `ids`, `true_labels`, `given_labels` and `redrawn` over all processes, by ascending id."""
        own = np.concatenate(self._columns, axis=1)
        counts = gather(np.array(own.shape[1]))
        padded = np.pad(own, ((0, 0), (0, int(counts.max()) - own.shape[1])))
        whole = np.concatenate([part[:, :count] for part, count in zip(gather(padded), counts, strict=True)], axis=1)
        ids, true, given, redrawn = whole[:, np.argsort(whole[0])]
        return {
            "ids": ids.astype(np.uint32),
            "true_labels": true.astype(np.int32),
            "given_labels": given.astype(np.int32),
            "redrawn": redrawn.astype(bool),
        }

    def fingerprints(self, gather: Gather) -> dict[str, str]:
        """Returns the fingerprints of `images` and `labels` over all processes."""
        return {
            name: Fingerprint.merged(gather(part.state())).hexdigest()
            for name, part in (("images", self._images), ("labels", self._labels))
        }
