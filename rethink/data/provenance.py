"""Records where the examples of a split come from: labels before and after corruption, fingerprints, a few samples.

Keeps no images but the samples. A resident split is added at once, a streamed one during its first evaluation.
"""

from collections.abc import Callable

import numpy as np

from rethink.data.corruption.spec import Corrupted
from rethink.data.equal_images import BYTES, digest_images
from rethink.data.fingerprints import Fingerprint
from rethink.data.preprocessing import is_encoded

SAMPLES = 8  # examples that are kept with their images, those with the smallest ids
Gather = Callable[[np.ndarray], np.ndarray]  # stacks an array of every process along a new leading axis


class Provenance:
    """The provenance of one corrupted split, from this process's part of it, added in any order and in pieces.

    Attributes:
      complete: whether every example was added; set by the caller.
      samples: of the examples added so far, the `SAMPLES` with the smallest ids; None before any.
    """

    def __init__(self):
        self.complete = False
        self.samples: Corrupted | None = None
        self._fingerprints = {name: Fingerprint() for name in ("images", "labels", "true_labels")}
        self._columns = [np.empty((4, 0), np.int64)]  # ids, true labels, given labels, resampled
        self._digests = [np.empty((0, BYTES), np.uint8)]  # of the images as stored
        self._changed_images = np.zeros((), np.int64)

    def add(self, piece: Corrupted, stored: np.ndarray) -> None:
        """Adds examples, each once in all calls; `stored`: their images before corruption."""
        self._digests.append(digest_images(stored))
        contents = {"images": _image_contents(piece), "labels": piece.labels, "true_labels": piece.true_labels}
        for name, own in self._fingerprints.items():
            own.add(piece.ids, contents[name])
        self._keep_samples(piece)
        self._columns.append(np.stack([piece.ids, piece.true_labels, piece.labels, piece.resampled]).astype(np.int64))
        self._changed_images += piece.image_changed.sum()

    def _keep_samples(self, piece: Corrupted) -> None:
        kept = self.samples
        if kept and len(kept.ids) == SAMPLES and piece.ids.min() > kept.ids.max():
            return
        self.samples = _take_first(piece)
        if kept:
            both = Corrupted(*(np.concatenate(pair) for pair in zip(kept, self.samples, strict=True)))
            self.samples = _take_first(both._replace(encoding=piece.encoding))

    def gather_labels(self, all_gather: Gather) -> dict[str, np.ndarray]:
        """Returns what was added by all processes, by ascending id.

        The arrays, one number for each example: `ids` uint32, `true_labels` and `given_labels` int32, `resampled` bool.
        """
        columns = _gather_rows(np.concatenate(self._columns, axis=1).T, all_gather).T
        ids, true, given, resampled = columns[:, np.argsort(columns[0])]
        return {
            "ids": ids.astype(np.uint32),
            "true_labels": true.astype(np.int32),
            "given_labels": given.astype(np.int32),
            "resampled": resampled.astype(bool),
        }

    def gather_digests(self, all_gather: Gather) -> np.ndarray:
        """Returns the digests of all processes' images as stored: uint8 [examples, BYTES], in no certain order."""
        return _gather_rows(np.concatenate(self._digests), all_gather)

    def count_changed_images(self, all_gather: Gather) -> int:
        """Returns how many images of all processes are others than the stored."""
        return int(all_gather(self._changed_images).sum())

    def merge_fingerprints(self, all_gather: Gather) -> dict[str, str]:
        """Returns the fingerprints, 64 hex digits, of all processes' "images", "labels" (given) and "true_labels"."""
        return {
            name: Fingerprint.merged(all_gather(own.state())).hexdigest() for name, own in self._fingerprints.items()
        }


def _gather_rows(own: np.ndarray, all_gather: Gather) -> np.ndarray:
    """Returns the rows of all processes, each of which has some, [rows, ...]."""
    # Processes may have parts of different lengths, and only arrays of one shape can be gathered.
    counts = all_gather(np.array(len(own)))
    padded = np.pad(own, ((0, int(counts.max()) - len(own)), (0, 0)))
    return np.concatenate([part[:count] for part, count in zip(all_gather(padded), counts, strict=True)])


def _image_contents(piece: Corrupted) -> np.ndarray:
    """Returns what images are fingerprinted by: themselves, and where they are codes what these stand for as well."""
    if not is_encoded(piece.encoding):
        return piece.images
    encoding = np.broadcast_to(piece.encoding, (len(piece.ids), *piece.encoding.shape))
    parts = (np.ascontiguousarray(part).reshape(len(piece.ids), -1) for part in (piece.images, encoding))
    return np.concatenate([part.view(np.uint8) for part in parts], axis=1)


def _take_first(piece: Corrupted) -> Corrupted:
    """Returns the `SAMPLES` examples with the smallest ids, ascending."""
    return piece.take(np.argsort(piece.ids)[:SAMPLES])
