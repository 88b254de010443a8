"""Fingerprints of images, labels and the order of examples: equal in two runs that had the same data.

Those of images and labels don't depend on order: examples are hashed one by one with their ids, and the hashes are
added, so that a resident set, a stream in any order and the parts of several processes have the same fingerprint.
"""

import hashlib
import math
from collections.abc import Iterable

import numpy as np

_MODULUS = 2**256  # the sums of SHA-256 digests, which are integers below this


class Fingerprint:
    """A multiset hash of (example id, content): the sum of SHA-256 digests modulo 2**256.

    Source: the additive construction of Bellare and Micciancio (1997), "A new paradigm for collision-free hashing".
    It guards against mistakes, not against an adversary.
    """

    def __init__(self):
        self._sum = 0
        self._count = 0

    def add(self, ids: np.ndarray, contents: np.ndarray) -> None:
        """Adds examples: ids uint32 [n], contents [n, ...] of any dtype."""
        ids = np.ascontiguousarray(ids, "<u4")
        rows = np.ascontiguousarray(contents).reshape(len(ids), math.prod(contents.shape[1:])).view(np.uint8)
        digests = (hashlib.sha256(name.tobytes() + row.tobytes()).digest() for name, row in zip(ids, rows, strict=True))
        self._sum = (self._sum + sum(int.from_bytes(digest, "little") for digest in digests)) % _MODULUS
        self._count += len(ids)

    def state(self) -> np.ndarray:
        """Returns the count (8 bytes) and the sum (32 bytes), uint8 [40], for `merged`."""
        return np.frombuffer(self._count.to_bytes(8, "little") + self._sum.to_bytes(32, "little"), np.uint8)

    @classmethod
    def merged(cls, states: np.ndarray) -> "Fingerprint":
        """Returns the fingerprint of the parts of several processes, from their states, uint8 [processes, 40]."""
        whole = cls()
        for state in states:
            content = state.tobytes()
            whole._count += int.from_bytes(content[:8], "little")
            whole._sum = (whole._sum + int.from_bytes(content[8:], "little")) % _MODULUS
        return whole

    def hexdigest(self) -> str:
        """Returns 64 hex digits, a SHA-256 over the count and the sum."""
        return hashlib.sha256(f"{self._count}:{self._sum}".encode()).hexdigest()


def fingerprint_examples(ids: np.ndarray, contents: np.ndarray) -> str:
    """Returns the fingerprint of examples, 64 hex digits: ids uint32 [n], contents [n, ...] of any dtype."""
    whole = Fingerprint()
    whole.add(ids, contents)
    return whole.hexdigest()


def fingerprint_order(rows: Iterable[np.ndarray]) -> str:
    """Returns the SHA-256 of a sequence of row numbers as little-endian int32, in their order, 64 hex digits."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(np.ascontiguousarray(row, "<i4").data)
    return digest.hexdigest()
