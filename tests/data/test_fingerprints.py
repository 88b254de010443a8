"""Fingerprints: free of order, bound to which content belongs to which id."""

import hashlib

import numpy as np
import pytest

from rethink.data import fingerprints
from rethink.data.fingerprints import Fingerprint, fingerprint_examples

RNG = np.random.default_rng(0)
IDS = RNG.permutation(1000)[:40].astype(np.uint32)
IMAGES = RNG.integers(0, 256, (40, 5, 4, 3)).astype(np.uint8)


def test_a_fingerprint_is_the_hash_of_count_and_sum_of_the_hashes():
    ids, contents = np.array([5, 258], np.uint32), np.array([[1, 2, 3], [255, 0, 9]], np.uint8)
    first = int.from_bytes(hashlib.sha256(b"\x05\x00\x00\x00" + b"\x01\x02\x03").digest(), "little")
    second = int.from_bytes(hashlib.sha256(b"\x02\x01\x00\x00" + b"\xff\x00\x09").digest(), "little")
    by_hand = hashlib.sha256(f"2:{(first + second) % 2**256}".encode()).hexdigest()
    assert fingerprint_examples(ids, contents) == by_hand
    assert by_hand == "1c7d5c2cf60452414312c1a5d5e1e5e431f046bfa8214d0096941f46e9afff80"


def test_labels_count_as_little_endian_int32():
    by_hand = int.from_bytes(hashlib.sha256(b"\x07\x00\x00\x00" + b"\xff\xff\xff\xff").digest(), "little")
    wanted = hashlib.sha256(f"1:{by_hand}".encode()).hexdigest()
    assert fingerprint_examples(np.array([7], np.uint32), np.array([-1], np.int32)) == wanted


def test_the_order_of_examples_does_not_matter():
    order = RNG.permutation(40)
    assert fingerprint_examples(IDS[order], IMAGES[order]) == fingerprint_examples(IDS, IMAGES)


def test_memory_layout_does_not_matter():
    transposed = np.asfortranarray(IMAGES)
    assert not transposed.flags.c_contiguous
    assert fingerprint_examples(IDS.astype(np.int64), transposed) == fingerprint_examples(IDS, IMAGES)
    assert fingerprint_examples(IDS[::2], IMAGES[::2]) == fingerprint_examples(IDS[::2].copy(), IMAGES[::2].copy())


def test_every_id_and_every_value_matter():
    whole = fingerprint_examples(IDS, IMAGES)
    other_id, other_pixel = IDS.copy(), IMAGES.copy()
    other_id[3] = 1001
    other_pixel[39, 4, 3, 2] ^= 1
    assert fingerprint_examples(other_id, IMAGES) != whole
    assert fingerprint_examples(IDS, other_pixel) != whole
    assert fingerprint_examples(IDS[:-1], IMAGES[:-1]) != whole


def test_it_matters_which_content_belongs_to_which_id():
    swapped = IDS.copy()
    swapped[[0, 1]] = IDS[[1, 0]]
    assert fingerprint_examples(swapped, IMAGES) != fingerprint_examples(IDS, IMAGES)


def test_it_matters_how_often_an_example_comes():
    twice = np.r_[0:40, 0]
    thrice = np.r_[0:40, 0, 0]
    prints = {fingerprint_examples(IDS[rows], IMAGES[rows]) for rows in (np.arange(40), twice, thrice)}
    assert len(prints) == 3


@pytest.mark.parametrize("cuts", [(0,), (1,), (13, 20), (40,)])
def test_parts_add_up_to_the_whole_in_any_order(cuts):
    parts = [*zip(np.split(IDS, cuts), np.split(IMAGES, cuts), strict=True)]
    for some_order in (parts, parts[::-1]):
        whole = Fingerprint()
        for part in some_order:
            whole.add(*part)
        assert whole.hexdigest() == fingerprint_examples(IDS, IMAGES)


@pytest.mark.parametrize("cuts", [(0,), (13, 20), (40,)])
def test_the_parts_of_several_processes_merge_to_the_whole(cuts):
    states = []
    for part in zip(np.split(IDS, cuts), np.split(IMAGES, cuts), strict=True):
        own = Fingerprint()
        own.add(*part)
        states.append(own.state())
        assert (states[-1].shape, states[-1].dtype) == ((40,), np.uint8)
    assert Fingerprint.merged(np.stack(states)).hexdigest() == fingerprint_examples(IDS, IMAGES)


def test_the_order_fingerprint_is_of_the_sequence():
    rows = np.arange(12, dtype=np.int32).reshape(3, 4)
    wanted = hashlib.sha256(b"".join(i.to_bytes(4, "little") for i in range(12))).hexdigest()
    assert fingerprints.fingerprint_order([rows]) == wanted
    assert fingerprints.fingerprint_order(rows) == wanted
    assert fingerprints.fingerprint_order([rows[:1], rows[1:]]) == wanted
    assert fingerprints.fingerprint_order([rows.astype(np.int64)]) == wanted
    assert fingerprints.fingerprint_order([rows[::-1]]) != wanted
