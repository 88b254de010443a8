"""Streams of host batches: the rows that were asked for, in order, whoever decodes them, and no trace afterwards."""

import functools
import multiprocessing

import numpy as np
import pytest

from rethink.data import batches, streaming
from rethink.data.sources import MemorySplit, Split

EXAMPLES, BATCH = 50, 8


@pytest.fixture(scope="module")
def split():
    ids = np.arange(100, 100 + EXAMPLES, dtype=np.uint32)
    images = np.repeat(ids.astype(np.uint8), 12).reshape(EXAMPLES, 2, 2, 3)
    return MemorySplit(Split(images, (ids % 10).astype(np.int32), ids))


ROWS = functools.partial(batches.train_rows, 3, num_examples=EXAMPLES, batch_size=BATCH, remainder="wrap")


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order_whoever_decodes_them(split, workers):
    rows_of = functools.partial(batches.train_batch, ROWS, slice(None))
    first, last = 5, 17  # across the end of an epoch of seven steps
    read = list(streaming.stream(split, rows_of, first=first, last=last, workers=workers))
    assert len(read) == last - first
    for batch, rows in zip(read, ROWS(first, last - first), strict=True):
        expected = split.read(rows)
        for got, wanted in zip(batch, expected, strict=True):
            assert got.dtype == wanted.dtype
            np.testing.assert_array_equal(got, wanted)


def test_a_process_reads_its_part_of_each_batch_only(split):
    read = []
    recorder = MemorySplit(split.load())
    recorder.read = lambda rows: (read.append(rows), split.read(rows))[1]
    part = slice(2, 4)
    list(streaming.stream(recorder, functools.partial(batches.train_batch, ROWS, part), first=0, last=3, workers=0))
    np.testing.assert_array_equal(sorted(map(tuple, read)), sorted(map(tuple, ROWS(0, 3)[:, part])))


def test_a_stream_that_is_left_early_ends_its_workers(split):
    rows_of = functools.partial(batches.train_batch, ROWS, slice(None))
    stream = streaming.stream(split, rows_of, first=0, last=10**6, workers=1)
    next(stream)
    assert multiprocessing.active_children()
    stream.close()
    for child in multiprocessing.active_children():
        child.join(timeout=10)
    assert not multiprocessing.active_children()
