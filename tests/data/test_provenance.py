"""What is kept of every example, and the few whose images are kept to look at."""

import numpy as np

from rethink.data.corruption.spec import Corrupted
from rethink.data.provenance import SAMPLES, Provenance


def piece(ids):
    ids = np.asarray(ids, np.uint32)
    images = np.broadcast_to(ids[:, None, None, None], (len(ids), 2, 2, 1)).astype(np.uint8)
    labels = ids.astype(np.int32)
    return Corrupted(images, labels % 3, labels % 5, ids, labels % 3 != labels % 5)


def test_the_samples_are_those_of_the_smallest_ids_whatever_the_order():
    order = np.random.default_rng(0).permutation(100)
    whole, parts = Provenance(), Provenance()
    whole.add(piece(order))
    for ids in np.split(order, [3, 40, 41]):
        parts.add(piece(ids))
    for provenance in (whole, parts):
        assert provenance.samples.ids.tolist() == list(range(SAMPLES))
        assert provenance.samples.images[:, 0, 0, 0].tolist() == list(range(SAMPLES))
        assert provenance.samples.labels.tolist() == [number % 3 for number in range(SAMPLES)]
        assert provenance.samples.true_labels.tolist() == [number % 5 for number in range(SAMPLES)]


def test_a_small_part_has_fewer_samples_and_an_empty_one_none():
    provenance = Provenance()
    assert provenance.samples is None
    provenance.add(piece([7, 2]))
    assert provenance.samples.ids.tolist() == [2, 7]
