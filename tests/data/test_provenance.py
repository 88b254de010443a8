"""What is kept of every example, and the few whose images are kept to look at."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rethink.data.corruption.spec import Corrupted
from rethink.data.equal_images import count_equal_images
from rethink.data.fingerprints import fingerprint_examples
from rethink.data.preprocessing import clean_encoding
from rethink.data.provenance import SAMPLES, Provenance


def piece(ids):
    ids = np.asarray(ids, np.uint32)
    images = np.broadcast_to(ids[:, None, None, None], (len(ids), 2, 2, 1)).astype(np.uint8)
    labels = ids.astype(np.int32)
    return Corrupted(images, clean_encoding(1), labels % 3, labels % 5, ids, labels % 3 != labels % 5, labels % 2 == 0)


def add(provenance, ids):
    """Adds examples of which two in a row are equal as stored."""
    examples = piece(ids)
    provenance.add(examples, examples.images // 2)


def test_the_samples_are_those_of_the_smallest_ids_whatever_the_order():
    order = np.random.default_rng(0).permutation(100)
    whole, parts = Provenance(), Provenance()
    add(whole, order)
    for ids in np.split(order, [3, 40, 41]):
        add(parts, ids)
    for provenance in (whole, parts):
        assert provenance.samples.ids.tolist() == list(range(SAMPLES))
        assert provenance.samples.images[:, 0, 0, 0].tolist() == list(range(SAMPLES))
        assert provenance.samples.labels.tolist() == [number % 3 for number in range(SAMPLES)]
        assert provenance.samples.true_labels.tolist() == [number % 5 for number in range(SAMPLES)]


def test_a_small_part_has_fewer_samples_and_an_empty_one_none():
    provenance = Provenance()
    assert provenance.samples is None
    add(provenance, [7, 2])
    assert provenance.samples.ids.tolist() == [2, 7]


def test_what_was_added_comes_back_by_ascending_id():
    provenance = Provenance()
    for ids in ([9, 4, 300], [7]):
        add(provenance, ids)
    labels = provenance.gather_labels(lambda array: array[None])
    ids = np.array([4, 7, 9, 300], np.uint32)
    np.testing.assert_array_equal(labels["ids"], ids, strict=True)
    np.testing.assert_array_equal(labels["true_labels"], (ids % 5).astype(np.int32), strict=True)
    np.testing.assert_array_equal(labels["given_labels"], (ids % 3).astype(np.int32), strict=True)
    np.testing.assert_array_equal(labels["resampled"], ids % 3 != ids % 5, strict=True)


def test_processes_with_parts_of_different_lengths_give_the_labels_and_fingerprints_of_the_whole():
    whole, parts = Provenance(), (Provenance(), Provenance())
    add(whole, range(20))
    for number, part in enumerate(parts):
        add(part, [i for i in range(20) if (i % 3 == 0) == (number == 0)])
    barrier, sent = threading.Barrier(2, timeout=60), [None, None]

    def gather_all(process):
        """Returns the labels, fingerprints and counts that one process gets; a thread stands for it."""

        def all_gather(array):
            sent[process] = array
            barrier.wait()
            stacked = np.stack(sent)
            barrier.wait()
            return stacked

        return (
            parts[process].gather_labels(all_gather),
            parts[process].merge_fingerprints(all_gather),
            parts[process].count_changed_images(all_gather),
            count_equal_images({"train": parts[process].gather_digests(all_gather)}),
        )

    with ThreadPoolExecutor(2) as pool:
        for labels, prints, changed, equal in pool.map(gather_all, (0, 1)):
            for name, values in whole.gather_labels(lambda array: array[None]).items():
                np.testing.assert_array_equal(labels[name], values, strict=True)
            assert prints == whole.merge_fingerprints(lambda array: array[None])
            assert equal == {"train": 20}  # most of the pairs are in different parts
            assert changed == whole.count_changed_images(lambda array: array[None]) == 10


def test_other_true_labels_are_noticed_where_the_given_ones_do_not_depend_on_them():
    prints = []
    for shift in (0, 1):
        provenance, examples = Provenance(), piece(range(20))
        provenance.add(examples._replace(true_labels=examples.true_labels + shift), examples.images)
        prints.append(provenance.merge_fingerprints(lambda array: array[None]))
    assert [name for name, value in prints[0].items() if prints[1][name] != value] == ["true_labels"]


def test_the_fingerprint_of_codes_is_of_what_they_stand_for_too():
    def fingerprint(examples):
        provenance = Provenance()
        provenance.add(examples, examples.images)
        return provenance.merge_fingerprints(lambda array: array[None])["images"]

    clean = piece(range(20))
    assert fingerprint(clean) == fingerprint_examples(clean.ids, clean.images)  # as ever
    encodings = [
        clean.encoding,
        *(np.full((2, 1), value, np.float32) for value in (0.5, np.nextafter(np.float32(0.5), np.float32(1)))),
    ]
    assert len({fingerprint(clean._replace(encoding=encoding)) for encoding in encodings}) == 3
