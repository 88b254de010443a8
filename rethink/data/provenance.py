"""Owns what is kept of every example: labels before and after, and the fingerprints of images and labels.

Refuses to keep images, but for a few to look at. A resident set is counted at once, a streamed one while its first
evaluation passes by.
"""

from collections.abc import Callable

import numpy as np

from rethink.data.corruption.spec import Corrupted
from rethink.data.fingerprints import Fingerprint

SAMPLES = 8  # examples that are kept with their images, those with the smallest ids
Gather = Callable[[np.ndarray], np.ndarray]  # stacks an array of every process along a new leading axis


class Provenance:
    """Counts this process's part of a corrupted split, in any order and in pieces.

    Attributes:
      complete: whether every example was added; the one who adds them knows, and says so.
      samples: the `SAMPLES` examples with the smallest ids so far, of this process's part; None before any.
    """

    def __init__(self):
        self.complete = False
        self.samples: Corrupted | None = None
        self._images = Fingerprint()
        self._labels = Fingerprint()
        self._columns = [np.empty((4, 0), np.int64)]

    def add(self, piece: Corrupted) -> None:
        """Adds examples; each once."""
        self._images.add(piece.ids, piece.images)
        self._labels.add(piece.ids, piece.labels)
        self._keep_samples(piece)
        self._columns.append(np.stack([piece.ids, piece.true_labels, piece.labels, piece.resampled]).astype(np.int64))

    def _keep_samples(self, piece: Corrupted) -> None:
        kept = self.samples
        if kept and len(kept.ids) == SAMPLES and piece.ids.min() > kept.ids.max():
            return
        self.samples = _first(piece)
        if kept:
            self.samples = _first(Corrupted(*(np.concatenate(parts) for parts in zip(kept, self.samples, strict=True))))

    def labels(self, gather: Gather) -> dict[str, np.ndarray]:
        """Returns `ids`, `true_labels`, `given_labels` and `resampled` over all processes, by ascending id."""
        own = np.concatenate(self._columns, axis=1)
        counts = gather(np.array(own.shape[1]))
        padded = np.pad(own, ((0, 0), (0, int(counts.max()) - own.shape[1])))
        whole = np.concatenate([part[:, :count] for part, count in zip(gather(padded), counts, strict=True)], axis=1)
        ids, true, given, resampled = whole[:, np.argsort(whole[0])]
        return {
            "ids": ids.astype(np.uint32),
            "true_labels": true.astype(np.int32),
            "given_labels": given.astype(np.int32),
            "resampled": resampled.astype(bool),
        }

    def fingerprints(self, gather: Gather) -> dict[str, str]:
        """Returns the fingerprints of `images` and `labels` over all processes."""
        return {
            name: Fingerprint.merged(gather(part.state())).hexdigest()
            for name, part in (("images", self._images), ("labels", self._labels))
        }


def _first(piece: Corrupted) -> Corrupted:
    """Returns the `SAMPLES` examples with the smallest ids, ascending."""
    rows = np.argsort(piece.ids)[:SAMPLES]
    return Corrupted(*(part[rows] for part in piece))
